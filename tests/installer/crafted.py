"""Crafted wheels and a mirror directory of them, written in the mirror's own formats."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.tags import compatible_tags, cpython_tags

from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.selector.lock import LockedWheel, render_pylock
from pytorch_offline.simulator.stand_ins import stand_in_modules
from pytorch_offline.target.codec import render_target
from pytorch_offline.target.model import Accelerator, Libc, Target
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def linux_target(
    python: str = "3.10.12", *, glibc: tuple[int, int] = (2, 35), accelerator: Accelerator | None = None
) -> Target:
    """An x86_64 Linux machine, described by hand."""
    major, minor, *_ = map(int, python.split("."))
    platforms = ["linux_x86_64", *(f"manylinux_2_{number}_x86_64" for number in range(glibc[1], 4, -1))]
    platforms += [f"{name}_x86_64" for name, number in (("manylinux2014", 17), ("manylinux1", 5)) if glibc[1] >= number]
    interpreter = f"cp{major}{minor}"
    tags = (
        *cpython_tags((major, minor), [interpreter], platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    )
    environment = {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python,
        "python_version": f"{major}.{minor}",
        "sys_platform": "linux",
    }
    return Target(
        name="node",
        marker_environment=environment,
        tags=tags,
        libc=Libc(name="glibc", version=glibc),
        accelerator=accelerator,
    )


@dataclass(frozen=True, kw_only=True)
class Crafted:
    """A wheel to be written: its file name, modules and metadata lines beyond Name and Version."""

    filename: str
    modules: dict[str, str] = field(default_factory=dict)
    metadata: tuple[str, ...] = ()
    directory: str = "whl"
    wheel_version: str = "1.0"
    body: bytes | None = None  # these very bytes, instead of built ones

    def build(self) -> bytes:
        if self.body is not None:
            return self.body
        name = parse_wheel_name(self.filename)
        spelt, version = self.filename.split("-")[:2]
        information = f"{spelt}-{version}.dist-info"
        headers = ["Metadata-Version: 2.1", f"Name: {spelt}", f"Version: {version}", *self.metadata]
        tags = [f"Tag: {tag}" for tag in sorted(map(str, name.tags))]
        members = {path: text.encode() for path, text in self.modules.items()}
        members[f"{information}/METADATA"] = ("\n".join(headers) + "\n\n").encode()
        wheel = [f"Wheel-Version: {self.wheel_version}", "Generator: crafted", "Root-Is-Purelib: true", *tags]
        members[f"{information}/WHEEL"] = ("\n".join(wheel) + "\n").encode()
        rows = [f"{path},{record_hash(body)},{len(body)}" for path, body in members.items()]
        members[f"{information}/RECORD"] = "\n".join([*rows, f"{information}/RECORD,,", ""]).encode()
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, body in members.items():
                archive.writestr(zipfile.ZipInfo(path), body)
        return target.getvalue()


def record_hash(body: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def pure(project: str, version: str, *metadata: str, directory: str = "whl") -> Crafted:
    module = project.replace("-", "_")
    return Crafted(
        filename=f"{module}-{version}-py3-none-any.whl",
        modules={f"{module}/__init__.py": f"__version__ = '{version}'\n"},
        metadata=metadata,
        directory=directory,
    )


def torch(version: str = "2.4.0+cpu", *, tags: str = "py3-none-any", directory: str = "whl/cpu") -> Crafted:
    return Crafted(
        filename=f"torch-{version}-{tags}.whl",
        modules={path: body.decode() for path, body in stand_in_modules("torch", version).items()},
        metadata=("Requires-Dist: filelock", 'Requires-Dist: colour ; platform_system == "Windows"'),
        directory=directory,
    )


def write_mirror(
    root: Path,
    locks: Mapping[str, Iterable[Crafted]],
    *,
    target: Target | Mapping[str, Target],
    beside: Iterable[Crafted] = (),
) -> Path:
    """Write a mirror directory: every wheel, the manifest, a lock per name; ``beside`` is in no lock."""
    files: dict[PurePosixPath, MirrorFile] = {}
    (root / "locks").mkdir(parents=True)
    for name, wheels in {**locks, "": beside}.items():
        locked = []
        for wheel in wheels:
            file = _write_wheel(root, wheel)
            files[file.path] = file
            where = f"../{file.path}"
            locked.append(
                LockedWheel(name=parse_wheel_name(wheel.filename), sha256=file.sha256, size=file.size, path=where)
            )
        if name:
            machine = target if isinstance(target, Target) else target[name]
            (root / "locks" / f"pylock.{name}.toml").write_text(render_pylock(locked, machine), encoding="utf-8")
            (root / "locks" / f"{name}.json").write_text(render_target(machine), encoding="utf-8")
    (root / "manifest.json").write_bytes(render_manifest(files.values()))
    return root


def _write_wheel(root: Path, wheel: Crafted) -> MirrorFile:
    body = wheel.build()
    path = PurePosixPath(wheel.directory, wheel.filename)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(body)
    return MirrorFile(
        path=path,
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        hash_origin=HashOrigin.PUBLISHED,
        origin=f"https://upstream.example/{path}",
        metadata_sha256=hashlib.sha256(_metadata_in(body)).hexdigest(),
        requires_python=_requires_python(body),
        yanked=None,
        upload_time=None,
        verified_at="2026-11-21T00:00:00Z",
    )


def _requires_python(body: bytes) -> str | None:
    found = re.search(rb"(?m)^Requires-Python: *(.*?)\r?$", _metadata_in(body).split(b"\n\n")[0])
    return found[1].decode() if found else None


def _metadata_in(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        return archive.read(name)


def unpack_into(site: Path, *wheels: Crafted) -> None:
    """Lay pure wheels out as an installer does."""
    for wheel in wheels:
        zipfile.ZipFile(io.BytesIO(wheel.build())).extractall(site)
