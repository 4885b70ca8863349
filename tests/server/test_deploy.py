"""What lies in ``deploy/`` for administrators, read by the programs that it is for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import load_command
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

UNIT = REPOSITORY / "deploy/pytorch-offline.service"
# What `systemd-analyze security` calls "OK" ends at 2: nothing is open that the server has no use for.
MOST_EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/usr/local/bin/pytorch-offline", f"{sys.executable} -m pytorch_offline"))
    return path


@needs_systemd
def test_systemd_understands_every_line_of_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert UNIT.name not in done.stderr, done.stderr  # what it says of other units is no matter
    assert done.returncode == 0


@needs_systemd
def test_the_service_has_few_rights(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: (?P<level>[0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd cannot look at a unit that is not installed: {done.stderr}")
    assert float(found["level"]) <= MOST_EXPOSURE


def test_the_unit_starts_the_server_with_options_that_it_has() -> None:
    text = UNIT.read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    words = line.split()
    assert words[1] == "serve"
    with load_command("serve").make_context("serve", words[2:]) as context:
        assert context.params["host"] == "::"


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
def test_logrotate_understands_its_file(tmp_path: Path) -> None:
    command = ["logrotate", "--debug", "--state", str(tmp_path / "state")]
    command.append(str(REPOSITORY / "deploy/pytorch-offline.logrotate"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "error:" not in done.stderr
