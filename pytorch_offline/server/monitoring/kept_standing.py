"""Keeps what is known of a mirror fresh beside the serving: no request waits for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytorch_offline.mirror.stocktaking import Stocktaker
from pytorch_offline.server.monitoring.health import Serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.tree.following import FollowedMirror

# How old it may become; and how soon a new generation is noticed.
SECONDS = 60.0
_LOOK_SECONDS = 1.0


class KeptStanding:
    """How the mirror stands that is served.

    Args:
        root: the mirror's directory.
        mirror: what is served of it.
        clock: the time in UTC.
    """

    def __init__(
        self, root: Path, mirror: FollowedMirror, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._mirror = mirror
        self._clock = clock
        self._stocktaker = Stocktaker(root)
        self._seen: object = None
        self._since = clock()
        self._current: Standing | None = None

    @property
    def current(self) -> Standing | None:
        """How it stands; None until that was found out for the first time."""
        return self._current

    @property
    def serving(self) -> Serving:
        """What is served now."""
        return Serving(
            since=self._since,
            files=len(self._mirror.snapshot.files),
            trouble=self._mirror.trouble,
        )

    async def renew(self) -> None:
        """Find out anew."""
        snapshot = self._mirror.snapshot
        if snapshot is not self._seen:
            self._seen, self._since = snapshot, self._clock()
        files = {file.path: file for file in snapshot.files.values()}
        self._current = await asyncio.to_thread(self._stocktaker.take, files, now=self._clock())

    async def follow(self) -> None:
        """Keep it fresh, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due or self._mirror.snapshot is not self._seen:
                await self.renew()
                due = loop.time() + SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
