"""Say in words and values why something was not chosen, and why nothing could be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.candidates import preference
from pytorch_offline.selector.model import Candidate, Choice, Rejection
from pytorch_offline.selector.provider import Need, Pin, SelectionProvider, Wanted, WithExtras, identifier_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.version import Version
    from resolvelib.resolvers import RequirementInformation

    from pytorch_offline.selector.drivers import CannotRun, Runs
    from pytorch_offline.selector.offers import Offers
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# How many of the versions that exist an error names.
NAMED_VERSIONS = 6


def backend_rejection(verdict: CannotRun) -> Rejection:
    """Turn a backend that the target cannot run into a rejection of torch's builds for it."""
    torch = NormalizedName("torch")
    return Rejection(project=torch, file=None, backend=verdict.backend, reason=verdict.reason, detail=verdict.detail)


def losers(
    choices: Sequence[Choice], offers: Offers, provider: SelectionProvider, runs: Sequence[Runs]
) -> list[Rejection]:
    """Say of every wheel that the requirements admit, and that is not older than the chosen one, why it lost."""
    native = frozenset(verdict.backend for verdict in runs if verdict.native)
    backends = tuple(verdict.backend for verdict in runs)
    rejected: list[Rejection] = []
    for choice in choices:
        chosen = choice.candidate
        rejected += [
            _lost(candidate, chosen, native, provider)
            for candidate in provider.candidates(chosen.project, backends)
            if candidate != chosen and _is_rival(candidate.version, choice)
        ]
        rejected += [
            rejection
            for rejection in offers.offer(chosen.project, backends).rejected
            if rejection.file is not None and _is_rival(rejection.file.name.version, choice)
        ]
    return rejected


def _is_rival(version: Version, choice: Choice) -> bool:
    release = choice.candidate.version.__replace__(local=None)
    return version >= release and choice.specifier.contains(version, prereleases=True)


def _lost(
    candidate: Candidate, chosen: Candidate, native: frozenset[Backend], provider: SelectionProvider
) -> Rejection:
    known = provider.rejected.get(candidate.file.link.url)
    if known is not None:
        return known
    yanked = candidate.file.link.yanked
    if yanked is not None:
        reason, detail = "yanked", f"yanked by its publisher: {yanked or 'no reason given'}"
    elif candidate.version.is_prerelease and not chosen.version.is_prerelease:
        reason, detail = "pre-release", "a pre-release, which was not asked for (--pre)"
    elif candidate.backend != chosen.backend and candidate.version.public == chosen.version.public:
        reason = "backend"
        if chosen.backend in native and candidate.backend not in native:
            detail = f"{chosen.backend} is covered natively by the driver, {candidate.backend} only by compatibility"
        else:
            detail = f"{chosen.backend} is preferred to {candidate.backend}"
    elif preference(candidate, native) < preference(chosen, native):
        detail = f"{chosen.file.name.filename} is preferred: newer, or closer to the target's best tag"
        reason = "less-preferred"
    else:
        reason, detail = "conflict", "does not fit together with the other requirements of the closure"
    return Rejection(
        project=candidate.project, file=candidate.file, backend=candidate.backend, reason=reason, detail=detail
    )


def explain_impossible(
    causes: Sequence[RequirementInformation[Need, Pin]],
    target: Target,
    offers: Offers,
    provider: SelectionProvider,
    runs: Sequence[Runs],
) -> UnsatisfiableError:
    """Turn a conflict into one sentence with its facts and the nearest thing that exists."""
    backends = tuple(verdict.backend for verdict in runs)
    needs = [(one.requirement, _spoken(one)) for one in causes if isinstance(one.requirement, Wanted)]
    for need, asked in needs:
        project = canonicalize_name(need.requirement.name)
        offer = offers.offer(project, backends)
        if not offer.known:
            return UnsatisfiableError(
                "project-not-found",
                f"no index has a project called {project} ({asked})",
                facts={"backends": ", ".join(map(str, backends))},
                hint="check the spelling; projects outside torch's family are looked for in the default index",
            )
        specifier = SpecifierSet()
        for other, _ in needs:
            if canonicalize_name(other.requirement.name) == project:
                specifier &= other.requirement.specifier
        candidates = provider.candidates(project, backends)
        if not provider.admitted(candidates, specifier):
            rejected = (*offer.rejected, *provider.rejected_of(project))
            return _no_wheel(target, asked, project, specifier, candidates=candidates, rejected=rejected)
    facts = {f"{number}": _spoken(one) for number, one in enumerate(causes, start=1)}
    return UnsatisfiableError(
        "conflict",
        f"the requirements contradict each other for target {target.name}",
        facts=facts,
        hint="loosen one of these requirements",
    )


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
) -> UnsatisfiableError:
    counts = Counter(rejection.reason for rejection in rejected)
    facts: dict[str, object] = {"asked": asked}
    for reason, count in counts.most_common():
        sample = next(rejection for rejection in reversed(rejected) if rejection.reason == reason)
        name = sample.file.name.filename if sample.file is not None else str(sample.backend)
        facts[f"{count} fail {reason}"] = f"e.g. {name}: {sample.detail}"
    versions = sorted({candidate.version.public: candidate.version for candidate in candidates}.values(), reverse=True)
    finals = [version for version in versions if not version.is_prerelease] or versions
    if finals:
        shown = ", ".join(version.public for version in finals[:NAMED_VERSIONS])
        more = f" and {len(finals) - NAMED_VERSIONS} older" if len(finals) > NAMED_VERSIONS else ""
        hint = f"versions of {project} with a wheel for this target: {shown}{more}"
    else:
        hint = f"no version of {project} has a wheel for this target; try another Python, platform or backend"
    bounds = f" {specifier}" if specifier else ""
    return UnsatisfiableError(
        "no-wheel", f"no wheel of {project}{bounds} fits target {target.name}", facts=facts, hint=hint
    )
