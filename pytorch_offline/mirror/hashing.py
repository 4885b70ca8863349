"""Reading a file once, for its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Reads of 1 MiB hash at the processor's limit (performance.md, section D); hashlib lets other threads run meanwhile.
CHUNK = 1 << 20


def read_sha256(path: Path, *, advanced: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    """Hash a file and count its bytes, telling ``advanced`` of each piece.

    Raises:
        OSError: what reading the file said.
    """
    digest = hashlib.sha256()

    def seen(piece: memoryview) -> None:
        digest.update(piece)
        advanced(len(piece))

    size = read_pieces(path, seen)
    return digest.hexdigest(), size


def read_pieces(path: Path, seen: Callable[[memoryview], object]) -> int:
    """Tell ``seen`` of a file's bytes, piece by piece, which it must not keep; count them.

    Raises:
        OSError: what reading the file said.
    """
    size = 0
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            seen(buffer[:count])
            size += count
    return size
