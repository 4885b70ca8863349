"""Pages rendered in the forms that clients choose among, and how many of them are kept in memory."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, assert_never

from pytorch_offline.mirror.layout import FlatPage, ProjectList, ProjectPage
from pytorch_offline.mirror.pages import render_files_html, render_list_html, render_list_json, render_project_json
from pytorch_offline.mirror.served_as import HTML_TYPE, JSON_V1
from pytorch_offline.server.protocol.negotiation import HTML_V1
from pytorch_offline.server.resources import Body, Page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pytorch_offline.mirror.layout import IndexPage

# Below this a page fits into the packet that its headers need anyway.
_MIN_GZIP = 1024
# Beyond 6 the hashes, which are most of a page, get no smaller.
_GZIP_LEVEL = 6


def render_page(plan: IndexPage, modified: datetime | None) -> Page:
    """Render a page in the forms that clients may choose among, HTML first; a flat page has HTML alone."""
    match plan:
        case ProjectPage(directory=directory, project=project, files=listed):
            html = render_files_html(f"Links for {project}", directory, listed)
            document = render_project_json(project, directory, listed)
        case ProjectList(projects=projects):
            html = render_list_html(projects)
            document = render_list_json(projects)
        case FlatPage(path=path, files=listed):
            html = render_files_html(f"Links for {path.parent}", path.parent, listed)
            return Page(forms=(make_body(HTML_TYPE, html),), modified=modified)
        case _:
            assert_never(plan)
    page = make_body(HTML_TYPE, html)
    # The same bytes by another media type are another representation, so they have another entity tag.
    versioned = Body(content_type=HTML_V1, content=page.content, etag=f'{page.etag[:-1]}-v1"', gzipped=page.gzipped)
    return Page(forms=(page, versioned, make_body(JSON_V1, document)), modified=modified)


def make_body(content_type: str, content: bytes) -> Body:
    """Make one form of a page of its bytes; compressed too, where that makes it smaller by a tenth or more."""
    squeezed = gzip.compress(content, _GZIP_LEVEL, mtime=0) if len(content) >= _MIN_GZIP else content
    return Body(
        content_type=content_type,
        content=content,
        etag=f'"{hashlib.sha256(content).hexdigest()}"',
        gzipped=squeezed if len(squeezed) < len(content) * 0.9 else None,
    )


class RenderedPages:
    """The pages of one generation that are in memory. Safe from many threads.

    Args:
        limit: up to so many bytes are kept; beyond them goes what was asked for longest ago.
        modified: when the generation was published.
    """

    def __init__(self, *, limit: int, modified: datetime | None) -> None:
        self._limit = limit
        self._modified = modified
        self._pages: OrderedDict[str, tuple[IndexPage, Page]] = OrderedDict()
        self._bytes = 0
        self.is_full = False  # whether a page has had to go for another one
        self._mutex = threading.Lock()  # held for moments
        self._rendering = threading.Lock()  # held while a page is rendered, so that nothing is rendered twice

    def get(self, path: str) -> Page | None:
        """Give a page that is in memory."""
        with self._mutex:
            if path not in self._pages:
                return None
            self._pages.move_to_end(path)
            return self._pages[path][1]

    def render(self, path: str, plan: IndexPage) -> Page:
        """Give a page, rendering it unless it is in memory by now; a large one takes tenths of a second."""
        with self._rendering:
            page = self.get(path)
            if page is None:
                page = render_page(plan, self._modified)
                self._keep(path, plan, page)
            return page

    def take_over(self, plans: Mapping[str, IndexPage], earlier: RenderedPages) -> None:
        """Keep those of the pages of an earlier generation that are the very same in this one."""
        with earlier._mutex:
            rendered = tuple(earlier._pages.items())
        for path, (plan, page) in rendered:
            if plans.get(path) == plan:
                self._keep(path, plan, page)

    def _keep(self, path: str, plan: IndexPage, page: Page) -> None:
        with self._mutex:
            self._pages[path] = plan, page
            self._bytes += _memory_of(page)
            while self._bytes > self._limit and len(self._pages) > 1:
                self.is_full = True
                self._bytes -= _memory_of(self._pages.popitem(last=False)[1][1])


def _memory_of(page: Page) -> int:
    distinct = {id(data): len(data) for form in page.forms for data in (form.content, form.gzipped) if data is not None}
    return sum(distinct.values())
