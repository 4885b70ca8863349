"""Being told to end: by Ctrl-C, by a service manager, by a terminal that goes away.

The first such signal raises ``Interrupted`` in the main thread, and everything ends in order: a download saves what
came, an installation takes away what it began. Not every wait can be broken off from within, though: a name server
that does not answer, a file system that is asked to sync, another process's write to SQLite, a thread of a pool. So a
guard beside the main thread hears the signals too. Where the end takes longer than a second's good part, or somebody
asks again, it ends the process at once. That loses nothing: whatever is on disk is meant to outlive a kill.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# Ctrl-C; what service managers and batch systems send; a terminal or an ssh connection that goes away.
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
# Who interrupts gets the prompt back within a second; this leaves some of it for saying goodbye.
GRACE_SECONDS = 0.75
# `timeout` and some wrappers send a signal to the process and to its group: that is one wish, not two.
_SAME_WISH_SECONDS = 0.3
# How soon it is noticed that patience ran out.
_LOOK_SECONDS = 0.05
# A terminal that takes no output (Ctrl-S) must not keep us.
_GOODBYE_SECONDS = 0.2


class Interrupted(KeyboardInterrupt):
    """The process was told to end, by signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """What shells report of it: 130 for Ctrl-C."""
        return 128 + self.number


def end_in_order() -> None:
    """Turn the signals that would end the process at once into ``Interrupted``.

    What is ignored stays ignored: SIGHUP under ``nohup``, SIGINT of a background process. For the main thread.
    """
    for name in _ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _interrupt)


def let_go() -> None:
    """Let the signals end the process at once again: all is done, and nobody is left to catch what is raised."""
    for name in _ENDING:
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) in {_interrupt, _leave_to_guard}:
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for name in _ENDING:  # the guard goes on listening, but nothing breaks off what is now being put in order
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is _interrupt:
            signal.signal(getattr(signal, name), _leave_to_guard)
    raise Interrupted(number)


def _leave_to_guard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: without a handler the guard would not hear of the signal."""


class Guard:
    """Sees to it that the process ends soon after it was told to. For the process's own main thread to start.

    Args:
        goodbye: told the signal's number; must not need the main thread, and may have been said already.
    """

    def __init__(self, goodbye: Callable[[int], None]) -> None:
        self._goodbye = goodbye
        self._ears, self._mouth = socket.socketpair()  # both live as long as the process
        self._mouth.setblocking(False)
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def _watch(self) -> None:
        number = self._next_wish(None)
        told = time.monotonic()
        saying = True
        while (left := _patience.left(told)) > 0:
            if saying and time.monotonic() - told >= GRACE_SECONDS:
                saying = False
                _spoken(_patience.say)
            again = self._next_wish(min(left, _LOOK_SECONDS))
            if again and time.monotonic() - told >= _SAME_WISH_SECONDS:
                break
        _spoken(partial(self._goodbye, number))
        os._exit(128 + number)

    def _next_wish(self, seconds: float | None) -> int:
        """Wait for a signal that asks for the end; 0 if none comes in time."""
        ending = {getattr(signal, name) for name in _ENDING if hasattr(signal, name)}
        self._ears.settimeout(seconds)
        while True:
            try:
                heard = [one for one in self._ears.recv(64) if one in ending]
            except TimeoutError:
                return 0
            if heard:
                return heard[0]


def _nothing() -> None:
    """Say nothing."""


class _Patience:
    """How long the end may take: little, or as much as somebody needs who puts something in order."""

    def __init__(self) -> None:
        self.say: Callable[[], None] = _nothing
        self._seconds = [GRACE_SECONDS]
        self._since = 0.0

    def left(self, told: float) -> float:
        """Say how many seconds are left of it."""
        return max(told, self._since) + self._seconds[-1] - time.monotonic()

    @contextmanager
    def of(self, seconds: float, say: Callable[[], None] | None = None) -> Iterator[None]:
        """Have more of it for a while."""
        self._seconds.append(seconds)
        self.say = say or _nothing
        try:
            yield
        finally:
            self._since = time.monotonic()
            self._seconds.pop()
            self.say = _nothing


_patience = _Patience()
# Let what is put in order within take so many seconds after the first signal; a second one still ends it at once.
# Where it takes longer than people are used to, ``say`` tells them why.
patience = _patience.of


def _spoken(say: Callable[[], None]) -> None:
    """Say something, unless nobody takes it."""
    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    speaker.join(_GOODBYE_SECONDS)
