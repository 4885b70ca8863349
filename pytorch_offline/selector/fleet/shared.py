"""What closures that share are told to be: what sharing saved, what each target gave up for it, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.selector.explaining.render import render_size
from pytorch_offline.selector.lost_wheels import name_first
from pytorch_offline.selector.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from packaging.version import Version

    from pytorch_offline.selector.model import Selection

# How many targets a sentence names.
NAMED_TARGETS = 5


@dataclass(frozen=True, slots=True)
class GivenUp:
    """What a target got instead of its own best, so that others are served alike."""

    target: str
    project: NormalizedName
    version: Version
    instead_of: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """The closures that share, in the order of the targets, and what that saved; bytes, estimated if not all known."""

    selections: tuple[Selection, ...]
    bytes_alone: int
    bytes_shared: int
    estimated: bool
    given_up: tuple[GivenUp, ...]
    summary: tuple[str, ...]


def tell_sharing(
    alone: Sequence[Selection],
    shared: Sequence[Selection],
    *,
    bytes_alone: int,
    bytes_shared: int,
    estimated: bool,
    unread: Collection[str],
) -> Sharing:
    """Compare the closures that share with each target's own best; ``unread`` says what could not be tried, and why."""
    given_up = tuple(_given_up(alone, shared))
    saving = None
    if bytes_shared < bytes_alone:
        less = f"{'about ' if estimated else ''}{render_size(bytes_alone - bytes_shared)} less"
        saving = f"{less} ({render_size(bytes_shared)} instead of {render_size(bytes_alone)})"
    summary = list(_summary(alone, shared, given_up, saving))
    if unread:
        more = f" ({len(unread)} such)" if len(unread) > 1 else ""
        summary.append(f"not all was tried: {next(iter(unread))}{more}")
    return Sharing(
        selections=tuple(_told(own, got, shared) for own, got in zip(alone, shared, strict=True)),
        bytes_alone=bytes_alone,
        bytes_shared=bytes_shared,
        estimated=estimated,
        given_up=given_up,
        summary=tuple(summary),
    )


def document_of_sharing(sharing: Sharing) -> dict[str, Any]:
    """Make the part of the ``--json`` document that says what sharing saved, in bytes, and what was given up for it."""
    return {
        "size_alone": sharing.bytes_alone,
        "size_shared": sharing.bytes_shared,
        "saved": sharing.bytes_alone - sharing.bytes_shared,
        "estimated": sharing.estimated,
        "given_up": [
            {
                "target": one.target,
                "project": one.project,
                "version": str(one.version),
                "instead_of": str(one.instead_of),
            }
            for one in sharing.given_up
        ],
        "summary": list(sharing.summary),
    }


def _versions(selection: Selection) -> dict[NormalizedName, Version]:
    return {choice.candidate.project: choice.candidate.version for choice in selection.choices}


def _given_up(alone: Sequence[Selection], shared: Sequence[Selection]) -> Iterator[GivenUp]:
    """Say what each target gave up of what was asked for, or of torch: the rest follows from these."""
    for own, got in zip(alone, shared, strict=True):
        roots = {canonicalize_name(one.name) for one in own.request.requirements} | {TORCH}
        before, after = _versions(own), _versions(got)
        for project in sorted(roots & before.keys() & after.keys()):
            if before[project] != after[project]:
                yield GivenUp(got.target.name, project, after[project], before[project])


def _told(own: Selection, got: Selection, all_shared: Sequence[Selection]) -> Selection:
    """Say in a closure which of its wheels are not its own best, and whom they serve alike."""
    if got is own:
        return got
    before = {choice.candidate.project: choice for choice in own.choices}
    choices, passed_over = [], []
    for choice in got.choices:
        project, version = choice.candidate.project, choice.candidate.version
        previous = before.get(project)
        if previous is None or previous.candidate.version == version:
            choices.append(choice)
            continue
        alike = [one.target.name for one in all_shared if _versions(one).get(project) == version]
        detail = f"{version} serves {name_first(alike, NAMED_TARGETS)} alike (--common)"
        if len(alike) == 1:
            detail = f"{version} goes with other wheels that several targets share (--common)"
        after = choice.why.partition("; ")[2]
        choices.append(replace(choice, why=f"{detail}, instead of {previous.candidate.version}; {after}".rstrip("; ")))
        passed_over.append(previous.candidate.rejected(Reason.COMMON, detail))
    chosen = {choice.candidate.file.link.url for choice in choices}
    kept = [one for one in own.rejected if one.file is None or one.file.link.url not in chosen]
    return replace(got, choices=tuple(choices), rejected=(*passed_over, *kept))


def _summary(
    alone: Sequence[Selection], shared: Sequence[Selection], given_up: Sequence[GivenUp], saving: str | None
) -> Iterator[str]:
    if saving is None:
        yield f"nothing more can be shared: {_why_nothing(alone)}"
        return
    own, got = _torches(alone), _torches(shared)
    what = f"{_count(got)} instead of {len(own)}" if len(got) < len(own) else "more wheels in common"
    yield f"{what}: {saving}"
    yield from _spoken(given_up)


def _spoken(given_up: Sequence[GivenUp]) -> Iterator[str]:
    """Say what was given up, once for all targets that gave up the same."""
    targets: dict[str, list[str]] = {}
    for one in given_up:
        targets.setdefault(f"{one.project} {one.version} instead of {one.instead_of}", []).append(one.target)
    for what, names in targets.items():
        yield f"{what} on {name_first(names, NAMED_TARGETS)}"


def _torches(selections: Sequence[Selection]) -> list[str]:
    found = {
        choice.candidate.version: None
        for one in selections
        for choice in one.choices
        if choice.candidate.project == TORCH
    }
    return [str(version) for version in found]


def _count(torches: Sequence[str]) -> str:
    return f"one torch {torches[0]}" if len(torches) == 1 else f"{len(torches)} builds of torch ({', '.join(torches)})"


def _why_nothing(alone: Sequence[Selection]) -> str:
    """Name what keeps these targets apart."""
    pythons = sorted({one.target.marker_environment["python_version"] for one in alone})
    platforms = sorted({f"{one.target.system} {one.target.machine}" for one in alone})
    if len(platforms) > 1:
        return f"{', '.join(platforms)} have only pure Python wheels in common"
    if len(_torches(alone)) == 1:
        torch = _torches(alone)[0]
        return f"all have torch {torch} already" + (
            f"; wheels for Python {' and '.join(pythons)} differ" if len(pythons) > 1 else ""
        )
    return "no build of torch serves two of these targets that have different ones" + (
        f" (Python {', '.join(pythons)})" if len(pythons) > 1 else ""
    )
