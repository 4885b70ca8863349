"""Retention: which files of a mirror go, which stay, and why. Values in, values out.

Every rule that is asked for narrows what goes: a file goes only if all of them let it. What a lock names never goes,
nor what a file needs that stays by another rule. Removing to a size takes what was used longest ago first, where a file
is used whenever one is that needs it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from pytorch_offline.mirror.needs import Needs
from pytorch_offline.mirror.pins import NOTHING_PINNED
from pytorch_offline.selector.explaining.render import render_size
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping
    from datetime import datetime, timedelta
    from pathlib import PurePosixPath

    from packaging.requirements import Requirement
    from packaging.version import Version

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.pins import Pins
    from pytorch_offline.wheels.filename import WheelName


class Why(StrEnum):
    """Why a file stays or goes."""

    LOCKED = "locked"
    IN_USE = "in-use"
    NEWEST = "newest"
    RECENT = "recent"
    NEEDED = "needed"
    FITS = "fits"
    SHARED = "shared"  # its bytes have another name that stays: removing it would free nothing
    UNASKED = "unasked"
    NOT_LOCKED = "not-locked"
    OLD_VERSION = "old-version"
    UNUSED = "unused"
    NO_ROOM = "no-room"


_Reasons: TypeAlias = dict["PurePosixPath", tuple[Why, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked for; None and False ask for nothing.

    Args:
        locked: keep what locks name, and nothing else that no other rule keeps.
        versions: keep so many of the newest versions of each project in each directory (backend).
        unused_for: let nothing go that was used since so long ago.
        max_size: let nothing go once the files have no more bytes than that.
    """

    locked: bool = False
    versions: int | None = None
    unused_for: timedelta | None = None
    max_size: int | None = None

    @property
    def asks(self) -> bool:
        """Whether it asks for anything."""
        return self.locked or any(one is not None for one in (self.versions, self.unused_for, self.max_size))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file of the mirror, and what the rules want to know of it.

    Args:
        file: its row.
        used_at: when it was last asked for, as far as anybody noted; else when its bytes came.
        storage: the same for two files that share their bytes on disk; None if this one shares with none.
        requires: the requirements of its METADATA; empty where nobody cares whether they stay.
    """

    file: MirrorFile
    used_at: datetime
    storage: Hashable | None = None
    requires: tuple[Requirement, ...] = ()
    name: WheelName = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", parse_wheel_name(self.file.path.name))

    @property
    def bytes_of(self) -> Hashable:
        """Name the bytes on disk."""
        return self.file.path if self.storage is None else self.storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a file: why, and in words."""

    file: MirrorFile
    goes: bool
    why: Why
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What becomes of all files, in the order of their paths; sizes are of bytes on disk, each counted once."""

    verdicts: tuple[Verdict, ...]
    size_before: int
    size_after: int

    @property
    def going(self) -> tuple[Verdict, ...]:
        """The files that go."""
        return tuple(verdict for verdict in self.verdicts if verdict.goes)

    @property
    def staying(self) -> tuple[Verdict, ...]:
        """The files that stay."""
        return tuple(verdict for verdict in self.verdicts if not verdict.goes)


def plan_retention(
    held: Iterable[HeldFile],
    policy: Policy,
    pins: Pins = NOTHING_PINNED,
    *,
    now: datetime,
    spared: Collection[PurePosixPath] = (),
) -> Retention:
    """Decide what becomes of each file.

    Args:
        held: all files of the mirror.
        policy: the rules that are asked for.
        pins: what locks name.
        now: the time, in UTC.
        spared: files that must not go now: somebody is being given them.
    """
    files = {one.file.path: one for one in sorted(held, key=lambda one: one.file.path)}
    stays = _staying(files, policy, pins, now, spared)
    if not policy.asks:
        stays |= dict.fromkeys(files.keys() - stays.keys(), (Why.UNASKED, "no rule was asked for"))
    needs = Needs(files.values())
    stays |= _needed(files, stays, needs)
    if policy.max_size is not None:
        while shared := _shared(files, stays):  # they stay, and so does what they need
            stays |= shared
            stays |= _needed(files, stays, needs)
        stays |= _fitting(files, stays, needs, policy.max_size)
    goes = _leaving(files, policy, now)
    verdicts = []
    for path, one in files.items():
        why, reason = stays[path] if path in stays else goes[path]
        verdicts.append(Verdict(file=one.file, goes=path not in stays, why=why, reason=reason))
    return Retention(
        verdicts=tuple(verdicts),
        size_before=_size(files.values()),
        size_after=_size(files[path] for path in stays),
    )


def _staying(
    files: Mapping[PurePosixPath, HeldFile],
    policy: Policy,
    pins: Pins,
    now: datetime,
    spared: Collection[PurePosixPath],
) -> _Reasons:
    """Say which files stay whatever becomes of the others."""
    newest = _newest(files.values(), policy.versions)
    stays: _Reasons = {}
    for path, one in files.items():
        lock = pins.lock_of(one.file, one.name)
        if lock is not None:
            stays[path] = Why.LOCKED, f"locks/{lock} names it"
        elif path in spared:
            stays[path] = Why.IN_USE, "somebody is being given it"
        elif path in newest:
            stays[path] = Why.NEWEST, f"among the newest {policy.versions} of {one.name.project} in {path.parent}"
        elif policy.unused_for is not None and one.used_at > now - policy.unused_for:
            stays[path] = Why.RECENT, f"last used {one.used_at:%Y-%m-%d}"
    return stays


def _newest(files: Iterable[HeldFile], versions: int | None) -> set[PurePosixPath]:
    """Find the files of the newest versions of each project in each directory."""
    if versions is None:
        return set()
    groups: dict[object, dict[Version, list[PurePosixPath]]] = defaultdict(lambda: defaultdict(list))
    for one in files:
        groups[one.file.path.parent, one.name.project][release_of(one.name.version)].append(one.file.path)
    return {
        path
        for group in groups.values()
        for version in sorted(group, reverse=True)[:versions]
        for path in group[version]
    }


def _needed(files: Mapping[PurePosixPath, HeldFile], stays: _Reasons, needs: Needs) -> _Reasons:
    """Find what else has to stay, because of files that stay by another rule than a lock.

    What a lock names needs what the lock names, and no more: a lock is a whole closure. What another file needs is
    followed on, though, whether a lock names it or not: its closure for that file's machines may be a different one.
    """
    found: _Reasons = {}
    waiting = [path for path, (why, _) in stays.items() if why is not Why.LOCKED]
    staying, followed = set(stays), set(waiting)
    while waiting:
        path = waiting.pop()
        for needed in sorted(needs.of(files[path], staying) - followed):
            if needed not in staying:
                found[needed] = Why.NEEDED, f"{path} needs it"
                staying.add(needed)
            followed.add(needed)
            waiting.append(needed)
    return found


def _shared(files: Mapping[PurePosixPath, HeldFile], stays: _Reasons) -> _Reasons:
    """Find further names of bytes that stay: removing those would free nothing."""
    kept = {files[path].bytes_of for path in stays}
    reason = Why.SHARED, "its bytes have another name, which stays"
    return {path: reason for path, one in files.items() if path not in stays and one.bytes_of in kept}


def _fitting(files: Mapping[PurePosixPath, HeldFile], stays: _Reasons, needs: Needs, max_size: int) -> _Reasons:
    """Find what may stay of the rest: all but what was used longest ago, until the size is right.

    Names of the same bytes go together, since one alone would free nothing.
    """
    groups: dict[Hashable, list[HeldFile]] = defaultdict(list)
    for path, one in files.items():
        if path not in stays:
            groups[one.bytes_of].append(one)
    order = _order(groups, {key: _needed_by(group, files, stays, needs) for key, group in groups.items()})
    found: _Reasons = {}
    left = _size(files.values())
    for key in order:
        group = groups[key]
        if left <= max_size:
            found |= {one.file.path: (Why.FITS, f"there is room; last used {_day(one)}") for one in group}
        else:
            left -= group[0].file.size
    return found


def _needed_by(
    group: Iterable[HeldFile], files: Mapping[PurePosixPath, HeldFile], stays: _Reasons, needs: Needs
) -> set[Hashable]:
    return {files[path].bytes_of for one in group for path in needs.of(one, stays) if path not in stays}


def _order(groups: Mapping[Hashable, list[HeldFile]], needed: Mapping[Hashable, set[Hashable]]) -> list[Hashable]:
    """Sort groups by when they, or whatever needs them, were last used; none comes before one that needs it.

    Second to the moment counts how far a group is below those that nobody needs.
    """
    ranks = {key: (max(one.used_at for one in group), 0) for key, group in groups.items()}
    waiting = list(groups)
    while waiting:
        key = waiting.pop()
        moment, depth = ranks[key]
        for other in needed[key] - {key}:
            if depth < len(groups) and (moment, depth + 1) > ranks[other]:  # those that need each other have no end
                ranks[other] = moment, depth + 1
                waiting.append(other)
    return sorted(groups, key=lambda key: (ranks[key], groups[key][0].file.path))


def _leaving(files: Mapping[PurePosixPath, HeldFile], policy: Policy, now: datetime) -> _Reasons:
    """Say of each file why it goes, if it does."""
    found: _Reasons = {}
    for path, one in files.items():
        if policy.max_size is not None:
            why, reason = Why.NO_ROOM, f"more than {render_size(policy.max_size)} are held; last used {_day(one)}"
        elif policy.versions is not None:
            why, reason = Why.OLD_VERSION, f"older than the newest {policy.versions} of {one.name.project}"
        elif policy.unused_for is not None:
            why, reason = Why.UNUSED, f"not used for {(now - one.used_at).days} days"
        else:
            why, reason = Why.NOT_LOCKED, "no lock names it"
        found[path] = why, reason
    return found


def _day(one: HeldFile) -> str:
    return f"{one.used_at:%Y-%m-%d}"


def _size(files: Iterable[HeldFile]) -> int:
    return sum({one.bytes_of: one.file.size for one in files}.values())
