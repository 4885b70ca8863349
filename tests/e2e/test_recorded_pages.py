"""Choosing over the recorded real pages: the very files that download.pytorch.org listed, with its hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.simulator.server import Simulator
from tests.e2e.tool import run_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = ("--python-version", "3.10.12", "--preset", "ubuntu22.04", "--driver", "470.82.01", "--gpu", "A100")
CU121_SHA256 = "28bfba084dca52a06c465d7ad0f3cc372c35fc503f3eab881cc17a5fd82914e7"


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Iterator[Simulator]:
    with Simulator.replaying(shared / "upstream") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def indexes(recorded: Simulator) -> Iterator[tuple[str, ...]]:
    with Simulator() as generated:
        yield ("--upstream", recorded.url, "--default-index", generated.default_index_url)


def selected(indexes: tuple[str, ...], cwd: Path, *target: str) -> dict[str, Any]:
    document = run_json("select", "torch==2.4.0", *target, *indexes, cwd=cwd)
    return {file["project"]: file for file in document["files"]} | {"document": document}


def test_seed_machine_gets_cu121_with_the_hash_of_its_page(indexes: tuple[str, ...], tmp_path: Path) -> None:
    files = selected(indexes, tmp_path, *SEED, "--cuda", "12.2")
    assert files["torch"]["filename"] == "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    assert files["torch"]["sha256"] == CU121_SHA256
    assert files["torch"]["path"] == "whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    assert "nvidia-cudnn-cu12" in files
    assert "triton" in files
    rejected = {(one["backend"], one["reason"]) for one in files["document"]["rejected"]}
    assert ("cu130", "driver") in rejected


def test_without_compat_it_gets_cu118(indexes: tuple[str, ...], tmp_path: Path) -> None:
    assert selected(indexes, tmp_path, *SEED)["torch"]["filename"].startswith("torch-2.4.0+cu118-cp310-")


def test_windows_gets_neither_nvidia_libraries_nor_triton(indexes: tuple[str, ...], tmp_path: Path) -> None:
    target = ("--python-version", "3.10", "--platform", "win_amd64", "--driver", "560.94")
    files = selected(indexes, tmp_path, *target)
    assert files["torch"]["filename"] == "torch-2.4.0+cu124-cp310-cp310-win_amd64.whl"
    assert not [name for name in files if name.startswith("nvidia-") or name == "triton"]


def test_macos_gets_the_file_without_local_version(indexes: tuple[str, ...], tmp_path: Path) -> None:
    files = selected(indexes, tmp_path, "--python-version", "3.10", "--platform", "macosx_14_0_arm64")
    assert files["torch"]["filename"] == "torch-2.4.0-cp310-none-macosx_11_0_arm64.whl"
    assert "/whl/cpu/" in files["torch"]["url"]


def test_the_catalogue_alone_gives_the_same_answer(
    recorded: Simulator, indexes: tuple[str, ...], tmp_path: Path
) -> None:
    online = selected(indexes, tmp_path, *SEED, "--cuda", "12.2")["document"]
    before = len(recorded.requests)
    offline = selected(indexes, tmp_path, *SEED, "--cuda", "12.2", "--offline")["document"]
    sizeless = [[{**file, "size": None} for file in document["files"]] for document in (online, offline)]
    assert sizeless[0] == sizeless[1]  # sizes are asked of the servers, which pages do not state
    assert len(recorded.requests) == before
