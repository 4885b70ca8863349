"""Replay: recorded pages byte for byte, and stand-ins for the wheels that they list.

A recording is a directory with ``pages/`` and ``pages/SOURCES.tsv`` (columns ``file``, ``upstream_url``, ``date``).
Pages of one archive were altered by it in two ways, which are undone here (research/upstream-index.md, "Restoring a
page"): root-absolute hrefs were given a host, and the line with the time of writing was dropped.

The wheels are stand-ins with the real name and, where the tables know them, the real requirement lines. Their sha256
cannot be the one that the page states: whoever checks it must refuse them, and should be given a page of our own.
"""

from __future__ import annotations

import csv
import hashlib
import html
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pytorch_offline.errors import UsageError
from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.bodies import FILE_TYPE, PAGE_TYPE, MemoryBody, Resource
from pytorch_offline.simulator.eras import SLASHLESS, Era
from pytorch_offline.simulator.offers import core_facts
from pytorch_offline.simulator.stand_ins import build_wheel
from pytorch_offline.simulator.upstream_pages import rewritten

if TYPE_CHECKING:
    from pathlib import Path

ARCHIVE = "sonatype-nexus-community/pytorch-pypi"
ARCHIVE_HREF = b'href="https://download.pytorch.org/whl'
LATEST = "latest"
_HREF = re.compile(rb'<a\s[^>]*href="([^"]*)"')
# Hosts whose wheels a page may link to and that this site plays on its two ports.
UPSTREAM_HOSTS = frozenset({"", "download.pytorch.org", "download-r2.pytorch.org"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPage:
    """One recorded content of one page. ``path`` is the address's, decoded; ``restored`` says how it was archived."""

    path: str
    day: date
    file: Path
    altered: bool

    def read(self) -> bytes:
        """Read the page as upstream served it.

        The time of writing is not known to the second; the day's noon stands for it.
        """
        data = self.file.read_bytes()
        return restored(data, datetime.combine(self.day, time(12), UTC)) if self.altered else data


def restored(data: bytes, written: datetime) -> bytes:
    """Undo the archive's two changes to a page."""
    lines = data.split(b"\n")
    lines = [line.replace(ARCHIVE_HREF, b'href="/whl', 1) for line in lines]
    page = b"\n".join(lines)
    # Pages copied from NVIDIA's index never had the line.
    if b"<title>Package Index</title>" in page:
        return page
    return page + b"<!--TIMESTAMP %d-->" % int(written.timestamp())


def parse_sources(text: str) -> list[dict[str, str]]:
    """Read ``SOURCES.tsv``."""
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def read_recording(recorded: Path, *, at: str = LATEST) -> ReplayedSite:
    """Choose from a recording the newest content of each page that is not after a day.

    Args:
        recorded: the directory that holds ``pages/``.
        at: a day, ``2025-01-30``, or ``latest``.

    Raises:
        UsageError: ``no-recording`` if there is none; ``unknown-era`` if the day is none.
    """
    try:
        rows = parse_sources((recorded / "pages" / "SOURCES.tsv").read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("no-recording", f"{recorded} holds no recorded pages: {error}") from error
    try:
        limit = date.max if at == LATEST else date.fromisoformat(at)
    except ValueError as error:
        raise UsageError("unknown-era", f"{at!r} is no day", hint="write 2025-01-30, or latest") from error
    chosen: dict[str, RecordedPage] = {}
    for row in rows:
        page = RecordedPage(
            path=unquote(urlsplit(row["upstream_url"]).path),
            day=date.fromisoformat(row["date"]),
            file=recorded / "pages" / row["file"],
            altered=row["repository"] == ARCHIVE,
        )
        known = chosen.get(page.path)
        if page.day <= limit and (known is None or known.day <= page.day):
            chosen[page.path] = page
    return ReplayedSite(chosen)


class ReplayedSite:
    """Recorded pages at their addresses; every wheel that one of them lists on upstream's hosts; else nothing."""

    def __init__(self, recorded: dict[str, RecordedPage]) -> None:
        self.pages = recorded
        self._listed: dict[str, date] | None = None
        self._bodies: dict[str, MemoryBody] = {}

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up."""
        del accept  # the recorded pages are HTML whatever is asked for
        page = self.pages.get(path) if host is Host.FIRST else None
        if page is None and host is Host.FIRST:
            key = rewritten(path, Era(day=max(SLASHLESS, date.max)))
            page = self.pages.get(key.removesuffix("index.html"))
        if page is not None:
            data = page.read()
            etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            written = datetime.combine(page.day, time(12), UTC)
            return Resource(
                body=MemoryBody(data),
                content_type=PAGE_TYPE,
                etag=etag,
                last_modified=written,
                cache_control="no-cache,no-store,must-revalidate",
            )
        return self._wheel(path)

    def replace(self, path: str, body: bytes) -> None:
        """Put other bytes under a wheel's address, from now on."""
        self._bodies[path] = MemoryBody(body)

    def listed(self) -> dict[str, date]:
        """The wheels that the pages list on upstream's hosts: from the decoded path to the page's day."""
        if self._listed is None:
            self._listed = {}
            for page in self.pages.values():
                for href in _HREF.findall(page.read()):
                    address = urlsplit(html.unescape(href.decode()).partition("#")[0])
                    path = unquote(address.path)
                    if not path.startswith("/"):
                        path = page.path.rpartition("/")[0] + "/" + path
                    if address.hostname in {*UPSTREAM_HOSTS, None} and path.endswith(".whl"):
                        self._listed.setdefault(path, page.day)
        return self._listed

    def _wheel(self, path: str) -> Resource | None:
        day = self.listed().get(path)
        directory, _, filename = path.removeprefix("/whl/").rpartition("/")
        if day is None or filename.count("-") < 4:  # noqa: PLR2004  (name, version and three tags)
            return None
        if path not in self._bodies:
            self._bodies[path] = MemoryBody(build_wheel(filename, core_facts(directory, filename)))
        body = self._bodies[path]
        written = datetime.combine(day, time(12), UTC)
        return Resource(body=body, content_type=FILE_TYPE, etag=f'"{body.sha256[:32]}-1"', last_modified=written)
