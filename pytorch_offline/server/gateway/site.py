"""The site of a gateway: the mirror's own, and what upstream has beyond it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TypeVar

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.disk import make_directories
from pytorch_offline.mirror.layout import METADATA_SUFFIX, ROOT, mirror_path
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.transfer import PATIENCE as DOWNLOAD_PATIENCE
from pytorch_offline.mirror.uses import Uses
from pytorch_offline.mirror.witness import Witness
from pytorch_offline.server.gateway.asked import AskedPage, AskedWheel, parse_asked
from pytorch_offline.server.gateway.fetcher import JOBS, Fetcher
from pytorch_offline.server.gateway.figures import Figures
from pytorch_offline.server.gateway.holdings import Holdings
from pytorch_offline.server.gateway.keeping import Keeping
from pytorch_offline.server.gateway.lookup import Lookup
from pytorch_offline.server.gateway.pages import GatewayPages
from pytorch_offline.server.gateway.readings import PATIENCE, Readings
from pytorch_offline.server.gateway.rows import wanted
from pytorch_offline.server.gateway.sidecars import Sidecars
from pytorch_offline.server.gateway.threads import Threads
from pytorch_offline.server.resources import Redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.net import Http
    from pytorch_offline.retries import RetryPolicy
    from pytorch_offline.server.gateway.finding import Indexes
    from pytorch_offline.server.resources import Resource
    from pytorch_offline.server.tree.following import FollowedMirror

# METADATA of a wheel whose host gives no ranges comes with the wheel, for which a client may wait so long.
_METADATA_PATIENCE = 25.0
# Whoever asked for a wheel so recently may still be getting it.
_IN_USE_SECONDS = 600.0
_STATE_NAME = "gateway"
# A download that was cut off is continued when its wheel is asked for again; after so long hardly anybody will.
_ABANDONED_SECONDS = 14 * 86400.0
# How long the end may take: downloads save what came, pages are published.
_CLOSE_SECONDS = 5.0

_Result = TypeVar("_Result")


class GatewaySite:
    """A mirror that asks upstream for what it has not. An asynchronous context manager; for one event loop.

    Args:
        local: the site of the mirror itself.
        mirror: its directory.
        indexes: what is asked.
        http: the network; closed by whoever made it.
        say: told in one sentence what administrators should know.
        max_size: bytes that the mirror may have; what is asked for least goes. None for as many as come.
        limit_rate: bytes per second of all downloads together.
        retry: patience of downloads.
        now: the time, in UTC.
    """

    def __init__(
        self,
        local: FollowedMirror,
        mirror: Mirror,
        indexes: Indexes,
        http: Http,
        *,
        say: Callable[[str], None],
        max_size: int | None = None,
        limit_rate: int | None = None,
        retry: RetryPolicy = DOWNLOAD_PATIENCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.figures = Figures()
        self.indexes = indexes
        self._local = local
        self._mirror = mirror
        self._http = http
        self._say = say
        self._limit_rate = limit_rate
        self._retry = retry
        self._now = now
        self._directory = mirror.state / _STATE_NAME
        self._lock = MirrorLock(mirror.root, mirror.state / "gateway.lock", work="serve --upstream", patience=0.0)
        self._asked_at: dict[PurePosixPath, float] = {}
        threads, catalogue = Threads(), Catalogue(mirror.state / CATALOGUE_NAME)
        readings = Readings(http=http, catalogue=catalogue, threads=threads, figures=self.figures, say=say, now=now)
        self._threads = threads
        self._catalogue = catalogue
        self._holdings = Holdings(local, mirror.root, threads)
        self._lookup = Lookup(indexes, readings=readings, catalogue=catalogue, threads=threads)
        self._sidecars = Sidecars(
            mirror.root, indexes=indexes, lookup=self._lookup, http=http, catalogue=catalogue, threads=threads
        )
        self._pages = GatewayPages(
            local,
            holdings=self._holdings,
            indexes=indexes,
            readings=readings,
            catalogue=catalogue,
            threads=threads,
            now=now,
        )
        self._keeping = Keeping(
            mirror,
            threads=threads,
            uses=Uses(mirror.state),
            figures=self.figures,
            max_size=max_size,
            in_use=self._in_use,
            gone=self._holdings.remove,
            say=say,
            now=now,
        )
        self._fetcher: Fetcher
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        with disk_errors(self._mirror.root):
            await self._threads.run(self._begin)
        self._fetcher = Fetcher(
            self._mirror,
            directory=self._directory,
            http=self._http,
            threads=self._threads,
            witness=Witness(DriftLog(self._catalogue, now=self._now), say=self._say, now=self._now),
            figures=self.figures,
            has_bytes=self._holdings.has_bytes,
            make_room=self._keeping.make_room,
            held=self._held,
            say=self._say,
            now=self._now,
            limit_rate=self._limit_rate,
            jobs=JOBS,
            retry=self._retry,
        )
        self._task = asyncio.create_task(self._keeping.keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self._fetcher.close(_CLOSE_SECONDS)
        with suppress(PytorchOfflineError):
            await asyncio.wait_for(self._keeping.finish(), _CLOSE_SECONDS)
        self._threads.close()
        self._lock.release()
        self._catalogue.close()

    def _begin(self) -> None:
        make_directories(self._mirror.disk, self._mirror.state)
        try:
            self._lock.acquire(lambda _: None)
        except UsageError as error:
            if error.code != "mirror-busy":
                raise
            raise UsageError(
                "gateway-busy",
                f"another gateway serves {self._mirror.root}",
                facts=error.facts,
                hint="give each gateway a mirror of its own: --mirror; one of them may be another's --upstream",
            ) from error
        self._sweep()
        if self._holdings.begin(self._mirror.read_files()):
            self._keeping.came()

    def _sweep(self) -> None:
        """Remove downloads that nobody went on with for a long time."""
        before = time.time() - _ABANDONED_SECONDS
        for left in self._directory.glob("*.part*"):
            with suppress(OSError):
                if left.stat().st_mtime < before:
                    self._mirror.disk.remove(left)

    # What is at hand.

    def find(self, path: str) -> Resource | None:
        """Give what is at hand; see ``Site``."""
        match parse_asked(path):
            case AskedPage() as asked:
                return self._pages.at_hand(asked)
            case AskedWheel() as asked:
                return self._file_at_hand(path, asked)
            case None:
                return self._local.find(path)

    async def bring(self, path: str) -> Resource | None:
        """Give what upstream has; see ``Site``."""
        match parse_asked(path):
            case AskedPage() as asked:
                return await self._pages.bring(asked)
            case AskedWheel(path=wheel, metadata=True):
                return await _in_time(self._sidecars.bring(wheel, self._fetcher), _METADATA_PATIENCE, wheel)
            case AskedWheel(path=wheel):
                return await self._wheel(wheel)
            case None:
                return _elsewhere(path)

    def _file_at_hand(self, path: str, asked: AskedWheel) -> Resource | None:
        stored = self._holdings.find(path, asked)
        arrival = None if stored is not None else self._fetcher.find(asked.path)
        if stored is not None or arrival is not None:
            self._used(asked.path)
        if stored is not None:
            self.figures.hits += not asked.metadata
            return stored
        if asked.metadata:
            return self._sidecars.at_hand(asked.path)
        return None if arrival is None else arrival.at_once()

    async def _wheel(self, path: PurePosixPath) -> Resource | None:
        arrival = self._fetcher.find(path)
        if arrival is None:
            found = await self._lookup.find(path)
            if found is None:
                return None
            self._used(path)
            try:
                arrival = self._fetcher.begin(wanted(found, root=self.indexes.root_of(found.page_url)))
            except UpstreamError as error:
                if error.code == "file-absent":
                    return None
                raise
        return await _in_time(arrival.begun(), PATIENCE, path)

    def _held(self, row: MirrorFile) -> None:
        self._holdings.add(row)
        self._keeping.came()

    def _used(self, path: PurePosixPath) -> None:
        self._keeping.used(path)
        self._asked_at[path] = time.monotonic()

    def _in_use(self) -> frozenset[PurePosixPath]:
        since = time.monotonic() - _IN_USE_SECONDS
        for path, moment in list(self._asked_at.items()):
            if moment < since:
                self._asked_at.pop(path, None)
        return frozenset(self._asked_at) | self._fetcher.paths


def _elsewhere(path: str) -> Redirect | None:
    """Lead from a page's path without the last slash to the page, and to a wheel from a directory below its own."""
    wheel = path.removesuffix(METADATA_SUFFIX)
    if not wheel.endswith(".whl"):
        asked = None if path.endswith("/") else parse_asked(f"{path}/")
        return Redirect(location=f"{path}/") if isinstance(asked, AskedPage) else None
    try:
        place = mirror_path(wheel, from_upstream=True)
    except UsageError:
        return None
    below = wheel.startswith(f"/{ROOT}/") and wheel != f"/{place}"
    return Redirect(location=f"/{place}{path[len(wheel) :]}") if below else None


async def _in_time(coming: Coroutine[object, object, _Result], seconds: float, path: PurePosixPath) -> _Result | None:
    """Wait for something; None where it turns out that upstream lists it and has it not.

    Raises:
        PytorchOfflineError: ``not-in-time``; what the waiting raises.
    """
    try:
        return await asyncio.wait_for(coming, seconds)
    except TimeoutError:
        raise UpstreamError(
            "not-in-time",
            f"{path.name} has not begun to come yet",
            hint="try again in a moment: the gateway goes on with it",
        ) from None
    except UpstreamError as error:
        if error.code == "file-absent":
            return None
        raise
