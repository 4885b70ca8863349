"""Run the tests, set-up included: ``python3 tests/run.py [--network] [PYTEST ARGUMENT…]``.

Needs Python 3.11 or newer and the package index that pip is configured for; nothing else. The environment is made once
in ``.tools/venv`` and made again when ``pyproject.toml`` or the interpreter changes. ``--network`` runs the tests that
use the package index, and only those; ``--prepare`` makes the environment and stops.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".tools" / "venv"
BINARIES = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BINARIES / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / "made-from"
OLDEST = (3, 11)
GROUPS_SINCE = "pip>=25.1"  # the first pip with --group


def main(arguments: list[str]) -> int:
    """Prepare the environment if need be, then hand over to pytest; returns its exit code."""
    if sys.version_info < OLDEST:
        sys.stderr.write("Python {}.{} or newer is needed, this is {}\n".format(*OLDEST, sys.version.split()[0]))
        return 2
    if _made_from() != _read_stamp():
        _prepare()
    if "--prepare" in arguments:
        return 0
    options = [] if any(argument.startswith(("-n", "-p")) for argument in arguments) else ["-n", "auto"]
    if "--network" in arguments:
        arguments.remove("--network")
        options += ["-m", "network"]
    command = [str(PYTHON), "-m", "pytest", *options, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False).returncode


def _made_from() -> str:
    """Name everything that the environment depends on."""
    project = hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()
    return f"{sys.version}\n{sys.executable}\n{REPOSITORY}\n{project}\n"


def _read_stamp() -> str | None:
    return STAMP.read_text(encoding="utf-8") if STAMP.is_file() else None


def _prepare() -> None:
    """Make the environment: the package itself, editable, with the dependency groups ``test`` and ``lint``."""
    sys.stderr.write(f"preparing {ENVIRONMENT} (once)\n")
    with_pip = subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], capture_output=True, check=False)
    pip = [str(PYTHON), "-m", "pip"]
    if with_pip.returncode != 0:  # Debian keeps ensurepip in a package of its own; the pip that called us will do
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", ENVIRONMENT], check=True)
        subprocess.run([sys.executable, "-m", "pip", "--python", PYTHON, "install", "-qq", GROUPS_SINCE], check=True)
    else:
        subprocess.run([*pip, "install", "-qq", "--upgrade", GROUPS_SINCE], check=True)
    groups = ["--group", "test", "--group", "lint"]
    subprocess.run([*pip, "install", "-qq", "--editable", ".", *groups], cwd=REPOSITORY, check=True)
    STAMP.write_text(_made_from(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
