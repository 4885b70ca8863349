"""Complaints to the administrator: each of them once in a while, however many clients meet its cause."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

# A client tries again every few seconds, and a thousand of them do.
_AGAIN_AFTER = timedelta(minutes=10)
_REMEMBERED = 1000


class Complaints:
    """What was complained of lately."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, datetime] = OrderedDict()

    def is_due(self, sentence: str, now: datetime) -> bool:
        """Say whether a sentence should be said now; if so it counts as said."""
        last = self._said.get(sentence)
        if last is not None and now - last < _AGAIN_AFTER:
            return False
        self._said[sentence] = now
        self._said.move_to_end(sentence)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return True
