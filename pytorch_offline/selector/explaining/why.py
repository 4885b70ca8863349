"""Why a project is in the closure, why this version of it, and why this file: an answer made of values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.lost_wheels import describe_misfits, is_for_platform
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.version import Version

    from pytorch_offline.selector.explaining.loss_reasons import LossReasons
    from pytorch_offline.selector.model import Choice, Rejection, Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step from a root to a project: who requires it, and with which words; a root is required by nobody."""

    parent: str | None
    requirement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Versions, or files of one version, that lost by the same rule, and the backends that they were built for."""

    versions: tuple[Version, ...]
    backends: tuple[Backend, ...]
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer.

    ``chains`` lead from a root to the project, one for each that requires it. ``newer`` are the versions above the
    chosen one, ``others`` the other wheels of the chosen version, each with the rule by which they lost.
    """

    choice: Choice
    chains: tuple[tuple[Step, ...], ...]
    newer: tuple[Loss, ...]
    others: tuple[Loss, ...]


def explain_choice(selection: Selection, text: str, reasons: LossReasons) -> Why:
    """Say why a project is in the closure.

    Raises:
        UsageError: ``not-in-closure``.
        UpstreamError: a page could not be read.
    """
    project = canonicalize_name(text.strip())
    choice = next((one for one in selection.choices if one.candidate.project == project), None)
    if choice is None:
        raise UsageError(
            "not-in-closure",
            f"{text} is not in the closure for target {selection.target.name}",
            hint=f"--why-not {shlex.quote(text)} says why",
        )
    chosen = choice.candidate
    lost = reasons.rivals(choice)
    newer = [one for one in lost if one.file is not None and _release(one) > release_of(chosen.version)]
    others = [one for one in lost if one.file is not None and _release(one) == release_of(chosen.version)]
    return Why(
        choice=choice,
        chains=tuple(_chains(selection, project)),
        newer=losses_of(newer, selection.target),
        others=losses_of(others, selection.target),
    )


def _release(rejection: Rejection) -> Version:
    assert rejection.file is not None  # noqa: S101  (asked of wheels alone)
    return release_of(rejection.file.name.version)


def losses_of(rejected: Iterable[Rejection], target: Target) -> tuple[Loss, ...]:
    """Put together what lost by the same rule; of a version that has wheels with fitting tags only those count."""
    of_version: dict[Version, list[Rejection]] = {}
    for one in rejected:
        of_version.setdefault(_release(one), []).append(one)
    groups: dict[tuple[Reason, str], list[Rejection]] = {}
    misfits: dict[bool, list[Rejection]] = {}
    for files in of_version.values():
        fitting = [one for one in files if one.reason != Reason.WHEEL_TAGS]
        for one in fitting:
            groups.setdefault((one.reason, one.rule), []).append(one)
        if not fitting:
            here = any(is_for_platform(tag, target) for one in files if one.file for tag in one.file.name.tags)
            misfits.setdefault(here, []).extend(files)
    for found in misfits.values():
        groups[Reason.WHEEL_TAGS, describe_misfits(found, target)] = found
    losses = [
        Loss(
            versions=tuple(sorted({_release(one) for one in found}, reverse=True)),
            backends=tuple(dict.fromkeys(one.backend for one in found if one.backend is not None)),
            reason=reason,
            detail=detail,
        )
        for (reason, detail), found in groups.items()
    ]
    return tuple(sorted(losses, key=lambda one: one.versions[0], reverse=True))


def _chains(selection: Selection, project: NormalizedName) -> list[tuple[Step, ...]]:
    """Give for each parent of a project the shortest way to it from a root."""
    choices = {choice.candidate.project: choice for choice in selection.choices}
    ways: dict[NormalizedName, tuple[Step, ...]] = {}
    waiting: list[NormalizedName] = []
    for name, choice in choices.items():
        own = next((text for parent, text in choice.required_by if parent is None), None)
        if own is not None:
            ways[name] = (Step(parent=None, requirement=own),)
            waiting.append(name)
    while waiting:
        parent = waiting.pop(0)
        for name, choice in choices.items():
            text = next((text for by, text in choice.required_by if by == parent), None)
            if text is not None and name not in ways:
                ways[name] = (*ways[parent], _step(choices[parent], text))
                waiting.append(name)
    found: list[tuple[Step, ...]] = []
    for by, text in choices[project].required_by:
        if by is None:
            found.append((Step(parent=None, requirement=text),))
        elif by in ways:
            found.append((*ways[by], _step(choices[by], text)))
    return found


def _step(parent: Choice, requirement: str) -> Step:
    return Step(parent=f"{parent.candidate.project} {parent.candidate.version}", requirement=requirement)


def documents_of(losses: Sequence[Loss]) -> list[dict[str, object]]:
    """Make the losses' part of the ``--json`` document."""
    return [
        {
            "versions": list(map(str, one.versions)),
            "backends": list(map(str, one.backends)),
            "reason": one.reason,
            "detail": one.detail,
        }
        for one in losses
    ]
