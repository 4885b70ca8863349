"""What is answered to a GET or HEAD of something that is there: status, headers, and which of its bytes.

A function of values: the request's fields and a representation (RFC 9110, section 3.2), which is one sequence of bytes
in memory, on the disk or on its way. The handler carries out what is decided here.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytorch_offline.server.protocol.conditions import Verdict, judge_conditions, range_applies
from pytorch_offline.server.protocol.ranges import Span, parse_ranges

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_NEW_LINE = "\r\n"
# Browsers are not to take a page for something that its type does not say (WHATWG Fetch, section 3.6).
_NO_SNIFFING = ("X-Content-Type-Options", "nosniff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """A sequence of bytes that a request may get, and what is said of it.

    Args:
        size: how many bytes.
        content_type: as it is sent.
        etag: strong and quoted; None if these bytes cannot be told from others yet, and then there are no ranges.
        modified: when it last changed, to the second, if that is known.
        cache_control: how long it may be kept.
        vary: which headers of the request decided about it.
        content_encoding: ``gzip``, or None.
        status: 200, unless the page says something of its own.
        headers: what else is said of it, with every status.
    """

    size: int
    content_type: str
    etag: str | None
    modified: datetime | None
    cache_control: str
    vary: tuple[str, ...] = ()
    content_encoding: str | None = None
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of the representation, and what is sent before them."""

    head: bytes
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An answer: its ``parts`` and then ``tail`` are its content; a HEAD has the headers alone."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...] = ()
    tail: bytes = b""


def decide(method: str, field: Callable[[str], str | None], there: Representation) -> Decision:
    """Decide the answer to a GET or HEAD.

    Args:
        method: ``GET`` or ``HEAD``.
        field: gives a header of the request by name, several of one name joined by commas.
        there: what the path has for this client.
    """
    if there.status is HTTPStatus.OK:
        verdict = judge_conditions(field, etag=there.etag, modified=there.modified)
        if verdict is Verdict.NOT_MODIFIED:
            return Decision(status=HTTPStatus.NOT_MODIFIED, headers=_validators(there))
        if verdict is Verdict.FAILED:
            return _refusal(HTTPStatus.PRECONDITION_FAILED, there)
        ranges = field("Range") if method == "GET" and there.etag is not None else None  # section 14.2: for GET alone
        if ranges is not None and range_applies(field("If-Range"), etag=there.etag, modified=there.modified):
            spans = parse_ranges(ranges, there.size)
            if spans is not None:
                return _ranged(spans, there) if spans else _unsatisfiable(there)
    whole = Span(start=0, stop=there.size)
    headers = (*_validators(there), ("Content-Type", there.content_type), *_length(there.size))
    return Decision(status=there.status, headers=headers, parts=(Part(head=b"", span=whole),) if there.size else ())


def _validators(there: Representation) -> tuple[tuple[str, str], ...]:
    """The fields that a 200 and a 304 share (section 15.4.5), and that tell what ranges can be had."""
    headers = [("Cache-Control", there.cache_control)]
    if there.etag is not None:
        headers += [("ETag", there.etag), ("Accept-Ranges", "bytes")]
    if there.modified is not None:
        headers.append(("Last-Modified", _http_date(there.modified)))
    if there.vary:
        headers.append(("Vary", ", ".join(there.vary)))
    if there.content_encoding is not None:
        headers.append(("Content-Encoding", there.content_encoding))
    return (*headers, _NO_SNIFFING, *there.headers)


@functools.lru_cache(maxsize=1024)
def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _length(size: int) -> tuple[tuple[str, str]]:
    return (("Content-Length", str(size)),)


def _ranged(spans: tuple[Span, ...], there: Representation) -> Decision:
    if len(spans) == 1:
        (span,) = spans
        headers = (
            *_validators(there),
            ("Content-Type", there.content_type),
            ("Content-Range", _content_range(span, there.size)),
            *_length(span.stop - span.start),
        )
        return Decision(status=HTTPStatus.PARTIAL_CONTENT, headers=headers, parts=(Part(head=b"", span=span),))
    # A boundary that these bytes do not contain unless somebody found a hash that a file holds of itself.
    boundary = hashlib.sha256(f"{there.etag} {spans}".encode()).hexdigest()[:32]
    parts = tuple(
        Part(head=_part_head(boundary, span, there, first=number == 0), span=span) for number, span in enumerate(spans)
    )
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = sum(len(part.head) + part.span.stop - part.span.start for part in parts) + len(tail)
    headers = (
        *_validators(there),
        ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
        *_length(size),
    )
    return Decision(status=HTTPStatus.PARTIAL_CONTENT, headers=headers, parts=parts, tail=tail)


def _part_head(boundary: str, span: Span, there: Representation, *, first: bool) -> bytes:
    return (
        f"{'' if first else _NEW_LINE}--{boundary}\r\n"
        f"Content-Type: {there.content_type}\r\n"
        f"Content-Range: {_content_range(span, there.size)}\r\n\r\n"
    ).encode()


def _content_range(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size}"


def _unsatisfiable(there: Representation) -> Decision:
    return _refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, there, ("Content-Range", f"bytes */{there.size}"))


def _refusal(status: HTTPStatus, there: Representation, *headers: tuple[str, str]) -> Decision:
    kept = [header for header in _validators(there) if header[0] != "Content-Encoding"]
    return Decision(status=status, headers=(*kept, *headers, *_length(0)))
