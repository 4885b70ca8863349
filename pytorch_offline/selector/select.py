"""Choose the closure of exact wheels for one target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.selector.explaining.losers import losers
from pytorch_offline.selector.lost_wheels import name_backends
from pytorch_offline.selector.model import Candidate, Choice, Offers, Selection, Source
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.resolving.provider import Need, Pin, SelectionProvider, Wanted, WithExtras, project_of
from pytorch_offline.selector.resolving.search import Resolved, anchor_of, find_best
from pytorch_offline.selector.rules.architectures import jetson_advice, unknown_devices
from pytorch_offline.selector.rules.builds import BuildJudge
from pytorch_offline.selector.rules.companions import Bound, companion_warnings
from pytorch_offline.selector.rules.drivers import CannotRun, Runs, driver_warnings, judge_backends, verdict_for_forced
from pytorch_offline.selector.rules.hashes import check_hash_mode
from pytorch_offline.selector.rules.pinned_backend import judge_pin
from pytorch_offline.wheels.backend import CPU, BackendKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.requirements import Requirement
    from packaging.utils import NormalizedName
    from resolvelib.resolvers import RequirementInformation

    from pytorch_offline.selector.model import Request
    from pytorch_offline.selector.resolving.closure import Closure
    from pytorch_offline.selector.rules.drivers import BackendVerdict
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend


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
    pinned = judge_pin(request, target, backends)
    verdicts = _verdicts(request, target, backends) if pinned is None else (pinned,)
    runs = [verdict for verdict in verdicts if isinstance(verdict, Runs)]
    warnings: list[str] = []
    if request.backend is not None and not runs:
        # The user knows better, or only prepares a file set: a warning, not a refusal (DESIGN section 5).
        warnings.append(f"backend {request.backend} was forced, but will not run there: {verdicts[0].detail}")
        runs = [Runs(backend=request.backend, native=False, detail="it was forced")]
    if not runs:
        raise NothingFitsError(
            "no-backend",
            f"no build of torch runs on target {target.name}",
            facts=_grouped([verdict for verdict in verdicts if isinstance(verdict, CannotRun)]),
            hint=jetson_advice(target) or "update the driver, or force a build with --backend (cpu runs everywhere)",
            project=TORCH,
            rejected=[verdict.rejection for verdict in verdicts if isinstance(verdict, CannotRun)],
        )
    builds = BuildJudge(target, offers, forced=request.backend is not None)
    try:
        best, passed_over = find_best(request, target, offers, runs, builds)
    except UnsatisfiableError as error:
        if request.backend is None or request.backend in backends:
            raise
        raise UnsatisfiableError(
            "backend-not-found",
            f"no upstream has a backend {request.backend}",
            facts={"backends": ", ".join(map(str, backends))},
            hint="leave --backend at auto, or name one of these",
        ) from error
    choices = _choices(best, request, builds)
    check_hash_mode(request, choices)
    if request.backend is not None:
        warnings += [
            f"{choice.candidate.file.name.filename} was forced, but has {reason}"
            for choice in choices
            if (reason := builds.unserved(choice.candidate)) is not None
        ]
    unfit = [verdict.rejection for verdict in verdicts if isinstance(verdict, CannotRun)]
    built = {choice.candidate.backend for choice in choices} - {None}
    guessed = request.backend is None and target.accelerator is None and target.system != "Darwin"
    if guessed and CPU in built:
        warnings.append(
            f"nothing is known of a GPU on target {target.name}, so builds for the CPU were chosen; "
            "say what it has with --driver and --gpu, or --accelerator none"
        )
    if built and best.verdict.backend.kind in {BackendKind.CUDA, BackendKind.ROCM}:
        warnings += driver_warnings(target)
        warnings += [
            f"what code {device} runs is not known, so torch's kernels were not checked for it; "
            "say it with --compute-capability (developer.nvidia.com/cuda-gpus)"
            for device in unknown_devices(target)
        ]
    warnings += [told for choice in choices if (told := builds.unmeasured(choice.candidate)) is not None]
    return Selection(
        target=target,
        request=request,
        backend=best.verdict.backend if built else None,
        choices=choices,
        rejected=(
            *unfit,
            *losers(choices, best.verdict, runs, offers=offers, passed_over=passed_over, anchor=anchor_of(request)),
        ),
        warnings=(*warnings, *best.provider.warnings, *companion_warnings(_applicable(choices, best.provider))),
    )


def _grouped(verdicts: Sequence[CannotRun]) -> dict[str, object]:
    """Say each reason once, for all backends that fail by it."""
    backends: dict[str, list[Backend]] = {}
    for verdict in verdicts:
        backends.setdefault(verdict.rejection.rule, []).append(verdict.backend)
    return {name_backends(found): detail for detail, found in backends.items()}


def _verdicts(request: Request, target: Target, backends: Sequence[Backend]) -> tuple[BackendVerdict, ...]:
    if request.backend is not None:
        return (verdict_for_forced(target, request.backend),)
    return judge_backends(target, sorted(backends, key=lambda backend: backend.order, reverse=True))


def _choices(best: Resolved, request: Request, builds: BuildJudge) -> tuple[Choice, ...]:
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
            why=_why(candidate, specifier, best.verdict, builds),
            kernels=builds.evidence(candidate),
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


def _information(project: NormalizedName, result: Closure) -> list[RequirementInformation[Need, Pin]]:
    return [
        one
        for identifier, information in sorted(result.information.items())
        for one in information
        if (isinstance(one.requirement, Wanted) and project_of(identifier) == project)
        or (isinstance(one.requirement, Bound) and project == TORCH)
    ]


def _required_by(project: NormalizedName, result: Closure) -> tuple[tuple[NormalizedName | None, str], ...]:
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


def _specifier(project: NormalizedName, result: Closure) -> SpecifierSet:
    specifier = SpecifierSet()
    for one in _information(project, result):
        if isinstance(one.requirement, Wanted):
            specifier &= one.requirement.requirement.specifier
    return specifier


def _why(candidate: Candidate, specifier: SpecifierSet, verdict: Runs, builds: BuildJudge) -> str:
    newest = f"newest that satisfies {specifier}" if specifier else "newest that fits the target"
    if candidate.source is Source.DIRECT:
        newest = "asked for by its address"
    if candidate.backend is None and candidate.source is Source.UPSTREAM:
        newest += " (from upstream's pages)"
    verdicts = (None if candidate.backend is None else verdict.detail, builds.describe(candidate))
    return "; ".join(one for one in (newest, *verdicts, builds.describe_glibc(candidate)) if one is not None)
