"""Which bytes of a damaged wheel its own checksums vouch for: the rest has to come again.

A zip carries a CRC-32 of every member, twice: in the directory and, as a rule, before the member. Nothing vouches for
the directory itself, nor for bytes between members, so they count as damaged. The CRC is that of the data when it is
inflated: damage that changes nothing of that (the bits that pad a member's last byte, the date in its header) counts as
sound. What is salvaged proves nothing: the bytes that belong together are those with the published sha256, and where
the salvaged ones have another, all of them come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.zip_format import (
    LOCAL_HEADER_SIZE,
    LONGEST_DESCRIPTOR,
    LONGEST_END,
    Member,
    disagreement,
    find_directory,
    inflate,
    is_descriptor,
    local_header_span,
    malformed,
    parse_directory,
    parse_local_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PIECE = 64 * 1024
_VERSION = 20  # what deflate needs; only the directory says it


def sound_spans(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Find the spans of a file's first ``size`` bytes that belong to sound members, in order.

    Where the directory is lost, the members are found by their own headers; the data of the last of a file that was cut
    off counts as sound as far as it can be inflated.

    Raises:
        OSError: the disk did not give it.
    """
    salvage = _Salvage(file, size)
    try:
        members, stop = salvage.directory()
    except IntegrityError:
        return list(salvage.walked())
    return list(salvage.listed(members, stop))


class _Salvage:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def directory(self) -> tuple[Sequence[Member], int]:
        tail = min(self._size, LONGEST_END)
        directory = find_directory(self._read(self._size - tail, tail), self._size)
        members = parse_directory(self._read(directory.offset, directory.size), directory)
        return sorted(members, key=lambda member: member.offset), directory.offset

    def listed(self, members: Sequence[Member], stop: int) -> Iterator[tuple[int, int]]:
        """Go through the members that the directory lists."""
        for index, member in enumerate(members):
            following = members[index + 1].offset if index + 1 < len(members) else stop
            try:
                yield member.offset, self._end_of(member, following)
            except IntegrityError:
                continue

    def walked(self) -> Iterator[tuple[int, int]]:
        """Go from header to header, as far as they lead."""
        at = 0
        while True:
            try:
                member, data = self._described(at)
            except IntegrityError:
                return
            end = data + member.compressed_size
            try:
                self._inflate(member, data)
                yield at, end
            except _CutOffError:
                yield at, self._size
                return
            except IntegrityError:
                pass
            at = end

    def _described(self, at: int) -> tuple[Member, int]:
        """Read a member's own header; only one that says all can be followed."""
        fixed = self._read(at, LOCAL_HEADER_SIZE)
        header = parse_local_header(self._read(at, local_header_span(fixed)))
        member = Member(
            name=repr(header.raw_name),
            version=_VERSION,
            raw_name=header.raw_name,
            flags=header.flags,
            method=header.method,
            crc=header.crc,
            compressed_size=header.compressed_size,
            size=header.member_size,
            offset=at,
            mode=0,
        )
        if member.has_descriptor:
            raise malformed("its sizes are behind its data")
        return member, at + header.size

    def _end_of(self, member: Member, following: int) -> int:
        """Say where a sound member ends, what describes it included."""
        fixed = self._read(member.offset, LOCAL_HEADER_SIZE)
        header = parse_local_header(self._read(member.offset, local_header_span(fixed)))
        if (detail := disagreement(member, header)) is not None:
            raise malformed(detail)
        data = member.offset + header.size
        end = data + member.compressed_size
        if end > following:
            raise malformed("it reaches into the next one")
        self._inflate(member, data)
        if member.has_descriptor and end < following <= end + LONGEST_DESCRIPTOR:
            return following if is_descriptor(member, self._read(end, following - end)) else end
        return end

    def _inflate(self, member: Member, data: int) -> None:
        for _ in inflate(member, self._pieces(data, member.compressed_size)):
            pass

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        self._file.seek(offset)
        while length > 0:
            piece = self._file.read(min(length, _PIECE, max(0, self._size - self._file.tell())))
            if not piece:
                raise _CutOffError("bad-archive", "it is cut off")
            length -= len(piece)
            yield piece

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise malformed("it is cut off")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise malformed("it is cut off")
        return data


class _CutOffError(IntegrityError):
    """The file ended within a member that was sound so far; never leaves this module."""
