"""The renderers against real pages: from a page's facts, its bytes."""

from __future__ import annotations

import collections
import html
import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pytorch_offline.simulator import pages
from pytorch_offline.simulator.pages import FlatStyle, Row
from pytorch_offline.simulator.replay import read_recording

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.simulator.replay import RecordedPage

LINK = re.compile(r'<a href="(?P<href>[^"#]*)(?:#sha256=(?P<sha256>[0-9a-f]{64}))?"(?P<rest>[^>]*)>(?P<text>[^<]*)</a>')
METADATA = re.compile(r'data-core-metadata="sha256=([0-9a-f]{64})"')
REQUIRES = re.compile(r'data-requires-python="([^"]*)"')


def rows_of(text: str) -> list[Row]:
    rows = []
    for link in LINK.finditer(text):
        metadata, requires = METADATA.search(link["rest"]), REQUIRES.search(link["rest"])
        parts = urlsplit(link["href"])
        host = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
        rows.append(
            Row(
                href=host + pages.escape_key(unquote(link["href"].removeprefix(host))),
                text=link["text"],
                sha256=link["sha256"],
                metadata_sha256=metadata[1] if metadata else None,
                requires_python=html.unescape(requires[1]) if requires else None,
            )
        )
    return rows


def rendered(page: RecordedPage, recorded: bytes) -> bytes:
    """Write the page anew from its facts alone, sorted by our own rule."""
    text = recorded.decode()
    written = int(datetime.combine(page.day, time(12), UTC).timestamp())
    rows = rows_of(text)
    if "<title>Package Index</title>" in text:
        return pages.render_vendor_page(rows, older="\n<head>" in text)
    if page.path.endswith(".html"):
        return pages.render_flat_page(sorted(row.text for row in rows), FlatStyle.TEXT)
    if heading := re.search("<h1>Links for (.*)</h1>", text):
        return pages.render_project_page(heading[1], pages.in_page_order(rows), timestamp=written)
    return pages.render_project_list([row.text for row in rows], timestamp=written)


def recorded_contents(upstream: Path) -> list[RecordedPage]:
    days = sorted({line.split("/")[0] for line in (upstream / "pages/SOURCES.tsv").read_text().splitlines()[1:]})
    found = {}
    for day in days:
        for page in read_recording(upstream, at=day).pages.values():
            found[page.file] = page
    return list(found.values())


def test_every_generated_page_that_was_recorded_is_given_back_byte_for_byte(shared: Path) -> None:
    same: collections.Counter[str] = collections.Counter()
    different = []
    for page in recorded_contents(shared / "upstream"):
        recorded = page.read()
        if rendered(page, recorded) == recorded:
            same[f"{page.day:%Y-%m}"] += 1
        else:
            different.append((page.path, str(page.day)))
    # The one that is left is a string literal of a test elsewhere, which did not keep the indentation.
    assert different == [("/whl/jinja2/", "2023-12-23")]
    assert sum(same.values()) == 352
    assert len(same) == 10, same
