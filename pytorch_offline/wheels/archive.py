"""The admission gate of wheels: an unambiguous zip, whose RECORD covers and matches every member.

Neither pip nor uv compares a wheel with its RECORD, and upstream's wheels never passed the public index's gate
(research/mirrors.md, sections 1 and 4). What is found wrong is reported as values; whether a known-bad old wheel is let
in all the same is for the mirror's published exception table to say.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.archive_rules import (
    STRONG_HASHES,
    ArchiveProblem,
    check_data_directory,
    check_entry_points,
    check_identity,
    check_listing,
    check_wheel_file,
    compare_record,
    parse_record,
)
from pytorch_offline.wheels.dist_info import find_dist_info
from pytorch_offline.wheels.metadata import MAX_METADATA
from pytorch_offline.wheels.zip_format import (
    LOCAL_HEADER_SIZE,
    LONGEST_DESCRIPTOR,
    LONGEST_END,
    Member,
    disagreement,
    find_directory,
    inflate,
    inflate_at_once,
    is_descriptor,
    local_header_span,
    malformed,
    parse_directory,
    parse_local_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from installer.records import RecordEntry

    from pytorch_offline.wheels.filename import WheelName

# What is read at once, and what of it is inflated at once: measured best for torch (benchmarks/verify.py).
_PIECE = 256 * 1024
_SLICE = 64 * 1024
# A member up to this size is inflated in one call; most are, and a call costs more than inflating a small one.
_SMALL = 128 * 1024
# What is read at once where only headers are wanted.
_HEADER_READ = 512
# RECORD of torch 2.13.0+cpu has 1.4 MB.
MAX_RECORD = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What was found in a wheel: its defects, none if it may be admitted, and the bytes of METADATA (or none)."""

    problems: tuple[ArchiveProblem, ...]
    metadata: bytes


def check_archive(
    path_or_file: Path | BinaryIO,
    name: WheelName,
    *,
    deep: bool = True,
    seen: Callable[[memoryview], object] | None = None,
) -> ArchiveReport:
    """Check a wheel against the zip format, its own RECORD, and its file name.

    ``deep`` inflates and hashes every member, in one pass over the file with flat memory; without it only the listing,
    the headers, RECORD, METADATA and WHEEL are read. In the course of that pass ``seen`` is told of all bytes of the
    file, in order and each once, whatever is found; it must not keep them.

    Raises:
        IntegrityError: ``unreadable-file`` if the file cannot be opened or read.
    """
    try:
        if isinstance(path_or_file, Path):
            with path_or_file.open("rb", buffering=0) as file:
                return _Check(file, name).run(deep=deep, seen=seen)
        return _Check(path_or_file, name).run(deep=deep, seen=seen)
    except OSError as error:
        raise IntegrityError("unreadable-file", f"{name.filename} cannot be read: {error}") from error


class _Stream:
    """A file from its first byte on, each read at most once; ``at`` is how far that has come.

    ``piece`` bytes are read at once. ``seen`` is told of every byte; without it, what is skipped is not read.
    """

    def __init__(self, file: BinaryIO, piece: int, seen: Callable[[memoryview], object] | None) -> None:
        self.at = 0
        self._file = file
        self._piece = piece
        self._seen = seen
        self._data = memoryview(b"")  # what was read and not taken yet
        file.seek(0)

    def take(self, length: int) -> bytes:
        """Take the next bytes."""
        data = self._data[:length]
        if len(data) == length:
            self._data = self._data[length:]
            self.at += length
            return bytes(data)
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Take the next bytes in pieces of at most ``_SLICE``."""
        while length > 0:
            if not self._data and not self._fill():
                raise malformed("it is cut off")
            piece = self._data[: min(length, _SLICE)]
            self._data = self._data[len(piece) :]
            self.at += len(piece)
            length -= len(piece)
            yield piece

    def skip(self, length: int) -> None:
        """Leave out the next bytes."""
        if self._seen is not None or length <= len(self._data):
            for _ in self.pieces(length):
                pass
            return
        self._file.seek(length - len(self._data), io.SEEK_CUR)
        self._data = memoryview(b"")
        self.at += length

    def drain(self) -> None:
        """Let the rest be seen."""
        while self._seen is not None and self._fill():
            pass

    def _fill(self) -> bool:
        self._data = memoryview(self._file.read(self._piece))
        if self._seen is not None and self._data:
            self._seen(self._data)
        return bool(self._data)


class _Check:
    """One check in progress: the file and the defects found so far."""

    def __init__(self, file: BinaryIO, wheel: WheelName) -> None:
        self.file = file
        self.wheel = wheel
        self.problems: list[ArchiveProblem] = []

    def run(self, *, deep: bool, seen: Callable[[memoryview], object] | None) -> ArchiveReport:
        members, start, metadata, record = self._look()
        stream = _Stream(self.file, _PIECE if deep else _HEADER_READ, seen if deep else None)
        try:
            self._walk(members, start, stream, record if deep else None)
        except IntegrityError as error:
            self.problems, metadata = [_bad_archive(error)], b""
        stream.drain()
        return ArchiveReport(problems=tuple(self.problems), metadata=metadata)

    def _look(self) -> tuple[Sequence[Member], int, bytes, Mapping[str, RecordEntry] | None]:
        """Look at what says the most: the directory and the members of ``.dist-info``.

        Gives the members in the order of the file, where the directory starts, METADATA and RECORD. Without a sound
        skeleton there are no members, for nothing in such an archive means anything.
        """
        try:
            total = self.file.seek(0, io.SEEK_END)
            directory = find_directory(self._read(max(0, total - LONGEST_END), min(total, LONGEST_END)), total)
            members = parse_directory(self._read(directory.offset, directory.size), directory)
        except IntegrityError as error:
            self.problems.append(_bad_archive(error))
            return (), 0, b"", None
        self.problems += check_listing(members, self.wheel)
        if self.problems:
            return (), 0, b"", None
        try:
            dist_info = find_dist_info([member.name for member in members], self.wheel)
        except IntegrityError as error:
            self._report(error.code, "", error.message)
            return (), 0, b"", None
        by_name = {member.name: member for member in members}
        metadata = self._small(by_name, f"{dist_info}/METADATA", "bad-metadata", MAX_METADATA)
        wheel_file = self._small(by_name, f"{dist_info}/WHEEL", "bad-wheel-file", MAX_METADATA)
        record_file = self._small(by_name, f"{dist_info}/RECORD", "bad-record", MAX_RECORD)
        if metadata is not None:
            self.problems += check_identity(metadata, self.wheel)
        if wheel_file is not None:
            self.problems += check_wheel_file(wheel_file)
        self.problems += check_data_directory(members, dist_info)
        if (entry_points := f"{dist_info}/entry_points.txt") in by_name:
            text = self._small(by_name, entry_points, "bad-entry-points", MAX_METADATA)
            self.problems += check_entry_points(text or b"")
        record = None
        if record_file is not None:
            record, problems = parse_record(record_file)
            self.problems += problems
            self.problems += compare_record(record, by_name, dist_info)
        return sorted(members, key=lambda member: member.offset), directory.offset, metadata or b"", record

    def _walk(
        self, members: Sequence[Member], stop: int, stream: _Stream, record: Mapping[str, RecordEntry] | None
    ) -> None:
        """Go through the file: every member's header, and with RECORD its data.

        The members must fill the file from its first byte to the directory: whatever lies between, before or under them
        is what another reader might see.
        """
        for index, member in enumerate(members):
            following = members[index + 1].offset if index + 1 < len(members) else stop
            if member.offset != stream.at:
                raise malformed(f"{abs(member.offset - stream.at)} bytes overlap or hide before member {member.name!r}")
            fixed = stream.take(LOCAL_HEADER_SIZE)
            header = parse_local_header(fixed + stream.take(local_header_span(fixed) - len(fixed)))
            if (detail := disagreement(member, header)) is not None:
                self._report("header-mismatch", member.name, detail)
            end = stream.at + member.compressed_size
            if end > stop:
                raise malformed(f"member {member.name!r} reaches into the directory")
            if record is not None:
                self._hash(member, stream, record.get(member.name))
            stream.skip(end - stream.at)
            described = member.has_descriptor and end < following <= end + LONGEST_DESCRIPTOR
            if described and not is_descriptor(member, stream.take(following - end)):
                raise malformed(f"what follows member {member.name!r} is not its descriptor")
        if members and stream.at != stop:
            raise malformed(f"{abs(stop - stream.at)} bytes overlap or hide before the directory")

    def _hash(self, member: Member, stream: _Stream, entry: RecordEntry | None) -> None:
        """Inflate a member's data, and compare it with its checksum and its row in RECORD."""
        said = entry.hash_ if entry is not None else None
        algorithm = said.name if said is not None and said.name in STRONG_HASHES else "sha256"
        try:
            if max(member.size, member.compressed_size) <= _SMALL:
                digest = hashlib.new(algorithm, inflate_at_once(member, stream.take(member.compressed_size)))
            else:
                digest = hashlib.new(algorithm)
                for piece in inflate(member, stream.pieces(member.compressed_size)):
                    digest.update(piece)
        except IntegrityError as error:
            self._report("bad-member", member.name, error.message)
            return
        if said is not None and said.name == algorithm:
            found = base64.urlsafe_b64encode(digest.digest()).decode("ascii").rstrip("=")
            if said.value.rstrip("=") != found:
                self._report("record-mismatch", member.name, f"RECORD says {said}, its bytes say {found}")

    def _small(self, by_name: Mapping[str, Member], name: str, code: str, limit: int) -> bytes | None:
        """Read a member of ``.dist-info`` whole, or report why not."""
        member = by_name.get(name)
        if member is None:
            self._report(code, name, "the wheel has no such member")
            return None
        if member.size > limit:
            self._report(code, name, f"{member.size} bytes are more than the {limit} that are read")
            return None
        try:
            data = member.offset + local_header_span(self._read(member.offset, LOCAL_HEADER_SIZE))
            return b"".join(inflate(member, self._pieces(data, member.compressed_size)))
        except IntegrityError as error:
            self._report(code, name, error.message)
            return None

    def _read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise malformed("it is cut off")
        return data

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        self.file.seek(offset)
        while length > 0:
            data = self.file.read(min(length, _PIECE))
            if not data:
                raise malformed("it is cut off")
            length -= len(data)
            yield data

    def _report(self, code: str, member: str, detail: str) -> None:
        self.problems.append(ArchiveProblem(code=code, member=member, detail=detail))


def _bad_archive(error: IntegrityError) -> ArchiveProblem:
    return ArchiveProblem(code="bad-archive", member="", detail=error.message)
