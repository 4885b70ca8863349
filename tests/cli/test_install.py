from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import main
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return write_mirror(tmp_path / "mirror", {"node": [torch(), pure("filelock", "3.0")]}, target=linux_target())


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["install", *map(str, arguments)])
    return int(caught.value.code or 0)


def test_installing_says_what_was_proven(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", mirror, "--venv", tmp_path / "env", "-q") == 0
    said = capsys.readouterr()
    assert "torch 2.4.0+cpu imports and computes" in said.out
    assert "2 wheels installed" in said.out
    assert said.err == ""


def test_a_dry_run_changes_nothing(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("torch", "--from", mirror, "--venv", tmp_path / "env", "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [wheel["project"] for wheel in document["install"]] == ["filelock", "torch"]
    assert document["destination"]["creates"] == str(tmp_path / "env")
    assert not (tmp_path / "env").exists()
    assert run("--mirror", mirror, "--venv", tmp_path / "env", "--dry-run") == 0
    assert "would install into" in capsys.readouterr().out


def test_errors_have_their_exit_codes(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", mirror) == 2
    assert "say where to install" in capsys.readouterr().err
    assert run("--from", tmp_path, "--python", sys.executable) == 2
    assert run("not a requirement !", "--from", mirror, "--venv", tmp_path / "env") == 2
    assert run("torch @ https://elsewhere.example/torch.whl", "--from", mirror, "--venv", tmp_path / "env") == 2
    assert run("numpy", "--from", mirror, "--venv", tmp_path / "env") == 5
    next(mirror.glob("whl/cpu/torch-*.whl")).unlink()
    capsys.readouterr()
    assert run("--from", mirror, "--venv", tmp_path / "env", "--json") == 4
    said = json.loads(capsys.readouterr().out)
    assert said["error"]["code"] == "bad-files"
    assert said["error"]["facts"] == {"whl/cpu/torch-2.4.0+cpu-py3-none-any.whl": "is missing"}
    assert not (tmp_path / "env").exists()
