"""Writing down on the far side what it holds: ``install.py --export-manifest``, from a bundle or a mirror's directory.

Of a bundle that is what it carries and what lies of it on the media; of a mirror, what its manifest lists.
"""

import os
from pathlib import Path
from typing import NamedTuple, Tuple

from pytorch_offline.bundle.format.canonical_json import parse_strict_json
from pytorch_offline.bundle.format.holdings import (
    HeldBundle,
    HeldFile,
    Holdings,
    compress_holdings,
    is_wheel_path,
    render_holdings,
)
from pytorch_offline.bundle.format.manifest import MANIFEST_NAME
from pytorch_offline.bundle.reading.lasting_files import MIRROR_FOLDER, write_whole
from pytorch_offline.bundle.reading.media import read_regular
from pytorch_offline.bundle.reading.memory import MEMORY_NAME, BundleMemory, read_bundle_memory
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import IntegrityError

# 50,000 wheels have 30 MB; whoever reads a mirror's manifest reads no more than this.
LARGEST_MIRROR_MANIFEST = 256 * 1024 * 1024


class Exported(NamedTuple):
    """A file of holdings that was written: where, how many files it names, its bytes, and the bundles it names."""

    path: str
    files: int
    size: int
    bundles: Tuple[HeldBundle, ...]


def write_holdings(path: Path, holdings: Holdings) -> Exported:
    """Write holdings to a file, whole or not at all; compressed if its name ends in ``.gz``.

    Raises:
        OSError: what the disk said.
    """
    body = render_holdings(holdings)
    if path.name.lower().endswith(".gz"):
        body = compress_holdings(body)
    write_whole(str(path), body)
    return Exported(str(path), len(holdings.files), len(body), holdings.bundles)


def holdings_of_source(source: Source) -> Holdings:
    """Say what a bundle holds, as it lies on its media; what a delta leaves out counts if its base lies there too."""
    manifest = source.manifest
    files = [
        HeldFile(file.path, file.size, file.sha256)
        for file in manifest.files
        if is_wheel_path(file.path) and not source.locate(file).missing
    ]
    bundle = HeldBundle(manifest.lineage, manifest.id, manifest.counter, manifest.counter)
    return Holdings((bundle,), tuple(sorted(files)))


def holdings_of_memory(memory: BundleMemory) -> Tuple[HeldBundle, ...]:
    """Say which bundles were taken."""
    return tuple(HeldBundle(one.lineage, one.id, one.counter, one.highest) for one in memory.taken)


def read_mirror_holdings(directory: str) -> Holdings:
    """Say what the mirror in a directory holds, by its own manifest, and which bundles it took.

    Raises:
        IntegrityError: ``bad-manifest``; ``bad-bundle-memory``.
        OSError: what the disk said.
    """
    body = read_regular(os.path.join(directory, MANIFEST_NAME), LARGEST_MIRROR_MANIFEST)
    memory = read_bundle_memory(Path(directory) / MIRROR_FOLDER / MEMORY_NAME)
    return Holdings(holdings_of_memory(memory), parse_mirror_rows(body))


def parse_mirror_rows(body: bytes) -> Tuple[HeldFile, ...]:
    """Read what a mirror's ``manifest.json`` lists, no more than is told across the gap.

    Raises:
        IntegrityError: ``bad-manifest``.
    """
    try:
        rows = parse_strict_json(body)["files"]
        files = [HeldFile(str(row["path"]), int(row["size"]), str(row["sha256"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            "bad-manifest",
            "manifest.json of the mirror cannot be read",
            facts={"reason": str(error)[:200]},
            hint="name the directory of a mirror, which holds manifest.json and whl",
        ) from error
    return tuple(sorted(files))
