"""Bundles of small, valid wheels, written by hand: one edition of a mirror after another, whole or as deltas."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import content_id, render_manifest
from pytorch_offline.bundle.format.model import BundleFile, Manifest, Piece
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.mirror.manifest import render_row
from tests.mirror.wheels import craft_wheel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from pytorch_offline.bundle.reading.sources import Source
    from tests.mirror.wheels import Wheel

LINEAGE = "a" * 64


def wheels(*names: str) -> tuple[Wheel, ...]:
    """Make wheels of these names: ``cpu/torch-1.0+cpu``, ``sympy-1.2``."""
    return tuple(craft_wheel(f"whl/{name}-py3-none-any.whl") for name in names)


def row_of(wheel: Wheel) -> dict[str, object]:
    """What the near mirror says of a wheel beside its path, size and hash."""
    row = json.loads(render_row(wheel.row(upload_time="2026-01-02T03:04:05Z")))
    return {key: value for key, value in row.items() if key not in {"path", "size", "sha256", "verified_at"}}


def lock_for(held: Sequence[Wheel]) -> dict[str, bytes]:
    """Make a lock of requirements for all wheels."""
    lines = []
    for wheel in sorted(held, key=lambda wheel: wheel.path):
        name, version = wheel.path.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{wheel.sha256}\n")
    return {"locks/requirements.node.txt": "".join(lines).encode()}


@dataclass(frozen=True, kw_only=True)
class Edition:
    """What a near mirror holds at one time.

    ``lacking`` are hashes that a delta leaves out, ``base`` the id of what it is laid upon.
    """

    wheels: tuple[Wheel, ...]
    counter: int = 1
    lineage: str = LINEAGE
    locks: Mapping[str, bytes] | None = None
    base: str | None = None
    left_out: Collection[str] = ()
    rows: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def bodies(self) -> dict[str, bytes]:
        """The bytes of all files."""
        locks = lock_for(self.wheels) if self.locks is None else self.locks
        return {**{str(wheel.path): wheel.body for wheel in self.wheels}, **locks, "install.py": b"# install\n"}

    def manifest(self, pieces: Mapping[str, tuple[Piece, ...]] | None = None) -> Manifest:
        """Describe it."""
        rows = {str(wheel.path): {**row_of(wheel), **self.rows.get(str(wheel.path), {})} for wheel in self.wheels}
        files = tuple(
            BundleFile(
                path=path,
                size=len(body),
                sha256=(digest := hashlib.sha256(body).hexdigest()),
                carried=digest not in self.left_out,
                pieces=(pieces or {}).get(path, ()),
                row=rows.get(path),
            )
            for path, body in sorted(self.bodies.items())
        )
        return Manifest(
            id=content_id(self.lineage, (), files),
            lineage=self.lineage,
            counter=self.counter,
            base=self.base,
            created="2026-01-31T12:00:00Z",
            targets=(),
            tools=(),
            files=files,
            volumes=max((piece.volume for each in (pieces or {}).values() for piece in each), default=1),
            volume_size=None if pieces is None else 1 << 20,
        )

    def after(self, former: Edition) -> Edition:
        """Make it a delta."""
        held = {wheel.sha256 for wheel in former.wheels} & {wheel.sha256 for wheel in self.wheels}
        return replace(self, base=former.manifest().id, left_out=held, counter=former.counter + 1)

    def write(self, directory: Path) -> Source:
        """Write it into one directory."""
        made = self.manifest()
        for file in made.files:
            if file.carried:
                _write(directory / file.path, self.bodies[file.path])
        _write(directory / "manifest.json", render_manifest(made))
        return open_source([str(directory)])

    def write_volumes(self, directory: Path, *, limit: int = 700) -> Source:
        """Write it in volumes: each wheel in pieces, each piece in a volume of its own."""
        pieces: dict[str, tuple[Piece, ...]] = {}
        volume = 1
        for path, body in sorted(self.bodies.items()):
            if "/" not in path or hashlib.sha256(body).hexdigest() in self.left_out:
                continue
            runs = [body[start : start + limit] for start in range(0, len(body), limit)]
            made = []
            for number, run in enumerate(runs, start=1):
                digest = hashlib.sha256(run).hexdigest()
                made.append(Piece(volume, f"data/{digest[:40]}.{number}of{len(runs)}", len(run), digest))
                _write(directory / volume_name(volume) / made[-1].name, run)
                volume += 1
            pieces[path] = tuple(made)
        described = self.manifest(pieces)
        for number in range(1, described.volumes + 1):
            _write(directory / volume_name(number) / "install.py", self.bodies["install.py"])
            _write(directory / volume_name(number) / "manifest.json", render_manifest(described))
        return open_source([str(directory)])


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
