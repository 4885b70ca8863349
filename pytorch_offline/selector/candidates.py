"""Judge one offered wheel for one target: a candidate with its rank, or a rejection with the rule that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pytorch_offline.knowledge.family import projects_built_per_backend
from pytorch_offline.knowledge.torch_builds import default_backends
from pytorch_offline.selector.model import Candidate, Rejection, Source
from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.backend import CPU, Backend, is_backend, parse_backend
from pytorch_offline.wheels.pip_tags import tags_taken_by, taken_since

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag
    from packaging.version import Version

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.filename import WheelName


class TagRanks:
    """The tags that a target installs, in order, asked for the best rank of a wheel's tag set.

    These are the target's own tags without those that its pip is too old for. An index page repeats few tag sets in
    thousands of links: each distinct set is decided once.
    """

    def __init__(self, target: Target) -> None:
        self._rank_of_tag: dict[Tag, int] = {}
        for rank, tag in enumerate(tags_taken_by(target.pip, target.tags)):
            self._rank_of_tag.setdefault(tag, rank)
        self._rank_of_set: dict[frozenset[Tag], int | None] = {}

    def rank(self, tags: frozenset[Tag]) -> int | None:
        """Return the lowest (best) position of any of the tags, None if the target takes none of them."""
        if tags not in self._rank_of_set:
            ranks = [self._rank_of_tag[tag] for tag in tags if tag in self._rank_of_tag]
            self._rank_of_set[tags] = min(ranks, default=None)
        return self._rank_of_set[tags]


def backend_of(name: WheelName, path: str, *, indexed_by_backend: bool, for_cpu: bool = False) -> Backend | None:
    """Say which backend a wheel was built for, None if it serves any.

    The directory decides, since up to torch 1.8 the default CUDA wheel had no local version and only its directory
    says which CUDA it is; then the local version. What is left has neither: on an index with a directory per backend
    that is a CPU build at root level (macOS, aarch64 up to 2.5); on a plain index torch for Linux is the release's
    default CUDA build (research/upstream-index.md, section 4), which runs on the CPU too: ``for_cpu`` says that this is
    all that the target can do.
    """
    if name.project not in projects_built_per_backend() or all(tag.platform == "any" for tag in name.tags):
        return None
    for segment in reversed(path.split("/")[:-1]):
        if is_backend(segment):
            return parse_backend(segment)
    label = name.version.local
    if label is not None:
        for text in (label, label.split(".")[0]):
            if is_backend(text):
                return parse_backend(text)
    if name.project != "torch":
        return None
    if indexed_by_backend or not any("linux" in tag.platform for tag in name.tags):
        return CPU
    default = default_backends().get(name.version.public)
    return None if default is None or for_cpu else parse_backend(default)


def judge_file(
    file: IndexFile, target: Target, ranks: TagRanks, *, source: Source, indexed_by_backend: bool
) -> Candidate | Rejection:
    """Judge a wheel by its tags and by the Requires-Python that its page states (PEP 503).

    A page's Requires-Python that cannot be read is passed over here: the wheel's own METADATA decides later.
    """
    name, link = file.name, file.link
    rank = ranks.rank(name.tags)
    if rank is None:
        needed = _pip_needed(name, target)
        if needed is not None:
            detail = f"pip {target.pip} on the target does not take its tags, pip {needed} does"
            return _rejection(file, "pip-too-old", detail)
        return _rejection(file, "wheel-tags", _tag_mismatch(name, target))
    if link.requires_python:
        try:
            admitted = SpecifierSet(link.requires_python)
        except InvalidSpecifier:
            admitted = SpecifierSet()
        if not admitted.contains(target.python_full_version, prereleases=True):
            detail = f"needs Python {link.requires_python}; the target has {target.python_full_version}"
            return _rejection(file, "requires-python", detail)
    for_cpu = target.accelerator is None or target.accelerator.kind is AcceleratorKind.NONE
    backend = backend_of(name, link.path, indexed_by_backend=indexed_by_backend, for_cpu=for_cpu)
    return Candidate(file=file, source=source, backend=backend, rank=rank)


def _rejection(file: IndexFile, reason: str, detail: str) -> Rejection:
    return Rejection(project=file.name.project, file=file, backend=None, reason=reason, detail=detail)


def _pip_needed(name: WheelName, target: Target) -> Version | None:
    """Say which pip would take a wheel that the target's interpreter takes; None if no pip would."""
    ours = frozenset(target.tags)
    return min((since for tag in name.tags if tag in ours and (since := taken_since(tag)) is not None), default=None)


def _tag_mismatch(name: WheelName, target: Target) -> str:
    """Say which part of the tags does not fit: the platform, the interpreter, or only their combination."""
    platforms = {tag.platform for tag in target.tags}
    interpreters = {(tag.interpreter, tag.abi) for tag in target.tags}
    offered = sorted({str(tag) for tag in name.tags})
    shown = offered[0] if len(offered) == 1 else f"{offered[0]} (and {len(offered) - 1} more)"
    if not any(tag.platform in platforms for tag in name.tags):
        libc = "" if target.libc is None else f" with {target.libc.name} {'.'.join(map(str, target.libc.version))}"
        return f"{shown} is for another platform than {target.system} {target.machine}{libc}"
    if not any((tag.interpreter, tag.abi) in interpreters for tag in name.tags):
        version = target.marker_environment["python_version"]
        return f"{shown} is for another interpreter than {target.tags[0].interpreter} ({version})"
    return f"{shown} combines interpreter and platform in a way that the target does not take"


def preference(candidate: Candidate) -> tuple[object, ...]:
    """Sort key among candidates of one project: the greatest is the best.

    It is pip's own order (``CandidateEvaluator._sort_key``): not yanked before yanked, then the whole version with its
    local label, the best tag, the highest build tag.
    """
    return (
        candidate.file.link.yanked is None,
        candidate.version,
        -candidate.rank,
        candidate.file.name.build,
    )


def admitted(candidates: Iterable[Candidate], specifier: SpecifierSet, *, pre: bool) -> list[Candidate]:
    """Filter by version, pre-release and yank (PEP 440; PEP 592: a yanked file only serves an exact pin)."""
    found = list(specifier.filter(candidates, prereleases=True if pre else None, key=lambda one: one.version))
    pinned = any(
        one.operator == "===" or (one.operator == "==" and not one.version.endswith(".*")) for one in specifier
    )
    if pinned and all(candidate.file.link.yanked is not None for candidate in found):
        return found
    return [candidate for candidate in found if candidate.file.link.yanked is None]
