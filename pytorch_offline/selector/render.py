"""Show a selection: as a tree with sizes for people, as a document for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.utils import NormalizedName

    from pytorch_offline.selector.model import Choice, Rejection, Selection

from packaging.utils import canonicalize_name

from pytorch_offline.crawler.hrefs import without_credentials
from pytorch_offline.errors import UsageError

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
    """Render the closure as a tree, roots first, each project's own requirements shown once, then the totals.

    Upstream's pages state no sizes; ``known_sizes`` (bytes by address) gives those that were learnt elsewhere.
    """
    tree = _Tree(selection, known_sizes or {})
    sizes = list(tree.sizes.values())
    total = f"{len(sizes)} wheels, {render_size(sum(size for size in sizes if size is not None))}"
    if missing := sizes.count(None):
        total += f" known, {missing} of unknown size"
    lines = [line for root in tree.roots for line in tree.branch(root)]
    lines += ["", f"total: {total}"]
    lines += [
        f"why {choice.candidate.file.name.filename}: {choice.why}"
        for choice in selection.choices
        if choice.candidate.project == "torch"
    ]
    return "\n".join(lines)


class _Tree:
    """Who requires whom, drawn depth first."""

    def __init__(self, selection: Selection, known_sizes: Mapping[str, int]) -> None:
        self.roots: list[NormalizedName] = []
        self.sizes = {
            choice.candidate.project: known_sizes.get(choice.candidate.file.link.url, choice.candidate.file.link.size)
            for choice in selection.choices
        }
        self._files = {choice.candidate.project: choice.candidate.file.link for choice in selection.choices}
        self._children: dict[NormalizedName, list[NormalizedName]] = {}
        self._shown: set[NormalizedName] = set()
        for choice in selection.choices:
            for parent, _ in choice.required_by:
                siblings = self.roots if parent is None else self._children.setdefault(parent, [])
                if choice.candidate.project not in siblings:
                    siblings.append(choice.candidate.project)

    def branch(self, project: NormalizedName, own_indent: str = "", inner_indent: str = "") -> Iterator[str]:
        link, children = self._files[project], self._children.get(project, [])
        again = project in self._shown and bool(children)
        yield f"{own_indent}{link.filename}  ({render_size(self.sizes[project])}){'  … as above' if again else ''}"
        if project in self._shown:
            return
        self._shown.add(project)
        for position, child in enumerate(children, start=1):
            fork, bar = ("└── ", "    ") if position == len(children) else ("├── ", "│   ")
            yield from self.branch(child, inner_indent + fork, inner_indent + bar)


def render_why(selection: Selection, project: str) -> str:
    """Say why a project is in the closure, and why this wheel of it.

    Raises:
        UsageError: ``not-in-closure``.
    """
    name = canonicalize_name(project)
    choice = next((choice for choice in selection.choices if choice.candidate.project == name), None)
    if choice is None:
        raise UsageError("not-in-closure", f"{project} is not in the closure for target {selection.target.name}")
    file = choice.candidate.file
    lines = [f"{file.name.filename}: {choice.why}", f"  from {without_credentials(file.page_url)}"]
    for parent, text in choice.required_by:
        lines.append(f"  {text} was asked for" if parent is None else f"  {parent} requires {text}")
    return "\n".join(lines)


def render_why_not(selection: Selection, what: str) -> str:
    """Say why a file, a version or a backend was not chosen.

    Asked about more than one file, those for other platforms and interpreters are only counted.

    Raises:
        UsageError: ``was-chosen``, or ``not-rejected`` if nothing of that name was in question.
    """
    for name in (choice.candidate.file.name for choice in selection.choices):
        if what in {name.filename, str(name.version), name.version.local}:
            raise UsageError("was-chosen", f"{what} was chosen: {name.filename}")
    meant = [rejection for rejection in selection.rejected if what in _names_of(rejection)]
    if not meant:
        raise UsageError(
            "not-rejected",
            f"{what} was not in question for target {selection.target.name}",
            hint="name a file, a version (2.4.0+cu124) or a backend (cu124) that the requirements admit",
        )
    shown = [rejection for rejection in meant if rejection.reason != "wheel-tags"] or meant
    lines = [f"{_called(rejection)}: {rejection.detail}  [{rejection.reason}]" for rejection in shown]
    if hidden := len(meant) - len(shown):
        lines.append(f"and {hidden} more for other platforms or interpreters")
    return "\n".join(lines)


def _names_of(rejection: Rejection) -> set[str]:
    """By which names a rejection may be asked for: the file, its version, its release, its backend."""
    names = {str(rejection.backend)} if rejection.backend is not None else set()
    if rejection.file is not None:
        version = rejection.file.name.version
        names |= {rejection.file.name.filename, str(version), version.public, version.local or ""}
    return names


def _called(rejection: Rejection) -> str:
    return str(rejection.backend) if rejection.file is None else rejection.file.name.filename


def document_of(
    selection: Selection, paths: Mapping[str, str], known_sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Make the ``--json`` document; ``paths`` maps a wheel's address to its place below the mirror."""
    files = [_file_document(choice, paths, known_sizes or {}) for choice in selection.choices]
    return {
        "target": selection.target.name,
        "backend": None if selection.backend is None else str(selection.backend),
        "files": files,
        "total_size": None if any(file["size"] is None for file in files) else sum(file["size"] for file in files),
        "rejected": [_rejection_document(rejection) for rejection in selection.rejected],
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
    }


def _rejection_document(rejection: Rejection) -> dict[str, Any]:
    file = rejection.file
    return {
        "project": rejection.project,
        "filename": None if file is None else file.name.filename,
        "url": None if file is None else without_credentials(file.link.url),
        "backend": None if rejection.backend is None else str(rejection.backend),
        "reason": rejection.reason,
        "detail": rejection.detail,
    }
