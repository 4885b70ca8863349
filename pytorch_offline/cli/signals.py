"""Being told to end: in order, as by Ctrl-C, and not between two instructions."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

# Sent by service managers and batch systems, and by a terminal or an ssh connection that goes away.
_ENDING = ("SIGTERM", "SIGHUP")


def end_in_order() -> None:
    """Turn the signals that would end the process at once into ``SystemExit``.

    A download then saves what came, and the pip or uv that an installation runs ends with it, instead of going on alone
    in an environment that nobody cleans up. What is ignored (``nohup``) stays ignored.
    """
    for name in _ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # as shells report it
