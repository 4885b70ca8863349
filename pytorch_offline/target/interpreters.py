"""Find the interpreter that a user names: an executable, an environment's directory, a conda environment's name."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytorch_offline.errors import UsageError

# Where an environment keeps its interpreter: POSIX (venv and conda), conda on Windows, venv on Windows.
_WITHIN = ("bin/python3", "bin/python", "python.exe", "Scripts/python.exe")


def find_interpreter(named: Path) -> Path:
    """Find what ``--python`` means: a file, a directory of an environment, a command on the PATH, a conda environment.

    Conda's environments are found by name in the list that conda itself keeps (``~/.conda/environments.txt``).

    Raises:
        UsageError: ``python-not-usable`` if there is none, or if two conda environments have the name.
    """
    if named.is_dir():
        found = next((path for inside in _WITHIN if (path := named / inside).exists()), None)
        if found is None:
            raise _none(named, f"{named} is a directory without an interpreter", "name an environment or its python")
        return found
    if named.exists() or len(named.parts) != 1:
        return named
    if command := shutil.which(str(named)):
        return Path(command)
    environments = [path for path in _conda_environments() if path.name == str(named) and path.is_dir()]
    if len(environments) > 1:
        listed = ", ".join(map(str, environments))
        raise _none(named, f"{named} is the name of several conda environments", f"say which: {listed}")
    return find_interpreter(environments[0]) if environments else named


def _conda_environments() -> list[Path]:
    try:
        lines = (Path.home() / ".conda" / "environments.txt").read_text("utf-8", "replace").splitlines()
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return []
    return [Path(line.strip()) for line in lines if line.strip()]


def _none(named: Path, message: str, hint: str) -> UsageError:
    return UsageError("python-not-usable", message, facts={"python": str(named)}, hint=hint)
