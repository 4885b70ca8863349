"""The interpreters of this machine that the tests try everything on: those of pyenv, and the running one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path


def find_interpreters() -> tuple[Path, ...]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for folder in sorted(root.glob("3.*")) if root.is_dir() else ():
        version = re.match(r"3\.(\d+)", folder.name)
        python = folder / "bin" / "python"
        if version and int(version[1]) >= 6 and python.exists():
            found[folder.name] = python
    return (Path(sys.executable), *found.values())


INTERPRETERS = find_interpreters()


def name_of(python: Path) -> str:
    return python.parent.parent.name
