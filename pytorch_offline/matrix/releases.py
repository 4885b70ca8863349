"""The tables of builds: per release, per backend, per Python; what is alike is grouped, in ranges."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pytorch_offline.matrix.builds import Build, Origin, platform_order
from pytorch_offline.matrix.pythons import DASH, python_age, python_order, render_pythons
from pytorch_offline.matrix.view import Section
from pytorch_offline.wheels.backend import Backend, BackendKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from packaging.version import Version

# Marks behind a release.
GONE = "*"
TABLED = "~"
# Longer ranges of versions may be wrapped.
_LONGEST_RANGE = 15
_KINDS = (BackendKind.CPU, BackendKind.CUDA, BackendKind.ROCM, BackendKind.XPU)


def record_of(build: Build) -> dict[str, object]:
    """Give everything about a build, for programs."""
    return {
        "project": build.project,
        "version": str(build.version),
        "backend": None if build.backend is None else str(build.backend),
        "platform": build.platform,
        "pythons": sorted(build.pythons, key=python_order),
        "origin": build.origin.value,
        "listed": build.listed,
        "first_seen": build.first_seen,
        "last_seen": build.last_seen,
        "directory": build.directory,
        "files": list(build.filenames),
    }


def notes_on(builds: Iterable[Build]) -> list[str]:
    """Explain the marks that the text of these builds shows."""
    shown = list(builds)
    notes = []
    if any(_mark(group) == GONE for group in _by_version(shown).values()):
        notes.append(f"{GONE} no page lists it any more; the file may still be there")
    if any(build.origin is Origin.TABLE for build in shown):
        notes.append(
            f"{TABLED} not from pages: releases that no page that was read lists, from the table of releases "
            "(CUDA, ROCm and XPU only); `pytorch-offline crawl` reads the pages"
        )
    return notes


def _by_version(builds: Iterable[Build]) -> dict[Version, list[Build]]:
    groups: dict[Version, list[Build]] = defaultdict(list)
    for build in builds:
        groups[build.version].append(build)
    return groups


def _mark(group: Collection[Build]) -> str:
    if any(build.origin is Origin.TABLE for build in group):
        return TABLED
    return "" if any(build.listed for build in group) else GONE


def namesake_notes(builds: Iterable[Build]) -> list[str]:
    """Say which backends have files of one name: up to torch 1.8 names did not tell backends apart."""
    backends: dict[str, set[Backend]] = defaultdict(set)
    for build in builds:
        for filename in build.filenames:
            if build.backend is not None:
                backends[filename].add(build.backend)
    shared = [found for found in backends.values() if len(found) > 1]
    if not shared:
        return []
    names = " ".join(str(one) for one in sorted(set().union(*shared), key=lambda one: one.order))
    return [
        (
            f"{len(shared)} file names are the same for several of {names}: "
            "only the directory tells which is which, so keep them apart"
        )
    ]


# One line is a platform and its Pythons, with the backends that share them; a release is some lines.
_Line = tuple[str, str, str]


def by_release(builds: Sequence[Build]) -> Section:
    """One row per release and kind of machine, newest first; releases that are alike stand together."""
    shapes: list[tuple[list[str], tuple[tuple[_Line, ...], str]]] = []
    for version, group in sorted(_by_version(builds).items(), reverse=True):
        shape, name = (_lines_of(group), _mark(group)), f"{version}{_mark(group)}"
        if shapes and shapes[-1][1] == shape:
            shapes[-1][0].append(name)
        else:
            shapes.append(([name], shape))
    rows = []
    for names, (lines, _) in shapes:
        label = names[0] if len(names) == 1 else _range(names[-1], names[0])
        rows += [(label if not position else "", *line) for position, line in enumerate(lines)]
    header = (builds[0].project, "platform", "Python", "backends")
    return Section(header=header, rows=tuple(rows), widths=(15, 13, 12))


def _range(first: str, last: str) -> str:
    """Write a range; one mark stands for both ends, and a long one may be wrapped."""
    for mark in (GONE, TABLED):
        if first.endswith(mark) and last.endswith(mark):
            first = first.removesuffix(mark)
    short = f"{first}{DASH}{last}"
    return short if len(short) <= _LONGEST_RANGE else f"{first} {DASH}{last}"


def _lines_of(group: Collection[Build]) -> tuple[_Line, ...]:
    backends: dict[tuple[str, str], list[Build]] = defaultdict(list)
    for build in group:
        backends[build.platform, render_pythons(build.pythons)].append(build)
    merged: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (platform, pythons), some in backends.items():
        merged[pythons, render_backends(some)].append(platform)
    lines = [(_joined_platforms(platforms), pythons, names) for (pythons, names), platforms in merged.items()]
    return tuple(sorted(lines, key=lambda line: (platform_order(line[0].split()[0]), -len(line[2]), line)))


def _joined_platforms(platforms: Iterable[str]) -> str:
    return " ".join(sorted(platforms, key=platform_order))


def render_backends(builds: Iterable[Build]) -> str:
    """Name the backends of builds: CPU, CUDA, ROCm, XPU; ``any`` for wheels that serve them all."""
    found = {build.backend for build in builds}
    known = (one for one in found if one is not None)
    names = [str(one) for one in sorted(known, key=lambda one: (_KINDS.index(one.kind), one.order))]
    return " ".join([*(["any"] if None in found else []), *names])


def by_backend(builds: Sequence[Build], known: Mapping[Version, str]) -> Section:
    """One row per backend and kind of machine, the newest toolkit first: which releases there are.

    ``known`` are the marks of all releases that are known (``marks_of``): neighbours among them make a range.
    """
    backends = sorted({build.backend for build in builds if build.backend is not None}, key=lambda one: one.order)
    rows = []
    for backend in [*reversed(backends), *([None] if any(build.backend is None for build in builds) else [])]:
        mine = [build for build in builds if build.backend == backend]
        name = "any" if backend is None else str(backend)
        lines = _alike(mine, lambda one: one.platform, known)
        rows += [
            (name if not position else "", _joined_platforms(platforms), pythons, versions)
            for position, (platforms, pythons, versions) in enumerate(lines)
        ]
    header = ("backend", "platform", "Python", builds[0].project)
    return Section(header=header, rows=tuple(rows), widths=(12, 13, 12))


def _alike(
    builds: Sequence[Build], key: Callable[[Build], str], known: Mapping[Version, str]
) -> list[tuple[list[str], str, str]]:
    """Group builds by a key, and keys that have the same Pythons and versions."""
    groups: dict[str, list[Build]] = defaultdict(list)
    for build in builds:
        groups[key(build)].append(build)
    merged: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, some in sorted(groups.items(), key=lambda one: platform_order(one[0])):
        pythons = render_pythons(python for build in some for python in build.pythons)
        merged[pythons, render_releases(some, known)].append(name)
    return [(names, pythons, versions) for (pythons, versions), names in merged.items()]


def by_python(builds: Sequence[Build], known: Mapping[Version, str]) -> Section:
    """One row per Python and platform, the newest first: which releases and backends there are."""
    pythons = sorted({python for build in builds for python in build.pythons}, key=python_age, reverse=True)
    rows = []
    for python in pythons:
        merged: dict[tuple[str, str], list[str]] = defaultdict(list)
        mine = [build for build in builds if python in build.pythons]
        for platform in sorted({build.platform for build in mine}, key=platform_order):
            some = [build for build in mine if build.platform == platform]
            merged[render_releases(some, known), render_backends(some)].append(platform)
        rows += [
            (python if not position else "", versions, _joined_platforms(platforms), backends)
            for position, ((versions, backends), platforms) in enumerate(merged.items())
        ]
    header = ("Python", builds[0].project, "platform", "backends")
    return Section(header=header, rows=tuple(rows), widths=(9, 18, 13))


def marks_of(builds: Iterable[Build]) -> dict[Version, str]:
    """Give the releases of builds, oldest first, each with its mark."""
    groups: dict[Version, list[Build]] = defaultdict(list)
    for build in builds:
        groups[build.release].append(build)
    return {release: _mark(group) for release, group in sorted(groups.items())}


def render_releases(builds: Iterable[Build], known: Mapping[Version, str]) -> str:
    """Write the releases of builds as ranges, newest first; neighbours among all that are known make a range.

    A release that only the table knows interrupts no range of what pages list.
    """
    marks = marks_of(builds)
    runs: list[list[Version]] = []
    for mark in sorted(set(marks.values())):
        near = False
        for release in (one for one, other in known.items() if not (other == TABLED != mark)):
            if marks.get(release) != mark:
                near = False
            elif near:
                runs[-1].append(release)
            else:
                runs.append([release])
                near = True
    return ", ".join(_render_run(run, marks[run[0]]) for run in sorted(runs, reverse=True))


def _render_run(run: Sequence[Version], mark: str) -> str:
    text = str(run[0]) if len(run) == 1 else f"{run[0]}{DASH}{run[-1]}"
    return f"{text}{mark}"
