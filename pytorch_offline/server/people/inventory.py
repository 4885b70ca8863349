"""What the mirror holds, by project: versions, files, bytes, dates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.version import Version

    from pytorch_offline.mirror.model import MirrorFile

# How many projects one page lists: a closure of torch has thirty, and a page of 200 rows is 60 kB.
PAGE_SIZE = 200


class Order(StrEnum):
    """By what the list may be sorted, the usual one first."""

    NAME = "name"
    SIZE = "size"
    DATE = "date"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project of the mirror.

    Args:
        newest: its newest version without a local label, one that is no pre-release where there is any.
        size: bytes, each content counted once however many paths it has.
        uploaded: when its newest file came to upstream; None where no page said it.
        verified: when the file longest not read was read, and its bytes agreed.
    """

    name: str
    newest: Version
    versions: int
    files: int
    size: int
    uploaded: datetime | None
    verified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All projects by name, and their sums."""

    projects: tuple[Project, ...]
    files: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectsShown:
    """One page of the list: ``matching`` projects in all, ``number`` from 1 to ``pages``."""

    projects: tuple[Project, ...]
    matching: int
    number: int
    pages: int


def take_inventory(files: Iterable[MirrorFile]) -> Inventory:
    """Count what a manifest lists."""
    by_project: dict[str, list[MirrorFile]] = defaultdict(list)
    listed = tuple(files)
    for file in listed:
        by_project[parse_wheel_name(file.path.name).project].append(file)
    return Inventory(
        projects=tuple(_project(name, held) for name, held in sorted(by_project.items())),
        files=len(listed),
        size=_size(listed),
    )


def list_projects(inventory: Inventory, *, containing: str, order: Order, number: int) -> ProjectsShown:
    """Give one page of the projects whose names contain a text, torch's own family first where nothing else is asked.

    ``containing`` is as somebody types it: spaces, capitals and underscores are those of names.
    """
    text = canonicalize_name("-".join(containing.split()))
    found = sorted((one for one in inventory.projects if text in one.name), key=_ORDERS[order])
    pages = max(1, -(-len(found) // PAGE_SIZE))
    number = min(max(number, 1), pages)
    shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return ProjectsShown(projects=tuple(shown), matching=len(found), number=number, pages=pages)


def _by_name(project: Project) -> tuple[object, ...]:
    return project.name not in family_projects(), project.name


def _by_size(project: Project) -> tuple[object, ...]:
    return -project.size, project.name


def _by_date(project: Project) -> tuple[object, ...]:
    return -(project.uploaded.timestamp() if project.uploaded else 0), project.name


_ORDERS = {Order.NAME: _by_name, Order.SIZE: _by_size, Order.DATE: _by_date}


def _project(name: str, files: Sequence[MirrorFile]) -> Project:
    versions = {release_of(parse_wheel_name(file.path.name).version) for file in files}
    finished = {version for version in versions if not version.is_prerelease}
    uploads = [moment for file in files if (moment := parse_moment(file.upload_time)) is not None]
    verified = [moment for file in files if (moment := parse_moment(file.verified_at)) is not None]
    return Project(
        name=name,
        newest=max(finished or versions),
        versions=len(versions),
        files=len(files),
        size=_size(files),
        uploaded=max(uploads, default=None),
        verified=min(verified),
    )


def _size(files: Iterable[MirrorFile]) -> int:
    return sum({file.sha256: file.size for file in files}.values())


def parse_moment(text: str | None) -> datetime | None:
    """Read a moment as manifests hold it, UTC where it names no zone; None for what is no time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # a zone beyond the first or last day of all overflows
        return None
