"""Bytes from media into the mirror's private directory, each read once: copied and hashed in one go.

Nothing is admitted before everything has come and is right, so that a medium is not read twice to be sure. What came
stays for the next run if anything is wrong: it is proved again by its hash, and the medium is not asked for it.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.bundle.reading.media import READ_BYTES, open_regular
from pytorch_offline.mirror.disk import share_blocks
from pytorch_offline.mirror.hashing import read_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile, Piece
    from pytorch_offline.bundle.reading.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Bytes of a bundle that did not come: of which file, which piece of it, where it was looked for, and why."""

    file: BundleFile
    piece: Piece
    path: str | None
    reason: str


class MediumError(Exception):
    """A run of bytes is not to be had in the place that was tried."""


def stage_file(source: Source, file: BundleFile, part: Path, advanced: Callable[[int], None]) -> list[Trouble]:
    """Bring a file to ``part``, whole and right; say what is in the way if it cannot be had.

    What can be had of it comes, and stays for the next run: its other pieces may lie on a disc that is put in later.

    Args:
        source: the media.
        file: what is wanted.
        part: where to; what lies there from an earlier run is used if it is right.
        advanced: told of how many bytes are there, from the beginning.

    Raises:
        OSError: what the disk of ``part`` said.
    """
    location = source.locate(file)
    whole = location.paths[0][0] if len(location.pieces) == 1 and location.paths[0] else None
    if _is_there(part, file, advanced):
        return []
    if whole is not None and _share_blocks(whole, part) and _is_there(part, file, advanced):
        return []
    advanced(0)
    troubles, begins = [], 0
    with part.open("r+b" if part.exists() else "w+b") as target:
        for piece, paths in zip(location.pieces, location.paths, strict=True):
            if len(location.pieces) == 1 or not _holds_piece(target, piece, begins):
                troubles += _bring_piece(file, piece, paths, target, begins, advanced=advanced)
            begins += piece.size
        target.truncate(begins)
    return troubles


def _bring_piece(
    file: BundleFile,
    piece: Piece,
    paths: tuple[str, ...],
    target: BinaryIO,
    begins: int,
    *,
    advanced: Callable[[int], None] = lambda _: None,
) -> list[Trouble]:
    """Copy a piece to its place from the first of several files that has it right."""
    reason, tried = "it is not there", None
    for path in paths:
        target.seek(begins)
        try:
            _copy_piece(path, piece, target, begins, advanced)
        except MediumError as error:
            reason, tried = str(error), path
        else:
            return []
    return [Trouble(file=file, piece=piece, path=tried, reason=reason)]


def _holds_piece(target: BinaryIO, piece: Piece, begins: int) -> bool:
    """Say whether a piece came in an earlier run."""
    if os.fstat(target.fileno()).st_size < begins + piece.size:
        return False
    target.seek(begins)
    digest, left = hashlib.sha256(), piece.size
    while left and (run := target.read(min(left, READ_BYTES))):
        digest.update(run)
        left -= len(run)
    return digest.hexdigest() == piece.sha256


def copy_file(path: Path, file: BundleFile, part: Path) -> bool:
    """Copy a file that should have the bytes of ``file``; say whether it has.

    Raises:
        OSError: what the disk of ``part`` said.
    """
    with part.open("wb") as target:
        try:
            _copy_piece(str(path), file.whole, target, 0, lambda _: None)
        except MediumError:
            return False
    return True


def read_small_file(source: Source, file: BundleFile) -> bytes | Trouble:
    """Read a file into memory, whole and right; say what is in the way if it cannot be had."""
    location = source.locate(file)
    body = io.BytesIO()
    for piece, paths in zip(location.pieces, location.paths, strict=True):
        begins = body.tell()
        for trouble in _bring_piece(file, piece, paths, body, begins):
            return trouble
    return body.getvalue()


def _is_there(part: Path, file: BundleFile, advanced: Callable[[int], None]) -> bool:
    """Say whether the whole file has come already, by its hash."""
    if not part.is_file() or part.stat().st_size != file.size:
        return False
    position = 0

    def seen(count: int) -> None:
        nonlocal position
        position += count
        advanced(position)

    return read_sha256(part, advanced=seen)[0] == file.sha256


def _share_blocks(path: str, part: Path) -> bool:
    """Make ``part`` of the blocks of another file, where both lie on one file system that can; say whether it did."""
    try:
        with open_regular(path) as shared, part.open("wb") as target:
            return share_blocks(shared, target)
    except OSError:
        return False


def _copy_piece(path: str, piece: Piece, target: BinaryIO, begins: int, advanced: Callable[[int], None]) -> None:
    digest, position = hashlib.sha256(), 0
    for run in _runs(path, piece.size):
        target.write(run)
        digest.update(run)
        position += len(run)
        advanced(begins + position)
    if position != piece.size:
        raise MediumError(f"it has {position} bytes instead of {piece.size}")
    if digest.hexdigest() != piece.sha256:
        raise MediumError(f"its sha256 is {digest.hexdigest()} instead of {piece.sha256}")


def _runs(path: str, size: int) -> Iterator[bytes]:
    """Read a file of a known size from a medium, and one byte more, which must not be there."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > size:
                raise MediumError(f"it has {os.fstat(file.fileno()).st_size} bytes instead of {size}")
            while run := file.read(READ_BYTES):
                yield run
    except OSError as error:
        raise MediumError(f"it cannot be read: {error.strerror or error}") from error
