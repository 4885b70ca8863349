"""What a lock's wheels need of each other on the lock's target, and on which other values of the markers that hangs.

The far side has no code for markers: here every value that a destination may bring is tried, and those with which the
closure stays complete are written down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.bundle.format.model import Missing
from pytorch_offline.target.markers import applies
from pytorch_offline.target.model import MARKER_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from packaging.requirements import Requirement
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.wheels.metadata import CoreMetadata

# No minor release of CPython had more than 25 patch releases so far.
PATCH_RELEASES = range(61)
# What destinations are known to say. For the kernel's release and version anything may come: these tell apart whether
# a marker looks at its digits.
_KNOWN_VALUES = {
    "implementation_name": ("cpython", "pypy", "graalpy"),
    "os_name": ("posix", "nt", "java"),
    "platform_machine": (
        *("x86_64", "aarch64", "AMD64", "arm64", "ARM64", "i686", "armv7l", "ppc64le", "s390x", "riscv64"),
    ),
    "platform_python_implementation": ("CPython", "PyPy", "GraalVM"),
    "platform_release": ("3.10.0-1160.el7.x86_64", "5.15.0-91-generic", "99.9.9", "10", "23.1.0"),
    "platform_system": ("Linux", "Darwin", "Windows"),
    "platform_version": ("#101-Ubuntu SMP", "10.0.22631", "Darwin Kernel Version 23.1.0"),
    "sys_platform": ("linux", "darwin", "win32", "cygwin"),
}
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_WORD = re.compile(r"[a-z_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockClosure:
    """What holds of a lock under its target's markers.

    Args:
        needs: the projects of the lock that each one requires.
        missing: requirements that nothing in the lock meets.
        markers: for each variable that this hangs on, the values with which all of it holds; see ``TargetLock``.
    """

    needs: Mapping[NormalizedName, tuple[NormalizedName, ...]]
    missing: tuple[Missing, ...]
    markers: Mapping[str, tuple[str, ...]]


def find_closure(
    locked: Mapping[NormalizedName, Version],
    metadata: Mapping[NormalizedName, CoreMetadata],
    environment: Mapping[str, str],
) -> LockClosure:
    """Walk a lock's closure under its target's eleven markers, and under every other value of each that occurs.

    Args:
        locked: the version of each project of the lock.
        metadata: the METADATA of its wheels, as far as they could be read.
        environment: the target's markers.
    """
    walker = _Walker(locked, metadata)
    own = walker.walk(environment)
    markers = {}
    for variable in sorted(walker.variables):
        tried = _values_to_try(variable, environment, walker.literals)
        kept = [value for value in tried if walker.holds(own, _with_value(environment, variable, value))]
        if len(kept) < len(tried) and environment[variable]:
            markers[variable] = tuple(kept)
    missing = sorted(own.missing, key=lambda one: (one.project, one.requirement, one.required_by))
    return LockClosure(
        needs={project: tuple(sorted(needed)) for project, needed in own.needs.items()},
        missing=tuple(missing),
        markers=markers,
    )


def _values_to_try(variable: str, environment: Mapping[str, str], literals: Collection[str]) -> tuple[str, ...]:
    own = environment[variable]
    if variable in {"python_full_version", "implementation_version"}:
        if variable == "implementation_version" and environment["implementation_name"] != "cpython":
            return (own,)
        found = [f"{environment['python_version']}.{patch}" for patch in PATCH_RELEASES]
        return tuple(found if own in found else [*found, own])
    known = {own, *_KNOWN_VALUES[variable], *(literals if variable.startswith("platform_") else ())}
    return tuple(sorted(value for value in known if value))


def _with_value(environment: Mapping[str, str], variable: str, value: str) -> dict[str, str]:
    """Give the environment another value; CPython's two full versions are one."""
    together = {"python_full_version", "implementation_version"}
    if variable in together and environment["implementation_name"] == "cpython":
        return {**environment, **dict.fromkeys(together, value)}
    return {**environment, variable: value}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    needs: Mapping[NormalizedName, frozenset[NormalizedName]]
    missing: frozenset[Missing]


class _Walker:
    """Walks one lock's closure under many environments; each marker is judged once for the values that it looks at."""

    def __init__(
        self, locked: Mapping[NormalizedName, Version], metadata: Mapping[NormalizedName, CoreMetadata]
    ) -> None:
        self._locked = locked
        self._metadata = metadata
        self._looks_at: dict[str, tuple[str, ...]] = {}
        self._judged: dict[tuple[str, ...], bool] = {}
        self._asked: dict[int, tuple[NormalizedName, bool, frozenset[NormalizedName]]] = {}
        self._texts: dict[int, str] = {}
        self.literals: set[str] = set()
        for one in metadata.values():
            for requirement in one.requires_dist:
                self._note(requirement)
        self.variables = {name for names in self._looks_at.values() for name in names} - {"python_version"}
        if any(one.requires_python is not None for one in metadata.values()):
            self.variables.add("python_full_version")

    def _note(self, requirement: Requirement) -> None:
        text = str(requirement.marker or "")
        if text in self._looks_at:
            return
        words = set(_WORD.findall(_QUOTED.sub(" ", text)))
        self._looks_at[text] = tuple(name for name in MARKER_VARIABLES if name in words)
        self.literals |= {one or other for one, other in _QUOTED.findall(text)}

    def walk(self, environment: Mapping[str, str]) -> _Walk:
        """Follow every project of the lock, with the extras that its wheels ask of each other.

        Raises:
            ValueError: a marker cannot be judged with such a value.
        """
        extras: dict[NormalizedName, set[NormalizedName]] = {project: set() for project in self._locked}
        needs: dict[NormalizedName, set[NormalizedName]] = {project: set() for project in self._locked}
        missing: set[Missing] = set()
        agenda = list(self._locked)
        while agenda:
            project = agenda.pop()
            for requirement in self._active(project, environment, extras[project]):
                needed, is_met, asked = self._judge(requirement)
                if not is_met:
                    bare = f"{requirement.name}{requirement.specifier}"
                    missing.add(Missing(project=needed, requirement=bare, required_by=project))
                    continue
                if needed != project:
                    needs[project].add(needed)
                if not asked <= extras[needed]:
                    extras[needed] |= asked
                    agenda.append(needed)
        return _Walk(needs={name: frozenset(found) for name, found in needs.items()}, missing=frozenset(missing))

    def _judge(self, requirement: Requirement) -> tuple[NormalizedName, bool, frozenset[NormalizedName]]:
        """Say whom a requirement asks for, whether the lock meets it, and with which extras: the same on every walk."""
        key = id(requirement)  # METADATA keeps it alive
        if key not in self._asked:
            needed = canonicalize_name(requirement.name)
            version = self._locked.get(needed)
            is_met = version is not None and requirement.specifier.contains(version, prereleases=True)
            self._asked[key] = needed, is_met, frozenset(map(canonicalize_name, requirement.extras))
        return self._asked[key]

    def holds(self, own: _Walk, environment: Mapping[str, str]) -> bool:
        """Whether another environment needs nothing beyond the target's own, and every wheel admits its Python."""
        full_version = environment["python_full_version"]
        for one in self._metadata.values():
            if one.requires_python is not None and not one.requires_python.contains(full_version, prereleases=True):
                return False
        try:
            there = self.walk(environment)
        except ValueError:  # such a value cannot be compared with what the marker has
            return False
        return there.missing <= own.missing and all(
            needed <= own.needs[project] for project, needed in there.needs.items()
        )

    def _active(
        self, project: NormalizedName, environment: Mapping[str, str], extras: Collection[NormalizedName]
    ) -> Iterator[Requirement]:
        if project not in self._metadata:
            return
        for requirement in self._metadata[project].requires_dist:
            if any(self._applies(requirement, environment, extra) for extra in ("", *sorted(extras))):
                yield requirement

    def _applies(self, requirement: Requirement, environment: Mapping[str, str], extra: str) -> bool:
        text = self._texts.get(id(requirement))
        if text is None:
            text = self._texts[id(requirement)] = str(requirement.marker or "")
        key = (text, extra, *(environment[name] for name in self._looks_at[text]))
        if key not in self._judged:
            self._judged[key] = applies(requirement, environment, extra)
        return self._judged[key]
