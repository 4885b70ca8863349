"""What a server counts of its answers: plain sums, added up as they are sent and read when somebody asks.

What may be a key is bounded: kinds of paths are few and named here, a status is one of HTTP's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from pytorch_offline.server.monitoring.access_log import content_sent

if TYPE_CHECKING:
    from collections.abc import Sized

    from aiohttp import web

    from pytorch_offline.server.monitoring.access_log import Log, Served

KINDS = ("wheel", "metadata", "page", "lock", "manifest", "own", "other")
# The server's own pages: for people, for whoever watches it.
_OWN = frozenset({"/", "/health", "/metrics"})
NO_REQUEST = "none"  # a connection was ended before there was a whole request


def kind_of(target: str) -> str:
    """Say what kind of thing was asked for, by the target as it came on the wire."""
    path = target.partition("?")[0]
    if path.endswith(".whl"):
        return "wheel"
    if path.endswith(".whl.metadata"):
        return "metadata"
    if path.startswith(("/whl/", "/simple/")):
        return "page"
    if path.startswith("/locks/"):
        return "lock"
    if path in _OWN or path.startswith("/assets/"):
        return "own"
    return "manifest" if path == "/manifest.json" else "other"


class Crowd(Protocol):
    """The clients that there are now."""

    @property
    def connections(self) -> Sized:
        """Those that are open."""

    @property
    def answering(self) -> int:
        """How many clients wait for an answer, or the rest of one."""


class Tally:
    """Counts answers, and passes each on to a log if there is one. Belongs to the event loop.

    ``answers`` are counted by kind and status, ``sent`` are bytes of content by kind, ``cut`` are wheels of which not
    everything went out that was promised.
    """

    def __init__(self) -> None:
        self.answers: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.cut = 0
        self.server: Crowd | None = None
        self.log: Log | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return 0 if self.server is None else len(self.server.connections)

    @property
    def answering(self) -> int:
        """How many clients wait for an answer, or the rest of one."""
        return 0 if self.server is None else self.server.answering

    def answered(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Count an answer."""
        kind = kind_of(request.raw_path)
        self.answers[kind, response.status] += 1
        size = content_sent(request, response)
        self.sent[kind] += size
        if request.method == "GET" and size < (response.content_length or 0):
            self.cut += 1
        if self.log is not None:
            self.log.answered(request, response, seconds)

    def repeated(self, served: Served, client: str) -> None:
        """Count an answer that was given before, now to another client."""
        kind = kind_of(served.target)
        self.answers[kind, served.status] += 1
        self.sent[kind] += served.size
        if self.log is not None:
            self.log.repeated(served, client)

    def refused(self, client: str, status: int) -> None:
        """Count a connection that was ended."""
        self.answers[NO_REQUEST, status] += 1
        if self.log is not None:
            self.log.refused(client, status)
