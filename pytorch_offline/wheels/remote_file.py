"""Pieces of a file that stays where it is, by HTTP ranges: all of one generation (research/libraries.md, 2.6)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.byte_ranges import parse_content_range, parse_unsatisfied_range
from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytorch_offline.net import Http, Response

# A server may answer with less than was asked for; one that gives a few bytes at a time is not worth its while.
MAX_REQUESTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """Bytes ``start`` to ``stop`` (not included), or the last ``stop`` bytes where ``start`` is ``None``."""

    start: int | None
    stop: int

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.stop - (self.start or 0)

    @property
    def header(self) -> str:
        """The value of the ``Range`` header that asks for it."""
        return f"bytes=-{self.stop}" if self.start is None else f"bytes={self.start}-{self.stop - 1}"


class ChangedError(Exception):
    """The file is another one than at the first answer."""


class RemoteFile:
    """A file behind a URL, of which pieces are fetched, all of one generation.

    Args:
        seconds: how long all of it may take; None for as long as ``http`` is patient.
        clock: seconds that only go forward.
    """

    def __init__(
        self, http: Http, url: str, *, seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._http = http
        self._seconds = seconds
        self._clock = clock
        self._begun = clock()
        self._requests = 0
        self._pin: Mapping[str, str] | None = None

    def fetch(self, wanted: ByteRange) -> tuple[int, bytes, int]:
        """Fetch a piece, or its beginning: where it begins, its bytes, and how large the whole file is.

        Raises:
            ChangedError: the file is another one than at the first answer.
            UpstreamError: ``ranges-not-served``; ``file-absent``; ``too-slow``; what ``Http.get`` raises.
        """
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise not_served(self.url, f"{MAX_REQUESTS} requests were not enough")
        if self._seconds is not None and self._clock() - self._begun > self._seconds:
            detail = f"{redacted(self.url)} cannot be read within {self._seconds:g} seconds"
            raise UpstreamError("too-slow", detail, facts={"url": redacted(self.url)})
        response = _ask(self._http, self.url, wanted, self._pin)
        start, size = _checked_range(response, wanted, self.url)
        validators = _validators(response, size)
        if self._pin is not None and self._pin != validators:
            raise ChangedError(f"{dict(self._pin)}, then {dict(validators)}")
        self._pin = validators
        return start, response.body, size


def _ask(http: Http, url: str, wanted: ByteRange, pin: Mapping[str, str] | None) -> Response:
    headers = {"Range": wanted.header}
    etag = (pin or {}).get("ETag", "")
    if etag.startswith('"'):  # If-Range takes strong validators only (RFC 9110, section 13.1.5)
        headers["If-Range"] = etag
    try:
        response = http.get(url, headers=headers, max_bytes=wanted.length)
    except UpstreamError as error:
        if error.code == "too-large":  # more than was asked for; the rest is not read
            raise _refusal(url, "it sends the whole file", pin) from error
        raise
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        return response
    if response.status == HTTPStatus.OK:
        raise _refusal(url, "it sends the whole file", pin)
    if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        total = parse_unsatisfied_range(response.headers)
        # Some servers refuse the last N bytes of a file that has fewer: ask for all of it.
        if total is not None and wanted.start is None and 0 < total < wanted.length:
            return _ask(http, url, ByteRange(start=0, stop=total), pin)
        raise _refusal(url, "it answers 416", pin)
    raise UpstreamError(
        "file-absent",
        f"{redacted(url)} answers {response.status}",
        facts={"url": redacted(url), "status": response.status},
    )


def _checked_range(response: Response, wanted: ByteRange, url: str) -> tuple[int, int]:
    """Read ``Content-Range`` as where the body begins and how large the file is; it must be what was asked for."""
    said = response.headers.get("Content-Range", "")
    span = parse_content_range(response.headers)
    if span is None or span.total is None:
        raise not_served(url, f"its Content-Range is {said!r}")
    first, stop, size = span.first, span.last + 1, span.total
    start = max(0, size - wanted.stop) if wanted.start is None else wanted.start
    end = size if wanted.start is None else wanted.stop
    if first != start or not first < stop <= min(end, size) or len(response.body) != stop - first:
        raise not_served(url, f"for {wanted.header} it sends {len(response.body)} bytes as {said!r}")
    return first, size


def _validators(response: Response, size: int) -> dict[str, str]:
    """Gather what must stay the same from answer to answer: the ETag, else the time of change; and the size."""
    for name in ("ETag", "Last-Modified"):
        if name in response.headers:
            return {name: response.headers[name], "size": str(size)}
    return {"size": str(size)}


def _refusal(url: str, detail: str, pin: Mapping[str, str] | None) -> Exception:
    """Judge a range that was not served: a server that served one before has another file now."""
    return ChangedError(detail) if pin is not None else not_served(url, detail)


def changed_while_read(url: str, change: ChangedError) -> UpstreamError:
    """Make the error for a file that another one replaced in the middle."""
    return UpstreamError(
        "changed-while-read",
        f"{redacted(url)} changes while it is read: {change}",
        facts={"url": redacted(url)},
    )


def not_served(url: str, detail: str) -> UpstreamError:
    """Make the error for a server from which ranges cannot be had."""
    return UpstreamError(
        "ranges-not-served",
        f"{redacted(url)} cannot be read by ranges: {detail}",
        facts={"url": redacted(url)},
    )
