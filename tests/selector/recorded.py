"""Every torch wheel that was recorded of download.pytorch.org, as an index in memory.

The recordings end in August 2026 with torch 2.13.0, and of its cu132 pages none was kept. ``described_index`` adds what
``torch_cuda.csv`` says of 2.12 and later, under the names that upstream gives its files.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.version import Version

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.knowledge.table import read_table
from pytorch_offline.selector.model import Offer, Rejections
from pytorch_offline.wheels.backend import is_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.selector.memory import MemoryIndex, MemoryOffers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from packaging.utils import NormalizedName

    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

ROOT = "(root)"
NEWEST_RECORDED = Version("2.13.0")
# Column of torch_cuda.csv, platform tag.
_CUDA_COLUMNS = (
    ("linux_x86_64_cuda", "manylinux_2_28_x86_64"),
    ("linux_aarch64_cuda", "manylinux_2_28_aarch64"),
    ("windows_cuda", "win_amd64"),
)
_CPU_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "win_amd64", "win_arm64")


def recorded_index(shared: Path) -> MemoryIndex:
    """All recorded torch wheels of the stable channel."""
    index = MemoryIndex()
    with (shared / "upstream" / "wheels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            directory = row["variant"]
            if row["project"] != "torch" or not (is_backend(directory) or directory == ROOT):
                continue
            if directory == ROOT and row["listed_on"] == ROOT:
                continue  # on the root's own page alone, which no backend's client reads
            filename = unquote(row["url_path"]).rpartition("/")[2]
            try:
                parse_wheel_name(filename)
            except PytorchOfflineError:
                continue  # names that packaging rejects as well (unparsable-filenames.csv)
            path = filename if directory == ROOT else f"{directory}/{filename}"
            index.add(path, page_requires_python=row["requires_python"] or None)
    return index


def described_index(shared: Path) -> MemoryIndex:
    """All recorded torch wheels, and those of releases that the table alone knows."""
    index = recorded_index(shared)
    for row in read_table("torch_cuda"):
        release = Version(row["torch"])
        if release < Version("2.12.0"):
            continue
        pythons = [text.replace(".", "") for text in row["pythons"].split(";") if text.replace(".", "").isdigit()]
        built = [("cpu", platform) for platform in _CPU_PLATFORMS]
        for column, platform in _CUDA_COLUMNS:
            built += [(backend, platform) for backend in row[column].split(";") if is_backend(backend)]
        for backend, platform in built:
            for python in pythons:
                name = f"torch-{release}+{backend}-cp{python}-cp{python}-{platform}.whl"
                if f"/whl/{backend}/{name}" not in index.files:
                    index.add(f"{backend}/{name}")
        for python in pythons:
            name = f"torch-{release}-cp{python}-none-macosx_14_0_arm64.whl"
            if f"/whl/cpu/{name}" not in index.files:
                index.add(f"cpu/{name}")
    return index


class PlacedOffers(MemoryOffers):
    """The same offers, found by directory: thousands of files are judged once each, not once for every backend."""

    def __init__(self, index: MemoryIndex, target: Target) -> None:
        super().__init__(index, target, indexed_by_backend=True)
        self._places: dict[str, MemoryIndex] = {}
        for path, entry in index.files.items():
            directory = path.removeprefix("/whl/").rpartition("/")[0]
            self._places.setdefault(directory, MemoryIndex()).files[path] = entry
        self._offers: dict[str, Offer] = {}

    def offer(self, project: NormalizedName, backends: Sequence[Backend]) -> Offer:
        parts = [self._offer_of(project, backend, backends) for backend in ("", *map(str, backends))]
        return Offer(
            candidates=tuple(one for part in parts for one in part.candidates),
            rejected=Rejections.known(one for part in parts for one in part.rejected),
            known=any(part.known for part in parts),
        )

    def _offer_of(self, project: NormalizedName, directory: str, backends: Sequence[Backend]) -> Offer:
        if directory not in self._offers:
            index = self._places.get(directory, MemoryIndex())
            self._offers[directory] = index.offers_for(self._target).offer(project, backends)
        return self._offers[directory]
