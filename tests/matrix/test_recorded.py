"""The tables, from a catalogue of the recorded real pages: what download.pytorch.org really listed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import NormalizedName

from pytorch_offline.cli.main import main
from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.wheels.inspection import Inspection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., Any]

PROJECTS = ("torch", "torchvision", "torchaudio", "torchtext", "torchdata")


@pytest.fixture(scope="module")
def mirror(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror whose catalogue holds the pages of the family, and the flat page of 2021."""
    directory = tmp_path_factory.mktemp("matrix") / "mirror"
    named = [part for project in PROJECTS for part in ("--project", project)]
    with Simulator.replaying(shared / "upstream") as upstream:
        for arguments in ((upstream.url, *named), (f"{upstream.url.rstrip('/')}/torch_stable.html",)):
            with pytest.raises(SystemExit) as stop:
                main(["crawl", "-q", "--json", "--mirror", str(directory), "--upstream", *arguments])
            assert not stop.value.code
    return directory


@pytest.fixture
def text(mirror: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["matrix", "--mirror", str(mirror), *arguments])
        assert int(stop.value.code or 0) == code
        return capsys.readouterr().out

    return ask


@pytest.fixture
def table(text: Ask) -> Ask:
    return lambda *arguments, code=0: json.loads(text(*arguments, "--json", code=code))


VIEWS = (
    (),
    ("--by", "cuda"),
    ("--by", "python"),
    ("--by", "companions"),
    ("--by", "driver"),
    ("--by", "driver", "--driver", "535.104.05", "--platform", "win_amd64"),
    ("--gpu", "GTX 1080 Ti", "--gpu", "V100"),
    ("torchtext",),
)


@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_every_table_fits_80_columns_and_csv_and_json_hold_the_same(
    view: tuple[str, ...], text: Ask, table: Ask
) -> None:
    shown = text(*view)
    assert max(map(len, shown.splitlines())) <= 80
    assert "Catalogue: pages read 20" in shown
    rows = table(*view)["rows"]
    sheet = list(csv.DictReader(io.StringIO(text(*view, "--csv"))))
    assert len(sheet) == len(rows) > 0
    assert [list(row) for row in sheet] == [list(row) for row in rows]


def test_newest_first_with_what_upstream_listed(table: Ask) -> None:
    rows = table("torch==2.10.0")["rows"]
    linux = {row["backend"] for row in rows if row["platform"] == "linux_x86_64"}
    assert linux == {"cpu", "cu126", "cu128", "cu129", "cu130", "rocm7.0", "rocm7.1", "xpu"}
    assert all(row["origin"] == "catalogue" for row in rows)
    (windows,) = (row for row in rows if (row["platform"], row["backend"]) == ("win_amd64", "cu130"))
    assert windows["pythons"] == ["3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"]


def test_filters(table: Ask) -> None:
    filters = ("--backend", "cu121", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.12")
    rows = table("torch>=2.2", *filters)["rows"]
    assert {row["version"] for row in rows} == {
        "2.5.1",
        "2.5.0",
        "2.4.1",
        "2.4.0",
        "2.3.1",
        "2.3.0",
        "2.2.2",
        "2.2.1",
    } | {"2.2.0"}
    assert {(row["backend"], row["platform"]) for row in rows} == {("cu121", "linux_x86_64")}


# What tutorials say of each CUDA, and what upstream has instead: (they name, no such wheel), (upstream has, they omit).
TUTORIALS = {
    "7.5": (["0.4.1"], []),
    "8.0": (
        ["1.1.0"],
        ["0.1.6", "0.1.7", "0.1.8", "0.1.9", "0.1.10", "0.1.11", "0.1.12", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.1"],
    ),
    "9.0": ([], ["0.3.0", "0.3.1", "0.4.0"]),
    "9.2": ([], ["1.3.0", "1.3.1"]),
    "10.0": ([], ["1.3.0", "1.3.1"]),
    "10.1": ([], ["1.3.1", "1.8.0", "1.8.1"]),
    "10.2": (
        [],
        ["1.8.0", "1.8.1", "1.9.0", "1.9.1", "1.10.0", "1.10.1", "1.10.2", "1.11.0", "1.12.0", "1.12.1"],
    ),
    "11.0": ([], []),
    "11.1": ([], ["1.8.1", "1.9.0", "1.9.1", "1.10.0", "1.10.1", "1.10.2"]),
}


def test_where_tutorials_are_wrong_the_table_says_what_upstream_has(table: Ask) -> None:
    rows = {row["cuda"]: row for row in table("--by", "cuda")["tutorials"]}
    assert {cuda: (row["tutorials_alone"], row["upstream_alone"]) for cuda, row in rows.items()} == TUTORIALS
    assert rows["11.0"]["both"] == ["1.7.0", "1.7.1"]


def test_cuda_7_5_ends_with_0_3_0(text: Ask, table: Ask) -> None:
    rows = table("--by", "cuda", "--backend", "cu75")["rows"]
    assert {row["version"] for row in rows} >= {"0.1.6.post20", "0.2.0.post3", "0.3.0.post4"}
    assert rows[0]["version"] == "0.3.0.post4"
    shown = text("--by", "cuda").replace("\N{EN DASH}", "-")
    assert "cu75       linux_x86_64   2.7, 3.5-3.6  0.1.6-0.3.0\n" in shown
    assert "7.5   0.4.1          -\n" in shown
    assert "file names are the same for several of cpu cu75 cu80" in shown


def test_companions_come_with_what_the_catalogue_has(table: Ask) -> None:
    rows = {row["torch"]: row for row in table("--by", "companions")["rows"]}
    assert (rows["2.4.0"]["torchvision"], rows["2.4.0"]["torchaudio"]) == ("0.19.0", "2.4.0")
    assert rows["2.4.0"]["torchvision_in_catalogue"] == ["0.19.0"]
    assert rows["0.4.1"]["torchvision"] == "0.2.1"
    assert not rows["2.15.0"]["torch_in_catalogue"]


@pytest.mark.parametrize(
    ("gpu", "last", "backend", "driver"),
    [
        # The newest release with native code; the last two are of the table, which is newer than the recorded pages.
        ("GTX 680", "0.3.0.post4", {"cu75", "cu80", "cu90"}, "384.81"),
        ("Tesla K40", "1.3.0", {"cu92", "cu100", "cu101"}, "418.39"),
        ("Tesla K80", "2.7.1", {"cu118"}, "450.80.02"),
        ("GTX 1080 Ti", "2.14.1", {"cu126"}, "525.60.13"),
        ("V100", "2.14.1", {"cu126"}, "525.60.13"),
    ],
)
def test_last_usable_release_of_a_gpu(gpu: str, last: str, backend: set[str], driver: str, table: Ask) -> None:
    rows = table("--gpu", gpu)["rows"]
    assert rows[0]["last_torch"] == last
    assert {row["backend"] for row in rows if row["last_torch"] == last} == backend
    assert rows[0]["driver_least"] == driver


def test_several_gpus_must_all_be_served(table: Ask) -> None:
    both = {row["backend"]: row["last_torch"] for row in table("--gpu", "K80", "--gpu", "RTX 3090")["rows"]}
    assert both["cu118"] == "2.7.1"
    assert both["cu102"] is None


def test_what_a_driver_runs(table: Ask) -> None:
    document = table("--by", "driver", "--driver", "470.82.01")
    rows = {row["cuda"]: row for row in document["rows"]}
    assert (rows["11.3"]["runs"], rows["11.3"]["native"]) == (True, True)
    assert (rows["11.8"]["runs"], rows["11.8"]["native"]) == (True, False)
    assert not rows["12.1"]["runs"]
    assert (document["best"]["newest_torch"], document["best"]["backend"]) == ("2.7.1", "cu118")
    assert rows["12.1"]["windows_driver_least"] == "528.33"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--gpu", "GTX 1O80"), "unknown-gpu"),
        (("nosuch",), "nothing-catalogued"),
        (("torch>9",), "nothing-matches"),
        (("--as-of", "2020-01-01"), "before-first-reading"),
        (("--as-of", "soon"), "bad-date"),
        (("--by", "driver", "--driver", "new"), "bad-driver"),
        (("--gpu", "V100", "--by", "cuda"), "contradiction"),
        (("--compute-capability", "sm_70"), "bad-compute-capability"),
        (("torchvision", "--gpu", "V100"), "contradiction"),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], code: str, table: Ask) -> None:
    assert table(*arguments, code=2)["error"]["code"] == code


def test_what_was_read_out_of_the_wheels_beats_the_table(mirror: Path, table: Ask, tmp_path: Path) -> None:
    (newest, *_) = (row for row in table("torch<2.11", "--gpu", "V100")["rows"] if row["backend"] == "cu130")
    assert (newest["last_torch"], newest["known_by"]) == (None, None)
    copy = tmp_path / "mirror"
    shutil.copytree(mirror, copy)
    with Catalogue.open(copy / ".state" / "catalogue.sqlite") as catalogue:
        for said in catalogue.sayings_about(NormalizedName("torch")):
            if said.link.filename.startswith("torch-2.9.1+cu130-cp312-cp312-manylinux_2_28_x86_64"):
                catalogue.store_inspection(said.link, Inspection(architectures=("sm_70", "sm_80")))
    (newest, *_) = (
        row for row in table("torch<2.11", "--gpu", "V100", "--mirror", str(copy))["rows"] if row["backend"] == "cu130"
    )
    assert (newest["last_torch"], newest["known_by"]) == ("2.9.1", "wheel")


def test_what_variables_say_of_a_machine_yields_to_the_table_asked_for(
    text: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_OFFLINE_GPU", "GTX 1080 Ti,RTX 4090")
    monkeypatch.setenv("PYTORCH_OFFLINE_DRIVER", "535.104.05")
    assert text().startswith("GeForce GTX 1080 Ti (6.1) + GeForce RTX 4090 (8.9): the last usable")
    assert text("--by", "cuda").startswith("Builds of torch, per backend")
    monkeypatch.delenv("PYTORCH_OFFLINE_GPU")
    assert text().startswith("Builds of torch, per release")
    assert text("--driver", "470.82.01").startswith("NVIDIA drivers, CUDA and torch")
