"""Which files of a mirror need which others, by their METADATA; for whoever throws some away.

Nobody knows for which machines they will be asked, so that every requirement counts, whatever its marker says of the
environment; those of an extra count where the extra was asked for. Of files that serve one kind of machine (the same
tags) the newest that will do is needed, unless one that will do stays anyway. It has to do for the Python of the file
that needs it: where the newest of a pure-Python project has left Python 3.8, a torch for Python 3.8 needs an older one.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
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
        self._fitting: dict[tuple[NormalizedName, str], dict[PurePosixPath, list[_Group]]] = {}
        for one in files:
            self._by_project[one.name.project].append(one)
            for requirement in one.requires:
                name = canonicalize_name(requirement.name)
                self._asked |= {(name, canonicalize_name(extra)) for extra in requirement.extras}

    def of(self, one: HeldFile, staying: Collection[PurePosixPath]) -> set[PurePosixPath]:
        """Name the files that one needs: of those that will do those that stay anyway, else the newest."""
        found = set()
        own, tags = one.file.path.parent, one.name.tags
        python = only_python(tags)
        for requirement in one.requires:
            if not self._counts(requirement, one.name.project):
                continue
            for directory, groups in self._groups(requirement).items():
                if not sees(own, directory):
                    continue
                for group in groups:
                    if not meet(tags, group.tags):
                        continue
                    for choice in group.choices(python):
                        stay = {other.file.path for other in choice if other.file.path in staying}
                        found |= stay or {choice[0].file.path}
        return found - {one.file.path}

    def _counts(self, requirement: Requirement, project: NormalizedName) -> bool:
        extras = _EXTRA.findall(str(requirement.marker)) if requirement.marker is not None else []
        return not extras or any((project, canonicalize_name(extra)) in self._asked for extra in extras)

    def _groups(self, requirement: Requirement) -> dict[PurePosixPath, list[_Group]]:
        """Give the files that will do, by directory: those of each set of tags."""
        key = canonicalize_name(requirement.name), str(requirement.specifier)
        if key not in self._fitting:
            by_tags: dict[tuple[PurePosixPath, frozenset[Tag]], list[HeldFile]] = defaultdict(list)
            for one in self._by_project.get(key[0], ()):
                if requirement.specifier.contains(one.name.version, prereleases=True):
                    by_tags[one.file.path.parent, one.name.tags].append(one)
            found: dict[PurePosixPath, list[_Group]] = defaultdict(list)
            for (directory, tags), group in by_tags.items():
                group.sort(key=lambda one: (one.name.version, one.name.build), reverse=True)
                found[directory].append(_Group(tags, group))
            self._fitting[key] = found
        return self._fitting[key]


class _Group:
    """Files of the same tags that will do, the newest first."""

    def __init__(self, tags: frozenset[Tag], files: list[HeldFile]) -> None:
        self.tags = tags
        self._files = files
        self._choices: dict[str | None, list[list[HeldFile]]] = {}

    def choices(self, python: str | None) -> list[list[HeldFile]]:
        """Give lists of files, of each of which one has to stay; of a Python that is not known, one for each range."""
        if python not in self._choices:
            by_range: dict[str | None, list[HeldFile]] = defaultdict(list)
            for one in self._files:
                if python is None or _admits(one.file.requires_python, python):
                    by_range[None if python is not None else one.file.requires_python].append(one)
            self._choices[python] = list(by_range.values()) or [self._files]
        return self._choices[python]


@functools.lru_cache(maxsize=16384)
def only_python(tags: frozenset[Tag]) -> str | None:
    """Name the one Python that takes a file of these tags, ``3.8``; None if several do."""
    found = {tag.interpreter if tag.abi != "abi3" else "" for tag in tags}
    interpreter = found.pop() if len(found) == 1 else ""
    digits = interpreter.removeprefix("cp") if interpreter.startswith("cp") else ""
    return f"{digits[0]}.{digits[1:]}" if digits[1:].isdigit() else None


@functools.lru_cache(maxsize=16384)
def _admits(requires_python: str | None, python: str) -> bool:
    try:
        specifiers = SpecifierSet(requires_python or "")
    except InvalidSpecifier:
        return True
    return any(specifiers.contains(f"{python}.{micro}") for micro in (0, 99))


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
