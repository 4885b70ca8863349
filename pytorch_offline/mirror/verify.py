"""Proof that a mirror still holds what its manifest says, and repair where it does not.

Works on a mirror that is being served, on read-only media, and on any directory of the same shape: reading takes no
lock. All cores hash at once, each reading its file from end to end in large pieces; bytes that two names share are read
once (research/performance.md, section D: the hash is the limit, then the disk). Large files go first, the largest
before all, so that no core waits long for the last one; the others follow in the order of their inodes, which is about
that of the disk.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UpstreamError, UsageError
from pytorch_offline.mirror.admission import check_wheel
from pytorch_offline.mirror.fetch import JOBS, FetchReport, fetch_files
from pytorch_offline.mirror.hashing import read_sha256
from pytorch_offline.mirror.layout import LOCKS, PAGE_NAMES, ROOT, files_in_order, sidecar_of
from pytorch_offline.mirror.lock_check import lock_problem
from pytorch_offline.mirror.model import MirrorFile, WantedFile
from pytorch_offline.mirror.page_check import expected_targets, page_problem
from pytorch_offline.mirror.progress import Doing, Outcome, Progress, Silent, Stage
from pytorch_offline.mirror.siblings import sibling_addresses
from pytorch_offline.mirror.workers import Stop, for_each
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.net import Http


class Problem(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    NOT_A_FILE = "not-a-file"
    UNREADABLE = "unreadable"
    SIZE = "size"
    HASH = "hash"
    METADATA_MISSING = "metadata-missing"
    METADATA_DIFFERS = "metadata-differs"
    UNSOUND = "unsound"  # only looked for when asked: zip, RECORD, METADATA
    PAGE = "page"  # an index page is missing, leads astray, or contradicts the manifest
    LOCK = "lock"  # a lock or a target file is damaged, or contradicts the manifest
    UNLISTED = "unlisted"  # lies below whl/, and the manifest knows nothing of it


# Beside reading that much, going to where it lies on a disk costs nothing.
_LARGE = 64 * 1024 * 1024

_SIDECAR_PROBLEMS = frozenset({Problem.METADATA_MISSING, Problem.METADATA_DIFFERS})
# What a download can put right. An unsound wheel whose hash agrees would only come again as it is.
_BYTES_PROBLEMS = frozenset({Problem.MISSING, Problem.NOT_A_FILE, Problem.UNREADABLE, Problem.SIZE, Problem.HASH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bad file: its path below the mirror, what is wrong, and both sides where there are two."""

    path: PurePosixPath
    problem: Problem
    detail: str
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a verification read and found. ``size`` is in bytes, of the wheels by the manifest.

    ``recent`` files had been verified lately and were only looked at; ``bytes_read`` of wheels took ``seconds``.
    """

    files: int
    size: int
    findings: tuple[Finding, ...]
    recorded: bool = False  # whether the manifest now says when each good file was verified
    recent: int = 0
    bytes_read: int = field(default=0, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def bytes_per_second(self) -> int | None:
        """How quickly the wheels were read and hashed; None if none was."""
        return round(self.bytes_read / self.seconds) if self.bytes_read and self.seconds > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did; only another verification says whether all is well now."""

    fetched: FetchReport
    set_aside: tuple[PurePosixPath, ...]


def verify_mirror(
    mirror: Mirror,
    *,
    deep: bool = False,
    older_than: timedelta | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    now: Callable[[], datetime],
) -> VerifyReport:
    """Read every file that the manifest lists and compare; look for files that it does not list; read pages and locks.

    In a mirror of our own that can be written, the manifest notes when each good file was verified. A bundle or a plain
    copy (no ``.state``) stays as it is: its manifest may be signed.

    Args:
        mirror: the directory.
        deep: also read every wheel's zip, RECORD and METADATA.
        older_than: read only files whose last verification is at least so long ago; of the others it is only seen
            that they are there, with their size.
        jobs: how many files at once; by default one per core.
        progress: told of the bytes read, from several threads.
        now: the time, in UTC.

    Raises:
        UsageError: ``no-manifest`` if nothing was ever published here, ``unknown-manifest-format``.
        IntegrityError: ``bad-manifest``.
    """
    if not mirror.exists:
        raise UsageError(
            "no-manifest",
            f"{mirror.root} holds no manifest.json, so there is nothing to verify against",
            hint="name the mirror with --mirror, or fill it with pytorch-offline fetch",
        )
    published = mirror.read_published()
    held = mirror.read_files()
    with disk_errors(mirror.root):
        recent = set() if older_than is None else _recent(held.values(), now() - older_than, now())
        reading = verify_files(
            mirror.root,
            held.values(),
            recent=recent,
            deep=deep,
            jobs=jobs or os.cpu_count() or 1,
            progress=progress or Silent(),
        )
        findings = reading.findings
        findings += verify_pages(mirror.root, published, mirror.read_files)
        findings += verify_locks(mirror.root, mirror.read_files)
        findings += find_unlisted(mirror.root, mirror.read_announced)
    bad = {finding.path for finding in findings}
    stamp = now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    recorded = _record(mirror, [replace(held[path], verified_at=stamp) for path in reading.read if path not in bad])
    return VerifyReport(
        files=len(held),
        size=sum(file.size for file in held.values()),
        findings=tuple(sorted(findings, key=lambda finding: (finding.path, finding.problem))),
        recorded=recorded,
        recent=len(held) - len(reading.read),
        bytes_read=reading.size,
        seconds=reading.seconds,
    )


@dataclass(slots=True, kw_only=True)
class Reading:
    """What reading many files came to: the files that were read, their bytes, the time it took, what was bad."""

    read: list[PurePosixPath]
    size: int
    seconds: float
    findings: list[Finding]


def verify_files(
    root: Path,
    files: Iterable[MirrorFile],
    *,
    recent: Collection[PurePosixPath] = (),
    deep: bool = False,
    jobs: int = 1,
    progress: Progress,
) -> Reading:
    """Compare files with their rows; each finding is a value, never an exception. ``recent`` ones are not read."""
    groups: dict[tuple[int, int] | PurePosixPath, list[MirrorFile]] = defaultdict(list)
    for file in files_in_order(files):
        groups[_identity(root, file.path)].append(file)
    # Bytes that have a name whose verification is due are read, and verified for all their names.
    due = {place: group for place, group in groups.items() if not {file.path for file in group} <= set(recent)}
    paths = [file.path for group in due.values() for file in group]
    lately = [group[0].size for place, group in groups.items() if place not in due]
    sizes_due = {str(group[0].path): group[0].size for group in due.values()}
    progress.plan(sizes_due, stage=Stage.VERIFY, already=len(lately), already_size=sum(lately))
    stop = Stop()
    findings: list[Finding] = []
    sizes: list[int] = []

    def check(group: list[MirrorFile]) -> None:
        found, size = _check_wheel_bytes(root, group, deep=deep, progress=progress, stop=stop)
        for file in group:
            found += _check_sidecar(root, file)
        findings.extend(found)
        sizes.append(size)

    started = time.monotonic()
    for_each([due[place] for place in _reading_order(due)], check, jobs=jobs, stop=stop)
    seconds = time.monotonic() - started
    for place in groups.keys() - due.keys():
        findings += _look_at(root, groups[place])
    return Reading(read=paths, size=sum(sizes), seconds=seconds, findings=findings)


def _recent(files: Iterable[MirrorFile], due: datetime, now: datetime) -> set[PurePosixPath]:
    """Name the files that were verified after a moment, by a clock that did not run ahead of ours."""
    return {file.path for file in files if due < datetime.fromisoformat(file.verified_at) <= now}


def _reading_order(
    groups: Mapping[tuple[int, int] | PurePosixPath, Sequence[MirrorFile]],
) -> list[tuple[int, int] | PurePosixPath]:
    """Put large files first, the largest before all, and the others as they lie on disk."""

    def key(place: tuple[int, int] | PurePosixPath) -> tuple[int, tuple[int, int], str]:
        size = groups[place][0].size
        inode = (0, 0) if isinstance(place, PurePosixPath) else place
        return -size if size >= _LARGE else 0, inode, str(groups[place][0].path)

    return sorted(groups, key=key)


def _look_at(root: Path, group: Sequence[MirrorFile]) -> list[Finding]:
    """See without reading them that files are there, with their sizes and their METADATA."""
    findings = []
    for file in group:
        try:
            status = (root / file.path).stat()
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            detail = "it is not there" if missing else error.strerror or str(error)
            problem = Problem.MISSING if missing else Problem.UNREADABLE
            findings.append(Finding(path=file.path, problem=problem, detail=detail))
            continue
        if not stat.S_ISREG(status.st_mode):
            findings.append(Finding(path=file.path, problem=Problem.NOT_A_FILE, detail="it is no regular file"))
        elif status.st_size != file.size:
            findings.append(_other_size(file, status.st_size))
        findings += _check_sidecar(root, file)
    return findings


def _other_size(file: MirrorFile, size: int) -> Finding:
    detail = f"{size} bytes instead of {file.size}"
    return Finding(path=file.path, problem=Problem.SIZE, detail=detail, expected=str(file.size), found=str(size))


def verify_pages(
    root: Path,
    published: Mapping[PurePosixPath, MirrorFile],
    read_held: Callable[[], Mapping[PurePosixPath, MirrorFile]],
) -> list[Finding]:
    """Compare the index pages with the rows: all of them, and what else looks like one.

    The rows are read after the pages: what a fetch has published meanwhile is no contradiction.
    """
    expected = expected_targets(published.values()) if published else {}  # the first fetch may be under way
    bodies: dict[PurePosixPath, bytes] = {}
    findings = []
    for path in {*expected, *(path for path in _files_below(root) if path.name in PAGE_NAMES)}:
        try:
            bodies[path] = (root / path).read_bytes()
        except FileNotFoundError:
            findings.append(Finding(path=path, problem=Problem.PAGE, detail="it is not there"))
        except OSError as error:
            findings.append(Finding(path=path, problem=Problem.PAGE, detail=error.strerror or str(error)))
    held = read_held()
    for path, body in bodies.items():
        problem = page_problem(path, body, required=expected.get(path, ()), held=held, pages=bodies)
        if problem is not None:
            findings.append(Finding(path=path, problem=Problem.PAGE, detail=problem))
    return findings


def verify_locks(root: Path, read_held: Callable[[], Mapping[PurePosixPath, MirrorFile]]) -> list[Finding]:
    """Compare the locks with the rows, which are read afterwards: a fetch writes its locks last."""
    bodies: dict[PurePosixPath, bytes] = {}
    findings = []
    for place in sorted((root / LOCKS).glob("*")):
        path = LOCKS / place.name
        try:
            bodies[path] = place.read_bytes()
        except OSError as error:
            findings.append(Finding(path=path, problem=Problem.LOCK, detail=error.strerror or str(error)))
    held = read_held()
    for path, body in bodies.items():
        problem = lock_problem(path, body, held)
        if problem is not None:
            findings.append(Finding(path=path, problem=Problem.LOCK, detail=problem))
    return findings


def find_unlisted(root: Path, read_listed: Callable[[], Iterable[PurePosixPath]]) -> list[Finding]:
    """Find files below ``whl/`` that are neither listed, nor the METADATA of a listed one, nor an index page.

    What is listed is asked for after the tree was looked at: a wheel that a fetch admits meanwhile is no stranger.
    """
    there = [path for path in _files_below(root) if path.name not in PAGE_NAMES]
    listed = set(read_listed())
    listed |= {sidecar_of(path) for path in listed}
    return [
        Finding(path=path, problem=Problem.UNLISTED, detail="the manifest does not list it")
        for path in there
        if path not in listed
    ]


def repair_mirror(
    mirror: Mirror,
    findings: Sequence[Finding],
    http: Http,
    *,
    jobs: int = JOBS,
    progress: Progress | None = None,
    now: Callable[[], datetime],
) -> RepairReport:
    """Move bad files aside and fetch them again from where they came.

    A wheel comes back only if its bytes have the manifest's hash. A file that the manifest does not list is moved
    aside. Index pages are written anew. A wheel that is unsound although its hash agrees stays, and stays reported;
    so does a bad lock, which only ``fetch`` can write.

    Raises:
        UpstreamError: what fetching says.
        IntegrityError: if the origin now has other bytes.
        UsageError: ``mirror-not-writable``.
    """
    teller = progress or Silent()
    problems: dict[PurePosixPath, set[Problem]] = defaultdict(set)
    for finding in findings:
        problems[finding.path].add(finding.problem)
    aside = []
    with mirror.lock(waiting=teller.say):
        held = mirror.read_files()
        lost = [held[path] for path, found in problems.items() if path in held and found & _BYTES_PROBLEMS]
        for path, found in problems.items():
            if found & (_BYTES_PROBLEMS | {Problem.UNLISTED}) and os.path.lexists(mirror.root / path):
                mirror.set_aside(path, IntegrityError("set-aside", ", ".join(sorted(found))), now=now)
                aside.append(path)
            elif found & _SIDECAR_PROBLEMS:
                mirror.mend_sidecar(held[path])
        fetched = fetch_files(
            mirror, [_wanted(file) for file in files_in_order(lost)], http, jobs=jobs, progress=progress, now=now
        )
        # The hash that was asked for is the manifest's: what it said of where that came from still holds.
        mirror.rewrite(replace(file, verified_at=row.verified_at) for file in lost if (row := _row_of(fetched, file)))
    return RepairReport(fetched=fetched, set_aside=tuple(aside))


def _files_below(root: Path) -> list[PurePosixPath]:
    """List all files below ``whl/``."""
    found = []
    for directory, _, names in os.walk(root / ROOT):
        below = PurePosixPath(Path(directory).relative_to(root).as_posix())
        found += [below / name for name in names]
    return found


def _identity(root: Path, path: PurePosixPath) -> tuple[int, int] | PurePosixPath:
    """Name the bytes behind a path, so that two names of one file are read once."""
    try:
        status = (root / path).stat()
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino and stat.S_ISREG(status.st_mode) else path


def _check_wheel_bytes(
    root: Path, group: Sequence[MirrorFile], *, deep: bool, progress: Progress, stop: Stop
) -> tuple[list[Finding], int]:
    """Read the bytes that all rows of ``group`` name, once, compare each row with them, and count them."""
    label, outcome = str(group[0].path), Outcome.STOPPED
    progress.begin(label, group[0].size, 0)
    try:
        findings, size = _compare_bytes(root, group, deep=deep, progress=progress, stop=stop)
        outcome = Outcome.FAILED if findings else Outcome.DONE
    finally:
        progress.end(label, outcome)
    return findings, size


def _compare_bytes(
    root: Path, group: Sequence[MirrorFile], *, deep: bool, progress: Progress, stop: Stop
) -> tuple[list[Finding], int]:
    try:
        found, size = _read_bytes(root, group[0], {file.size for file in group}, progress, stop)
    except FileNotFoundError:
        return [Finding(path=file.path, problem=Problem.MISSING, detail="it is not there") for file in group], 0
    except IsADirectoryError:
        return [
            Finding(path=file.path, problem=Problem.NOT_A_FILE, detail="it is no regular file") for file in group
        ], 0
    except OSError as error:
        detail = error.strerror or str(error)
        return [Finding(path=file.path, problem=Problem.UNREADABLE, detail=detail) for file in group], 0
    findings = []
    for file in group:
        if size != file.size:
            findings.append(_other_size(file, size))
        elif found != file.sha256:
            detail = "its bytes are not those that were admitted"
            findings.append(
                Finding(path=file.path, problem=Problem.HASH, detail=detail, expected=file.sha256, found=found)
            )
        elif deep:
            progress.doing(str(group[0].path), Doing.CHECKING)
            findings += _check_inside(root, file)
    return findings, 0 if found is None else size


def _read_bytes(
    root: Path, file: MirrorFile, sizes: set[int], progress: Progress, stop: Stop
) -> tuple[str | None, int]:
    """Hash a file, unless its size alone says that it is wrong.

    Raises:
        OSError: what the disk said; ``IsADirectoryError`` for anything but a regular file.
    """
    place, label = root / file.path, str(file.path)
    position = 0

    def advanced(count: int) -> None:
        nonlocal position
        position += count
        progress.advance(label, position, file.size)
        stop.check()

    progress.doing(label, Doing.HASHING)
    status = place.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError
    if status.st_size not in sizes:
        return None, status.st_size
    return read_sha256(place, advanced=advanced)


def _check_inside(root: Path, file: MirrorFile) -> list[Finding]:
    try:
        metadata = check_wheel(root / file.path, parse_wheel_name(file.path.name)).metadata
    except IntegrityError as error:
        detail = "; ".join([error.message, *(f"{name}: {value}" for name, value in error.facts.items())])
        return [Finding(path=file.path, problem=Problem.UNSOUND, detail=detail)]
    found = hashlib.sha256(metadata).hexdigest()
    if found == file.metadata_sha256:
        return []
    return [
        Finding(
            path=file.path,
            problem=Problem.UNSOUND,
            detail="the manifest has another hash for its METADATA",
            expected=file.metadata_sha256,
            found=found,
        )
    ]


def _check_sidecar(root: Path, file: MirrorFile) -> list[Finding]:
    try:
        found = hashlib.sha256((root / sidecar_of(file.path)).read_bytes()).hexdigest()
    except FileNotFoundError:
        return [Finding(path=file.path, problem=Problem.METADATA_MISSING, detail="its .metadata file is not there")]
    except OSError as error:
        detail = f"its .metadata file: {error.strerror or error}"
        return [Finding(path=file.path, problem=Problem.METADATA_DIFFERS, detail=detail)]
    if found == file.metadata_sha256:
        return []
    return [
        Finding(
            path=file.path,
            problem=Problem.METADATA_DIFFERS,
            detail="its .metadata file is not the wheel's METADATA",
            expected=file.metadata_sha256,
            found=found,
        )
    ]


def _record(mirror: Mirror, files: Sequence[MirrorFile]) -> bool:
    """Note in the manifest when files were verified, where that can be done at once."""
    if not mirror.state.is_dir():
        return False
    try:
        with mirror.lock(wait=False):
            mirror.rewrite(files)
    except (
        UsageError,
        UpstreamError,
    ):  # read-only, or full, or another run is changing it: it was verified all the same
        return False
    return True


def _wanted(file: MirrorFile) -> WantedFile:
    return WantedFile(
        name=parse_wheel_name(file.path.name),
        path=file.path,
        urls=sibling_addresses(file.origin, published=True),
        sha256=file.sha256,
        size=file.size,
        requires_python=file.requires_python,
        yanked=file.yanked,
        upload_time=file.upload_time,
    )


def _row_of(report: FetchReport, file: MirrorFile) -> MirrorFile | None:
    return next((row for row in (*report.downloaded, *report.already) if row.path == file.path), None)
