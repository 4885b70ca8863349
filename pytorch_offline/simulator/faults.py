"""Faults that can be switched on per request: from a sound answer to one that goes wrong.

Each fault was seen on this index or its neighbours (research/upstream-index.md, section 6; research/mirrors.md,
sections 8 and 9). Offsets are in bytes of the response's body, unless said otherwise.
"""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytorch_offline.simulator.answers import Answer, Host, page_answer
from pytorch_offline.simulator.bodies import Body, MemoryBody

SCRIPT = (
    b"<script>(function(){function c(){var b=a.contentDocument;if(b){var d=b.createElement('script');"
    b"d.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';b.getElementsByTagName('head')[0].appendChild(d)}}"
    b"if(document.body){var a=document.createElement('iframe');a.height=1;document.body.appendChild(a);"
    b"if(0<1&&a)c();}})();</script></body>\n"
)


class Fault(Protocol):
    """A way to go wrong: from the sound answer to the one that is sent."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The connection is reset after ``offset`` bytes of the body; None: before any byte of the response."""

    offset: int | None = None

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, cut_at=self.offset or 0, reset=True, silent=self.offset is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """The connection is closed in good order after ``offset`` bytes, although more were promised."""

    offset: int

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, cut_at=self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongBytes:
    """The bytes at these positions of the whole file are inverted; length and headers are as always."""

    positions: tuple[int, ...] = (0,)

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, flips=(*answer.flips, *self.positions))


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An error status with a short HTML body; ``retry_after`` goes into the header of that name."""

    code: int
    retry_after: str | None = None

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        del answer
        text = f"<html><body><h1>{self.code}</h1></body></html>\n".encode()
        headers = {} if self.retry_after is None else {"Retry_After": self.retry_after}
        return page_answer(self.code, "text/html", text, **headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRange:
    """A request for a part is answered with 200 and the whole body."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status not in (206, 416):
            return answer
        kept = tuple(header for header in answer.headers if header[0] != "Content-Range")
        return replace(answer, status=200, headers=kept, start=0, length=answer.body.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongContentRange:
    """A 206 whose Content-Range lies: positions moved by ``shift``, or another total."""

    shift: int = 1
    total: int | None = None

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status != 206:  # noqa: PLR2004  (Partial Content)
            return answer
        first, last = answer.start + self.shift, answer.start + answer.length - 1 + self.shift
        total = answer.body.size if self.total is None else self.total
        return answer.with_header("Content-Range", f"bytes {first}-{last}/{total}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPart:
    """A 206 whose headers agree with the request while its bytes come from ``shift`` further on."""

    shift: int = 1

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        if answer.status != 206:  # noqa: PLR2004  (Partial Content)
            return answer
        start = min(answer.start + self.shift, answer.body.size - answer.length)
        return replace(answer, start=max(start, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The file is replaced in mid-download: this response breaks off after ``offset`` bytes of the old file; from the
    next request on there is another one at the address, with its own ETag, date and length.
    """  # noqa: D205  (one sentence)

    body: bytes
    offset: int = 0

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, cut_at=self.offset, reset=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A bot challenge or a login form: status 200, HTML, no link in it."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        del answer
        text = (
            "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><script>"
            "var s=document.createElement('script');s.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';"
            "document.head.appendChild(s);</script></body></html>"
        )
        return page_answer(200, "text/html; charset=UTF-8", text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedScript:
    """A bot-challenge loader between the last link and ``</html>``, with ``</body>`` swallowed into it (2026-01-20)."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        page = answer.body.read(0, answer.body.size)
        links, found, rest = page.rpartition(b"<br/>\n")
        if not found:
            return answer
        spoilt = links + found + SCRIPT + rest.replace(b"  </body>\n", b"", 1)
        return replace(answer, body=MemoryBody(spoilt), start=0, length=len(spoilt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The body trickles at ``bytes_per_second``."""

    bytes_per_second: int

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, rate=self.bytes_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Nothing more comes for ``seconds`` after ``offset`` bytes of the body; then it goes on."""

    offset: int = 0
    seconds: float = 3600

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, stall_at=self.offset, stall_seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """Status 200 and a body of no bytes, correctly announced."""

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, status=200, start=0, length=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LyingLength:
    """Content-Length is off by ``delta``; with a promise too large the connection is closed after the real body."""

    delta: int

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        promised = max(0, answer.length + self.delta)
        return replace(answer, promised=promised, cut_at=min(answer.length, promised))


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header has another value, such as an ETag that is a page's, or no Accept-Ranges."""

    name: str
    value: str

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return answer.with_header(self.name, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """Another body under sound headers: a stale copy of a cache, say."""

    body: bytes

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, body=MemoryBody(self.body), start=0, length=len(self.body))


@dataclass(slots=True, kw_only=True)
class FaultRule:
    """When a fault strikes: which requests, how often still; ``hits`` counts those that it struck.

    ``spares`` lets every so-many-th of the requests that it would take pass unharmed.
    """

    pattern: str
    fault: Fault
    method: str | None
    skip: int
    left: int | None
    host: Host | None = None
    spares: int | None = None
    hits: int = 0
    seen: int = 0

    def strikes(self, method: str, path: str, host: Host) -> bool:
        """Whether the rule takes this request; counts it."""
        if self.host not in (None, host):
            return False
        if not fnmatch.fnmatchcase(path, self.pattern) or (self.method not in (None, method)) or self.left == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.seen += 1
        if self.spares is not None and self.seen % self.spares == 0:
            return False
        if self.left is not None:
            self.left -= 1
        self.hits += 1
        return True


@dataclass(slots=True)
class Faults:
    """The faults that are switched on; safe from many threads."""

    _rules: list[FaultRule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        pattern: str,
        fault: Fault,
        *,
        times: int | None = 1,
        skip: int = 0,
        method: str | None = "GET",
        host: Host | None = None,
        spares: int | None = None,
    ) -> FaultRule:
        """Switch a fault on.

        Args:
            pattern: a shell pattern (``*``, ``?``, ``[…]``) for the decoded path, e.g. ``/whl/cu121/torch-2.4.0*``.
            fault: what happens. Several rules that match one request apply one after another.
            times: how many requests are struck; None for all.
            skip: how many matching requests pass unharmed before.
            method: which requests; None for every method.
            host: on which host; None for both.
            spares: every so-many-th matching request passes unharmed: 3 is a server that answers every third one.
        """
        rule = FaultRule(pattern=pattern, fault=fault, method=method, skip=skip, left=times, host=host, spares=spares)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._rules.clear()

    def striking(self, method: str, path: str, host: Host) -> list[Fault]:
        """The faults that take one request, in the order in which they were added."""
        with self._lock:
            return [rule.fault for rule in self._rules if rule.strikes(method, path, host)]


def flipped(body: Body, start: int, length: int, flips: tuple[int, ...]) -> bytes:
    """Read a part of a body with the bytes at some positions inverted."""
    data = body.read(start, length)
    inside = [position - start for position in flips if start <= position < start + length]
    if not inside:
        return data
    spoilt = bytearray(data)
    for position in inside:
        spoilt[position] ^= 0xFF
    return bytes(spoilt)
