"""Which lock of a mirror fits a destination: a reason for each one that does not.

A lock fits if every wheel's tags are among the destination's, Requires-Python admits its interpreter, its driver can
run the backend that torch was built for, and no requirement that is active here is left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.closure import walk_closure, whole_lock
from pytorch_offline.selector.rules.drivers import CannotRun, verdict_for_forced
from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.manylinux import promised_glibc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.tags import Tag
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.installer.lock import Lock, LockedWheel
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.metadata import CoreMetadata

# A lock for another Python fails by each of its wheels; the first few say it all.
MAX_REASONS_NAMED = 5


class Rule(StrEnum):
    """What a lock can fail by."""

    PYTHON = "python"
    PLATFORM = "platform"
    GLIBC = "glibc"
    DRIVER = "driver"
    REQUIREMENT = "requirement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One reason why a lock does not fit a destination."""

    rule: Rule
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def misfits(
    lock: Lock,
    target: Target,
    metadata: Mapping[NormalizedName, CoreMetadata],
    installed: Mapping[NormalizedName, Version],
) -> tuple[Misfit, ...]:
    """Say everything that keeps a lock from fitting; empty if it fits.

    Args:
        lock: the lock.
        target: the destination, as it describes itself.
        metadata: METADATA of those of the lock's wheels that could be read.
        installed: what the destination holds already.
    """
    found = [misfit for wheel in lock.wheels if (misfit := _tags_misfit(wheel, target)) is not None]
    for wheel in lock.wheels:
        admitted = metadata[wheel.project].requires_python if wheel.project in metadata else None
        if admitted is not None and not admitted.contains(target.python_full_version, prereleases=True):
            detail = f"{wheel.name.filename} asks for Python {admitted}, here is {target.python_full_version}"
            found.append(Misfit(rule=Rule.PYTHON, detail=detail))
    found.extend(_driver_misfit(lock, target))
    if not found:  # else the open requirements only repeat that this is another machine's lock
        gaps = walk_closure(whole_lock(lock), lock, metadata, target.marker_environment, installed).gaps
        found.extend(Misfit(rule=Rule.REQUIREMENT, detail=str(gap)) for gap in gaps)
    return tuple(found)


def _tags_misfit(wheel: LockedWheel, target: Target) -> Misfit | None:
    tags, ours = wheel.name.tags, frozenset(target.tags)
    if tags & ours:
        return None
    filename = wheel.name.filename
    pythons = {(tag.interpreter, tag.abi) for tag in ours}
    if not any((tag.interpreter, tag.abi) in pythons for tag in tags):
        here = f"{target.marker_environment['platform_python_implementation']} {target.python_full_version}"
        return Misfit(rule=Rule.PYTHON, detail=f"{filename} is not for {here}")
    glibc = _glibc_needed(tags, target)
    if glibc is not None:
        detail = f"{filename} needs glibc {glibc[0]}.{glibc[1]}, here is {target.libc or 'none that is known'}"
        return Misfit(rule=Rule.GLIBC, detail=detail)
    return Misfit(rule=Rule.PLATFORM, detail=f"{filename} is not for {target.system} on {target.machine}")


def _glibc_needed(tags: frozenset[Tag], target: Target) -> tuple[int, int] | None:
    """Return the lowest glibc that would make one of the tags fit, if glibc is all that is in the way."""
    if target.system != "Linux":
        return None
    ours = (tag.platform for tag in tags if tag.platform.endswith(f"_{target.machine}"))
    return min((glibc for platform in ours if (glibc := promised_glibc(platform)) is not None), default=None)


def _driver_misfit(lock: Lock, target: Target) -> tuple[Misfit, ...]:
    """Judge the driver where there is one; a machine without a known GPU may still be given a CUDA build."""
    if lock.backend is None or target.accelerator is None or target.accelerator.kind is not AcceleratorKind.CUDA:
        return ()
    verdict = verdict_for_forced(target, lock.backend)
    if isinstance(verdict, CannotRun) and verdict.reason == "driver":
        return (Misfit(rule=Rule.DRIVER, detail=verdict.detail),)
    return ()


def choose_lock(
    locks: Sequence[Lock], reasons: Mapping[str, Sequence[Misfit]], *, named: str | None
) -> tuple[Lock, tuple[Misfit, ...]]:
    """Choose the lock to install from; ``reasons`` holds the misfits of each by target name.

    A lock that the user names may ask for a newer driver than is found: that comes back as a warning, for whoever
    prepares an image for another machine.

    Raises:
        UsageError: ``unknown-target`` if no lock has the name given, ``several-locks-fit`` if the choice is open.
        UnsatisfiableError: ``no-lock-fits`` with the reasons per lock.
    """
    names = [lock.target for lock in locks]
    if named is not None and named not in names:
        raise UsageError(
            "unknown-target", f"there is no lock for target {named!r}", facts={"targets": ", ".join(names)}
        )
    candidates = [lock for lock in locks if named in (None, lock.target)]
    tolerated = {Rule.DRIVER} if named is not None else set()
    fitting = [lock for lock in candidates if all(misfit.rule in tolerated for misfit in reasons[lock.target])]
    if not fitting:
        raise UnsatisfiableError(
            "no-lock-fits",
            f"the lock of target {named} does not fit this Python" if named else "no lock here fits this Python",
            facts={f"target {lock.target}": _first_of(reasons[lock.target]) for lock in candidates},
            hint="describe this machine with `pytorch-offline detect -o NAME.json` and fetch for that target",
        )
    if len({lock.wheels for lock in fitting}) > 1:
        raise UsageError(
            "several-locks-fit",
            "several locks fit this Python, and they name different files",
            facts={f"target {lock.target}": _in_short(lock) for lock in fitting},
            hint="choose one with --target NAME",
        )
    return fitting[0], tuple(reasons[fitting[0].target])


def _first_of(reasons: Sequence[Misfit]) -> str:
    more = f"; and {len(reasons) - MAX_REASONS_NAMED} more" if len(reasons) > MAX_REASONS_NAMED else ""
    return "; ".join(map(str, reasons[:MAX_REASONS_NAMED])) + more


def _in_short(lock: Lock) -> str:
    torch = lock.wheel_of("torch")
    return f"{len(lock.wheels)} wheels" + (f", torch {torch.name.version}" if torch else "")
