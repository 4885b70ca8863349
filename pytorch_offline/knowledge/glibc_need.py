"""Which glibc upstream's wheels need whose tags do not say it: the table of measured wheels and of build images.

It serves where the wheel itself cannot be read. What was measured is exact; what rests on the image that a wheel was
built in is an upper bound, because a library may need less than its system has.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class GlibcNeed:
    """A range of releases of one project, for some platform tags and builds, and the glibc that they need.

    ``variants`` are patterns of upstream's directories (``rocm*``); ``certainty`` is in words, ``measured`` the best.
    """

    project: str
    first: Version
    last: Version
    platforms: frozenset[str]
    variants: tuple[str, ...]
    need: tuple[int, int]
    certainty: str
    source: str


@cache
def _read_needs() -> dict[str, tuple[GlibcNeed, ...]]:
    rows: dict[str, list[GlibcNeed]] = {}
    for row in read_table("glibc_need"):
        major, _, minor = row["need"].partition(".")
        need = GlibcNeed(
            project=row["project"],
            first=Version(row["version_min"]),
            last=Version(row["version_max"]),
            platforms=frozenset(row["platform"].split(";")),
            variants=tuple(row["variants"].split(";")),
            need=(int(major), int(minor)),
            certainty=row["certainty"],
            source=row["source"],
        )
        rows.setdefault(need.project, []).append(need)
    return {project: tuple(found) for project, found in rows.items()}


def find_glibc_need(project: str, version: Version, platforms: Iterable[str], variant: str) -> GlibcNeed | None:
    """Find what a wheel needs; None if the table does not know it.

    Args:
        project: its normalised name.
        version: its version; post-releases and candidates stand for the release that they belong to.
        platforms: those of its tags.
        variant: upstream's directory of builds, such as ``cu121``; empty for the root and for other indexes.
    """
    release = Version(version.base_version)
    tags = frozenset(platforms)
    for row in _read_needs().get(project, ()):
        fits = row.first <= release <= row.last and row.platforms & tags
        if fits and any(fnmatchcase(variant, pattern) for pattern in row.variants):
            return row
    return None
