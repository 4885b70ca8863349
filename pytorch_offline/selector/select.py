"""Choose the closure of exact wheels for one target."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from packaging.specifiers import SpecifierSet
from resolvelib import BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.drivers import CannotRun, Runs, judge_backends, verdict_for_forced
from pytorch_offline.selector.explain import backend_rejection, explain_impossible, losers
from pytorch_offline.selector.model import Candidate, Choice, Selection, Source
from pytorch_offline.selector.provider import BACKEND, Need, Pin, SelectionProvider, Wanted, WithExtras, project_of
from pytorch_offline.wheels.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.utils import NormalizedName
    from resolvelib.resolvers import Criterion, RequirementInformation, Result

    from pytorch_offline.selector.drivers import BackendVerdict
    from pytorch_offline.selector.model import Request
    from pytorch_offline.selector.offers import Offers
    from pytorch_offline.target.model import Target

# resolvelib's default of 100 is below what a deep graph needs; pip allows 200,000 rounds for the same reason.
MAX_ROUNDS = 200_000


def select(request: Request, target: Target, offers: Offers, backends: Sequence[Backend]) -> Selection:
    """Resolve a request for a target over what the indexes offer.

    ``backends`` are all that upstream may have; those that the target cannot run are passed over with a reason.

    Raises:
        UnsatisfiableError: ``no-backend``, ``project-not-found``, ``no-wheel`` or ``conflict``.
        UsageError: ``unknown-driver`` (see ``judge_backends``).
        UpstreamError: a page or a METADATA could not be read.
    """
    verdicts = _verdicts(request, target, backends)
    runs = [verdict for verdict in verdicts if isinstance(verdict, Runs)]
    warnings: list[str] = []
    if request.backend is not None and not runs:
        # The user knows better, or only prepares a file set: a warning, not a refusal (DESIGN section 5).
        verdict = verdicts[0]
        warnings.append(f"backend {request.backend} was forced, but will not run there: {verdict.detail}")
        runs = [Runs(backend=request.backend, native=False, detail="forced by --backend")]
    if not runs:
        raise UnsatisfiableError(
            "no-backend",
            f"no build of torch runs on target {target.name}",
            facts={str(verdict.backend): verdict.detail for verdict in verdicts},
            hint="update the driver, or force a build with --backend (cpu runs everywhere)",
        )
    provider = SelectionProvider(request, target, offers, runs)
    roots: list[Need] = [Wanted(one) for one in request.requirements if provider.applies(one)]
    resolver: Resolver[Need, Pin, str] = Resolver(provider, BaseReporter())
    try:
        result = resolver.resolve(roots, max_rounds=MAX_ROUNDS)
    except ResolutionImpossible as error:
        causes = cast("Sequence[RequirementInformation[Need, Pin]]", error.causes)
        raise explain_impossible(causes, target, offers, provider, runs) from error
    except ResolutionTooDeep as error:
        raise UnsatisfiableError(
            "too-deep",
            f"no closure was found within {MAX_ROUNDS} steps",
            hint="pin more of the projects to versions, with -c",
        ) from error
    choices = _choices(result, provider, runs, request)
    unfit = [backend_rejection(verdict) for verdict in verdicts if isinstance(verdict, CannotRun)]
    backend = result.mapping.get(BACKEND)
    return Selection(
        target=target,
        request=request,
        backend=backend if isinstance(backend, Backend) else None,
        choices=choices,
        rejected=(*unfit, *losers(choices, offers, provider, runs)),
        warnings=(*warnings, *provider.warnings),
    )


def _verdicts(request: Request, target: Target, backends: Sequence[Backend]) -> tuple[BackendVerdict, ...]:
    if request.backend is not None:
        return (verdict_for_forced(target, request.backend),)
    return judge_backends(target, sorted(backends, key=lambda backend: backend.order, reverse=True))


def _choices(
    result: Result[Need, Pin, str], provider: SelectionProvider, runs: Sequence[Runs], request: Request
) -> tuple[Choice, ...]:
    extras: dict[NormalizedName, set[NormalizedName]] = {}
    candidates: dict[NormalizedName, Candidate] = {}
    for pin in result.mapping.values():
        match pin:
            case WithExtras(candidate, names):
                candidates[candidate.project] = candidate
                extras.setdefault(candidate.project, set()).update(names)
            case Candidate():
                candidates[pin.project] = pin
    details = {verdict.backend: verdict.detail for verdict in runs}
    return tuple(
        Choice(
            candidate=candidate,
            metadata=None if request.no_deps else provider.metadata(candidate),
            extras=frozenset(extras.get(project, ())),
            required_by=_required_by(project, result),
            specifier=(specifier := _specifier(project, result)),
            why=_why(candidate, specifier, details),
        )
        for project, candidate in sorted(candidates.items())
    )


def _information(project: NormalizedName, result: Result[Need, Pin, str]) -> list[RequirementInformation[Need, Pin]]:
    criteria: dict[str, Criterion[Need, Pin]] = dict(result.criteria)
    return [
        one
        for identifier, criterion in sorted(criteria.items())
        if identifier != BACKEND and project_of(identifier) == project
        for one in criterion.information
        if isinstance(one.requirement, Wanted)
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


def _why(candidate: Candidate, specifier: SpecifierSet, details: dict[Backend, str]) -> str:
    newest = f"newest that satisfies {specifier}" if specifier else "newest that fits the target"
    if candidate.backend is None:
        source = "" if candidate.source is Source.DEFAULT_INDEX else " (from upstream's pages)"
        return newest + source
    return f"{newest}; {details[candidate.backend]}"
