"""Say in words and values why something was not chosen, and why nothing could be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import family_projects, projects_built_per_backend
from pytorch_offline.selector.lost_wheels import describe_misfits, name_backends
from pytorch_offline.selector.model import Candidate, Choice, Rejection
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.resolving.provider import Wanted, WithExtras, identifier_of
from pytorch_offline.selector.rules.architectures import jetson_advice
from pytorch_offline.selector.rules.candidates import admitted, preference
from pytorch_offline.selector.rules.companions import TABLE_HINT, Bound, named_torch, why_not_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.requirements import Requirement
    from resolvelib.resolvers import RequirementInformation

    from pytorch_offline.selector.model import Offers, Request
    from pytorch_offline.selector.resolving.conflict import Step
    from pytorch_offline.selector.resolving.provider import Need, Pin
    from pytorch_offline.selector.rules.drivers import CannotRun, Runs
    from pytorch_offline.target.model import Target

# How many of the versions that exist an error names.
NAMED_VERSIONS = 6
TAGS = "wheel-tags"
NOT_ASKED_FOR = "a pre-release, which was not asked for (--pre)"


def backend_rejection(verdict: CannotRun) -> Rejection:
    """Turn a backend that the target cannot run into a rejection of torch's builds for it."""
    torch = NormalizedName("torch")
    return Rejection(project=torch, file=None, backend=verdict.backend, reason=verdict.reason, detail=verdict.detail)


def losers(
    choices: Sequence[Choice],
    verdict: Runs,
    runs: Sequence[Runs],
    *,
    offers: Offers,
    passed_over: Mapping[str, Rejection],
    anchor: NormalizedName,
) -> list[Rejection]:
    """Say of every wheel that the requirements admit, and that is not older than the chosen one, why it lost.

    Builds for other backends are told of the project that decides between them, whose pages were all read.
    """
    rejected: list[Rejection] = []
    together = [(one.candidate, one.metadata.requires_dist) for one in choices if one.metadata is not None]
    for choice in choices:
        chosen = choice.candidate
        others = runs if chosen.project == anchor else [verdict]
        offer = offers.offer(chosen.project, tuple(other.backend for other in others))
        rejected += [
            passed_over.get(candidate.file.link.url)
            or _not_together(candidate, together)
            or _lost(candidate, chosen, verdict, runs)
            for candidate in offer.candidates
            if candidate != chosen and _is_rival(candidate.version, choice)
        ]
        rejected += [
            rejection
            for rejection in offer.rejected
            if rejection.file is not None and _is_rival(rejection.file.name.version, choice)
        ]
    return rejected


def _not_together(candidate: Candidate, chosen: Iterable[tuple[Candidate, Sequence[Requirement]]]) -> Rejection | None:
    against = why_not_together(candidate, chosen)
    return None if against is None else _rejection(candidate, "companion", against)


def _is_rival(version: Version, choice: Choice) -> bool:
    release = choice.candidate.version.__replace__(local=None)
    return version >= release and choice.specifier.contains(version, prereleases=True)


def _lost(candidate: Candidate, chosen: Candidate, verdict: Runs, runs: Sequence[Runs]) -> Rejection:
    yanked = candidate.file.link.yanked
    if yanked is not None:
        reason, detail = "yanked", _yanked(yanked)
    elif candidate.version.is_prerelease and not chosen.version.is_prerelease:
        reason, detail = "pre-release", NOT_ASKED_FOR
    elif candidate.backend is not None and candidate.backend != verdict.backend:
        reason = "backend"
        other = next((one for one in runs if one.backend == candidate.backend), None)
        if other is None:
            detail = f"the target is served by {verdict.backend}"
        elif candidate.version.public != chosen.version.public:
            detail = f"no closure with it was found for {candidate.backend}"
        elif verdict.native and not other.native:
            detail = f"{verdict.detail} natively; {other.detail}"
        else:
            detail = f"{verdict.backend} is preferred: {verdict.detail}"
    elif preference(candidate) < preference(chosen):
        detail = f"{chosen.file.name.filename} is preferred: newer, or closer to the target's best tag"
        reason = "less-preferred"
    else:
        reason, detail = "conflict", "does not fit together with the other requirements of the closure"
    return _rejection(candidate, reason, detail)


def explain_impossible(
    causes: Iterable[RequirementInformation[Need, Pin]],
    request: Request,
    target: Target,
    *,
    offers: Offers,
    runs: Sequence[Runs],
    passed_over: Mapping[str, Rejection],
    chain: Sequence[Step] = (),
) -> UnsatisfiableError:
    """Turn a conflict into one sentence with its facts and the nearest thing that exists.

    ``chain`` is the whole derivation where there is one (``conflict_chain``); else the last dead end is told.
    """
    backends = tuple(verdict.backend for verdict in runs)
    needs = [(one.requirement, _spoken(one)) for one in causes if isinstance(one.requirement, Wanted)]
    for need, asked in needs:
        project = canonicalize_name(need.requirement.name)
        offer = offers.offer(project, backends)
        if not offer.known:
            return NothingFitsError(
                "project-not-found",
                f"no page of {name_backends(backends)} lists {project} ({asked})"
                if project in family_projects()
                else f"no index has a project called {project} ({asked})",
                hint="check the spelling; projects outside torch's family are looked for in the default index",
                project=project,
            )
        bounds = [need.requirement, *(one for one in request.constraints if canonicalize_name(one.name) == project)]
        specifier = SpecifierSet()
        for bound in bounds:
            specifier &= bound.specifier
        lost = [rejection for rejection in passed_over.values() if rejection.project == project]
        for candidate in offer.candidates:
            if candidate.backend is not None and candidate.backend not in backends:
                detail = f"built for {candidate.backend}"
                lost.append(_rejection(candidate, "backend", detail))
        gone = {one.file.link.url for one in lost if one.file is not None}
        usable = [one for one in offer.candidates if one.file.link.url not in gone]
        pre = request.admits_pre(project)
        if chain and admitted(usable, need.requirement.specifier, pre=pre):
            continue  # a bound of the user's (-c) is one side of the contradiction
        if not admitted(usable, specifier, pre=pre):
            rejected = [*offer.rejected, *lost, *(_withheld(one) for one in usable if specifier.contains(one.version))]
            return _no_wheel(
                target, asked, project, specifier, candidates=usable, rejected=rejected, sources=offer.sources
            )
    bounds_by_table = [_spoken(one) for one in causes if isinstance(one.requirement, Bound)]
    spoken = [asked for _, asked in needs]
    if bounds_by_table:
        spoken += bounds_by_table + [f"{one} was asked for" for one in named_torch(request)]
    if chain:
        spoken = [step.text for step in chain]
    return UnsatisfiableError(
        "conflict",
        f"the requirements contradict each other for target {target.name}",
        facts={str(number): asked for number, asked in enumerate(dict.fromkeys(spoken), start=1)},
        hint=TABLE_HINT if bounds_by_table else "loosen one of these requirements",
        data={"chain": [step.as_data() for step in chain]} if chain else None,
    )


def _rejection(candidate: Candidate, reason: str, detail: str) -> Rejection:
    return Rejection(
        project=candidate.project, file=candidate.file, backend=candidate.backend, reason=reason, detail=detail
    )


def _withheld(candidate: Candidate) -> Rejection:
    """Say why a wheel that fits the target and the bounds is not admitted all the same (``candidates.admitted``)."""
    yanked = candidate.file.link.yanked
    if yanked is not None:
        return _rejection(candidate, "yanked", f"{_yanked(yanked)}; only an exact pin (==) admits it")
    return _rejection(candidate, "pre-release", NOT_ASKED_FOR)


def _yanked(reason: str) -> str:
    return f"yanked by its publisher: {reason or 'no reason given'}"


def _spoken(one: RequirementInformation[Need, Pin]) -> str:
    match one.parent:
        case Candidate() as parent:
            return f"{parent.project} {parent.version} requires {one.requirement}"
        case WithExtras(inner, extras):
            return f"{identifier_of(inner.project, extras)} {inner.version} requires {one.requirement}"
        case _:
            return f"{one.requirement} was asked for"


def _no_wheel(
    target: Target,
    asked: str,
    project: NormalizedName,
    specifier: SpecifierSet,
    *,
    candidates: Sequence[Candidate],
    rejected: Sequence[Rejection],
    sources: Iterable[Version],
) -> UnsatisfiableError:
    files = {one.file.link.url: (one.file.name.version, one) for one in rejected if one.file is not None}
    inside = [one for version, one in files.values() if specifier.contains(version, prereleases=True)]
    counts = Counter(rejection.reason for rejection in inside)
    facts: dict[str, object] = {"asked": asked}
    # A build that has a wheel for this target too is not told by its wheels for other Pythons; those come last.
    past = {one.file.name.version for one in inside if one.file is not None and one.reason != TAGS}
    for reason, _ in sorted(counts.most_common(), key=lambda counted: (counted[0] == TAGS, counted[0] == "backend")):
        lost = [one for one in inside if one.reason == reason]
        if reason == TAGS:
            lost = [one for one in lost if one.file is not None and one.file.name.version not in past]
        if lost:
            told = describe_misfits(lost, target) if reason == TAGS else _sampled(lost)
            facts[f"{len(lost)} fail {reason}"] = told
    offered = {version for version, _ in files.values()} | {candidate.version for candidate in candidates}
    unbuilt = sorted(set(sources) - offered, reverse=True)
    if wanted := [version for version in unbuilt if specifier.contains(version, prereleases=True)]:
        facts["only a source distribution"] = f"{_listed(wanted)}; nothing is built here"
    if not inside and not wanted and (offered or unbuilt):
        facts["newest offered"] = str(max(offered or unbuilt))
    lawful = [candidate for candidate in candidates if candidate.file.link.yanked is None]
    versions = sorted({candidate.version.public: candidate.version for candidate in lawful}.values(), reverse=True)
    finals = [version for version in versions if not version.is_prerelease] or versions
    hint = _hint(project, target, finals, counts, rejected)
    bounds = f" {specifier}" if specifier else ""
    return NothingFitsError(
        "no-wheel",
        f"no wheel of {project}{bounds} fits target {target.name}",
        facts=facts,
        hint=hint,
        project=project,
        fitting=finals,
        rejected=inside,
        beyond=[one for version, one in files.values() if not specifier.contains(version, prereleases=True)],
    )


def _hint(
    project: NormalizedName,
    target: Target,
    finals: Sequence[Version],
    counts: Counter[str],
    rejected: Sequence[Rejection],
) -> str:
    """Say what to do, by the rule that most stands in the way."""
    if finals:
        return f"versions of {project} with a wheel for this target: {_listed(finals)}"
    if counts["pip-too-old"]:
        return f"bring a newer pip to the target, or give --python-version to choose without regard to pip {target.pip}"
    if project in projects_built_per_backend() and (advice := jetson_advice(target)) is not None:
        return advice
    if counts["gpu-architecture"]:
        return f"no build of {project} that the driver admits has code for every GPU of this target"
    if target.libc is not None and target.libc.name == "musl" and counts["glibc"]:
        return f"{project} is built for glibc alone: take an image of Debian, Ubuntu or Rocky Linux instead of this one"
    if counts["backend"]:
        return f"the wheels of {project} that fit this target are for another backend; name it with --backend"
    if any(one.reason in {TAGS, "requires-python"} for one in rejected):
        return f"no version of {project} has a wheel for this very target; try another Python, platform or backend"
    return f"build a wheel of {project} yourself, and serve it from an index of your own"


def _listed(versions: Sequence[Version]) -> str:
    """List the first versions without their local labels, and count the others."""
    names = list(dict.fromkeys(version.public for version in versions))
    more = f" and {len(names) - NAMED_VERSIONS} older" if len(names) > NAMED_VERSIONS else ""
    return ", ".join(names[:NAMED_VERSIONS]) + more


def _sampled(lost: Sequence[Rejection]) -> str:
    """Tell what the newest wheel failed by, and name the wheel where there are more."""
    newest = max(lost, key=lambda one: one.file.name.version if one.file is not None else Version("0"))
    if len({one.detail for one in lost}) == 1:
        return newest.detail
    name = newest.file.name.filename if newest.file is not None else str(newest.backend)
    return f"e.g. {name}: {newest.detail}"
