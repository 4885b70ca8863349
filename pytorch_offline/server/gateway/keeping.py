"""What a gateway does beside answering: publishes what came, removes what is asked for least, notes uses."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.pruning import evict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.mirror.uses import Uses
    from pytorch_offline.server.gateway.figures import Figures
    from pytorch_offline.server.gateway.threads import Threads

# A closure's wheels come within a few seconds of each other: they are published together. Publishing renders every
# page of the mirror, so that of a large one it is done less often.
QUIET_SECONDS = 2.0
_SHARE_OF_TIME = 0.05
# How often uses are written down.
SAVE_SECONDS = 60.0
_AGAIN_SECONDS = 5.0


class Keeping:
    """Keeps a gateway's mirror in order, in the background.

    Args:
        mirror: the mirror.
        threads: to work in.
        uses: when files were last asked for.
        figures: what is counted.
        max_size: bytes that the mirror may have; None for as many as come.
        in_use: gives the places of files that must stay.
        gone: told, from a thread, which files were removed.
        say: told in one sentence what administrators should know.
        now: the time, in UTC.
    """

    def __init__(
        self,
        mirror: Mirror,
        *,
        threads: Threads,
        uses: Uses,
        figures: Figures,
        max_size: int | None,
        in_use: Callable[[], Collection[PurePosixPath]],
        gone: Callable[[Collection[PurePosixPath]], None],
        say: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._mirror = mirror
        self._threads = threads
        self._uses = uses
        self._figures = figures
        self._max_size = max_size
        self._in_use = in_use
        self._gone = gone
        self._say = say
        self._now = now
        self._something = asyncio.Event()
        self._came = False
        self._used = False

    def came(self) -> None:
        """Note that the mirror holds something that is not published yet."""
        self._came = True
        self._something.set()

    def used(self, path: PurePosixPath) -> None:
        """Note that a file was asked for."""
        self._uses.touch(path, self._now())
        self._used = True

    async def keep(self) -> None:
        """Do what is to be done, until cancelled."""
        pause, saved = QUIET_SECONDS, time.monotonic()
        while True:
            try:
                await asyncio.wait_for(self._something.wait(), SAVE_SECONDS)
                await asyncio.sleep(pause)
            except TimeoutError:
                pass
            self._something.clear()
            began = time.monotonic()
            done = await self._threads.run(self.publish)
            pause = max(QUIET_SECONDS if done else _AGAIN_SECONDS, (time.monotonic() - began) / _SHARE_OF_TIME)
            if not done:
                self._something.set()
            if self._max_size is not None:
                await self._threads.run(self.shrink)
            if time.monotonic() - saved >= SAVE_SECONDS and self._used:
                self._used, saved = False, time.monotonic()
                await self._threads.run(self._uses.save)

    async def finish(self) -> None:
        """Publish what came, and write down what was used."""
        await self._threads.run(self.publish)
        if self._used:
            await self._threads.run(self._uses.save)

    def publish(self) -> bool:
        """Publish what came; say whether that is done. For a thread."""
        if not self._came:
            return True
        self._came = False
        try:
            self._mirror.publish(now=self._now)
        except PytorchOfflineError as error:
            self._came = True
            if error.code != "mirror-busy":
                self._say(f"what came could not be published: {error.message} ({error.code})")
            return False
        return True

    def shrink(self) -> None:
        """Keep to the size. For a thread."""
        if self._max_size is None:
            return
        try:
            if self._size() > self._max_size:
                self.evict(self._max_size)
        except PytorchOfflineError as error:
            if error.code != "mirror-busy":
                self._say(f"the mirror could not be kept to its size: {error.message} ({error.code})")

    def make_room(self, wanted: int) -> bool:
        """Remove what is asked for least, after a disk turned out to be full; say whether anything went.

        Only where a size was given: without one a gateway never removes anything.
        """
        if self._max_size is None:
            return False
        try:
            return self.evict(max(0, min(self._max_size, self._size()) - wanted)) > 0
        except PytorchOfflineError as error:
            self._say(f"no room could be made: {error.message} ({error.code})")
            return False

    def evict(self, max_size: int) -> int:
        """Remove what is asked for least until the mirror has this size; say how many files went."""
        if self._used:
            self._used = False
            self._uses.save()
        pruning = evict(self._mirror, max_size=max_size, spared=self._in_use(), now=self._now)
        self._gone(pruning.paths)
        self._figures.evictions += len(pruning.paths)
        self._figures.evicted_bytes += pruning.bytes_freed
        if pruning.paths:
            self._say(f"{len(pruning.paths)} wheels that were asked for least have been removed")
        return len(pruning.paths)

    def _size(self) -> int:
        return sum({row.sha256: row.size for row in self._mirror.read_files().values()}.values())
