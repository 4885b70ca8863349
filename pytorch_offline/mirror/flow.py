"""What all downloads of a run share: so many connections to a host, so many bytes per second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytorch_offline.mirror.readers import Pool
    from pytorch_offline.mirror.workers import Stop

# aria2c's most for one server; a second one gains nothing where a host limits by client.
CONNECTIONS = 16
# How long a number of connections is measured before another one is tried, in seconds.
WINDOW = 0.4
# How often a wait looks whether the run was stopped, in seconds.
_LOOK = 0.1


class Connections:
    """A fixed number of connections to each host. Safe from many threads."""

    def __init__(self, limit: int = CONNECTIONS) -> None:
        self.limit = limit
        self._open: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def one(self, host: str, stop: Stop) -> Iterator[None]:
        """Wait for a connection to a host, and hold it; a file that has none goes before one that wants another."""
        with self._changed:
            self._waiting[host] += 1
            try:
                while self._open[host] >= self.limit:
                    self._changed.wait(_LOOK)
                    stop.check()
                self._open[host] += 1
            finally:
                self._waiting[host] -= 1
        try:
            yield
        finally:
            self.release(host)

    def take(self, host: str) -> bool:
        """Take one more connection for a file that has one, if it is free; ``release`` it."""
        with self._changed:
            free = self._open[host] < self.limit and not self._waiting[host]
            if free:
                self._open[host] += 1
            return free

    def release(self, host: str) -> None:
        """Give a connection back."""
        with self._changed:
            self._open[host] -= 1
            self._changed.notify_all()


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
    """What all downloads of one run share."""

    connections: Connections
    meter: Meter
    pool: Pool
