"""What all downloads of a run share: so many connections to a host, so many bytes per second."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytorch_offline.crawler.hosts import Hosts
from pytorch_offline.mirror.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pytorch_offline.mirror.readers import Pool
    from pytorch_offline.mirror.workers import Stop

# aria2c's most for one server; a second one gains nothing where a host limits by client.
CONNECTIONS = 16
# How long a number of connections is measured before another one is tried, in seconds.
WINDOW = 0.1
# How often a wait looks whether the run was stopped, in seconds.
_LOOK = 0.1


class Connections:
    """A fixed number of connections to each host, shared fairly by the files that want them. Safe from many threads.

    A file that has none goes before one that wants another, and one that has fewer before one that has more.
    """

    def __init__(self, limit: int = CONNECTIONS) -> None:
        self.limit = limit
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._changed = threading.Condition()

    @contextmanager
    def first(self, host: str, file: Hashable, stop: Stop) -> Iterator[None]:
        """Wait for a file's first connection to a host, and hold it."""
        with self._changed:
            here = self._hosts[host]
            here.waiting += 1
            try:
                while here.held.total() >= self.limit:
                    self._changed.wait(_LOOK)
                    stop.check()
                here.held[file] += 1
            finally:
                here.waiting -= 1
        try:
            yield
        finally:
            self.release(host, file)

    def want(self, host: str, file: Hashable, number: int) -> None:
        """Note how many connections a file could use."""
        with self._changed:
            if number > 0:
                self._hosts[host].wanted[file] = number
            else:  # who shares connections for months has as many files as there are
                self._hosts[host].wanted.pop(file, None)

    def take(self, host: str, file: Hashable) -> bool:
        """Take one more connection for a file, if it is free and its turn; ``release`` it."""
        with self._changed:
            here = self._hosts[host]
            mine = here.held[file]
            poorer = any(here.held[other] < min(number, mine) for other, number in here.wanted.items())
            if here.held.total() >= self.limit or here.waiting or poorer:
                return False
            here.held[file] += 1
            return True

    def held(self, host: str) -> int:
        """Say how many there are to a host now."""
        with self._changed:
            return self._hosts[host].held.total()

    def release(self, host: str, file: Hashable) -> None:
        """Give a connection back."""
        with self._changed:
            here = self._hosts[host]
            here.held[file] -= 1
            if here.held[file] == 0:
                del here.held[file]
            self._changed.notify_all()


class _Host:
    """Who has how many connections to one host, and could use how many."""

    def __init__(self) -> None:
        self.held: Counter[Hashable] = Counter()
        self.wanted: dict[Hashable, int] = {}
        self.waiting = 0


class Meter:
    """Counts the bytes of a run, and holds them to a rate: a bucket that a second's worth of bytes fills.

    Args:
        limit: bytes per second; None for as many as come.
        clock: seconds that only go forward.
    """

    def __init__(self, limit: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = 0
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._allowance = 0.0
        self._at = clock()

    def took(self, size: int) -> float:
        """Count bytes that came; say for how many seconds to take no more."""
        with self._lock:
            self.total += size
            if self._limit is None:
                return 0.0
            now = self._clock()
            self._allowance = min(self._limit, self._allowance + (now - self._at) * self._limit) - size
            self._at = now
            return max(0.0, -self._allowance / self._limit)


class Gauge:
    """Says now and then how fast bytes come.

    Args:
        meter: counts them.
        clock: seconds that only go forward.
    """

    def __init__(self, meter: Meter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._clock = clock
        self.rest()

    def rest(self) -> None:
        """Begin anew."""
        self._at, self._total = self._clock(), self._meter.total

    def rate(self) -> float | None:
        """Say how many bytes came per second; None as long as the last answer is younger than ``WINDOW``."""
        now, total = self._clock(), self._meter.total
        seconds, size = now - self._at, total - self._total
        if seconds < WINDOW:
            return None
        self._at, self._total = now, total
        return size / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What all downloads of one run share; ``learnt`` is how many connections a file of each host was worth."""

    connections: Connections
    meter: Meter
    pool: Pool
    hosts: Hosts = field(default_factory=Hosts)
    learnt: dict[str, Probe] = field(default_factory=dict)

    def probe(self, host: str) -> Probe:
        """Begin where the files of this host are."""
        return self.learnt.get(host) or Probe(most=self.connections.limit)

    def learn(self, host: str, probe: Probe) -> None:
        """Take note of what a file learnt: a judgement, or that a step was worth it and the next one is to be tried."""
        known = self.probe(host)
        if probe.settled or (not known.settled and probe.wanted > known.wanted):
            self.learnt[host] = probe

    def measured(self, host: str, probe: Probe, rate: float) -> Probe:
        """Judge one more window of a file, or go on where another file of its host has come further meanwhile."""
        known = self.learnt.get(host)
        if known is not None and not probe.settled and known.wanted > probe.wanted:
            return known
        after = probe.measured(rate, each=rate / max(1, self.connections.held(host)))
        self.learn(host, after)
        return after
