"""Find the best resolution over all backends that the target can run: best first, with a bound (docs/adr/0001, 0006).

A backend's bound is the newest release of the anchor, the project that decides, that it could still give. The
contender with the greatest bound has its turn: first its best wheel is judged by what is inside it, and if that one
cannot run, the bound falls to the next wheel's release; then the backend is resolved. So a wheel is read only if
nothing better is left, and the search ends when no bound is above what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from resolvelib import ResolutionImpossible, ResolutionTooDeep

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import TORCH, family_projects
from pytorch_offline.selector.model import Candidate, Offers
from pytorch_offline.selector.resolving.closure import Closure, Rounds, resolve
from pytorch_offline.selector.resolving.provider import Need, Pin, SelectionProvider, Wanted
from pytorch_offline.selector.rules.candidates import admitted, preference
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.selector.model import Rejection, Request
    from pytorch_offline.selector.rules.builds import BuildJudge
    from pytorch_offline.selector.rules.drivers import Runs
    from pytorch_offline.target.model import Target

# resolvelib's default of 100 is below what a deep graph needs. pip allows 200,000 rounds, and searches for hours where
# each is slow; measured here, 20,000 take 7 s with 17 projects, and longer with more. They bound the whole run, all
# backends together, and are counted, not timed, so that the bound strikes alike on every machine.
MAX_ROUNDS = 20_000
# Below every release, for a closure without the project that decides.
_NO_RELEASE = Version("0.dev0")

Merit = tuple[Version, bool, tuple[int, Version]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A resolution for one backend, and how good it is: the greatest ``merit`` wins."""

    verdict: Runs
    provider: SelectionProvider
    result: Closure
    merit: Merit

    @property
    def depends_on_backend(self) -> bool:
        """Whether any wheel of it was built for one backend."""
        return any(isinstance(pin, Candidate) and pin.backend is not None for pin in self.result.mapping.values())


@dataclass(slots=True, kw_only=True)
class _Contender:
    """A backend that may still win: the anchor's wheels for it, best last, of which the last is not yet ruled out."""

    verdict: Runs
    provider: SelectionProvider
    wheels: list[Candidate]

    @property
    def bound(self) -> Merit:
        """The best that can come of it."""
        return _merit(self.wheels[-1].version if self.wheels else _NO_RELEASE, self.verdict)

    def fall(self) -> bool:
        """Judge the best wheel; if it cannot run, drop it, and say that the bound has fallen."""
        if not self.wheels or self.provider.can_run(self.wheels[-1]):
            return False
        self.wheels.pop()
        return True


def anchor_of(request: Request) -> NormalizedName:
    """The project whose release decides between backends: torch, unless it cannot be part of the closure."""
    family = [root for root in _roots(request) if root in family_projects()]
    return family[0] if request.no_deps and family and TORCH not in family else TORCH


def find_best(
    request: Request, target: Target, offers: Offers, runs: Sequence[Runs], builds: BuildJudge
) -> tuple[Resolved, Mapping[str, Rejection]]:
    """Find the best resolution, and what was passed over on the way, by address.

    Raises:
        UnsatisfiableError: there is none (see ``explain_impossible``), or ``too-deep``.
    """
    anchor = anchor_of(request)
    if len(runs) > 1:
        offers.offer(anchor, tuple(verdict.backend for verdict in runs))  # reads the pages side by side
    waiting = [
        _contender(SelectionProvider(request, target, offers, one.backend, builds), one, request) for one in runs
    ]
    providers = [contender.provider for contender in waiting]
    # Whether the anchor will be part of the closure is known if a root is of the family, or after a first resolution.
    anchor_counts = any(root in family_projects() for root in _roots(request))
    rounds = Rounds(MAX_ROUNDS)
    best: Resolved | None = None
    failure: ResolutionImpossible[Need, Pin] | None = None
    failed: _Contender | None = None
    while waiting:
        leader = max(waiting, key=lambda one: one.bound)
        if best is not None and leader.bound <= best.merit:
            break
        if anchor_counts and leader.fall():
            continue
        waiting.remove(leader)
        anchor_counts = True
        try:
            found = _resolve(leader, request, rounds)
        except ResolutionImpossible as error:
            failure, failed = failure or error, failed or leader
            continue
        if best is None or found.merit > best.merit:
            best = found
        if not found.depends_on_backend:
            break
    # Whoever asks why a wheel was not chosen is told that it cannot run rather than that another was better.
    least = _NO_RELEASE if best is None else best.merit[0]
    wheels = [wheel for provider in providers for wheel in provider.candidates(anchor) if wheel.version >= least]
    known = [builds.judge_by_table(wheel) for wheel in wheels]
    passed_over = {one.file.link.url: one for one in known if one is not None and one.file is not None}
    passed_over |= {url: rejection for provider in providers for url, rejection in provider.rejected.items()}
    if best is not None:
        return best, passed_over
    assert failure is not None  # noqa: S101  (there was at least one attempt)
    assert failed is not None  # noqa: S101
    # Only a failure is explained.
    from pytorch_offline.selector.resolving.conflict import conflict_chain  # noqa: PLC0415
    from pytorch_offline.selector.resolving.examined import ExaminedWheels  # noqa: PLC0415
    from pytorch_offline.selector.resolving.impossible import explain_impossible  # noqa: PLC0415

    chain = conflict_chain(ExaminedWheels(failed.provider, request))
    raise explain_impossible(
        failure.causes, request, target, offers=offers, runs=runs, passed_over=passed_over, chain=chain
    ) from failure


def _contender(provider: SelectionProvider, verdict: Runs, request: Request) -> _Contender:
    """Collect the anchor's wheels for a backend that the user's own bounds admit."""
    anchor = anchor_of(request)
    specifier = SpecifierSet()
    for one in request.bounds:
        if canonicalize_name(one.name) == anchor and provider.applies(one):
            specifier &= one.specifier
    wheels = admitted(provider.candidates(anchor), specifier, pre=request.admits_pre(anchor))
    return _Contender(verdict=verdict, provider=provider, wheels=sorted(wheels, key=preference))


def _roots(request: Request) -> list[NormalizedName]:
    return [canonicalize_name(requirement.name) for requirement in request.requirements]


def _resolve(contender: _Contender, request: Request, rounds: Rounds) -> Resolved:
    provider = contender.provider
    roots = provider.read_ahead([Wanted(one) for one in request.requirements if provider.applies(one)])
    try:
        result = resolve(provider, roots, rounds=rounds)
    except ResolutionTooDeep as error:
        raise UnsatisfiableError(
            "too-deep",
            f"no closure was found within {MAX_ROUNDS} steps",
            hint="pin more of the projects to versions, with -c",
        ) from error
    pin = result.mapping.get(anchor_of(request))
    release = pin.version if isinstance(pin, Candidate) else _NO_RELEASE
    return Resolved(
        verdict=contender.verdict, provider=provider, result=result, merit=_merit(release, contender.verdict)
    )


def _merit(release: Version, verdict: Runs) -> Merit:
    return release_of(release), verdict.native, verdict.backend.order
