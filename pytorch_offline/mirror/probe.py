"""How many connections one file is worth: a value that learns from what came."""

from __future__ import annotations

from dataclasses import dataclass, replace

# A connection as fast as this is at the line's speed, or at that of the disk and the hash: 2 Gbit/s.
FAST = 250_000_000
# What a step must bring to be worth its connections.
_GAIN = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How many connections one file is worth: more, as long as each step makes all of them together faster.

    ``wanted`` is the answer. It doubles from one; where a step brought less than a tenth, it is taken back and that is
    the end. Who has the line's speed with one connection stays at one.
    """

    most: int
    wanted: int = 1
    rate: float | None = None
    settled: bool = False

    def measured(self, rate: float) -> Probe:
        """Judge what the present number of connections brought, in bytes per second."""
        if self.settled:
            return self
        if self.rate is None and rate >= FAST:
            return replace(self, rate=rate, settled=True)
        if self.rate is not None and rate < _GAIN * self.rate:
            return replace(self, wanted=max(1, self.wanted // 2), settled=True)
        following = min(self.most, 2 * self.wanted)
        return replace(self, wanted=following, rate=rate, settled=following == self.wanted)

    def refused(self) -> Probe:
        """Take note that the server does not want so many: half of them, for good."""
        fewer = max(1, self.wanted // 2)
        return replace(self, most=fewer, wanted=fewer, settled=True)

    def alone(self) -> Probe:
        """Take note that parts of this file cannot be had: one connection."""
        return replace(self, most=1, wanted=1, settled=True)
