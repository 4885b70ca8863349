"""Read index pages through the catalogue: ask upstream conditionally, parse only what changed, remember everything."""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pytorch_offline.addresses import redacted, with_credentials, without_credentials
from pytorch_offline.crawler.as_of import uploaded_by
from pytorch_offline.crawler.catalogue import Fetched
from pytorch_offline.crawler.freshness import fresh_until
from pytorch_offline.crawler.model import PARSER_VERSION, PageKind, PageStatus, PageUpdate
from pytorch_offline.crawler.reading import ListedWheels, PageReading
from pytorch_offline.errors import UpstreamError
from pytorch_offline.moments import spell_moment
from pytorch_offline.wheels.other_bodies import LOGIN_HINT, describe_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytorch_offline.crawler.catalogue import Catalogue, PageRecord
    from pytorch_offline.crawler.model import Link, PageChange
    from pytorch_offline.net import Response

# PEP 691 with HTML as second choice, as pip asks; upstream's static pages ignore it. `max-age=0` has caches on the way
# revalidate: upstream's have served stale bodies (research/upstream-index.md, section 6).
_HEADERS = {
    "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1",
    "Cache-Control": "max-age=0",
}
# S3 says 403 for what does not exist.
_ABSENT = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
# A page that loses more than this share of its links at once is worth a warning, if they were more than a few:
# upstream's root list lost a third of its projects for a day (2025-09-24), and third-party pages lost all their wheels
# when they became link pages (2025-12-09). Nightly pages turn over a few per cent a day.
SHRINK_SHARE = 0.2
SHRINK_LEAST = 5


class _Gets(Protocol):
    """What is asked of ``net.Http``."""

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Response: ...


class IndexReader:
    """Reads index pages; one per run, safe to use from many threads.

    Within its life it asks for each page once, so that one run sees one state of each page.

    Args:
        http: speaks HTTP, with its retries.
        catalogue: where pages are remembered.
        offline: take pages from the catalogue alone.
        trusting: take a page unasked for as long as its server said that it stays as it was (``freshness``).
        as_of: give pages as the catalogue knew them at this moment; nothing is asked of the network then. Of a page
            that was first read later, the files count that state an upload time (PEP 700) up to that moment
            (``by_upload_time``); where none does it counts as absent (``not_yet_read``).
        now: the time, in UTC.
    """

    def __init__(
        self,
        http: _Gets,
        catalogue: Catalogue,
        *,
        offline: bool = False,
        trusting: bool = False,
        as_of: datetime | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.catalogue = catalogue
        self.offline = offline or as_of is not None
        self.as_of = as_of
        self.not_yet_read: dict[str, str] = {}
        self.by_upload_time: dict[str, str] = {}
        self._trusting = trusting
        self._http = http
        self._now = now
        self._lock = threading.Lock()
        self._page_locks: dict[str, threading.Lock] = {}
        self._updates: dict[str, PageUpdate] = {}
        self._readings: dict[str, PageReading] = {}
        self._full_links: dict[str, dict[str, str]] = {}  # addresses with tokens, which no file keeps

    def read(self, page_url: str, *, fresh: bool = False) -> PageReading:
        """Read a page and give what it lists; ``fresh`` asks again for a page that this run has read before.

        Raises:
            UpstreamError: ``not-an-index-page`` if what was answered is none (nothing known is replaced by it),
                ``page-refused`` if a known page is refused, ``unexpected-status``, ``not-in-catalogue`` when offline,
                and what ``Http.get`` raises.
        """
        with self._lock_of(page_url):
            if fresh or page_url not in self._readings:
                self._readings[page_url] = self._reading(page_url, self._update(page_url, fresh=fresh))
            return self._readings[page_url]

    def update(self, page_url: str, *, fresh: bool = False) -> PageUpdate:
        """Bring the catalogue up to date with a page, and say what changed; raises as ``read`` does.

        Cheaper than ``read``: an unchanged page costs one request and one row.
        """
        with self._lock_of(page_url):
            return self._update(page_url, fresh=fresh)

    def is_at_hand(self, page_url: str) -> bool:
        """Whether nobody has to be asked for a page."""
        if self.offline or page_url in self._updates:
            return True
        record = self.catalogue.page(page_url) if self._trusting else None
        return record is not None and record.kind is not None and _is_fresh(record, self._now())

    def _lock_of(self, page_url: str) -> threading.Lock:
        with self._lock:
            return self._page_locks.setdefault(page_url, threading.Lock())

    def _update(self, page_url: str, *, fresh: bool) -> PageUpdate:
        if fresh or page_url not in self._updates:
            self._updates[page_url] = (
                self._recorded(page_url)
                if self.offline
                else self._fetched(page_url, trusting=self._trusting and not fresh)
            )
        return self._updates[page_url]

    def _recorded(self, page_url: str) -> PageUpdate:
        record = self.catalogue.page(page_url)
        if record is None and self._is_on_no_list(page_url):
            return PageUpdate(url=page_url, status=PageStatus.ABSENT)
        if record is None and self.as_of is not None:
            raise UpstreamError(
                "not-in-catalogue",
                f"{redacted(page_url)} was never read, so nothing is known of what it listed on {self.as_of:%Y-%m-%d}",
                facts={"url": redacted(page_url)},
                hint="run the same command once without --as-of, which reads it; or choose with --no-deps",
            )
        if record is None:
            raise UpstreamError(
                "not-in-catalogue",
                f"{redacted(page_url)} was never read, and nothing is asked of the network",
                facts={"url": redacted(page_url)},
                hint="run `pytorch-offline crawl` while there is a network, or leave out --offline",
            )
        kind = record.kind if self.as_of is None else self._kind_then(record, self.as_of)
        return PageUpdate(url=page_url, status=PageStatus.ABSENT if kind is None else PageStatus.RECORDED, kind=kind)

    def _is_on_no_list(self, page_url: str) -> bool:
        """Whether the list above a page that was never read was, and never named it: then `crawl` had no reason to."""
        above, _, project = page_url.rstrip("/").rpartition("/")
        parent = self.catalogue.page(f"{above}/")
        if parent is None or parent.kind is PageKind.FILES:
            return False
        return project not in self.catalogue.projects(f"{above}/", with_unlisted=True)

    def _kind_then(self, record: PageRecord, as_of: datetime) -> PageKind | None:
        """Say what kind of page it was at a moment, by what it listed then; None if it was absent or not read yet."""
        links = self._links(record.url)
        if record.first_fetched > spell_moment(as_of):
            (self.by_upload_time if links else self.not_yet_read)[record.url] = record.first_fetched
            return PageKind.FILES if links else None
        if links:
            return PageKind.FILES
        return PageKind.PROJECT_LIST if self.catalogue.projects(record.url, as_of=as_of) else None

    def _links(self, page_url: str) -> tuple[Link, ...]:
        """Give what a page lists, or listed at the moment asked about."""
        if self.as_of is None:
            return self.catalogue.links(page_url)
        record = self.catalogue.page(page_url)
        if record is not None and record.first_fetched <= spell_moment(self.as_of):
            return self.catalogue.links(page_url, as_of=self.as_of)
        return tuple(link for link in self.catalogue.links(page_url) if uploaded_by(link.upload_time, self.as_of))

    def _fetched(self, page_url: str, *, trusting: bool) -> PageUpdate:
        record = self.catalogue.page(page_url)
        known = record if record is not None and record.kind is not None else None
        if trusting and known is not None and _is_fresh(known, self._now()):
            return PageUpdate(url=page_url, status=PageStatus.RECORDED, kind=known.kind)
        response = self._http.get(page_url, headers={**_HEADERS, **_conditions(known)})
        if known is not None and response.status == HTTPStatus.NOT_MODIFIED:
            return self._unchanged(page_url, known, response)
        if response.status in _ABSENT:
            return self._absent(page_url, known, response)
        if response.status != HTTPStatus.OK:
            raise UpstreamError(
                "unexpected-status",
                f"{redacted(page_url)} answers {response.status}",
                facts={"url": redacted(response.url), "status": response.status},
            )
        sha256 = hashlib.sha256(response.body).hexdigest()
        if known is not None and _same_page(known, response, sha256):
            return self._unchanged(page_url, known, response)
        return self._parsed(page_url, known, response, sha256)

    def _unchanged(self, page_url: str, known: PageRecord, response: Response) -> PageUpdate:
        etag, last_modified = _validators(response)
        now = self._now()
        self.catalogue.confirm_page(
            page_url,
            now=now,
            etag=etag,
            last_modified=last_modified,
            fresh_until=_fresh_until(page_url, response, now),
        )
        return PageUpdate(url=page_url, status=PageStatus.UNCHANGED, kind=known.kind)

    def _absent(self, page_url: str, known: PageRecord | None, response: Response) -> PageUpdate:
        if known is not None and response.status == HTTPStatus.FORBIDDEN and not _is_s3_denial(response.body):
            # A gateway that blocks us says 403 as well; it must not make all that is known vanish.
            raise UpstreamError(
                "page-refused",
                f"{redacted(page_url)} was read before and is now refused with status {response.status}",
                facts={"url": redacted(response.url), "status": response.status},
            )
        if known is not None and _leads_away(page_url, known, response):
            # A network's login server, to which all is redirected, has none of our pages either.
            raise _led_away(page_url, response)
        change = self.catalogue.mark_absent(page_url, now=self._now())
        return PageUpdate(
            url=page_url, status=PageStatus.ABSENT, change=change, warnings=_shrink_warnings(page_url, change)
        )

    def _parsed(self, page_url: str, known: PageRecord | None, response: Response, sha256: str) -> PageUpdate:
        from pytorch_offline.crawler.page import parse_page  # noqa: PLC0415  (HTML parsers; most pages are known)

        page = parse_page(response.body, without_credentials(response.url))
        full = {link.path: link.url for link in page.links if without_credentials(link.url) != link.url}
        self._full_links[page_url] = full
        page = replace(
            page,
            links=tuple(replace(link, url=without_credentials(link.url)) for link in page.links)
            if full
            else page.links,
            rejected=tuple(replace(link, href=redacted(link.href)) for link in page.rejected),
        )
        if page.kind is PageKind.JUNK:
            kind = response.headers.get("Content-Type")
            raise UpstreamError(
                "not-an-index-page",
                f"{redacted(page_url)} gave no index page but {describe_body(response.body[:4096], kind)}",
                facts={"url": redacted(response.url), "begins": _beginning(response.body)},
                hint=f"{LOGIN_HINT}; what is known already was kept",
            )
        if known is not None and _leads_away(page_url, known, response) and page.kind is not known.kind:
            raise _led_away(page_url, response)
        etag, last_modified = _validators(response)
        now = self._now()
        fetched = Fetched(
            final_url=response.url,
            # Presigned links are not kept, so such a page must come whole and be read anew by every run.
            body_sha256=sha256 if not full else "",
            parser=PARSER_VERSION,
            etag=etag if not full else None,
            last_modified=last_modified if not full else None,
            fresh_until=_fresh_until(page_url, response, now) if not full else None,
        )
        change = self.catalogue.store_page(page_url, page, fetched, now=now)
        return PageUpdate(
            url=page_url,
            status=PageStatus.NEW if known is None else PageStatus.CHANGED,
            kind=page.kind,
            change=change,
            warnings=_shrink_warnings(page_url, change),
        )

    def _reading(self, page_url: str, update: PageUpdate) -> PageReading:
        return PageReading(
            url=page_url,
            status=update.status,
            kind=update.kind,
            wheels=self._wheels(page_url),
            projects=self.catalogue.projects(page_url, as_of=self.as_of),
            find_rejected=functools.partial(self.catalogue.rejected, page_url),
            warnings=update.warnings,
            unlisted=self.catalogue.unlisted(page_url, as_of=self.as_of),
        )

    def _complete(self, link: Link, page_url: str) -> Link:
        """Give a link back what no file keeps of it: the page's password, or a token that the page has just said."""
        full = self._full_links.get(page_url, {}).get(link.path)
        return replace(link, url=with_credentials(link.url, page_url) if full is None else full)

    def _wheels(self, page_url: str) -> ListedWheels:
        if self.as_of is not None:
            return ListedWheels.of_links([self._complete(one, page_url) for one in self._links(page_url)], page_url)

        def read(numbers: Sequence[int]) -> list[Link]:
            return [self._complete(link, page_url) for link in self.catalogue.numbered_links(numbers)]

        return ListedWheels(self.catalogue.listed_names(page_url), read, page_url)


def _is_fresh(known: PageRecord, now: datetime) -> bool:
    """Whether a page need not be asked for; where the clock has gone back since it was read, it is."""
    if known.fresh_until is None or known.parser != PARSER_VERSION:
        return False
    return known.last_fetched <= spell_moment(now) < known.fresh_until


def _fresh_until(page_url: str, response: Response, now: datetime) -> datetime | None:
    """Say until when a page is fresh; one behind a redirect is not, since the redirect may change by then."""
    redirected = without_credentials(response.url) != without_credentials(page_url)
    return None if redirected else fresh_until(response.headers, now=now)


def _conditions(known: PageRecord | None) -> dict[str, str]:
    """Ask for a page only if it is not the one that is known (RFC 9110, section 13)."""
    if known is None or known.parser != PARSER_VERSION:
        return {}
    if known.etag is not None:
        return {"If-None-Match": known.etag}
    return {} if known.last_modified is None else {"If-Modified-Since": known.last_modified}


def _validators(response: Response) -> tuple[str | None, str | None]:
    return response.headers.get("ETag"), response.headers.get("Last-Modified")


def _same_page(known: PageRecord, response: Response, sha256: str) -> bool:
    same_address = known.final_url == without_credentials(response.url)  # or its links would lead elsewhere
    return known.body_sha256 == sha256 and known.parser == PARSER_VERSION and same_address


def _leads_away(page_url: str, known: PageRecord, response: Response) -> bool:
    """Whether a page that was read before now comes from a host that never gave it."""
    before = {urlsplit(page_url).hostname, urlsplit(known.final_url).hostname}
    return urlsplit(response.url).hostname not in before


def _led_away(page_url: str, response: Response) -> UpstreamError:
    host = urlsplit(response.url).hostname
    return UpstreamError(
        "page-refused",
        f"{redacted(page_url)} was read before, and now leads to {host}, which has no such page",
        facts={"url": redacted(response.url), "status": response.status},
        hint=LOGIN_HINT,
    )


def _is_s3_denial(body: bytes) -> bool:
    return b"<Error>" in body and b"<Code>AccessDenied</Code>" in body


def _beginning(body: bytes) -> str:
    return " ".join(body[:200].decode("utf-8", "replace").split())[:80]


def _shrink_warnings(page_url: str, change: PageChange) -> tuple[str, ...]:
    lost = len(change.vanished) + len(change.vanished_projects)
    if lost < SHRINK_LEAST or lost <= SHRINK_SHARE * change.listed_before:
        return ()
    return (
        (
            f"{redacted(page_url)} lost {lost} of its {change.listed_before} links at once;"
            " what it listed before is kept in the catalogue as unlisted"
        ),
    )
