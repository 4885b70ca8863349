"""Reads all wheels of a mirror and compares each with its row: all cores, each byte once.

Each core reads a file from end to end in large pieces; bytes that two names share are read once
(research/performance.md, section D: the hash is the limit, then the disk). Large files go first, the largest before
all, so that no core waits long for the last one; the others follow in the order of their inodes, which is about that of
the disk. ``deep`` looks into the zip in the same pass.

Why not the order of their extents: not every file system knows FIEMAP (overlayfs, NFS and tmpfs do not), and it gains
only on a spinning disk, where going to a file above ``_LARGE`` costs nothing beside reading it. What
was read is left in the system's cache: Linux puts pages that were read once behind those that are in use, while
dropping them would also drop what is being served.
"""

from __future__ import annotations

import hashlib
import stat
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.admission import check_wheel
from pytorch_offline.mirror.blocks import BlockSums
from pytorch_offline.mirror.findings import Finding, Problem, missing, not_a_file, other_bytes, other_size, unreadable
from pytorch_offline.mirror.flow import Meter
from pytorch_offline.mirror.hashing import read_pieces
from pytorch_offline.mirror.layout import files_in_order, sidecar_of
from pytorch_offline.mirror.progress import Doing, Outcome, Stage
from pytorch_offline.mirror.workers import Stop, for_each
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.blocks import BlockNotes
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.progress import Progress

# Beside reading that much, going to where it lies on a disk costs nothing.
_LARGE = 64 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Reading:
    """What reading many files came to: the files that were read, their bytes, the time it took, what was bad.

    ``postponed`` were due, and there was no time for them.
    """

    read: list[PurePosixPath] = field(default_factory=list)
    postponed: list[PurePosixPath] = field(default_factory=list)
    size: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How quickly to read: ``jobs`` files at once, ``rate`` bytes per second in all, no new file after ``seconds``."""

    jobs: int = 1
    rate: int | None = None
    seconds: float | None = None


def read_wheels(
    root: Path,
    files: Iterable[MirrorFile],
    *,
    recent: Collection[PurePosixPath] = (),
    deep: bool = False,
    pace: Pace | None = None,
    progress: Progress,
    notes: BlockNotes | None = None,
    verified: Callable[[Sequence[MirrorFile]], None] = lambda _: None,
) -> Reading:
    """Compare files with their rows; each finding is a value, never an exception.

    Args:
        root: the mirror's directory.
        files: the rows.
        recent: files that are only looked at.
        deep: also look into every wheel.
        pace: how quickly.
        progress: told of the bytes read.
        notes: where the checksums of good files' blocks go.
        verified: told of the rows of each good file as soon as it was read.
    """
    pace = pace or Pace()
    groups: dict[tuple[int, int] | PurePosixPath, list[MirrorFile]] = defaultdict(list)
    for file in files_in_order(files):
        groups[_identity(root, file.path)].append(file)
    # Bytes that have a name whose verification is due are read, and verified for all their names.
    due = {place: group for place, group in groups.items() if not {file.path for file in group} <= set(recent)}
    lately = [group[0].size for place, group in groups.items() if place not in due]
    sizes = {str(group[0].path): group[0].size for group in due.values()}
    progress.plan(sizes, stage=Stage.VERIFY, already=len(lately), already_size=sum(lately))
    reading, meter, stop, started = Reading(), Meter(pace.rate), Stop(), time.monotonic()

    def check(group: list[MirrorFile]) -> None:
        if pace.seconds is not None and time.monotonic() - started >= pace.seconds:
            reading.postponed.extend(file.path for file in group)
            return
        label, outcome = str(group[0].path), Outcome.STOPPED
        progress.begin(label, group[0].size, 0)
        try:
            look = _Look(root, group, progress, lambda size: stop.sleep(meter.took(size)))
            findings = look.findings(deep=deep, notes=notes)
            outcome = Outcome.FAILED if findings else Outcome.DONE
        finally:
            progress.end(label, outcome)
        for file in group:
            findings += check_sidecar(root, file)
        bad = {finding.path for finding in findings}
        verified([file for file in group if file.path not in bad])
        reading.findings.extend(findings)
        reading.read.extend(file.path for file in group)

    order = _oldest_first(due) if pace.seconds is not None else _reading_order(due)
    for_each([due[place] for place in order], check, jobs=pace.jobs, stop=stop)
    reading.size, reading.seconds = meter.total, time.monotonic() - started
    for place in groups.keys() - due.keys():
        reading.findings += _look_at(root, groups[place])
    return reading


def check_sidecar(root: Path, file: MirrorFile) -> list[Finding]:
    """Compare the METADATA beside a wheel with its row."""
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


def _reading_order(
    groups: Mapping[tuple[int, int] | PurePosixPath, Sequence[MirrorFile]],
) -> list[tuple[int, int] | PurePosixPath]:
    """Put large files first, the largest before all, and the others as they lie on disk."""

    def key(place: tuple[int, int] | PurePosixPath) -> tuple[int, tuple[int, int], str]:
        size = groups[place][0].size
        inode = place if isinstance(place, tuple) else (0, 0)
        return -size if size >= _LARGE else 0, inode, str(groups[place][0].path)

    return sorted(groups, key=key)


def _oldest_first(
    groups: Mapping[tuple[int, int] | PurePosixPath, Sequence[MirrorFile]],
) -> list[tuple[int, int] | PurePosixPath]:
    """Put first what was verified longest ago: there may be no time for all."""
    return sorted(
        groups, key=lambda place: (min(file.verified_at for file in groups[place]), str(groups[place][0].path))
    )


def _look_at(root: Path, group: Sequence[MirrorFile]) -> list[Finding]:
    """See without reading them that files are there, with their sizes and their METADATA."""
    findings = []
    for file in group:
        try:
            status = (root / file.path).stat()
        except FileNotFoundError:
            findings.append(missing(file.path))
            continue
        except OSError as error:
            findings.append(unreadable(file.path, error))
            continue
        if not stat.S_ISREG(status.st_mode):
            findings.append(not_a_file(file.path))
        elif status.st_size != file.size:
            findings.append(other_size(file, status.st_size))
        findings += check_sidecar(root, file)
    return findings


def _identity(root: Path, path: PurePosixPath) -> tuple[int, int] | PurePosixPath:
    """Name the bytes behind a path, so that two names of one file are read once."""
    try:
        status = (root / path).stat()
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino and stat.S_ISREG(status.st_mode) else path


class _Look:
    """One reading of the bytes that all rows of ``group`` name."""

    def __init__(
        self, root: Path, group: Sequence[MirrorFile], progress: Progress, took: Callable[[int], None]
    ) -> None:
        self._root = root
        self._group = group
        self._progress = progress
        self._took = took
        self._label = str(group[0].path)
        self._size = 0
        self._digest = hashlib.sha256()
        self._sums: BlockSums | None = None

    def findings(self, *, deep: bool, notes: BlockNotes | None) -> list[Finding]:
        """Read, and compare each row with what was read."""
        group = self._group
        self._progress.doing(self._label, Doing.CHECKING if deep else Doing.HASHING)
        try:
            status = (self._root / group[0].path).stat()
            if not stat.S_ISREG(status.st_mode):
                return [not_a_file(file.path) for file in group]
            if status.st_size not in {file.size for file in group}:
                return [other_size(file, status.st_size) for file in group]
            if notes is not None and not all(notes.has(file.sha256) for file in group):
                self._sums = BlockSums()
            inside = self._read(deep=deep)
        except FileNotFoundError:
            return [missing(file.path) for file in group]
        except OSError as error:
            return [unreadable(file.path, error) for file in group]
        return self._compare(inside, notes)

    def _read(self, *, deep: bool) -> dict[str, list[Finding]]:
        """Hash the bytes; look into the zip under each name that it has."""
        names = sorted({file.path.name for file in self._group}) if deep else []
        inside: dict[str, list[Finding]] = {}
        for number, name in enumerate(names):
            file = next(file for file in self._group if file.path.name == name)
            inside[name] = _inside(self._root, file, self._see if number == 0 else None)
        if not deep:
            read_pieces(self._root / self._group[0].path, self._see)
        return inside

    def _see(self, piece: memoryview) -> None:
        self._digest.update(piece)
        if self._sums is not None:
            self._sums.update(piece)
        self._size += len(piece)
        self._progress.advance(self._label, self._size, self._group[0].size)
        self._took(len(piece))

    def _compare(self, inside: Mapping[str, list[Finding]], notes: BlockNotes | None) -> list[Finding]:
        found, findings = self._digest.hexdigest(), []
        for file in self._group:
            if self._size != file.size:
                findings.append(other_size(file, self._size))
            elif found != file.sha256:
                findings.append(other_bytes(file, found))
            else:
                findings += inside.get(file.path.name, [])
        if self._sums is not None and notes is not None and any(file.sha256 == found for file in self._group):
            notes.note(found, self._sums.blocks)
        return findings


def _inside(root: Path, file: MirrorFile, seen: Callable[[memoryview], object] | None) -> list[Finding]:
    """Look into a wheel.

    Raises:
        OSError: the disk did not give it.
    """
    try:
        metadata = check_wheel(root / file.path, parse_wheel_name(file.path.name), seen=seen).metadata
    except IntegrityError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
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
