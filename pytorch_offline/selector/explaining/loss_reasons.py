"""By which rules did a wheel lose, for one request and one target: the reasons behind ``--why`` and ``--why-not``.

Every rule that a wheel fails is named, those of the machine before those of the request; a wheel that fails none is put
to the resolver itself, whose answer is the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.knowledge.family import TORCH, family_projects, projects_built_per_backend
from pytorch_offline.selector.lost_wheels import name_backends
from pytorch_offline.selector.model import Candidate, Offer, Rejection, Rejections
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.builds import BuildJudge
from pytorch_offline.selector.rules.candidates import NOT_ASKED_FOR, describe_yank
from pytorch_offline.selector.rules.drivers import CannotRun, judge_backends, verdict_for_forced
from pytorch_offline.target.markers import applies
from pytorch_offline.wheels.versions import holds_pin, release_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytorch_offline.selector.model import Choice, Offers, Request, Selection
    from pytorch_offline.selector.rules.drivers import BackendVerdict
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# A try is a whole resolution; of a version's builds the first few tell enough.
MOST_TRIES = 2
# Wheels whose inside is looked at for an answer, at some megabytes each; of the others the tables tell.
MOST_READS = 2
# Reasons that a resolution found in the wheel itself, or in what is known of it.
_OF_THE_WHEEL = frozenset(
    {
        Reason.GPU_ARCHITECTURE,
        Reason.GLIBC,
        Reason.REQUIRES_PYTHON,
        Reason.BAD_METADATA,
        Reason.URL_REQUIREMENT,
        Reason.COMPANION,
    }
)


class LossReasons:
    """Says of any wheel that an index lists why it was not chosen.

    Args:
        request: what was asked for.
        target: the machine.
        offers: what the indexes offer to it.
        backends: all that upstream may have.
        selection: what was chosen, None if nothing could be.
        attempt: the selector, to put a wheel to it that fails no rule of its own.
    """

    def __init__(
        self,
        request: Request,
        target: Target,
        *,
        offers: Offers,
        backends: Sequence[Backend],
        selection: Selection | None,
        attempt: Callable[[Request, Target], Selection],
    ) -> None:
        self.request = request
        self.target = target
        self._offers = offers
        self.verdicts = {verdict.backend: verdict for verdict in _judged(target, backends)}
        self.selection = selection
        self.choices: dict[NormalizedName, Choice] = {
            choice.candidate.project: choice for choice in (selection.choices if selection is not None else ())
        }
        self._attempt = attempt
        self._builds = BuildJudge(target, offers, forced=request.backend is not None)
        self._reads = MOST_READS
        rejected = selection.rejected if selection is not None else ()
        self._rejected = {one.file.link.url: one for one in rejected if one.file is not None}
        self._passed_over = {url: one for url, one in self._rejected.items() if one.reason in _OF_THE_WHEEL}

    def anchor(self) -> NormalizedName:
        """The project that is meant where none is named: torch, unless it cannot be part of the closure."""
        roots = [canonicalize_name(one.name) for one in self.request.requirements]
        return roots[0] if self.request.no_deps and TORCH not in roots and self.choices else TORCH

    def chosen_backends(self) -> list[Backend]:
        """The backend that was chosen, if any of the closure depends on one."""
        backend = self.selection.backend if self.selection is not None else None
        return [backend] if backend is not None else []

    def listed(self, project: NormalizedName, backends: Sequence[Backend]) -> tuple[Offer, Sequence[Backend]]:
        """Give all that the pages of these backends list of a project, and the backends whose pages were never read."""
        if project not in projects_built_per_backend():  # no page has more of it than another, if it has it at all
            backends = self.chosen_backends() or (backends if project in family_projects() else backends[:1])
        try:
            return self._offers.offer(project, tuple(backends)), ()
        except UpstreamError as error:
            if error.code != "not-in-catalogue" or len(backends) == 1:
                raise
        found, unread = [], []
        for backend in backends:
            try:
                found.append(self._offers.offer(project, (backend,)))
            except UpstreamError:
                unread.append(backend)
        return _united(found), unread

    def rows(self, meant: Iterable[Candidate | Rejection]) -> tuple[Rejection, ...]:
        """Say of each wheel why it lost; of those that fail no rule only the first few are put to the resolver."""
        tries = MOST_TRIES
        rejected: list[Rejection] = []
        for one in sorted(meant, key=_newest_first, reverse=True):
            if isinstance(one, Rejection):
                rejected.append(one)
                continue
            reasons = self.reasons(one)
            if not reasons:
                if tries == 0:
                    continue
                tries -= 1
                reasons = [self._by_trial(one)]
            rejected.append(_joined(one, reasons))
        return tuple(rejected)

    def rivals(self, choice: Choice) -> tuple[Rejection, ...]:
        """Say of every other wheel of a chosen project that is not older why it was not chosen.

        Raises:
            UpstreamError: a page could not be read.
        """
        chosen = choice.candidate
        kind = chosen.backend.kind if chosen.backend is not None else None
        backends = [one for one in self.verdicts if kind is None or one.kind is kind]
        offer, _ = self.listed(chosen.project, backends)
        release = release_of(chosen.version)
        rivals = [one for one in files_of(offer) if one != chosen and one.file is not None]
        meant = [one for one in rivals if one.file is not None and one.file.name.version >= release]
        bounds = self.bounding(chosen.project)
        rejected: list[Rejection] = []
        for one in meant:
            said = [
                (Reason.REQUIREMENT, text)
                for specifier, text in bounds
                if one.file is not None and not specifier.contains(one.file.name.version, prereleases=True)
            ]
            if not said and isinstance(one, Candidate):
                said = self.reasons(one)[:1]  # the first is enough to lose by
            rejected += [_joined(one, said)] if said else self.rows([one])
        return tuple(rejected)

    def lost_by_backend(self, project: NormalizedName) -> tuple[Rejection, ...]:
        """Name the wheels that were asked for, but for backends that the target's driver lacks.

        Those with the right tags alone, if there are any: the others fail two rules, and no driver would help.
        """
        unfit = [
            one.backend for one in self.verdicts.values() if isinstance(one, CannotRun) and one.reason == Reason.DRIVER
        ]
        if project not in projects_built_per_backend() or not unfit or self.request.backend is not None:
            return ()
        offer, _ = self.listed(project, unfit)
        bounds = self.bounds_on(project)
        fitting = [one for one in offer.candidates if bounds.contains(one.version, prereleases=True)]
        found = [
            _joined(one, [*self._by_device(one, read=False), *reasons])  # a GPU that no driver would help goes first
            for one in fitting
            if (reasons := list(self._by_backend(one)))
        ]
        if found:
            return tuple(found)
        return tuple(
            one
            for one in offer.rejected
            if one.file is not None and bounds.contains(one.file.name.version, prereleases=True)
        )

    def apart(self) -> dict[str, str]:
        """Say for which backends each root was built, where no backend that runs on the target has all of them."""
        runs = [one.backend for one in self.verdicts.values() if not isinstance(one, CannotRun)]
        if self.request.backend is not None:
            runs = [self.request.backend]
        found: dict[str, set[Backend]] = {}
        for root in self.request.requirements:
            project = canonicalize_name(root.name)
            if project in projects_built_per_backend() and applies(root, self.target.marker_environment):
                bounds = self.bounds_on(project)
                offer, _ = self.listed(project, runs)
                fitting = [one for one in offer.candidates if bounds.contains(one.version, prereleases=True)]
                if any(one.backend is None for one in fitting):
                    continue  # it serves every backend
                found[str(root)] = {one.backend for one in fitting if one.backend in runs}
        if len(found) < 2 or not all(found.values()) or set.intersection(*found.values()):  # noqa: PLR2004  (two roots)
            return {}
        built = {root: f"has fitting wheels for {name_backends(backends)}" for root, backends in found.items()}
        return built | {"together": "no backend has all of them"}

    def reasons(self, candidate: Candidate) -> list[tuple[Reason, str]]:
        """Name every rule that a wheel of the right tags fails, as reason and detail."""
        bounds = self.bounding(candidate.project)
        asked = [
            (Reason.REQUIREMENT, said)
            for specifier, said in bounds
            if not specifier.contains(candidate.version, prereleases=True)
        ]
        unfit = list(self._by_backend(candidate))
        found = [*unfit, *self._by_device(candidate, read=not unfit and not asked), *asked]
        pinned = any(holds_pin(specifier) for specifier, _ in bounds)
        yanked = candidate.file.link.yanked
        if yanked is not None and not pinned:
            found.append((Reason.YANKED, describe_yank(yanked)))
        if candidate.version.is_prerelease and not self.request.admits_pre(candidate.project) and not pinned:
            found.append((Reason.PRE_RELEASE, NOT_ASKED_FOR))
        return found or self._by_preference(candidate)

    def _by_backend(self, candidate: Candidate) -> Iterator[tuple[Reason, str]]:
        backend, forced = candidate.backend, self.request.backend
        if backend is None:
            return
        if forced is not None:
            if backend != forced:
                yield Reason.BACKEND, f"--backend {forced} was asked for"
            return
        verdict = self.verdicts.get(backend)
        if isinstance(verdict, CannotRun):
            yield verdict.reason, verdict.detail

    def _by_device(self, candidate: Candidate, *, read: bool) -> Iterator[tuple[Reason, str]]:
        """Judge what is inside, and repeat what a resolution found out.

        A wheel is read only where nothing else speaks against it, and only the first few; else the tables tell.
        """
        known = self._passed_over.get(candidate.file.link.url)
        if known is None and read and self._reads > 0:
            self._reads -= 1
            known = self._builds.judge(candidate)
        elif known is None:
            known = self._builds.judge_by_table(candidate)
        if known is not None:
            yield known.reason, known.detail

    def _by_preference(self, candidate: Candidate) -> list[tuple[Reason, str]]:
        choice = self.choices.get(candidate.project)
        if choice is None:
            return []
        chosen = choice.candidate
        if candidate.version.public != chosen.version.public:
            if candidate.version < chosen.version:
                return [(Reason.OLDER, f"{chosen.version} is newer, and fits as well")]
            return []
        if candidate.backend != chosen.backend:
            lost = self._rejected.get(candidate.file.link.url)
            if lost is not None:
                return [(lost.reason, lost.detail)]
            if candidate.project != self.anchor() and self.anchor() in self.choices:
                return [(Reason.BACKEND, f"{self.anchor()} is built for {chosen.backend} here, and the family agrees")]
            return []
        return [(Reason.LESS_PREFERRED, f"{chosen.file.name.filename} is closer to the target's best tag")]

    def _by_trial(self, candidate: Candidate) -> tuple[Reason, str]:
        """Ask the selector for this very version and backend, and say what comes out."""
        exact = f"=={candidate.version}"
        project = candidate.project
        is_root = any(canonicalize_name(one.name) == project for one in self.request.requirements)
        pin = Requirement(f"{project}{exact}")
        requirements = tuple(
            _pinned(one, exact) if canonicalize_name(one.name) == project else one for one in self.request.requirements
        )
        constraints = self.request.constraints if is_root else (*self.request.constraints, pin)
        backend = candidate.backend or self.request.backend
        request = replace(self.request, requirements=requirements, constraints=constraints, backend=backend)
        try:
            selection = self._attempt(request, self.target)
        except PytorchOfflineError as error:
            by_this_trial = {f"you asked for {pin}", f"you asked for {project}{exact}"}
            told = [f"{fact}" for name, fact in error.facts.items() if name != "newest offered"]
            facts = "; ".join(one for one in told if one not in by_this_trial)
            if error.code == "conflict" and facts:
                return Reason.CONFLICT, facts
            message = error.message if candidate.backend is None else f"for {candidate.backend}, {error.message}"
            return Reason.CONFLICT, f"{message}: {facts}" if facts else message
        found = {choice.candidate.project: choice.candidate for choice in selection.choices}
        for other in (TORCH, *found):
            mine, theirs = self.choices.get(other), found.get(other)
            if mine is not None and theirs is not None and theirs.version.public != mine.candidate.version.public:
                with_it = f"it would come with {other} {theirs.version}"
                return Reason.LESS_PREFERRED, f"{with_it}, where {mine.candidate.version} was chosen"
        return Reason.LESS_PREFERRED, "it would do as well; what was chosen is preferred by its backend"

    def bounds_on(self, project: NormalizedName) -> SpecifierSet:
        """All bounds on a candidate's version together."""
        bounds = SpecifierSet()
        for specifier, _ in self.bounding(project):
            bounds &= specifier
        return bounds

    def bounding(self, project: NormalizedName) -> list[tuple[SpecifierSet, str]]:
        """All bounds on a project's version, each with who sets it."""
        own = [
            (one.specifier, f"{one} was asked for")
            for one in self.request.bounds
            if canonicalize_name(one.name) == project and one.specifier and applies(one, self.target.marker_environment)
        ]
        choice = self.choices.get(project)
        theirs = [
            (specifier, f"{parent} {self.choices[parent].candidate.version} requires {text}")
            for parent, text in (choice.required_by if choice is not None else ())
            if parent is not None and parent in self.choices and (specifier := _specifier_of(text)) is not None
        ]
        return [*own, *theirs]


def _judged(target: Target, backends: Sequence[Backend]) -> tuple[BackendVerdict, ...]:
    """Judge every backend, also for a target whose driver is not known, which a forced backend does without."""
    ordered = sorted(backends, key=lambda backend: backend.order, reverse=True)
    try:
        return judge_backends(target, ordered)
    except UsageError:
        return tuple(verdict_for_forced(target, backend) for backend in ordered)


def _specifier_of(text: str) -> SpecifierSet | None:
    """Read the bounds of a requirement as a choice tells it; one that the table implies has a remark behind it."""
    try:
        return Requirement(text.partition(" (")[0]).specifier
    except InvalidRequirement:
        return None


def _pinned(requirement: Requirement, exact: str) -> Requirement:
    pinned = Requirement(str(requirement))
    pinned.specifier = requirement.specifier & SpecifierSet(exact)
    return pinned


def files_of(offer: Offer) -> Iterator[Candidate | Rejection]:
    """Go through all wheels of an offer, those that fit the target's tags first."""
    yield from offer.candidates
    yield from (one for one in offer.rejected if one.file is not None)


def _united(offers: Sequence[Offer]) -> Offer:
    def rejected(versions: Callable[[Version], bool]) -> Iterable[Rejection]:
        found = (one for offer in offers for one in offer.rejected.of_versions(versions))
        return {one.file.link.url: one for one in found if one.file is not None}.values()

    together = Offer.of_all(offers)
    candidates = {one.file.link.url: one for one in together.candidates}
    return replace(together, candidates=tuple(candidates.values()), rejected=Rejections(rejected))


def _newest_first(one: Candidate | Rejection) -> tuple[bool, Version]:
    """Sort key: what fits the target's tags first, then the newest."""
    version = one.file.name.version if one.file is not None else Version("0")
    return isinstance(one, Candidate), version


def _joined(candidate: Candidate | Rejection, reasons: Sequence[tuple[Reason, str]]) -> Rejection:
    """Make one rejection of every rule that a wheel fails; the first is its reason."""
    details = "; ".join(dict.fromkeys(detail for _, detail in reasons))
    return Rejection(
        project=candidate.project,
        file=candidate.file,
        backend=candidate.backend,
        reason=reasons[0][0],
        detail=details,
    )
