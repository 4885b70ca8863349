"""Parity for a bundle that is being written: over the parts that lie there, beside them or in volumes of its own."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.canonical_json import render_canonical
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.parity import (
    CHECKSUM_BYTES,
    DATA_ROWS,
    PARITY_PREFIX,
    carried_stream,
    describe_parity,
    parity_map,
    parity_shape,
)
from pytorch_offline.bundle.writing.packing import pack_rows
from pytorch_offline.bundle.writing.parity import StreamRun, parity_row_files, render_promise, write_parity
from pytorch_offline.bundle.writing.plan import sorted_files
from pytorch_offline.bundle.writing.volumes import lay_out
from pytorch_offline.mirror.progress import Doing, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest
    from pytorch_offline.bundle.writing.destination import BundleDirectory
    from pytorch_offline.mirror.progress import Progress

# A row of the manifest with one piece has 400 letters.
_ROW_LETTERS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityWish:
    """How much parity is asked for, in per cent."""

    percent: int

    def size(self, manifest: Manifest) -> int:
        """Say how many bytes of parity there will be."""
        rows = parity_row_files(_total(manifest), self.percent)
        return sum(row.size for row in rows)

    def letters(self, manifest: Manifest, limit: int) -> int:
        """Say by how much parity makes the manifest longer, at most; for volumes of a size."""
        shape = parity_shape(_total(manifest), self.percent)
        none = [b"\0" * CHECKSUM_BYTES] * (DATA_ROWS + self.percent) * shape.stripes
        rows = parity_row_files(shape.total, self.percent)
        described = render_canonical(describe_parity(shape, [row.path for row in rows], none))
        return len(described) + len(rows) * _ROW_LETTERS * (2 + 2 * shape.row_size // limit)


def _total(manifest: Manifest) -> int:
    found = {
        file.sha256: file.size for file in manifest.files if file.carried and not file.path.startswith(PARITY_PREFIX)
    }
    return max(1, sum(found.values()))


def without_parity(manifest: Manifest) -> Manifest:
    """Give the manifest as it was before parity was added."""
    files = tuple(file for file in manifest.files if not file.path.startswith(PARITY_PREFIX))
    bare = manifest._replace(files=files, parity=None)
    if manifest.volume_size is None:
        return bare
    return bare._replace(volumes=max((piece.volume for file in files for piece in file.pieces), default=1))


def protected_before(standing: Manifest | None, manifest: Manifest, wish: ParityWish | None) -> Manifest | None:
    """Give the manifest that will come of it, where that is known: nothing is added, or the same was added before."""
    if wish is None:
        return manifest
    if standing is None or standing.parity is None or without_parity(standing) != manifest:
        return None
    return standing if len(standing.parity.get("rows", ())) == wish.percent else None


def protect(manifest: Manifest, destination: BundleDirectory, wish: ParityWish, progress: Progress) -> Manifest:
    """Compute parity over the parts that lie in a bundle's directory, and write it there.

    Raises:
        UsageError: ``parity-needs-zfec``.
        IntegrityError: ``part-changed``.
    """
    total = sum(piece.size for _, piece in carried_stream(manifest))
    progress.plan({PARITY_PREFIX[:-1]: total}, stage=Stage.PACK)
    progress.begin(PARITY_PREFIX[:-1], total, 0)
    progress.doing(PARITY_PREFIX[:-1], Doing.HASHING)
    stream = stream_below(destination.root, manifest)
    written = write_parity(stream, wish.percent, destination.root, told=_Told(progress, total))
    progress.end(PARITY_PREFIX[:-1])
    rows = written.rows
    if manifest.volume_size is not None:
        places = {row.path: destination.root / row.path for row in rows}
        rows, volumes = pack_rows(manifest, rows, places, len(render_canonical(written.description)))
        _into_volumes(manifest._replace(files=rows, volumes=volumes), destination)
        manifest = manifest._replace(volumes=volumes)
    return manifest._replace(files=sorted_files((*manifest.files, *rows)), parity=written.description)


def _into_volumes(rows: Manifest, destination: BundleDirectory) -> None:
    cut = set()
    for laid in lay_out(rows):
        place = destination.root / laid.of
        if laid.is_run:
            destination.copy(place, laid.file, advanced=lambda _: None, run=(laid.offset, laid.file.size))
            cut.add(place)
        else:
            destination.take(place, laid.file.path)
    for place in cut:
        destination.disk.remove(place)
    destination.disk.remove_directory(destination.root / PARITY_PREFIX)


def stream_below(root: Path, manifest: Manifest) -> tuple[StreamRun, ...]:
    """Say where the bytes of the stream lie in a bundle that was written to a directory."""
    tops = {
        piece: "" if manifest.volume_size is None else f"{volume_name(piece.volume)}/"
        for _, piece in carried_stream(manifest)
    }
    return tuple(StreamRun(path=root / (top + piece.name), offset=0, size=piece.size) for piece, top in tops.items())


def promise_of(manifest: Manifest) -> str | None:
    """Say in words what a bundle's parity mends; None where it has none."""
    if manifest.parity is None:
        return None
    sizes: Counter[int] = Counter()
    for _, piece in carried_stream(manifest):
        sizes[piece.volume] += piece.size
    return render_promise(parity_map(manifest).shape, () if manifest.volume_size is None else tuple(sizes.values()))


class _Told:
    """Adds up what several threads tell."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done = min(self._total, self._done + count)
            self._progress.advance(PARITY_PREFIX[:-1], self._done, self._total)
