"""Real wheels of the index that pip is configured for, read by ranges: what they say of themselves. Run by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.default_index import configured_http, configured_index_url
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.selector.indexes.inspection import Inspector
from pytorch_offline.wheels.inspection import Inspection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.crawler.model import IndexFile

pytestmark = [pytest.mark.network, pytest.mark.slow]

MAXWELL_TO_HOPPER = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
VOLTA_ON = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
TURING_ON = VOLTA_ON[1:]

# What each was measured to hold on 2026-11-21.
KNOWN = {
    "torch-1.6.0-cp38-cp38-manylinux1_x86_64.whl": Inspection(
        architectures=("sm_37", "sm_50", "sm_60", "sm_70", "sm_75"), glibc=(2, 17)
    ),
    "torch-2.6.0-cp310-cp310-manylinux1_x86_64.whl": Inspection(architectures=MAXWELL_TO_HOPPER, glibc=(2, 17)),
    "torch-2.8.0-cp310-cp310-manylinux_2_28_x86_64.whl": Inspection(architectures=VOLTA_ON),
    "torch-2.9.0-cp310-cp310-manylinux_2_28_aarch64.whl": Inspection(architectures=()),
    "torch-2.15.0-cp312-cp312-manylinux_2_28_x86_64.whl": Inspection(architectures=TURING_ON),
    "torch-2.15.0-cp312-cp312-manylinux_2_28_aarch64.whl": Inspection(
        architectures=("sm_80", "sm_90", "sm_100", "sm_110", "sm_120")
    ),
    "torchvision-0.15.2-cp310-cp310-manylinux1_x86_64.whl": Inspection(glibc=(2, 17)),
}


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Inspector, dict[str, IndexFile]]]:
    place: Path = tmp_path_factory.mktemp("catalogue")
    with configured_http() as http, Catalogue.open(place / "catalogue.sqlite") as catalogue:
        reader = IndexReader(http, catalogue, offline=False)
        projects = sorted({re.split("-", filename)[0] for filename in KNOWN})
        pages = [reader.read(urljoin(f"{configured_index_url().rstrip('/')}/", f"{name}/")) for name in projects]
        files = {file.name.filename: file for page in pages for file in page.files}
        yield Inspector(http=http, catalogue=catalogue, offline=False), files


@pytest.mark.parametrize("filename", KNOWN)
def test_a_real_wheel(inspector: tuple[Inspector, dict[str, IndexFile]], filename: str) -> None:
    reader, files = inspector
    if filename not in files:
        pytest.skip(f"the index that pip is configured for has no {filename}")
    assert reader.inspect(files[filename]) == KNOWN[filename]
