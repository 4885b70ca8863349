"""How many connections one file is worth: a value that learns from what came."""

from __future__ import annotations

from dataclasses import dataclass, replace

# A connection as fast as this is at the line's speed, or at that of the disk and the hash: 2 Gbit/s.
FAST = 250_000_000
# What a step must bring to be worth its connections.
_GAIN = 1.1
# A connection that has just begun grows faster by itself; so long as it does, and not for ever, nothing is judged.
_GROWTH = 1.15
_WINDOWS = 5
# A step that brought so much has been worth it, whatever its connections may still grow to.
_CLEAR = 2.0
# Each step up is by so much: two steps to 16.
_FACTOR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How many connections one file is worth: more, as long as each step makes all of them together faster.

    A step that brought less than a tenth is taken back, and that is the end: who has the line's speed with one
    connection stays at one. It is the end until what comes falls to half, as behind a host that slows down after a
    while.

    Args:
        most: how many there may be.
        wanted: the answer.
        before: how many there were before the last step.
        rate: what they brought, in bytes per second.
        last: what the present number brought in the window before.
        windows: for how long the present number has been measured.
        settled: whether the answer stands.
    """

    most: int
    wanted: int = 1
    before: int = 1
    rate: float | None = None
    last: float | None = None
    windows: int = 0
    settled: bool = False

    def measured(self, rate: float, *, each: float | None = None) -> Probe:
        """Judge what the present number of connections brought in one more window.

        Args:
            rate: of all downloads together, so that what one file takes from another counts for nothing.
            each: what one connection brought of it; all of it, where there is no other.
        """
        if self.settled:
            slower = self.rate is not None and rate < self.rate / 2 and self.wanted < self.most
            if slower and self.windows + 1 >= _WINDOWS:
                return replace(self, rate=None, last=None, windows=0, settled=False)
            return replace(self, windows=self.windows + 1 if slower else 0)  # the same busy disk
        if self.rate is None and (rate if each is None else each) >= FAST:
            return self._at(self.wanted, rate)
        growing = self.last is None or rate > _GROWTH * self.last
        clear = self.rate is not None and rate >= _CLEAR * self.rate
        if growing and not clear and self.windows + 1 < _WINDOWS:
            return replace(self, last=rate, windows=self.windows + 1)
        best = max(rate, self.last or 0.0)
        if self.rate is not None and best < _GAIN * self.rate:
            if self.windows + 1 < _WINDOWS:  # a busy disk may have held everybody up
                return replace(self, last=best, windows=self.windows + 1)
            return self._at(self.before, self.rate)
        following = min(self.most, _FACTOR * self.wanted)
        if following == self.wanted:
            return self._at(self.wanted, best)
        return replace(self, wanted=following, before=self.wanted, rate=best, last=None, windows=0)

    def refused(self) -> Probe:
        """Take note that the server does not want so many: half of them, for good."""
        fewer = max(1, self.wanted // 2)
        return replace(self, most=fewer, wanted=fewer, settled=True)

    def alone(self) -> Probe:
        """Take note that parts of this file cannot be had: one connection."""
        return replace(self, most=1, wanted=1, settled=True)

    def _at(self, wanted: int, rate: float) -> Probe:
        return replace(self, wanted=wanted, rate=rate, last=None, windows=0, settled=True)
