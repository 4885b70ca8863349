"""Show a selection: as a tree with sizes for people, as a document for scripts."""

from __future__ import annotations

from textwrap import fill
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytorch_offline.addresses import without_credentials
from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.explaining.why import documents_of, losses_of
from pytorch_offline.selector.lost_wheels import describe_misfits, is_for_platform, name_backends, name_versions
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.architectures import describe_served
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.selector.explaining.nearest import Change
    from pytorch_offline.selector.explaining.why import Loss, Step, Why
    from pytorch_offline.selector.explaining.why_not import WhyNot
    from pytorch_offline.selector.model import Choice, Rejection, Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# Columns of the narrowest terminal that people still use.
WIDTH = 80
# Groups of losers that an answer names; scripts get all of them.
MOST_SHOWN = 8
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def render_size(size: int | None) -> str:
    """Render bytes for people, in powers of ten as disks are sold: ``2.4 GB``; ``size unknown`` for None."""
    if size is None:
        return "size unknown"
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def render_tree(selection: Selection, known_sizes: Mapping[str, int] | None = None) -> str:
    """Render the closure as a tree, roots first, each project's own requirements shown once; then totals and reasons.

    Upstream's pages state no sizes; ``known_sizes`` (bytes by address) gives those that were learnt elsewhere.
    """
    tree = _Tree(selection, known_sizes or {})
    sizes = list(tree.sizes.values())
    total = f"{len(sizes)} wheel{'s' if len(sizes) > 1 else ''}, {render_size(sum(size or 0 for size in sizes))}"
    if missing := sizes.count(None):
        total = f"{len(sizes)} wheel{'s' if len(sizes) > 1 else ''}, " + (
            "sizes unknown"
            if missing == len(sizes)
            else f"{render_size(sum(size or 0 for size in sizes))} and {missing} of unknown size"
        )
    lines = [line for root in tree.roots for line in tree.branch(root)]
    lines += ["", f"total: {total}"]
    torch = next((choice for choice in selection.choices if choice.candidate.project == "torch"), None)
    if torch is not None:
        lines += ["", f"why {torch.candidate.file.name.filename}:"]
        lines += [_bullet(reason) for reason in reasons_for_torch(selection, torch)]
    return "\n".join(lines)


def reasons_for_torch(selection: Selection, torch: Choice) -> tuple[str, ...]:
    """Say in a few sentences why this build of torch: version, driver, devices, and what newer ones lost by."""
    version, _, rest = torch.why.partition("; ")
    parents = [parent for parent, text in torch.required_by if parent is not None and text != "torch"]
    if torch.specifier and parents and version.startswith("newest that satisfies"):
        version += f", as {' and '.join(dict.fromkeys(parents))} require{'s' if len(set(parents)) == 1 else ''}"
    kernels = ""
    if torch.kernels is not None and torch.candidate.backend is not None:
        kernels = describe_served(torch.kernels, torch.candidate.backend, selection.target)
        kernels = kernels if kernels in rest else ""  # a forced build may serve no device
    before, _, after = rest.partition(kernels) if kernels else (rest, "", "")
    reasons = [version, before.removesuffix("; "), kernels, after.removeprefix("; ")]
    return (*filter(None, reasons), *_newer_that_lost(selection, torch))


def _newer_that_lost(selection: Selection, torch: Choice) -> list[str]:
    """Name the backends and the newer releases that lost, each with its rule; those of other accelerators aside."""
    own = release_of(torch.candidate.version)
    ours = [one for one in selection.rejected if one.project == "torch"]
    found: list[str] = []
    by_detail: dict[str, list[Backend]] = {}
    for one in ours:
        forced = one.backend == torch.candidate.backend
        if one.file is None and one.backend is not None and one.reason == Reason.DRIVER and not forced:
            by_detail.setdefault(one.rule, []).append(one.backend)
    if by_detail:
        detail, backends = list(by_detail.items())[-1]  # the highest backends come first: what is missed is least here
        more = [backend for group in list(by_detail.values())[:-1] for backend in group]
        found.append(f"lost: {name_backends(backends)}: {detail}{f' (so for {name_backends(more)})' if more else ''}")
    newer = [one for one in ours if one.file is not None and release_of(one.file.name.version) > own]
    losses = losses_of(newer, selection.target)
    if losses:
        first = losses[0]
        more_reasons = f" ({len(losses) - 1} more: --why torch)" if len(losses) > 1 else ""
        found.append(f"lost: torch {name_versions(first.versions)}: {_shortened(first.detail)}{more_reasons}")
    return found


def _shortened(detail: str) -> str:
    """Leave out what a build has, which is told by ``--why``, and keep what it lacks."""
    return detail.partition(": it ")[0]


def _bullet(text: str) -> str:
    """Set a sentence below a heading, as a paragraph of at most 80 columns; names of files are never cut."""
    return fill(
        text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _paragraph(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


class _Tree:
    """Who requires whom, drawn depth first."""

    def __init__(self, selection: Selection, known_sizes: Mapping[str, int]) -> None:
        self.roots: list[NormalizedName] = []
        self.sizes = {
            choice.candidate.project: known_sizes.get(choice.candidate.file.link.url, choice.candidate.file.link.size)
            for choice in selection.choices
        }
        self._versions = {choice.candidate.project: choice.candidate.version for choice in selection.choices}
        self._children: dict[NormalizedName, list[NormalizedName]] = {}
        self._shown: set[NormalizedName] = set()
        for choice in selection.choices:
            for parent, _ in choice.required_by:
                siblings = self.roots if parent is None else self._children.setdefault(parent, [])
                if choice.candidate.project not in siblings:
                    siblings.append(choice.candidate.project)

    def branch(self, project: NormalizedName, own_indent: str = "", inner_indent: str = "") -> Iterator[str]:
        version, children = self._versions[project], self._children.get(project, [])
        again = project in self._shown and bool(children)
        yield f"{own_indent}{project} {version}  ({render_size(self.sizes[project])}){'  … as above' if again else ''}"
        if project in self._shown:
            return
        self._shown.add(project)
        for position, child in enumerate(children, start=1):
            fork, bar = ("└── ", "    ") if position == len(children) else ("├── ", "│   ")
            yield from self.branch(child, inner_indent + fork, inner_indent + bar)


def render_why(why: Why) -> str:
    """Say why a project is in the closure, and why this version and this wheel of it."""
    candidate, choice = why.choice.candidate, why.choice
    lines = [f"{candidate.project} {candidate.version} was chosen: {candidate.file.name.filename}"]
    for chain in why.chains:
        told = [f"{one.requirement} was asked for" if one.parent is None else _required(one) for one in chain]
        lines.append(_bullet("required: " + ", ".join(told) if len(chain) > 1 else told[0]))
    lines.append(_bullet(f"this version: {choice.why}"))
    lines += [
        _bullet(f"newer, lost: {name_versions(loss.versions)}{_built_for(loss)}: {loss.detail}") for loss in why.newer
    ]
    lines += [_bullet(f"other wheels of it, lost{_built_for(loss)}: {loss.detail}") for loss in why.others]
    if not why.others:
        lines.append(_bullet("this file: the only wheel of this version that its index lists"))
    lines.append(f"  from {without_credentials(candidate.file.page_url)}")
    return "\n".join(lines)


def _built_for(loss: Loss) -> str:
    """Name the backends, but of a version that was not asked for: it lost whatever it was built for."""
    return f" for {name_backends(loss.backends)}" if loss.backends and loss.reason != Reason.REQUIREMENT else ""


def _required(step: Step) -> str:
    return f"{step.parent} requires {step.requirement}"


def render_why_not(answer: WhyNot) -> str:
    """Say why a file, a version, a backend or a project was not chosen.

    What lost by the same rule is told once; wheels for other platforms and interpreters only in a few words.
    """
    first, *rest = _sentences(answer)
    return "\n".join([_paragraph(first), *map(_bullet, rest)])


def _sentences(answer: WhyNot) -> list[str]:
    if not answer.rejected or (len(answer.rejected) == 1 and answer.answer.endswith(answer.rejected[0].detail)):
        return [answer.answer]
    lines = [f"{answer.answer}:"]
    groups: dict[tuple[Reason, str], list[Rejection]] = {}
    for one in sorted(answer.rejected, key=lambda one: one.reason == Reason.ACCELERATOR):
        if one.reason != Reason.WHEEL_TAGS:
            groups.setdefault((one.reason, one.rule), []).append(one)
    for (reason, detail), group in list(groups.items())[:MOST_SHOWN]:
        lines.append(f"{_subject(group)}: {detail}  [{reason}]")
    if (more := len(groups) - MOST_SHOWN) > 0:
        lines.append(f"and {more} other reasons (--json has them all)")
    misfits = [one for one in answer.rejected if one.reason == Reason.WHEEL_TAGS and one.file is not None]
    for group in _by_platform(misfits, answer.target):
        names = [one.file.name.filename for one in group if one.file is not None]
        subject = names[0] if len(names) == 1 else f"{len(names)} wheels"
        lines.append(f"{subject}: {describe_misfits(group, answer.target)}  [wheel-tags]")
    return lines


def _by_platform(misfits: Sequence[Rejection], target: Target) -> list[list[Rejection]]:
    """Part wheels for the target's platform from those for others; leave out what is empty."""
    here = [one for one in misfits if one.file and any(is_for_platform(tag, target) for tag in one.file.name.tags)]
    return [group for group in (here, [one for one in misfits if one not in here]) if group]


def _subject(group: Sequence[Rejection]) -> str:
    """Name what lost by one rule: one file in full, else the backends, else the releases."""
    files = [one.file for one in group if one.file is not None]
    if len(files) == 1:
        return files[0].name.filename
    versions = name_versions(one.name.version for one in files)
    backends = name_backends(one.backend for one in group if one.backend is not None)
    if backends and len({one.name.version.public for one in files}) <= 1:
        return backends
    if not files:
        return group[0].project
    return f"{versions} for {backends}" if backends else f"{versions}, {len(files)} wheels"


def document_of_why(why: Why) -> dict[str, Any]:
    """Make the ``--json`` answer to ``--why``."""
    candidate = why.choice.candidate
    return {
        "project": candidate.project,
        "version": str(candidate.version),
        "filename": candidate.file.name.filename,
        "why": why.choice.why,
        "chains": [[{"parent": one.parent, "requirement": one.requirement} for one in chain] for chain in why.chains],
        "newer": documents_of(why.newer),
        "others": documents_of(why.others),
    }


def document_of_why_not(answer: WhyNot) -> dict[str, Any]:
    """Make the ``--json`` answer to ``--why-not``."""
    return {
        "asked": answer.asked,
        "answer": answer.answer,
        "rejected": [rejection_document(rejection) for rejection in answer.rejected],
    }


def explained(
    error: UnsatisfiableError,
    changes: Sequence[Change],
    *,
    target: Target | None = None,
    lost_by_backend: Sequence[Rejection] = (),
    unlisted: str | None = None,
    apart: Mapping[str, str] = MappingProxyType({}),
    answers: Sequence[WhyNot] = (),
) -> UnsatisfiableError:
    """Tell an error together with the changes that work and the answers to what was asked.

    ``lost_by_backend`` are wheels that would fit but for their backend, which an error's own search never looks at;
    ``unlisted`` says that the version that was asked for does not exist, ``apart`` that no backend has all roots.
    """
    # One requirement alone is no contradiction; which backends have which root is.
    alone = bool(apart) and len([name for name in error.facts if name.isdecimal()]) == 1
    facts = {**{name: fact for name, fact in error.facts.items() if not (alone and name.isdecimal())}, **apart}
    if unlisted is not None:
        facts.pop("newest offered", None)
        facts["listed"] = unlisted
    rejected = error.rejected if isinstance(error, NothingFitsError) else ()
    facts = _decisive_first(facts, rejected, lost_by_backend, target)
    sections = dict(error.sections)
    for answer in answers:
        sections[f"--why-not {answer.asked}"] = tuple(_sentences(answer))
    if changes:
        sections["each of these works (tried just now)"] = tuple(change.sentence for change in changes)
    return UnsatisfiableError(
        error.code,
        error.message,
        facts=facts,
        hint=error.hint,
        sections=sections,
        data={
            **error.data,
            "nearest": [change.document() for change in changes],
            "rejected": [rejection_document(one) for one in (*rejected, *lost_by_backend)],
            **({"why_not": [document_of_why_not(answer) for answer in answers]} if answers else {}),
        },
    )


def _decisive_first(
    facts: Mapping[str, object],
    rejected: Sequence[Rejection],
    lost_by_backend: Sequence[Rejection],
    target: Target | None,
) -> dict[str, object]:
    """Put what a newer driver would change before wheels for other machines, and the CPU's builds last."""
    tags = next((name for name in facts if name.endswith(" fail wheel-tags")), None)
    found = {name: fact for name, fact in facts.items() if name != tags}
    unused: dict[str, object] = {}
    groups: dict[tuple[Reason, str], list[Rejection]] = {}
    for one in lost_by_backend:
        if one.backend is not None and not any(name.endswith(f" fail {one.reason}") for name in found):
            # What a wheel has differs from wheel to wheel; that it lacks what this machine needs is told once.
            rule = "" if one.reason in {Reason.GPU_ARCHITECTURE, Reason.GLIBC} else one.rule
            groups.setdefault((one.reason, rule), []).append(one)
    for (reason, rule), group in groups.items():
        place = unused if reason is Reason.ACCELERATOR else found
        backends = name_backends(one.backend for one in group if one.backend is not None)
        place[backends] = f"has wheels of it that fit, but {rule or group[0].detail}"
    if {one.backend for one in rejected if one.reason is Reason.BACKEND} <= {one.backend for one in lost_by_backend}:
        found = {name: fact for name, fact in found.items() if not name.endswith(" fail backend")}
    beyond = [one for one in lost_by_backend if one.backend is None]
    if beyond and target is not None:
        count = 0 if tags is None else int(tags.partition(" ")[0])
        own = [one for one in rejected if one.reason is Reason.WHEEL_TAGS] if count else []
        more = f"{len(beyond)} of them need a newer driver too" if count else "and need a newer driver"
        found[f"{count + len(beyond)} fail wheel-tags"] = f"{describe_misfits([*own, *beyond], target)}; {more}"
    elif tags is not None:
        found[tags] = facts[tags]
    return found | unused


def document_of(
    selection: Selection, paths: Mapping[str, str], known_sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Make the ``--json`` document; ``paths`` maps a wheel's address to its place below the mirror."""
    files = [_file_document(choice, paths, known_sizes or {}) for choice in selection.choices]
    torch = next((choice for choice in selection.choices if choice.candidate.project == "torch"), None)
    return {
        "target": selection.target.name,
        "backend": None if selection.backend is None else str(selection.backend),
        "files": files,
        "reasons": [] if torch is None else list(reasons_for_torch(selection, torch)),
        "total_size": None if any(file["size"] is None for file in files) else sum(file["size"] for file in files),
        "rejected": [rejection_document(rejection) for rejection in selection.rejected],
        "warnings": list(selection.warnings),
    }


def _file_document(choice: Choice, paths: Mapping[str, str], known_sizes: Mapping[str, int]) -> dict[str, Any]:
    candidate, link = choice.candidate, choice.candidate.file.link
    return {
        "project": candidate.project,
        "version": str(candidate.version),
        "filename": link.filename,
        "url": without_credentials(link.url),
        "path": paths[link.url],
        "sha256": link.sha256,
        "size": known_sizes.get(link.url, link.size),
        "backend": None if candidate.backend is None else str(candidate.backend),
        "source": candidate.source.value,
        "page": without_credentials(candidate.file.page_url),
        "extras": sorted(choice.extras),
        "required_by": [{"project": parent, "requirement": text} for parent, text in choice.required_by],
        "why": choice.why,
        "kernels": None
        if (kernels := choice.kernels) is None
        else {
            "architectures": list(kernels.architectures),
            "source": kernels.source.value,
            "remark": kernels.remark,
        },
    }


def rejection_document(rejection: Rejection) -> dict[str, Any]:
    """Make a rejection's part of the ``--json`` document."""
    file = rejection.file
    return {
        "project": rejection.project,
        "version": None if file is None else str(file.name.version),
        "filename": None if file is None else file.name.filename,
        "url": None if file is None else without_credentials(file.link.url),
        "backend": None if rejection.backend is None else str(rejection.backend),
        "reason": rejection.reason,
        "detail": rejection.detail,
    }
