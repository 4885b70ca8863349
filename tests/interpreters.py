"""The CPython interpreters that are found on this machine, to be used as targets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

MINORS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def _pyenv_versions() -> Path:
    """Where pyenv keeps its versions: as it is told, else beside the running interpreter if that is one of them."""
    if "PYENV_ROOT" in os.environ:
        return Path(os.environ["PYENV_ROOT"]) / "versions"
    beside = Path(sys.base_prefix).parent
    return beside if beside.name == "versions" else Path.home() / ".pyenv" / "versions"


def find_interpreters() -> tuple[Path, ...]:
    """The running interpreter, then all of pyenv's from 3.6 on, oldest first."""
    found = []
    for directory in _pyenv_versions().glob("3.*"):
        version = re.match(r"3\.(\d+)\.", directory.name)
        if version and int(version[1]) >= 6 and (directory / "bin" / "python").exists():
            found.append((int(version[1]), directory / "bin" / "python"))
    return (Path(sys.executable), *(python for _, python in sorted(found)))


@cache
def find_interpreter(minor: str) -> Path | None:
    """Find a CPython of this minor version, pyenv's or one on PATH, that starts, has pip, and is no environment's."""
    candidates = [python for python in find_interpreters()[1:] if name_of(python).startswith(f"{minor}.")]
    if on_path := shutil.which(f"python{minor}"):
        candidates.append(Path(on_path))
    for candidate in candidates:
        question = "import sys, pip; sys.exit(sys.prefix != sys.base_prefix)"
        if subprocess.run([candidate, "-c", question], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def interpreter(minor: str) -> Path:
    """The interpreter of a minor version; the test is skipped where this machine has none."""
    found = find_interpreter(minor)
    if found is None:
        pytest.skip(f"no CPython {minor} with pip on this machine")
    return found


def name_of(python: Path) -> str:
    """Name an interpreter in a test's name: pyenv's directory, or the environment's."""
    return python.parent.parent.name
