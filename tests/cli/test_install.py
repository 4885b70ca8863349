from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from pytorch_offline.cli.main import main
from pytorch_offline.target.capture import this_machine
from pytorch_offline.target.model import Accelerator, AcceleratorKind
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


def test_of_two_locks_that_fit_one_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locks = {"cpu": [pure("filelock", "3.0")], "gpu": [pure("filelock", "3.1")]}
    mirror = write_mirror(tmp_path / "mirror", locks, target=linux_target())
    arguments = ("--from", mirror, "--venv", tmp_path / "env", "--dry-run")
    assert run(*arguments) == 2
    assert "--target NAME" in capsys.readouterr().err
    assert run(*arguments, "--target", "gpu", "--json") == 0
    assert json.loads(capsys.readouterr().out)["install"][0]["version"] == "3.1"
    assert run(*arguments, "--target", "tpu") == 2
    assert "cpu, gpu" in capsys.readouterr().err


def test_a_driver_that_is_too_old_is_told_when_the_lock_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Accelerator(kind=AcceleratorKind.CUDA, driver=Version("470.82.01"))
    here = replace(this_machine(), accelerator=old)
    monkeypatch.setattr("pytorch_offline.cli.install.this_machine", lambda _: here)
    wheels = [torch("2.4.0+cu121", directory="whl/cu121"), pure("filelock", "3.0")]
    mirror = write_mirror(tmp_path / "mirror", {"gpu": wheels}, target=linux_target())
    arguments = ("--from", mirror, "--venv", tmp_path / "env", "--dry-run")
    assert run(*arguments) == 5
    assert "470.82.01" in capsys.readouterr().err
    assert run(*arguments, "--target", "gpu") == 0
    assert "warning: target gpu was named, although driver" in capsys.readouterr().err


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
