"""The CUDA ↔ PyTorch rows that tutorials copy from each other, beside what upstream really has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.tutorials import read_tutorial_table
from pytorch_offline.matrix.builds import Origin
from pytorch_offline.matrix.view import Section
from pytorch_offline.wheels.backend import BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    from pytorch_offline.matrix.builds import Build


@dataclass(frozen=True, slots=True, kw_only=True)
class TutorialRow:
    """One CUDA: the releases that tutorials and upstream agree on, and those that only one of them has."""

    cuda: Version
    both: tuple[Version, ...]
    tutorials_alone: tuple[Version, ...]
    upstream_alone: tuple[Version, ...]


def compare_tutorials(builds: Iterable[Build], specifier: SpecifierSet) -> tuple[TutorialRow, ...]:
    """Compare the tutorials' rows with the builds that pages list, oldest CUDA first.

    Of the tutorials' releases those count that the specifier admits, as the builds do already.
    """
    upstream: dict[Version, set[Version]] = {}
    for build in builds:
        backend = build.backend
        if build.origin is Origin.TABLE or backend is None or backend.kind is not BackendKind.CUDA:
            continue
        if backend.version is not None:
            upstream.setdefault(backend.version, set()).add(build.release)
    return tuple(
        TutorialRow(
            cuda=cuda,
            both=tuple(sorted(said & found)),
            tutorials_alone=tuple(sorted(specifier.filter(said - found))),
            upstream_alone=tuple(sorted(found - said)),
        )
        for cuda, said in sorted(read_tutorial_table().items())
        if (found := upstream.get(cuda))
    )


def tutorial_section(rows: Iterable[TutorialRow]) -> Section:
    """Show where tutorials and upstream differ."""
    return Section(
        heading="What tutorials say of these, and what upstream has instead:",
        header=("CUDA", "no such wheel", "left out by tutorials"),
        rows=tuple(
            (str(row.cuda), _listed(row.tutorials_alone), _listed(row.upstream_alone))
            for row in sorted(rows, key=lambda row: row.cuda, reverse=True)
            if row.tutorials_alone or row.upstream_alone
        ),
        widths=(5, 14),
    )


def _listed(versions: Iterable[Version]) -> str:
    return " ".join(str(version) for version in sorted(versions, reverse=True)) or "-"


def tutorial_record(row: TutorialRow) -> dict[str, object]:
    """Give a row for programs."""
    return {
        "cuda": str(row.cuda),
        "both": [str(version) for version in row.both],
        "tutorials_alone": [str(version) for version in row.tutorials_alone],
        "upstream_alone": [str(version) for version in row.upstream_alone],
    }
