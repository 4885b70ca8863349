"""The site of a gateway: the mirror's own, and what upstream has beyond it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from packaging.utils import canonicalize_name

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.crawler.hosts import Hosts
from pytorch_offline.crawler.model import PageKind
from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.disk import make_directories
from pytorch_offline.mirror.layout import HTML_NAME, sidecar_of
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.transfer import PATIENCE as DOWNLOAD_PATIENCE
from pytorch_offline.mirror.uses import Uses
from pytorch_offline.mirror.witness import Witness
from pytorch_offline.selector.indexes.wheel_metadata import fetch_wheel_metadata
from pytorch_offline.server.gateway.asked import SIMPLE, AskedPage, AskedWheel, parse_asked, project_page, upstream_page
from pytorch_offline.server.gateway.fetcher import JOBS, Fetcher
from pytorch_offline.server.gateway.figures import Figures
from pytorch_offline.server.gateway.finding import Indexes, listed_at, said_of
from pytorch_offline.server.gateway.keeping import Keeping
from pytorch_offline.server.gateway.readings import PATIENCE, TIMEOUTS, Readings
from pytorch_offline.server.gateway.rows import all_offered, files_page, held_in, list_page, merged, wanted
from pytorch_offline.server.gateway.threads import Threads
from pytorch_offline.server.rendered import make_body, render_page
from pytorch_offline.server.resources import Page, Redirect, StoredFile, UnrenderedPage
from pytorch_offline.server.snapshot import FILE_TYPE, METADATA_TYPE
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from pathlib import PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.net import Http
    from pytorch_offline.retries import RetryPolicy
    from pytorch_offline.server.following import FollowedMirror
    from pytorch_offline.server.gateway.arrival import Arrival
    from pytorch_offline.server.gateway.readings import Known
    from pytorch_offline.server.resources import Resource
    from pytorch_offline.server.snapshot import Snapshot

# Pages that are kept as they were sent, up to so many bytes.
_PAGES_KEPT = 48 * 1024 * 1024
# METADATA that is not on disk yet; the catalogue has all of it.
_SIDECARS_KEPT = 128
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
        self._say = say
        self._now = now
        self._http = http
        self._hurried = http.hurried(TIMEOUTS, tries=2)
        self._directory = mirror.state / _STATE_NAME
        self._lock = MirrorLock(mirror.root, mirror.state / "gateway.lock", work="serve --upstream", patience=0.0)
        self._threads = Threads()
        self._catalogue = Catalogue(mirror.state / CATALOGUE_NAME)
        self._hosts = Hosts()
        self._readings = Readings(
            http=http,
            catalogue=self._catalogue,
            threads=self._threads,
            figures=self.figures,
            say=say,
            now=now,
        )
        self._keeping = Keeping(
            mirror,
            threads=self._threads,
            uses=Uses(mirror.state),
            figures=self.figures,
            max_size=max_size,
            in_use=self._in_use,
            gone=self._note_gone,
            say=say,
            now=now,
        )
        self._limit_rate = limit_rate
        self._retry = retry
        self._fetcher: Fetcher
        self._task: asyncio.Task[None] | None = None
        self._admitted: dict[PurePosixPath, MirrorFile] = {}  # what came, as long as the site of the mirror has it not
        self._gone: tuple[Snapshot, frozenset[PurePosixPath]] | None = None
        self._asked_at: dict[PurePosixPath, float] = {}
        self._grouped: tuple[Snapshot, dict[NormalizedName, list[MirrorFile]]] | None = None
        self._rendered: OrderedDict[str, _Rendered] = OrderedDict()
        self._rendered_size = 0
        self._making: dict[str, asyncio.Future[Page | Redirect | None]] = {}
        self._sidecars: OrderedDict[PurePosixPath, Page] = OrderedDict()
        self._reading_sidecars: dict[PurePosixPath, asyncio.Future[Resource | None]] = {}

    async def __aenter__(self) -> Self:
        await self._threads.run(self._begin)
        self._fetcher = Fetcher(
            self._mirror,
            directory=self._directory,
            http=self._http,
            threads=self._threads,
            witness=Witness(DriftLog(self._catalogue, now=self._now), say=self._say, now=self._now),
            figures=self.figures,
            has_bytes=self._has_bytes,
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
        if self._task is not None:
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
        snapshot = self._local.snapshot
        self._admitted = {
            path: row for path, row in self._mirror.read_files().items() if str(path) not in snapshot.files
        }
        if self._admitted:
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
                return self._page_at_hand(asked)
            case AskedWheel() as asked:
                return self._file_at_hand(path, asked)
            case None:
                return self._local.find(path)

    async def bring(self, path: str) -> Resource | None:
        """Give what upstream has; see ``Site``."""
        match parse_asked(path):
            case AskedPage() as asked:
                return await self._page(asked)
            case AskedWheel(metadata=True) as asked:
                return await self._metadata(asked.path)
            case AskedWheel() as asked:
                return await self._wheel(asked.path)
            case None:
                return self._with_slash(path)

    def _file_at_hand(self, path: str, asked: AskedWheel) -> Resource | None:
        self._used(asked.path)
        stored = None if self._is_gone(asked.path) else self._local.find(path) or self._newly_stored(asked)
        if stored is not None:
            self.figures.hits += not asked.metadata
            return stored
        if asked.metadata:
            return self._sidecars.get(asked.path)
        arrival = self._fetcher.find(asked.path)
        return None if arrival is None else arrival.at_once()

    def _newly_stored(self, asked: AskedWheel) -> StoredFile | None:
        row = self._admitted.get(asked.path)
        if row is None:
            return None
        if not (self._mirror.root / row.path).is_file():
            del self._admitted[row.path]  # removed again before it was published
            return None
        if asked.metadata:
            place = self._mirror.root / sidecar_of(row.path)
            return StoredFile(
                path=place, size=None, sha256=row.metadata_sha256, content_type=METADATA_TYPE, immutable=True
            )
        place = self._mirror.root / row.path
        return StoredFile(path=place, size=row.size, sha256=row.sha256, content_type=FILE_TYPE, immutable=True)

    def _note_gone(self, paths: Collection[PurePosixPath]) -> None:
        snapshot = self._local.snapshot
        before = self._gone[1] if self._gone is not None and self._gone[0] is snapshot else frozenset()
        self._gone = snapshot, before | frozenset(paths)
        for path in paths:
            self._admitted.pop(path, None)

    def _is_gone(self, path: PurePosixPath) -> bool:
        """Say whether a file was removed that the mirror's site still has, until it has looked again."""
        if self._gone is None:
            return False
        if self._gone[0] is not self._local.snapshot:
            self._gone = None
            return False
        return path in self._gone[1]

    def _held(self, row: MirrorFile) -> None:
        if self._gone is not None:
            self._gone = self._gone[0], self._gone[1] - {row.path}
        self._admitted[row.path] = row
        self._keeping.came()

    def _has_bytes(self, sha256: str) -> bool:
        rows: Iterable[MirrorFile] = (*self._local.snapshot.files.values(), *list(self._admitted.values()))
        return any(row.sha256 == sha256 for row in rows)

    def _used(self, path: PurePosixPath) -> None:
        self._keeping.used(path)
        self._asked_at[path] = time.monotonic()

    def _in_use(self) -> frozenset[PurePosixPath]:
        since = time.monotonic() - _IN_USE_SECONDS
        for path, moment in list(self._asked_at.items()):
            if moment < since:
                self._asked_at.pop(path, None)
        return frozenset(self._asked_at) | self._fetcher.paths

    # Pages.

    def _page_at_hand(self, asked: AskedPage) -> Page | None:
        made = self._rendered.get(asked.path)
        known = None if made is None else self._readings.fresh(made.url)
        if made is None or known is None or known.reading is not made.reading:
            return None
        return self._told(asked, made.page, known) if made.held == self._held_for(asked, known) else None

    async def _page(self, asked: AskedPage) -> Page | Redirect | None:
        """Give a page, made once for all who wait for it."""
        making = self._making.get(asked.path)
        if making is None:
            making = asyncio.ensure_future(self._composed(replace(asked, form=None)))
            making.add_done_callback(partial(self._made_for_all, asked.path))
            self._making[asked.path] = making
        page = await asyncio.shield(making)
        return page if not isinstance(page, Page) else _only(asked, page)

    def _made_for_all(self, path: str, making: asyncio.Future[Page | Redirect | None]) -> None:
        del self._making[path]
        if not making.cancelled():
            making.exception()  # whoever waited may have gone

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
        """Name the pages that may be this one, the one that counts first."""
        upstream = upstream_page(self.indexes.upstream, asked)
        if asked.directory.parts[0] != str(SIMPLE) or asked.directory == SIMPLE:
            return [upstream]
        project = canonicalize_name(asked.directory.name)
        default = self.indexes.default_for(project)
        return [upstream] if default is None else [project_page(default, project), upstream]

    async def _made(self, asked: AskedPage, url: str, known: Known) -> Page:
        while (held := self._held_for(asked, known)) is None:
            await self._group()
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

    def _render(self, asked: AskedPage, url: str, reading: PageReading, held: _Held) -> Page:
        """Make a page of upstream's and of what is held. For a thread."""
        if reading.kind is PageKind.PROJECT_LIST:
            projects = {parse_wheel_name(row.path.name).project for row in held_in(asked.directory, held.rows())}
            return render_page(list_page(asked.directory, reading.projects, projects), None)
        try:
            files = reading.files
        finally:
            self._catalogue.close()
        offers = all_offered(files, from_upstream=self.indexes.root_of(url) is not None)
        index = asked.directory if asked.flat is not None else asked.directory.parent
        rows = merged(index, offers, held_in(index, held.rows()))
        return render_page(files_page(asked, rows), None)

    def _held_for(self, asked: AskedPage, known: Known) -> _Held | None:
        """Give what the mirror holds of a page's project, or of everything where a page may list that.

        None if the mirror has a new generation, which ``_group`` must look through first.
        """
        snapshot = self._local.snapshot
        if self._grouped is None or self._grouped[0] is not snapshot:
            return None
        new = tuple(self._admitted.values())
        if asked.flat is not None or known.reading.kind is PageKind.PROJECT_LIST:
            return _Held(snapshot=snapshot, new=new)
        project = canonicalize_name(asked.directory.name)
        own = [row for row in new if parse_wheel_name(row.path.name).project == project]
        return _Held(snapshot=None, new=(*self._grouped[1].get(project, ()), *own))

    async def _group(self) -> None:
        """Sort what the mirror holds by project, once for each of its generations."""
        snapshot = self._local.snapshot
        if self._grouped is None or self._grouped[0] is not snapshot:
            self._grouped = snapshot, await self._threads.run(partial(_by_project, snapshot))
            for path in [path for path in self._admitted if str(path) in snapshot.files]:
                del self._admitted[path]

    def _told(self, asked: AskedPage, page: Page, known: Known) -> Page:
        age = max(0, int((self._now() - known.read_at).total_seconds()))
        return replace(_only(asked, page), headers=_status_of(age, known.failure))

    def _with_slash(self, path: str) -> Redirect | None:
        """Lead from a page's path without the last slash to the page."""
        asked = None if path.endswith("/") else parse_asked(f"{path}/")
        return Redirect(location=f"{path}/") if isinstance(asked, AskedPage) else None

    # Wheels and their METADATA.

    async def _wheel(self, path: PurePosixPath) -> Resource | None:
        arrival = self._fetcher.find(path) or await self._begun(path)
        if arrival is None:
            return None
        return await _in_time(arrival.begun(), PATIENCE, path)

    async def _begun(self, path: PurePosixPath) -> Arrival | None:
        """Begin to bring a wheel; None where no index has it."""
        found = await self._found(path)
        if found is None:
            return None
        file = wanted(found, root=self.indexes.root_of(found.page_url))
        return self._fetcher.begin(file)

    async def _found(self, path: PurePosixPath) -> IndexFile | None:
        """Find the wheel that belongs at a path: in what pages are known to say, else on the pages that may list it.

        Raises:
            PytorchOfflineError: a page that may list it cannot be asked for.
        """
        found = await self._threads.run(partial(self._remembered, path))
        failure: PytorchOfflineError | None = None
        for url in () if found is not None else self.indexes.pages_that_may_list(path):
            try:
                known = await self._readings.read(url)
            except PytorchOfflineError as error:
                failure = failure or error
                continue
            found = await self._threads.run(partial(self._listed, path, known.reading))
            if found is not None:
                break
        if found is None and failure is not None:
            raise failure
        return found

    def _remembered(self, path: PurePosixPath) -> IndexFile | None:
        try:
            said = said_of(path, self._catalogue.history(f"/{path}"), self.indexes)
            return said or said_of(path, self._catalogue.sayings_of(path.name), self.indexes)
        finally:
            self._catalogue.close()

    def _listed(self, path: PurePosixPath, reading: PageReading) -> IndexFile | None:
        name = parse_wheel_name(path.name)
        try:
            files = reading.wheels.files(name.project, versions=lambda version: version == name.version)
        finally:
            self._catalogue.close()
        return listed_at(path, files, self.indexes)

    async def _metadata(self, path: PurePosixPath) -> Resource | None:
        """Give the METADATA of a wheel, read by one for all who wait for it."""
        reading = self._reading_sidecars.get(path)
        if reading is None:
            reading = asyncio.ensure_future(self._sidecar(path))
            reading.add_done_callback(partial(self._read_for_all, path))
            self._reading_sidecars[path] = reading
        return await _in_time(asyncio.shield(reading), _METADATA_PATIENCE, path)

    def _read_for_all(self, path: PurePosixPath, reading: asyncio.Future[Resource | None]) -> None:
        del self._reading_sidecars[path]
        if not reading.cancelled():
            reading.exception()

    async def _sidecar(self, path: PurePosixPath) -> Resource | None:
        found = await self._found(path)
        if found is None:
            return None
        file = wanted(found, root=self.indexes.root_of(found.page_url))
        try:
            body = await self._threads.run(partial(self._fetch_metadata, found, file.urls))
        except PytorchOfflineError as error:
            if error.code != "ranges-not-served":
                raise
            # Nothing less than the wheel will do, which the client is about to ask for anyway.
            standing = await self._fetcher.begin(file).over()
            if standing.place is None:
                raise standing.error or error from error
            body = await self._threads.run((self._mirror.root / sidecar_of(path)).read_bytes)
        page = Page(forms=(make_body(METADATA_TYPE, body),))
        self._sidecars[path] = page
        while len(self._sidecars) > _SIDECARS_KEPT:
            self._sidecars.popitem(last=False)
        return page

    def _fetch_metadata(self, file: IndexFile, urls: tuple[str, ...]) -> bytes:
        try:
            return fetch_wheel_metadata(
                file,
                http=self._hurried,
                catalogue=self._catalogue,
                scratch=None,
                offline=False,
                urls=urls,
                hosts=self._hosts,
            )
        finally:
            self._catalogue.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What a page was made of beside upstream's: some rows, and all of a snapshot, if there is one."""

    snapshot: Snapshot | None
    new: tuple[MirrorFile, ...]

    def rows(self) -> list[MirrorFile]:
        return [*(() if self.snapshot is None else self.snapshot.files.values()), *self.new]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    """A page as it was made, and of what."""

    page: Page
    url: str
    reading: PageReading
    held: _Held
    size: int


def _by_project(snapshot: Snapshot) -> dict[NormalizedName, list[MirrorFile]]:
    grouped: dict[NormalizedName, list[MirrorFile]] = defaultdict(list)
    for row in snapshot.files.values():
        grouped[parse_wheel_name(row.path.name).project].append(row)
    return grouped


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


async def _in_time(coming: Awaitable[_Result], seconds: float, path: PurePosixPath) -> _Result | None:
    """Wait for something; None where it turns out that upstream has it not.

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
