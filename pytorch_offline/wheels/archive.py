"""The admission gate of wheels: an unambiguous zip, whose RECORD covers and matches every member.

Neither pip nor uv compares a wheel with its RECORD, and upstream's wheels never passed the public index's gate
(research/mirrors.md, sections 1 and 4). What is found wrong is reported as values; whether a known-bad old wheel is let
in all the same is for the mirror's published exception table to say.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import unicodedata
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from installer.records import InvalidRecordEntry, RecordEntry, parse_record_file

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.dist_info import find_dist_info
from pytorch_offline.wheels.metadata import MAX_METADATA, parse_metadata
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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pytorch_offline.wheels.filename import WheelName

# What is read at once, and what of it is inflated at once: measured best for torch (benchmarks/verify.py).
_PIECE = 256 * 1024
_SLICE = 64 * 1024
# A member up to this size is inflated in one call; most are, and a call costs more than inflating a small one.
_SMALL = 128 * 1024
# What is read at once where only headers are wanted.
_HEADER_READ = 512
# The largest torch wheel unpacks to about 5 GB. Deflate cannot exceed 1032:1, so this only bounds the time spent on a
# hostile archive.
MAX_UNPACKED = 64 * 1024**3
# RECORD of torch 2.13.0+cpu has 1.4 MB.
MAX_RECORD = 64 * 1024 * 1024

# Retired by PEP 815, and never listed in RECORD because they sign it.
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
# The specification asks for sha256 or better (binary-distribution-format, "The .dist-info directory").
_STRONG_HASHES = frozenset({"sha256", "sha384", "sha512"})
_UNSAFE_CHARACTER = re.compile(r"[\x00-\x1f\x7f\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_NAME = 1024
_MAX_COMPONENT = 255  # bytes, on every file system that matters
_FORMAT = re.compile(r"1\.[0-9]+")
_SIZE = re.compile(r"[0-9]*")
# Where installers put what is below .data; the first two are one directory on most systems.
_SITE_PACKAGES = frozenset({"purelib", "platlib"})
_SCHEMES = _SITE_PACKAGES | {"headers", "scripts", "data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProblem:
    """One defect of a wheel.

    ``code`` is stable: ``bad-archive``, ``duplicate-name``, ``case-clash``, ``unsafe-name``, ``special-file``,
    ``encrypted``, ``unsupported-compression``, ``too-large``, ``header-mismatch``, ``bad-member``, ``bad-dist-info``,
    ``bad-data-directory``, ``bad-entry-points``, ``bad-wheel-file``, ``bad-metadata``, ``metadata-mismatch``,
    ``bad-record``, ``record-no-hash``, ``record-weak-hash``, ``record-mismatch``, ``not-in-record``,
    ``missing-member``. ``member`` is empty where the
    defect is the archive's.
    """

    code: str
    member: str
    detail: str


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
        algorithm = said.name if said is not None and said.name in _STRONG_HASHES else "sha256"
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


def check_listing(members: Sequence[Member], wheel: WheelName) -> Iterator[ArchiveProblem]:
    """Find what the directory alone shows: unsafe and clashing names, special files, what cannot be unpacked."""
    for member in members:
        yield from _check_member(member)
    # Linux keeps names apart that differ in case only; a wheel for it may hold both (kernel headers do).
    yield from _check_clashes(members, folds_case=not all("linux" in tag.platform for tag in wheel.tags))
    unpacked = sum(member.size for member in members)
    if unpacked > MAX_UNPACKED:
        yield ArchiveProblem(code="too-large", member="", detail=f"it unpacks to {unpacked} bytes")


def _check_member(member: Member) -> Iterator[ArchiveProblem]:
    if (detail := unsafe_name(member.name)) is not None:
        yield ArchiveProblem(code="unsafe-name", member=member.name, detail=detail)
    kind = stat.S_IFMT(member.mode)
    if kind not in {0, stat.S_IFDIR if member.is_directory else stat.S_IFREG}:
        yield ArchiveProblem(code="special-file", member=member.name, detail=f"its mode is {member.mode:o}")
    if member.is_directory and member.size:
        yield ArchiveProblem(code="special-file", member=member.name, detail="a directory that holds data")
    if member.is_encrypted:
        yield ArchiveProblem(code="encrypted", member=member.name, detail="it cannot be read without a password")
    if not member.is_readable:
        detail = f"compression method {member.method} of version {member.version / 10}, flags {member.flags:#x}"
        yield ArchiveProblem(code="unsupported-compression", member=member.name, detail=detail)


def _check_clashes(members: Iterable[Member], *, folds_case: bool) -> Iterator[ArchiveProblem]:
    """Find members that would be written to one place, or one under another that is a file."""
    written: dict[str, Member] = {}
    for member in members:
        place = member.name.rstrip("/")
        if folds_case:
            place = unicodedata.normalize("NFC", place).casefold()
        if (other := written.get(place)) is not None:
            code = "duplicate-name" if other.name.rstrip("/") == member.name.rstrip("/") else "case-clash"
            yield ArchiveProblem(code=code, member=member.name, detail=f"it would replace {other.name}")
        written[place] = member
    parents = {parent for place in written for parent in _parents(place)}
    files = {place for place, member in written.items() if not member.is_directory}
    if parents.isdisjoint(files):
        return
    for place, member in written.items():
        for parent in _parents(place):
            other = written.get(parent)
            if other is not None and not other.is_directory:
                detail = f"{other.name} is a file, and so no directory"
                yield ArchiveProblem(code="duplicate-name", member=member.name, detail=detail)


def _parents(path: str) -> Iterator[str]:
    """Name the directories above a path."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def unsafe_name(name: str) -> str | None:
    """Say why a member's name could write outside of where it is unpacked, or differ between systems; else ``None``."""
    if not name or len(name) > _MAX_NAME:
        return "it is empty or too long"
    if _UNSAFE_CHARACTER.search(name):
        return "it holds a backslash or a control character"
    if name.startswith("/") or _DRIVE.match(name):
        return "it is absolute"
    components = name.removesuffix("/").split("/")
    if {"", ".", ".."} & set(components):
        return "it leaves its directory or names it twice"
    if any(len(component.encode()) > _MAX_COMPONENT for component in components):
        return "it is longer than file systems allow"
    if not name.isascii() and any(unicodedata.category(character) in {"Cc", "Cf"} for character in name):
        return "it holds a character that cannot be seen"
    return None


def check_identity(metadata: bytes, wheel: WheelName) -> Iterator[ArchiveProblem]:
    """Compare METADATA's Name and Version, as normalised and with the local version, with the file name's."""
    try:
        core = parse_metadata(metadata)
        metadata.decode("utf-8")  # the parser forgives what pip does not
    except (IntegrityError, UnicodeDecodeError) as error:
        yield ArchiveProblem(code="bad-metadata", member="METADATA", detail=str(error))
        return
    if (core.name, core.version) != (wheel.project, wheel.version):
        yield ArchiveProblem(
            code="metadata-mismatch",
            member="METADATA",
            detail=f"METADATA is of {core.name} {core.version}, the file name of {wheel.project} {wheel.version}",
        )


def check_wheel_file(text: bytes) -> Iterator[ArchiveProblem]:
    """Check that WHEEL names a version of the format that installers accept (PEP 427: major version 1)."""
    try:
        headers = HeaderParser().parsestr(text.decode("utf-8")).items()
    except UnicodeDecodeError as error:
        yield ArchiveProblem(code="bad-wheel-file", member="WHEEL", detail=f"WHEEL is not UTF-8: {error}")
        return
    said = [(name, value.strip()) for name, value in headers if name.lower() == "wheel-version"]
    if len(said) != 1 or said[0][0] != "Wheel-Version" or _FORMAT.fullmatch(said[0][1]) is None:
        detail = f"WHEEL says {dict(said) or 'nothing'} of the format's version; installers know Wheel-Version: 1.0"
        yield ArchiveProblem(code="bad-wheel-file", member="WHEEL", detail=detail)


def check_data_directory(members: Iterable[Member], dist_info: str) -> Iterator[ArchiveProblem]:
    """Check what installers move out of ``.data``: into places that they know, and over nothing else.

    Only pip moves a ``.data`` directory of another name, and what lands in site-packages twice is there as written
    last (binary-distribution-format, "The .data directory").
    """
    own = dist_info.removesuffix(".dist-info") + ".data"
    landed: dict[str, str] = {}
    for member in members:
        top, _, inside = member.name.partition("/")
        if member.is_directory:
            continue
        place = member.name
        if top.endswith(".data"):
            scheme, _, place = inside.partition("/")
            if top != own or scheme not in _SCHEMES or not place:
                detail = f"it is in none of the directories that installers know below {own}"
                yield ArchiveProblem(code="bad-data-directory", member=member.name, detail=detail)
                continue
            if scheme not in _SITE_PACKAGES:
                continue
        if place in landed:
            detail = f"it would replace {landed[place]}"
            yield ArchiveProblem(code="duplicate-name", member=member.name, detail=detail)
        landed[place] = member.name


def check_entry_points(text: bytes) -> Iterator[ArchiveProblem]:
    """Check that the commands that an installer will write stay in its directory of commands."""
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        yield ArchiveProblem(code="bad-entry-points", member="entry_points.txt", detail=f"it is not UTF-8: {error}")
        return
    section = ""
    for line in map(str.strip, lines):
        name, mark, _ = line.partition("=")
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section in {"console_scripts", "gui_scripts"} and mark and not line.startswith(("#", ";")):
            command = name.strip()
            if "/" in command or unsafe_name(command) is not None:
                detail = f"{command!r} cannot be the name of a command"
                yield ArchiveProblem(code="bad-entry-points", member="entry_points.txt", detail=detail)


def parse_record(body: bytes) -> tuple[dict[str, RecordEntry], list[ArchiveProblem]]:
    """Read RECORD into its entries by path, and the rows that are wrong in themselves."""
    entries: dict[str, RecordEntry] = {}
    problems = []
    try:
        # Not splitlines(): a path may hold characters that only Python takes for line ends.
        lines = body.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
        if "" in lines:
            problems.append(
                ArchiveProblem(code="bad-record", member="RECORD", detail="an empty line, on which pip fails")
            )
        for row in parse_record_file(filter(None, lines)):
            entry = RecordEntry.from_elements(*row)
            if _SIZE.fullmatch(row[-1]) is None:  # int() forgives what other readers do not
                problems.append(ArchiveProblem(code="bad-record", member=entry.path, detail=f"{row[-1]!r} is no size"))
            if entry.path in entries:
                problems.append(ArchiveProblem(code="bad-record", member=entry.path, detail="it is listed twice"))
            entries[entry.path] = entry
    except (InvalidRecordEntry, csv.Error, ValueError) as error:
        problems.append(ArchiveProblem(code="bad-record", member="RECORD", detail=f"RECORD cannot be read: {error}"))
    return entries, problems


def compare_record(
    record: Mapping[str, RecordEntry], members: Mapping[str, Member], dist_info: str
) -> Iterator[ArchiveProblem]:
    """Compare RECORD with the directory: each file with its size and a strong hash, and no other."""
    exempt = {f"{dist_info}/RECORD", *(f"{dist_info}/{signature}" for signature in _SIGNATURES)}
    for name, member in members.items():
        if member.is_directory or name in exempt:
            continue
        entry = record.get(name)
        if entry is None:
            yield ArchiveProblem(code="not-in-record", member=name, detail="RECORD does not list it")
            continue
        if entry.hash_ is None:
            yield ArchiveProblem(code="record-no-hash", member=name, detail="RECORD gives no hash of it")
        elif entry.hash_.name not in _STRONG_HASHES:
            yield ArchiveProblem(code="record-weak-hash", member=name, detail=f"its hash in RECORD is {entry.hash_}")
        if entry.size is not None and entry.size != member.size:
            yield ArchiveProblem(
                code="record-mismatch", member=name, detail=f"{member.size} bytes, {entry.size} by RECORD"
            )
    for path in record:
        if path not in members and path not in exempt:
            yield ArchiveProblem(code="missing-member", member=path, detail="RECORD lists it, the archive lacks it")
