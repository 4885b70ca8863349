"""Threads that wait for the network side by side.

None is started, and nothing that threads need is imported, before there is something to wait for: where all is known,
that would be most of the work.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future, ThreadPoolExecutor

_Given = ParamSpec("_Given")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SideBySide:
    """At most so many threads; close it when nothing more is wanted of them."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Let end what runs, and begin nothing of what waits."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def begin(
        self, function: Callable[_Given, _Result], *arguments: _Given.args, **options: _Given.kwargs
    ) -> Future[_Result]:
        """Begin a call."""
        return self._opened().submit(function, *arguments, **options)

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Call a function with each of these; the first error is raised."""
        return list(self._opened().map(function, items))

    def _opened(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (see above; it brings logging along)

                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            return self._pool
