"""What ``--python`` may name: an executable, an environment's directory, a command, a conda environment."""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.target.capture import this_machine
from pytorch_offline.target.codec import parse_target, render_target
from pytorch_offline.target.describe import render_summary
from pytorch_offline.target.interpreters import find_interpreter


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that looks like conda's, in the list that conda keeps."""
    prefix = tmp_path / "envs" / "torch"
    venv.create(prefix, with_pip=False, symlinks=True)
    (prefix / "conda-meta").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"{prefix}\n/nowhere/gone\n\n", encoding="utf-8")
    return prefix


def test_a_conda_environment_by_its_interpreter_its_directory_and_its_name(conda: Path) -> None:
    here = this_machine()
    for named in (conda / "bin" / "python", conda, Path("torch")):
        target = this_machine(named)
        assert (target.tags, target.libc) == (here.tags, here.libc)
        assert target.python_from == "conda"
        assert "of a conda environment" in render_summary(target)
        assert parse_target(render_target(target)) == target
    assert here.python_from is None
    assert "python_from" not in render_target(here)


def test_a_name_of_several_environments_is_asked_for(conda: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "torch"
    other.mkdir(parents=True)
    with (tmp_path / ".conda" / "environments.txt").open("a", encoding="utf-8") as file:
        file.write(f"{other}\n")
    with pytest.raises(UsageError) as caught:
        find_interpreter(Path("torch"))
    assert caught.value.code == "python-not-usable"
    assert str(conda) in str(caught.value.hint)
    assert str(other) in str(caught.value.hint)


def test_commands_and_paths_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_interpreter(Path(sys.executable)) == Path(sys.executable)
    assert find_interpreter(Path("sh")) == Path(str(shutil.which("sh")))
    assert find_interpreter(Path("no-such-command-anywhere")) == Path("no-such-command-anywhere")
    with pytest.raises(UsageError, match="without an interpreter"):
        find_interpreter(tmp_path)
    for inside in ("python.exe", "Scripts/python.exe"):  # environments of Windows
        folder = tmp_path / inside.replace("/", "-")
        (folder / inside).parent.mkdir(parents=True)
        (folder / inside).touch()
        assert find_interpreter(folder) == folder / inside
