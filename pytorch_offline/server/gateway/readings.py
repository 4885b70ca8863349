"""Upstream's pages for many clients: one request for each, however many wait, and what is known where none answers.

A page is upstream's word for as long as its server says, and for a few seconds in any case. Where upstream does not
answer within a client's patience, what the catalogue has is given, with the reason, and the asking goes on behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytorch_offline.addresses import host_of, origin, redacted
from pytorch_offline.crawler.hosts import Hosts
from pytorch_offline.crawler.model import PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.errors import PytorchOfflineError, UpstreamError
from pytorch_offline.net import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.net import Http
    from pytorch_offline.server.gateway.figures import Figures
    from pytorch_offline.server.gateway.threads import Threads

# Clients that start together come within this time, and upstream is asked once for all of them, also where its pages
# must be revalidated each time (nightlies).
LEAST_FRESH = 10.0
# How long a client waits for upstream where something is cached, and where nothing is: pip gives up after 15 seconds
# without a byte, uv after 30.
PATIENCE_CACHED = 3.0
PATIENCE = 12.0
# For each step of one request; upstream's largest page is a few MiB.
TIMEOUTS = Timeouts(connect=4.0, read=8.0, whole=60.0)
# A host that fails is not waited for again for so many seconds, doubled with each failure in a row.
FIRST_REST, LONGEST_REST = 10.0, 120.0
# Pages whose names are kept in memory; the others are read out of the catalogue when they are asked for.
_KEPT = 256
# A host that answers, if only with an error, costs nobody any time.
_QUICK = frozenset({"server-error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A page as it was read last.

    Args:
        reading: what it lists.
        read_at: when upstream last said or confirmed it.
        failure: why upstream could not be asked since; None where this is its word.
        until: seconds on the clock of ``Readings`` until when it is given unasked.
    """

    reading: PageReading
    read_at: datetime
    failure: PytorchOfflineError | None
    until: float

    @property
    def is_absent(self) -> bool:
        """Whether upstream has no such page."""
        return self.reading.status is PageStatus.ABSENT


class Readings:
    """Reads pages for one event loop.

    Args:
        http: speaks HTTP.
        catalogue: where pages are remembered; it is closed whenever nobody reads (``database.insist_on_room``).
        threads: to read in.
        figures: what is counted.
        say: told in one sentence when a host stops to answer, and when it answers again.
        now: the time, in UTC.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        http: Http,
        catalogue: Catalogue,
        threads: Threads,
        figures: Figures,
        say: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http.hurried(TIMEOUTS, tries=2)
        self._catalogue = catalogue
        self._threads = threads
        self._figures = figures
        self._say = say
        self._now = now
        self._clock = clock
        self._hosts = Hosts(clock=clock, first_rest=FIRST_REST, longest_rest=LONGEST_REST)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._asking: dict[str, tuple[float, asyncio.Future[Known]]] = {}
        self._troubles: dict[str, PytorchOfflineError] = {}  # by host, while it is in trouble

    def fresh(self, url: str) -> Known | None:
        """Give a page for which nobody has to be asked, at once."""
        known = self._known.get(url)
        return known if known is not None and self._clock() < known.until else None

    async def read(self, url: str) -> Known:
        """Give a page, upstream's word if that can be had in time.

        Raises:
            PytorchOfflineError: upstream cannot be asked, and nothing is known of the page.
        """
        if (fresh := self.fresh(url)) is not None:
            return fresh
        if url not in self._asking and self._hosts.rests(url):
            trouble = self._troubles.get(origin(url)) or _not_in_time(url)
            cached = await self._cached(url)
            if cached is not None:
                return self._kept(url, cached, trouble)
            if trouble.code not in _QUICK:
                raise trouble
        began, asking = self._asking.get(url) or self._ask(url)
        cached = self._known.get(url)
        patience = PATIENCE_CACHED if cached is not None else PATIENCE
        if cached is None and not asking.done():
            done, _ = await asyncio.wait({asking}, timeout=PATIENCE_CACHED)
            cached = None if done else await self._cached(url)
            patience = PATIENCE_CACHED if cached is not None else PATIENCE
        await asyncio.wait({asking}, timeout=max(0.0, began + patience - self._clock()))
        failure: PytorchOfflineError = _not_in_time(url)
        if asking.done():
            error = asking.exception()
            if error is None:
                return asking.result()
            if not isinstance(error, PytorchOfflineError):
                raise error
            failure = error
            cached = cached or await self._cached(url)
        if cached is None:
            raise failure
        return self._kept(url, cached, failure)

    def _ask(self, url: str) -> tuple[float, asyncio.Future[Known]]:
        """Begin to ask for a page; whoever wants it meanwhile waits for the same answer."""
        asking = asyncio.ensure_future(self._asked(url))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have given up
        self._asking[url] = self._clock(), asking
        return self._asking[url]

    async def _asked(self, url: str) -> Known:
        try:
            known = await self._threads.run(lambda: self._read(url))
        except PytorchOfflineError as error:
            self._failed(url, error)
            raise
        finally:
            del self._asking[url]
        self._answered(url)
        self._keep(url, known)
        for warning in known.reading.warnings:
            self._say(f"warning: {warning}")
        return known

    def _read(self, url: str) -> Known:
        reader = IndexReader(self._http, self._catalogue, trusting=True, now=self._now)
        try:
            reading = reader.read(url)
            record = self._catalogue.page(url)
        finally:
            self._catalogue.close()
        now = self._now()
        until = None if record is None or record.fresh_until is None else datetime.fromisoformat(record.fresh_until)
        left = 0.0 if until is None else (until - now).total_seconds()
        read_at = now if record is None else datetime.fromisoformat(record.last_fetched)
        return Known(reading=reading, read_at=read_at, failure=None, until=self._clock() + max(LEAST_FRESH, left))

    async def _cached(self, url: str) -> Known | None:
        """Give what is known of a page without asking anybody; None where that is nothing, or that it was absent."""
        if url in self._known:
            return None if self._known[url].is_absent else self._known[url]

        def recorded() -> Known | None:
            reader = IndexReader(self._http, self._catalogue, offline=True, now=self._now)
            try:
                record = self._catalogue.page(url)
                if record is None or record.kind is None:
                    return None
                read_at = datetime.fromisoformat(record.last_fetched)
                return Known(reading=reader.read(url), read_at=read_at, failure=None, until=0.0)
            finally:
                self._catalogue.close()

        return await self._threads.run(recorded)

    def _kept(self, url: str, cached: Known, failure: PytorchOfflineError) -> Known:
        """Give what is cached, with the reason, to everybody for a moment."""
        stale = Known(
            reading=cached.reading, read_at=cached.read_at, failure=failure, until=self._clock() + LEAST_FRESH / 2
        )
        newest = self._known.get(url)
        if newest is None or newest.read_at <= stale.read_at:
            self._keep(url, stale)
        return stale

    def _keep(self, url: str, known: Known) -> None:
        self._known[url] = known
        self._known.move_to_end(url)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _answered(self, url: str) -> None:
        self._figures.upstream.newest_success = self._now()
        self._hosts.gave(url)
        if self._troubles.pop(origin(url), None) is not None:
            self._say(f"{host_of(url)} answers again")

    def _failed(self, url: str, error: PytorchOfflineError) -> None:
        self._figures.upstream_errors += 1
        self._figures.upstream.newest_failure, self._figures.upstream.failure_code = self._now(), error.code
        self._hosts.failed(url, error.code)
        if self._troubles.get(origin(url)) is None:
            self._say(f"{redacted(url)} cannot be asked, only what is cached is served: {error.message}")
        self._troubles[origin(url)] = error


def _not_in_time(url: str) -> UpstreamError:
    return UpstreamError(
        "not-in-time", f"{host_of(url)} has not answered yet", hint="try again in a moment: the gateway goes on asking"
    )
