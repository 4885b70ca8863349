"""Does a wheel's tag set fit a target: its rank, or the reason why not.

An index page repeats few tag sets in thousands of links, so each distinct set is judged once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.selector.reasons import Reason
from pytorch_offline.wheels.pip_tags import tags_taken_by, taken_since

if TYPE_CHECKING:
    from packaging.tags import Tag

    from pytorch_offline.target.model import Target


@dataclass(frozen=True, slots=True)
class Fit:
    """The set fits; ``rank`` is the position of its best tag in the target's list, lower is better."""

    rank: int


@dataclass(frozen=True, slots=True)
class Misfit:
    """The set does not fit, by its tags or by what the pip knows of them, and why in words."""

    reason: Reason
    detail: str


class TagFit:
    """The tags that a target installs: its own, without those that its pip is too old for."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ranks: dict[Tag, int] = {}
        for rank, tag in enumerate(tags_taken_by(target.pip, target.tags)):
            self._ranks.setdefault(tag, rank)
        self._own = frozenset(target.tags)
        self._platforms = frozenset(tag.platform for tag in target.tags)
        self._interpreters = frozenset((tag.interpreter, tag.abi) for tag in target.tags)
        self._judged: dict[frozenset[Tag], Fit | Misfit] = {}

    def fits(self, tags: frozenset[Tag]) -> bool:
        """Whether a wheel's tag set fits."""
        return isinstance(self.judge(tags), Fit)

    def judge(self, tags: frozenset[Tag]) -> Fit | Misfit:
        """Judge a wheel's tag set."""
        if tags not in self._judged:
            ranks = [self._ranks[tag] for tag in tags if tag in self._ranks]
            self._judged[tags] = Fit(min(ranks)) if ranks else self._misfit(tags)
        return self._judged[tags]

    def _misfit(self, tags: frozenset[Tag]) -> Misfit:
        """Say which part does not fit: the pip, the platform, the interpreter, or only their combination."""
        target = self._target
        pips = [since for tag in tags & self._own if (since := taken_since(tag)) is not None]
        if pips:
            detail = f"pip {target.pip} on the target does not take its tags, pip {min(pips)} does"
            return Misfit(Reason.PIP_TOO_OLD, detail)
        offered = sorted(map(str, tags))
        shown = offered[0] if len(offered) == 1 else f"{offered[0]} (and {len(offered) - 1} more)"
        if not any(tag.platform in self._platforms for tag in tags):
            libc = "" if target.libc is None else f" with {target.libc}"
            detail = f"{shown} is for another platform than {target.system} {target.machine}{libc}"
        elif not any((tag.interpreter, tag.abi) in self._interpreters for tag in tags):
            version = target.marker_environment["python_version"]
            detail = f"{shown} is for another interpreter than {target.tags[0].interpreter} ({version})"
        else:
            detail = f"{shown} combines interpreter and platform in a way that the target does not take"
        return Misfit(Reason.WHEEL_TAGS, detail)
