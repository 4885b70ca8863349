"""The CPython interpreters that are found on this machine, to be used as targets."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

# Where pyenv keeps its versions; an interpreter on PATH counts too.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
MINORS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@cache
def find_interpreter(minor: str) -> Path | None:
    """Find a CPython of this minor version that starts and has pip."""
    on_path = shutil.which(f"python{minor}")
    for candidate in (*sorted(PYENV.glob(f"{minor}.*/bin/python")), *([Path(on_path)] if on_path else [])):
        if subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def interpreter(minor: str) -> Path:
    """The interpreter of a minor version; the test is skipped where this machine has none."""
    found = find_interpreter(minor)
    if found is None:
        pytest.skip(f"no CPython {minor} with pip on this machine")
    return found
