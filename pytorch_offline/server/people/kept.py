"""What the page tells of what is held, kept ready: made in a thread of its own, never while somebody waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import LOCKS
from pytorch_offline.server.people.page import Holdings, take_stock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.server.snapshot import Snapshot

# How often it is looked whether another generation is served.
_LOOK_SECONDS = 1.0


class KeptHoldings:
    """What a mirror holds, as the page tells it; made anew for each generation.

    Args:
        root: the mirror's directory.
        snapshot: gives the generation that is served; another object for each.
    """

    def __init__(self, root: Path, snapshot: Callable[[], Snapshot]) -> None:
        self._root = root
        self._snapshot = snapshot
        self._of: Snapshot | None = None
        self._holdings = take_stock((), ())

    @property
    def current(self) -> Holdings:
        """What was held a moment ago."""
        return self._holdings

    def refresh(self) -> None:
        """Take stock, if another generation is served by now."""
        snapshot = self._snapshot()
        if snapshot is not self._of:
            self._holdings = take_stock(snapshot.files.values(), self._locks())
            self._of = snapshot

    async def follow(self) -> None:
        """Refresh, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._snapshot() is not self._of:
                await asyncio.to_thread(self.refresh)

    def _locks(self) -> list[str]:
        try:
            return [path.name for path in (self._root / LOCKS).iterdir()]
        except OSError:
            return []
