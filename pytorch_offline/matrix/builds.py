"""From what pages said about files, and what the release table says, to builds of a release, a backend, a platform.

A page's words are facts of a day; the table fills in the releases that no page that was read lists, and says so.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.backends import backend_directories
from pytorch_offline.knowledge.torch_builds import read_releases
from pytorch_offline.matrix.pythons import pythons_of
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend
from pytorch_offline.wheels.filename import WheelName, parse_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from packaging.specifiers import SpecifierSet
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.crawler.model import Link, Observation

CHANNELS = ("stable", "test", "nightly")
# Platforms in the order in which tables name them.
_PLATFORM_ORDER = ("linux_x86_64", "linux_aarch64", "win_amd64", "win_arm64", "macosx_arm64", "macosx_x86_64")


# One name stands on many pages.
_wheel_name = functools.lru_cache(maxsize=16384)(parse_wheel_name)


class Origin(StrEnum):
    """Who says that a build exists."""

    CATALOGUE = "catalogue"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The wheels of one version for one backend on one platform.

    Args:
        version: without the local label that names the backend.
        backend: what it runs on; None where it serves any.
        platform: ``linux_x86_64``, ``win_amd64``, ``macosx_arm64``, ``any`` …
        pythons: the Pythons that have a wheel: ``3.10``, ``3.13t``, ``3`` for any.
        links: the wheels, as pages said it last; empty where the table says it.
        directory: the directory in which they lie, empty for root level.
        listed: whether a page lists any of them (on the day asked about); None where the table says it.
        first_seen: when a page first listed one of them, ISO 8601; None where the table says it.
        last_seen: when a page last did.
    """

    project: NormalizedName
    version: Version
    backend: Backend | None
    platform: str
    pythons: frozenset[str]
    origin: Origin
    links: tuple[Link, ...] = ()
    directory: str = ""
    listed: bool | None = None
    first_seen: str | None = None
    last_seen: str | None = None

    @property
    def filenames(self) -> tuple[str, ...]:
        """The wheels' names."""
        return tuple(sorted({link.filename for link in self.links}))

    @property
    def release(self) -> Version:
        """The release that people name: without ``post`` (0.3.0 for 0.3.0.post4)."""
        version = self.version
        return version if version.is_devrelease else version.__replace__(post=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which builds a table is about; an empty tuple admits all."""

    project: NormalizedName
    specifier: SpecifierSet
    channel: str = "stable"
    platforms: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    pythons: tuple[str, ...] = ()
    as_of: datetime | None = None

    def admits(self, build: Build) -> bool:
        """Whether a build passes the filters."""
        return (
            self.specifier.contains(build.version, prereleases=True)
            and (not self.platforms or build.platform in {*self.platforms, "any"})
            and (not self.backends or build.backend is None or build.backend in self.backends)
            and (not self.pythons or not build.pythons.isdisjoint({*self.pythons, "3", "2"}))
        )


def platform_order(platform: str) -> tuple[int, str]:
    """Sort key among platforms: the common ones first."""
    known = _PLATFORM_ORDER.index(platform) if platform in _PLATFORM_ORDER else len(_PLATFORM_ORDER)
    return known, platform


def platforms_of(name: WheelName) -> frozenset[str]:
    """Name the platforms of a wheel's tags, without regard to C library and system version."""
    return frozenset(_platform(tag.platform) for tag in name.tags)


def _platform(tag: str) -> str:
    if "linux" in tag:
        for arch in ("x86_64", "aarch64", "ppc64le", "s390x", "i686", "armv7l"):
            if tag.endswith(arch):
                return f"linux_{arch}"
    if tag.startswith("macosx"):
        return "macosx_arm64" if tag.endswith("arm64") else "macosx_x86_64"
    return tag


def channel_of(path: str) -> str:
    """Say which channel a file's path is of, by its directories."""
    directories = path.split("/")[:-1]
    return next((channel for channel in ("nightly", "test") if channel in directories), "stable")


def builds_of(sayings: Iterable[Observation], wanted: Wanted) -> tuple[Build, ...]:
    """Gather the builds that pages listed at any time up to the day asked about, newest version first.

    Builds of special directories (``cu121_full``, ``cpu-cxx11-abi``) are left out: they are no backends of their own.
    """
    known = [(_wheel_name(saying.link.filename), saying) for saying in _known(sayings, wanted)]
    roots = {_root(saying.link.path) for _, saying in known} - {None}
    special = {row.directory for row in backend_directories() if row.backend is None}
    gathered: dict[tuple[Version, Backend | None, str], list[tuple[WheelName, Observation]]] = defaultdict(list)
    for name, saying in known:
        path = saying.link.path
        directory = path.rpartition("/")[0]
        if special & set(path.split("/")) or (name.version.is_devrelease and wanted.channel == "stable"):
            continue
        backend = backend_of(name, path, indexed_by_backend=_root(path) is not None or f"{directory}/" in roots)
        for platform in platforms_of(name):
            gathered[release_of(name.version), backend, platform].append((name, saying))
    builds = [_build(*key, wheels, wanted) for key, wheels in gathered.items()]
    return tuple(sorted((one for one in builds if wanted.admits(one)), key=_order, reverse=True))


def tabled_builds(wanted: Wanted, known: Iterable[Version]) -> tuple[Build, ...]:
    """Give the builds of torch's releases that no page lists, from the release table: CUDA, ROCm and XPU."""
    seen = {version.base_version for version in known}
    if wanted.project != "torch" or wanted.channel != "stable" or wanted.as_of is not None:
        return ()
    builds = [
        Build(
            project=wanted.project,
            version=row.release,
            backend=parse_backend(backend),
            platform=platform,
            pythons=row.pythons,
            origin=Origin.TABLE,
        )
        for row in read_releases()
        if row.release.base_version not in seen
        for platform, backends in row.backends.items()
        for backend in backends
    ]
    return tuple(sorted((one for one in builds if wanted.admits(one)), key=_order, reverse=True))


def period_of(builds: Sequence[Build]) -> tuple[str, str] | None:
    """Say when the pages behind builds were read: first and last; None if none was."""
    first = [build.first_seen for build in builds if build.first_seen is not None]
    last = [build.last_seen for build in builds if build.last_seen is not None]
    return (min(first), max(last)) if first and last else None


def insist_on_builds(builds: Sequence[object], wanted: Wanted, *, anything_known: bool) -> None:
    """Raise if there is nothing to show.

    Raises:
        UsageError: ``nothing-catalogued`` if no page that was read lists the project; ``nothing-matches`` if the
            filters leave nothing.
    """
    if builds:
        return
    if not anything_known:
        channel = "" if wanted.channel == "stable" else f" --channel {wanted.channel}"
        raise UsageError(
            "nothing-catalogued",
            f"no page that was read lists {wanted.project}",
            hint=f"run `pytorch-offline crawl --project {wanted.project}{channel}` while there is a network",
        )
    asked = {
        "versions": str(wanted.specifier),
        "channel": wanted.channel,
        "platforms": ", ".join(wanted.platforms),
        "backends": ", ".join(map(str, wanted.backends)),
        "pythons": ", ".join(wanted.pythons),
        "as of": "" if wanted.as_of is None else f"{wanted.as_of:%Y-%m-%d}",
    }
    raise UsageError(
        "nothing-matches",
        f"no build of {wanted.project} is like that",
        facts={name: text for name, text in asked.items() if text},
        hint="leave out a filter; `pytorch-offline matrix` shows what there is",
    )


def _known(sayings: Iterable[Observation], wanted: Wanted) -> list[Observation]:
    """Keep what was known of the channel on the day asked about."""
    moment = None if wanted.as_of is None else f"{wanted.as_of:%Y-%m-%dT%H:%M:%SZ}"
    of_channel = [saying for saying in sayings if channel_of(saying.link.path) == wanted.channel]
    if moment is None:
        return of_channel
    return [
        saying
        if saying.ended is not None and saying.ended <= moment
        else replace(saying, ended=None, last_seen=min(saying.last_seen, moment))
        for saying in of_channel
        if saying.first_seen <= moment
    ]


def _root(path: str) -> str | None:
    """Give what lies above the directory of a backend, with its slash; None where there is no such directory."""
    segments = path.split("/")
    for position in range(len(segments) - 2, 0, -1):
        if is_backend(segments[position]):
            return "/".join([*segments[:position], ""])
    return None


def _build(
    version: Version,
    backend: Backend | None,
    platform: str,
    wheels: Sequence[tuple[WheelName, Observation]],
    wanted: Wanted,
) -> Build:
    sayings = [saying for _, saying in wheels]
    directories = {saying.link.path.rpartition("/")[0].rpartition("/")[2] for saying in sayings}
    return Build(
        project=wanted.project,
        version=version,
        backend=backend,
        platform=platform,
        pythons=frozenset(python for name, _ in wheels for python in pythons_of(name)),
        origin=Origin.CATALOGUE,
        links=tuple({saying.link.path: saying.link for saying in sayings}.values()),
        directory=";".join(sorted(directory for directory in directories if is_backend(directory))),
        listed=any(saying.ended is None for saying in sayings),
        first_seen=min(saying.first_seen for saying in sayings),
        last_seen=max(saying.last_seen for saying in sayings),
    )


def _order(build: Build) -> tuple[object, ...]:
    known, platform = platform_order(build.platform)
    return build.version, -known, platform, (-1,) if build.backend is None else build.backend.order
