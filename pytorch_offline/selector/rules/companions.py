"""Versions that belong together, where METADATA does not say: the rule behind the table of companions.

METADATA comes first. torchcodec, torchao, torchaudio 2.11, fbgemm-gpu and torchvision before 0.3 name no version of
torch there, though most of them load only with the torch that they were built for (pytorch/ao#2919, the torchcodec
README). For such a wheel the table adds an *implied* requirement: if torch is in the closure, it is one of these
versions. It never brings torch into a closure. A version that the table does not know is not guessed about.

In the resolver this is a meeting point beside the projects: companions come there with bounds, torch comes with its
candidate, and there is a meeting only if all bounds admit all candidates. So a companion without torch meets nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.knowledge.companions import companion_projects, find_torch_need
from pytorch_offline.knowledge.family import TORCH, projects_built_per_backend
from pytorch_offline.selector.rules.nightly import SameDay, day_of
from pytorch_offline.wheels.versions import holds_pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.requirements import Requirement
    from packaging.version import Version

    from pytorch_offline.knowledge.companions import TorchNeed
    from pytorch_offline.selector.model import Candidate, Request

# The projects that install the module ``triton``.
TRITONS = frozenset(
    map(
        NormalizedName,
        ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-rocm", "pytorch-triton-xpu", "triton-xpu"),
    )
)
# No project can be called so; PEP 508 names start with a letter or digit.
MEETING = "*companions"
TABLE_HINT = (
    "loosen one of these requirements; to take a pair that the table of companions does not know, pin both to exact "
    "versions (==)"
)


@dataclass(frozen=True, slots=True)
class Bound:
    """What the table of companions implies for torch, on behalf of one wheel."""

    candidate: Candidate
    need: TorchNeed | SameDay

    def __str__(self) -> str:
        if isinstance(self.need, SameDay):
            return f"torch of the same day, {self.need.day} (nightly builds of one day belong together)"
        return f"torch{self.need.torch} (by the table of companions: {self.need.source})"


@dataclass(frozen=True, slots=True)
class Present:
    """torch is in the closure, as this wheel."""

    candidate: Candidate

    def __str__(self) -> str:
        return f"torch=={self.candidate.version}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """All bounds admit the torch that is there, or none is there."""


def agreement(needs: Iterable[object]) -> list[Agreement]:
    """Find out whether those who meet agree: one agreement, or none."""
    needs = list(needs)
    present = [need.candidate.version for need in needs if isinstance(need, Present)]
    bounds = [need.need for need in needs if isinstance(need, Bound)]
    agreed = all(_admits(bound, version) for bound in bounds for version in present)
    return [Agreement()] if agreed else []


def is_silent(requires: Iterable[Requirement]) -> bool:
    """Whether these requirements, those of a wheel that apply to the target, leave open which torch it needs."""
    return not any(canonicalize_name(one.name) == TORCH and (one.specifier or one.url) for one in requires)


def _belonging(candidate: Candidate) -> TorchNeed | SameDay | None:
    """Say which torch a companion belongs to: by the table, else, of a nightly, by its day."""
    need = find_torch_need(candidate.project, candidate.version)
    day = day_of(candidate.version)
    if need is not None or day is None:
        return need
    compiled = candidate.project in companion_projects() & projects_built_per_backend()
    return SameDay(day) if compiled else None


def _admits(need: TorchNeed | SameDay, torch: Version) -> bool:
    return need.admits(torch) if isinstance(need, SameDay) else need.torch.contains(torch, prereleases=True)


def implied_bound(candidate: Candidate, requires: Iterable[Requirement]) -> Bound | None:
    """Say what is implied for a wheel with these requirements; None if METADATA decides or nothing is known."""
    need = _belonging(candidate)
    return None if need is None or not is_silent(requires) else Bound(candidate, need)


def named_torch(request: Request) -> list[Requirement]:
    """List what a user says of torch, root or constraint."""
    return [one for one in request.bounds if canonicalize_name(one.name) == TORCH]


def exact_pin(requirements: Iterable[Requirement], project: NormalizedName) -> bool:
    """Whether a user named one exact version of a project (``==`` without a wildcard, or ``===``)."""
    return any(
        holds_pin(requirement.specifier)
        for requirement in requirements
        if canonicalize_name(requirement.name) == project
    )


def disagreement(candidate: Candidate, torch: Version) -> str | None:
    """Say in words that the table pairs a wheel with another torch than this one; None if it does not."""
    need = _belonging(candidate)
    if need is None or _admits(need, torch):
        return None
    if isinstance(need, SameDay):
        return f"{candidate.project} {candidate.version} is of another day than torch {torch}"
    return f"{candidate.project} {candidate.version} was built for torch{need.torch}, by the table of companions"


def companion_warnings(chosen: Iterable[tuple[Candidate, Iterable[Requirement]]]) -> list[str]:
    """Say where nothing vouches for a pair, or the table speaks against it: wheels with their requirements that apply.

    The second happens only where the user pinned both exactly: who knows better is not refused.
    """
    chosen = list(chosen)
    torch = next((candidate.version for candidate, _ in chosen if candidate.project == TORCH), None)
    collision = triton_warning(candidate.project for candidate, _ in chosen)
    warnings = [] if collision is None else [collision]
    if torch is None:
        return warnings
    for candidate, requires in chosen:
        if candidate.project not in companion_projects() or not is_silent(requires):
            continue
        if _belonging(candidate) is None:
            warnings.append(
                f"nothing says which torch {candidate.project} {candidate.version} belongs to: its METADATA names no "
                "version, and the table of companions does not know it"
            )
        elif against := disagreement(candidate, torch):
            warnings.append(f"{against}; both were pinned, so it is taken with torch {torch} as asked")
    return warnings


def triton_warning(projects: Iterable[NormalizedName]) -> str | None:
    """Warn of two projects in one closure that both install the module ``triton``: the later one overwrites the other.

    torch names its own by backend and era: pytorch-triton-rocm up to 2.9 and triton-rocm since, likewise for XPU
    (research/selectors.md, section 4).
    """
    found = sorted({*projects} & TRITONS)
    if len(found) < 2:  # noqa: PLR2004  (two that collide)
        return None
    return f"{' and '.join(found)} install the same module, triton; ask for the one that torch requires alone"


def why_not_together(candidate: Candidate, chosen: Iterable[tuple[Candidate, Iterable[Requirement]]]) -> str | None:
    """Say by the table why a wheel that lost does not belong to what was chosen; None if the table has no objection."""
    for other, requires in chosen:
        if candidate.project == TORCH:
            bound = implied_bound(other, requires)
            if bound is not None and (against := disagreement(other, candidate.version)):
                return against
        elif other.project == TORCH and (against := disagreement(candidate, other.version)):
            return f"{against}; torch {other.version} was chosen"
    return None
