"""The glibc that a shared library needs, read from its bytes as they stream by.

An ELF library lists the symbol versions that it needs of other libraries in its section ``.gnu.version_r``: records
that hold a hash of the version's name, and where in ``.dynstr`` the name itself stands (Linux Standard Base, "Symbol
Versioning"; glibc's ``elf/elf.h``, ``Elf64_Vernaux``). That section lies within the first megabytes of the file. What
points to it lies at the end, and so does the string table of torch's libraries, because ``patchelf`` moved it there
(measured); so the records are recognised by the hashes, of which the names ``GLIBC_2.x`` have only so many. A prefix
of a few megabytes of a library of a gigabyte then tells what it needs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GlibcVersion = tuple[int, int]

# vna_hash, vna_flags, vna_other, vna_name, vna_next; the same for 32 and 64 bits.
_RECORD = struct.Struct("<LHHLL")
_WEAK = 2
_MAX_INDEX = 0x7FFF
_MAX_STRING_TABLE = 1 << 31
_MAGIC = b"\x7fELF"
_LITTLE_ENDIAN = 1
_IDENT = 16
# A section of a few hundred bytes holds all records; this much without another one is its end.
_QUIET = 16 * 1024
# Twice as high as glibc is today (2.43).
_HIGHEST_MINOR = 99
# Versions of three numbers: those of the years before 2.4, on which torch's platforms rest.
_PATCH_LEVELS = {0: (1,), 1: (1, 2, 3), 2: (1, 2, 3, 4, 5, 6), 3: (1, 2, 3, 4)}
# Not a version but a promise: relative relocations packed in a way that glibc reads since this release.
_PACKED_RELOCATIONS = ("GLIBC_ABI_DT_RELR", (2, 36))


def hash_of_version(name: str) -> int:
    """Compute the hash by which ELF compares version names (System V ABI, "Hash Table")."""
    value = 0
    for byte in name.encode("ascii"):
        value = (value << 4) + byte
        value = (value ^ ((value & 0xF0000000) >> 24)) & 0x0FFFFFFF
    return value


def _named_versions() -> Iterator[tuple[str, GlibcVersion]]:
    yield _PACKED_RELOCATIONS
    for minor in range(_HIGHEST_MINOR + 1):
        yield f"GLIBC_2.{minor}", (2, minor)
        for patch in _PATCH_LEVELS.get(minor, ()):
            yield f"GLIBC_2.{minor}.{patch}", (2, minor)


_VERSIONS = {hash_of_version(name): version for name, version in _named_versions()}
# All hashes end in few different ways, for which bytes are searched as fast as memory is read.
_ENDINGS = sorted({struct.pack("<L", value)[1:] for value in _VERSIONS})


class GlibcNeedFinder:
    """Finds the highest ``GLIBC_2.x`` that a library needs; feed it the file from its first byte on.

    ``done`` as soon as more bytes would tell nothing more: ``need`` is the version then, or None in a file that is not
    an ELF for little-endian machines (which no bytes can change) or names no such version.
    """

    def __init__(self) -> None:
        self.need: GlibcVersion | None = None
        self.done = False
        self._kept = b""
        self._fed = 0
        self._last = 0
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.done:
            return
        window = self._kept + data
        if not self._begun:
            if len(window) < _IDENT:
                self._kept = window
                return
            if not window.startswith(_MAGIC) or window[5] != _LITTLE_ENDIAN:
                self.done = True
                return
            self._begun = True
        start = self._fed - len(self._kept)
        self._fed += len(data)
        for at, version in _records(window):
            if self.need is not None and start + at > self._last + _QUIET:
                break
            self.need = max(self.need or version, version)
            self._last = start + at
        self.done = self.need is not None and self._fed > self._last + _QUIET + _RECORD.size
        self._kept = window[-(_RECORD.size - 1) :]


def find_glibc_need(pieces: Iterable[bytes]) -> GlibcVersion | None:
    """Find what a library needs, given its bytes in pieces, of which no more are taken than needed."""
    finder = GlibcNeedFinder()
    for piece in pieces:
        finder.feed(piece)
        if finder.done:
            break
    return finder.need


def _records(window: bytes) -> list[tuple[int, GlibcVersion]]:
    """Find the records of known versions, in their order: a hash, and values around it that such a record has."""
    found = []
    for ending in _ENDINGS:
        at = window.find(ending)
        while at >= 0:
            if at >= 1 and at - 1 + _RECORD.size <= len(window):
                value, flags, index, name, following = _RECORD.unpack_from(window, at - 1)
                version = _VERSIONS.get(value)
                sound = flags in {0, _WEAK} and 1 < index <= _MAX_INDEX and 0 < name < _MAX_STRING_TABLE
                if version is not None and sound and following in {0, _RECORD.size}:
                    found.append((at - 1, version))
            at = window.find(ending, at + 1)
    return sorted(found)
