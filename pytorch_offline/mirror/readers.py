"""Threads that read answers, several for one file: all they do is to put what they read before the file's own thread.

A reader shares nothing with the others but the table where its pieces wait, so that the thread that takes them from
there is the only one that knows what they mean, writes them, and counts. It lets a reader go at any moment: from then
on nothing of it is ever taken again.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pytorch_offline.mirror.workers import Abortable

# Pieces of at most 1 MiB that may wait to be written; a reader waits with the next one in its hand.
_BACKLOG = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """The next bytes that reader ``number`` has been given."""

    number: int
    piece: bytes | bytearray


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The last that is heard of reader ``number``: its answer ended, as its framing said or with an error."""

    number: int
    error: BaseException | None


class Pool:
    """Threads that are used again, with the connections that they keep alive; as many as were ever busy at once.

    Daemons, as nothing can call back one that waits for a host to answer, and it has nothing that could be lost.
    """

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._idle = 0
        self._closed = False

    def do(self, job: Callable[[], Callable[[], None]]) -> None:
        """Do a job soon, and what it gives back when its thread is free for the next."""
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Let the threads end when their jobs do."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        then: Callable[[], None] | None = None
        while True:
            with self._changed:
                self._idle += 1
            if then is not None:
                then()
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            then = job()


class Readers:
    """The readers of one file, known by numbers that are never used again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._changed = threading.Condition()
        self._table: deque[Came | Over] = deque()
        self._reading: dict[int, Abortable | None] = {}  # whom we want to hear of, and how to stop the waiting

    def start(self, number: int, answer: AbstractContextManager[Iterator[bytearray]]) -> None:
        """Let a thread enter ``answer`` and read it to its end; what that raises comes with ``Over``."""
        with self._changed:
            self._reading[number] = None
        self._pool.do(lambda: self._read(number, answer))

    def reached(self, number: int, stream: Abortable) -> bool:
        """Note what reader ``number`` waits for; say whether anybody still wants to hear of it."""
        with self._changed:
            if number not in self._reading:
                return False
            self._reading[number] = stream
            return True

    def take(self, seconds: float) -> Came | Over | None:
        """Take what comes next, of any reader; None if nothing does for so many seconds."""
        with self._changed:
            if not self._table:
                self._changed.wait(seconds)
            if not self._table:
                return None
            event = self._table.popleft()
            self._changed.notify_all()
            return event

    def let_go(self, number: int) -> None:
        """Hear no more of a reader; what waits of it is void."""
        with self._changed:
            stream = self._reading.pop(number, None)
            self._table = deque(event for event in self._table if event.number != number)
            self._changed.notify_all()
        if stream is not None:
            stream.abort()

    def let_all_go(self) -> None:
        """Hear no more of anybody."""
        for number in tuple(self._reading):
            self.let_go(number)

    def _read(self, number: int, answer: AbstractContextManager[Iterator[bytearray]]) -> Callable[[], None]:
        error: BaseException | None = None
        try:
            with answer as pieces:
                for piece in pieces:
                    if not self._put(number, piece):
                        break
        except BaseException as raised:  # noqa: BLE001  (it is for the thread that takes from the table)
            error = raised
        return lambda: self._end(number, error)

    def _put(self, number: int, piece: bytearray) -> bool:
        """Put a piece on the table as soon as there is room; say whether anybody still wants to hear of the reader."""
        with self._changed:
            while number in self._reading and len(self._table) >= _BACKLOG:
                self._changed.wait()
            if number not in self._reading:
                return False
            self._table.append(Came(number=number, piece=piece))
            self._changed.notify_all()
            return True

    def _end(self, number: int, error: BaseException | None) -> None:
        with self._changed:
            if number in self._reading:
                del self._reading[number]
                self._table.append(Over(number=number, error=error))
                self._changed.notify_all()
