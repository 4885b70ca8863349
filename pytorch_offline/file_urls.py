"""``file://`` URLs as answers of a static web server, so that a directory can stand in for an index.

A file is served with ranges and validators, a directory as its ``index.html`` or else as a generated listing of links
(what pip does for ``file:`` indexes, plus the listing), anything else as 403 or 404. ``connections.py`` mounts it.
"""

from __future__ import annotations

import html
import io
import os
import re
import stat
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote_from_bytes

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from pytorch_offline.addresses import file_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SINGLE_RANGE = re.compile(r"\s*bytes\s*=\s*(?P<first>[0-9]{0,19})\s*-\s*(?P<last>[0-9]{0,19})\s*", re.IGNORECASE)


def requested_range(header: str | None, size: int) -> range | None:
    """Read a ``Range`` header against a body of ``size`` bytes (RFC 9110, section 14.1.2).

    Returns the bytes to serve, an empty range where the request cannot be satisfied (status 416), or ``None`` where
    the header must be ignored: absent, malformed, or several ranges.
    """
    match = _SINGLE_RANGE.fullmatch(header or "")
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        return range(max(0, size - int(match["last"])), size)
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return None
    return range(first, min(last + 1, size)) if first < size else range(0)


def render_listing(names: Mapping[bytes, bool]) -> bytes:
    """Make a page of links from the names in a directory, each with whether it is a directory itself."""
    lines = ["<!DOCTYPE html>", "<html><head><meta charset='utf-8'></head><body>"]
    for name, is_directory in sorted(names.items()):
        slash = "/" if is_directory else ""
        text = html.escape(name.decode("utf-8", "replace")) + slash
        # "./" keeps a name such as "a:b" from being read as a URL with a scheme.
        lines.append(f'<a href="./{quote_from_bytes(name)}{slash}">{text}</a><br>')
    lines.append("</body></html>")
    return "\n".join(lines).encode("utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: HTTPStatus
    body: BinaryIO = field(default_factory=io.BytesIO)
    length: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


class FileAdapter(BaseAdapter):
    """Answers ``GET`` requests for ``file://`` URLs, as a ``requests`` transport adapter."""

    def send(  # type: ignore[override]  # the further arguments (timeouts, certificates, proxies) mean nothing here
        self, request: requests.PreparedRequest, **_: object
    ) -> requests.Response:
        """Answer one request; what cannot be opened is a status, never an exception."""
        url = request.url or ""
        response = requests.Response()
        response.request = request
        answer, response.url = _answer(url, request.headers)
        response.status_code = int(answer.status)
        response.reason = answer.status.phrase
        response.headers = CaseInsensitiveDict({**answer.headers, "Content-Length": str(answer.length)})
        response.raw = HTTPResponse(
            body=answer.body,
            headers=dict(response.headers),
            status=int(answer.status),
            preload_content=False,
            decode_content=False,
            request_method="GET",
        )
        return response

    def close(self) -> None:
        """Hold nothing."""


def _answer(url: str, headers: Mapping[str, str]) -> tuple[_Answer, str]:
    path = file_path(url)
    if path is None:
        return _Answer(status=HTTPStatus.NOT_FOUND), url
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            url = url if url.endswith("/") else url + "/"
            index = path / "index.html"
            return (_file(index, headers) if index.is_file() else _listing(path)), url
        if not stat.S_ISREG(kind) or url.endswith("/"):
            return _Answer(status=HTTPStatus.NOT_FOUND), url
        return _file(path, headers), url
    except PermissionError:
        return _Answer(status=HTTPStatus.FORBIDDEN), url
    except (OSError, ValueError):  # absent, a name too long, a loop of links, a name that the system cannot encode
        return _Answer(status=HTTPStatus.NOT_FOUND), url


def _listing(path: Path) -> _Answer:
    with os.scandir(os.fsencode(path)) as entries:
        body = render_listing({entry.name: entry.is_dir() for entry in entries})
    return _Answer(
        status=HTTPStatus.OK,
        body=io.BytesIO(body),
        length=len(body),
        headers={"Content-Type": "text/html; charset=utf-8"},
    )


def _file(path: Path, headers: Mapping[str, str]) -> _Answer:
    file = path.open("rb")
    try:
        facts = os.fstat(file.fileno())
        etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        common = {
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
            "Content-Type": "text/html" if path.suffix == ".html" else "application/octet-stream",
        }
        if headers.get("If-None-Match") == etag:
            file.close()
            return _Answer(status=HTTPStatus.NOT_MODIFIED, headers=common)
        # A changed file is served whole (RFC 9110, section 13.1.5).
        fresh = headers.get("If-Range", etag) in {etag, common["Last-Modified"]}
        wanted = requested_range(headers.get("Range"), facts.st_size) if fresh else None
        if wanted is None:
            return _Answer(status=HTTPStatus.OK, body=file, length=facts.st_size, headers=common)
        if not wanted:
            file.close()
            unsatisfied = {**common, "Content-Range": f"bytes */{facts.st_size}"}
            return _Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=unsatisfied)
        file.seek(wanted.start)
        return _Answer(
            status=HTTPStatus.PARTIAL_CONTENT,
            body=io.BufferedReader(_Window(file, len(wanted))),
            length=len(wanted),
            headers={**common, "Content-Range": f"bytes {wanted.start}-{wanted.stop - 1}/{facts.st_size}"},
        )
    except BaseException:
        file.close()
        raise


class _Window(io.RawIOBase):
    """The next ``length`` bytes of an open file, which it closes."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is not at run time on 3.11
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
