"""The zip format as far as wheels use it: end record, central directory, local headers, inflating with a bound.

Values from bytes, without files or network, so that a local archive and one read by ranges share the same rules. The
structures are those of PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16. Where the format leaves two readers room
to see two different archives, this one refuses (CVE-2025-54368 in uv; the same gate that the public index has had
since 2026-02: research/mirrors.md, section 1).
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Inflating is most of what reading a wheel to its end costs; ISA-L takes half the time for it (benchmarks/README.md).
_inflation: Any = zlib
_inflate_errors: Any = (zlib.error,)
with suppress(ImportError):  # the extra ``fast``
    from isal import isal_zlib

    _inflation = isal_zlib
    _inflate_errors = (zlib.error, isal_zlib.error)

# What comes as views of a buffer goes as such, where it is stored as it is.
Data = TypeVar("Data", bytes, memoryview)

STORED = 0
DEFLATED = 8

# The end record with its longest comment, and the two ZIP64 structures that may stand before it.
LONGEST_END = 22 + 0xFFFF + 20 + 56
# torch's directory (12,248 members in 2.13.0+cpu) has 1.6 MB; this is room for twenty times as many.
MAX_DIRECTORY = 32 * 1024 * 1024

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE = b"PK\x06\x06"
_LOCATOR64 = struct.Struct("<4sLQL")
_LOCATOR64_SIGNATURE = b"PK\x06\x07"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
LOCAL_HEADER_SIZE = _LOCAL.size
LONGEST_DESCRIPTOR = 24

_FULL16 = 0xFFFF
_FULL32 = 0xFFFFFFFF
_EXTRA_ZIP64 = 0x0001
_EXTRA_UNICODE_PATH = 0x7075  # Info-ZIP: a second name, which some readers prefer
_FLAG_DESCRIPTOR = 0x0008
_FLAG_UTF8 = 0x0800
_FLAGS_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_FLAG_PATCHED = 0x0020
_NEWEST_VERSION = 63  # the highest that Python's own zipfile, and so pip, opens


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Where the central directory is: its offset and size in bytes, and how many members it lists."""

    offset: int
    size: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member as the central directory describes it.

    Sizes are in bytes; ``mode`` is as Unix has it (0 if unknown); ``version`` is ten times the format version needed.
    """

    name: str
    version: int
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int
    mode: int

    @property
    def is_directory(self) -> bool:
        """Whether this only names a directory."""
        return self.name.endswith("/")

    @property
    def is_encrypted(self) -> bool:
        """Whether it cannot be read without a password."""
        return bool(self.flags & _FLAGS_ENCRYPTED)

    @property
    def is_readable(self) -> bool:
        """Whether every installer can decompress it: nothing newer than it knows, and no other method than deflate."""
        supported = self.version <= _NEWEST_VERSION and self.method in {STORED, DEFLATED}
        return supported and not self.flags & _FLAG_PATCHED

    @property
    def has_descriptor(self) -> bool:
        """Whether its sizes follow its data once more, because they were not known when its header was written."""
        return bool(self.flags & _FLAG_DESCRIPTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHeader:
    """What stands before a member's data: ``size`` counts the whole header, name and extra fields included."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    member_size: int
    size: int


def malformed(detail: str) -> IntegrityError:
    """Make the error for an archive that is no zip, or not one that all readers would read alike."""
    return IntegrityError("bad-archive", f"the archive is damaged or ambiguous: {detail}")


def find_directory(tail: bytes, total: int) -> Directory:
    """Find the central directory from the last bytes of an archive of ``total`` bytes.

    ``tail`` must hold ``LONGEST_END`` bytes, or the whole archive where that is shorter.

    Raises:
        IntegrityError: ``bad-archive`` if there is no end record, more than one, or anything after the directory that
            is not it.
    """
    at = _find_end(tail)
    _, disk, directory_disk, count_here, count, size, offset, _ = _END.unpack_from(tail, at)
    tail_offset = total - len(tail)
    end = tail_offset + at
    if at >= _LOCATOR64.size and tail[at - _LOCATOR64.size :].startswith(_LOCATOR64_SIGNATURE):
        at -= _LOCATOR64.size
        _, disk64, offset64, disks = _LOCATOR64.unpack_from(tail, at)
        at -= _END64.size
        # Extensible data may stand between the record and its locator; no wheel builder writes any.
        if at < 0 or offset64 != tail_offset + at or not tail[at:].startswith(_END64_SIGNATURE):
            raise malformed("its ZIP64 end record is not where it should be")
        _, length, _, _, disk, directory_disk, count_here, wide_count, wide_size, wide_offset = _END64.unpack_from(
            tail, at
        )
        agrees = count in {wide_count, _FULL16} and size in {wide_size, _FULL32} and offset in {wide_offset, _FULL32}
        if length != _END64.size - 12 or disk64 != 0 or disks != 1 or not agrees:
            raise malformed("its two end records disagree")
        count, size, offset = wide_count, wide_size, wide_offset
        end = offset64
    elif _FULL16 in {count_here, count} or _FULL32 in {size, offset}:
        raise malformed("its ZIP64 end record is missing")
    if disk != 0 or directory_disk != 0 or count_here != count:
        raise malformed("it is one part of several")
    if size > MAX_DIRECTORY:
        raise malformed(f"its directory of {size} bytes is larger than {MAX_DIRECTORY}")
    if offset + size != end:
        raise malformed(f"its directory ends at byte {offset + size}, its end record begins at {end}")
    return Directory(offset=offset, size=size, count=count)


def _find_end(tail: bytes) -> int:
    """Find the one end record whose comment reaches exactly to the archive's end."""
    found = []
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if len(tail) - at >= _END.size and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            found.append(at)
        at = tail.rfind(_END_SIGNATURE, 0, at + len(_END_SIGNATURE) - 1)
    if not found:
        raise malformed("it has no end record, or something follows it")
    if len(found) > 1:
        raise malformed("it has more than one end record")
    return found[0]


def parse_directory(data: bytes, directory: Directory) -> tuple[Member, ...]:
    """Read the central directory's entries, in their order there.

    Raises:
        IntegrityError: ``bad-archive`` if the bytes are not exactly so many well-formed entries.
    """
    members = []
    at = 0
    for _ in range(directory.count):
        if len(data) - at < _ENTRY.size:
            raise malformed("its directory is cut off")
        (
            signature, _, version, flags, method, _, _, crc, compressed_size, size, name_length, extra_length,
            comment_length, disk, _, attributes, offset,
        ) = _ENTRY.unpack_from(data, at)  # fmt: skip
        at += _ENTRY.size
        stop = at + name_length + extra_length + comment_length
        if signature != _ENTRY_SIGNATURE or stop > len(data):
            raise malformed("its directory holds an entry that is none")
        raw_name = data[at : at + name_length]
        extra = data[at + name_length : at + name_length + extra_length]
        at = stop
        size, compressed_size, offset = _widened(extra, (size, compressed_size, offset))
        if disk != 0:
            raise malformed(f"member {raw_name!r} is in another part")
        members.append(
            Member(
                name=_name(raw_name, flags),
                version=version & 0xFF,  # the high byte names a system
                raw_name=raw_name,
                flags=flags,
                method=method,
                crc=crc,
                compressed_size=compressed_size,
                size=size,
                offset=offset,
                mode=attributes >> 16,
            )
        )
    if at != len(data):
        raise malformed(f"its directory lists {directory.count} members, and {len(data) - at} bytes more")
    return tuple(members)


def local_header_span(fixed: bytes) -> int:
    """Say how long a local header is, from its first ``LOCAL_HEADER_SIZE`` bytes.

    Raises:
        IntegrityError: ``bad-archive`` if those are not a local header's.
    """
    if len(fixed) < _LOCAL.size or not fixed.startswith(_LOCAL_SIGNATURE):
        raise malformed("a member has no header where the directory says")
    name_length, extra_length = _LOCAL.unpack_from(fixed)[-2:]
    return int(_LOCAL.size + name_length + extra_length)


def parse_local_header(data: bytes) -> LocalHeader:
    """Read a local header from exactly its bytes.

    Raises:
        IntegrityError: ``bad-archive`` if they are none.
    """
    if len(data) != local_header_span(data):
        raise malformed("a member's header is cut off")
    _, _, flags, method, _, _, crc, compressed_size, size, name_length, _ = _LOCAL.unpack_from(data)
    size, compressed_size = _widened(data[_LOCAL.size + name_length :], (size, compressed_size))
    return LocalHeader(
        raw_name=data[_LOCAL.size : _LOCAL.size + name_length],
        flags=flags,
        method=method,
        crc=crc,
        compressed_size=compressed_size,
        member_size=size,
        size=len(data),
    )


def disagreement(member: Member, header: LocalHeader) -> str | None:
    """Say in which fact the directory and a member's own header disagree, or ``None``."""
    if header.raw_name != member.raw_name:
        return f"name {header.raw_name!r} in its header, {member.raw_name!r} in the directory"
    if (header.flags, header.method) != (member.flags, member.method):
        return "flags or compression method differ between its header and the directory"
    in_header = (header.crc, header.compressed_size, header.member_size)
    in_directory = (member.crc, member.compressed_size, member.size)
    if in_header != in_directory and not (member.has_descriptor and in_header == (0, 0, 0)):
        return "sizes or checksum differ between its header and the directory"
    return None


def is_descriptor(member: Member, data: bytes) -> bool:
    """Whether bytes are the data descriptor that belongs after a member: with or without signature, 32 or 64 bits."""
    return any(
        data == signature + struct.pack(layout, member.crc, member.compressed_size, member.size)
        for layout in (("<LLL", "<LQQ") if max(member.compressed_size, member.size) <= _FULL32 else ("<LQQ",))
        for signature in (b"PK\x07\x08", b"")
    )


def crc32(data: bytes | memoryview, crc: int = 0) -> int:
    """Go on with the CRC-32 of some bytes."""
    return int(_inflation.crc32(data, crc))


def inflate_at_once(member: Member, compressed: bytes) -> bytes:
    """Decompress a small member's data, as ``inflate`` does: most of a wheel's members are small."""
    if member.method == DEFLATED and member.is_readable and not member.is_encrypted:
        inflater = _inflation.decompressobj(-zlib.MAX_WBITS)
        with suppress(*_inflate_errors):
            data: bytes = inflater.decompress(compressed, member.size + 1)
            ended = inflater.eof and not inflater.unused_data
            if ended and len(data) == member.size and crc32(data) == member.crc:
                return data
    return b"".join(inflate(member, [compressed]))  # which says what is wrong


def inflate(member: Member, compressed: Iterable[Data], *, piece: int = 128 * 1024) -> Iterator[Data]:
    """Decompress a member's data in pieces of at most ``piece`` bytes; never more than its declared size.

    Raises:
        IntegrityError: ``bad-archive`` if the data is damaged, is not exactly as long as declared, or fails its CRC.
    """
    crc = 0
    left = member.size
    for data in _decompressed(member, compressed, piece):
        left -= len(data)
        if left < 0:
            raise malformed(f"member {member.name!r} is longer than the {member.size} bytes that it declares")
        crc = crc32(data, crc)
        yield data
    if left != 0:
        raise malformed(f"member {member.name!r} is {left} bytes shorter than the {member.size} that it declares")
    if crc != member.crc:
        raise malformed(f"member {member.name!r} does not have its checksum")


def _decompressed(member: Member, compressed: Iterable[Data], piece: int) -> Iterator[Data]:
    if member.is_encrypted or not member.is_readable:
        raise malformed(f"member {member.name!r} is encrypted or compressed in another way than deflate")
    if member.method == STORED:
        yield from compressed
        return
    inflater = _inflation.decompressobj(-zlib.MAX_WBITS)
    try:
        for data in compressed:
            rest = data
            while rest:
                if inflater.eof:
                    raise malformed(f"something follows the compressed data of member {member.name!r}")
                yield inflater.decompress(rest, piece)
                rest = inflater.unconsumed_tail or inflater.unused_data
        while not inflater.eof and (data := inflater.decompress(b"", piece)):
            yield data
    except _inflate_errors as error:
        raise malformed(f"member {member.name!r} cannot be decompressed: {error}") from error
    if not inflater.eof:
        raise malformed(f"the compressed data of member {member.name!r} is cut off")


def _name(raw: bytes, flags: int) -> str:
    """Decode a name: UTF-8 where flagged, else ASCII, because beyond that readers differ (code page 437 or UTF-8)."""
    try:
        return raw.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise malformed(f"the name {raw!r} can be read in two ways") from error


def _widened(extra: bytes, narrow: tuple[int, ...]) -> tuple[int, ...]:
    """Replace the 32-bit values that are full by those of the ZIP64 extra field (APPNOTE 4.5.3)."""
    wide = b""
    seen = set()
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            raise malformed("a member's extra fields are cut off")
        if kind in {_EXTRA_ZIP64, _EXTRA_UNICODE_PATH} and (kind in seen or kind == _EXTRA_UNICODE_PATH):
            raise malformed("a member has two names or two sizes")
        seen.add(kind)
        if kind == _EXTRA_ZIP64:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    values = []
    for value in narrow:
        if value != _FULL32:
            values.append(value)
            continue
        if len(wide) < 8:  # noqa: PLR2004  (a 64-bit number)
            raise malformed("a member's ZIP64 sizes are missing")
        values.append(struct.unpack_from("<Q", wide)[0])
        wide = wide[8:]
    return tuple(values)
