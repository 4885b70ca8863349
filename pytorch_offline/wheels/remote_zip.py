"""METADATA out of a wheel that stays where it is: end record, central directory, one member, by HTTP ranges.

``RemoteWheelReader`` is a state machine without network: it says which bytes it wants and is fed what came. The loop
around it, ``fetch_metadata_by_ranges``, does the asking and pins every answer to the first one, so that bytes of two
generations of a file are never put together (research/libraries.md, section 2.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytorch_offline.byte_ranges import parse_content_range, parse_unsatisfied_range
from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.net import redacted
from pytorch_offline.wheels.dist_info import find_dist_info
from pytorch_offline.wheels.metadata import MAX_METADATA
from pytorch_offline.wheels.zip_format import (
    LOCAL_HEADER_SIZE,
    LONGEST_END,
    disagreement,
    find_directory,
    inflate,
    local_header_span,
    malformed,
    parse_directory,
    parse_local_header,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pytorch_offline.net import Http, Response
    from pytorch_offline.wheels.filename import WheelName

# A server may answer with less than was asked for; one that gives a few bytes at a time is not worth its while.
_MAX_REQUESTS = 64


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


class RemoteWheelReader:
    """Reads METADATA from a wheel of which only pieces are fetched.

    Feed it what ``wanted`` names until that is ``None``; then ``metadata`` is there. It may be fed less than it wanted,
    from the same start, and asks for the rest.

    Args:
        wheel: the file's name; its ``.dist-info`` directory must agree.
        size: the file's size in bytes where it is known, else learnt from the first answer.
    """

    def __init__(self, wheel: WheelName, *, size: int | None = None) -> None:
        self.metadata: bytes | None = None
        self._wheel = wheel
        self._size = size
        self._pieces: list[tuple[int, bytes]] = []
        self._steps = self._read_metadata(size)
        self.wanted: ByteRange | None = next(self._steps)

    def feed(self, start: int, data: bytes, size: int) -> None:
        """Take bytes that came: where in the file they begin, and how large the file is by the same answer.

        Raises:
            IntegrityError: ``bad-archive`` or ``bad-dist-info`` if the file is no such wheel; ``size-mismatch`` if it
                has another size than was known.
        """
        if self._size is not None and self._size != size:
            raise IntegrityError(
                "size-mismatch",
                f"{self._wheel.filename} has {size} bytes where {self._size} were expected",
                facts={"expected": self._size, "found": size},
            )
        self._size = size
        self._pieces.append((start, data))
        try:
            self.wanted = self._steps.send(size)
        except StopIteration as stop:
            self.wanted = None
            self.metadata = stop.value

    def _read_metadata(self, size: int | None) -> Generator[ByteRange, int, bytes]:
        """Go from the end record to the directory, and to METADATA; each ``yield`` asks for bytes."""
        if size is None:
            size = yield ByteRange(start=None, stop=LONGEST_END)
        tail = yield from self._bytes(max(0, size - LONGEST_END), size)
        directory = find_directory(tail, size)
        listing = yield from self._bytes(directory.offset, directory.offset + directory.size)
        members = parse_directory(listing, directory)
        name = f"{find_dist_info([member.name for member in members], self._wheel)}/METADATA"
        candidates = [member for member in members if member.name == name]
        if len(candidates) != 1:
            raise malformed(f"it has {len(candidates)} members {name}")
        member = candidates[0]
        if max(member.size, member.compressed_size) > MAX_METADATA:
            raise malformed(f"its METADATA of {member.size} bytes is not read")
        if member.offset + LOCAL_HEADER_SIZE > directory.offset:
            raise malformed(f"member {name!r} lies outside of it")
        # One request is hoped to do: a local header's extra field is rarely longer than the directory's by more.
        hoped = member.offset + LOCAL_HEADER_SIZE + len(member.raw_name) + 64 + member.compressed_size
        start = yield from self._bytes(member.offset, min(hoped, directory.offset))
        span = local_header_span(start)
        stop = member.offset + span + member.compressed_size
        if stop > directory.offset:
            raise malformed(f"member {name!r} reaches into the directory")
        data = yield from self._bytes(member.offset, stop)
        if (detail := disagreement(member, parse_local_header(data[:span]))) is not None:
            raise malformed(f"member {name!r}: {detail}")
        return b"".join(inflate(member, [data[span:]]))

    def _bytes(self, start: int, stop: int) -> Generator[ByteRange, int, bytes]:
        """Give these bytes of the file, asking for the ones that have not come yet."""
        data = bytearray()
        while (at := start + len(data)) < stop:
            for begin, piece in self._pieces:
                if begin <= at < begin + len(piece):
                    data += piece[at - begin : stop - begin]
                    break
            else:
                yield ByteRange(start=at, stop=min([stop, *(begin for begin, _ in self._pieces if begin > at)]))
        return bytes(data)


class _ChangedError(Exception):
    """The file is another one than at the first answer."""


def fetch_metadata_by_ranges(http: Http, url: str, name: WheelName, *, expected_size: int | None = None) -> bytes:
    """Read METADATA out of the wheel at a URL, without downloading the wheel.

    Raises:
        UpstreamError: ``ranges-not-served`` if the server ignores ranges or answers them wrongly; ``file-absent`` for
            any other status; ``changed-while-read`` if the file changed, and changed again at the second try; what
            ``Http.get`` raises.
        IntegrityError: ``bad-archive``, ``bad-dist-info`` or ``size-mismatch`` if the file is no such wheel.
    """
    try:
        return _read_once(http, url, name, expected_size)
    except _ChangedError:
        # A new generation was put there in the middle; it will hardly happen twice.
        try:
            return _read_once(http, url, name, expected_size)
        except _ChangedError as change:
            raise UpstreamError(
                "changed-while-read",
                f"{redacted(url)} changes while it is read: {change}",
                facts={"url": redacted(url)},
            ) from change


def _read_once(http: Http, url: str, name: WheelName, expected_size: int | None) -> bytes:
    reader = RemoteWheelReader(name, size=expected_size)
    pin: Mapping[str, str] | None = None
    for _ in range(_MAX_REQUESTS):
        if reader.wanted is None:
            break
        response = _ask(http, url, reader.wanted, pin)
        start, size = _checked_range(response, reader.wanted, url)
        validators = _validators(response, size)
        if pin is not None and pin != validators:
            raise _ChangedError(f"{dict(pin)}, then {dict(validators)}")
        pin = validators
        reader.feed(start, response.body, size)
    if reader.metadata is None:
        raise _not_served(url, f"{_MAX_REQUESTS} requests were not enough")
    return reader.metadata


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
        raise _not_served(url, f"its Content-Range is {said!r}")
    first, stop, size = span.first, span.last + 1, span.total
    start = max(0, size - wanted.stop) if wanted.start is None else wanted.start
    end = size if wanted.start is None else wanted.stop
    if first != start or not first < stop <= min(end, size) or len(response.body) != stop - first:
        raise _not_served(url, f"for {wanted.header} it sends {len(response.body)} bytes as {said!r}")
    return first, size


def _validators(response: Response, size: int) -> dict[str, str]:
    """Gather what must stay the same from answer to answer: the ETag, else the time of change; and the size."""
    for name in ("ETag", "Last-Modified"):
        if name in response.headers:
            return {name: response.headers[name], "size": str(size)}
    return {"size": str(size)}


def _refusal(url: str, detail: str, pin: Mapping[str, str] | None) -> Exception:
    """Judge a range that was not served: a server that served one before has another file now."""
    return _ChangedError(detail) if pin is not None else _not_served(url, detail)


def _not_served(url: str, detail: str) -> UpstreamError:
    return UpstreamError(
        "ranges-not-served",
        f"{redacted(url)} cannot be read by ranges: {detail}",
        facts={"url": redacted(url)},
    )
