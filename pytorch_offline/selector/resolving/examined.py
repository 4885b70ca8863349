"""What a resolution has read, as its explanation needs it (``conflict.Examined``); nothing more is read for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.selector.resolving.conflict import Asked
from pytorch_offline.selector.resolving.provider import SameWheel, Wanted, project_of
from pytorch_offline.selector.rules.companions import Bound
from pytorch_offline.selector.rules.nightly import SameDay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytorch_offline.selector.model import Candidate, Request
    from pytorch_offline.selector.resolving.provider import Need, SelectionProvider


class ExaminedWheels:
    """The memory of one provider after a resolution, addressed by identifiers and wheels' addresses."""

    def __init__(self, provider: SelectionProvider, request: Request) -> None:
        self._provider = provider
        self._request = request
        self._wheels: dict[str, Candidate] = {}
        self._required: dict[tuple[str, str], tuple[Asked, ...] | None] = {}
        self._admitted: dict[tuple[NormalizedName, str], frozenset[str] | None] = {}
        self._roots = tuple(self._ask_all())

    def asked(self) -> Sequence[Asked]:
        """List what the user says: the requirements, then the bounds on projects that have wheels here."""
        return self._roots

    def required(self, identifier: str, wheel: str) -> Sequence[Asked] | None:
        """List what a wheel requires, as far as it was read and the projects' pages were; None if it was not."""
        key = identifier, wheel
        if key not in self._required:
            extras = identifier.partition("[")[2].rstrip("]")
            needs = self._provider.remembered_needs(
                self._wheels[wheel], frozenset(NormalizedName(one) for one in extras.split(",") if one)
            )
            self._required[key] = None if needs is None else tuple(self._asks(needs))
        return self._required[key]

    def wheel(self, address: str) -> Candidate:
        """Give the wheel at an address."""
        return self._wheels[address]

    def _ask_all(self) -> Iterable[Asked]:
        roots = [Wanted(one) for one in self._request.requirements if self._provider.applies(one)]
        yield from self._asks(roots)
        for bound in self._request.constraints:
            project = canonicalize_name(bound.name)
            admits = self._admits(project, bound.specifier) if self._provider.applies(bound) else None
            if admits is not None:
                yield Asked(on=project, text=str(bound), admits=admits, brings=False)

    def _asks(self, needs: Iterable[Need]) -> Iterable[Asked]:
        for need in needs:
            match need:
                case Wanted(requirement):
                    identifier = self._provider.identify(need)
                    admits = self._admits(project_of(identifier), requirement.specifier)
                    if admits is not None:
                        yield Asked(on=identifier, text=_unmarked(requirement.name, need), admits=admits)
                case SameWheel(candidate):
                    url = candidate.file.link.url
                    self._wheels[url] = candidate
                    yield Asked(on=candidate.project, text=str(need), admits=frozenset([url]))
                case Bound():
                    admits = self._admitted_by(need)
                    if admits is not None:
                        yield Asked(on=TORCH, text=str(need), admits=admits, brings=False)
                case _:
                    pass  # torch itself, where companions meet

    def _admitted_by(self, bound: Bound) -> frozenset[str] | None:
        if not isinstance(bound.need, SameDay):
            return self._admits(TORCH, bound.need.torch)
        every = self._admits(TORCH, SpecifierSet())
        return None if every is None else frozenset(u for u in every if bound.need.admits(self._wheels[u].version))

    def _admits(self, project: NormalizedName, specifier: SpecifierSet) -> frozenset[str] | None:
        key = project, str(specifier)
        if key not in self._admitted:
            found = self._provider.remembered_candidates(project, specifier)
            self._wheels.update({one.file.link.url: one for one in found or ()})
            self._admitted[key] = None if found is None else frozenset(one.file.link.url for one in found)
        return self._admitted[key]


def _unmarked(name: str, need: Wanted) -> str:
    """Spell a requirement without its marker, which holds on the target."""
    extras = f"[{','.join(sorted(need.requirement.extras))}]" if need.requirement.extras else ""
    return f"{name}{extras}{need.requirement.specifier}"
