"""Parity for a bundle: what ``reading/parity.py`` describes, computed by zfec (docs/adr/0022).

Memory is flat: each thread has one block of each of the 100 rows at hand. zfec lets other threads run meanwhile.
"""

from __future__ import annotations

import bisect
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.parity import (
    CHECKSUM_BYTES,
    DATA_ROWS,
    MOST_PARITY_ROWS,
    PARITY_PREFIX,
    ParityShape,
    describe_parity,
    parity_shape,
    slices_lost_at_worst,
)
from pytorch_offline.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Protocol

    class Encoder(Protocol):
        """What is called of zfec."""

        def encode(self, blocks: Sequence[bytes], numbers: Sequence[int]) -> Sequence[bytes]:
            """Give the rows of those numbers."""


# A thread holds 100 of them, and N more: 28 MB at 10 %.
_BLOCK = 256 << 10
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRun:
    """A run of a file's bytes on this disk; all runs in their order are the stream.

    Args:
        path: of the file.
        offset: of the first byte in it.
        size: bytes.
    """

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenParity:
    """Parity that lies on the disk.

    Args:
        rows: its files' rows for the manifest.
        description: for ``Manifest.parity``.
    """

    rows: tuple[BundleFile, ...]
    description: Mapping[str, Any]


def parse_percent(text: str) -> int:
    """Read how much parity is asked for, e.g. ``10%``.

    Raises:
        UsageError: code ``parity-not-understood``.
    """
    found = re.fullmatch(r"\s*(\d{1,3})\s*%?\s*", text, re.ASCII)
    if found is None or not 1 <= int(found[1]) <= MOST_PARITY_ROWS:
        raise UsageError(
            "parity-not-understood",
            f"{text!r} is not an amount of parity.",
            hint=f"say a whole number of per cent from 1 to {MOST_PARITY_ROWS}, e.g. --parity 10%",
        )
    return int(found[1])


def parity_encoder(percent: int) -> Encoder:
    """Make what computes so many rows of parity.

    Raises:
        UsageError: code ``parity-needs-zfec`` where that library is not installed.
    """
    try:
        from zfec import Encoder as ZfecEncoder  # noqa: PLC0415 - an extra, and only loaded where parity is asked for
    except ImportError as missing:
        raise UsageError(
            "parity-needs-zfec",
            "Parity is computed by zfec, which is not installed here.",
            hint="pip install 'pytorch-offline[bundle]'",
        ) from missing
    encoder: Encoder = ZfecEncoder(DATA_ROWS, DATA_ROWS + percent)
    return encoder


def parity_row_files(total: int, percent: int) -> tuple[BundleFile, ...]:
    """List the files that parity over ``total`` bytes will be, before it is computed: without sha256."""
    shape = parity_shape(total, percent)
    return tuple(
        BundleFile(path=_row_path(row), size=shape.row_size, sha256="") for row in range(DATA_ROWS, DATA_ROWS + percent)
    )


def _row_path(row: int) -> str:
    return f"{PARITY_PREFIX}row-{row + 1}"


def write_parity(
    stream: Sequence[StreamRun],
    percent: int,
    out: Path,
    *,
    told: Callable[[int], None] | None = None,
) -> WrittenParity:
    """Compute parity over a stream and write it below ``out``.

    Args:
        stream: the bytes that the bundle carries, in the order of ``carried_stream``.
        percent: how much of it is added.
        out: the directory that gets ``parity/row-101`` and so on.
        told: is told the bytes of the stream that were worked on since; from any thread.

    Raises:
        UsageError: code ``parity-needs-zfec``.
        IntegrityError: code ``part-changed`` where a file is shorter than said.
    """
    encoder = parity_encoder(percent)
    source = _Stream(stream)
    shape = parity_shape(source.size, percent)
    paths = [_row_path(row) for row in range(DATA_ROWS, DATA_ROWS + percent)]
    (out / PARITY_PREFIX).mkdir(parents=True, exist_ok=True)
    for path in paths:
        with (out / path).open("wb") as created:
            created.truncate(shape.row_size)
    work = _Work(encoder=encoder, source=source, shape=shape, rows=[out / path for path in paths], told=told)
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        by_stripe = list(threads.map(work.encode_stripe, range(shape.stripes)))
        digests = list(threads.map(_settle, work.rows))
    checksums = [stripe[row] for row in range(DATA_ROWS + percent) for stripe in by_stripe]
    return WrittenParity(
        rows=tuple(
            BundleFile(path=path, size=shape.row_size, sha256=digest)
            for path, digest in zip(paths, digests, strict=True)
        ),
        description=describe_parity(shape, paths, checksums),
    )


def render_promise(shape: ParityShape, volumes: Sequence[int] = ()) -> str:
    """Say in words what parity of this shape mends, and whether a whole volume may be lost.

    Args:
        shape: how the stream is cut.
        volumes: how many bytes of the stream lie in each volume.
    """
    rows = shape.parity_rows
    run = (rows * shape.stripes - 1) * shape.slice_size + 1
    said = (
        f"{rows} of {DATA_ROWS + rows} slices of each stripe may be bad, so {min(run, shape.total):,} bytes in one run "
        f"wherever they lie"
    )
    if not volumes:
        return said
    worst = max(slices_lost_at_worst(shape, size) for size in volumes)
    if worst <= rows:
        return f"{said}; any one whole volume may be lost"
    if worst <= MOST_PARITY_ROWS:
        return f"{said}; a whole volume may not be lost (--parity {worst}% would allow it)"
    return f"{said}; a whole volume may not be lost"


class _Stream:
    """Files one after another, read at any place."""

    def __init__(self, runs: Sequence[StreamRun]) -> None:
        self._runs = [run for run in runs if run.size]
        self._starts = [0, *accumulate(run.size for run in self._runs)]
        self.size = self._starts[-1]

    def read(self, start: int, size: int) -> bytes:
        """Read; what is asked for behind the end is zeros."""
        found = bytearray()
        number = bisect.bisect_right(self._starts, start) - 1
        while len(found) < size and number < len(self._runs):
            run = self._runs[number]
            skipped = start + len(found) - self._starts[number]
            wanted = min(run.size - skipped, size - len(found))
            with run.path.open("rb", buffering=0) as file:
                file.seek(run.offset + skipped)
                data = file.read(wanted)
            if len(data) < wanted:
                raise IntegrityError(
                    "part-changed",
                    f"{run.path} became shorter while it was read.",
                    facts={"path": str(run.path)},
                )
            found += data
            number += 1
        return bytes(found.ljust(size, b"\0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    encoder: Encoder
    source: _Stream
    shape: ParityShape
    rows: list[Path]
    told: Callable[[int], None] | None

    def encode_stripe(self, stripe: int) -> list[bytes]:
        """Write a stripe's slices of parity; give the checksums of all its slices, by row."""
        hashes = [sha256() for _ in range(DATA_ROWS + len(self.rows))]
        numbers = range(DATA_ROWS, DATA_ROWS + len(self.rows))
        begin = stripe * self.shape.slice_size
        for at in range(begin, begin + self.shape.slice_size, _BLOCK):
            size = min(_BLOCK, begin + self.shape.slice_size - at)
            data = [self.source.read(row * self.shape.row_size + at, size) for row in range(DATA_ROWS)]
            parity = self.encoder.encode(data, numbers)
            for row_hash, block in zip(hashes, [*data, *parity], strict=True):
                row_hash.update(block)
            for path, block in zip(self.rows, parity, strict=True):
                with path.open("r+b", buffering=0) as file:
                    file.seek(at)
                    file.write(block)
            if self.told is not None:
                self.told(DATA_ROWS * size)
        return [row_hash.digest()[:CHECKSUM_BYTES] for row_hash in hashes]


def _settle(path: Path) -> str:
    """Make a file outlast a power cut; give its sha256."""
    whole = sha256()
    with path.open("r+b", buffering=0) as file:
        while data := file.read(1 << 20):
            whole.update(data)
        os.fsync(file.fileno())
    return whole.hexdigest()
