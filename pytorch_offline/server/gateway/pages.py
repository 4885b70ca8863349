"""A gateway's pages: upstream's, with links into the tree of the mirror, and what the mirror holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.crawler.model import PageKind
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import HTML_NAME, ROOT, is_variant
from pytorch_offline.server.gateway.asked import AskedPage, is_channel, project_page, upstream_page
from pytorch_offline.server.gateway.once import Once
from pytorch_offline.server.gateway.rows import all_offered, files_page, held_in, list_page, merged
from pytorch_offline.server.resources import Page, Redirect, UnrenderedPage
from pytorch_offline.server.tree.rendered import render_page
from pytorch_offline.server.tree.whole_indexes import SIMPLE
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.server.gateway.finding import Indexes
    from pytorch_offline.server.gateway.holdings import Held, Holdings
    from pytorch_offline.server.gateway.readings import Known, Readings
    from pytorch_offline.server.gateway.threads import Threads
    from pytorch_offline.server.tree.following import FollowedMirror

# Pages that are kept as they were sent, up to so many bytes.
_PAGES_KEPT = 48 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    """A page as it was made, and of what."""

    page: Page
    url: str
    reading: PageReading
    held: Held
    size: int


class GatewayPages:
    """Makes pages, each once for all who ask for it meanwhile. For one event loop.

    Args:
        local: the site of the mirror itself.
        holdings: what the mirror holds.
        indexes: what is asked.
        readings: upstream's pages.
        catalogue: where their rows are.
        threads: to work in.
        now: the time, in UTC.
    """

    def __init__(
        self,
        local: FollowedMirror,
        *,
        holdings: Holdings,
        indexes: Indexes,
        readings: Readings,
        catalogue: Catalogue,
        threads: Threads,
        now: Callable[[], datetime],
    ) -> None:
        self._local = local
        self._holdings = holdings
        self._indexes = indexes
        self._readings = readings
        self._catalogue = catalogue
        self._threads = threads
        self._now = now
        self._rendered: OrderedDict[str, _Rendered] = OrderedDict()
        self._rendered_size = 0
        self._making: Once[str, Page | Redirect | None] = Once()

    def at_hand(self, asked: AskedPage) -> Page | None:
        """Give a page for which nobody has to be asked, if it was made before."""
        made = self._rendered.get(asked.path)
        known = None if made is None else self._readings.fresh(made.url)
        if made is None or known is None or known.reading is not made.reading:
            return None
        return self._told(asked, made.page, known) if made.held == self._held_for(asked, known) else None

    async def bring(self, asked: AskedPage) -> Page | Redirect | None:
        """Give a page, made once for all who wait for it."""
        page = await self._making.get(asked.path, partial(self._composed, replace(asked, form=None)))
        return page if not isinstance(page, Page) else _only(asked, page)

    async def _composed(self, asked: AskedPage) -> Page | Redirect | None:
        failure: PytorchOfflineError | None = None
        for url in self._sources(asked):
            try:
                known = await self._readings.read(url)
            except PytorchOfflineError as error:
                failure = failure or error
                continue
            if not known.is_absent:
                return self._told(asked, await self._made(asked, url, known), known)
        # Upstream has it not, or cannot be asked: what the mirror holds is there all the same.
        own = self._local.find(asked.path)
        if isinstance(own, UnrenderedPage):
            own = await self._threads.run(own.render)
        if isinstance(own, Page):
            return own if failure is None else replace(own, headers=_status_of(None, failure))
        if failure is not None:
            raise failure
        plain = canonicalize_name(asked.directory.name)
        if asked.flat is None and plain != asked.directory.name:
            return Redirect(location=f"/{asked.directory.parent / plain}/")
        return None

    def _sources(self, asked: AskedPage) -> list[str]:
        """Name the pages that may be this one, the one that counts first.

        Below ``/simple/`` the default index goes first, for all but torch's family. Below ``/whl/`` it has what
        upstream has no page of: a dependency must be whole there or not at all, as uv looks no further than the first
        index that knows a project's name.
        """
        upstream = upstream_page(self._indexes.upstream, asked)
        name = asked.directory.name
        is_index = asked.directory in {SIMPLE, ROOT} or is_channel(asked.directory) or is_variant(name)
        default = None if asked.flat or is_index else self._indexes.default_for(canonicalize_name(name))
        if default is None:
            return [upstream]
        page = project_page(default, canonicalize_name(name))
        return [page, upstream] if asked.directory.parts[0] == str(SIMPLE) else [upstream, page]

    async def _made(self, asked: AskedPage, url: str, known: Known) -> Page:
        while (held := self._held_for(asked, known)) is None:
            await self._holdings.look_through()
        made = self._rendered.get(asked.path)
        if made is not None and made.reading is known.reading and made.held == held:
            return made.page
        page = await self._threads.run(partial(self._render, asked, url, known.reading, held))
        size = sum(len(form.content) + len(form.gzipped or b"") for form in page.forms)
        if (before := self._rendered.pop(asked.path, None)) is not None:
            self._rendered_size -= before.size
        self._rendered[asked.path] = _Rendered(page=page, url=url, reading=known.reading, held=held, size=size)
        self._rendered_size += size
        while self._rendered_size > _PAGES_KEPT and len(self._rendered) > 1:
            self._rendered_size -= self._rendered.popitem(last=False)[1].size
        return page

    def _render(self, asked: AskedPage, url: str, reading: PageReading, held: Held) -> Page:
        """Make a page of upstream's and of what is held. For a thread."""
        if reading.kind is PageKind.PROJECT_LIST:
            projects = {parse_wheel_name(row.path.name).project for row in held_in(asked.directory, held.rows())}
            return render_page(list_page(asked.directory, reading.projects, projects), None)
        try:
            files = reading.files
        finally:
            self._catalogue.close()
        offers = all_offered(files, from_upstream=self._indexes.root_of(url) is not None)
        index = asked.directory if asked.flat is not None else asked.directory.parent
        rows = merged(index, offers, held_in(index, held.rows()))
        return render_page(files_page(asked, rows), None)

    def _told(self, asked: AskedPage, page: Page, known: Known) -> Page:
        age = max(0, int((self._now() - known.read_at).total_seconds()))
        return replace(_only(asked, page), headers=_status_of(age, known.failure))

    def _held_for(self, asked: AskedPage, known: Known) -> Held | None:
        return self._holdings.of_page(asked, is_list=known.reading.kind is PageKind.PROJECT_LIST)


def _only(asked: AskedPage, page: Page) -> Page:
    """Give the one form that a request names, or all of them."""
    if asked.form is None:
        return page
    return replace(page, forms=(page.forms[0] if asked.form == HTML_NAME else page.forms[-1],))


def _status_of(age: int | None, failure: PytorchOfflineError | None) -> tuple[tuple[str, str], ...]:
    """Say how old a page is (RFC 9111, section 5.1), and where upstream cannot be asked, why (RFC 9211)."""
    headers = () if age is None else (("Age", str(age)),)
    if failure is None:
        return headers
    return (*headers, ("Cache-Status", f"pytorch-offline; hit; detail={failure.code}"))
