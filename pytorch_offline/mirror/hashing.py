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
    size = 0
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            advanced(count)
    return digest.hexdigest(), size
