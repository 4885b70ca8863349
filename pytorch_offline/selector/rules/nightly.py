"""Nightly builds: the day in a version, and the rule that what was built on one day belongs together.

A nightly of torch is ``2.12.0.dev20260314``, and torchvision's of that day ``0.26.0.dev20260314``: the releases differ,
the day is the same. Upstream publishes torch some hours before the others (research/upstream-index.md, section 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version

_DAY = re.compile(r"20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


def day_of(version: Version) -> str | None:
    """Give the day of a nightly, ``20260314``; None for any other version."""
    day = str(version.dev) if version.dev is not None else ""
    return day if _DAY.fullmatch(day) else None


@dataclass(frozen=True, slots=True)
class SameDay:
    """The torch that a nightly belongs to is that of its own day, where METADATA does not name one."""

    day: str

    def admits(self, torch: Version) -> bool:
        """Whether this is the torch of the day; of one that is no nightly nothing is known."""
        return day_of(torch) in {None, self.day}
