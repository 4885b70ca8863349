"""Say in one sentence, with its facts, why nothing could be chosen, and what there is nearest to it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import family_projects, projects_built_per_backend
from pytorch_offline.selector.lost_wheels import describe_misfits, name_backends, name_first
from pytorch_offline.selector.model import Candidate, Rejection
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.resolving.provider import Wanted, WithExtras, identifier_of
from pytorch_offline.selector.rules.architectures import jetson_advice
from pytorch_offline.selector.rules.candidates import NOT_ASKED_FOR, admitted, describe_yank
from pytorch_offline.selector.rules.companions import TABLE_HINT, Bound, named_torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from resolvelib.resolvers import RequirementInformation

    from pytorch_offline.selector.model import Offers, Request
    from pytorch_offline.selector.resolving.conflict import Step
    from pytorch_offline.selector.resolving.provider import Need, Pin
    from pytorch_offline.selector.rules.drivers import Runs
    from pytorch_offline.target.model import Target

# How many of the versions that exist an error names.
NAMED_VERSIONS = 6
# What is told last: other Pythons, and before them other backends, say the least of what stands in the way.
_LATE = {Reason.BACKEND: 1, Reason.WHEEL_TAGS: 2}


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
                hint=f"`pytorch-offline crawl --project {project}` and `matrix {project}` show where it is listed"
                if project in family_projects()
                else "check the spelling; projects outside torch's family are looked for in the default index",
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
                lost.append(candidate.rejected(Reason.BACKEND, detail))
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


def _withheld(candidate: Candidate) -> Rejection:
    """Say why a wheel that fits the target and the bounds is not admitted all the same (``candidates.admitted``)."""
    yanked = candidate.file.link.yanked
    if yanked is not None:
        return candidate.rejected(Reason.YANKED, f"{describe_yank(yanked)}; only an exact pin (==) admits it")
    return candidate.rejected(Reason.PRE_RELEASE, NOT_ASKED_FOR)


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
    past = {one.file.name.version for one in inside if one.file is not None and one.reason is not Reason.WHEEL_TAGS}
    for reason, _ in sorted(counts.most_common(), key=lambda counted: _LATE.get(counted[0], 0)):
        lost = [one for one in inside if one.reason == reason]
        if reason is Reason.WHEEL_TAGS:
            lost = [one for one in lost if one.file is not None and one.file.name.version not in past]
        if lost:
            told = describe_misfits(lost, target) if reason is Reason.WHEEL_TAGS else _sampled(lost)
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
    counts: Counter[Reason],
    rejected: Sequence[Rejection],
) -> str:
    """Say what to do, by the rule that most stands in the way."""
    if finals:
        return f"versions of {project} with a wheel for this target: {_listed(finals)}"
    if counts[Reason.PIP_TOO_OLD]:
        return f"bring a newer pip to the target, or give --python-version to choose without regard to pip {target.pip}"
    if project in projects_built_per_backend() and (advice := jetson_advice(target)) is not None:
        return advice
    if counts[Reason.GPU_ARCHITECTURE]:
        return f"no build of {project} that the driver admits has code for every GPU of this target"
    if target.libc is not None and target.libc.name == "musl" and counts[Reason.GLIBC]:
        return f"{project} is built for glibc alone: take an image of Debian, Ubuntu or Rocky Linux instead of this one"
    if counts[Reason.BACKEND]:
        return f"the wheels of {project} that fit this target are for another backend; name it with --backend"
    if any(one.reason in {Reason.WHEEL_TAGS, Reason.REQUIRES_PYTHON} for one in rejected):
        return f"no version of {project} has a wheel for this very target; try another Python, platform or backend"
    return f"build a wheel of {project} yourself, and serve it from an index of your own"


def _listed(versions: Sequence[Version]) -> str:
    """List the first versions without their local labels, and count the others."""
    names = list(dict.fromkeys(version.public for version in versions))
    return name_first(names, NAMED_VERSIONS, "older")


def _sampled(lost: Sequence[Rejection]) -> str:
    """Tell what the newest wheel failed by, and name the wheel where there are more."""
    newest = max(lost, key=lambda one: one.file.name.version if one.file is not None else Version("0"))
    if len({one.detail for one in lost}) == 1:
        return newest.detail
    name = newest.file.name.filename if newest.file is not None else str(newest.backend)
    return f"e.g. {name}: {newest.detail}"
