"""Which hosts are out of order just now, for a whole run: what one request has learnt, the others need not.

A host that cannot be reached, breaks TLS, falls silent or answers 5xx is asked last for a while, and then tried again.
It is never given up: where no other host has a file, it is asked all the same. Nothing is remembered beyond the run.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from pytorch_offline.addresses import origin
from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pytorch_offline.net import Http

Answer = TypeVar("Answer")

# What is the host's trouble and not the file's: 403 and 404 are a file's, wrong bytes as well.
_OUT_OF_ORDER = frozenset({"unreachable", "tls-error", "stalled", "server-error"})
# What another try at the same address may mend.
_PASSING = frozenset({"unreachable", "stalled", "server-error", "transfer-broken", "too-slow"})
# How long a host that has failed is asked last, in seconds; with each failure in a row twice as long. One vain try a
# minute costs little even where each waits half a minute for nothing, and an outage of minutes is soon over for us too.
_FIRST_REST = 60.0
_LONGEST_REST = 600.0


class Hosts:
    """What is known of hosts; safe from many threads.

    Args:
        clock: seconds that only go forward.
        first_rest: for how many seconds a host that has failed once is asked last.
        longest_rest: for how many at most.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        first_rest: float = _FIRST_REST,
        longest_rest: float = _LONGEST_REST,
    ) -> None:
        self._clock = clock
        self._first_rest = first_rest
        self._longest_rest = longest_rest
        self._lock = threading.Lock()
        self._resting: dict[str, tuple[float, float]] = {}  # until when, and for how long it is

    def in_order(self, urls: Sequence[str]) -> tuple[str, ...]:
        """Put the addresses on hosts that are out of order behind the others, which stay as they are."""
        now = self._clock()
        with self._lock:
            out = {host for host, (until, _) in self._resting.items() if now < until}
        return tuple(sorted(urls, key=lambda url: origin(url) in out))

    def failed(self, url: str, code: str) -> None:
        """Take note of what went wrong at an address, by the error's code."""
        if code not in _OUT_OF_ORDER:
            return
        host, now = origin(url), self._clock()
        with self._lock:
            until, rest = self._resting.get(host, (now, 0.0))
            if now < until:  # several downloads met the same trouble
                return
            rest = min(max(self._first_rest, rest * 2), self._longest_rest)
            self._resting[host] = (now + rest, rest)

    def rests(self, url: str) -> bool:
        """Say whether an address is on a host that is out of order."""
        with self._lock:
            until, _ = self._resting.get(origin(url), (0.0, 0.0))
            return origin(url) in self._resting and self._clock() < until

    def gave(self, url: str) -> None:
        """Take note that an address gave what was asked of it: its host is in order."""
        with self._lock:
            self._resting.pop(origin(url), None)


def at_one_of(
    urls: Sequence[str], http: Http, hosts: Hosts, ask: Callable[[Http, str], Answer], *, final: Collection[str] = ()
) -> Answer:
    """Ask for one thing at the addresses that may have it: each once, and then with patience where that may help.

    Args:
        urls: the addresses, the best first; at least one.
        http: speaks HTTP, with its retries.
        hosts: what is known of their hosts, and learns.
        ask: asks at an address.
        final: codes of errors that another address does not mend.

    Raises:
        UpstreamError: what the first address said, if none gave it.
    """
    ordered = hosts.in_order(urls)
    if len(ordered) == 1:
        return _noted(ordered[0], http, hosts, ask)
    errors: dict[str, UpstreamError] = {}
    for client in (http.hurried(), http):
        for url in ordered:
            if url in errors and errors[url].code not in _PASSING:
                continue
            try:
                return _noted(url, client, hosts, ask)
            except UpstreamError as error:
                if error.code in final:
                    raise
                errors[url] = error
    raise errors[urls[0]]


def _noted(url: str, http: Http, hosts: Hosts, ask: Callable[[Http, str], Answer]) -> Answer:
    try:
        answer = ask(http, url)
    except UpstreamError as error:
        hosts.failed(url, error.code)
        raise
    hosts.gave(url)
    return answer
