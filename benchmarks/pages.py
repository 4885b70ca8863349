"""How quickly an index page is read: our readers beside beautifulsoup4 and the way pip does it.

    python benchmarks/pages.py [PAGE.html]

Without a page, the largest recorded one is read (``PYTORCH_OFFLINE_SHARED``), else one of the same size is made up.
The figures are medians of rounds in which every reader takes its turn, so that a busy machine slows all of them alike:
compare the ratios, not the microseconds.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup

from pytorch_offline.crawler import anchors
from pytorch_offline.crawler.catalogue import Catalogue, Fetched
from pytorch_offline.crawler.hrefs import parse_base, resolve
from pytorch_offline.crawler.page import parse_page

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://download.pytorch.org/whl/torch/"
ROUNDS = 7
RECORDED = "upstream/pages/2026-02-11/whl/torch/index.html"


def page() -> bytes:
    """Find a page to read."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]).read_bytes()
    shared = Path(os.environ.get("PYTORCH_OFFLINE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if (shared / RECORDED).is_file():
        return (shared / RECORDED).read_bytes()
    lines = [
        f'    <a href="/whl/cu121/torch-2.{minor}.{patch}%2Bcu121-cp3{python}-cp3{python}-linux_x86_64.whl'
        f'#sha256={"0" * 64}" data-dist-info-metadata="sha256={"1" * 64}" data-core-metadata="sha256={"1" * 64}">'
        f"torch-2.{minor}.{patch}+cu121-cp3{python}-cp3{python}-linux_x86_64.whl</a><br/>"
        for minor in range(30)
        for patch in range(16)
        for python in range(8, 14)
    ]
    return "\n".join(["<!DOCTYPE html>", "<html>", "  <body>", *lines, "  </body>", "</html>"]).encode()


def as_beautifulsoup_tutorials_do(body: bytes) -> int:
    """Read with beautifulsoup4's default parser, ``urljoin`` and ``unquote``."""
    soup = BeautifulSoup(body, "html.parser")
    return len([unquote(urlsplit(urljoin(URL, str(tag["href"]))).path) for tag in soup.find_all("a", href=True)])


class _PipLike(HTMLParser):
    """Collects the attributes of anchors, as pip's collector does."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an anchor."""
        if tag == "a":
            self.found.append(dict(attrs))


def as_pip_does(body: bytes) -> int:
    """Read with the standard library's parser, ``urljoin`` and ``urlsplit`` for each link."""
    parser = _PipLike()
    parser.feed(body.decode())
    parser.close()
    return len([unquote(urlsplit(urljoin(URL, found["href"] or "")).path) for found in parser.found if "href" in found])


def with_our_joining(parse: Callable[[str], anchors.Anchors]) -> Callable[[bytes], int]:
    """Read with one of our three parsers, and join by hand."""
    base = parse_base(URL)

    def read(body: bytes) -> int:
        return len([resolve(base, anchor.href) for anchor in parse(body.decode()).anchors])

    return read


def whole_page(body: bytes) -> int:
    """Read the page as the crawler does: with every fact of each link, and its name checked."""
    return len(parse_page(body, URL).links)


def stored(body: bytes) -> int:
    """Read the page as the crawler does and write it into a new catalogue."""
    with tempfile.TemporaryDirectory() as directory, Catalogue.open(Path(directory) / "catalogue.sqlite") as catalogue:
        read = parse_page(body, URL)
        fetched = Fetched(final_url=URL, body_sha256="", parser=1)
        catalogue.store_page(URL, read, fetched, now=datetime.now(UTC))
        return len(read.links)


def main() -> None:
    """Print the table."""
    body = page()
    readers: dict[str, Callable[[bytes], int]] = {
        "beautifulsoup4, html.parser, urljoin": as_beautifulsoup_tutorials_do,
        "as pip reads: HTMLParser, urljoin": as_pip_does,
        "ours, beautifulsoup4 (last resort)": with_our_joining(anchors.anchors_by_beautifulsoup),
        "ours, standard library": with_our_joining(anchors.anchors_by_html_parser),
    }
    if importlib.util.find_spec("selectolax") is not None:
        readers["ours, selectolax"] = with_our_joining(anchors.anchors_by_selectolax)
    readers |= {"ours, whole page with names": whole_page, "ours, and stored in SQLite": stored}
    links = {name: reader(body) for name, reader in readers.items()}
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(ROUNDS):
        for name, reader in readers.items():
            gc.collect()  # nobody pays for the garbage of the one before
            start = time.perf_counter()
            reader(body)
            taken[name].append(time.perf_counter() - start)
    slowest = next(iter(readers))
    print(f"{len(body):,} bytes, {links[slowest]:,} links, Python {sys.version.split()[0]}\n")
    print("| reader | µs per link | times as fast |")
    print("|---|---:|---:|")
    for name in readers:
        ratio = statistics.median(first / other for first, other in zip(taken[slowest], taken[name], strict=True))
        print(f"| {name} | {statistics.median(taken[name]) / links[name] * 1e6:.1f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
