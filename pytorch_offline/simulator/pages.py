"""Pages as upstream's generators wrote them, byte for byte: from rows to text.

Rules and their evidence: research/upstream-index.md, section 3.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

LISTING_WIDTH = 50  # characters that nginx shows of a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One link of a page.

    ``href`` is written as it is (``%2B``, no fragment); ``text`` is what stands between the tags. The hashes are
    lower-case hex. ``yanked`` is PEP 592's reason. ``size`` (bytes) is shown where a format has a place for it.
    """

    href: str
    text: str
    sha256: str | None = None
    metadata_sha256: str | None = None
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: str | None = None
    size: int | None = None

    @property
    def target(self) -> str:
        """The href with its hash fragment, where a hash is known."""
        return f"{self.href}#sha256={self.sha256}" if self.sha256 else self.href


def escape_key(key: str) -> str:
    """Write a key as upstream's generator puts it into an href: only ``+`` is escaped, spaces are not."""
    return key.replace("+", "%2B")


def in_page_order(rows: Iterable[Row]) -> list[Row]:
    """Sort links as the generator does: by the key with ``%2B`` in it, whatever the host.

    So directories come before the root's files, 2.10.0 before 2.2.0, and ``2.5.1%2Bcpu`` before ``2.5.1-``.
    """
    return sorted(rows, key=lambda row: re.sub(r"^https?://[^/]*", "", row.href))


def render_project_page(project: str, rows: Iterable[Row], *, timestamp: int) -> bytes:
    """Write a project page of 2021-06 and later; it has no newline at its end.

    Args:
        project: the heading's name.
        rows: the links, in order.
        timestamp: when the page was written, in seconds since 1970.
    """
    lines = [f"    <h1>Links for {project}</h1>"]
    lines += [f'    <a href="{row.target}"{_attributes(row)}>{row.text}</a><br/>' for row in rows]
    return _framed(lines, timestamp)


def render_project_list(names: Iterable[str], *, timestamp: int) -> bytes:
    """Write a project list, names as they are given (upstream: lower case, ``_`` as ``-``)."""
    return _framed([f'    <a href="{name}/">{name}</a><br/>' for name in names], timestamp)


def _framed(lines: list[str], timestamp: int) -> bytes:
    head = ["<!DOCTYPE html>", "<html>", "  <body>"]
    return "\n".join([*head, *lines, "  </body>", "</html>", f"<!--TIMESTAMP {timestamp}-->"]).encode()


def _attributes(row: Row) -> str:
    text = ""
    if row.metadata_sha256:
        text += f' data-dist-info-metadata="sha256={row.metadata_sha256}"'
        text += f' data-core-metadata="sha256={row.metadata_sha256}"'
    if row.requires_python is not None:
        text += f' data-requires-python="{html.escape(row.requires_python)}"'
    if row.upload_time is not None:
        text += f' data-upload-time="{row.upload_time}"'
    return text


class FlatStyle(StrEnum):
    """How a line of a flat page looks; ``{href}`` is all that a line says."""

    EMPTY_TEXT = '<a href="{href}"></a>'  # to mid 2019, with a raw `+`
    TEXT = '<a href="{href}">{href}</a><br>'
    UNQUOTED = "<a href={href}</a><br>"  # one day of 2020-12
    UNCLOSED = '<a href="{href}"</a>{href}<br>'  # 2020-12-18 to 2021-01-04
    XHTML = '<a href="{href}">{href}</a><br/>'  # 2021-06 on


def render_flat_page(hrefs: Iterable[str], style: FlatStyle) -> bytes:
    """Write a flat page for ``--find-links``: links and nothing else, relative, without hashes."""
    return "\n".join(style.value.format(href=href) for href in hrefs).encode()


def render_vendor_page(rows: Iterable[Row], *, older: bool = False) -> bytes:
    """Write a link page that was copied from NVIDIA's index: absolute hrefs, no attributes, another frame.

    Most projects of CUDA 11 and 12 have the older of two frames.
    """
    head = ['    <meta charset="UTF-8">', "    <title>Package Index</title>"]
    anchors = [f'<a href="{row.target}">{row.text}</a>' for row in rows]
    if older:
        lines = ["<head>", *head, "</head>", "<body>", *(f"  {anchor}<br/>" for anchor in anchors), "</body>"]
    else:
        links = "<br>\n".join(f"    {anchor}" for anchor in anchors)
        lines = ["  <head>", *head, "  </head>", "  <body>", links, "  </body>"]
    return "\n".join(["<!DOCTYPE html>", "<html>", *lines, "</html>", ""]).encode()


def render_simple_page(project: str, rows: Iterable[Row], *, serial: int) -> bytes:
    """Write a project page as the default index does (PEP 503, 592, 629, 714)."""
    lines = [
        "<!DOCTYPE html>",
        "<html>",
        "  <head>",
        '    <meta name="pypi:repository-version" content="1.4">',
        f"    <title>Links for {project}</title>",
        "  </head>",
        "  <body>",
        f"    <h1>Links for {project}</h1>",
    ]
    for row in rows:
        text = ""
        if row.requires_python is not None:
            text += f' data-requires-python="{html.escape(row.requires_python)}"'
        if row.metadata_sha256:
            text += f' data-dist-info-metadata="sha256={row.metadata_sha256}"'
            text += f' data-core-metadata="sha256={row.metadata_sha256}"'
        if row.yanked is not None:
            text += f' data-yanked="{html.escape(row.yanked)}"'
        lines.append(f'    <a href="{row.target}"{text} >{row.text}</a><br />')
    return "\n".join([*lines, "  </body>", "</html>", f"<!--SERIAL {serial}-->"]).encode()


def render_simple_list(names: Iterable[str], *, serial: int) -> bytes:
    """Write the default index's project list (PEP 503)."""
    lines = ["<!DOCTYPE html>", "<html>", "  <head>"]
    lines += ['    <meta name="pypi:repository-version" content="1.4">', "    <title>Simple index</title>"]
    lines += ["  </head>", "  <body>"]
    lines += [f'    <a href="/simple/{name}/">{name}</a>' for name in names]
    return "\n".join([*lines, "  </body>", f"</html>\n<!--SERIAL {serial}-->"]).encode()


def render_json_page(project: str, rows: Sequence[Row], versions: Sequence[str], *, serial: int) -> bytes:
    """Write a project page as the default index's JSON (PEP 691, 700, 714)."""
    files = [
        {
            "filename": row.text,
            "url": row.href,
            "hashes": {"sha256": row.sha256} if row.sha256 else {},
            "requires-python": row.requires_python,
            "size": row.size,
            "upload-time": row.upload_time,
            "yanked": False if row.yanked is None else row.yanked or True,
            "core-metadata": {"sha256": row.metadata_sha256} if row.metadata_sha256 else False,
        }
        for row in rows
    ]
    meta = {"api-version": "1.4", "_last-serial": serial}
    return json.dumps({"meta": meta, "name": project, "versions": list(versions), "files": files}).encode()


def render_json_list(names: Iterable[str], *, serial: int) -> bytes:
    """Write the default index's project list as JSON (PEP 691)."""
    meta = {"api-version": "1.4", "_last-serial": serial}
    return json.dumps({"meta": meta, "projects": [{"name": name} for name in names]}).encode()


def render_listing(directory: str, entries: Iterable[tuple[str, datetime, int | None]]) -> bytes:
    """Write a directory listing in the manner of nginx, as public copies of the index are served.

    Args:
        directory: the address, from ``/`` to ``/``.
        entries: name, time of change, size in bytes; no size is a sub-directory.
    """
    title = f"Index of {html.escape(directory)}"
    lines = [f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<h1>{title}</h1><hr><pre>"]
    lines[0] += '<a href="../">../</a>\r\n'
    for name, changed, size in entries:
        shown = name if size is not None else f"{name}/"
        # nginx cuts a text at 50 characters and aligns what follows.
        text = shown if len(shown) <= LISTING_WIDTH else shown[: LISTING_WIDTH - 3] + "..>"
        padding = " " * (LISTING_WIDTH - len(text))
        href = quote(name, safe="~()*!.'") + ("" if size is not None else "/")
        amount = "-" if size is None else str(size)
        lines.append(f'<a href="{href}">{html.escape(text)}</a>{padding} {changed:%d-%b-%Y %H:%M}{amount:>20}\r\n')
    return ("".join(lines) + "</pre><hr></body>\r\n</html>\r\n").encode()
