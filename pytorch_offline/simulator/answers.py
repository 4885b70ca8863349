"""Answers: from a request and a resource to a status, headers and a part of a body; no sockets.

The rules of S3 behind CloudFront: conditional requests (RFC 9110, section 13), one byte range (section 14; a list of
ranges is answered with the whole, as S3 does), 403 with an XML body for what is missing (research/upstream-index.md,
section 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from email.utils import format_datetime, parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.simulator.bodies import Body, MemoryBody, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_ONE_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")


class Host(StrEnum):
    """The two hosts that upstream's pages name."""

    FIRST = "first"  # download.pytorch.org: CloudFront and S3
    SECOND = "second"  # download-r2.pytorch.org: Cloudflare and R2; here also the default index


class Framing(StrEnum):
    """How a body's end is told."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, and how it goes wrong.

    ``start`` and ``length`` say which part of the body follows. The remaining fields are for faults: ``promised`` is
    a Content-Length that is not ``length``; ``cut_at`` stops after so many body bytes, and with ``reset`` by a TCP
    reset; ``flips`` are positions in the whole body whose byte is inverted; ``rate`` is in bytes per second; the
    sending pauses at ``stall_at`` bytes for ``stall_seconds``, and before its first byte for ``delay``; ``spills``
    sends all of the body whatever was promised.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Body
    start: int = 0
    length: int = 0
    promised: int | None = None
    cut_at: int | None = None
    reset: bool = False
    silent: bool = False
    flips: tuple[int, ...] = ()
    rate: int | None = None
    stall_at: int | None = None
    stall_seconds: float = 0
    delay: float = 0
    framing: Framing = Framing.LENGTH
    spills: bool = False

    def with_header(self, name: str, value: str) -> Answer:
        """The same answer with a header set."""
        kept = tuple(header for header in self.headers if header[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))

    def header(self, name: str) -> str | None:
        """The value of a header."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def page_answer(status: int, content_type: str, text: bytes, **headers: str) -> Answer:
    """An answer with a small body of its own; keyword names are header names with ``_`` for ``-``."""
    extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(
        status=status, headers=(("Content-Type", content_type), *extra), body=MemoryBody(text), length=len(text)
    )


def missing_answer(host: Host) -> Answer:
    """What a host says about an address that it does not have: 403 and XML, or 404 and HTML."""
    if host is Host.FIRST:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message>'
            "<RequestId>5W6RRV8DN7QQB4HK</RequestId><HostId>bG9vcGJhY2s=</HostId></Error>"
        )
        return page_answer(403, "application/xml", text.encode())
    return page_answer(404, "text/html", b"<!DOCTYPE html>\n<html><head><title>Not Found</title></head></html>\n")


def resource_answer(headers: Mapping[str, str], resource: Resource) -> Answer:
    """Answer a GET (or, but for the body, a HEAD) of something that exists.

    Args:
        headers: the request's headers, names in lower case.
        resource: what lies at the address.
    """
    if resource.location is not None:
        return page_answer(301, "text/html", b"", Location=resource.location)
    common = [("ETag", resource.etag), ("Last-Modified", http_date(resource.last_modified))]
    if resource.cache_control is not None:
        common.append(("Cache-Control", resource.cache_control))
    if _is_unchanged(headers, resource):
        return Answer(status=304, headers=tuple(common), body=MemoryBody(b""))
    common += [("Content-Type", resource.content_type), ("Accept-Ranges", "bytes")]
    size = resource.body.size
    part = _asked_part(headers, resource)
    if part is None:
        return Answer(status=200, headers=tuple(common), body=resource.body, length=size)
    start, stop = part
    if start >= stop:
        text = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidRange</Code></Error>'
        return page_answer(416, "application/xml", text, Content_Range=f"bytes */{size}")
    common.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Answer(status=206, headers=tuple(common), body=resource.body, start=start, length=stop - start)


def http_date(moment: datetime) -> str:
    """Write a moment as HTTP headers do; ``moment`` must be in UTC."""
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def _is_unchanged(headers: Mapping[str, str], resource: Resource) -> bool:
    if asked := headers.get("if-none-match"):
        tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
        return "*" in tags or resource.etag in tags
    since = _read_date(headers.get("if-modified-since"))
    return since is not None and resource.last_modified.replace(microsecond=0) <= since


def _read_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _asked_part(headers: Mapping[str, str], resource: Resource) -> tuple[int, int] | None:
    """The part asked for, from start to before stop; empty if it lies outside; None for the whole body."""
    match = _ONE_RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if match is None or not (match["first"] or match["last"]):
        return None
    condition = headers.get("if-range")
    if condition is not None and condition not in (resource.etag, http_date(resource.last_modified)):
        return None
    size = resource.body.size
    if not match["first"]:
        return max(0, size - int(match["last"])), size if int(match["last"]) else 0
    start = int(match["first"])
    if match["last"] and int(match["last"]) < start:
        return None
    stop = min(size, int(match["last"]) + 1) if match["last"] else size
    return (start, stop) if start < size else (size, size)
