from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.format.manifest import parse_manifest
from pytorch_offline.cli.main import main
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return write_mirror(tmp_path / "mirror", {"node": [torch(), pure("filelock", "3.0")]}, target=linux_target())


def run(*arguments: str | Path) -> int:
    return run_main("install", *arguments)


def run_main(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return int(caught.value.code or 0)


@pytest.fixture
def bundle(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run_main("bundle", "--mirror", mirror, "-o", tmp_path / "bundle", "-q", "--no-default-index") == 0
    capsys.readouterr()
    return tmp_path / "bundle"


def test_installing_says_what_was_proven(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", mirror, "--venv", tmp_path / "env") == 0
    said = capsys.readouterr()
    assert "torch 2.4.0+cpu imports and computes" in said.out
    assert "2 wheels installed" in said.out
    assert run("--from", mirror, "--venv", tmp_path / "env", "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_a_dry_run_changes_nothing(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("torch", "--from", mirror, "--venv", tmp_path / "env", "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [wheel["project"] for wheel in document["install"]] == ["filelock", "torch"]
    assert document["destination"]["creates"] == str(tmp_path / "env")
    assert not (tmp_path / "env").exists()
    assert run("--mirror", mirror, "--venv", tmp_path / "env", "--dry-run") == 0
    assert "would install into" in capsys.readouterr().out


def test_a_requirement_is_judged_against_the_lock(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--from", mirror, "--venv", tmp_path / "env", "--dry-run", "--json")
    assert run("Torch>=2", "torch<3", *arguments) == 0
    assert [wheel["project"] for wheel in json.loads(capsys.readouterr().out)["install"]] == ["filelock", "torch"]
    for text, reason in (("torch>=3", "which is 2.4.0+cpu here"), ("numpy", "which is missing")):
        assert run(text, *arguments) == 5
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["code"] == "not-in-lock"
        assert reason in error["facts"][text]


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


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for nvidia-smi")
def test_a_driver_that_is_too_old_is_told_when_the_lock_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'name, driver_version, compute_cap'\necho 'NVIDIA A100, 470.82.01, 8.0'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:{os.environ['PATH']}")
    wheels = [torch("2.4.0+cu121", directory="whl/cu121"), pure("filelock", "3.0")]
    mirror = write_mirror(tmp_path / "mirror", {"gpu": wheels}, target=linux_target())
    arguments = ("--from", mirror, "--venv", tmp_path / "env", "--dry-run")
    assert run(*arguments) == 5
    assert "470.82.01" in capsys.readouterr().err
    assert run(*arguments, "--target", "gpu") == 0
    assert "warning: target gpu was named, although driver" in capsys.readouterr().err


def test_errors_have_their_exit_codes(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert run("--from", mirror) == 2
    assert "say where to install" in capsys.readouterr().err
    (tmp_path / "nothing").mkdir()
    assert run("--from", tmp_path / "nothing", "--python", sys.executable) == 2
    assert run("not a requirement !", "--from", mirror, "--venv", tmp_path / "env") == 2
    assert run("torch @ https://elsewhere.example/torch.whl", "--from", mirror, "--venv", tmp_path / "env") == 2
    assert run("numpy", "--from", mirror, "--venv", tmp_path / "env") == 5
    next(mirror.glob("whl/cpu/torch-*.whl")).unlink()
    capsys.readouterr()
    assert run("--from", mirror, "--venv", tmp_path / "env", "--json") == 4
    said = json.loads(capsys.readouterr().out)
    assert said["error"]["code"] == "bad-files"
    assert list(said["error"]["facts"]) == ["whl/cpu/torch-2.4.0+cpu-py3-none-any.whl"]
    assert not (tmp_path / "env").exists()


def test_a_bundle_is_installed_by_the_same_code(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--venv", str(tmp_path / "env"), "--dry-run", "--json")
    assert run("--from", bundle, *arguments) == 0
    ours = json.loads(capsys.readouterr().out)
    alone = [sys.executable, str(bundle / "install.py"), *arguments]
    theirs = json.loads(subprocess.run(alone, capture_output=True, check=True).stdout)
    assert ours["bundle"] == theirs["bundle"] == parse_manifest((bundle / "manifest.json").read_bytes()).id
    assert ours["install"] == theirs["install"]
    assert [wheel["project"] for wheel in ours["install"]] == ["filelock", "torch"]


def test_the_stand_alone_speaks_as_the_package_does(bundle: Path, tmp_path: Path) -> None:
    def alone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(bundle / "install.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = alone("--verify-only")
    assert whole.returncode == 0
    assert "is whole" in whole.stdout
    unknown = alone("--no-such-option", "--json")
    assert unknown.returncode == 2
    assert json.loads(unknown.stdout)["error"]["code"] == "bad-usage"
    assert unknown.stderr.startswith("error: ")
    quiet = alone("--venv", tmp_path / "env", "--dry-run", "-q")
    assert quiet.stderr == ""
    assert "would install into" in quiet.stdout
    assert alone("--verify-only", "-q").stdout == ""
    wheel = next(bundle.glob("whl/filelock-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    damaged = alone("--venv", tmp_path / "env", "--json")
    assert damaged.returncode == 4
    assert "filelock-3.0-py3-none-any.whl" in damaged.stderr
    assert not (tmp_path / "env").exists()
    missing = alone("--from", tmp_path / "nowhere", "--verify-only")
    assert (missing.returncode, missing.stdout) == (2, "")
