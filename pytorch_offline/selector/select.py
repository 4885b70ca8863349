"""Choose the closure of exact wheels for one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from resolvelib import BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.selector.architectures import unserved_device
from pytorch_offline.selector.candidates import admitted
from pytorch_offline.selector.companions import Bound, companion_warnings
from pytorch_offline.selector.drivers import CannotRun, Runs, judge_backends, verdict_for_forced
from pytorch_offline.selector.explain import backend_rejection, explain_impossible, losers
from pytorch_offline.selector.model import Candidate, Choice, Offers, Selection, Source
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.provider import Need, Pin, SelectionProvider, Wanted, WithExtras, project_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.requirements import Requirement
    from resolvelib.resolvers import Criterion, RequirementInformation, Result

    from pytorch_offline.selector.drivers import BackendVerdict
    from pytorch_offline.selector.model import Rejection, Request
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# resolvelib's default of 100 is below what a deep graph needs; pip allows 200,000 rounds for the same reason.
MAX_ROUNDS = 200_000
TORCH: NormalizedName = canonicalize_name("torch")
# Below every release, for a closure without the project that decides.
_NO_RELEASE = Version("0.dev0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved:
    """A resolution for one backend, and how good it is: the greatest ``merit`` wins."""

    verdict: Runs
    provider: SelectionProvider
    result: Result[Need, Pin, str]
    merit: tuple[object, ...]


def select(request: Request, target: Target, offers: Offers, backends: Sequence[Backend]) -> Selection:
    """Resolve a request for a target over what the indexes offer.

    ``backends`` are all that upstream may have; those that the target cannot run are passed over with a reason. Of the
    others the best is the one with the newest release of torch (or of the family project that was asked for), then one
    that the driver covers natively, then the highest (DESIGN section 6). They are resolved in the order of the newest
    release that each *could* have, until no other could be better than what was found (docs/adr/0001).

    Raises:
        UnsatisfiableError: ``no-backend``, ``backend-not-found``, ``project-not-found``, ``no-wheel``, ``conflict`` or
            ``too-deep``.
        UsageError: ``unknown-driver`` (see ``judge_backends``).
        UpstreamError: a page or a METADATA could not be read.
    """
    verdicts = _verdicts(request, target, backends)
    runs = [verdict for verdict in verdicts if isinstance(verdict, Runs)]
    warnings: list[str] = []
    if request.backend is not None and not runs:
        # The user knows better, or only prepares a file set: a warning, not a refusal (DESIGN section 5).
        warnings.append(f"backend {request.backend} was forced, but will not run there: {verdicts[0].detail}")
        runs = [Runs(backend=request.backend, native=False, detail="forced by --backend")]
    if not runs:
        raise NothingFitsError(
            "no-backend",
            f"no build of torch runs on target {target.name}",
            facts=_grouped([verdict for verdict in verdicts if isinstance(verdict, CannotRun)]),
            hint="update the driver, or force a build with --backend (cpu runs everywhere)",
            project=TORCH,
            rejected=[backend_rejection(verdict) for verdict in verdicts if isinstance(verdict, CannotRun)],
        )
    try:
        best, passed_over = _best(request, target, offers, runs)
    except UnsatisfiableError as error:
        if request.backend is None or request.backend in backends:
            raise
        raise UnsatisfiableError(
            "backend-not-found",
            f"no upstream has a backend {request.backend}",
            facts={"backends": ", ".join(map(str, backends))},
            hint="leave --backend at auto, or name one of these",
        ) from error
    anchor = _anchor(request)
    choices = _choices(best, request)
    if request.backend is not None:
        warnings += [
            f"{choice.candidate.file.name.filename} was forced, but has {reason}"
            for choice in choices
            if (reason := unserved_device(choice.candidate.file.name, choice.candidate.backend, target)) is not None
        ]
    unfit = [backend_rejection(verdict) for verdict in verdicts if isinstance(verdict, CannotRun)]
    built = {choice.candidate.backend for choice in choices} - {None}
    if built and request.backend is None and target.accelerator is None and target.system != "Darwin":
        warnings.append(
            f"nothing is known of a GPU on target {target.name}, so builds for the CPU were chosen; "
            "say what it has with --driver and --gpu, or --accelerator none"
        )
    return Selection(
        target=target,
        request=request,
        backend=best.verdict.backend if built else None,
        choices=choices,
        rejected=(
            *unfit,
            *losers(choices, best.verdict, runs, offers=offers, passed_over=passed_over, anchor=anchor),
        ),
        warnings=(*warnings, *best.provider.warnings, *companion_warnings(_applicable(choices, best.provider))),
    )


def _grouped(verdicts: Sequence[CannotRun]) -> dict[str, object]:
    """Say each reason once, for all backends that fail by it."""
    backends: dict[str, list[str]] = {}
    for verdict in verdicts:
        backends.setdefault(verdict.detail.removeprefix(f"{verdict.backend} "), []).append(str(verdict.backend))
    return {", ".join(names): detail for detail, names in backends.items()}


def _anchor(request: Request) -> NormalizedName:
    """The project whose release decides between backends: torch, unless it cannot be part of the closure."""
    roots = [canonicalize_name(requirement.name) for requirement in request.requirements]
    family = [root for root in roots if root in family_projects()]
    return family[0] if request.no_deps and family and TORCH not in family else TORCH


def _best(
    request: Request, target: Target, offers: Offers, runs: Sequence[Runs]
) -> tuple[_Resolved, dict[str, Rejection]]:
    """Find the best resolution, and what was passed over on the way, by address."""
    anchor = _anchor(request)
    if len(runs) > 1:
        offers.offer(anchor, tuple(verdict.backend for verdict in runs))  # reads the pages side by side
    providers = [(SelectionProvider(request, target, offers, verdict.backend), verdict) for verdict in runs]
    ranked = [
        (_merit(_newest_possible(provider, anchor, request), verdict), provider, verdict)
        for provider, verdict in providers
    ]
    ranked.sort(key=lambda one: one[0], reverse=True)
    best: _Resolved | None = None
    failure: ResolutionImpossible[Need, Pin] | None = None
    for bound, provider, verdict in ranked:
        if best is not None and bound <= best.merit:
            break
        try:
            result = _resolve(provider, request)
        except ResolutionImpossible as error:
            failure = failure or error
            continue
        merit = _merit(_release_of(anchor, result), verdict)
        if best is None or merit > best.merit:
            best = _Resolved(verdict=verdict, provider=provider, result=result, merit=merit)
        if not any(isinstance(pin, Candidate) and pin.backend is not None for pin in result.mapping.values()):
            break  # nothing of the closure depends on the backend
    passed_over = {url: rejection for provider, _ in providers for url, rejection in provider.rejected.items()}
    if best is None:
        assert failure is not None  # noqa: S101  (there was at least one attempt)
        raise explain_impossible(
            failure.causes, request, target, offers=offers, runs=runs, passed_over=passed_over
        ) from failure
    return best, passed_over


def _resolve(provider: SelectionProvider, request: Request) -> Result[Need, Pin, str]:
    roots: list[Need] = [Wanted(one) for one in request.requirements if provider.applies(one)]
    resolver: Resolver[Need, Pin, str] = Resolver(provider, BaseReporter())
    try:
        return resolver.resolve(provider.read_ahead(roots), max_rounds=MAX_ROUNDS)
    except ResolutionTooDeep as error:
        raise UnsatisfiableError(
            "too-deep",
            f"no closure was found within {MAX_ROUNDS} steps",
            hint="pin more of the projects to versions, with -c",
        ) from error


def _merit(release: Version, verdict: Runs) -> tuple[object, ...]:
    return release, verdict.native, verdict.backend.order


def _newest_possible(provider: SelectionProvider, project: NormalizedName, request: Request) -> Version:
    bounds = (*request.requirements, *request.constraints)
    specifier = SpecifierSet()
    for one in bounds:
        if canonicalize_name(one.name) == project and provider.applies(one):
            specifier &= one.specifier
    found = admitted(provider.candidates(project), specifier, pre=request.pre)
    return max((one.version.__replace__(local=None) for one in found), default=_NO_RELEASE)


def _release_of(project: NormalizedName, result: Result[Need, Pin, str]) -> Version:
    pin = result.mapping.get(project)
    return pin.version.__replace__(local=None) if isinstance(pin, Candidate) else _NO_RELEASE


def _verdicts(request: Request, target: Target, backends: Sequence[Backend]) -> tuple[BackendVerdict, ...]:
    if request.backend is not None:
        return (verdict_for_forced(target, request.backend),)
    return judge_backends(target, sorted(backends, key=lambda backend: backend.order, reverse=True))


def _choices(best: _Resolved, request: Request) -> tuple[Choice, ...]:
    extras: dict[NormalizedName, set[NormalizedName]] = {}
    candidates: dict[NormalizedName, Candidate] = {}
    for pin in best.result.mapping.values():
        match pin:
            case WithExtras(candidate, names):
                candidates[candidate.project] = candidate
                extras.setdefault(candidate.project, set()).update(names)
            case Candidate():
                candidates[pin.project] = pin
    return tuple(
        Choice(
            candidate=candidate,
            metadata=None if request.no_deps else best.provider.metadata(candidate),
            extras=frozenset(extras.get(project, ())),
            specifier=(specifier := _specifier(project, best.result)),
            required_by=_required_by(project, best.result),
            why=_why(candidate, specifier, best.verdict),
        )
        for project, candidate in sorted(candidates.items())
    )


def _applicable(
    choices: Sequence[Choice], provider: SelectionProvider
) -> list[tuple[Candidate, tuple[Requirement, ...]]]:
    return [
        (choice.candidate, tuple(filter(provider.applies, choice.metadata.requires_dist)))
        for choice in choices
        if choice.metadata is not None
    ]


def _information(project: NormalizedName, result: Result[Need, Pin, str]) -> list[RequirementInformation[Need, Pin]]:
    criteria: dict[str, Criterion[Need, Pin]] = dict(result.criteria)
    return [
        one
        for identifier, criterion in sorted(criteria.items())
        for one in criterion.information
        if (isinstance(one.requirement, Wanted) and project_of(identifier) == project)
        or (isinstance(one.requirement, Bound) and project == TORCH)
    ]


def _required_by(
    project: NormalizedName, result: Result[Need, Pin, str]
) -> tuple[tuple[NormalizedName | None, str], ...]:
    found: dict[tuple[NormalizedName | None, str], None] = {}
    for one in _information(project, result):
        match one.parent:
            case Candidate() as parent:
                found[parent.project, str(one.requirement)] = None
            case WithExtras(inner, _):
                found[inner.project, str(one.requirement)] = None
            case _:
                found[None, str(one.requirement)] = None
    return tuple(found)


def _specifier(project: NormalizedName, result: Result[Need, Pin, str]) -> SpecifierSet:
    specifier = SpecifierSet()
    for one in _information(project, result):
        if isinstance(one.requirement, Wanted):
            specifier &= one.requirement.requirement.specifier
    return specifier


def _why(candidate: Candidate, specifier: SpecifierSet, verdict: Runs) -> str:
    newest = f"newest that satisfies {specifier}" if specifier else "newest that fits the target"
    if candidate.backend is not None:
        return f"{newest}; {verdict.detail}"
    return newest if candidate.source is Source.DEFAULT_INDEX else f"{newest} (from upstream's pages)"
