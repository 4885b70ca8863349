"""An upstream on loopback made of recorded rows: every wheel name that was recorded, with the requirements recorded."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.knowledge.companions import find_torch_need
from pytorch_offline.simulator.offers import core_facts
from pytorch_offline.simulator.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

# Of the kinds of ``requires.csv``, those that say most exactly what METADATA said come first.
_KINDS = ("METADATA", "pixi.lock", "pdm.lock", "poetry.lock", "uv.lock")
# Channels have pages of their own; the oracles are asked about the stable one.
_OTHER_CHANNELS = ("nightly", "test", "variant", "lts")
# uv's locks name what a requirement was resolved to, not its bounds; these projects are pinned exactly in METADATA.
_PINNED = ("torch", "triton", "pytorch-triton", "nvidia-")
# METADATA of torch's companions pins torch as the table of companions has it, but for these, which say at most "torch".
_SAYS_NO_TORCH = re.compile(
    r"torchcodec|torchao|fbgemm|torchrec|xformers|torchtext 0\.[3-8]\."
    r"|torchvision 0\.[12]\.|torchaudio (0\.[2-4]\.|2\.11)"
)


def recorded_spec(shared: Path) -> Spec:
    """Specify an upstream: the simulator's own wheels, and every other stable one that was recorded."""
    spec = Spec.default()
    known = {offer.path for offer in spec.offers()}
    recorded = _recorded_requirements(shared)
    for row in _rows(shared, "wheels.csv"):
        directory, _, filename = unquote(row["url_path"]).removeprefix("/whl/").rpartition("/")
        path = f"/whl/{directory}/{filename}" if directory else f"/whl/{filename}"
        if not filename.endswith(".whl"):
            continue  # of a source distribution neither side makes anything
        if not directory and row["listed_on"] == "(root)":
            continue  # on the root's own page alone, which no backend's client reads
        if path in known or directory.startswith(_OTHER_CHANNELS) or "//" in row["url_path"]:
            continue
        known.add(path)
        spec.add_wheel(
            directory,
            filename,
            requires=_requirements(recorded, row, directory, filename),
            requires_python=row["requires_python"] or None,
            hash_listed=bool(row["sha256"]),
            published=datetime(2020, 1, 1, tzinfo=UTC),
            metadata_sidecar=bool(row["metadata_sha256"]),
        )
    return spec


def _requirements(
    recorded: dict[tuple[str, str], list[str]], row: dict[str, str], directory: str, filename: str
) -> list[str]:
    """What a wheel requires: as the simulator's tables have it, else as a lock or METADATA was recorded to say."""
    facts = core_facts(directory, filename)
    if facts.requires:
        return list(facts.requires)
    project = str(canonicalize_name(row["project"]))
    public = row["version"].partition("+")[0]
    exact = recorded.get((project, row["version"]), recorded.get((project, public), []))
    try:
        need = find_torch_need(canonicalize_name(project), Version(public))
    except InvalidVersion:
        return exact
    if need is None or not need.torch or _SAYS_NO_TORCH.match(f"{project} {public}"):
        return exact
    return [*(line for line in exact if not re.match(r"torch\b", line)), f"torch{need.torch}"]


def _recorded_requirements(shared: Path) -> dict[tuple[str, str], list[str]]:
    """Requirement lines by project and version, each version's from the one source that says most."""
    said: dict[tuple[str, str], dict[tuple[int, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(shared, "requires.csv"):
        if row["kind"] not in _KINDS or not row["requires_dist"]:
            continue
        key = (str(canonicalize_name(row["project"])), row["version"])
        line = row["requires_dist"]
        name = line.split(";")[0].split("[")[0].split(" ")[0]
        if row["kind"] == "uv.lock" and row["resolved_version"] and name.startswith(_PINNED):
            head, _, marker = line.partition(";")
            line = f"{head.strip()}=={row['resolved_version']}" + (f" ;{marker}" if marker else "")
        said[key][_KINDS.index(row["kind"]), row["sources"]].append(line)
    return {
        key: max(sources.items(), key=lambda one: (-one[0][0], len(one[1]), one[0][1]))[1]
        for key, sources in said.items()
    }


def _rows(shared: Path, table: str) -> list[dict[str, str]]:
    with (shared / "upstream" / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
