"""Threads that do many things at once and can all be stopped at once, those that wait for the network too."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Whoever interrupts gets the prompt back within a second, and there are things to be said after this.
_GRACE_SECONDS = 0.5

_Item = TypeVar("_Item")


class Abortable(Protocol):
    """Something that waits, and that another thread can make stop waiting; a ``net.Stream`` is one."""

    def abort(self) -> None:
        """Make it stop waiting."""


class Stopped(Exception):  # noqa: N818  (no error: somebody asked for it)
    """The work was told to stop; what had been done is safe."""


class Stop:
    """Tells many threads to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[int, Abortable] = {}  # by identity: a value may have no hash

    @property
    def is_set(self) -> bool:
        """Whether everybody should stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell everybody to stop."""
        self._event.set()
        with self._lock:
            for waiting in self._waiting.values():
                waiting.abort()

    def check(self) -> None:
        """Raise ``Stopped`` if told to stop."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise ``Stopped`` as soon as told to stop."""
        if self._event.wait(seconds):
            raise Stopped

    @contextmanager
    def reaching(self, waiting: Abortable) -> Iterator[None]:
        """Let ``set`` abort something."""
        with self._lock:
            self._waiting[id(waiting)] = waiting
        try:
            self.check()  # it may have been set just before
            yield
        finally:
            with self._lock:
                del self._waiting[id(waiting)]


def for_each(items: Iterable[_Item], work: Callable[[_Item], None], *, jobs: int, stop: Stop) -> None:
    """Do something with each item, in order, in several threads; ``stop`` all of them on an interrupt.

    The threads are daemons: one that waits for a host to answer cannot be stopped, has nothing that could be lost, and
    must not keep the process alive. What ``work`` raises, but ``Stopped``, stops the others and is raised here.
    """
    crew = _Crew(items, work, stop)
    threads = [threading.Thread(target=crew.run, daemon=True) for _ in range(min(jobs, len(crew.queue)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # without a timeout, Windows would not see an interrupt
    except BaseException:
        stop.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, deadline - time.monotonic()))
        raise
    if crew.failure is not None:
        raise crew.failure


class _Crew:
    """What the threads of one ``for_each`` share."""

    def __init__(self, items: Iterable[_Item], work: Callable[[_Item], None], stop: Stop) -> None:
        self.queue = deque(items)
        self.failure: BaseException | None = None
        self._work = work
        self._stop = stop

    def run(self) -> None:
        """Work until nothing is left, or told to stop."""
        while not self._stop.is_set:
            try:
                item = self.queue.popleft()
            except IndexError:
                return
            try:
                self._work(item)
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
                self.failure = error
                self._stop.set()
