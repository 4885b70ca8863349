"""The command line, run as a user runs it: in a process of its own, with a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def run_tool(
    *arguments: str | Path, cwd: Path, expect: int | None = 0, without_network: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one command and check its exit code (None: any); without a network it runs where there is no interface."""
    command = [sys.executable, "-m", "pytorch_offline", *map(str, arguments)]
    if without_network:
        command = ["unshare", "-n", *command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert expect is None or done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def run_json(*arguments: str | Path, cwd: Path, expect: int = 0) -> Any:  # noqa: ANN401  (JSON)
    """Run one command with ``--json`` and read its one document."""
    return json.loads(run_tool(*arguments, "--json", cwd=cwd, expect=expect).stdout)


def can_unshare() -> bool:
    """Whether this process may make a network namespace without interfaces."""
    try:
        return subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
