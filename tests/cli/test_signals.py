"""Processes that are told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.installer.crafted import linux_target, pure, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

# A pip that says who it is and then takes its time.
PIP = "import os, pathlib, sys, time\npathlib.Path(sys.prefix, 'pid').write_text(str(os.getpid()))\ntime.sleep(300)\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_pip_ends_with_the_installation_that_runs_it(sent: str, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path / "mirror", {"node": [pure("filelock", "3.0")]}, target=linux_target())
    venv = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "pip").mkdir()
    (site / "pip" / "__main__.py").write_text(PIP, encoding="utf-8")
    (site / "pip-25.0.dist-info").mkdir()
    (site / "pip-25.0.dist-info" / "METADATA").write_text("Name: pip\nVersion: 25.0\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytorch_offline", "install", "--from", str(mirror), "--venv", str(venv)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        said = venv / "pid"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (said.exists() and said.read_text(encoding="utf-8")):
            time.sleep(0.02)
        process.send_signal(getattr(signal, sent))
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if sent == "SIGINT" else 128 + getattr(signal, sent))
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text(encoding="utf-8")), 0)
