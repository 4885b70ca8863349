"""Stand-in libraries: small shared libraries that hold the facts which are read out of torch's own.

An ELF here has what a linker writes for it: program headers, a string table, version requirements, a dynamic section,
read-only texts, section headers; ``readelf`` and ``objdump`` read it. Only code is missing. The DLL is a portable
executable with one section of texts.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pytorch_offline.wheels.elf import hash_of_version

if TYPE_CHECKING:
    from collections.abc import Sequence

# e_machine (System V ABI, "ELF Header"); the values of the processors' own supplements.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_HEADER = struct.Struct("<16sHHLQQQLHHHHHH")
_SEGMENT = struct.Struct("<LLQQQQQQ")
_SECTION = struct.Struct("<LLQQQQLLQQ")
_NEED = struct.Struct("<HHLLL")
_VERSION = struct.Struct("<LHHLL")
_DYNAMIC = struct.Struct("<QQ")
_SHARED = 3
_LOAD, _DYNAMIC_SEGMENT = 1, 2
_PROGBITS, _STRTAB, _DYNAMIC_SECTION, _VERNEED = 1, 3, 6, 0x6FFFFFFE
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_VERNEED, _DT_VERNEEDNUM = 1, 5, 10, 0x6FFFFFFE, 0x6FFFFFFF
_READABLE = 4


def build_elf(machine: str, *, needs: Sequence[str] = (), texts: Sequence[str] = ()) -> bytes:
    """Build a 64-bit little-endian shared library.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        needs: versions that it needs of libc.so.6, such as ``GLIBC_2.17``.
        texts: its read-only texts, each ended by a NUL byte.
    """
    strings, places = b"\0", {}
    for text in ("libc.so.6", *needs):
        places[text] = len(strings)
        strings += text.encode("ascii") + b"\0"
    versions = _NEED.pack(1, len(needs), places["libc.so.6"], _NEED.size, 0) if needs else b""
    for number, need in enumerate(needs):
        following = _VERSION.size if number + 1 < len(needs) else 0
        versions += _VERSION.pack(hash_of_version(need), 0, 2 + number, places[need], following)
    texts_section = b"\0" + b"".join(text.encode("ascii") + b"\0" for text in texts)
    start = _HEADER.size + 2 * _SEGMENT.size
    strings_at = start
    versions_at = _aligned(strings_at + len(strings))
    texts_at = versions_at + len(versions)
    dynamic_at = _aligned(texts_at + len(texts_section))
    entries = [(_DT_NEEDED, places["libc.so.6"]), (_DT_STRTAB, strings_at), (_DT_STRSZ, len(strings))]
    entries += [(_DT_VERNEED, versions_at), (_DT_VERNEEDNUM, 1)] if needs else []
    dynamic = b"".join(_DYNAMIC.pack(*entry) for entry in [*entries, (0, 0)])
    sections = [
        (".dynstr", _STRTAB, strings_at, len(strings), 0, 0),
        (".gnu.version_r", _VERNEED, versions_at, len(versions), 1, 1 if needs else 0),
        (".rodata", _PROGBITS, texts_at, len(texts_section), 0, 0),
        (".dynamic", _DYNAMIC_SECTION, dynamic_at, len(dynamic), 1, 0),
    ]
    names, table = _sections(sections, dynamic_at + len(dynamic))
    names_at = dynamic_at + len(dynamic)
    table_at = _aligned(names_at + len(names))
    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9), _SHARED, _MACHINES[machine], 1, 0, _HEADER.size, table_at, 0,
        _HEADER.size, _SEGMENT.size, 2, _SECTION.size, len(sections) + 2, len(sections) + 1,
    )  # fmt: skip
    segments = _SEGMENT.pack(_LOAD, _READABLE, 0, 0, 0, names_at, names_at, 0x1000)
    segments += _SEGMENT.pack(
        _DYNAMIC_SEGMENT, _READABLE, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8
    )
    return _placed(
        (0, header + segments), (strings_at, strings), (versions_at, versions), (texts_at, texts_section),
        (dynamic_at, dynamic), (names_at, names), (table_at, table),
    )  # fmt: skip


def _sections(sections: Sequence[tuple[str, int, int, int, int, int]], names_at: int) -> tuple[bytes, bytes]:
    """Make the section names and the section headers: the empty one, those given, that of the names."""
    names = b"\0"
    rows = [bytes(_SECTION.size)]
    for name, kind, at, size, link, info in sections:
        rows.append(_SECTION.pack(len(names), kind, 2, at, at, size, link, info, 8, 0))
        names += name.encode("ascii") + b"\0"
    at = len(names)
    names += b".shstrtab\0"
    rows.append(_SECTION.pack(at, _STRTAB, 0, 0, names_at, len(names), 0, 0, 1, 0))
    return names, b"".join(rows)


def _placed(*pieces: tuple[int, bytes]) -> bytes:
    body = b""
    for at, piece in pieces:
        body = body.ljust(at, b"\0") + piece
    return body


def _aligned(at: int) -> int:
    return at + -at % 8


def build_dll(texts: Sequence[str]) -> bytes:
    """Build a 64-bit portable executable that holds texts (Microsoft, "PE Format")."""
    data = b"\0" + b"".join(text.encode("ascii") + b"\0" for text in texts)
    data += bytes(-len(data) % 0x200)
    at = 0x200
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<L", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHLLLHH", 0x8664, 1, 0, 0, 0, 240, 0x2022)
    optional = struct.pack("<HBBLLLLLQLL", 0x20B, 14, 0, 0, len(data), 0, 0, 0x1000, 0x180000000, 0x1000, 0x200)
    optional += struct.pack("<HHHHHHLLLLHHQQQQLL", 6, 0, 0, 0, 6, 0, 0, 0x2000, at, 0, 2, 0x160, 0, 0, 0, 0, 0, 16)
    section = struct.pack("<8sLLLLLLHHL", b".rdata", len(data), 0x1000, len(data), at, 0, 0, 0, 0, 0x40000040)
    return (dos + coff + optional.ljust(240, b"\0") + section).ljust(at, b"\0") + data
