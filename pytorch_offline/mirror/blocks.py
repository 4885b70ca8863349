"""Checksums of a file's blocks: where a file is bad, once its hash has told that it is.

A sha256 says of two gigabytes no more than that they are not these. Whoever reads a good file to its end therefore
notes the CRC-32 of each block, once, in ``.state/blocks``: 60 kB for such a file, and a thirtieth of the time that
hashing takes (with zlib in place of ISA-L, a quarter). They say which blocks of a file that has rotted need not be
fetched again. They prove nothing: what was mended is judged by its sha256.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.mirror.spans import joined
from pytorch_offline.wheels.zip_format import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytorch_offline.mirror.spans import Spans

# A disk's sectors and an SSD's pages are smaller, and a request for less costs as much.
BLOCK = 256 * 1024
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The CRC-32 of each block of a file of ``size`` bytes; the last block may be shorter."""

    size: int
    checksums: tuple[int, ...]


class BlockSums:
    """Takes the checksums of bytes that come one after the other."""

    def __init__(self) -> None:
        self._size = 0
        self._crc = 0
        self._checksums: list[int] = []

    def update(self, piece: memoryview) -> None:
        """Go on."""
        while piece:
            part = piece[: BLOCK - self._size % BLOCK]
            self._crc = crc32(part, self._crc)
            self._size += len(part)
            if self._size % BLOCK == 0:
                self._checksums.append(self._crc)
                self._crc = 0
            piece = piece[len(part) :]

    @property
    def blocks(self) -> Blocks:
        """What came so far."""
        last = (self._crc,) if self._size % BLOCK else ()
        return Blocks(size=self._size, checksums=(*self._checksums, *last))


def agreeing(known: Blocks, found: Blocks) -> Spans:
    """Say which bytes of a file are as they were; a block that is cut off or too long is not."""
    last = len(known.checksums) - 1
    return joined(
        (number * BLOCK, min((number + 1) * BLOCK, known.size))
        for number, (one, other) in enumerate(zip(known.checksums, found.checksums, strict=False))
        if one == other and (number < last or found.size == known.size)
    )


def render_blocks(blocks: Blocks) -> str:
    """Write them down, with a checksum of their own."""
    body = "".join(f"{crc:08x}" for crc in blocks.checksums)
    return json.dumps({"format": FORMAT, "size": blocks.size, "crc32": body, "check": _check(blocks.size, body)})


def parse_blocks(text: str) -> Blocks | None:
    """Read them; None if they are not as they were written."""
    try:
        document = json.loads(text)
        body, size = document["crc32"], document["size"]
        if document["format"] != FORMAT or _check(size, body) != document["check"] or type(size) is not int:
            return None
        checksums = tuple(int(body[at : at + 8], 16) for at in range(0, len(body), 8))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Blocks(size=size, checksums=checksums) if len(checksums) == -(-size // BLOCK) else None


def _check(size: int, body: str) -> int:
    return crc32(f"{size} {body}".encode())


class BlockNotes:
    """The checksums that a mirror has noted, by the sha256 of the file. Who cannot note them has none: no more."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, sha256: str) -> bool:
        """Say whether a file's are noted already, or cannot be."""
        return not self._directory.parent.is_dir() or self._place(sha256).exists()

    def read(self, sha256: str) -> Blocks | None:
        """Read a file's."""
        try:
            return parse_blocks(self._place(sha256).read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            return None

    def note(self, sha256: str, blocks: Blocks) -> None:
        """Note a good file's, whole or not at all; they need not outlast a power cut."""
        place = self._place(sha256)
        temporary = place.with_name(f"{place.name}.{os.getpid()}.new")
        with suppress(OSError):
            self._directory.mkdir(exist_ok=True)
            temporary.write_text(render_blocks(blocks), encoding="ascii")
            temporary.replace(place)

    def keep(self, hashes: Iterable[str]) -> None:
        """Drop all but some files', and what a cut-off run left half-written."""
        kept = {self._place(sha256).name for sha256 in hashes}
        with suppress(OSError):
            for place in self._directory.iterdir():
                if place.name not in kept:
                    place.unlink(missing_ok=True)

    def _place(self, sha256: str) -> Path:
        return self._directory / f"{sha256}.json"
