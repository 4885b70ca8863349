"""Fewer bytes for many targets: versions that serve several of them alike, where the requirements admit it.

Each target's own best closure is where the search starts. A *build* is a release of torch for one backend; it decides
most of a closure's bytes (its own wheel, the CUDA libraries, the companions). A step moves a set of targets to the
newest build that all of them can run, and is taken if that saves bytes *by sharing*: an older torch that is merely
smaller is no gain. Then the other projects whose versions differ are tried in the same way. Whatever a step brings is
resolved by the selector itself, under the target's own rules, so no plan makes a target unsatisfiable or puts a build
where it does not run. Nothing is given up for less than ``WORTHWHILE``.

It is a climb, not a proof of the minimum: the best step is taken until none is worthwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.disk_errors import DISK_CODES
from pytorch_offline.errors import UnsatisfiableError, UpstreamError
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.selector.fleet.shared import tell_sharing
from pytorch_offline.selector.rules.architectures import evidence_by_table, is_in_question, unserved_device
from pytorch_offline.selector.rules.candidates import admitted
from pytorch_offline.selector.rules.drivers import Runs, judge_backends
from pytorch_offline.selector.rules.tag_fit import Fit, TagFit
from pytorch_offline.target.markers import applies
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from packaging.version import Version

    from pytorch_offline.selector.fleet.shared import Sharing
    from pytorch_offline.selector.model import Choice, Offers, Request, Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

_T = TypeVar("_T")
# A step must save this part of all bytes: nobody gives up a release for less than a hundredth.
WORTHWHILE = 0.01
# How many builds are tried for one set of targets: the table of kernels is asked before, so few fail.
BUILDS_PER_SET = 6
# How many resolutions one search may take for each target that is unlike the others; from a warm catalogue each takes
# some hundredths of a second. A fleet of 29 unlike targets over the recorded wheels took 11 each.
ATTEMPTS_PER_TARGET = 30


@dataclass(frozen=True, slots=True)
class Build:
    """A release of torch, without local label, for one backend."""

    release: Version
    backend: Backend

    def __str__(self) -> str:
        return f"{self.release}+{self.backend}"

    @property
    def rank(self) -> tuple[object, ...]:
        """The newest release first, then the highest backend: the greatest is the best."""
        return self.release, self.backend.order


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One target of a fleet: its own best closure, the builds that it may run, and the way to the selector.

    ``attempt`` selects for this target, under further bounds, and of one backend if one is named; it raises
    ``UnsatisfiableError`` if nothing fits.
    """

    selection: Selection
    builds: frozenset[Build]
    attempt: Callable[[Request, Backend | None], Selection]


def runnable_builds(request: Request, target: Target, offers: Offers, backends: Sequence[Backend]) -> frozenset[Build]:
    """List the builds of torch that may run on a target, by tags, driver, requirement and the table of kernels.

    A first sieve, which spares the selector attempts; what passes is proved by selecting.
    """
    if request.backend is not None:
        runs: list[Backend] = [request.backend]
    else:
        runs = [verdict.backend for verdict in judge_backends(target, backends) if isinstance(verdict, Runs)]
    specifier = SpecifierSet()
    for one in request.bounds:
        if canonicalize_name(one.name) == TORCH and applies(one, target.marker_environment):
            specifier &= one.specifier
    builds = set()
    for candidate in admitted(offers.offer(TORCH, tuple(runs)).candidates, specifier, pre=request.admits_pre(TORCH)):
        backend = candidate.backend
        if backend not in runs or backend is None:
            continue
        if request.backend is None and is_in_question(candidate.file.name, backend, target):
            evidence = evidence_by_table(candidate.file.name, backend)
            if evidence is not None and unserved_device(evidence, backend, target) is not None:
                continue
        builds.add(Build(release_of(candidate.version), backend))
    return frozenset(builds)


def share(
    members: Sequence[Member],
    sizes: Callable[[Iterable[Selection]], Mapping[str, int]],
    *,
    attempts_per_target: int = ATTEMPTS_PER_TARGET,
) -> Sharing:
    """Find closures that share more; ``sizes`` says how large the wheels of selections are, in bytes by address.

    A search that ends before its end, since it took all its attempts, says so.
    """
    search = _Search(members, sizes, attempts_per_target)
    alone = _Plan(tuple(member.selection for member in members), (None,) * len(members), ({},) * len(members))
    plan = search.climb(alone, search.build_steps)
    plan = search.climb(plan, search.version_steps)
    plan = search.take_back(plan, alone)
    before, after = search.measure(alone.selections), search.measure(plan.selections)
    return tell_sharing(
        alone.selections,
        plan.selections,
        bytes_alone=before.union,
        bytes_shared=after.union,
        estimated=before.estimated or after.estimated,
        unread=search.unread,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """A closure per target, and by which build and which bounds it was made; None and none where it is its own."""

    selections: tuple[Selection, ...]
    builds: tuple[Build | None, ...]
    pins: tuple[Mapping[NormalizedName, Version], ...]


@dataclass(frozen=True, slots=True)
class _Measure:
    """Bytes of a plan: all targets added up, and the union that must be fetched."""

    total: int
    union: int
    estimated: bool

    def saved_by(self, other: _Measure) -> int:
        """How many bytes another plan saves by sharing more, not by being smaller."""
        return min(self.union - other.union, (other.total - other.union) - (self.total - self.union))


class _Search:
    def __init__(
        self,
        members: Sequence[Member],
        sizes: Callable[[Iterable[Selection]], Mapping[str, int]],
        attempts_per_target: int,
    ) -> None:
        self._members = members
        self._ask = sizes
        self._sizes: dict[str, int] = {}
        self._projects: dict[NormalizedName, list[int]] = {}
        # Targets that differ in name alone are one to the selector: a rack of equal nodes is resolved once.
        kinds: dict[object, int] = {}
        self._kinds = [
            kinds.setdefault((_kind(member.selection.target), member.selection.request), len(kinds))
            for member in members
        ]
        self._left = attempts_per_target * len(kinds)
        self._known: dict[object, Selection | None] = {}
        self.unread: dict[str, None] = {}
        self._tags = [TagFit(member.selection.target) for member in members]

    # The climb.

    def climb(self, plan: _Plan, steps: Callable[[_Plan], Iterator[_Plan]]) -> _Plan:
        """Take the step that saves most until none is worthwhile."""
        while True:
            now = self.measure(plan.selections)
            best, gain = plan, max(1, int(now.union * WORTHWHILE))
            for step in steps(plan):
                saved = now.saved_by(self.measure(step.selections))
                if saved >= gain and (saved > gain or best is plan):
                    best, gain = step, saved
            if best is plan:
                return plan
            plan = best

    def build_steps(self, plan: _Plan) -> Iterator[_Plan]:
        """For each set of targets that some build serves, and no newer one: move them all to it."""
        able: dict[Build, frozenset[int]] = {}
        for build in sorted({one for member in self._members for one in member.builds}, key=lambda one: one.rank):
            able[build] = frozenset(i for i, member in enumerate(self._members) if build in member.builds)
        sets = {group for group in able.values() if len(group) > 1}
        for group in sorted(sets, key=lambda one: (-len(one), sorted(one))):
            builds = sorted((build for build in able if able[build] == group), key=lambda one: one.rank, reverse=True)
            newest: Version | None = None
            for build in builds[:BUILDS_PER_SET]:
                if newest is not None and build.release != newest:
                    break  # older than one that serves the same targets
                moved, gone = self._moved(plan, group, build=build)
                if gone == len(group):
                    newest = build.release
                if gone > 1:
                    yield moved

    def version_steps(self, plan: _Plan) -> Iterator[_Plan]:
        """For each project whose wheels differ though one could serve several: one version for all of them."""
        chosen: dict[NormalizedName, dict[int, Choice]] = {}
        for i, selection in enumerate(plan.selections):
            for choice in selection.choices:
                if choice.candidate.project != TORCH:
                    chosen.setdefault(choice.candidate.project, {})[i] = choice
        self._learn(plan.selections)
        enough = self.measure(plan.selections).union * WORTHWHILE
        for project, by_member in sorted(chosen.items()):
            files = {choice.candidate.file.link.url: choice for choice in by_member.values()}
            weights = sorted(self._weight(choice) for choice in files.values())
            if len(files) < 2 or sum(weights[:-1]) < enough:  # noqa: PLR2004  (one file is shared already)
                continue
            for name in sorted((choice.candidate.file.name for choice in files.values()), key=lambda one: one.version):
                group = frozenset(i for i in by_member if isinstance(self._tags[i].judge(name.tags), Fit))
                moved, gone = self._moved(plan, group, pin=(project, name.version))
                if gone > 1:
                    yield moved

    def take_back(self, plan: _Plan, alone: _Plan) -> _Plan:
        """Give each target its own best again where that costs the others nothing worth mentioning."""
        for i in range(len(self._members)):
            if plan.selections[i] is alone.selections[i]:
                continue
            back = _Plan(
                _with(plan.selections, i, alone.selections[i]), _with(plan.builds, i, None), _with(plan.pins, i, {})
            )
            now = self.measure(plan.selections).union
            if self.measure(back.selections).union - now < now * WORTHWHILE:
                plan = back
        return plan

    def _moved(
        self,
        plan: _Plan,
        group: frozenset[int],
        *,
        build: Build | None = None,
        pin: tuple[NormalizedName, Version] | None = None,
    ) -> tuple[_Plan, int]:
        """Move targets to a build or a version, but those of them that it does not serve; say how many went."""
        gone = 0
        for i in sorted(group):
            own_build = build or plan.builds[i]
            pins = plan.pins[i] if pin is None else {**plan.pins[i], pin[0]: pin[1]}
            selection = self._selected(i, own_build, pins)
            if selection is None:
                continue
            gone += 1
            plan = _Plan(
                _with(plan.selections, i, selection), _with(plan.builds, i, own_build), _with(plan.pins, i, pins)
            )
        return plan, gone

    def _selected(self, i: int, build: Build | None, pins: Mapping[NormalizedName, Version]) -> Selection | None:
        member = self._members[i]
        key = (self._kinds[i], build, tuple(sorted(pins.items())))
        if key not in self._known:
            if self._left <= 0:
                self.unread["the search ended where it had taken as many attempts as it may"] = None
                return None
            self._left -= 1
            bounds = {**pins} if build is None else {**pins, TORCH: build.release}
            # Not ``==``: an exact pin says that a user wants this very version, even a yanked one.
            extra = tuple(
                Requirement(f"{project}>={version.public},<={version.public}") for project, version in bounds.items()
            )
            request = member.selection.request
            bounded = replace(request, constraints=(*request.constraints, *extra))
            try:
                self._known[key] = member.attempt(bounded, None if build is None else build.backend)
            except UnsatisfiableError:
                self._known[key] = None
            except UpstreamError as error:  # its METADATA cannot be had: what is not known cannot be planned with
                if error.code in DISK_CODES:
                    raise
                self._known[key] = None
                self.unread[error.message] = None
        known, own = self._known[key], member.selection
        return None if known is None else replace(known, target=own.target, request=own.request)

    # Bytes.

    def measure(self, selections: Sequence[Selection]) -> _Measure:
        """Add up bytes; a wheel of unknown size counts as the known ones of its project do on average."""
        self._learn(selections)
        total, union, estimated = 0, {}, False
        for selection in selections:
            for choice in selection.choices:
                weight = self._weight(choice)
                estimated |= choice.candidate.file.link.url not in self._sizes
                union[choice.candidate.file.link.url] = weight
                total += weight
        return _Measure(total, sum(union.values()), estimated)

    def _learn(self, selections: Sequence[Selection]) -> None:
        fresh = {
            choice.candidate.file.link.url: choice.candidate
            for selection in selections
            for choice in selection.choices
            if choice.candidate.file.link.url not in self._sizes
        }
        if not fresh:
            return
        learnt = self._ask(selections)
        for url, candidate in fresh.items():
            size = learnt.get(url, candidate.file.link.size)
            if size is not None:
                self._sizes[url] = size
                self._projects.setdefault(candidate.project, []).append(size)

    def _weight(self, choice: Choice) -> int:
        size = self._sizes.get(choice.candidate.file.link.url)
        if size is not None:
            return size
        like = self._projects.get(choice.candidate.project) or [one for all_ in self._projects.values() for one in all_]
        return sum(like) // len(like) if like else 1  # nothing known at all: the wheels are counted


def _kind(target: Target) -> object:
    return (tuple(sorted(target.marker_environment.items())), target.tags, target.libc, target.accelerator, target.pip)


def _with(values: tuple[_T, ...], position: int, value: _T) -> tuple[_T, ...]:
    return (*values[:position], value, *values[position + 1 :])
