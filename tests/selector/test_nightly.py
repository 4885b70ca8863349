"""Nightly builds: what belongs together when upstream's pages are a day apart, and what the pages no longer list."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import uv
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.cli.main import main
from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.rules.nightly import SameDay, day_of
from pytorch_offline.selector.select import select
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CU130 = parse_backend("cu130")
FAMILY = ("torch", "torchvision", "torchaudio", "torchao", "torchcodec")


@pytest.mark.parametrize(
    ("version", "day"),
    [
        ("2.12.0.dev20260314+cu130", "20260314"),
        ("0.26.0a0+ea0e796", None),  # as torchvision's nightlies for Windows on ARM are called
        ("2.12.0.dev5", None),
        ("2.12.0.dev20261399", None),
        ("2.12.0", None),
    ],
)
def test_the_day_of_a_version(version: str, day: str | None) -> None:
    assert day_of(Version(version)) == day


def test_torch_of_the_day() -> None:
    assert SameDay("20260314").admits(Version("2.12.0.dev20260314+cu130"))
    assert not SameDay("20260314").admits(Version("2.12.0.dev20260313+cu130"))


@pytest.fixture(scope="module")
def recorded(shared: Path) -> MemoryIndex:
    """What nightly/cu130 listed on 2026-03-15; METADATA that names no torch."""
    index = MemoryIndex()
    with gzip.open(shared / "upstream" / "wheels-nightly.csv.gz", "rt", encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            listed = row["last_seen"] == "2026-03-15" and row["variant"] == "nightly/cu130"
            if listed and row["project"] in FAMILY and ("-cp312-" in row["filename"] or "abi3" in row["filename"]):
                index.add(f"cu130/{row['filename']}", sha256=None)
    return index


def chosen(index: MemoryIndex, platform: str, *requirements: str) -> dict[str, str]:
    request = Request(requirements=tuple(map(Requirement, requirements)), pre_family=True)
    target = machine(platform, "3.12.4", nvidia("580.95.05"))
    selection = select(request, target, index.offers_for(target), [CU130])
    return {choice.candidate.project: str(choice.candidate.version) for choice in selection.choices}


@pytest.mark.parametrize(
    ("platform", "day"),
    [
        ("manylinux_2_35_x86_64", "20260314"),  # torchao was there for the 15th already
        ("manylinux_2_35_aarch64", "20260313"),  # torchvision was there for the 14th, torch was not
    ],
)
def test_the_newest_day_for_which_all_exist(recorded: MemoryIndex, platform: str, day: str) -> None:
    projects = ("torch", "torchvision", "torchcodec")
    wanted = (*projects, "torchao") if platform.endswith("x86_64") else projects
    versions = chosen(recorded, platform, *wanted)
    assert {project: version[-14:-6] for project, version in versions.items()} == dict.fromkeys(wanted, day)


def test_alone_each_is_the_newest(recorded: MemoryIndex) -> None:
    assert chosen(recorded, "manylinux_2_35_x86_64", "torchao") == {"torchao": "0.17.0.dev20260315+cu130"}


def test_metadata_goes_before_the_day() -> None:
    index = MemoryIndex()
    for day in ("20260313", "20260314"):
        index.add(f"cu130/torch-2.12.0.dev{day}+cu130-cp312-cp312-win_amd64.whl")
    index.add("cu130/torchvision-0.26.0.dev20260314+cu130-cp312-cp312-win_amd64.whl", ["torch (==2.12.0.dev20260313)"])
    versions = chosen(index, "win_amd64", "torch", "torchvision")
    assert versions["torch"] == "2.12.0.dev20260313+cu130"
    assert versions["torchvision"] == "0.26.0.dev20260314+cu130"


def test_pre_releases_are_the_familys_alone() -> None:
    index = MemoryIndex()
    index.add("cu130/torch-2.11.0+cu130-cp312-cp312-win_amd64.whl", ["numpy"])  # a stray final among nightlies
    index.add("cu130/torch-2.12.0.dev20260314+cu130-cp312-cp312-win_amd64.whl", ["numpy"])
    index.add("numpy-2.3.0-cp312-cp312-win_amd64.whl", default_index=True)
    index.add("numpy-2.4.0rc1-cp312-cp312-win_amd64.whl", default_index=True)
    assert chosen(index, "win_amd64", "torch") == {"numpy": "2.3.0", "torch": "2.12.0.dev20260314+cu130"}


# Against a server: hashes that pages do not state, versions that fell out, and what pip and uv do.

LAST = date(2026, 3, 15)
TAG = "cp312-cp312-manylinux_2_28_x86_64"
TARGET = ("--python-version", "3.12", "--platform", "manylinux_2_35_x86_64", "--driver", "560.28.03")


def nightlies(*, days: int, pinned: bool, vision_lags: int = 2, audio_lags: int = 1) -> Spec:
    """Nightlies of the last days: torchvision and torchaudio come later than torch."""
    spec = Spec.default()
    for back in range(days):
        day = LAST - timedelta(days=back)
        label = f"dev{day:%Y%m%d}+cu126"
        published = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)

        def add(name: str, requires: list[str], published: datetime = published) -> None:
            spec.add_wheel("nightly/cu126", f"{name}-{TAG}.whl", requires=requires, published=published)

        add(f"torch-2.12.0.{label}", ["filelock"])
        if back >= vision_lags:
            add(f"torchvision-0.26.0.{label}", [f"torch==2.12.0.dev{day:%Y%m%d}"] if pinned else [])
        if back >= audio_lags:
            add(f"torchaudio-2.11.0.{label}", [])
    return spec


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    def run(simulator: Simulator, command: str, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401  (JSON)
        capsys.readouterr()
        indexes = ("--upstream", simulator.url, "--default-index", simulator.default_index_url, "--channel", "nightly")
        with pytest.raises(SystemExit) as stop:
            main([command, "--json", "--mirror", str(tmp_path / "mirror"), *indexes, *TARGET, *arguments])
        said = capsys.readouterr()
        assert int(stop.value.code or 0) == code, said.err
        return json.loads(said.out)

    return run


def days_of(document: dict[str, Any]) -> dict[str, str]:
    versions = {file["project"]: file["version"].partition("+")[0] for file in document["files"]}
    return {project: version[-8:] for project, version in versions.items() if ".dev" in version}


@pytest.mark.parametrize("pinned", [True, False])
def test_torch_appears_before_its_companions(tool: Callable[..., Any], *, pinned: bool) -> None:
    with Simulator(nightlies(days=5, pinned=pinned), era="2026-03-16") as simulator:
        assert days_of(tool(simulator, "select", "torch")) == {"torch": "20260315"}
        together = tool(simulator, "select", "torch", "torchvision", "torchaudio")
    assert days_of(together) == dict.fromkeys(("torch", "torchvision", "torchaudio"), "20260313")


def test_uv_takes_companions_of_another_day_where_metadata_is_silent(tool: Callable[..., Any]) -> None:
    """What METADATA pins uv honours as we do; where it is silent it mixes days, and so does pip (tried by hand)."""
    wanted = ("torch", "torchvision", "torchaudio")
    found = {}
    for pinned in (True, False):
        with Simulator(nightlies(days=5, pinned=pinned), era="2026-03-16") as simulator:
            command = [uv.find_uv_bin(), "pip", "compile", "-", "--prerelease", "allow"]
            command += ["--no-cache", "--no-header", "--no-config"]
            indexes = [
                "--index-url",
                simulator.default_index_url,
                "--extra-index-url",
                f"{simulator.url}/nightly/cu126/",
            ]
            platform = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28", "--no-annotate"]
            done = subprocess.run(
                [*command, *indexes, *platform, "--no-python-downloads"],
                input="\n".join(wanted),
                capture_output=True,
                text=True,
                check=True,
            )
            lines = [line.partition("==") for line in done.stdout.splitlines() if ".dev" in line]
            theirs = {name: version.partition("+")[0][-8:] for name, _, version in lines}
            found[pinned] = theirs, days_of(tool(simulator, "select", *wanted))
    same_day = dict.fromkeys(wanted, "20260313")
    assert found[True] == ({**same_day, "torchaudio": "20260314"}, same_day)
    assert found[False] == ({"torch": "20260315", "torchvision": "20260313", "torchaudio": "20260314"}, same_day)


def test_a_version_that_fell_out_of_the_newest_sixty(tool: Callable[..., Any]) -> None:
    with Simulator(nightlies(days=60, pinned=True), era="2026-03-16") as simulator:
        oldest = f"2.12.0.dev{LAST - timedelta(days=59):%Y%m%d}"
        assert tool(simulator, "select", f"torch=={oldest}")["files"]
        newer = f"torch-2.12.0.dev20260316+cu126-{TAG}.whl"
        simulator.spec.add_wheel("nightly/cu126", newer, requires=[], published=datetime(2026, 3, 16, tzinfo=UTC))
        error = tool(simulator, "select", f"torch=={oldest}", code=5)["error"]
    assert error["code"] == "no-wheel"
    assert "nightly pages list the newest 60 versions (first seen 20" in error["facts"]["1 fail unlisted"]


def test_a_hash_that_no_page_states_is_computed_and_said_so(tool: Callable[..., Any], tmp_path: Path) -> None:
    with Simulator(nightlies(days=3, pinned=True), era="2026-03-16") as simulator:
        assert tool(simulator, "select", "torch", "-o", str(tmp_path / "pylock.toml"), code=3)["error"]["code"] == (
            "hash-not-published"
        )
        document = tool(simulator, "fetch", "torch", "torchvision")
        origins = {file["project"]: file["hash_origin"] for file in document["files"]}
        assert origins == {"filelock": "published", "torch": "computed", "torchvision": "computed"}
        assert all(file["sha256"] for file in document["files"])
        again = tool(simulator, "fetch", "torch", "torchvision")
    assert not again["downloaded"]
    assert days_of(again) == {"torch": "20260313", "torchvision": "20260313"}


def test_a_day_that_cannot_be_met_is_told_in_words() -> None:
    index = MemoryIndex()
    index.add("cu130/torch-2.12.0.dev20260314+cu130-cp312-cp312-win_amd64.whl")
    index.add("cu130/torchvision-0.26.0.dev20260313+cu130-cp312-cp312-win_amd64.whl")
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, "win_amd64", "torch", "torchvision")
    said = " ".join([caught.value.message, *map(str, caught.value.facts.values())])
    assert "torch of the same day, 20260313" in said
