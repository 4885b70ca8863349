"""Files with parity beside them, as a bundle in one directory has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import render_manifest
from pytorch_offline.bundle.reading.parity import carried_stream
from pytorch_offline.bundle.writing.parity import StreamRun, write_parity
from tests.bundle.crafted_manifests import bundle_file, manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest
    from pytorch_offline.bundle.writing.parity import WrittenParity


def write_files_with_parity(
    directory: Path, bodies: Mapping[str, bytes], percent: int
) -> tuple[Manifest, WrittenParity]:
    """Write files and their parity; give the manifest that knows both, and what was told of the parity."""
    for path, body in bodies.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(body)
    bare = manifest(files=[bundle_file(path, body) for path, body in bodies.items()], targets=())
    runs = [StreamRun(path=directory / path, offset=0, size=piece.size) for path, piece in carried_stream(bare)]
    parity = write_parity(runs, percent, directory)
    files = sorted((*bare.files, *parity.rows), key=lambda file: file.path)
    return bare._replace(files=tuple(files), parity=parity.description), parity


def write_plain_bundle(directory: Path, bodies: Mapping[str, bytes], percent: int) -> Manifest:
    """Write a bundle in one directory, with the copies that parity comes with."""
    made, _ = write_files_with_parity(directory, bodies, percent)
    for place in (directory, directory / "parity"):
        (place / "manifest.json").write_bytes(render_manifest(made))
        (place / "install.py").write_bytes(bodies["install.py"])
    return made
