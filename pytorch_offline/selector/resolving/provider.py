"""The resolver's view of the world: a resolvelib provider over what the indexes offer, under the target's facts.

Two kinds of thing are identified: a project (``torch``), and a project with extras (``cuda-toolkit[cublas]``), which
requires the very wheel of the project without them. One provider serves one backend: of torch's family it admits the
wheels that were built for it, or for any, so torch, torchvision and their kin agree.

Candidates come best first (``candidates.preference``). METADATA, and what else is inside a wheel, is read only when a
candidate's turn comes, since it may take range requests; a wheel that cannot run there by what it says is passed over
with a rejection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from resolvelib import AbstractProvider

from pytorch_offline.errors import IntegrityError
from pytorch_offline.knowledge.family import TORCH, family_projects
from pytorch_offline.selector.model import Candidate, Offers, Rejection, Request
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.resolving.deciding_order import DecidingOrder
from pytorch_offline.selector.resolving.ranked import RankedCandidates
from pytorch_offline.selector.rules.companions import (
    MEETING,
    Agreement,
    Bound,
    Present,
    agreement,
    exact_pin,
    implied_bound,
)
from pytorch_offline.target.markers import applies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.requirements import Requirement
    from resolvelib.structs import Matches, RequirementInformation

    from pytorch_offline.selector.rules.builds import BuildJudge
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.metadata import CoreMetadata


# Candidates that are tried one by one; from then on, what may be asked for next is read ahead, this many at most. Most
# walks end after one or two, and what is read in vain is paid for by upstream too.
FIRST_STEPS = 2
LONGEST_STEP = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requirement from a user or from METADATA."""

    requirement: Requirement

    def __str__(self) -> str:
        return str(self.requirement)


@dataclass(frozen=True, slots=True)
class SameWheel:
    """What a project with extras requires: the very wheel without them."""

    candidate: Candidate

    def __str__(self) -> str:
        return f"{self.candidate.project}=={self.candidate.version}"


@dataclass(frozen=True, slots=True)
class WithExtras:
    """A wheel together with extras of it."""

    candidate: Candidate
    extras: frozenset[NormalizedName]


Need = Wanted | SameWheel | Bound | Present
Pin = Candidate | WithExtras | Agreement


def identifier_of(project: NormalizedName, extras: Iterable[str] = ()) -> str:
    """Spell a project with extras: ``cuda-toolkit[cublas,cudart]``."""
    names = sorted(canonicalize_name(extra) for extra in extras)
    return f"{project}[{','.join(names)}]" if names else project


def project_of(identifier: str) -> NormalizedName:
    """Return the project of an identifier."""
    return NormalizedName(identifier.partition("[")[0])


def _group_of(project: NormalizedName) -> int:
    """Say when a project is decided, whatever conflicts: torch first, then its family; where they meet at the end."""
    return 0 if project == TORCH else 1 if project in family_projects() else 3 if project == MEETING else 2


class SelectionProvider(AbstractProvider["Need", "Pin", str]):
    """Answers the resolver's questions for one request and one target.

    After a resolution ``rejected`` holds the wheels, by address, that were passed over because of their METADATA, and
    ``warnings`` sentences for the user.
    """

    def __init__(self, request: Request, target: Target, offers: Offers, backend: Backend, builds: BuildJudge) -> None:
        self._builds = builds
        self._request = request
        self._target = target
        self._offers = offers
        self._backend = backend
        self._constraints: dict[NormalizedName, SpecifierSet] = {}
        for constraint in request.constraints:
            if self.applies(constraint):
                name = canonicalize_name(constraint.name)
                self._constraints[name] = self._constraints.get(name, SpecifierSet()) & constraint.specifier
        self._root_order = {
            canonicalize_name(requirement.name): position for position, requirement in enumerate(request.requirements)
        }
        self.order = DecidingOrder(_group_of)
        self.rejected: dict[str, Rejection] = {}
        self.warnings: dict[str, None] = {}
        # What a search asks again and again, with the same answer each time.
        self._ranked: dict[NormalizedName, RankedCandidates] = {}
        self._usable: dict[tuple[str, frozenset[NormalizedName]], bool] = {}
        self._needs: dict[tuple[str, frozenset[NormalizedName]], list[Need]] = {}
        # By the requirement's identity, since comparing two takes longer than what is remembered; each is kept with its
        # answer, so that no other can take its place in memory.
        self._applied: dict[tuple[int, str], tuple[Requirement, bool]] = {}
        self._satisfied: dict[tuple[int, str], tuple[Requirement, bool]] = {}

    # What resolvelib asks.

    def identify(self, requirement_or_candidate: Need | Pin) -> str:
        """Name what a requirement or candidate is about."""
        match requirement_or_candidate:
            case Wanted(requirement):
                return identifier_of(canonicalize_name(requirement.name), requirement.extras)
            case SameWheel(candidate):
                return candidate.project
            case WithExtras(candidate, extras):
                return identifier_of(candidate.project, extras)
            case Candidate():
                return requirement_or_candidate.project
            case Bound() | Present() | Agreement():
                return MEETING

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[str],
        resolutions: Mapping[str, Pin],
        candidates: Mapping[str, Iterator[Pin]],
        information: Mapping[str, Iterator[RequirementInformation[Need, Pin]]],
        backtrack_causes: Sequence[RequirementInformation[Need, Pin]],
    ) -> Iterable[str]:
        """After a conflict, decide its two sides first, as pip does: else everything else is tried again for each."""
        del resolutions, candidates, information
        sides = {self.identify(cause.requirement) for cause in backtrack_causes}
        sides |= {self.identify(cause.parent) for cause in backtrack_causes if cause.parent is not None}
        waiting = list(identifiers)
        return [identifier for identifier in waiting if identifier in sides - {MEETING}] or waiting

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Pin],
        candidates: Mapping[str, Iterator[Pin]],
        information: Mapping[str, Iterator[RequirementInformation[Need, Pin]]],
        backtrack_causes: Sequence[RequirementInformation[Need, Pin]],
    ) -> tuple[object, ...]:
        """Decide torch first, then the family, then pins, what came forward, the user's order, names."""
        del resolutions, candidates, backtrack_causes
        project = project_of(identifier)
        specifiers = [
            specifier
            for one in information[identifier]
            if isinstance(one.requirement, Wanted)
            for specifier in one.requirement.requirement.specifier
        ]
        pinned = any(specifier.operator in {"==", "==="} for specifier in specifiers)
        return (
            _group_of(project),
            not pinned,
            self.order.rank(project),
            self._root_order.get(project, len(self._root_order)),
            not specifiers,
            identifier,
        )

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Need]],
        incompatibilities: Mapping[str, Iterator[Pin]],
    ) -> Matches[Pin]:
        """List what can satisfy all requirements on one identifier, best first."""
        if identifier == MEETING:
            return agreement(requirements[identifier])
        refused = set(incompatibilities[identifier])
        needs = list(requirements[identifier])
        project = project_of(identifier)
        specifier = self._specifier(project, needs)
        extras = frozenset(
            canonicalize_name(extra) for need in needs if isinstance(need, Wanted) for extra in need.requirement.extras
        )
        if identifier != project:
            specifier &= self._specifier(project, requirements.get(project, iter(())))
        same = [need.candidate for need in needs if isinstance(need, SameWheel)]
        ordered = self._ordered(project, specifier, same)

        def usable() -> Iterator[Pin]:
            for position, candidate in enumerate(ordered):
                self._walk_ahead(ordered, position)
                pin: Pin = WithExtras(candidate, extras) if extras else candidate
                if pin not in refused and self._is_usable(candidate, extras):
                    yield pin

        return usable

    def is_satisfied_by(self, requirement: Need, candidate: Pin) -> bool:
        """Whether a candidate of the same identifier satisfies the requirement."""
        match requirement, candidate:
            case SameWheel(wheel), Candidate():
                return wheel == candidate
            case Wanted(wanted), Candidate():
                return self._admits(wanted, candidate)
            case Wanted(wanted), WithExtras(inner, _):
                return self._admits(wanted, inner)
            case _, Agreement():
                return True  # whoever does not agree is turned away in find_matches
            case _:
                return False

    def get_dependencies(self, candidate: Pin) -> list[Need]:
        """List what a candidate requires: its METADATA's requirements that apply to the target."""
        if isinstance(candidate, Agreement):
            return []
        inner, extras = (
            (candidate.candidate, candidate.extras) if isinstance(candidate, WithExtras) else (candidate, frozenset())
        )
        key = inner.file.link.url, extras
        if key not in self._needs:
            self._needs[key] = self._dependencies(candidate)
        return self._needs[key]

    def read_ahead(self, needs: list[Need]) -> list[Need]:
        """Have what these will make the resolver ask for read side by side, and return them.

        resolvelib asks for one project at a time; one after the other, a closure of a hundred takes a minute.
        """
        wanted: dict[NormalizedName, SpecifierSet] = {}
        for need in needs:
            if isinstance(need, Wanted):
                project = canonicalize_name(need.requirement.name)
                wanted[project] = wanted.get(project, SpecifierSet()) & self._specifier(project, [need])
        self._offers.read_ahead(wanted, self._backend)
        return needs

    def _walk_ahead(self, ordered: Sequence[Candidate], position: int) -> None:
        """Have the METADATA of older releases read side by side, the more the longer the walk down has been."""
        if position >= FIRST_STEPS and not self._request.no_deps:
            self._offers.walk_ahead(ordered[position : position + min(position, LONGEST_STEP) + 1])

    # What a search leaves behind, for its explanation; nothing is read for that.

    def remembered_needs(self, candidate: Candidate, extras: frozenset[NormalizedName]) -> Sequence[Need] | None:
        """What a wheel requires, if that was asked for."""
        return self._needs.get((candidate.file.link.url, extras))

    def remembered_candidates(self, project: NormalizedName, specifier: SpecifierSet) -> list[Candidate] | None:
        """The candidates that a specifier admits and that were not found unusable; None if nobody asked for them."""
        ranked = self._ranked.get(project)
        if ranked is None:
            return None
        plain: frozenset[NormalizedName] = frozenset()
        return [one for one in ranked.admitted(specifier) if self._usable.get((one.file.link.url, plain), True)]

    # The rules behind the answers.

    def _dependencies(self, candidate: Candidate | WithExtras) -> list[Need]:
        match candidate:
            case WithExtras(inner, _) if self._request.no_deps:
                return [SameWheel(inner)]
            case Candidate() if self._request.no_deps:
                return self._meeting(candidate, ())  # of what is named, the table still says what belongs together
            case WithExtras(inner, extras):
                return [SameWheel(inner), *self.read_ahead(self._required_by_extras(inner, extras))]
            case Candidate():
                required = [one for one in self._required(candidate) if self.applies(one)]
                return [*self.read_ahead([Wanted(one) for one in required]), *self._meeting(candidate, required)]

    def applies(self, requirement: Requirement, extra: str = "") -> bool:
        """Whether a requirement's marker holds on the target; all of the environment is given, nothing is filled in."""
        if requirement.marker is None:
            return True
        key = id(requirement), extra
        if key not in self._applied:
            text = str(requirement.marker)
            for variable in ("platform_release", "platform_version"):
                if variable in text and not self._target.marker_environment[variable]:
                    self.warnings[f"'{requirement}' depends on {variable}, which is not known of the target"] = None
            self._applied[key] = requirement, applies(requirement, self._target.marker_environment, extra)
        return self._applied[key][1]

    def _admits(self, wanted: Requirement, candidate: Candidate) -> bool:
        key = id(wanted), candidate.file.link.url
        if key not in self._satisfied:
            self._satisfied[key] = wanted, wanted.specifier.contains(candidate.version, prereleases=True)
        return self._satisfied[key][1]

    def candidates(self, project: NormalizedName) -> list[Candidate]:
        """All candidates of a project that were built for this backend, or for any."""
        offer = self._offers.offer(project, (self._backend,))
        return [one for one in offer.candidates if one.backend is None or one.backend == self._backend]

    def can_run(self, candidate: Candidate) -> bool:
        """Whether a wheel runs on the target by what is inside it; it may be read for that, so the best come first."""
        rejection = self._builds.judge(candidate)
        if rejection is not None:
            self.rejected[candidate.file.link.url] = rejection
        return rejection is None

    def metadata(self, candidate: Candidate) -> CoreMetadata:
        """The METADATA of this very wheel."""
        return self._offers.metadata(candidate)

    def _specifier(self, project: NormalizedName, needs: Iterable[Need]) -> SpecifierSet:
        specifier = self._constraints.get(project, SpecifierSet())
        for need in needs:
            if isinstance(need, Wanted):
                specifier &= need.requirement.specifier
        return specifier

    def _ordered(
        self, project: NormalizedName, specifier: SpecifierSet, same: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        if project not in self._ranked:
            self._ranked[project] = RankedCandidates(self.candidates(project), pre=self._request.admits_pre(project))
        found = self._ranked[project].admitted(specifier)
        return [candidate for candidate in found if all(candidate == one for one in same)] if same else found

    def _is_usable(self, candidate: Candidate, extras: frozenset[NormalizedName]) -> bool:
        key = candidate.file.link.url, extras
        if key not in self._usable:
            self._usable[key] = self.can_run(candidate) and self._metadata_admits(candidate, extras)
        return self._usable[key]

    def _metadata_admits(self, candidate: Candidate, extras: Iterable[str] = ()) -> bool:
        if self._request.no_deps and (
            candidate.file.link.requires_python is not None
            or not any(tag.interpreter.startswith("py") for tag in candidate.file.name.tags)
        ):
            return True  # the page or the tags say which Python it is for; nothing else of METADATA is needed
        try:
            metadata = self._offers.metadata(candidate)
        except IntegrityError as error:
            self._reject(candidate, Reason.BAD_METADATA, error.message)
            return False
        python = self._target.python_full_version
        if metadata.requires_python is not None and not metadata.requires_python.contains(python, prereleases=True):
            detail = f"needs Python {metadata.requires_python}; the target has {python}"
            self._reject(candidate, Reason.REQUIRES_PYTHON, detail)
            return False
        if self._request.no_deps:
            return True
        if not metadata.complete:
            # pip and uv pass such a wheel over as well: what it requires is not known.
            self._reject(candidate, Reason.BAD_METADATA, "; ".join(metadata.problems))
            return False
        for one in metadata.requires_dist:
            if one.url is not None and any(self.applies(one, extra) for extra in ("", *extras)):
                # What an index serves must not lead to an address elsewhere; uv refuses it, pip for its own index too.
                self._reject(candidate, Reason.URL_REQUIREMENT, f"requires {one}, an address instead of a version")
                return False
        return True

    def _reject(self, candidate: Candidate, reason: Reason, detail: str) -> None:
        self.rejected[candidate.file.link.url] = candidate.rejected(reason, detail)

    def _meeting(self, candidate: Candidate, required: Sequence[Requirement]) -> list[Need]:
        """Send torch, and those that belong to one torch by the table, to where they must agree (``companions``)."""
        if candidate.project == TORCH:
            return [Present(candidate)]
        bound = implied_bound(candidate, required)
        named = [one for one in self._request.bounds if self.applies(one)]
        given = {wheel.name.project for wheel in self._request.wheels}  # asked for by address: as exact as can be
        both = all(project in given or exact_pin(named, project) for project in (TORCH, candidate.project))
        return [] if bound is None or both else [bound]

    def _required(self, candidate: Candidate) -> tuple[Requirement, ...]:
        metadata = self._offers.metadata(candidate)
        for problem in metadata.problems:
            self.warnings[f"{candidate.file.name.filename}: {problem}"] = None
        return metadata.requires_dist

    def _required_by_extras(self, candidate: Candidate, extras: frozenset[NormalizedName]) -> list[Need]:
        metadata = self._offers.metadata(candidate)
        needs: list[Need] = []
        for extra in sorted(extras):
            if extra not in metadata.provides_extra:
                self.warnings[f"{candidate.project} {candidate.version} has no extra called {extra!r}"] = None
            needs += [
                Wanted(one) for one in self._required(candidate) if self.applies(one, extra) and not self.applies(one)
            ]
        return needs
