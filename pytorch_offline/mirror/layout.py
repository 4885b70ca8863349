"""The tree of a mirror: where a file goes, and which page lists which files.

The tree looks like download.pytorch.org's own (DESIGN 4.2), because clients have its paths built in. Three words:

- a *channel* is a whole index: ``whl`` (stable), ``whl/nightly``, ``whl/test``;
- a *variant* is a directory of one channel that holds one kind of build: ``whl/cu121``, ``whl/cu121_full``;
- *root-level* files lie in the channel's own directory and belong to every variant of it.

Upstream's generator lists on a variant's page the variant's files and the root-level ones, and on the root's page every
file of the channel (upstream-index.md, section 2). Ours does the same.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from pytorch_offline.wheels.filename import WheelName, parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.model import Listed, MirrorFile

ROOT = PurePosixPath("whl")
LOCKS = PurePosixPath("locks")
# What is a lock by its name, and may be served as one; no file system has longer names.
LOCK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,240}\.(?:toml|txt|json)")
MANIFEST_NAME = "manifest.json"
HTML_NAME = "index.html"
JSON_NAME = "index.v1+json"
METADATA_SUFFIX = ".metadata"
# The private directory beside whl/: catalogue, partial downloads (DESIGN 4.2).
STATE_NAME = ".state"

# The channels that upstream has, as directories below whl/, stable being whl/ itself; and what upstream calls the flat
# page of a variant in each (upstream-index.md, section 2).
FLAT_NAMES = {
    (): "torch_stable.html",
    ("nightly",): "torch_nightly.html",
    ("test",): "torch_test.html",
    ("lts", "1.8"): "torch_lts.html",
    ("preview", "forge"): "torch_stable.html",
}
CHANNELS = tuple(channel for channel in FLAT_NAMES if channel)
PAGE_NAMES = frozenset({HTML_NAME, JSON_NAME, *FLAT_NAMES.values()})

# The directories that upstream's generator has ever filled: a backend, or a special build of one, such as
# cpu-cxx11-abi, cu121_full and cu117_pypi_cudnn.
_VARIANT = re.compile(r"(?:cpu|xpu|cu[0-9]{2,3}|rocm[0-9]+(?:\.[0-9]+){1,2})(?:[-_][0-9a-z][0-9a-z_-]*)?")


def place_of_locked(path: str) -> PurePosixPath:
    """Resolve a path as a lock writes it, relative to ``locks/``; one that begins with ``..`` leaves the mirror."""
    return PurePosixPath(posixpath.normpath(LOCKS / path))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """A page in a directory of its own that lists files of one project."""

    directory: PurePosixPath
    project: NormalizedName
    files: tuple[Listed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectList:
    """The page of an index: the projects that have a page below it."""

    directory: PurePosixPath
    projects: tuple[NormalizedName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPage:
    """A find-links page: all files of one variant, then the root-level ones, each file name once."""

    path: PurePosixPath
    files: tuple[Listed, ...]


IndexPage: TypeAlias = ProjectPage | ProjectList | FlatPage


def mirror_path(upstream_path: str, *, from_upstream: bool) -> PurePosixPath:
    """Say where a file goes below the mirror's directory.

    ``/whl/cu121/X`` goes to ``whl/cu121/X`` and ``/whl/nightly/cu126/X`` to ``whl/nightly/cu126/X``, also when the
    upstream is a copy under another prefix, doubles a slash, or keeps the file in a directory below the variant's.
    Root-level files, and all files of other indexes, go to ``whl/X``. No directory of the address is taken over unless
    upstream is known to have one of that name, so that an address can never lead out of the tree.

    Args:
        upstream_path: the address's path, decoded once.
        from_upstream: whether the file comes from an index of upstream's layout.

    Raises:
        UsageError: ``invalid-wheel-name`` if the last segment is no wheel's name.
    """
    *directories, filename = upstream_path.split("/")
    name = parse_wheel_name(filename).filename
    if not from_upstream:
        return ROOT / name
    segments = [segment for segment in directories if segment]
    at = next((index for index, segment in enumerate(segments) if _VARIANT.fullmatch(segment)), len(segments))
    before, variant = segments[:at], segments[at : at + 1]
    channel = next((channel for channel in CHANNELS if tuple(before[-len(channel) :]) == channel), ())
    return ROOT.joinpath(*channel, *variant, name)


def is_variant(name: str) -> bool:
    """Say whether a directory of a channel has builds of one kind, by its name."""
    return _VARIANT.fullmatch(name) is not None


def channel_of(path: PurePosixPath) -> PurePosixPath:
    """Name the channel's directory that a file belongs to: ``whl`` for ``whl/cu121/X``."""
    below = path.parts[len(ROOT.parts) : -1]
    channel = next((channel for channel in CHANNELS if below[: len(channel)] == channel), ())
    return ROOT.joinpath(*channel)


def sidecar_of(path: PurePosixPath) -> PurePosixPath:
    """Name the file beside a wheel that holds its METADATA (PEP 658)."""
    return path.with_name(path.name + METADATA_SUFFIX)


def relative_href(directory: PurePosixPath, path: PurePosixPath) -> str:
    """Write the link from a page in one directory of the tree to a file elsewhere in it, percent-encoded.

    ``+`` becomes ``%2B``, because object stores read a bare ``+`` as a space. The link never starts at the host's root,
    so that the tree works below any address.
    """
    shared = 0
    for mine, its in zip(directory.parts, path.parent.parts, strict=False):
        if mine != its:
            break
        shared += 1
    up = [".."] * (len(directory.parts) - shared)
    return "/".join([*up, *(quote(part, safe="") for part in path.parts[shared:])])


def plan_pages(files: Iterable[MirrorFile]) -> tuple[IndexPage, ...]:
    """Decide which pages the tree has and what each lists, project pages before the lists that lead to them.

    A channel other than stable also lists stable's root-level files of the projects that it has none of: the
    dependencies, which come from other indexes and lie there once. Where a project is called like a variant or a
    channel, the later page, which is the variant's, takes the place.
    """
    listed = files_in_order(files)
    names = {file.path: parse_wheel_name(file.path.name) for file in listed}
    channels: dict[PurePosixPath, list[MirrorFile]] = defaultdict(list)
    channels[ROOT] = []
    for file in listed:
        channels[channel_of(file.path)].append(file)
    pages: list[IndexPage] = []
    lists: list[ProjectList] = []
    for channel, held in sorted(channels.items()):
        by_directory: dict[PurePosixPath, list[MirrorFile]] = defaultdict(list)
        for file in held:
            by_directory[file.path.parent].append(file)
        borrowed = [] if channel == ROOT else _borrowed(held, channels[ROOT], names)
        everywhere = [*by_directory[channel], *borrowed]
        indexes = {channel: [*held, *borrowed]}
        for variant, own in sorted(by_directory.items()):
            if variant == channel:
                continue
            offered = _each_name_once([*own, *everywhere])
            indexes[variant] = offered
            path = variant / FLAT_NAMES[channel.parts[len(ROOT.parts) :]]
            pages.append(FlatPage(path=path, files=_flat_order(offered, variant, names)))
        for directory, offered in indexes.items():
            by_project = _by_project(offered, names)
            pages += [
                ProjectPage(directory=directory / project, project=project, files=shown)
                for project, shown in by_project.items()
            ]
            lists.append(ProjectList(directory=directory, projects=tuple(by_project)))
    return (*pages, *lists)


def files_in_order(files: Iterable[MirrorFile]) -> list[MirrorFile]:
    """Sort files by path, the order in which the manifest lists them and verification reads them."""
    return sorted(files, key=lambda file: file.path)


def _borrowed(
    held: list[MirrorFile], stable: list[MirrorFile], names: Mapping[PurePosixPath, WheelName]
) -> list[MirrorFile]:
    known = {names[file.path].project for file in held}
    return [file for file in stable if file.path.parent == ROOT and names[file.path].project not in known]


def _each_name_once(files: Iterable[MirrorFile]) -> list[MirrorFile]:
    """Keep the first file of each name: a client may take one name for one file, for ever (uv's flat index does)."""
    first: dict[str, MirrorFile] = {}
    for file in files:
        first.setdefault(file.path.name, file)
    return list(first.values())


def _flat_order(
    files: Iterable[MirrorFile], variant: PurePosixPath, names: Mapping[PurePosixPath, WheelName]
) -> tuple[MirrorFile, ...]:
    def key(file: MirrorFile) -> tuple[object, ...]:
        name = names[file.path]
        return file.path.parent != variant, name.project, name.version, name.filename

    return tuple(sorted(files, key=key))


def _by_project(
    files: Iterable[MirrorFile], names: Mapping[PurePosixPath, WheelName]
) -> dict[NormalizedName, tuple[MirrorFile, ...]]:
    grouped: dict[NormalizedName, list[MirrorFile]] = defaultdict(list)
    for file in files:
        grouped[names[file.path].project].append(file)
    return {
        project: tuple(
            sorted(listed, key=lambda file: (names[file.path].version, names[file.path].filename, file.path))
        )
        for project, listed in sorted(grouped.items())
    }
