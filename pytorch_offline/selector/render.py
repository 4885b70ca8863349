"""Show a selection: as a tree with sizes for people, as a document for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.utils import NormalizedName

    from pytorch_offline.selector.model import Choice, Rejection, Selection

_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def render_size(size: int | None) -> str:
    """Render bytes for people, in powers of ten as disks are sold: ``2.4 GB``; ``size unknown`` for None."""
    if size is None:
        return "size unknown"
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def render_tree(selection: Selection) -> str:
    """Render the closure as a tree, roots first, each project's own requirements shown once, then the totals."""
    tree = _Tree(selection)
    sizes = [choice.candidate.file.link.size for choice in selection.choices]
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

    def __init__(self, selection: Selection) -> None:
        self.roots: list[NormalizedName] = []
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
        yield f"{own_indent}{link.filename}  ({render_size(link.size)}){'  … as above' if again else ''}"
        if project in self._shown:
            return
        self._shown.add(project)
        for position, child in enumerate(children, start=1):
            fork, bar = ("└── ", "    ") if position == len(children) else ("├── ", "│   ")
            yield from self.branch(child, inner_indent + fork, inner_indent + bar)


def document_of(selection: Selection, paths: dict[str, str]) -> dict[str, Any]:
    """Make the ``--json`` document; ``paths`` maps a wheel's address to its place below the mirror."""
    files = [_file_document(choice, paths) for choice in selection.choices]
    return {
        "target": selection.target.name,
        "backend": None if selection.backend is None else str(selection.backend),
        "files": files,
        "total_size": None if any(file["size"] is None for file in files) else sum(file["size"] for file in files),
        "rejected": [_rejection_document(rejection) for rejection in selection.rejected],
        "warnings": list(selection.warnings),
    }


def _file_document(choice: Choice, paths: dict[str, str]) -> dict[str, Any]:
    candidate, link = choice.candidate, choice.candidate.file.link
    return {
        "project": candidate.project,
        "version": str(candidate.version),
        "filename": link.filename,
        "url": link.url,
        "path": paths[link.url],
        "sha256": link.sha256,
        "size": link.size,
        "backend": None if candidate.backend is None else str(candidate.backend),
        "source": candidate.source.value,
        "page": candidate.file.page_url,
        "extras": sorted(choice.extras),
        "required_by": [{"project": parent, "requirement": text} for parent, text in choice.required_by],
        "why": choice.why,
    }


def _rejection_document(rejection: Rejection) -> dict[str, Any]:
    file = rejection.file
    return {
        "project": rejection.project,
        "filename": None if file is None else file.name.filename,
        "url": None if file is None else file.link.url,
        "backend": None if rejection.backend is None else str(rejection.backend),
        "reason": rejection.reason,
        "detail": rejection.detail,
    }
