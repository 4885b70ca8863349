"""How a mirror stands: what it holds, how old that is, what is known to be wrong with it. Values in, values out.

What is not known is None and never guessed: a copy of the public tree knows nothing of crawls, a mirror behind an air
gap has none. ``stocktaking.py`` reads what this is made of.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.addresses import url_path
from pytorch_offline.mirror.layout import ROOT
from pytorch_offline.wheels.filename import split_wheel_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import PurePosixPath

    from pytorch_offline.crawler.drift import Disappearance, Reupload
    from pytorch_offline.mirror.milestones import Reached
    from pytorch_offline.mirror.model import MirrorFile

# As `verify --watch 30` reads every file once in so many days; whoever crawls does so more often.
STALE_AFTER = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one directory of the tree holds: a backend's, a channel's root-level files, or all of it.

    ``size`` counts bytes that have several names once.
    """

    directory: str
    files: int
    projects: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """The file system that the mirror lies on: how many bytes it has, and how many an ordinary user may still write."""

    total: int
    free: int

    @property
    def used(self) -> int:
        """How many bytes are taken, by whatever."""
        return self.total - self.free


class Drifted(StrEnum):
    """What became of a file upstream."""

    REUPLOADED = "reuploaded"  # other bytes under the same name
    UNLISTED = "unlisted"  # no page names it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftWarning:
    """A file that this mirror holds and that upstream replaced or removed.

    Args:
        path: in this mirror.
        what: what became of it upstream.
        held: the sha256 that this mirror has.
        other: the sha256 of upstream's other bytes, the newest; None for a file that is only gone.
        noticed: when that was first seen.
    """

    path: PurePosixPath
    what: Drifted
    held: str
    other: str | None
    noticed: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a mirror stood at a moment.

    Args:
        at: when this was found out.
        generation: names what is held: the same for the same files, whenever they were verified.
        whole: everything that is held.
        holdings: the same by directory.
        oldest: when the file was last verified that waits the longest; None if there is no file.
        newest: when a file was last verified.
        reached: its milestones: crawls, verifications, the last change of the pages.
        pages_read: when upstream last said or confirmed any page, in a crawl or for a fetch.
        drive: the disk; None if it does not tell.
        drift: what upstream replaced or removed of it, the newest first; None if there is no catalogue to tell.
        there: whether the mirror's directory was there.
    """

    at: datetime
    generation: str | None = None
    whole: Holding
    holdings: tuple[Holding, ...] = ()
    oldest: datetime | None = None
    newest: datetime | None = None
    reached: Reached
    pages_read: datetime | None = None
    drive: Drive | None = None
    drift: tuple[DriftWarning, ...] | None = None
    there: bool = True

    @property
    def crawled_at(self) -> datetime | None:
        """When a crawl last succeeded."""
        return max((crawled.ended for crawled in self.reached.crawled), default=None)


class Status(StrEnum):
    """How well a mirror is, in one word."""

    OK = "ok"
    STALE = "stale"  # it serves what it has, and nobody has looked after it for long
    FAILING = "failing"  # something that it should give is known to be bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One reason why a mirror is not well: a stable code, and a sentence."""

    code: str
    sentence: str
    status: Status


def complaints_of(standing: Standing, *, stale_after: timedelta = STALE_AFTER) -> tuple[Complaint, ...]:
    """Say what is wrong with how a mirror stands.

    A mirror that crawls is stale when its newest successful crawl is too old. One that does not, behind an air gap, is
    stale when for so long nothing came into it, no bundle was taken, and no verification found it sound. Bad files that
    the newest verification left make it failing.
    """
    reached = standing.reached
    found = []
    if reached.verified is not None and reached.verified.findings:
        sentence = f"the verification of {reached.verified.ended:%Y-%m-%d} left {reached.verified.findings} findings"
        found.append(Complaint(code="bad-files", sentence=sentence, status=Status.FAILING))
    sound = None if reached.sound is None else reached.sound.ended
    taken = None if reached.imported is None else reached.imported.ended
    cared = max((one for one in (sound, taken, standing.newest, reached.published) if one is not None), default=None)
    for code, moment, sentence in (
        ("crawl-old", standing.crawled_at, "no crawl has succeeded"),
        ("care-old", cared, "nothing has come in, and no verification found it sound,"),
    ):
        if moment is not None and standing.at - moment > stale_after:
            days = (standing.at - moment).days
            found.append(Complaint(code=code, sentence=f"{sentence} for {days} days", status=Status.STALE))
    return tuple(found)


def status_of(complaints: Iterable[Complaint]) -> Status:
    """Sum up: the worst of them."""
    return max((one.status for one in complaints), key=list(Status).index, default=Status.OK)


def holdings_of(files: Collection[MirrorFile]) -> tuple[Holding, tuple[Holding, ...]]:
    """Count what is held: all of it, and by directory as clients name it: ``cu126``, ``nightly/cpu``, ``.``."""
    groups: dict[str, list[MirrorFile]] = defaultdict(list)
    for file in files:
        groups[str(file.path.parent.relative_to(ROOT))].append(file)
    return _holding("", files), tuple(_holding(directory, groups[directory]) for directory in sorted(groups))


def name_of_generation(files: Iterable[MirrorFile]) -> str:
    """Name what is held, by all paths and hashes: sixteen hexadecimal digits, the same on every machine."""
    rows = sorted(f"{file.sha256} {file.path}\n" for file in files)
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:16]


def _holding(directory: str, files: Collection[MirrorFile]) -> Holding:
    return Holding(
        directory=directory,
        files=len(files),
        projects=len({_project(file.path.name) for file in files}),
        size=sum({file.sha256: file.size for file in files}.values()),
    )


def _project(filename: str) -> str:
    """Name the project; of names that stood in a manifest it is known that they are wheels'."""
    return split_wheel_name(filename)[0].partition("-")[0].lower().replace("_", "-").replace(".", "-")


def drift_of(
    files: Iterable[MirrorFile], reuploads: Iterable[Reupload], disappearances: Iterable[Disappearance]
) -> tuple[DriftWarning, ...]:
    """Find what drift touches files that are held, by the path that they came from; the newest first."""
    came_from: dict[str, list[MirrorFile]] = defaultdict(list)
    for file in files:
        came_from[url_path(file.origin)].append(file)
    found = []
    for reupload in reuploads:
        for file in came_from.get(reupload.path, ()):
            others = [one for one in reupload.contents if one.sha256 not in {None, file.sha256}]
            if others and any(one.sha256 == file.sha256 for one in reupload.contents):
                newest = max(others, key=lambda one: one.first_seen)
                found.append(_warning(file, Drifted.REUPLOADED, newest.sha256, newest.first_seen))
    for disappearance in disappearances:
        hashes = {one.sha256 for one in disappearance.contents} or {None}
        found += [
            _warning(file, Drifted.UNLISTED, None, disappearance.gone_by)
            for file in came_from.get(disappearance.path, ())
            if hashes & {None, file.sha256}
        ]
    return tuple(sorted(found, key=lambda one: (-one.noticed.timestamp(), one.path, one.what)))


def _warning(file: MirrorFile, what: Drifted, other: str | None, noticed: str) -> DriftWarning:
    moment = datetime.fromisoformat(noticed)
    return DriftWarning(path=file.path, what=what, held=file.sha256, other=other, noticed=moment)


def verified_between(files: Mapping[PurePosixPath, MirrorFile]) -> tuple[datetime | None, datetime | None]:
    """Say when the files were last verified: the one that waits the longest, and the newest."""
    moments = [datetime.fromisoformat(file.verified_at) for file in files.values()]
    return min(moments, default=None), max(moments, default=None)
