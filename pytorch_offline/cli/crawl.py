"""``crawl``: read upstream's index pages into the catalogue."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import click
from packaging.utils import InvalidName, canonicalize_name
from tqdm import tqdm

from pytorch_offline.addresses import redacted
from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.session import Session, Style, common_options, progress_option
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.crawl import CrawlReport, crawl
from pytorch_offline.crawler.default_index import Reach, configured_http
from pytorch_offline.crawler.model import PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.crawler.upstream import CHANNELS, DEFAULT_UPSTREAM
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.milestones import Crawled, Milestones
from pytorch_offline.moments import spell_moment
from pytorch_offline.wheels.backend import parse_backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.crawl import PageOutcome

# Off a terminal, a line of progress every so many seconds.
_LOG_SECONDS = 5.0
# For programs, an event every so many seconds, and whenever all that are known are read.
_EVENT_SECONDS = 1.0
# What the text names one by one; --json has all.
_SHOWN = 10


@click.command(short_help="Read upstream's index pages into the catalogue.")
@click.option(
    "--upstream", default=DEFAULT_UPSTREAM, show_default=True, metavar="URL", help="The index to read, of any layout."
)
@click.option(
    "--channel",
    type=click.Choice(list(CHANNELS)),
    default="stable",
    show_default=True,
    help="Which of upstream's channels.",
)
@click.option(
    "--backend", "backends", multiple=True, metavar="B", help="Only this backend (cpu, cu126, rocm6.4 …); repeatable."
)
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; repeatable.")
@network_options
@common_options
@progress_option
def command(  # noqa: PLR0917  (click passes by keyword)
    session: Session, upstream: str, channel: str, backends: tuple[str, ...], projects: tuple[str, ...], reach: Reach
) -> None:
    """Read upstream's index pages into the catalogue, and say what appeared, changed and vanished.

    Without --backend and --project everything is read: the root, every backend, every project they list. Pages that
    have not changed since the last crawl cost one small request each. What vanishes upstream is kept, as unlisted.

    \b
    pytorch-offline crawl --backend cu126 --backend cpu
    pytorch-offline crawl --project torch --project torchvision
    pytorch-offline crawl --channel nightly --backend cu130 --project torch --json
    """  # noqa: D301  (\b is click's mark for a paragraph that is not wrapped)
    wanted_backends = tuple(parse_backend(name) for name in backends)
    wanted_projects = tuple(_project(name) for name in projects)
    with (
        configured_http(reach=reach) as http,
        Catalogue.open(session.mirror / STATE_NAME / CATALOGUE_NAME) as catalogue,
    ):
        reader = IndexReader(http, catalogue)
        session.message(f"reading {redacted(upstream)} …")
        index = recognise_upstream(reader, upstream, channel)
        if wanted_backends and not index.by_backend:
            raise UsageError("no-backends-here", f"{redacted(upstream)} has no directories by backend")
        with _Progress(session) as progress:
            report = crawl(reader, index, backends=wanted_backends, projects=wanted_projects, progress=progress.show)
    for warning in warnings_of(report):
        session.warn(warning)
    milestones = Milestones(session.mirror / STATE_NAME)
    if report.is_complete:
        whole = not (wanted_backends or wanted_projects)
        crawled = Crawled(upstream=index.root, ended=datetime.now(UTC), pages=len(report.outcomes), whole=whole)
        milestones.note_crawl(crawled)
    elif (earlier := milestones.read().crawl_of(index.root)) is not None:
        session.message(f"the last crawl of it that succeeded was on {spell_moment(earlier.ended)}")
    session.result(document_of(report), render_report(report))
    if report.failed:
        raise click.exceptions.Exit(UpstreamError.exit_code)


def _project(name: str) -> NormalizedName:
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise UsageError("bad-project-name", f"{name!r} is not the name of a project") from error


class _Progress:
    """Pages done and known, as a bar on a terminal or a line now and then."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bar = tqdm(unit=" pages", ascii=True, disable=session.shown_style is not Style.BARS, leave=False)
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, known: int) -> None:
        """Take note of how far the crawl is."""
        self._bar.total = known
        self._bar.update(done - self._bar.n)
        now = time.monotonic()
        if self._session.events and (now - self._told >= _EVENT_SECONDS or done == known):
            self._told = now
            self._session.tell("pages", read=done, known=known)
        elif self._session.shown_style is Style.LINES and now - self._told >= _LOG_SECONDS:
            self._told = now
            self._session.message(f"{done} of {known} pages")


def warnings_of(report: CrawlReport) -> Iterator[str]:
    """Say what the user should know: pages that shrank, promised pages that are not there, pages that failed."""
    for update in report.updates:
        yield from update.warnings
    absent = [outcome.url for outcome in report.outcomes if _is_missed(outcome)]
    if absent:
        yield f"{len(absent)} listed or requested {_pages(absent)} not there: {_some(absent)}"
    for project in report.unknown_projects:
        yield f"{redacted(report.upstream.root)} has no page of {project}"
    for outcome in report.failed[:_SHOWN]:
        yield f"not read: {outcome.error}"
    if len(report.failed) > _SHOWN:
        yield f"{len(report.failed) - _SHOWN} more pages were not read"
    if report.not_asked:
        yield f"gave up on {len(report.not_asked)} {_pages(report.not_asked)}, since upstream had stopped answering"


def _is_missed(outcome: PageOutcome) -> bool:
    return outcome.promised and outcome.is_absent


def _pages(urls: Iterable[str]) -> str:
    return "page" if len(list(urls)) == 1 else "pages"


def _some(urls: list[str]) -> str:
    shown = ", ".join(redacted(url) for url in urls[:_SHOWN])
    return f"{shown} and {len(urls) - _SHOWN} more" if len(urls) > _SHOWN else shown


def document_of(report: CrawlReport) -> dict[str, Any]:
    """Make the ``--json`` document."""
    statuses = [update.status for update in report.updates]
    return {
        "upstream": redacted(report.upstream.root),
        "layout": report.upstream.layout.value,
        "channel": report.upstream.channel,
        "pages": {
            **{status.value: statuses.count(status) for status in PageStatus if status is not PageStatus.RECORDED},
            "failed": len(report.failed),
            "not_asked": len(report.not_asked),
        },
        "links": sum(outcome.links for outcome in report.outcomes),
        "new": _paths(report, "new"),
        "returned": _paths(report, "returned"),
        "changed": [
            {"path": change.path, "page": redacted(update.url), "before": change.before, "after": change.after}
            for update in report.updates
            for change in update.change.changed
        ],
        "vanished": _paths(report, "vanished"),
        "new_projects": _paths(report, "new_projects", "project"),
        "vanished_projects": _paths(report, "vanished_projects", "project"),
        "rejected": [
            {"page": redacted(outcome.url), "href": link.href, "reason": link.reason, "detail": link.detail}
            for outcome in report.outcomes
            for link in outcome.rejected
        ],
        "absent": [redacted(outcome.url) for outcome in report.outcomes if _is_missed(outcome)],
        "errors": [
            {"page": redacted(outcome.url), "code": outcome.error.code, "message": outcome.error.message}
            for outcome in report.failed
            if outcome.error is not None
        ],
        "warnings": list(warnings_of(report)),
    }


def _paths(report: CrawlReport, kind: str, key: str = "path") -> list[dict[str, str]]:
    return [
        {key: name, "page": redacted(update.url)} for update in report.updates for name in getattr(update.change, kind)
    ]


def render_report(report: CrawlReport) -> str:
    """Make the summary in text."""
    document = document_of(report)
    pages = document["pages"]
    lines = [
        f"{document['upstream']} ({document['layout']} layout, {document['channel']} channel)",
        (
            f"pages: {pages['new']} new, {pages['changed']} changed, {pages['unchanged']} unchanged,"
            f" {pages['absent']} absent, {pages['failed'] + pages['not_asked']} not read"
        ),
        (
            f"links: {document['links']} listed, {len(document['new'])} new, {len(document['returned'])} returned,"
            f" {len(document['changed'])} with another hash, {len(document['vanished'])} vanished,"
            f" {len(document['rejected'])} rejected"
        ),
    ]
    for change in document["changed"][:_SHOWN]:
        lines += [f"changed: {change['path']}", f"  {change['before']} → {change['after']}"]
    lines += _named("vanished", [entry["path"] for entry in document["vanished"]])
    lines += _named("vanished project", [entry["project"] for entry in document["vanished_projects"]])
    lines += [f"rejected: {count} {reason}" for reason, count in Counter(_reasons(document)).most_common()]
    # Source distributions and the like are on many pages, and nobody expects them here.
    telling = [entry for entry in document["rejected"] if entry["reason"] != "not-a-wheel"]
    lines += _named("rejected", [f"{entry['href']}: {entry['detail']}" for entry in telling])
    return "\n".join(lines)


def _reasons(document: dict[str, Any]) -> Iterator[str]:
    return (entry["reason"] for entry in document["rejected"])


def _named(what: str, names: list[str]) -> list[str]:
    lines = [f"{what}: {name}" for name in names[:_SHOWN]]
    return [*lines, f"… and {len(names) - _SHOWN} more (--json has all)"] if len(names) > _SHOWN else lines
