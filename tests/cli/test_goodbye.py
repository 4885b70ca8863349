"""The command that goes on after an interrupt."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.goodbye import PROGRAM, command_line, interruption

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(os.name == "nt", reason="other quotes")
def test_it_is_what_the_user_typed_without_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / PROGRAM
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["fetch", "torch", "--mirror", "镜像 目录", "--upstream", "https://me:secret@host/whl"]
    expected = "fetch torch --mirror '镜像 目录' --upstream https://***@host/whl"
    assert command_line(arguments) == f"{PROGRAM} {expected}"
    monkeypatch.setenv("PATH", os.devnull)
    assert command_line(arguments) == f"{program} {expected}"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    monkeypatch.setattr(sys, "orig_argv", ["./env/bin/python", "-m", "pytorch_offline", *arguments])
    assert command_line(arguments) == f"./env/bin/python -m pytorch_offline {expected}"


@pytest.mark.parametrize(("command", "continues"), [("fetch", True), ("verify", True), ("install", False)])
def test_it_says_whether_anything_is_continued(command: str, *, continues: bool) -> None:
    error = interruption([command], signal.SIGTERM)
    assert error.message == "ended by SIGTERM"
    assert error.facts["signal"] == "SIGTERM"
    assert error.hint is not None
    assert ("to continue where it stopped" in error.hint) == continues
