"""Judge one offered wheel for one target: a candidate with its rank, or a rejection with the rule that failed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from pytorch_offline.knowledge.family import projects_built_per_backend
from pytorch_offline.knowledge.torch_builds import default_backends, find_default_backend
from pytorch_offline.selector.model import Candidate, Rejection, Source
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.tag_fit import Misfit
from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.backend import CPU, Backend, BackendKind, is_backend, parse_backend
from pytorch_offline.wheels.versions import holds_pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.selector.rules.tag_fit import TagFit
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.filename import WheelName

NOT_ASKED_FOR = "a pre-release, which was not asked for (--pre)"


def backend_of(name: WheelName, path: str, *, indexed_by_backend: bool, for_cpu: bool = False) -> Backend | None:
    """Say which backend a wheel was built for, None if it serves any.

    The local version decides, where it names a backend: ``cu111/`` once held ``torch-1.10.2+cpu``, byte for byte that
    of ``cpu/``. Then the directory, since up to torch 1.8 the default CUDA wheel had no local version and only its
    directory says which CUDA it is. What is left has neither: on an index with a directory per backend that is a CPU
    build at root level (macOS, aarch64 up to 2.5); on a plain index torch for Linux is the release's default CUDA build
    (research/upstream-index.md, section 4), which runs on the CPU too: ``for_cpu`` says that this is all that the
    target can do. For aarch64 it is a CPU build up to 2.10 (measured).
    """
    if name.project not in projects_built_per_backend() or all(tag.platform == "any" for tag in name.tags):
        return None
    directory = next((parse_backend(one) for one in reversed(path.split("/")[:-1]) if is_backend(one)), None)
    labelled = _of_label(name.version.local)
    if directory is not None:
        if labelled is not None:
            return directory if _is_same_toolkit(labelled, directory) else labelled
        return _unlabelled_in(directory, name)
    if labelled is not None:
        return labelled
    if name.project != "torch":
        return None
    if indexed_by_backend or not any("linux" in tag.platform for tag in name.tags):
        return CPU
    default = find_default_backend(name.version, [tag.platform for tag in name.tags])
    return None if default is None or for_cpu else parse_backend(default)


def _of_label(label: str | None) -> Backend | None:
    for text in () if label is None else (label, label.split(".")[0]):
        if is_backend(text):
            return parse_backend(text)
    return None


def _is_same_toolkit(labelled: Backend, directory: Backend) -> bool:
    """Whether a label only says more, or less, than its directory: ``+rocm7.0.51831`` lies in ``rocm7.0``."""
    if labelled.kind is not directory.kind or labelled.version is None or directory.version is None:
        return labelled == directory
    known = min(len(labelled.version.release), len(directory.version.release))
    return labelled.version.release[:known] == directory.version.release[:known]


# From this release on every build but the default one has its backend in its local version; and the first one that
# upstream built with CUDA for aarch64 (both from the recorded rows of every directory).
_FIRST_LABELLED = Version("1.2.0")
_FIRST_CUDA_FOR_AARCH64 = Version("2.4.0")


def _unlabelled_in(directory: Backend, name: WheelName) -> Backend:
    """Say what a wheel without a local version in a backend's directory is: that backend's, or one gone astray.

    In 2022 ``cu111/`` held the files that the default index has of torch 1.10.2: macOS, aarch64 and Windows for the
    CPU, and Linux with that release's default CUDA, 10.2. The rule of a plain index tells them.
    """
    if directory.kind is not BackendKind.CUDA:
        return directory
    platforms = [tag.platform for tag in name.tags]
    if all(platform.startswith("macosx") for platform in platforms):
        return CPU
    if name.project != "torch":
        return directory
    if all(platform.endswith("_aarch64") for platform in platforms):
        return CPU if name.version < _FIRST_CUDA_FOR_AARCH64 else directory
    default = None if name.version < _FIRST_LABELLED else default_backends().get(name.version.public)
    if default is None or parse_backend(default) == directory:
        return directory
    return parse_backend(default) if any("linux" in platform for platform in platforms) else CPU


def judge_file(
    file: IndexFile,
    target: Target,
    tags: TagFit,
    *,
    source: Source,
    indexed_by_backend: bool,
    objection: str | None = None,
) -> Candidate | Rejection:
    """Judge a wheel by its tags and by the Requires-Python that its page states (PEP 503).

    ``objection`` is what the user's own hashes say against it (``hashes.hash_objection``).

    A page's Requires-Python that cannot be read is passed over here: the wheel's own METADATA decides later.
    """
    name, link = file.name, file.link
    fit = tags.judge(name.tags)
    if isinstance(fit, Misfit):
        return _rejection(file, fit.reason, fit.detail)
    if link.requires_python and not _admits_python(link.requires_python, target.python_full_version):
        detail = f"needs Python {link.requires_python}; the target has {target.python_full_version}"
        return _rejection(file, Reason.REQUIRES_PYTHON, detail)
    if objection is not None:
        return _rejection(file, Reason.HASH, objection)
    for_cpu = target.accelerator is None or target.accelerator.kind is AcceleratorKind.NONE
    backend = backend_of(name, link.path, indexed_by_backend=indexed_by_backend, for_cpu=for_cpu)
    return Candidate(file=file, source=source, backend=backend, rank=fit.rank)


@functools.lru_cache(maxsize=4096)
def _admits_python(requires_python: str, python: Version) -> bool:
    """Whether a page's Requires-Python admits a Python; a page repeats few of them in thousands of links."""
    try:
        return SpecifierSet(requires_python).contains(python, prereleases=True)
    except InvalidSpecifier:
        return True


def _rejection(file: IndexFile, reason: Reason, detail: str) -> Rejection:
    return Rejection(project=file.name.project, file=file, backend=None, reason=reason, detail=detail)


def describe_yank(reason: str) -> str:
    """Say that a wheel was yanked, with its publisher's reason, which may be empty."""
    return f"yanked by its publisher: {reason or 'no reason given'}"


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
    if holds_pin(specifier) and all(candidate.file.link.yanked is not None for candidate in found):
        return found
    return [candidate for candidate in found if candidate.file.link.yanked is None]
