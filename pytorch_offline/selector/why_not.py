"""Why something was not chosen: an answer for any wheel, version, backend or project that an index lists.

Every rule that a wheel fails is named, those of the machine before those of the request; a wheel that fails none is put
to the resolver itself, whose answer is the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.knowledge.family import family_projects, projects_built_per_backend
from pytorch_offline.selector.builds import BuildJudge
from pytorch_offline.selector.candidates import preference
from pytorch_offline.selector.drivers import CannotRun, judge_backends, verdict_for_forced
from pytorch_offline.selector.lost_wheels import name_backends, name_versions
from pytorch_offline.selector.model import Candidate, Offer, Rejection
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytorch_offline.selector.drivers import BackendVerdict
    from pytorch_offline.selector.model import Choice, Offers, Request, Selection
    from pytorch_offline.target.model import Target

_TORCH = NormalizedName("torch")
# `torch==2.5.0`, `torch 2.5.0`, `torch=2.5.0`, `torch@2.5.0`; `torch cu126`.
_PAIR = re.compile(r"(?P<project>[A-Za-z][A-Za-z0-9._-]*?)(?:\s*={1,3}\s*|\s+|@)(?P<what>[A-Za-z0-9][A-Za-z0-9.+!_-]*)")
# A try is a whole resolution; of a version's builds the first few tell enough.
_MOST_TRIES = 2
# Wheels whose inside is looked at for an answer, at some megabytes each; of the others the tables tell.
_MOST_READS = 2
# Reasons that a resolution found in the wheel itself, or in what is known of it.
_OF_THE_WHEEL = frozenset(
    {"gpu-architecture", "glibc", "requires-python", "bad-metadata", "url-requirement", "companion"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about: a project, and of it a file, a version, or what was built for a backend.

    ``project`` is None where a version or a backend was named alone.
    """

    text: str
    project: NormalizedName | None = None
    filename: str | None = None
    version: Version | None = None
    backend: Backend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """The answer: a sentence, and for each wheel or backend that is meant the rule that it failed."""

    asked: str
    target: Target
    answer: str
    rejected: tuple[Rejection, ...] = ()


def parse_question(text: str) -> Question:
    """Read what somebody asks about.

    Raises:
        UsageError: ``bad-question`` if it is neither a file, a version, a backend nor a project.
    """
    asked = text.strip()
    if asked.lower().endswith(".whl"):
        name = parse_wheel_name(asked.rpartition("/")[2].replace("%2B", "+"))
        return Question(text=asked, project=name.project, filename=name.filename, version=name.version)
    if is_backend(asked.lower()):
        return Question(text=asked, backend=parse_backend(asked.lower()))
    if (version := _version(asked)) is not None:
        return Question(text=asked, version=version)
    if pair := _PAIR.fullmatch(asked):
        project = canonicalize_name(pair["project"])
        if is_backend(pair["what"].lower()):
            return Question(text=asked, project=project, backend=parse_backend(pair["what"].lower()))
        if (version := _version(pair["what"])) is not None:
            return Question(text=asked, project=project, version=version)
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", asked):
        return Question(text=asked, project=canonicalize_name(asked))
    raise UsageError(
        "bad-question",
        f"{text!r} is neither a file, a version, a backend nor a project",
        hint="e.g. --why-not torch==2.5.0, --why-not 2.4.0+cu124, --why-not cu126, --why-not triton",
    )


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


class WhyNots:
    """Answers questions about one request for one target.

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
        self._request = request
        self._target = target
        self._offers = offers
        self._verdicts = {verdict.backend: verdict for verdict in _judged(target, backends)}
        self._selection = selection
        self._choices: dict[NormalizedName, Choice] = {
            choice.candidate.project: choice for choice in (selection.choices if selection is not None else ())
        }
        self._attempt = attempt
        self._builds = BuildJudge(target, offers, forced=request.backend is not None)
        self._reads = _MOST_READS
        rejected = selection.rejected if selection is not None else ()
        self._rejected = {one.file.link.url: one for one in rejected if one.file is not None}
        self._passed_over = {url: one for url, one in self._rejected.items() if one.reason in _OF_THE_WHEEL}

    def answer(self, text: str) -> WhyNot:
        """Answer one question.

        Raises:
            UsageError: ``bad-question``.
            UpstreamError: a page could not be read.
        """
        question = parse_question(text)
        if question.backend is not None:
            return self._about_backend(question, question.backend)
        if question.version is not None:
            return self._about_version(question, question.version)
        assert question.project is not None  # noqa: S101  (one of the three is there)
        return self._about_project(question, question.project)

    def rivals(self, choice: Choice) -> tuple[Rejection, ...]:
        """Say of every other wheel of a chosen project that is not older why it was not chosen.

        Raises:
            UpstreamError: a page could not be read.
        """
        chosen = choice.candidate
        kind = chosen.backend.kind if chosen.backend is not None else None
        backends = [one for one in self._verdicts if kind is None or one.kind is kind]
        offer, _ = self._listed(chosen.project, backends)
        release = chosen.version.__replace__(local=None)
        rivals = [one for one in _files(offer) if one != chosen and one.file is not None]
        meant = [one for one in rivals if one.file is not None and one.file.name.version >= release]
        bounds = self._bounding(chosen.project)
        rejected: list[Rejection] = []
        for one in meant:
            said = [
                ("requirement", text)
                for specifier, text in bounds
                if one.file is not None and not specifier.contains(one.file.name.version, prereleases=True)
            ]
            rejected += [_joined(one, said)] if said else self._rows(Question(text=""), "", [one]).rejected
        return tuple(rejected)

    def lost_by_backend(self, project: NormalizedName) -> tuple[Rejection, ...]:
        """Name the wheels that were asked for, but for backends that the target's driver lacks.

        Those with the right tags alone, if there are any: the others fail two rules, and no driver would help.
        """
        unfit = [
            one.backend for one in self._verdicts.values() if isinstance(one, CannotRun) and one.reason == "driver"
        ]
        if project not in projects_built_per_backend() or not unfit or self._request.backend is not None:
            return ()
        offer, _ = self._listed(project, unfit)
        bounds = SpecifierSet()
        for specifier, _ in self._bounding(project):
            bounds &= specifier
        fitting = [one for one in offer.candidates if bounds.contains(one.version, prereleases=True)]
        found = [_joined(one, reasons) for one in fitting if (reasons := list(self._by_backend(one)))]
        if found:
            return tuple(found)
        return tuple(
            one
            for one in offer.rejected
            if one.file is not None and bounds.contains(one.file.name.version, prereleases=True)
        )

    def unlisted(self, project: NormalizedName) -> str | None:
        """Say of a version that was asked for exactly, but that no index lists, what there is next to it."""
        for specifier, _ in self._bounding(project):
            for one in specifier:
                version = _version(one.version) if one.operator == "==" else None
                if version is not None:
                    question = Question(text=f"{project}=={version}", project=project, version=version)
                    answer = self._about_version(question, version)
                    return None if answer.rejected else answer.answer
        return None

    # A backend.

    def _about_backend(self, question: Question, backend: Backend) -> WhyNot:
        verdict = self._verdicts.get(backend)
        project = question.project or self._anchor()
        chosen = self._choices.get(project)
        if chosen is not None and chosen.candidate.backend == backend:
            return WhyNot(
                asked=question.text,
                target=self._target,
                answer=f"{backend} was chosen: {chosen.candidate.file.name.filename}",
            )
        forced = self._request.backend
        if forced is not None and forced != backend:
            detail = f"--backend {forced} was asked for"
            return self._one(question, project, backend, "backend", detail)
        if verdict is None:
            known = name_backends(self._verdicts)
            return WhyNot(
                asked=question.text,
                target=self._target,
                answer=f"no upstream has a backend {backend}; there are {known}",
            )
        if isinstance(verdict, CannotRun):
            return self._one(question, project, backend, verdict.reason, verdict.detail)
        offer, _ = self._listed(project, [backend])
        built = [one for one in offer.candidates if one.backend == backend]
        misfits = [one for one in offer.rejected if _built_for(one, backend)]
        if not built:
            there = "fits this target" if misfits else "is listed"
            answer = f"{backend} runs on the target, but no wheel of {project} for it {there}"
            return self._said(question, answer, misfits)
        inside = [one for one in built if self._bounds(one).contains(one.version, prereleases=True)]
        newest = max(inside or built, key=preference)
        reasons = self._reasons(newest)
        if not inside:
            had = f"it has {name_versions(one.version for one in built)}"
            return self._rows(question, f"{backend} has no {project} that was asked for; {had}", [newest])
        if reasons:
            return self._rows(question, f"{backend} was not chosen", inside)
        return self._rows(question, f"{backend} was not chosen, though {verdict.detail}", [newest])

    def _one(self, question: Question, project: NormalizedName, backend: Backend, reason: str, detail: str) -> WhyNot:
        rejection = Rejection(project=project, file=None, backend=backend, reason=reason, detail=detail)
        return WhyNot(
            asked=question.text,
            target=self._target,
            answer=f"{backend} was not chosen: {detail}",
            rejected=(rejection,),
        )

    # A version, or a file.

    def _about_version(self, question: Question, version: Version) -> WhyNot:
        project, offer, unread = self._project_of(question, version)
        named = f"{project} {version}"
        meant = [one for one in _files(offer) if _is_meant(one, question, version)]
        chosen = self._choices.get(project)
        if chosen is not None and any(one is chosen.candidate or one == chosen.candidate for one in meant):
            if question.filename is not None or version.local is not None or len(meant) == 1:
                filename = chosen.candidate.file.name.filename
                return WhyNot(
                    asked=question.text, target=self._target, answer=f"{question.text} was chosen: {filename}"
                )
            meant = [one for one in meant if one != chosen.candidate]
        if not meant:
            return WhyNot(
                asked=question.text,
                target=self._target,
                answer=self._unlisted(question, project, version, offer, unread),
            )
        subject = question.filename or named
        if chosen is not None and chosen.candidate.version.public == version.public and version.local is None:
            subject = f"{chosen.candidate.file.name.filename} was chosen; of the other wheels of {named} none"
            return self._rows(question, f"{subject} was", meant)
        suffix = f" (the closure has no {project})" if chosen is None and self._selection is not None else ""
        return self._rows(question, f"{subject} was not chosen{suffix}", meant)

    def _project_of(self, question: Question, version: Version) -> tuple[NormalizedName, Offer, Sequence[Backend]]:
        """Find the project that is meant: the one named, else torch or a root that has such a version."""
        roots = [canonicalize_name(one.name) for one in self._request.requirements]
        projects = [question.project] if question.project is not None else [self._anchor(), *roots, *self._choices]
        first: tuple[NormalizedName, Offer, Sequence[Backend]] | None = None
        for project in dict.fromkeys(projects):
            offer, unread = self._listed(project, self._backends_for(version))
            if any(one.file is not None and one.file.name.version.public == version.public for one in _files(offer)):
                return project, offer, unread
            if version in offer.sources:
                return project, offer, unread
            first = first or (project, offer, unread)
        assert first is not None  # noqa: S101  (there is at least the anchor)
        return first

    def _backends_for(self, version: Version) -> list[Backend]:
        """Name the backends whose pages may list a version: its own, if its local label names one, else all."""
        label = (version.local or "").split(".")[0]
        if is_backend(label) and (own := parse_backend(label)) in self._verdicts:
            return [own]
        return list(self._verdicts)

    def _unlisted(
        self, question: Question, project: NormalizedName, version: Version, offer: Offer, unread: Sequence[Backend]
    ) -> str:
        """Say that there is no such wheel, and what there is next to it."""
        if version in offer.sources:
            return f"{project} {version} is listed as a source distribution only, and nothing is built here"
        if not offer.known and version.local is not None:
            offer, unread = self._listed(project, list(self._verdicts))
        unread_text = f"; the pages of {name_backends(unread)} were never read" if unread else ""
        if not offer.known:
            return f"no index has a project called {project}{unread_text}"
        found = [one.file.name for one in _files(offer) if one.file is not None]
        same = {one.version for one in found if one.version.public == version.public}
        if question.filename is not None and version in same:
            return f"no index lists {question.filename}; {project} {version} has other wheels"
        if version.local is not None:
            offer, _ = self._listed(project, list(self._verdicts))
            same = {
                one.file.name.version
                for one in _files(offer)
                if one.file is not None and one.file.name.version.public == version.public
            }
            if same:
                labels = sorted(one.local for one in same if one.local is not None)
                there = f"for {', '.join(labels)}" if labels else "without a local label"
                return f"no index lists {project} {version}; {version.public} is there {there}"
        releases = sorted({one.version.__replace__(local=None) for one in found})
        below = [one for one in releases if one < version][-1:]
        above = [one for one in releases if one > version][:1]
        near = " and ".join(str(one) for one in (*below, *above))
        return f"no index lists {project} {version}; next to it are {near}{unread_text}"

    # A project.

    def _about_project(self, question: Question, project: NormalizedName) -> WhyNot:
        if (choice := self._choices.get(project)) is not None:
            return WhyNot(
                asked=question.text,
                target=self._target,
                answer=f"{project} was chosen: {choice.candidate.file.name.filename}",
            )
        conditional = [
            f"{choice.candidate.project} {choice.candidate.version} requires {one}, which does not hold here"
            for choice in self._choices.values()
            if choice.metadata is not None
            for one in choice.metadata.requires_dist
            if canonicalize_name(one.name) == project
        ]
        if not conditional:
            offer, _ = self._listed(project, self._chosen_backends() or list(self._verdicts))
            if not offer.known:
                return self._said(question, f"no index has a project called {project}")
            if self._selection is None:
                return self._rows(question, f"nothing was chosen; of {project} no wheel was", list(_files(offer)))
        detail = "; ".join(dict.fromkeys(conditional)) or "nothing in the closure requires it"
        if self._request.no_deps:
            detail = "--no-deps leaves out what is required"
        rejection = Rejection(project=project, file=None, backend=None, reason="not-required", detail=detail)
        return WhyNot(
            asked=question.text,
            target=self._target,
            answer=f"{project} is not in the closure: {detail}",
            rejected=(rejection,),
        )

    # What all of them need.

    def _said(self, question: Question, answer: str, rejected: Iterable[Rejection] = ()) -> WhyNot:
        return WhyNot(asked=question.text, target=self._target, answer=answer, rejected=tuple(rejected))

    def _anchor(self) -> NormalizedName:
        roots = [canonicalize_name(one.name) for one in self._request.requirements]
        return roots[0] if self._request.no_deps and _TORCH not in roots and self._choices else _TORCH

    def _chosen_backends(self) -> list[Backend]:
        backend = self._selection.backend if self._selection is not None else None
        return [backend] if backend is not None else []

    def _listed(self, project: NormalizedName, backends: Sequence[Backend]) -> tuple[Offer, Sequence[Backend]]:
        """Give all that the pages of these backends list of a project, and the backends whose pages were never read."""
        if project not in projects_built_per_backend():  # no page has more of it than another, if it has it at all
            backends = self._chosen_backends() or (backends if project in family_projects() else backends[:1])
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

    def _rows(self, question: Question, answer: str, meant: Iterable[Candidate | Rejection]) -> WhyNot:
        tries = _MOST_TRIES
        rejected = []
        for one in sorted(meant, key=_newest_first, reverse=True):
            if isinstance(one, Rejection):
                rejected.append(one)
                continue
            reasons = self._reasons(one)
            if not reasons:
                if tries == 0:
                    continue
                tries -= 1
                reasons = [self._by_trial(one)]
            rejected.append(_joined(one, reasons))
        return self._said(question, answer, rejected)

    def _reasons(self, candidate: Candidate) -> list[tuple[str, str]]:
        """Name every rule that a wheel of the right tags fails, as reason and detail."""
        bounds = self._bounding(candidate.project)
        asked = [
            ("requirement", said)
            for specifier, said in bounds
            if not specifier.contains(candidate.version, prereleases=True)
        ]
        found = [*self._by_backend(candidate), *self._by_device(candidate), *asked]
        pinned = any(one.operator in {"==", "==="} for specifier, _ in bounds for one in specifier)
        yanked = candidate.file.link.yanked
        if yanked is not None and not pinned:
            found.append(("yanked", f"yanked by its publisher: {yanked or 'no reason given'}"))
        if candidate.version.is_prerelease and not self._request.admits_pre(candidate.project) and not pinned:
            found.append(("pre-release", "a pre-release, which was not asked for (--pre)"))
        return found or self._by_preference(candidate)

    def _by_backend(self, candidate: Candidate) -> Iterator[tuple[str, str]]:
        backend, forced = candidate.backend, self._request.backend
        if backend is None:
            return
        if forced is not None:
            if backend != forced:
                yield "backend", f"--backend {forced} was asked for"
            return
        verdict = self._verdicts.get(backend)
        if isinstance(verdict, CannotRun):
            yield verdict.reason, verdict.detail

    def _by_device(self, candidate: Candidate) -> Iterator[tuple[str, str]]:
        """Judge what is inside, and repeat what a resolution found out; wheels are read for the first few alone."""
        known = self._passed_over.get(candidate.file.link.url)
        if known is None and self._reads > 0:
            self._reads -= 1
            known = self._builds.judge(candidate)
        elif known is None:
            known = self._builds.judge_by_table(candidate)
        if known is not None:
            yield known.reason, known.detail

    def _by_preference(self, candidate: Candidate) -> list[tuple[str, str]]:
        choice = self._choices.get(candidate.project)
        if choice is None:
            return []
        chosen = choice.candidate
        if candidate.version.public != chosen.version.public:
            if candidate.version < chosen.version:
                return [("older", f"{chosen.version} is newer, and fits as well")]
            return []
        if candidate.backend != chosen.backend:
            lost = self._rejected.get(candidate.file.link.url)
            if lost is not None:
                return [(lost.reason, lost.detail)]
            if candidate.project != self._anchor() and self._anchor() in self._choices:
                return [("backend", f"{self._anchor()} is built for {chosen.backend} here, and the family agrees")]
            return []
        return [("less-preferred", f"{chosen.file.name.filename} is closer to the target's best tag")]

    def _by_trial(self, candidate: Candidate) -> tuple[str, str]:
        """Ask the selector for this very version and backend, and say what comes out."""
        exact = f"=={candidate.version}"
        project = candidate.project
        is_root = any(canonicalize_name(one.name) == project for one in self._request.requirements)
        pin = Requirement(f"{project}{exact}")
        requirements = tuple(
            _pinned(one, exact) if canonicalize_name(one.name) == project else one for one in self._request.requirements
        )
        constraints = self._request.constraints if is_root else (*self._request.constraints, pin)
        backend = candidate.backend or self._request.backend
        request = replace(self._request, requirements=requirements, constraints=constraints, backend=backend)
        try:
            selection = self._attempt(request, self._target)
        except PytorchOfflineError as error:
            facts = "; ".join(f"{value}" for value in error.facts.values())
            return "conflict", f"{error.message}: {facts}" if facts else error.message
        found = {choice.candidate.project: choice.candidate for choice in selection.choices}
        for other in (_TORCH, *found):
            mine, theirs = self._choices.get(other), found.get(other)
            if mine is not None and theirs is not None and theirs.version.public != mine.candidate.version.public:
                with_it = f"it would come with {other} {theirs.version}"
                return "less-preferred", f"{with_it}, where {mine.candidate.version} was chosen"
        return "less-preferred", "it would do as well; what was chosen is preferred by its backend"

    def _bounds(self, candidate: Candidate) -> SpecifierSet:
        bounds = SpecifierSet()
        for specifier, _ in self._bounding(candidate.project):
            bounds &= specifier
        return bounds

    def _bounding(self, project: NormalizedName) -> list[tuple[SpecifierSet, str]]:
        """All bounds on a project's version, each with who sets it."""
        own = [
            (one.specifier, f"{one} was asked for")
            for one in (*self._request.requirements, *self._request.constraints)
            if canonicalize_name(one.name) == project and one.specifier
        ]
        choice = self._choices.get(project)
        theirs = [
            (specifier, f"{parent} {self._choices[parent].candidate.version} requires {text}")
            for parent, text in (choice.required_by if choice is not None else ())
            if parent is not None and parent in self._choices and (specifier := _specifier_of(text)) is not None
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


def _files(offer: Offer) -> Iterator[Candidate | Rejection]:
    yield from offer.candidates
    yield from (one for one in offer.rejected if one.file is not None)


def _is_meant(one: Candidate | Rejection, question: Question, version: Version) -> bool:
    if one.file is None:
        return False
    name = one.file.name
    if question.filename is not None:
        return name.filename == question.filename
    return name.version == version or (version.local is None and name.version.public == version.public)


def _built_for(rejection: Rejection, backend: Backend) -> bool:
    if rejection.file is None:
        return False
    return str(backend) in {rejection.file.name.version.local, *rejection.file.link.path.split("/")[:-1]}


def _united(offers: Sequence[Offer]) -> Offer:
    return Offer(
        candidates=tuple({one.file.link.url: one for offer in offers for one in offer.candidates}.values()),
        rejected=tuple(
            {one.file.link.url: one for offer in offers for one in offer.rejected if one.file is not None}.values()
        ),
        known=any(offer.known for offer in offers),
        sources=frozenset(version for offer in offers for version in offer.sources),
    )


def _newest_first(one: Candidate | Rejection) -> tuple[bool, Version]:
    """Sort key: what fits the target's tags first, then the newest."""
    version = one.file.name.version if one.file is not None else Version("0")
    return isinstance(one, Candidate), version


def _joined(candidate: Candidate | Rejection, reasons: Sequence[tuple[str, str]]) -> Rejection:
    """Make one rejection of every rule that a wheel fails; the first is its reason."""
    details = "; ".join(dict.fromkeys(detail for _, detail in reasons))
    return Rejection(
        project=candidate.project,
        file=candidate.file,
        backend=candidate.backend,
        reason=reasons[0][0],
        detail=details,
    )
