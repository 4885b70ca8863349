"""Bring the catalogue up to date with an upstream: which pages to read, and what came of it."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.model import PageStatus
from pytorch_offline.crawler.upstream import Layout
from pytorch_offline.disk_errors import DISK_CODES
from pytorch_offline.errors import UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import PageUpdate, RejectedLink
    from pytorch_offline.crawler.reader import IndexReader
    from pytorch_offline.crawler.upstream import Upstream
    from pytorch_offline.wheels.backend import Backend

# Pages asked for at once: the network dominates a crawl (research/performance.md, section C), and a CDN bears this.
JOBS = 8
# So many pages in a row that cannot be had mean that upstream is down: each costs its retries, and there are thousands.
FAILURES_IN_A_ROW = 10
# More projects than any index of torch builds has (upstream's root lists about 130): a general index, of which nobody
# wants every page.
MOST_PROJECTS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOutcome:
    """What came of one page: an update, or the error that kept it from being read; ``links`` is what it lists now.

    ``promised`` says that a list named the page or the user did, so that its absence is worth telling.
    """

    url: str
    promised: bool
    update: PageUpdate | None = None
    error: UpstreamError | None = None
    links: int = 0
    rejected: tuple[RejectedLink, ...] = ()

    @property
    def is_absent(self) -> bool:
        """Whether upstream says that there is no such page."""
        return self.update is not None and self.update.status is PageStatus.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlReport:
    """What came of a crawl.

    ``not_asked`` pages were given up when upstream stopped answering; ``unknown_projects`` were asked for by name and
    are on none of the pages.
    """

    upstream: Upstream
    outcomes: tuple[PageOutcome, ...]
    not_asked: tuple[str, ...] = ()
    unknown_projects: tuple[NormalizedName, ...] = ()

    @property
    def failed(self) -> tuple[PageOutcome, ...]:
        """The pages that could not be had."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    @property
    def is_complete(self) -> bool:
        """Whether every page was read or found absent."""
        return not (self.failed or self.not_asked)

    @property
    def updates(self) -> Iterator[PageUpdate]:
        """The pages that were read or found absent."""
        return (outcome.update for outcome in self.outcomes if outcome.update is not None)


def crawl(
    reader: IndexReader,
    upstream: Upstream,
    *,
    backends: Sequence[Backend] = (),
    projects: Sequence[NormalizedName] = (),
    jobs: int = JOBS,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CrawlReport:
    """Read an upstream's pages into the catalogue, several at a time.

    Without ``backends`` all of them and the root are read, without ``projects`` every project that a list names.
    Links to other hosts are written down and not followed. ``progress`` is told the pages done and known so far.

    Raises:
        UpstreamError: the first page's error if no page could be read, ``nothing-there`` if all are absent.
        UsageError: ``too-many-projects`` if an index lists more than anyone means to read.
        PytorchOfflineError: the catalogue cannot be written.
    """
    walk = _Walk(reader, jobs, progress)
    with ThreadPoolExecutor(jobs, thread_name_prefix="crawl") as pool:
        try:
            if projects:
                # The root's page of a project has all backends together, and is worth having unless some are named.
                places = [*backends] if backends else [None, *upstream.backends]
                pages = [upstream.project_url(name, place) for name in projects for place in places]
                walk.ask(pool, pages, promised=bool(backends))
            else:
                _walk_lists(walk, pool, reader, upstream, backends)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    there = {outcome.url for outcome in walk.outcomes.values() if not outcome.is_absent}
    report = CrawlReport(
        upstream=upstream,
        outcomes=tuple(walk.outcomes.values()),
        not_asked=tuple(walk.not_asked),
        unknown_projects=tuple(
            name
            for name in projects
            if there.isdisjoint(upstream.project_url(name, place) for place in (None, *upstream.backends, *backends))
        ),
    )
    _insist_on_something(report)
    return report


def _walk_lists(
    walk: _Walk, pool: ThreadPoolExecutor, reader: IndexReader, upstream: Upstream, backends: Sequence[Backend]
) -> None:
    lists = [upstream.list_url(backend) for backend in backends]
    if not backends:
        walk.ask(pool, [upstream.root], promised=True)
        lists = [upstream.root, *(upstream.list_url(backend) for backend in upstream.backends)]
    # Only what somebody asked for is promised: most of the backends ever seen are not in every channel.
    walk.ask(pool, lists, promised=bool(backends))
    if upstream.layout is Layout.FLAT:
        return
    pages: dict[str, bool] = {}
    for url in lists:
        outcome = walk.outcomes.get(url)
        if outcome is None or outcome.update is None or outcome.is_absent:
            continue
        listed = reader.catalogue.projects(url)
        # What a list no longer names may still be there: upstream's lost a third of its projects for a day.
        for name in reader.catalogue.projects(url, with_unlisted=True):
            page = f"{url}{name}/"  # as listed: `rocm6.4` is a directory, and `rocm6-4` is none
            pages[page] = pages.get(page, False) or name in listed
    for url in lists:  # the root page lists the backends' directories as if they were projects
        pages.pop(url, None)
    if len(pages) > MOST_PROJECTS:
        raise UsageError(
            "too-many-projects",
            f"{redacted(upstream.root)} lists {len(pages)} projects, more than are read unasked",
            hint="name the ones you mean with --project",
        )
    walk.ask(pool, [page for page, promised in pages.items() if promised], promised=True)
    walk.ask(pool, [page for page, promised in pages.items() if not promised], promised=False)


class _Walk:
    """Pages being asked for, and what came of them; only the thread that crawls touches it."""

    def __init__(self, reader: IndexReader, jobs: int, progress: Callable[[int, int], None]) -> None:
        self.outcomes: dict[str, PageOutcome] = {}
        self.not_asked: list[str] = []
        self._reader = reader
        self._jobs = jobs
        self._progress = progress
        self._failures = 0
        self._known = 0

    def ask(self, pool: ThreadPoolExecutor, urls: Iterable[str], *, promised: bool) -> None:
        """Read pages, unless they were read before or upstream has stopped answering."""
        waiting = [url for url in dict.fromkeys(urls) if url not in self.outcomes]
        self._known += len(waiting)
        waiting.reverse()
        running: set[Future[PageOutcome]] = set()
        while waiting or running:
            while waiting and len(running) < self._jobs and self._failures < FAILURES_IN_A_ROW:
                running.add(pool.submit(_outcome, self._reader, waiting.pop(), promised=promised))
            if not running:
                self.not_asked += reversed(waiting)
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                self.outcomes[outcome.url] = outcome
                self._failures = self._failures + 1 if outcome.error is not None else 0
                self._progress(len(self.outcomes), self._known)


def _outcome(reader: IndexReader, url: str, *, promised: bool) -> PageOutcome:
    try:
        update = reader.update(url)
    except UpstreamError as error:
        if error.code in DISK_CODES:
            raise  # no other page could be kept either
        return PageOutcome(url=url, promised=promised, error=error)
    return PageOutcome(
        url=url,
        promised=promised,
        update=update,
        links=reader.catalogue.count_links(url),
        rejected=reader.catalogue.rejected(url),
    )


def _insist_on_something(report: CrawlReport) -> None:
    """Raise if no page at all was read."""
    if any(update.status is not PageStatus.ABSENT for update in report.updates):
        return
    for outcome in report.failed:
        if outcome.error is not None:
            raise outcome.error
    raise UpstreamError(
        "nothing-there",
        f"{redacted(report.upstream.root)} has none of the pages asked for",
        facts={"asked for": ", ".join(redacted(outcome.url) for outcome in report.outcomes[:5])},
        hint="look for a misspelt --project or --backend; `crawl` without them reads what there is",
    )
