"""Answers from memory that were given before, given again to requests of the very same bytes.

A thousand machines of one kind that begin together ask the same things in the same words. What the rules once decided
for such a request is sent again without a task, a request or a response being made for it, for as long as the site
still has what it was made of; all but the Date is the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.server.monitoring.access_log import Served

# What is kept: some dozen projects, as a few kinds of clients ask for them. At most 16 MB of pages that the site has
# forgotten by now; larger ones take longer to send than to decide about.
MOST_ANSWERS = 512
MOST_SEEN = 4096
LONGEST_CONTENT = 32 * 1024
LONGEST_REQUEST = 2048
_END = b"\r\n\r\n"


class Repeatable(web.Response):
    """A response from memory that may be given again, for as long as ``still`` says that it is so."""

    still: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """An answer in the bytes that went out.

    Args:
        head: the first line and the fields, up to the value of Date, which is the last.
        content: the bytes of the page.
        still: whether the site has it still.
        served: what the log says of it; who and when are another time's.
    """

    head: bytes
    content: bytes
    still: Callable[[], bool]
    served: Served

    def render(self, date: bytes) -> bytes:
        """Make the whole answer."""
        return b"".join((self.head, date, _END, self.content))


def repeat_of(response: web.StreamResponse, served: Served) -> Repeat | None:
    """Make what can be given again of an answer that was just sent; None if that cannot be."""
    if not isinstance(response, Repeatable) or response.still is None or not response.keep_alive:
        return None
    content = response.body if response.body is not None else b""
    if not isinstance(content, bytes) or len(content) > LONGEST_CONTENT or hdrs.DATE not in response.headers:
        return None
    fields = [f"{name}: {value}\r\n" for name, value in response.headers.items() if name != hdrs.DATE]
    first = f"{served.version} {response.status} {response.reason}\r\n"
    return Repeat(
        head=f"{first}{''.join(fields)}Date: ".encode(),
        content=content,
        still=response.still,
        served=served,
    )


class Repeats:
    """The answers that are kept, by the bytes of their requests.

    What is asked a second time is kept, so that requests that never come again cost nothing and push nothing out.
    """

    def __init__(self) -> None:
        self._answers: dict[bytes, Repeat] = {}
        self._seen: dict[int, None] = {}  # hashes of requests, the oldest first
        self._second = -1
        self._date = b""

    def find(self, request: bytes) -> Repeat | None:
        """Give the answer to a request, if it is still what the site has."""
        answer = self._answers.get(request)
        if answer is None or answer.still():
            return answer
        del self._answers[request]
        return None

    def wants(self, request: bytes) -> bool:
        """Say whether the answer to a request is to be kept: whether it was asked before."""
        mark = hash(request)
        if mark in self._seen:
            return True
        while len(self._seen) >= MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[mark] = None
        return False

    def keep(self, request: bytes, answer: Repeat) -> None:
        """Remember an answer, and forget the oldest where there are too many."""
        while len(self._answers) >= MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._answers[request] = answer

    def date(self, now: float | None = None) -> bytes:
        """Give the value of Date, in seconds since the epoch or now; made once a second."""
        second = int(time.time() if now is None else now)
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date
