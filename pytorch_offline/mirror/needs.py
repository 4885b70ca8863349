"""Which files of a mirror need which others, by their METADATA; for whoever throws some away.

Nobody knows for which machines they will be asked, so that every requirement counts, whatever its marker says of the
environment; those of an extra count where the extra was asked for. Of files that serve one kind of machine (the same
tags) the newest that will do is needed, unless one that will do stays anyway.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.mirror.layout import ROOT, channel_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import PurePosixPath

    from packaging.requirements import Requirement
    from packaging.tags import Tag
    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.retention import HeldFile

_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([^'"]+)['"]""")
_LINUX = re.compile(r"(?:many|musl)?linux(?:[0-9]+|_[0-9]+_[0-9]+)?_(?P<arch>.+)")
_MACOS = re.compile(r"macosx_[0-9]+_[0-9]+_(?P<arch>.+)")


class Needs:
    """What files need of each other."""

    def __init__(self, files: Iterable[HeldFile]) -> None:
        self._by_project: dict[NormalizedName, list[HeldFile]] = defaultdict(list)
        self._asked: set[tuple[NormalizedName, NormalizedName]] = set()  # extras, of all files together
        self._fitting: dict[tuple[NormalizedName, str], dict[PurePosixPath, list[list[HeldFile]]]] = {}
        for one in files:
            self._by_project[one.name.project].append(one)
            for requirement in one.requires:
                name = canonicalize_name(requirement.name)
                self._asked |= {(name, canonicalize_name(extra)) for extra in requirement.extras}

    def of(self, one: HeldFile, staying: Collection[PurePosixPath]) -> set[PurePosixPath]:
        """Name the files that have to stay if one does, beside those that stay."""
        found = set()
        own, tags = one.file.path.parent, one.name.tags
        for requirement in one.requires:
            if not self._counts(requirement, one.name.project):
                continue
            for directory, groups in self._groups(requirement).items():
                if not sees(own, directory):
                    continue
                for group in groups:
                    if meet(tags, group[0].name.tags) and not any(other.file.path in staying for other in group):
                        found.add(group[0].file.path)
        return found - {one.file.path}

    def _counts(self, requirement: Requirement, project: NormalizedName) -> bool:
        extras = _EXTRA.findall(str(requirement.marker)) if requirement.marker is not None else []
        return not extras or any((project, canonicalize_name(extra)) in self._asked for extra in extras)

    def _groups(self, requirement: Requirement) -> dict[PurePosixPath, list[list[HeldFile]]]:
        """Give the files that will do, by directory: those of each set of tags, the newest first."""
        key = canonicalize_name(requirement.name), str(requirement.specifier)
        if key not in self._fitting:
            by_tags: dict[tuple[PurePosixPath, frozenset[Tag]], list[HeldFile]] = defaultdict(list)
            for one in self._by_project.get(key[0], ()):
                if requirement.specifier.contains(one.name.version, prereleases=True):
                    by_tags[one.file.path.parent, one.name.tags].append(one)
            found: dict[PurePosixPath, list[list[HeldFile]]] = defaultdict(list)
            for (directory, _), group in by_tags.items():
                group.sort(key=lambda one: (one.name.version, one.name.build), reverse=True)
                found[directory].append(group)
            self._fitting[key] = found
        return self._fitting[key]


@functools.lru_cache(maxsize=16384)
def sees(own: PurePosixPath, its: PurePosixPath) -> bool:
    """Whether some index page lists files of both directories: each lists its own and those of its channel's root."""
    return its in {own, channel_of(own / "file"), ROOT} or own in {channel_of(its / "file"), ROOT}


@functools.lru_cache(maxsize=16384)
def meet(some: frozenset[Tag], others: frozenset[Tag]) -> bool:
    """Whether there may be a machine that takes a file of some tags and one of others; of ABIs only abi3 is told."""
    return any(
        _interpreters_meet(one, other) and _platforms_meet(one.platform, other.platform)
        for one in some
        for other in others
    )


def _interpreters_meet(one: Tag, other: Tag) -> bool:
    if "py" in {one.interpreter[:2], other.interpreter[:2]} or one.interpreter == other.interpreter:
        return True
    older, newer = sorted((one, other), key=lambda tag: _minor(tag.interpreter))
    return older.abi == "abi3" and older.interpreter[:2] == newer.interpreter[:2] == "cp"


def _minor(interpreter: str) -> int:
    digits = interpreter[3:]
    return int(digits) if digits.isdigit() else 0


def _platforms_meet(one: str, other: str) -> bool:
    if "any" in {one, other}:
        return True
    (system, arch), (other_system, other_arch) = _system(one), _system(other)
    # macOS has wheels for both of its architectures at once.
    return system == other_system and (arch == other_arch or any(a.startswith("universal") for a in (arch, other_arch)))


def _system(platform: str) -> tuple[str, str]:
    for system, pattern in (("linux", _LINUX), ("macos", _MACOS)):
        if (match := pattern.fullmatch(platform)) is not None:
            return system, match["arch"]
    return platform, ""
