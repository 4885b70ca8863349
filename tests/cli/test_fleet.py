"""Many targets through the command line: a closure for each, what they share, ``--common``, and all that fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import render_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FLEET: dict[str, dict[str, Any]] = {
    "a100": {"python_version": "3.10", "glibc": "2.35", "driver": "470.82.01", "cuda": "12.2", "gpus": ("A100",)},
    "gtx1080ti": {"python_version": "3.10", "glibc": "2.35", "driver": "535.183.06", "gpus": ("GTX 1080 Ti",)},
    "rtx5090": {"python_version": "3.12", "glibc": "2.39", "driver": "580.65.06", "gpus": ("RTX 5090",)},
    "v100": {"python_version": "3.12", "glibc": "2.35", "driver": "570.86.10", "gpus": ("V100",)},
    "cpu": {"python_version": "3.10", "glibc": "2.17", "accelerator": "none"},
    "antique": {"python_version": "3.10", "glibc": "2.35", "driver": "384.81", "gpus": ("A100",)},
    "musl": {"python_version": "3.10", "platform": "musllinux_1_2_x86_64", "accelerator": "none"},
}


class Tool:
    """The command line in this process, over one simulator and one mirror."""

    def __init__(self, simulator: Simulator, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._indexes = ("--upstream", simulator.url, "--default-index", simulator.default_index_url)
        self._directory = directory
        self._capture = capture

    def __call__(self, command: str, targets: Sequence[str], *arguments: str) -> tuple[int, str]:
        files = [text for name in targets for text in ("--target", str(self._directory / f"{name}.json"))]
        mirror = ("--mirror", str(self._directory / "mirror"))
        with pytest.raises(SystemExit) as stop:
            main([command, *arguments, *files, *self._indexes, *mirror, "-q"])
        return int(stop.value.code or 0), self._capture.readouterr().out

    def document(self, command: str, targets: Sequence[str], *arguments: str) -> dict[str, Any]:
        code, out = self(command, targets, *arguments, "--json")
        assert code == 0, out
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fleet")
    for name, facts in FLEET.items():
        flags = TargetFlags(**({"platform": "linux_x86_64"} | facts))
        target = build_target(flags)
        text = json.loads(render_target(target)) | {"name": name}
        (directory / f"{name}.json").write_text(json.dumps(text), encoding="utf-8")
    return directory


@pytest.fixture
def tool(simulator: Simulator, directory: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(simulator, directory, capsys)


def torches(document: dict[str, Any]) -> dict[str, str]:
    return {
        one["target"]: file["version"]
        for one in document["targets"]
        for file in one["files"]
        if file["project"] == "torch"
    }


def test_each_has_its_own_and_the_union_is_told(tool: Tool) -> None:
    document = tool.document("select", ["a100", "gtx1080ti", "rtx5090", "cpu"], "torch", "torchvision")
    alone = torches(document)
    assert {name: version.partition("+")[2] for name, version in alone.items()} == {
        "a100": "cu126",
        "gtx1080ti": "cu126",
        "rtx5090": "cu130",
        "cpu": "cpu",
    }
    union = {file["url"]: file["size"] for file in document["files"]}
    assert document["total_size"] == sum(union.values())
    assert document["saved_by_sharing"] == sum(one["total_size"] for one in document["targets"]) - sum(union.values())
    assert document["saved_by_sharing"] > 0
    pair = next(group for group in document["shared"] if group["targets"] == ["a100", "gtx1080ti"])
    assert any(name.startswith("torch-") for name in pair["filenames"])
    assert "common" not in document


def test_common_brings_a_mixed_fleet_to_one_build(tool: Tool) -> None:
    targets = ["v100", "rtx5090"]
    document = tool.document("select", targets, "torch", "torchvision", "--common")
    (version,) = set(torches(document).values())
    assert version.endswith("+cu128")  # cu126 has no kernels for the one, cu130 none for the other
    common = document["common"]
    assert common["saved"] == common["size_alone"] - common["size_shared"] > 0
    assert common["size_shared"] == document["total_size"]
    assert {(one["target"], one["project"]) for one in common["given_up"]} == {
        (target, project) for target in targets for project in ("torch", "torchvision")
    }
    assert common["summary"][0].startswith(f"one torch {version} instead of 2: ")
    reasons = {one["reason"] for target in document["targets"] for one in target["rejected"]}
    assert "common" in reasons


def test_common_is_told_in_words(tool: Tool) -> None:
    code, out = tool("select", ["v100", "rtx5090"], "torch", "--common")
    assert code == 0
    assert "2 targets:" in out
    assert "shared by all:" in out
    assert "(--common), instead of" in " ".join(out.split())
    assert out.splitlines()[-1].endswith(" on rtx5090")


def test_fetch_gets_the_union_once_and_locks_each(tool: Tool, directory: Path) -> None:
    document = tool.document("fetch", ["v100", "rtx5090"], "torch", "--common")
    assert len(document["downloaded"]) == len({file["path"] for file in document["files"]})
    assert document["locks"] == ["locks/pylock.v100.toml", "locks/pylock.rtx5090.toml"]
    (version,) = set(torches(document).values())
    for lock in document["locks"]:
        assert version in (directory / "mirror" / lock).read_text(encoding="utf-8")
    assert document["common"]["saved"] > 0


def test_every_target_that_fails_is_named(tool: Tool) -> None:
    code, out = tool("select", ["antique", "cpu", "musl"], "torch", "--json")
    assert code == 5
    error = json.loads(out)["error"]
    assert error["code"] == "targets-unsatisfiable"
    assert error["message"] == "2 of 3 targets cannot be served: antique, musl"
    assert set(error["targets"]) == {"antique", "musl"}
    assert error["targets"]["antique"]["nearest"]
    assert error["targets"]["musl"]["code"] == "no-wheel"
    assert {"antique", "musl"} <= set(error["facts"])


def test_common_for_one_target_changes_nothing(tool: Tool) -> None:
    alone = tool.document("select", ["cpu"], "torch")
    assert tool.document("select", ["cpu"], "torch", "--common") == alone
