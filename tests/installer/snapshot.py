"""A directory tree as a value: what is where, with which bytes, modes, links and time stamps."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

Entry = tuple[str, int, int, str]


def snapshot(root: Path, *, times: bool = True) -> dict[str, Entry]:
    """Describe everything below a directory, and itself: kind, mode, time of change, hash or link."""
    found = {}
    for directory, directories, names in os.walk(root):
        for name in [".", *directories, *names] if directory == str(root) else [*directories, *names]:
            path = Path(directory, name)
            state = path.lstat()
            time = state.st_mtime_ns if times else 0
            if stat.S_ISLNK(state.st_mode):
                entry = ("link", 0, 0, str(path.readlink()))
            elif stat.S_ISDIR(state.st_mode):
                entry = ("directory", stat.S_IMODE(state.st_mode), time, "")
            else:
                entry = ("file", stat.S_IMODE(state.st_mode), time, hashlib.sha256(path.read_bytes()).hexdigest())
            found[str(path.relative_to(root))] = entry
    return found
