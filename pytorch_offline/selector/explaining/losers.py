"""Say of each wheel that could have been chosen, and was not, by which rule it lost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.candidates import NOT_ASKED_FOR, describe_yank, preference
from pytorch_offline.selector.rules.companions import why_not_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.requirements import Requirement
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.selector.model import Candidate, Choice, Offers, Rejection
    from pytorch_offline.selector.rules.drivers import Runs


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
            if candidate != chosen and _is_rival(choice, candidate.version)
        ]
        rejected += offer.rejected.of_versions(partial(_is_rival, choice))
    return rejected


def _not_together(candidate: Candidate, chosen: Iterable[tuple[Candidate, Sequence[Requirement]]]) -> Rejection | None:
    against = why_not_together(candidate, chosen)
    return None if against is None else candidate.rejected(Reason.COMPANION, against)


def _is_rival(choice: Choice, version: Version) -> bool:
    return version >= choice.candidate.release and choice.specifier.contains(version, prereleases=True)


def _lost(candidate: Candidate, chosen: Candidate, verdict: Runs, runs: Sequence[Runs]) -> Rejection:
    yanked = candidate.file.link.yanked
    if yanked is not None:
        reason, detail = Reason.YANKED, describe_yank(yanked)
    elif candidate.version.is_prerelease and not chosen.version.is_prerelease:
        reason, detail = Reason.PRE_RELEASE, NOT_ASKED_FOR
    elif candidate.backend is not None and candidate.backend != verdict.backend:
        reason = Reason.BACKEND
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
        reason = Reason.LESS_PREFERRED
    else:
        reason, detail = Reason.CONFLICT, "does not fit together with the other requirements of the closure"
    return candidate.rejected(reason, detail)
