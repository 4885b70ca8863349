"""Proof that a mirror still holds what its manifest says.

Works on a mirror that is being served, on read-only media, and on any directory of the same shape: reading takes no
lock. The wheels are read by ``scrub.py``; index pages, locks and what lies about are looked at here. ``repair.py``
mends what was found.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.mirror.findings import Finding, Problem
from pytorch_offline.mirror.layout import LOCKS, PAGE_NAMES, ROOT, sidecar_of
from pytorch_offline.mirror.lock_check import lock_problem
from pytorch_offline.mirror.milestones import Verified
from pytorch_offline.mirror.page_check import expected_targets, page_problem
from pytorch_offline.mirror.progress import Progress, Silent
from pytorch_offline.mirror.refetching import all_again
from pytorch_offline.mirror.rounds import Rounds, recent_files
from pytorch_offline.mirror.scrub import Pace, read_wheels
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import timedelta

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.store import Mirror


# A removal is over in a moment, unless it was cut off: then what it left is told as it is.
_TRIES, _PAUSE = 20, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a verification read and found. ``size`` is in bytes, of the wheels by the manifest.

    ``recent`` files had been verified lately and were only looked at, ``postponed`` ones were due and there was no time
    for them; ``bytes_read`` of wheels took ``seconds``. ``oldest`` is when the file was last verified that waits the
    longest.
    """

    files: int
    size: int
    findings: tuple[Finding, ...]
    recorded: bool = False  # whether the manifest now says when each good file was verified
    recent: int = 0
    postponed: int = 0
    oldest: str | None = field(default=None, compare=False)
    bytes_read: int = field(default=0, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def bytes_per_second(self) -> int | None:
        """How quickly the wheels were read and hashed; None if none was."""
        return round(self.bytes_read / self.seconds) if self.bytes_read and self.seconds > 0 else None


def verify_mirror(
    mirror: Mirror,
    *,
    deep: bool = False,
    older_than: timedelta | None = None,
    spread: bool = False,
    only: Collection[PurePosixPath] | None = None,
    pace: Pace | None = None,
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
        spread: read each file somewhat before it is that old, so that not all are due at once.
        only: read only these files.
        pace: how quickly to read; by default as many files at once as there are cores.
        progress: told of the bytes read, from several threads.
        now: the time, in UTC.

    Raises:
        UsageError: ``no-manifest`` if nothing was ever published here or it was lost, ``unknown-manifest-format``.
        IntegrityError: ``bad-manifest``.
    """
    if not mirror.exists:
        raise _no_manifest(mirror)
    published = mirror.read_published()
    rounds = Rounds(mirror.state)
    held = rounds.applied(mirror.read_files())
    good: dict[PurePosixPath, MirrorFile] = {}

    def verified(files: Sequence[MirrorFile]) -> None:
        rows = [replace(file, verified_at=spell_moment(now())) for file in files]
        good.update((row.path, row) for row in rows)
        if mirror.state.is_dir():
            rounds.note(rows)

    with disk_errors(mirror.root):
        recent = set() if older_than is None else recent_files(held.values(), older_than, now(), spread=spread)
        if only is not None:
            recent = held.keys() - only
        reading = read_wheels(
            mirror.root,
            held.values(),
            recent=recent,
            deep=deep,
            pace=pace or Pace(jobs=os.cpu_count() or 1),
            progress=progress or Silent(),
            notes=mirror.blocks,
            verified=verified,
        )
        findings = _look_around(mirror, published)
        unlisted = any(one.problem is Problem.UNLISTED and one.path.suffix == ".whl" for one in findings)
        if not published and not mirror.read_published() and unlisted:
            raise _no_manifest(mirror)  # it was lost: a mirror's first fetch announces each wheel
        staying = _staying(mirror)
        of_wheels = {path: path for path in held} | {sidecar_of(path): path for path in held}
        findings += [one for one in reading.findings if of_wheels.get(one.path, one.path) in staying]
    rows = held | good
    recorded = _record(mirror, rounds, rows.values())
    return VerifyReport(
        files=len(held),
        size=sum(file.size for file in held.values()),
        findings=tuple(sorted(findings, key=lambda finding: (finding.path, finding.problem))),
        recorded=recorded,
        recent=len(held) - len(reading.read) - len(reading.postponed),
        postponed=len(reading.postponed),
        oldest=min((row.verified_at for row in rows.values()), default=None),
        bytes_read=reading.size,
        seconds=reading.seconds,
    )


def verified_by(first: VerifyReport, last: VerifyReport, *, deep: bool, ended: datetime) -> Verified:
    """Sum up a verification and, where a repair followed, the one after it, for whoever asks later how things stand."""
    return Verified(
        ended=ended,
        files=last.files,
        read=first.files - first.recent - first.postponed,
        deep=deep,
        findings=len(last.findings),
        oldest=None if last.oldest is None else datetime.fromisoformat(last.oldest),
    )


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


def _look_around(mirror: Mirror, published: Mapping[PurePosixPath, MirrorFile]) -> list[Finding]:
    """Look at pages, locks and what lies about; again, where files were being removed meanwhile."""
    findings: list[Finding] = []
    for _ in range(_TRIES):
        staying = _staying(mirror)
        left = {path: file for path, file in published.items() if path in staying}
        findings = verify_pages(mirror.root, left, mirror.read_files)
        findings += verify_locks(mirror.root, mirror.read_files)
        findings += find_unlisted(mirror.root, mirror.read_announced)
        if not findings or (staying <= _staying(mirror) and not mirror.read_leaving()):
            break
        time.sleep(_PAUSE)
    return findings


def _staying(mirror: Mirror) -> set[PurePosixPath]:
    """Name the files that are listed, and that nobody is about to take away."""
    return mirror.read_announced() - mirror.read_leaving()


def _no_manifest(mirror: Mirror) -> UsageError:
    if (mirror.root / ROOT).is_dir():
        hint = f"if it was lost, fetch again, which takes from the disk what is there: {all_again(mirror.root)}"
    else:
        hint = "name the mirror with --mirror, or fill it with pytorch-offline fetch"
    return UsageError(
        "no-manifest", f"{mirror.root} holds no manifest.json, so there is nothing to verify against", hint=hint
    )


def _files_below(root: Path) -> list[PurePosixPath]:
    """List all files below ``whl/``."""
    found = []
    for directory, _, names in os.walk(root / ROOT):
        below = PurePosixPath(Path(directory).relative_to(root).as_posix())
        found += [below / name for name in names]
    return found


def _record(mirror: Mirror, rounds: Rounds, files: Iterable[MirrorFile]) -> bool:
    """Note in the manifest when files were verified, where that can be done at once."""
    if not mirror.state.is_dir():
        return False
    try:
        with mirror.lock(wait=False):
            held = mirror.read_files()
            mirror.rewrite(
                replace(row, verified_at=file.verified_at)
                for file in files
                if (row := held.get(file.path)) is not None
                and row.sha256 == file.sha256
                and row.verified_at != file.verified_at
            )
            rounds.clear()
    except (UsageError, UpstreamError):  # read-only, full, or another run is changing it: it was verified all the same
        return False
    return True
