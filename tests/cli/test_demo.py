"""The demo: the whole way, and what it does when something does not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_offline.cli.demo import GPU_MACHINE_WHEEL, Step, plan_steps, quiet_environment, run_step, working_directory
from pytorch_offline.cli.session import Session
from pytorch_offline.errors import PytorchOfflineError

SILENT = Session(mirror=Path("cache"), as_json=False, verbosity=-1)


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A user's own settings must not reach the demo's commands: these would break every one of them.
    hostile = {
        "PYTORCH_OFFLINE_MIRROR": "/nowhere",
        "http_proxy": "http://127.0.0.1:9",
        "PIP_INDEX_URL": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytorch_offline", "demo", *arguments],
        cwd=directory,
        env=os.environ | hostile,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path) -> None:
    result = demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert GPU_MACHINE_WHEEL in result.stdout
    assert "$ pytorch-offline fetch torch --backend cpu --upstream http://127.0.0.1:" in result.stdout
    assert "[[3.0, 3.0], [3.0, 3.0]]" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Everything held: 7 steps")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_mirror_that_was_named_is_kept_and_json_is_all_that_is_printed(tmp_path: Path) -> None:
    result = demo(tmp_path, "--json", "--mirror", "mirror", "--keep")
    assert result.returncode == 0, result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["held"]
    assert [step["requests"] for step in document["steps"][-2:]] == [0, 0]
    assert document["steps"][0]["requests"] > 0
    assert (tmp_path / "mirror/manifest.json").is_file()
    assert [path.name for path in tmp_path.glob("pytorch-offline-demo-*/env/pyvenv.cfg")] == ["pyvenv.cfg"]


def test_a_mirror_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    result = demo(tmp_path, "--mirror", str(tmp_path))
    assert result.returncode == 2
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_what_is_shown_is_what_is_run() -> None:
    prefix = ("unshare", "-r", "-n")
    for step in plan_steps(
        "http://u/whl", "http://u/simple/", Path("demo/cache"), Path("demo/bundle"), Path("demo/env")
    ):
        shown, run = step.shown(prefix).split(), step.argv(prefix)
        assert (run[:3] == [*prefix]) == step.offline
        if "pytorch-offline" in shown:
            place = run.index("-m")
            assert run[place - 1 : place + 2] == [sys.executable, "-m", "pytorch_offline"]
            assert shown[shown.index("pytorch-offline") + 1 :] == run[place + 2 :]


@pytest.mark.parametrize(
    ("program", "expects", "complaint"),
    [
        ("raise SystemExit(4)", "", "step 1/1 ended with exit code 4"),
        ("print('no')", "yes", "step 1/1 did not say 'yes'"),
    ],
)
def test_a_step_that_does_not_hold_ends_the_demo(program: str, expects: str, complaint: str) -> None:
    step = Step(title="Try.", command=(sys.executable, "-c", program), expects=expects)
    with pytest.raises(PytorchOfflineError) as caught:
        run_step(SILENT, step, "1/1", ())
    assert (caught.value.code, caught.value.message) == ("demo-failed", complaint)
    assert caught.value.exit_code == 1


def test_a_command_that_is_not_there_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(PytorchOfflineError) as caught:
        run_step(SILENT, Step(title="Try.", command=(str(tmp_path / "nothing"),)), "1/1", ())
    assert "cannot be started" in caught.value.message


def test_the_directory_is_removed_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with working_directory(keep=False) as directory:
        assert directory.parent == tmp_path
    assert not directory.exists()
    with working_directory(keep=True) as directory:
        pass
    assert directory.exists()
    with pytest.raises(ZeroDivisionError), working_directory(keep=False) as directory:
        _ = 1 / 0
    assert directory.exists()
    assert f"what was made so far is in {directory}" in capsys.readouterr().err


def test_settings_and_proxies_are_kept_from_the_commands() -> None:
    kept = quiet_environment(
        {"PATH": "/bin", "PIP_INDEX_URL": "x", "PYTORCH_OFFLINE_MIRROR": "x", "HTTPS_PROXY": "x", "all_proxy": "x"}
    )
    assert kept == {
        "PATH": "/bin",
        "PYTORCH_OFFLINE_CONFIG": os.devnull,
        "PIP_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
