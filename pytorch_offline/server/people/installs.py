"""What one installs for an offer: from which index, which exact versions, and which companions come along."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.knowledge.companions import find_torch_need
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.matrix.builds import platforms_of
from pytorch_offline.matrix.pythons import pythons_of
from pytorch_offline.mirror.layout import ProjectPage, channel_of, plan_pages
from pytorch_offline.selector.rules.nightly import day_of
from pytorch_offline.server.people.offers import PLAIN, backend_answer
from pytorch_offline.wheels.filename import WheelName, parse_wheel_name, split_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    from pytorch_offline.mirror.model import Listed, MirrorFile
    from pytorch_offline.server.people.offers import Offer, Offers
    from pytorch_offline.wheels.metadata import CoreMetadata

# What pytorch.org's own command installs beside torch, in its order.
COMPANIONS = tuple(map(NormalizedName, ("torchvision", "torchaudio")))

_STABLE_ABI = re.compile(r"([0-9]+)\.([0-9]+)\+")
_USUAL_PYTHON = re.compile(r"([0-9]+)\.([0-9]+)\+?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What to install: requirements that each admit one version, and the directory of the index that has them.

    ``missing`` are companions that this mirror does not hold for the offer.
    """

    requirements: tuple[str, ...]
    index: PurePosixPath
    missing: tuple[str, ...]


class Shelves:
    """Which files of torch and its companions each index of the mirror lists.

    Args:
        files: all that the mirror holds.
        needs: which torch a companion needs by its METADATA, by path, where the tables do not know it.
    """

    def __init__(self, files: Iterable[MirrorFile], needs: Mapping[PurePosixPath, SpecifierSet] | None = None) -> None:
        projects = {TORCH, *COMPANIONS}
        ours = [file for file in files if parse_wheel_name(file.path.name).project in projects]
        pages = [page for page in plan_pages(ours) if isinstance(page, ProjectPage)]
        self.needs = needs or {}
        self._listed: Mapping[tuple[PurePosixPath, str], Sequence[Listed]] = {
            (page.directory.parent, page.project): page.files for page in pages
        }

    def listed(self, index: PurePosixPath, project: str) -> Sequence[Listed]:
        """Give the files of a project on an index's page."""
        return self._listed.get((index, project), ())


def install_of(offer: Offer, shelves: Shelves) -> Install:
    """Say what to install for an offer."""
    index = _index_of(offer, shelves)
    requirements = [_pin(offer, offer.name, shelves.listed(index, TORCH))]
    missing = []
    for project in COMPANIONS:
        listed = shelves.listed(index, project)
        companion = _companion(offer, listed, shelves.needs)
        if companion is None:
            missing.append(str(project))
        else:
            requirements.append(_pin(offer, companion, listed))
    return Install(requirements=tuple(requirements), index=index, missing=tuple(missing))


def is_unknown_companion(file: MirrorFile) -> bool:
    """Whether only its METADATA can say to which torch a file belongs: a companion that is younger than the tables."""
    if not file.path.name.startswith(COMPANIONS):
        return False
    name = parse_wheel_name(file.path.name)
    is_stable = name.project in COMPANIONS and day_of(name.version) is None
    return is_stable and find_torch_need(name.project, name.version) is None


def torch_need(metadata: CoreMetadata) -> SpecifierSet | None:
    """Say which torch a METADATA names; None if it names none, or leaves its version open."""
    for requirement in metadata.requires_dist:
        if canonicalize_name(requirement.name) == TORCH and requirement.specifier:
            return requirement.specifier
    return None


def best_start(offers: Offers, shelves: Shelves) -> Offer | None:
    """Choose what to show before anything was asked: the newest torch, and of its offers one with all companions.

    A Python that is new has torch months before torchvision, and most people want both.
    """
    first = next(iter(offers), None)
    if first is None:
        return None
    alike = (offer for offer in offers if (offer.torch, offer.system) == (first.torch, first.system))
    return min(alike, key=lambda offer: len(install_of(offer, shelves).missing))


def _index_of(offer: Offer, shelves: Shelves) -> PurePosixPath:
    """Name the index to install from: the backend's, which has nothing of other backends, wherever it lists the file.

    A file at root level is on all pages of its channel: of CPU builds for macOS that is cpu's.
    """
    directory = offer.file.path.parent
    channel = channel_of(offer.file.path)
    if directory == channel and offer.backend != PLAIN:
        own = channel / offer.backend
        if offer.file in shelves.listed(own, TORCH):
            return own
    return directory


def _pin(offer: Offer, name: WheelName, listed: Sequence[Listed]) -> str:
    """Write a requirement that admits exactly one version.

    ``==2.4.0`` admits ``2.4.0+cu121`` too, and installers prefer it (PEP 440, "Version matching"): beside such a file
    only ``===`` means the one without a label.
    """
    rivals = (parse_wheel_name(file.path.name) for file in listed)
    ambiguous = name.version.local is None and any(
        release_of(rival.version) == name.version != rival.version and _fits(rival, offer) for rival in rivals
    )
    return f"{name.project}{'===' if ambiguous else '=='}{name.version}"


def _companion(offer: Offer, listed: Sequence[Listed], needs: Mapping[PurePosixPath, SpecifierSet]) -> WheelName | None:
    """Choose the newest version of a companion that belongs to an offer and runs where it runs."""
    found: list[tuple[bool, Version, WheelName]] = []
    belongs: dict[tuple[str, SpecifierSet | None], bool] = {}  # a version has a dozen files
    for file in listed:
        name = parse_wheel_name(file.path.name)
        of = (split_wheel_name(name.filename)[0], needs.get(file.path))
        if of not in belongs:
            belongs[of] = _belongs(name, offer.name.version, of[1])
        if (
            file.yanked is None
            and belongs[of]
            and _fits(name, offer)
            and backend_answer(file, name) in {offer.backend, PLAIN}
        ):
            found.append((name.version.local == offer.name.version.local, name.version, name))
    return max(found, key=lambda one: one[:2])[2] if found else None


def _fits(name: WheelName, offer: Offer) -> bool:
    """Whether a wheel runs on an offer's system and Python."""
    pythons = pythons_of(name)
    return not platforms_of(name).isdisjoint({offer.system, "any"}) and (
        offer.python in pythons or "3" in pythons or any(_is_from(python, offer.python) for python in pythons)
    )


def _is_from(stable_abi: str, python: str) -> bool:
    """Whether a stable ABI's ``3.9+`` serves a Python: no free-threaded one, and no PyPy."""
    least, version = _STABLE_ABI.fullmatch(stable_abi), _USUAL_PYTHON.fullmatch(python)
    return least is not None and version is not None and _numbers(least) <= _numbers(version)


def _numbers(match: re.Match[str]) -> tuple[int, int]:
    return int(match[1]), int(match[2])


def _belongs(name: WheelName, torch: Version, said: SpecifierSet | None) -> bool:
    """Whether a companion was built for a torch: by the table, its METADATA, or its day; unknown is no."""
    known = find_torch_need(name.project, name.version)
    need = known.torch if known is not None else said
    if need is not None:
        return need.contains(release_of(torch), prereleases=True)
    return day_of(torch) is not None and day_of(name.version) == day_of(torch)
