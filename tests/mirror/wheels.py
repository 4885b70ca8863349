"""Small, valid wheels for the mirror's tests."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.mirror.model import HashOrigin, MirrorFile, WantedFile
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytorch_offline.mirror.store import Mirror


def now() -> datetime:
    return datetime(2026, 8, 22, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Wheel:
    path: PurePosixPath
    body: bytes
    metadata: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def wanted(self, **changes: object) -> WantedFile:
        facts: dict[str, object] = {
            "name": parse_wheel_name(self.path.name),
            "path": self.path,
            "urls": (f"https://upstream.example/{self.path}",),
            "sha256": self.sha256,
            "size": len(self.body),
        }
        return WantedFile(**(facts | changes))  # type: ignore[arg-type]

    def row(self, **changes: object) -> MirrorFile:
        facts: dict[str, object] = {
            "path": self.path,
            "size": len(self.body),
            "sha256": self.sha256,
            "hash_origin": HashOrigin.PUBLISHED,
            "origin": f"https://upstream.example/{self.path}",
            "metadata_sha256": hashlib.sha256(self.metadata).hexdigest(),
            "requires_python": None,
            "yanked": None,
            "upload_time": None,
            "verified_at": "2026-08-22T12:00:00Z",
            "spelling": str(parse_wheel_name(self.path.name).project),
        }
        return MirrorFile(**(facts | changes))  # type: ignore[arg-type]

    def admit(self, mirror: Mirror, **changes: object) -> MirrorFile:
        part = mirror.partial / self.path.name
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(self.body)
        return mirror.admit(
            part,
            self.wanted(**changes),
            size=len(self.body),
            sha256=self.sha256,
            origin_url=f"https://upstream.example/{self.path}",
            now=now,
        )


def craft_wheel(
    path: str,
    *,
    requires: tuple[str, ...] = (),
    requires_python: str | None = ">=3.6",
    content: str = "",
    wrong_record_for: str | None = None,
    further: Mapping[str, bytes] | None = None,
) -> Wheel:
    """Make the wheel that belongs at ``path``: one package, named like the project, with ``content`` in it.

    ``further`` are members that come after its first.
    """
    place = PurePosixPath(path)
    name = parse_wheel_name(place.name)
    package = str(name.project).replace("-", "_")
    info = f"{place.name.split('-')[0]}-{place.name.split('-')[1]}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name.project}", f"Version: {name.version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    metadata = ("\n".join(lines) + "\n").encode()
    tags = "\n".join(f"Tag: {tag}" for tag in sorted(map(str, name.tags)))
    members = {
        f"{package}/__init__.py": f'__version__ = "{name.version}"\n{content}\n'.encode(),
        **(further or {}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n{tags}\n".encode(),
    }
    record = ""
    for member, body in members.items():
        hashed = b"something else" if member.endswith(wrong_record_for or "\0") else body
        digest = base64.urlsafe_b64encode(hashlib.sha256(hashed).digest()).rstrip(b"=").decode()
        record += f"{member},sha256={digest},{len(body)}\n"
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for member, body in members.items():
            entry = zipfile.ZipInfo(member, date_time=(2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, body, compress_type=zipfile.ZIP_DEFLATED)
    return Wheel(path=place, body=archive.getvalue(), metadata=metadata)


TORCH_CPU = craft_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", requires=("sympy>=1.0",))
TORCH_CUDA = craft_wheel("whl/cu121/torch-1.0+cu121-py3-none-any.whl", requires=("sympy>=1.0",))
SYMPY = craft_wheel("whl/sympy-1.2-py3-none-any.whl")


def tree(root: Path) -> dict[str, bytes]:
    """Everything that clients of a mirror see, by path."""
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        if path.is_file() and not relative.startswith(".state/"):
            found[relative] = path.read_bytes()
    return found
