"""One resolution for one backend: the closure of pins that the roots lead to, with who asks for each.

The closure is walked here, from the roots over what each pin requires. resolvelib's own result looks the other way,
from each pin up to the roots, and does not end where pins that were given up require each other in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resolvelib.resolvers import Resolution
from resolvelib.structs import RequirementInformation

from pytorch_offline.selector.resolving.deciding_order import ConflictReporter, TurnedAroundError
from pytorch_offline.selector.resolving.provider import Need, Pin, SelectionProvider, project_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """What was decided.

    Args:
        mapping: the pins, by identifier.
        information: who asks for what of each identifier; a root's parent is None.
    """

    mapping: Mapping[str, Pin]
    information: Mapping[str, Sequence[RequirementInformation[Need, Pin]]]


class Rounds:
    """How many rounds of searching are left; several searches may share them."""

    def __init__(self, left: int) -> None:
        self.left = left


def resolve(provider: SelectionProvider, roots: Sequence[Need], *, rounds: Rounds) -> Closure:
    """Find a closure.

    Raises:
        ResolutionImpossible: there is none.
        ResolutionTooDeep: there was none in the rounds that were left.
    """
    while True:  # a project comes forward once at most, so this ends
        reporter = ConflictReporter(provider.order, lambda pin: project_of(provider.identify(pin)))
        resolution: Resolution[Need, Pin, str] = Resolution(provider, reporter)
        try:
            decided = resolution.resolve(roots, max_rounds=rounds.left).mapping
        except TurnedAroundError:
            continue
        finally:
            rounds.left = max(1, rounds.left - reporter.rounds)  # resolvelib takes none for as many as it likes
        return _walk(provider, roots, decided)


def _walk(provider: SelectionProvider, roots: Sequence[Need], decided: Mapping[str, Pin]) -> Closure:
    mapping: dict[str, Pin] = {}
    information: dict[str, list[RequirementInformation[Need, Pin]]] = {}
    waiting: list[tuple[Need, Pin | None]] = [(need, None) for need in roots]
    for need, parent in waiting:  # which grows meanwhile
        identifier = provider.identify(need)
        information.setdefault(identifier, []).append(RequirementInformation(need, parent))
        if identifier not in mapping:
            pin = mapping[identifier] = decided[identifier]
            waiting += [(one, pin) for one in provider.get_dependencies(pin)]
    return Closure(mapping=mapping, information=information)
