"""Which versions of torch's companions belong to which torch: the tables, read into values.

``companions.csv`` has a row per torch release, with the newest companion of each kind that belongs to it.
``companion_torch.csv`` has a row per companion version, with the torch that it was built for, whether METADATA says the
same or (torchcodec, torchao, torchaudio 2.11, torchvision before 0.3) says nothing. A version that has no row is not
known, and nothing is guessed about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

# The columns of companions.csv that hold one version of a project; the others describe triton and the row itself.
COMPANIONS = ("torchvision", "torchaudio", "torchtext", "torchdata", "torchcodec", "torchao", "xformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchNeed:
    """The torch that one version of a companion was built for; ``source`` says who says so."""

    project: NormalizedName
    version: Version
    torch: SpecifierSet
    certainty: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRelease:
    """A torch release with its companions, spelt as the table does: ``0.15.2``, or ``any >=0.8`` for torchdata.

    ``triton`` is what torch for Linux requires of it (``3.5.0``, ``~=3.8.0``).
    """

    torch: Version
    companions: Mapping[NormalizedName, str]
    triton: str
    certainty: str
    note: str
    source: str


@cache
def read_torch_releases() -> tuple[TorchRelease, ...]:
    """Read the table of torch releases, oldest first; a companion that a release did not have is left out."""
    return tuple(
        TorchRelease(
            torch=Version(row["torch"]),
            companions={NormalizedName(name): row[name] for name in COMPANIONS if row[name]},
            triton=row["triton_linux"],
            certainty=row["certainty"],
            note=row["note"],
            source=row["source"],
        )
        for row in read_table("companions")
    )


@cache
def _read_rows() -> dict[NormalizedName, list[dict[str, str]]]:
    rows: dict[NormalizedName, list[dict[str, str]]] = {}
    for row in read_table("companion_torch"):
        rows.setdefault(canonicalize_name(row["project"]), []).append(row)
    return rows


@cache
def _needs_of(project: NormalizedName) -> dict[Version, TorchNeed]:
    """Parse one project's rows: all of them take longer than the rest of a small selection."""
    return {
        (version := Version(row["version"])): TorchNeed(
            project=project,
            version=version,
            torch=SpecifierSet(row["torch"]),
            certainty=row["certainty"],
            source=row["source"],
        )
        for row in _read_rows().get(project, [])
    }


def find_torch_need(project: NormalizedName, version: Version) -> TorchNeed | None:
    """Say which torch a companion was built for, whatever its local label; None if the table does not know it."""
    return _needs_of(project).get(version.__replace__(local=None))


def companion_projects() -> frozenset[NormalizedName]:
    """The projects of which the table knows versions."""
    return frozenset(_read_rows())
