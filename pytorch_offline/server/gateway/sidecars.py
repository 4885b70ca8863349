"""METADATA of wheels that the mirror does not hold, by the cheapest way that can be trusted."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from pytorch_offline.crawler.hosts import Hosts
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.served_as import TEXT_TYPE
from pytorch_offline.selector.indexes.wheel_metadata import fetch_wheel_metadata
from pytorch_offline.server.gateway.once import Once
from pytorch_offline.server.gateway.readings import TIMEOUTS
from pytorch_offline.server.gateway.rows import wanted
from pytorch_offline.server.resources import Page
from pytorch_offline.server.tree.rendered import make_body

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.net import Http
    from pytorch_offline.server.gateway.fetcher import Fetcher
    from pytorch_offline.server.gateway.finding import Indexes
    from pytorch_offline.server.gateway.lookup import Lookup
    from pytorch_offline.server.gateway.threads import Threads

# The catalogue has all of it; these are at hand.
_KEPT = 128


class Sidecars:
    """Gives METADATA, read once for all who ask for it.

    Args:
        root: the mirror's directory.
        indexes: what is asked.
        lookup: finds wheels.
        http: the network.
        catalogue: remembers METADATA.
        threads: to work in.
    """

    def __init__(
        self, root: Path, *, indexes: Indexes, lookup: Lookup, http: Http, catalogue: Catalogue, threads: Threads
    ) -> None:
        self._root = root
        self._indexes = indexes
        self._lookup = lookup
        self._http = http.hurried(TIMEOUTS, tries=2)
        self._catalogue = catalogue
        self._threads = threads
        self._hosts = Hosts()
        self._kept: OrderedDict[PurePosixPath, Page] = OrderedDict()
        self._reading: Once[PurePosixPath, Page | None] = Once()

    def at_hand(self, path: PurePosixPath) -> Page | None:
        """Give what was read a while ago."""
        return self._kept.get(path)

    async def bring(self, path: PurePosixPath, fetcher: Fetcher) -> Page | None:
        """Give the METADATA of a wheel; None where no index has it.

        ``fetcher`` brings the wheel itself where nothing less will do: the client is about to ask for it anyway.
        """
        return await self._reading.get(path, partial(self._read, path, fetcher))

    async def _read(self, path: PurePosixPath, fetcher: Fetcher) -> Page | None:
        found = await self._lookup.find(path)
        if found is None:
            return None
        file = wanted(found, root=self._indexes.root_of(found.page_url))
        try:
            body = await self._threads.run(partial(self._fetch, found, file.urls))
        except PytorchOfflineError as error:
            if error.code != "ranges-not-served":
                raise
            standing = await fetcher.begin(file).over()
            if standing.place is None:
                raise standing.error or error from error
            body = await self._threads.run((self._root / sidecar_of(path)).read_bytes)
        page = Page(forms=(make_body(TEXT_TYPE, body),))
        self._kept[path] = page
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return page

    def _fetch(self, file: IndexFile, urls: tuple[str, ...]) -> bytes:
        try:
            return fetch_wheel_metadata(
                file,
                http=self._http,
                catalogue=self._catalogue,
                scratch=None,
                offline=False,
                urls=urls,
                hosts=self._hosts,
            )
        finally:
            self._catalogue.close()
