"""Bundles of a few bytes on a disk: whole in one directory, or in volumes, packed by hand."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.manifest import render_manifest
from pytorch_offline.bundle.format.model import Piece
from pytorch_offline.bundle.reading.labels import LABEL_NAME, render_label, volume_name
from tests.bundle.crafted_manifests import PIP, PYLOCK, TORCH, bundle_file, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile, Manifest

NUMPY = "whl/numpy-2.1.0-cp311-cp311-linux_x86_64.whl"
INSTALLER = "install.py"


def bodies(seed: int = 1) -> dict[str, bytes]:
    """Make the bytes of each file of a bundle."""
    generator = random.Random(seed)
    return {
        TORCH: generator.randbytes(100_000),
        NUMPY: generator.randbytes(30_000),
        PYLOCK: b"# a lock\n" * 20,
        PIP: generator.randbytes(9_000),
        INSTALLER: b"# install\n" * 50,
        "CONTENTS.txt": b"what is inside\n",
    }


def write(path: Path, body: bytes) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def write_plain(directory: Path, held: dict[str, bytes] | None = None, **more: Any) -> Manifest:  # noqa: ANN401  (any field)
    """Write a bundle into one directory."""
    held = bodies() if held is None else held
    made = manifest(files=[bundle_file(path, body) for path, body in held.items()], **more)
    for path, body in held.items():
        write(directory / path, body)
    write(directory / "manifest.json", render_manifest(made))
    return made


def piece_of(volume: int, body: bytes, suffix: str) -> Piece:
    """Make a piece of its bytes."""
    sha256 = hashlib.sha256(body).hexdigest()
    return Piece(volume, f"data/{sha256[:40]}.{suffix}", len(body), sha256)


def write_volumes(directory: Path, held: dict[str, bytes] | None = None, *, limit: int = 40_000) -> Manifest:
    """Write a bundle in volumes, each with a file or with a piece of so many bytes; small files lie in the first."""
    held = bodies() if held is None else held
    files: list[BundleFile] = []
    volume, parts = 1, list[tuple[Piece, bytes]]()
    for path, body in sorted(held.items()):
        if "/" not in path:
            files.append(bundle_file(path, body))
            continue
        runs = [body[start : start + limit] for start in range(0, len(body), limit)]
        pieces = []
        for number, run in enumerate(runs, start=1):
            if len(body) > 10_000:
                volume += 1
            piece = piece_of(
                volume if len(body) > 10_000 else 1, run, "whl" if len(runs) == 1 else f"{number}of{len(runs)}"
            )
            pieces.append(piece)
            parts.append((piece, run))
        files.append(bundle_file(path, body, pieces=tuple(pieces)))
    made = manifest(files=files, volumes=volume, volume_size=limit * 2)
    for piece, run in parts:
        write(directory / volume_name(piece.volume) / piece.name, run)
    for number in range(1, volume + 1):
        top = directory / volume_name(number)
        for path, body in held.items():
            if "/" not in path:
                write(top / path, body)
        write(top / LABEL_NAME, render_label(made, number))
        write(top / "manifest.json", render_manifest(made))
    return made


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0x10
    path.write_bytes(body)
