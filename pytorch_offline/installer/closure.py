"""Which projects of a lock a request needs, and what a lock lacks, by the wheels' own METADATA.

A lock was resolved for the machine it names. On the machine at hand the same requirements may ask for more (a marker
that is true only here) or less, so the closure is walked again under the destination's full marker environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.target.markers import applies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.version import Version

    from pytorch_offline.installer.lock import Lock
    from pytorch_offline.wheels.metadata import CoreMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A requirement that nothing satisfies: ``found`` is the version at hand, None if the project is missing."""

    requirement: Requirement
    required_by: NormalizedName | None  # None: the user
    found: Version | None

    def __str__(self) -> str:
        who = f"{self.required_by} needs" if self.required_by else "you ask for"
        has = f"which is {self.found} here" if self.found else "which is missing"
        return f"{who} {self.requirement}, {has}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """The projects of the lock that are needed, sorted, and every requirement that nothing satisfies."""

    projects: tuple[NormalizedName, ...]
    gaps: tuple[Gap, ...]


def walk_closure(
    roots: Iterable[Requirement],
    lock: Lock,
    metadata: Mapping[NormalizedName, CoreMetadata],
    environment: Mapping[str, str],
    installed: Mapping[NormalizedName, Version],
) -> Closure:
    """Follow the roots through the lock under all eleven marker variables of the destination.

    A dependency that the lock lacks is met by what the destination already has, if the version suits; a root must be
    in the lock itself.
    """
    locked = {wheel.project: wheel.name.version for wheel in lock.wheels}
    open_ = [(root, None) for root in roots if _applies(root, environment, frozenset())]
    agenda: list[tuple[Requirement, NormalizedName | None]] = list(reversed(open_))
    extras_seen: dict[NormalizedName, set[NormalizedName]] = {}
    gaps: dict[str, Gap] = {}
    while agenda:
        requirement, required_by = agenda.pop()
        project = canonicalize_name(requirement.name)
        found = locked.get(project) or (installed.get(project) if required_by else None)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            gap = Gap(requirement=requirement, required_by=required_by, found=found)
            gaps.setdefault(str(gap), gap)
            continue
        extras = {canonicalize_name(extra) for extra in requirement.extras}
        if project not in locked or (project in extras_seen and extras <= extras_seen[project]):
            continue
        extras_seen.setdefault(project, set()).update(extras)
        if project in metadata:
            active = _active(metadata[project], environment, frozenset(extras_seen[project]))
            agenda.extend((dependency, project) for dependency in active)
    return Closure(projects=tuple(sorted(extras_seen)), gaps=tuple(gaps.values()))


def whole_lock(lock: Lock) -> tuple[Requirement, ...]:
    """Name every project of a lock as a root."""
    return tuple(Requirement(wheel.project) for wheel in lock.wheels)


def _active(
    metadata: CoreMetadata, environment: Mapping[str, str], extras: frozenset[NormalizedName]
) -> Iterator[Requirement]:
    return (requirement for requirement in metadata.requires_dist if _applies(requirement, environment, extras))


def _applies(requirement: Requirement, environment: Mapping[str, str], extras: frozenset[NormalizedName]) -> bool:
    """Whether a requirement's marker holds with no extra, or with one of those asked for."""
    return any(applies(requirement, environment, extra) for extra in ("", *sorted(extras)))
