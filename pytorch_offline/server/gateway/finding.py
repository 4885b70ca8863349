"""Which link of which page is the wheel that a client asks for by its path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytorch_offline.addresses import page_key, with_credentials
from pytorch_offline.crawler.model import IndexFile
from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.server.gateway.asked import pages_that_may_list
from pytorch_offline.server.gateway.rows import offered
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """What a gateway asks: the address of upstream's ``/whl``, and the default index, None for none."""

    upstream: str
    default_index: str | None = None

    def default_for(self, project: NormalizedName) -> str | None:
        """Give the default index if it serves a project: torch's family comes from upstream alone."""
        return None if project in family_projects() else self.default_index

    def of_page(self, page_url: str) -> str | None:
        """Give the index that a page belongs to, by its address with or without secrets."""
        page = page_key(page_url)
        for root in (self.upstream, self.default_index):
            if root is not None and page.startswith(page_key(root).rstrip("/") + "/"):
                return root
        return None

    def root_of(self, page_url: str) -> str | None:
        """Give upstream's address if a page is one of upstream's."""
        return self.upstream if self.of_page(page_url) == self.upstream else None

    def pages_that_may_list(self, path: PurePosixPath) -> Iterator[str]:
        """Give the pages on which a wheel may stand that has this place in the tree."""
        default = self.default_for(parse_wheel_name(path.name).project)
        return pages_that_may_list(self.upstream, path, default)


def listed_at(path: PurePosixPath, files: Iterable[IndexFile], indexes: Indexes) -> IndexFile | None:
    """Find the file of a page whose place in the tree is this one."""
    for file in files:
        try:
            row = offered(file.link, from_upstream=indexes.root_of(file.page_url) is not None)
        except UsageError:
            continue
        if row.path == path:
            return file
    return None


def said_of(path: PurePosixPath, sayings: Iterable[Observation], indexes: Indexes) -> IndexFile | None:
    """Find what pages say, or once said, of the wheel whose place in the tree is this one.

    What is said now goes before what was, a published hash before none, and the newest before the others. What no page
    lists any more is asked for all the same, if its hash was published: locks name such files, and upstream often
    still has them.
    """
    name = parse_wheel_name(path.name)
    for saying in sorted(sayings, key=_worth, reverse=True):
        root = indexes.of_page(saying.page_url)
        if root is None or (saying.ended is not None and saying.link.sha256 is None):
            continue
        link = replace(saying.link, url=with_credentials(saying.link.url, root))
        file = IndexFile(name=name, link=link, page_url=saying.page_url)
        if (found := listed_at(path, [file], indexes)) is not None:
            return found
    return None


def _worth(saying: Observation) -> tuple[bool, bool, str]:
    return saying.ended is None, saying.link.sha256 is not None, saying.first_seen
