"""What a sound wheel is: rules over its directory, METADATA, WHEEL, RECORD and entry points; ``archive.py`` reads them.

Values in, defects out, each with a code that the mirror's exception table may name.
"""

from __future__ import annotations

import csv
import re
import stat
import unicodedata
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from installer.records import InvalidRecordEntry, RecordEntry, parse_record_file

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.zip_format import Member

# The largest torch wheel unpacks to about 5 GB. Deflate cannot exceed 1032:1, so this only bounds the time spent on a
# hostile archive.
MAX_UNPACKED = 64 * 1024**3
# Retired by PEP 815, and never listed in RECORD because they sign it.
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
# The specification asks for sha256 or better (binary-distribution-format, "The .dist-info directory").
STRONG_HASHES = frozenset({"sha256", "sha384", "sha512"})
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
    ``missing-member``. ``member`` is empty where the defect is the archive's.
    """

    code: str
    member: str
    detail: str


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
        elif entry.hash_.name not in STRONG_HASHES:
            yield ArchiveProblem(code="record-weak-hash", member=name, detail=f"its hash in RECORD is {entry.hash_}")
        if entry.size is not None and entry.size != member.size:
            yield ArchiveProblem(
                code="record-mismatch", member=name, detail=f"{member.size} bytes, {entry.size} by RECORD"
            )
    for path in record:
        if path not in members and path not in exempt:
            yield ArchiveProblem(code="missing-member", member=path, detail="RECORD lists it, the archive lacks it")
