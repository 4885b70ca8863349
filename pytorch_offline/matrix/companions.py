"""Torch and its companions: which torchvision, torchaudio, torchtext, torchdata … belong to which torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import NormalizedName

from pytorch_offline.knowledge.companions import COMPANIONS, find_torch_need, read_torch_releases
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.matrix.view import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.specifiers import SpecifierSet
    from packaging.version import Version


# What the text has columns for; --json and --csv have all of COMPANIONS.
SHOWN = ("torchvision", "torchaudio", "torchtext", "torchdata")
ABSENT = "!"
NOTES = (
    (
        f'{ABSENT} the catalogue has this torch and this project, and not this version. "In the catalogue" counts '
        "every version that its METADATA, or else the table, lets stand beside this torch; --json names them."
    ),
)


def companion_records(
    specifier: SpecifierSet,
    offered: Mapping[NormalizedName, Iterable[Version]],
    pins: Mapping[tuple[NormalizedName, Version], SpecifierSet],
) -> tuple[dict[str, object], ...]:
    """Make a record per torch release, newest first.

    Args:
        specifier: which torch releases are wanted.
        offered: the versions that the catalogue has of each project, torch included.
        pins: what METADATA that was read says of torch, by companion and version; else the table's word counts.
    """
    releases = {row.torch: row for row in read_torch_releases()}
    known = {version.__replace__(post=None) for version in offered.get(TORCH, ()) if not version.is_devrelease}
    records = []
    for torch in sorted(known | set(releases), reverse=True):
        if not specifier.contains(torch, prereleases=True):
            continue
        row = releases.get(torch)
        record: dict[str, object] = {"torch": str(torch), "torch_in_catalogue": torch in known}
        for name in COMPANIONS:
            companion = NormalizedName(name)
            versions = sorted(set(offered.get(companion, ())), reverse=True)
            said = "" if row is None else row.companions.get(companion, "")
            record[name] = said or None
            record[f"{name}_in_catalogue"] = [str(one) for one in versions if _belongs(companion, one, torch, pins)]
        record["triton"] = None if row is None else row.triton or None
        record["certainty"] = None if row is None else row.certainty
        record["note"] = None if row is None else row.note or None
        record["source"] = None if row is None else row.source
        records.append(record)
    return tuple(records)


def _belongs(
    companion: NormalizedName,
    version: Version,
    torch: Version,
    pins: Mapping[tuple[NormalizedName, Version], SpecifierSet],
) -> bool:
    specifier = pins.get((companion, version))
    if specifier is None:
        need = find_torch_need(companion, version)
        specifier = None if need is None else need.torch
    return specifier is not None and specifier.contains(torch, prereleases=True)


def companion_section(records: Sequence[Mapping[str, object]], offered: Mapping[NormalizedName, object]) -> Section:
    """Show the table's word; a version that the catalogue should have and has not is marked."""
    shown = [name for name in SHOWN if any(record[name] for record in records)]

    def cell(record: Mapping[str, object], name: str) -> str:
        said, found = record[name], record[f"{name}_in_catalogue"]
        assert isinstance(found, list)  # noqa: S101  (companion_records makes it one)
        if not said:
            return found[0] if found else "-"
        missing = record["torch_in_catalogue"] and offered.get(NormalizedName(name)) and not found
        return f"{said}{ABSENT if missing else ''}"

    return Section(
        header=("torch", *shown, "in the catalogue"),
        rows=tuple(
            (str(record["torch"]), *(cell(record, name) for name in shown), _found(record, shown)) for record in records
        ),
    )


def _found(record: Mapping[str, object], names: Sequence[str]) -> str:
    """Say what of a row the catalogue has."""
    if not record["torch_in_catalogue"]:
        return "nothing"
    found = [name for name in names if record[f"{name}_in_catalogue"]]
    if all(name in found or not record[name] for name in names):
        return "all"
    return " ".join(["torch", *(name.removeprefix("torch") for name in found)])
