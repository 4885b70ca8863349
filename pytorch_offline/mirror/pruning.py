"""Throwing away: reads what the rules of ``retention.py`` want to know of a mirror, and does what they decide."""

from __future__ import annotations

import stat
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import LOCKS, sidecar_of
from pytorch_offline.mirror.partial import SIDECAR_SUFFIX
from pytorch_offline.mirror.pins import NOTHING_PINNED, read_pins
from pytorch_offline.mirror.retention import HeldFile, Policy, Retention, plan_retention
from pytorch_offline.mirror.uses import Uses
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import timedelta

    from packaging.requirements import Requirement

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.store import Mirror


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What a run left in the private directory: a download that was cut off, or bytes that were turned away.

    ``path`` is below the mirror. ``bytes_freed`` is what its removal gives back.
    """

    path: PurePosixPath
    bytes_freed: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is, or was, thrown away; ``bytes_freed`` counts bytes whose last name goes, leftovers' too."""

    retention: Retention
    leftovers: tuple[Leftover, ...]
    bytes_freed: int

    @property
    def paths(self) -> tuple[PurePosixPath, ...]:
        """The files of the mirror that go."""
        return tuple(verdict.file.path for verdict in self.retention.going)


def plan_pruning(
    mirror: Mirror,
    policy: Policy,
    *,
    leftovers: timedelta | None = None,
    spared: Collection[PurePosixPath] = (),
    whole_closures: bool = True,
    now: datetime,
) -> Pruning:
    """Look at a mirror and decide what goes. Changes nothing, and takes no lock.

    Args:
        mirror: the directory.
        policy: the rules that are asked for.
        leftovers: sweep leftovers that are older than this; None sweeps none.
        spared: files that must not go now.
        whole_closures: whether files that others need stay with them. A gateway, which can have them again, need not
            read all METADATA for that.
        now: the time, in UTC.

    Raises:
        UsageError: ``no-locks`` if only what locks name is to stay, and they name nothing.
        IntegrityError: ``bad-lock``, ``bad-manifest``; ``metadata-missing`` if it cannot be told what a file needs.
        UpstreamError: ``disk-failed``.
    """
    with disk_errors(mirror.root):
        rows = mirror.read_files()
        looks = {path: _look(mirror.root / path) for path in rows}
        needs = policy.asks and whole_closures and policy != Policy(locked=True)
        held = _held(mirror, rows.values(), looks, with_needs=needs)
        pins = read_pins(mirror.root)
        if policy == Policy(locked=True) and pins == NOTHING_PINNED:
            raise UsageError(
                "no-locks",
                f"{mirror.root} has no lock that names anything, so nothing would be left of it",
                hint=f"fetch writes locks into {LOCKS}; other rules are --keep N, --older-than and --max-size",
            )
        retention = plan_retention(held, policy, pins, now=now, spared=spared)
        swept = () if leftovers is None else _leftovers(mirror, now - leftovers)
    freed = _bytes_freed(looks[verdict.file.path] for verdict in retention.going)
    return Pruning(
        retention=retention, leftovers=swept, bytes_freed=freed + sum(leftover.bytes_freed for leftover in swept)
    )


def carry_out(mirror: Mirror, pruning: Pruning, *, now: Callable[[], datetime]) -> None:
    """Throw away what was decided; whoever wants the mirror to be as it was then holds its lock around both.

    Raises:
        UpstreamError: ``disk-failed``, ``disk-full``; the next run finishes it.
        UsageError: ``mirror-not-writable``.
    """
    with mirror.lock(), disk_errors(mirror.root):
        mirror.remove(pruning.paths, now=now)
        for leftover in pruning.leftovers:
            mirror.disk.remove(mirror.root / leftover.path)
        Uses(mirror.state).save(mirror.read_files())


def evict(
    mirror: Mirror, *, max_size: int, spared: Collection[PurePosixPath] = (), now: Callable[[], datetime]
) -> Pruning:
    """Make room in a mirror that can have everything again: what was used longest ago goes, no lock's file ever does.

    Raises:
        PytorchOfflineError: what ``plan_pruning`` and ``carry_out`` say.
    """
    with mirror.lock():
        policy = Policy(max_size=max_size)
        pruning = plan_pruning(mirror, policy, spared=spared, whole_closures=False, now=now())
        if pruning.paths:
            carry_out(mirror, pruning, now=now)
    return pruning


def _held(
    mirror: Mirror,
    rows: Iterable[MirrorFile],
    looks: Mapping[PurePosixPath, os.stat_result | None],
    *,
    with_needs: bool,
) -> list[HeldFile]:
    uses = Uses(mirror.state).read()
    held = []
    for row in rows:
        look = looks[row.path]
        came = datetime.fromisoformat(row.verified_at) if look is None else _moment(look)
        shares = look is not None and look.st_nlink > 1
        held.append(
            HeldFile(
                file=row,
                used_at=max(came, uses.get(row.path, came)),
                storage=(look.st_dev, look.st_ino) if look is not None and shares else None,
                requires=_requirements(mirror.root, row) if with_needs else (),
            )
        )
    return held


def _requirements(root: Path, row: MirrorFile) -> tuple[Requirement, ...]:
    try:
        return parse_metadata((root / sidecar_of(row.path)).read_bytes()).requires_dist
    except FileNotFoundError:
        raise IntegrityError(
            "metadata-missing",
            f"what {row.path} needs cannot be told without its METADATA, so nothing is removed",
            hint="`pytorch-offline verify --repair` puts it back",
        ) from None


def _leftovers(mirror: Mirror, before: datetime) -> tuple[Leftover, ...]:
    """Find downloads that nobody went on with and bytes that nobody inspected, since before a moment."""
    groups: dict[tuple[Path, str], dict[Path, os.stat_result]] = defaultdict(dict)
    for directory in (mirror.partial, mirror.rejected):
        for place in sorted(directory.glob("*")):
            if (look := _look(place)) is not None and stat.S_ISREG(look.st_mode):
                groups[directory, place.name.removesuffix(".new").removesuffix(SIDECAR_SUFFIX)][place] = look
    found = []
    for looks in groups.values():
        # A rejected file keeps the time of its bytes; what is beside it tells when it was put there.
        since = max(map(_moment, looks.values()))
        if since < before:
            found += [
                Leftover(
                    path=PurePosixPath(place.relative_to(mirror.root).as_posix()),
                    bytes_freed=_bytes_freed([look]),
                    since=since,
                )
                for place, look in looks.items()
            ]
    return tuple(found)


def _bytes_freed(looks: Iterable[os.stat_result | None]) -> int:
    """Count the bytes of which every name goes."""
    there = [look for look in looks if look is not None]
    names = Counter((look.st_dev, look.st_ino) for look in there)
    sizes = {(look.st_dev, look.st_ino): look for look in there}
    return sum(look.st_size for key, look in sizes.items() if names[key] >= look.st_nlink)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _moment(look: os.stat_result) -> datetime:
    return datetime.fromtimestamp(look.st_mtime, UTC)
