"""A page as it was read: what it lists is known by name at once, and in full only where somebody asks for it.

A project's page lists a thousand wheels, of which a target takes a dozen and a choice one. A wheel's file name says
what it is and for whom, and a page repeats few of either; so each is read once, and all the wheels of another platform
are told apart without a look at any of their links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from packaging.utils import InvalidWheelFilename

from pytorch_offline.crawler.model import IndexFile, RejectedLink
from pytorch_offline.errors import UsageError
from pytorch_offline.wheels.filename import parse_wheel_head, parse_wheel_name, parse_wheel_tail, split_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from packaging.tags import Tag
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.crawler.model import Link, Observation, PageKind, PageStatus


def anything(_: object) -> bool:
    """Admit whatever it is."""
    return True


class ListedWheels:
    """The wheels that a page lists.

    Args:
        names: their file names in the page's order, each with a number; numbers rise.
        read: gives the links of such numbers, in their order.
        page_url: the page.
    """

    def __init__(
        self, names: Iterable[tuple[int, str]], read: Callable[[Sequence[int]], Sequence[Link]], page_url: str
    ) -> None:
        self._read = read
        self._page_url = page_url
        self._names: dict[str, list[tuple[int, str]]] = {}  # by the second part of the name: number and first part
        for number, filename in names:
            head, tail = split_wheel_name(filename)
            self._names.setdefault(tail, []).append((number, head))

    @classmethod
    def of_links(cls, links: Sequence[Link], page_url: str) -> Self:
        """Wheels whose links are all at hand."""
        return cls(
            ((number, link.filename) for number, link in enumerate(links)),
            lambda numbers: [links[number] for number in numbers],
            page_url,
        )

    def lists(self, project: NormalizedName) -> bool:
        """Whether there is any wheel of a project."""
        return next(self._numbers(project, anything, anything), None) is not None

    def files(
        self,
        project: NormalizedName | None = None,
        *,
        tags: Callable[[frozenset[Tag]], bool] = anything,
        versions: Callable[[Version], bool] = anything,
    ) -> list[IndexFile]:
        """Read the wheels of a project, or of all, whose tags and versions are admitted, in the page's order."""
        files = []
        for link in self._read(sorted(self._numbers(project, tags, versions))):
            try:
                name = parse_wheel_name(link.filename)
            except UsageError:  # see unreadable
                continue
            files.append(IndexFile(name=name, link=link, page_url=self._page_url))
        return files

    def unreadable(self) -> list[RejectedLink]:
        """Give the links whose file names are no wheel's: an older version of this program took them."""
        refused: dict[int, UsageError] = {}
        for tail, names in self._names.items():
            for number, head in names:
                try:
                    parse_wheel_name(head + tail)
                except UsageError as error:
                    refused[number] = error
        numbers = sorted(refused)
        return [
            RejectedLink(href=link.url, reason=refused[number].code, detail=refused[number].message)
            for number, link in zip(numbers, self._read(numbers), strict=True)
        ]

    def _numbers(
        self,
        project: NormalizedName | None,
        tags: Callable[[frozenset[Tag]], bool],
        versions: Callable[[Version], bool],
    ) -> Iterator[int]:
        admitted: dict[str, bool] = {}
        for tail, names in self._names.items():
            try:
                if not tags(parse_wheel_tail(tail)):
                    continue
            except InvalidWheelFilename:
                continue
            for number, head in names:
                if head not in admitted:
                    admitted[head] = _admits(head, project, versions)
                if admitted[head]:
                    yield number


def _admits(head: str, project: NormalizedName | None, versions: Callable[[Version], bool]) -> bool:
    try:
        name, version, _ = parse_wheel_head(head)
    except InvalidWheelFilename:
        return False
    return project in {None, name} and versions(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageReading:
    """A page as the catalogue has it after a reading: its wheels, projects and rejected links.

    ``wheels`` and ``projects`` are what the page lists now; ``unlisted`` is what it last said of files that it listed
    before. ``warnings`` are sentences for the user, e.g. that the page lost many of its links at once.
    """

    url: str
    status: PageStatus
    kind: PageKind | None = None  # None when absent
    wheels: ListedWheels
    projects: tuple[str, ...] = ()
    find_rejected: Callable[[], Sequence[RejectedLink]] = tuple
    warnings: tuple[str, ...] = ()
    unlisted: tuple[Observation, ...] = ()

    @property
    def files(self) -> tuple[IndexFile, ...]:
        """All wheels that the page lists, read in full."""
        return tuple(self.wheels.files())

    @property
    def rejected(self) -> tuple[RejectedLink, ...]:
        """The links that were not taken from the page."""
        return (*self.find_rejected(), *self.wheels.unreadable())
