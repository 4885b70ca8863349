"""Threads in which one thing is done after another, and the memory that it took is given back.

More threads would do what only computes no faster, and glibc's malloc keeps for each what it once needed: a mirror of
50,000 files that is read by a different thread each time grows by 30 MB each time.
"""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class OneThread:
    """A thread that starts with its first work.

    Args:
        name: for whoever looks at the process.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """Have something done, after what others wait for."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def soon(self, work: Callable[[], object]) -> None:
        """Have something done that nobody waits for."""
        self._executor.submit(work)


# Pages for clients who wait: not behind a generation that is being read, which takes seconds where there are 50,000
# files, and not in the threads in which files are opened for others.
RENDERING = OneThread("rendering")
READING = OneThread("reading")


def give_memory_back() -> None:
    """Return to the system what malloc keeps for later, where there is a malloc that can: a few milliseconds' work."""
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no CDLL(None)
        ctypes.CDLL(None).malloc_trim(0)
