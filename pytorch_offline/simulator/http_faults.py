"""Faults against HTTP's own rules: parts of files, codings, framing, redirects, validators.

Like those of ``faults.py`` they are small and composable: several rules that match one request apply one after another.
"""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field, replace

from pytorch_offline.simulator.answers import Answer, Framing, page_answer
from pytorch_offline.simulator.bodies import MemoryBody

_PARTIAL_CONTENT = 206
# Long ago, so that a date is a strong validator; one minute later for each answer.
_RESTLESS_DATE = "Thu, 01 Jan 2026 00:{minute:02}:00 GMT"
_BOUNDARY = "3d6b6a416f9b5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """The request is taken, and nothing is answered for ``seconds``; then comes the answer."""

    seconds: float = 3600

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, delay=self.seconds)


@dataclass(slots=True, kw_only=True)
class Restless:
    """A validator that is another one with each answer: hosts behind a balancer that do not agree about a file.

    ``name`` is ``ETag`` or ``Last-Modified``; an ETag that says nothing hides behind no date, as both are sent.
    """

    name: str = "ETag"
    _count: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        with self._lock:
            self._count += 1
            value = f'"restless-{self._count}"'
            if self.name.lower() == "last-modified":
                value = _RESTLESS_DATE.format(minute=self._count % 60)
        return answer.with_header(self.name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """A header is left out."""

    name: str

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        kept = tuple(header for header in answer.headers if header[0].lower() != self.name.lower())
        return replace(answer, headers=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gzipped:
    """The body is compressed although identity was asked for; ``told`` says whether a header admits it.

    Not ``coded``: the header says gzip, and the bytes are as they should be.
    """

    told: bool = True
    coded: bool = True

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if self.coded:
            body = gzip.compress(answer.body.read(answer.start, answer.length), 1)
            answer = replace(answer, body=MemoryBody(body), start=0, length=len(body))
        return answer.with_header("Content-Encoding", "gzip") if self.told else answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Spilling:
    """More is sent than Content-Length announces, by ``surplus`` bytes, on a connection that stays open."""

    surplus: int

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, promised=max(0, answer.length - self.surplus), spills=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """The body is chunked, or (``Framing.CLOSE``) ends with the connection; in neither case is its length told."""

    framing: Framing = Framing.CHUNKED

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, framing=self.framing)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPart:
    """A 206 that says honestly that it carries another part than was asked for.

    It begins ``shift`` bytes further on (or back), and is no longer than ``longest``.
    """

    shift: int = 0
    longest: int | None = None

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status != _PARTIAL_CONTENT:
            return answer
        size = answer.body.size
        start = min(max(0, answer.start + self.shift), size - 1)
        stop = min(size, answer.start + answer.length + max(0, self.shift))
        if self.longest is not None:
            stop = min(stop, start + self.longest)
        stop = max(stop, start + 1)
        spoilt = replace(answer, start=start, length=stop - start)
        return spoilt.with_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipart:
    """A 206 for one part comes as ``multipart/byteranges`` (RFC 9110, section 15.3.7.2, forbids that)."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status != _PARTIAL_CONTENT:
            return answer
        head = (
            f"--{_BOUNDARY}\r\nContent-Type: {answer.header('Content-Type')}\r\n"
            f"Content-Range: {answer.header('Content-Range')}\r\n\r\n"
        )
        part = answer.body.read(answer.start, answer.length)
        body = head.encode() + part + f"\r\n--{_BOUNDARY}--\r\n".encode()
        spoilt = Without(name="Content-Range").apply(replace(answer, body=MemoryBody(body), start=0, length=len(body)))
        return spoilt.with_header("Content-Type", f"multipart/byteranges; boundary={_BOUNDARY}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsatisfied:
    """A request for a part that exists is refused with 416; ``total`` is what Content-Range says of the length."""

    total: int | None = None

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status != _PARTIAL_CONTENT:
            return answer
        headers = {} if self.total is None else {"Content_Range": f"bytes */{self.total}"}
        return page_answer(416, "application/xml", b"<Error><Code>InvalidRange</Code></Error>", **headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """A redirect to ``location``: to the address itself for a loop, or to where a portal's login page is."""

    location: str
    status: int = 302

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        del answer
        return page_answer(self.status, "text/html", b"", Location=self.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Status 200 and a page of HTML, under whatever type its server gives everything."""

    content_type: str = "application/octet-stream"
    text: bytes = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form></form></body></html>\n"

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        del answer
        return page_answer(200, self.content_type, self.text)
