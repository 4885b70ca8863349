"""Why an answer of ours differs from a peer's: every difference has a rule behind it, or is an error of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.companions import find_torch_need
from pytorch_offline.knowledge.family import family_projects, projects_built_per_backend
from pytorch_offline.knowledge.glibc_need import find_glibc_need
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.simulator.offers import DEFAULT_INDEX
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.metadata import parse_metadata
from tests.oracles.answers import Answer, Chosen, chosen_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.requirements import Requirement

    from pytorch_offline.simulator.offers import Offer
    from pytorch_offline.simulator.spec import Spec
    from pytorch_offline.target.model import Target

_BACKTRACKS_SINCE = Version("20.3")


class Shelf:
    """Every wheel of the upstream, by what an answer tells of it."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._offers: dict[Chosen, list[Offer]] = {}
        self._projects: dict[str, set[Chosen]] = {}
        for offer in spec.offers():
            try:
                chosen = chosen_of(offer.filename)
            except UsageError:
                continue  # a name that no installer takes
            self._offers.setdefault(chosen, []).append(offer)
            self._projects.setdefault(chosen.project, set()).add(chosen)

    def directories(self, chosen: Chosen) -> list[str]:
        """Where below ``/whl`` a file of this name lies."""
        return [offer.directory for offer in self._offers.get(chosen, ())]

    def upstream(self, project: str) -> list[Chosen]:
        """Every wheel of a project that upstream has itself, not the default index."""
        return [one for one in self._projects.get(project, ()) if self.directories(one) != [DEFAULT_INDEX]]

    def requirements(self, chosen: Chosen) -> tuple[Requirement, ...]:
        """What a file of this name requires."""
        return parse_metadata(self._spec.metadata(self._offers[chosen][0])).requires_dist

    def filename(self, chosen: Chosen) -> str:
        """Its name."""
        return self._offers[chosen][0].filename


def explain_difference(ours: Answer, theirs: Answer, *, backend: str, target: Target, shelf: Shelf) -> str | None:
    """Name the rule by which the two answers differ; None if there is none."""
    mine = ours or frozenset()
    if theirs is None:
        return _why_none(mine, target, shelf)
    if not all(shelf.directories(one) for one in theirs):
        return None
    if ours is not None and _but_for_tags(mine) == _but_for_tags(theirs) and _only_native_tags(mine ^ theirs):
        return "tag order: packaging 24.2 and later rank linux_* before manylinux_*, uv and older pips after it"
    if any(_built_for_another(one, backend, shelf) for one in theirs - mine):
        return "backend: they take a build for another backend that every page lists, from the root level"
    if any(_is_misplaced(one, theirs, shelf) for one in theirs):
        return "companion: they pair torch with a companion of another release, whose METADATA names no torch"
    if any(_lacks_libc(one, target, shelf) for one in theirs - mine):
        return "glibc: they take a wheel that is linked with a glibc that the target does not have"
    if not _closed(theirs, shelf, target.marker_environment):
        return "metadata: they read the METADATA of another file of that version"
    return None


def _why_none(mine: Iterable[Chosen], target: Target, shelf: Shelf) -> str | None:
    if target.pip is None or not _closed(mine, shelf, target.marker_environment):
        return None
    if target.pip < _BACKTRACKS_SINCE:
        return "resolver: their pip is from before 20.3 and tries no older version"
    if any(_leads_nowhere(one, shelf, target.marker_environment) for one in mine):
        return "resolver: pip ends at the first requirement that its index has nothing for, and tries no older version"
    return None


def _but_for_tags(answer: Iterable[Chosen]) -> set[tuple[str, str]]:
    return {(one.project, one.version) for one in answer}


def _only_native_tags(differing: Iterable[Chosen]) -> bool:
    """Whether of each pair one file has the bare ``linux_`` tag and the other a ``manylinux_`` tag."""
    kinds: dict[tuple[str, str], set[bool]] = {}
    for one in differing:
        bare = all(tag.rpartition("-")[2].startswith("linux_") for tag in one.tags)
        kinds.setdefault((one.project, one.version), set()).add(bare)
    return all(kind == {True, False} for kind in kinds.values())


def _built_for_another(chosen: Chosen, backend: str, shelf: Shelf) -> bool:
    if chosen.project not in projects_built_per_backend():
        return False
    name = parse_wheel_name(shelf.filename(chosen))
    directories = shelf.directories(chosen)
    built = {backend_of(name, f"/whl/{place}/{chosen.project}", indexed_by_backend=True) for place in directories}
    return all(one is not None and str(one) != backend for one in built)


def _is_misplaced(chosen: Chosen, answer: Iterable[Chosen], shelf: Shelf) -> bool:
    """Whether a wheel's METADATA leaves its torch open, and the table of companions says that it is not this one."""
    torch = next((Version(one.version) for one in answer if one.project == "torch"), None)
    need = find_torch_need(canonicalize_name(chosen.project), Version(chosen.version))
    bounds = [one.specifier for one in shelf.requirements(chosen) if canonicalize_name(one.name) == "torch"]
    if torch is None or need is None or any(bounds):
        return False
    return not need.torch.contains(torch, prereleases=True)


def _lacks_libc(chosen: Chosen, target: Target, shelf: Shelf) -> bool:
    """Whether a family wheel's tag promises no glibc, and the target's libc is another, or older than it needs."""
    if chosen.project not in family_projects() or target.libc is None:
        return False
    if not all("-linux_" in tag or "-manylinux1_" in tag for tag in chosen.tags):
        return False
    name = parse_wheel_name(shelf.filename(chosen))
    platforms = [tag.rpartition("-")[2] for tag in chosen.tags]
    places = [place.rpartition("/")[2] for place in shelf.directories(chosen)]
    needs = [find_glibc_need(name.project, name.version, platforms, place) for place in places]
    return target.libc.name != "glibc" or any(one is not None and one.need > target.libc.version for one in needs)


def _leads_nowhere(chosen: Chosen, shelf: Shelf, environment: Mapping[str, str]) -> bool:
    """Whether another version of a chosen project requires, at most three steps on, what upstream has no wheel of."""
    paths = [one for one in shelf.upstream(chosen.project) if one.version != chosen.version]
    for _ in range(3):
        wanted = {
            canonicalize_name(requirement.name)
            for one in paths
            for requirement in shelf.requirements(one)
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})
        }
        paths = [one for project in wanted for one in shelf.upstream(project)]
        if any(not shelf.upstream(project) for project in wanted):
            return True
    return False


def _closed(answer: Iterable[Chosen], shelf: Shelf, environment: Mapping[str, str]) -> bool:
    """Whether all that the very files of an answer require is in it."""
    versions = {one.project: one.version for one in answer}
    for one in answer:
        for requirement in shelf.requirements(one):
            if requirement.marker is not None and not requirement.marker.evaluate({**environment, "extra": ""}):
                continue
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                return False
    return True
