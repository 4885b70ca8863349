"""Standard error: lines, and on a terminal a block below them that is drawn again and again.

Whatever is said to a person goes through here, from any thread, so that no message lands in the middle of the block.
The cursor rests at the block's first character: a terminal that is resized and wraps its lines anew keeps the cursor
on that character, so the next drawing covers whatever became of the last. What cannot be written (the reader went
away, the terminal is closed) is dropped: progress that nobody sees must not cost a download.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pytorch_offline.cli.streams import abandon

if TYPE_CHECKING:
    from collections.abc import Sequence

# What most terminals have, for those that do not say (serial lines, terminals without a window).
_COLUMNS, _ROWS = 80, 24
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"

_lock = threading.RLock()
_block: list[str] = []


def is_terminal() -> bool:
    """Whether standard error is a terminal that lets itself be drawn on."""
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    return os.name == "nt" or os.environ.get("TERM", "dumb") != "dumb"


def terminal_size() -> tuple[int, int]:
    """Give the columns and rows that the terminal has now."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return _COLUMNS, _ROWS
    return columns or _COLUMNS, rows or _ROWS


def write_line(text: str) -> None:
    """Write one line, above the block if there is one."""
    with _lock:
        if _block:
            _write(f"\r{_ERASE_BELOW}{text}\n{_drawn(_block)}")
        else:
            _write(f"{text}\n")


def draw(lines: Sequence[str]) -> None:
    """Draw the block; no lines take it away."""
    with _lock:
        had, _block[:] = bool(_block), lines
        if had or _block:
            _write(f"\r{_drawn(_block)}" if _block else f"\r{_ERASE_BELOW}")


def make_ready() -> None:
    """Let a Windows console understand where the cursor should go; others do."""
    if sys.platform == "win32":
        from colorama import just_fix_windows_console  # noqa: PLC0415  (comes with click, on Windows alone)

        just_fix_windows_console()


def let_go() -> None:
    """Drop what standard error did not take: Python would fail at it when it ends, with an exit code of its own."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):  # not a stream of the process's own
            abandon(sys.stderr.fileno())


def _drawn(lines: Sequence[str]) -> str:
    below = "\n".join(f"{line}{_ERASE_LINE}" for line in lines)
    up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
    return f"{below}{_ERASE_BELOW}\r{up}"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        with suppress(OSError, ValueError, AttributeError):  # not a stream of the process's own
            abandon(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        pass  # full, closed, or never there
