"""When nothing fits, find the nearest changes that work: each is tried by the selector itself before it is offered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.errors import PytorchOfflineError, UnsatisfiableError
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.selector.explaining.proposals import Kind, Proposal, proposals, spoken, wider_proposals
from pytorch_offline.selector.nothing_fits import NothingFitsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytorch_offline.selector.model import Candidate, Request, Selection
    from pytorch_offline.target.model import Target

# More than these is no help to a reader who wants to know what to change.
MOST_OFFERED = 5
# A try is a whole resolution: milliseconds over pages that were read already, seconds where METADATA must be fetched.
MOST_TRIES = 60
MOST_TRIES_OF_A_KIND = 12
MOST_SECONDS = 15.0
# Trying on makes no sense where each try could take as long as the first.
_NOT_TRIED = frozenset({"too-deep"})
# What is not worth a try where a lesser change was found: another version where the one that was asked for has another
# build, doing without a project where another version of it does.
_NEARER = {
    Kind.OLDER: {Kind.BUILD},
    Kind.NEWER: {Kind.BUILD},
    Kind.WITHOUT: {Kind.NAME, Kind.BUILD, Kind.REQUIREMENT, Kind.OLDER, Kind.NEWER},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that works: ``proposal`` was resolved, and ``selection`` is what came out."""

    proposal: Proposal
    selection: Selection
    project: NormalizedName | None

    @property
    def result(self) -> Candidate:
        """The wheel that tells most: torch's, else that of the project which was lacking, else the first root's."""
        chosen = {choice.candidate.project: choice.candidate for choice in self.selection.choices}
        roots = [canonicalize_name(one.name) for one in self.proposal.request.requirements]
        wanted = [name for name in (self.project, TORCH, *roots) if name is not None]
        return next((chosen[name] for name in wanted if name in chosen), next(iter(chosen.values())))

    @property
    def sentence(self) -> str:
        """Say the change and what it gives, for people."""
        proposal, result = self.proposal, _named(self.result)
        asked = spoken(proposal.request)
        match proposal.kind:
            case Kind.OLDER | Kind.NEWER:
                return f"{result} runs here{self._with_torch()}: ask for {asked}"
            case Kind.NAME:
                return f"{proposal.change}: {', '.join(self._about())}"
            case Kind.BUILD | Kind.BACKEND:
                return f"{result} runs here: {proposal.change}"
            case Kind.CPU:
                return f"{result} runs here with --backend cpu, and leaves the GPU unused"
            case Kind.PRE:
                early = [one.candidate for one in self.selection.choices if one.candidate.version.is_prerelease]
                return f"--pre admits {', '.join(map(_named, early)) or result}"
            case Kind.YANKED:
                return f"{proposal.change}: ask for {asked}"
            case Kind.DRIVER | Kind.PYTHON | Kind.GLIBC | Kind.PIP:
                return f"{proposal.change} would admit {result}"
            case Kind.REQUIREMENT:
                return f"{proposal.change}: {', '.join(dict.fromkeys((result, *self._about())))}"
            case Kind.DEVICE | Kind.CONSTRAINT | Kind.WITHOUT:
                return f"{proposal.change}: {result}"

    def _with_torch(self) -> str:
        torch = next((one.candidate for one in self.selection.choices if one.candidate.project == TORCH), None)
        return "" if torch is None or torch.project == self.result.project else f" with {_named(torch)}"

    def _about(self) -> list[str]:
        chosen = (choice.candidate for choice in self.selection.choices)
        return [_named(one) for one in chosen if one.project == self.proposal.about]

    def document(self) -> dict[str, Any]:
        """Make the change's part of the ``--json`` document."""
        result, selection = self.result, self.selection
        torch = next((one.candidate for one in selection.choices if one.candidate.project == TORCH), None)
        return {
            "kind": self.proposal.kind.name.lower(),
            "change": self.sentence,
            "requirements": [str(one) for one in self.proposal.request.requirements],
            "constraints": [str(one) for one in self.proposal.request.constraints],
            "flags": list(self.proposal.flags),
            "result": {
                "project": result.project,
                "version": str(result.version),
                "filename": result.file.name.filename,
                "torch": None if torch is None else str(torch.version),
                "backend": None if selection.backend is None else str(selection.backend),
            },
            "verified": True,
        }


def _named(candidate: Candidate) -> str:
    return f"{candidate.project} {candidate.version}"


def nearest_changes(
    request: Request,
    target: Target,
    refusal: UnsatisfiableError,
    *,
    attempt: Callable[[Request, Target], Selection],
    seconds: Callable[[], float],
) -> tuple[Change, ...]:
    """Try changes, and give those that work, the least first; one of each kind at most.

    ``seconds`` is a clock. A try that fails by whatever is ours, the network too, is no change to offer.
    """
    if refusal.code in _NOT_TRIED:
        return ()
    search = _Search(attempt, seconds, refusal.project if isinstance(refusal, NothingFitsError) else None)
    found = search.run(proposals(request, target, refusal)) or search.run(wider_proposals(request, target, refusal))
    return tuple(sorted(found, key=lambda change: change.proposal.kind)[:MOST_OFFERED])


class _Search:
    """Tries proposals within its bounds."""

    def __init__(
        self,
        attempt: Callable[[Request, Target], Selection],
        seconds: Callable[[], float],
        project: NormalizedName | None,
    ) -> None:
        self._attempt = attempt
        self._seconds = seconds
        self._until = seconds() + MOST_SECONDS
        self._project = project
        self._tries: dict[Kind, int] = {}

    def run(self, planned: Iterable[Proposal]) -> Sequence[Change]:
        found: dict[tuple[Kind, str], list[Change]] = {}
        for proposal in planned:
            sort = proposal.kind, proposal.about
            if any(kind in _NEARER.get(proposal.kind, ()) for kind, _ in found):
                continue
            if sum(self._tries.values()) >= MOST_TRIES or self._seconds() > self._until:
                break
            # The least driver is told, and the one that brings the newest torch.
            if sort in found and proposal.kind is not Kind.DRIVER:
                continue
            if self._tries.get(proposal.kind, 0) >= MOST_TRIES_OF_A_KIND:
                continue
            self._tries[proposal.kind] = self._tries.get(proposal.kind, 0) + 1
            selection = self._tried(proposal)
            if selection is None or not selection.choices:
                continue
            change = Change(proposal=proposal, selection=selection, project=self._project)
            first = found.setdefault(sort, [change])[0]
            if change.result.version.public != found[sort][-1].result.version.public:
                found[sort] = [first, change]
        return [change for changes in found.values() for change in changes]

    def _tried(self, proposal: Proposal) -> Selection | None:
        try:
            return self._attempt(proposal.request, proposal.target)
        except PytorchOfflineError:
            return None
