"""Blocking work for coroutines: downloads, readings of pages, the disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pytorch_offline.mirror.readers import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


# More would not make a disk faster; a thousand clients of one file must not cost a thousand threads.
_READERS = 8


class Threads:
    """Threads that are used again, as many as are busy at once. Daemons: a host that is silent holds up no exit."""

    def __init__(self) -> None:
        self._pool = Pool()
        self._readers = asyncio.Semaphore(_READERS)

    async def read(self, work: Callable[[], _Result]) -> _Result:
        """Do a short work on the disk, of which few are done at once."""
        async with self._readers:
            return await self.run(work)

    def run(self, work: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Do some work in a thread; who stops waiting for it does not stop it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()

        def give(result: _Result) -> None:
            if not future.done():
                future.set_result(result)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def job() -> Callable[[], None]:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
                return lambda failure=error: _called(loop, lambda: fail(failure))  # type: ignore[misc]
            return lambda: _called(loop, lambda: give(result))

        self._pool.do(job)
        return future

    def close(self) -> None:
        """Let the threads end when their work does."""
        self._pool.close()


def _called(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Do something in the loop, if that still runs."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)
