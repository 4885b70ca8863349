"""Why something was not chosen: an answer for any wheel, version, backend or project that an index lists.

Every rule that a wheel fails is named, those of the machine before those of the request; a wheel that fails none is put
to the resolver itself, whose answer is the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.explaining.loss_reasons import LossReasons, files_of
from pytorch_offline.selector.lost_wheels import name_backends, name_versions
from pytorch_offline.selector.model import Candidate, Offer, Rejection
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.candidates import preference
from pytorch_offline.selector.rules.drivers import CannotRun
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytorch_offline.target.model import Target

# `torch==2.5.0`, `torch 2.5.0`, `torch=2.5.0`, `torch@2.5.0`; `torch cu126`.
_PAIR = re.compile(r"(?P<project>[A-Za-z][A-Za-z0-9._-]*?)(?:\s*={1,3}\s*|\s+|@)(?P<what>[A-Za-z0-9][A-Za-z0-9.+!_-]*)")


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
        reasons: by which rules a wheel lost.
    """

    def __init__(self, reasons: LossReasons) -> None:
        self._reasons = reasons
        self._choices = reasons.choices

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

    def unlisted(self, project: NormalizedName) -> str | None:
        """Say of a version that was asked for exactly, but that no index lists, what there is next to it."""
        for specifier, _ in self._reasons.bounding(project):
            for one in specifier:
                version = _version(one.version) if one.operator == "==" else None
                if version is not None:
                    question = Question(text=f"{project}=={version}", project=project, version=version)
                    answer = self._about_version(question, version)
                    return None if answer.rejected else answer.answer
        return None

    # A backend.

    def _about_backend(self, question: Question, backend: Backend) -> WhyNot:
        verdict = self._reasons.verdicts.get(backend)
        project = question.project or self._reasons.anchor()
        chosen = self._choices.get(project)
        if chosen is not None and chosen.candidate.backend == backend:
            return self._said(
                question,
                f"{backend} was chosen: {chosen.candidate.file.name.filename}",
            )
        forced = self._reasons.request.backend
        if forced is not None and forced != backend:
            detail = f"--backend {forced} was asked for"
            return self._one(question, project, backend, Reason.BACKEND, detail)
        if verdict is None:
            known = name_backends(self._reasons.verdicts)
            return self._said(
                question,
                f"no upstream has a backend {backend}; there are {known}",
            )
        if isinstance(verdict, CannotRun):
            return self._one(question, project, backend, verdict.reason, verdict.detail)
        offer, _ = self._reasons.listed(project, [backend])
        built = [one for one in offer.candidates if one.backend == backend]
        misfits = [one for one in offer.rejected if _built_for(one, backend)]
        if not built:
            there = "fits this target" if misfits else "is listed"
            answer = f"{backend} runs on the target, but no wheel of {project} for it {there}"
            return self._said(question, answer, misfits)
        inside = [one for one in built if self._reasons.bounds_on(one.project).contains(one.version, prereleases=True)]
        newest = max(inside or built, key=preference)
        reasons = self._reasons.reasons(newest)
        if not inside:
            had = f"it has {name_versions(one.version for one in built)}"
            return self._said(
                question, f"{backend} has no {project} that was asked for; {had}", self._reasons.rows([newest])
            )
        if reasons:
            return self._said(question, f"{backend} was not chosen", self._reasons.rows(inside))
        return self._said(question, f"{backend} was not chosen, though {verdict.detail}", self._reasons.rows([newest]))

    def _one(
        self, question: Question, project: NormalizedName, backend: Backend, reason: Reason, detail: str
    ) -> WhyNot:
        rejection = Rejection(project=project, file=None, backend=backend, reason=reason, detail=detail)
        return self._said(
            question,
            f"{backend} was not chosen: {detail}",
            rejected=(rejection,),
        )

    # A version, or a file.

    def _about_version(self, question: Question, version: Version) -> WhyNot:
        project, offer, unread = self._project_of(question, version)
        named = f"{project} {version}"
        meant = [one for one in files_of(offer) if _is_meant(one, question, version)]
        chosen = self._choices.get(project)
        if chosen is not None and any(one is chosen.candidate or one == chosen.candidate for one in meant):
            if question.filename is not None or version.local is not None or len(meant) == 1:
                filename = chosen.candidate.file.name.filename
                return self._said(question, f"{question.text} was chosen: {filename}")
            meant = [one for one in meant if one != chosen.candidate]
        if not meant:
            return self._said(
                question,
                self._unlisted(question, project, version, offer, unread),
            )
        subject = question.filename or named
        if chosen is not None and chosen.candidate.version.public == version.public and version.local is None:
            subject = f"{chosen.candidate.file.name.filename} was chosen; of the other wheels of {named} none"
            return self._said(question, f"{subject} was", self._reasons.rows(meant))
        suffix = f" (the closure has no {project})" if chosen is None and self._reasons.selection is not None else ""
        return self._said(question, f"{subject} was not chosen{suffix}", self._reasons.rows(meant))

    def _project_of(self, question: Question, version: Version) -> tuple[NormalizedName, Offer, Sequence[Backend]]:
        """Find the project that is meant: the one named, else torch or a root that has such a version."""
        roots = [canonicalize_name(one.name) for one in self._reasons.request.requirements]
        projects = (
            [question.project] if question.project is not None else [self._reasons.anchor(), *roots, *self._choices]
        )
        first: tuple[NormalizedName, Offer, Sequence[Backend]] | None = None
        for project in dict.fromkeys(projects):
            offer, unread = self._reasons.listed(project, self._backends_for(version))
            if any(one.file is not None and one.file.name.version.public == version.public for one in files_of(offer)):
                return project, offer, unread
            if version in offer.sources:
                return project, offer, unread
            first = first or (project, offer, unread)
        assert first is not None  # noqa: S101  (there is at least the anchor)
        return first

    def _backends_for(self, version: Version) -> list[Backend]:
        """Name the backends whose pages may list a version: its own, if its local label names one, else all."""
        label = (version.local or "").split(".")[0]
        if is_backend(label) and (own := parse_backend(label)) in self._reasons.verdicts:
            return [own]
        return list(self._reasons.verdicts)

    def _unlisted(
        self, question: Question, project: NormalizedName, version: Version, offer: Offer, unread: Sequence[Backend]
    ) -> str:
        """Say that there is no such wheel, and what there is next to it."""
        if version in offer.sources:
            return f"{project} {version} is listed as a source distribution only, and nothing is built here"
        if not offer.known and version.local is not None:
            offer, unread = self._reasons.listed(project, list(self._reasons.verdicts))
        unread_text = f"; the pages of {name_backends(unread)} were never read" if unread else ""
        if not offer.known:
            return f"no index has a project called {project}{unread_text}"
        found = [one.file.name for one in files_of(offer) if one.file is not None]
        same = {one.version for one in found if one.version.public == version.public}
        if question.filename is not None and version in same:
            return f"no index lists {question.filename}; {project} {version} has other wheels"
        if version.local is not None:
            offer, _ = self._reasons.listed(project, list(self._reasons.verdicts))
            same = {
                one.file.name.version
                for one in files_of(offer)
                if one.file is not None and one.file.name.version.public == version.public
            }
            if same:
                labels = sorted(one.local for one in same if one.local is not None)
                there = f"for {', '.join(labels)}" if labels else "without a local label"
                return f"no index lists {project} {version}; {version.public} is there {there}"
        releases = sorted({release_of(one.version) for one in found})
        below = [one for one in releases if one < version][-1:]
        above = [one for one in releases if one > version][:1]
        near = " and ".join(str(one) for one in (*below, *above))
        are = "are" if below and above else "is"
        return f"no index lists {project} {version}; next to it {are} {near}{unread_text}"

    # A project.

    def _about_project(self, question: Question, project: NormalizedName) -> WhyNot:
        if (choice := self._choices.get(project)) is not None:
            return self._said(
                question,
                f"{project} was chosen: {choice.candidate.file.name.filename}",
            )
        conditional = [
            f"{choice.candidate.project} {choice.candidate.version} requires {one}, which does not hold here"
            for choice in self._choices.values()
            if choice.metadata is not None
            for one in choice.metadata.requires_dist
            if canonicalize_name(one.name) == project
        ]
        if not conditional:
            offer, _ = self._reasons.listed(project, self._reasons.chosen_backends() or list(self._reasons.verdicts))
            if not offer.known:
                return self._said(question, f"no index has a project called {project}")
            if self._reasons.selection is None:
                return self._said(
                    question,
                    f"nothing was chosen; of {project} no wheel was",
                    self._reasons.rows(list(files_of(offer))),
                )
        detail = "; ".join(dict.fromkeys(conditional)) or "nothing in the closure requires it"
        if self._reasons.request.no_deps:
            detail = "--no-deps leaves out what is required"
        rejection = Rejection(project=project, file=None, backend=None, reason=Reason.NOT_REQUIRED, detail=detail)
        return self._said(
            question,
            f"{project} is not in the closure: {detail}",
            rejected=(rejection,),
        )

    # What all of them need.

    def _said(self, question: Question, answer: str, rejected: Iterable[Rejection] = ()) -> WhyNot:
        return WhyNot(asked=question.text, target=self._reasons.target, answer=answer, rejected=tuple(rejected))


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
