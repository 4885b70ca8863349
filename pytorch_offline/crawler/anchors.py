"""The ``<a>`` elements of an HTML page, by the quickest parser at hand.

Three parsers give the same anchors: ``selectolax`` where it is installed (the extra ``fast``), else the standard
library's, and beautifulsoup4 for pages that those two cannot read: another encoding than UTF-8, or markup in which they
find nothing. Only elements count: what stands in scripts and comments is not part of the index (a challenge loader was
once injected into every page; research/upstream-index.md, section 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

try:
    from selectolax.lexbor import LexborHTMLParser
except ImportError:  # the extra ``fast`` is not installed
    LexborHTMLParser = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from collections.abc import Mapping

# `<a href=X</a>` and `<a href="X</a>`: the generator of 2020-12-17 to 2021-01-04 forgot to close the attribute.
_UNCLOSED_HREF = re.compile(r"""(<a\s+href=)(["']?)([^"'<>\s]+)</a\s*>""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One ``<a>`` element with an ``href``: its attributes (names in lower case, values unescaped) and its text."""

    attributes: Mapping[str, str]
    text: str

    @property
    def href(self) -> str:
        """The link as written, without the white space around it."""
        return self.attributes["href"].strip()


@dataclass(frozen=True, slots=True)
class Anchors:
    """A page's anchors in their order, and the ``href`` of its first ``<base>``."""

    anchors: tuple[Anchor, ...]
    base: str | None = None


def parse_anchors(body: bytes) -> Anchors:
    """Read the anchors of an HTML page."""
    quickest = anchors_by_html_parser if LexborHTMLParser is None else anchors_by_selectolax
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return anchors_by_beautifulsoup(body)
    text = text.replace("\0", "\ufffd")  # as HTML's tokenizer does; a link with it is refused later
    found = quickest(text)
    if _is_broken(found, text):
        text = _UNCLOSED_HREF.sub(r'\1"\3">\3</a>', text)
        found = quickest(text)
    return anchors_by_beautifulsoup(text) if _is_broken(found, text) else found


def _is_broken(found: Anchors, text: str) -> bool:
    """Whether a link holds markup, or the text has links of which none was found."""
    if not found.anchors:
        return "<a " in text.lower()
    return any("<" in anchor.attributes["href"] for anchor in found.anchors)


def anchors_by_selectolax(text: str) -> Anchors:
    """Read the anchors with ``selectolax`` (lexbor, the HTML standard's own algorithm)."""
    tree = LexborHTMLParser(text)
    base = tree.css_first("base[href]")
    return Anchors(
        anchors=tuple(
            Anchor({name: value or "" for name, value in node.attributes.items()}, node.text())
            for node in tree.css("a[href]")
        ),
        base=None if base is None else base.attributes["href"] or "",
    )


def anchors_by_html_parser(text: str) -> Anchors:
    """Read the anchors with the standard library's parser."""
    collector = _Collector()
    collector.feed(text)
    collector.close()
    return Anchors(anchors=tuple(collector.finished()), base=collector.base)


def anchors_by_beautifulsoup(page: str | bytes) -> Anchors:
    """Read the anchors with beautifulsoup4, which also finds out the encoding of bytes."""
    from bs4 import BeautifulSoup  # noqa: PLC0415  (the last resort; its import takes a tenth of a warm `select`)

    soup = BeautifulSoup(page, "html.parser", on_duplicate_attribute="ignore", multi_valued_attributes=None)
    bases = [str(tag["href"]) for tag in soup.find_all("base", href=True)]
    return Anchors(
        anchors=tuple(
            Anchor({name.lower(): str(value) for name, value in tag.attrs.items()}, tag.get_text())
            for tag in soup.find_all("a", href=True)
        ),
        base=bases[0] if bases else None,
    )


class _Collector(HTMLParser):
    """Collects anchors as the tokenizer meets them; an anchor ends where the next one begins, as HTML says."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self._anchors: list[Anchor] = []
        self._attributes: dict[str, str] | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._finish()
            self._attributes = {name: value or "" for name, value in reversed(attrs)}  # the first of a name holds
        elif tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._finish()

    def handle_data(self, data: str) -> None:
        if self._attributes is not None:
            self._text.append(data)

    def finished(self) -> list[Anchor]:
        """Give all anchors, once the page has been fed."""
        self._finish()
        return self._anchors

    def _finish(self) -> None:
        if self._attributes is not None and "href" in self._attributes:
            self._anchors.append(Anchor(self._attributes, "".join(self._text)))
        self._attributes = None
        self._text = []
