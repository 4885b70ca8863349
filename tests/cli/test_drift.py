"""The command line of ``drift``, over an upstream that replaces one file and removes another."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from tests.crawler.site import Site

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "1" * 64, "2" * 64
REPLACED = "/whl/cpu/torch-2.7.0%2Bcpu-cp310-cp310-manylinux_2_28_aarch64.whl"
REMOVED = "/whl/cpu/torch-2.6.0%2Bcpu-cp310-cp310-manylinux_2_28_aarch64.whl"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert (stop.value.code or 0) == expect, err
    return out, err


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.setenv("PYTORCH_OFFLINE_MIRROR", str(tmp_path / "mirror"))
    with Site() as site:
        site.project_list("/whl/", ["torch"])
        site.files("/whl/torch/", [f"{REPLACED}#sha256={OLD}", f"{REMOVED}#sha256={OLD}"])
        run(capsys, "crawl", "--upstream", site.base)
        site.files("/whl/torch/", [f"{REPLACED}#sha256={NEW}"])
        run(capsys, "crawl", "--upstream", site.base)
    return tmp_path / "mirror"


@pytest.mark.usefixtures("mirror")
def test_text_of_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "drift")
    assert "All projects: 1 file uploaded again, 1 file disappeared." in out
    assert "Uploaded again: torch 2.7.0+cpu, /whl/cpu" in out
    assert "1111111111  2222222222  cp310-cp310-manylinux_2_28_aarch64" in out
    assert "torch 2.6.0+cpu, /whl/cpu" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.usefixtures("mirror")
def test_programs_get_whole_hashes_and_days(capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, Any] = json.loads(run(capsys, "drift", "--json")[0])
    assert (document["reuploaded"], document["disappeared"]) == (1, 1)
    old, new, gone = document["rows"]
    assert (old["event"], old["path"]) == ("reupload", REPLACED.replace("%2B", "+"))
    assert (old["sha256"], new["sha256"]) == (OLD, NEW)
    assert old["first_seen"] <= old["last_seen"] <= new["first_seen"]
    assert (gone["event"], gone["path"], gone["sha256"]) == ("disappearance", REMOVED.replace("%2B", "+"), OLD)
    assert gone["gone_by"] >= gone["last_seen"]
    rows = list(csv.DictReader(io.StringIO(run(capsys, "drift", "--csv")[0])))
    assert [row["sha256"] for row in rows] == [OLD, NEW, OLD]


@pytest.mark.usefixtures("mirror")
def test_a_project_and_a_day_narrow_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "torchvision: 0 files" in run(capsys, "drift", "torchvision")[0]
    assert "torch: 1 file uploaded again" in run(capsys, "drift", "Torch")[0]
    assert json.loads(run(capsys, "drift", "--since", "2020-01-01", "--json")[0])["reuploaded"] == 1
    later = json.loads(run(capsys, "drift", "--since", "2999-01-01", "--json")[0])
    assert (later["rows"], later["since"]) == ([], "2999-01-01T00:00:00Z")


def test_where_nothing_was_read_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "drift", "--mirror", str(tmp_path / "nowhere"))
    assert "Nothing was read or fetched yet" in out
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("arguments", [("--csv", "--json"), ("--since", "yesterday"), ("no project",)])
def test_what_cannot_be_meant(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    run(capsys, "drift", *arguments, expect=2)
