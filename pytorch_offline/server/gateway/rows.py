"""What a gateway's pages list: what upstream says, put where the tree has it, and what the mirror holds.

A row that the mirror holds goes before upstream's word on the same file: its bytes were verified, and stay what they
are. Upstream's word on a yank is taken over all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.crawler.siblings import learn_index, sibling_addresses
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import ROOT, FlatPage, ProjectList, ProjectPage, channel_of, mirror_path
from pytorch_offline.mirror.model import Listed, MirrorFile, WantedFile
from pytorch_offline.server.gateway.asked import AskedPage, is_channel
from pytorch_offline.server.tree.whole_indexes import SIMPLE
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import IndexFile, Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A wheel that upstream offers, as a page lists it; see ``Listed``."""

    path: PurePosixPath
    size: int | None
    sha256: str | None
    metadata_sha256: str | None
    requires_python: str | None
    yanked: str | None
    upload_time: str | None
    spelling: str | None = None


def offered(link: Link, *, from_upstream: bool) -> Offered:
    """Put a link of a page where the tree has its file.

    Raises:
        UsageError: ``invalid-wheel-name``.
    """
    return Offered(
        path=mirror_path(link.path, from_upstream=from_upstream),
        size=link.size,
        sha256=link.sha256,
        metadata_sha256=link.metadata_sha256,
        requires_python=link.requires_python,
        yanked=link.yanked,
        upload_time=link.upload_time,
    )


def all_offered(files: Iterable[IndexFile], *, from_upstream: bool) -> list[Offered]:
    """Put all files of a page where the tree has them; of two for one place the first counts."""
    rows: dict[PurePosixPath, Offered] = {}
    for file in files:
        try:
            row = offered(file.link, from_upstream=from_upstream)
        except UsageError:  # an address whose last segment is not the file's name
            continue
        rows.setdefault(row.path, row)
    return list(rows.values())


def wanted(file: IndexFile, *, root: str | None) -> WantedFile:
    """Say what is to be fetched, and from where; ``root`` is the upstream's address, None for another index's file."""
    link = file.link
    indexes = [] if root is None else [learn_index(root, [link.url])]
    return WantedFile(
        name=file.name,
        path=mirror_path(link.path, from_upstream=root is not None),
        urls=sibling_addresses(link.url, published=link.sha256 is not None, indexes=indexes),
        sha256=link.sha256,
        size=link.size,
        requires_python=link.requires_python,
        yanked=link.yanked,
        upload_time=link.upload_time,
    )


def held_in(directory: PurePosixPath, held: Iterable[MirrorFile]) -> list[MirrorFile]:
    """Give the held files that an index's pages list: a variant's own and the root-level ones, a channel's all.

    Every channel has stable's root-level files, too: the dependencies, which lie there once.
    """
    files = list(held)
    if directory == SIMPLE:
        return files
    channel = channel_of(directory / "_")
    return [
        file
        for file in files
        if file.path.parent in {directory, channel, ROOT}
        or (is_channel(directory) and channel_of(file.path) == channel)
    ]


def merged(directory: PurePosixPath, offers: Iterable[Offered], held: Iterable[MirrorFile]) -> tuple[Listed, ...]:
    """List what an index has of a project: each file once, and below a variant each file name once.

    Args:
        directory: the index's, such as ``whl/cu126``.
        offers: what upstream's page says.
        held: what the mirror holds of the project and lists there (``held_in``).
    """
    by_path: dict[PurePosixPath, Listed] = {}
    kept = {file.path: file for file in held}
    for offer in offers:
        mine = kept.get(offer.path)
        by_path[offer.path] = offer if mine is None else _refreshed(mine, offer)
    for path, file in kept.items():
        by_path.setdefault(path, file)
    if is_channel(directory):
        return tuple(by_path.values())
    names: dict[str, Listed] = {}
    for row in sorted(by_path.values(), key=lambda row: (row.path.parent != directory, row.path not in kept)):
        names.setdefault(row.path.name, row)
    return tuple(names.values())


def _refreshed(held: MirrorFile, offer: Offered) -> MirrorFile:
    same = offer.sha256 in {None, held.sha256}
    return replace(held, yanked=offer.yanked) if same and held.yanked != offer.yanked else held


def files_page(asked: AskedPage, rows: Iterable[Listed]) -> ProjectPage | FlatPage:
    """Make the page of rows: a project's, by version, or a flat one, a variant's own files first and by project."""
    listed = tuple(rows)
    names = {row.path: parse_wheel_name(row.path.name) for row in listed}
    if asked.flat is None:
        by_version = sorted(listed, key=lambda row: (names[row.path].version, names[row.path].filename, row.path))
        project = canonicalize_name(asked.directory.name)
        return ProjectPage(directory=asked.directory, project=project, files=tuple(by_version))
    by_project = sorted(
        listed,
        key=lambda row: (
            row.path.parent != asked.directory,
            names[row.path].project,
            names[row.path].version,
            names[row.path].filename,
        ),
    )
    return FlatPage(path=asked.directory / asked.flat, files=tuple(by_project))


def list_page(directory: PurePosixPath, projects: Iterable[str], held: Iterable[NormalizedName]) -> ProjectList:
    """Make the list of an index's projects: upstream's, and those of which the mirror holds something."""
    names = {canonicalize_name(name) for name in projects} | set(held)
    return ProjectList(directory=directory, projects=tuple(sorted(names)))
