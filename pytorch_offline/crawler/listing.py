"""Directory listings (nginx and Apache autoindex, and what imitates them): sizes, where they are exact."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

# The title or heading that autoindex modules write.
_TITLE = re.compile(rb"<(?:title|h1)[^>]*>\s*(?:index of|directory listing for|directory of)\b", re.IGNORECASE)
_MOMENT = r"(?:\d{1,2}-\w{3}-\d{4}|\d{4}-(?:\d{2}|\w{3})-\d{2})[ T]\d{2}:\d{2}(?::\d{2})?"
# A number of bytes counts only without a unit: `172M` is rounded. Before or after the date, as the module has it.
_EXACT = (
    re.compile(rf"\s*{_MOMENT}\s+(?P<size>\d+)\s*"),
    re.compile(rf"\s*(?P<size>\d+)\s+{_MOMENT}\s*"),
)


def is_listing(body: bytes) -> bool:
    """Whether a page calls itself a listing of a directory."""
    return _TITLE.search(body[:4096]) is not None


def listed_sizes(body: bytes) -> dict[str, int]:
    """Read the exact sizes in bytes that a listing gives, by file name."""
    rows = _Rows()
    rows.feed(body.decode("utf-8", "replace"))
    rows.close()
    sizes = {}
    for href, text in rows.after.items():
        for pattern in _EXACT:
            if (match := pattern.fullmatch(text)) and int(match["size"]) > 0:
                sizes[unquote(href.rpartition("/")[2])] = int(match["size"])
    return sizes


class _Rows(HTMLParser):
    """Collects the text that follows each link, up to the next one."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.after: dict[str, str] = {}
        self._href: str | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._href = dict(attrs).get("href")
            self._inside = True
        elif tag in {"tr", "hr", "footer", "address"}:
            self._href = None
        elif tag == "td" and self._href in self.after:
            self.after[str(self._href)] += " "

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._href is not None and not self._inside:
            self.after[self._href] = self.after.get(self._href, "") + data
