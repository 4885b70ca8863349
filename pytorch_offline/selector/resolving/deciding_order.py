"""In which order projects are decided: a project that keeps meeting the same earlier decision comes before it.

A resolver that decides ``boto3`` first, and then finds that one release of ``awscli`` after the other asks for another
``botocore``, walks through all of ``awscli`` once for every release of ``boto3``: that takes minutes, and ends at a
release that nobody wanted. uv turns the two around after five conflicts (``CONFLICT_THRESHOLD`` in uv-resolver), and so
does this: the search begins again with the project that had no luck decided first. What was read is kept, so beginning
again costs milliseconds; and since a project comes forward once at most, it ends.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from resolvelib import BaseReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from packaging.utils import NormalizedName

# uv's number: with fewer, answers would differ from pip's where a few steps back are what pip takes too.
PATIENCE = 5


class TurnedAroundError(Exception):
    """The order has changed; the resolution must begin again."""


class DecidingOrder:
    """Remembers which projects must be decided before others, over all attempts for one request.

    Args:
        group_of: which projects are decided first whatever happens: only conflicts within a group turn it around.
    """

    def __init__(self, group_of: Callable[[NormalizedName], int]) -> None:
        self._group_of = group_of
        self._forward: dict[NormalizedName, int] = {}
        self._conflicts: Counter[NormalizedName] = Counter()

    def rank(self, project: NormalizedName) -> int:
        """Say when a project's turn is, within its group: lower is earlier."""
        return self._forward.get(project, len(self._forward))

    def meet(self, project: NormalizedName, deciders: Iterable[NormalizedName]) -> bool:
        """Note that a candidate of a project lost against earlier decisions; whether the order changes by that."""
        if project in self._forward:
            return False
        group = self._group_of(project)
        if not any(one != project and one not in self._forward and self._group_of(one) == group for one in deciders):
            return False  # coming forward would not help
        self._conflicts[project] += 1
        if self._conflicts[project] < PATIENCE:
            return False
        self._forward[project] = len(self._forward)
        return True


class ConflictReporter(BaseReporter[Any, Any, str]):
    """Listens to a resolution, and ends it when the order has changed.

    Args:
        order: what is kept from attempt to attempt.
        project_of: names the project that a pin belongs to.
    """

    def __init__(self, order: DecidingOrder, project_of: Callable[[Any], NormalizedName]) -> None:
        self._order = order
        self._project_of = project_of
        self.rounds = 0

    def starting_round(self, index: int) -> None:
        """Count a round."""
        self.rounds = index + 1

    def rejecting_candidate(self, criterion: Any, candidate: Any) -> None:  # noqa: ANN401  (resolvelib's own types)
        """Take note of a conflict.

        Raises:
            TurnedAroundError: the resolution must begin again.
        """
        deciders = [self._project_of(one.parent) for one in criterion.information if one.parent is not None]
        if self._order.meet(self._project_of(candidate), deciders):
            raise TurnedAroundError
