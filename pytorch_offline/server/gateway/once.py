"""One piece of work for all who wait for the same thing."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


class Once(Generic[_Key, _Result]):
    """Work under way, by what it is about. Who stops waiting does not stop it."""

    def __init__(self) -> None:
        self._under_way: dict[_Key, asyncio.Future[_Result]] = {}

    async def get(self, key: _Key, work: Callable[[], Coroutine[object, object, _Result]]) -> _Result:
        """Wait for the work that is under way, beginning it if none is; raises what that raises."""
        doing = self._under_way.get(key)
        if doing is None:
            doing = asyncio.ensure_future(work())
            doing.add_done_callback(partial(self._done, key))
            self._under_way[key] = doing
        return await asyncio.shield(doing)

    def _done(self, key: _Key, doing: asyncio.Future[_Result]) -> None:
        del self._under_way[key]
        if not doing.cancelled():
            doing.exception()  # whoever waited may have gone
