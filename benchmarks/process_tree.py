"""What a process and all that it started have used: processor time and memory, from /proc (Linux)."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def members(root: int) -> list[int]:
    """List a process and all processes below it."""
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents.setdefault(int(_fields(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for one in found:
        found += parents.get(one, [])
    return found


def busy(root: int) -> float:
    """Give the CPU seconds of all of them, of those that have ended and were waited for too (proc(5), stat)."""
    seconds = 0.0
    for number in members(root):
        with suppress(OSError):
            seconds += sum(int(value) for value in _fields(number)[11:15]) * _TICK_S
    return seconds


def rests(root: int, *, patience: float = 20.0) -> None:
    """Wait until they do nothing any more, or for as long as one has patience."""
    until = time.monotonic() + patience
    before = -1.0
    while (now := busy(root)) - before > _TICK_S and time.monotonic() < until:
        before = now
        time.sleep(0.2)


def forget_peaks(root: int) -> None:
    """Let their peaks begin anew (proc(5), clear_refs)."""
    for number in members(root):
        with suppress(OSError):
            (_PROC / str(number) / "clear_refs").write_text("5")


def peak(root: int) -> float:
    """Give the sum of their peaks in MB; what two of them share is counted twice."""
    kilobytes = 0
    for number in members(root):
        with suppress(OSError):
            status = (_PROC / str(number) / "status").read_text()
            kilobytes += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return kilobytes * 1024 / 1e6


def _fields(number: int) -> list[str]:
    # The name, in parentheses, may have blanks of its own: fields are counted from behind it, the state being first.
    return (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
