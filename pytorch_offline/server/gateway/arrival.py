"""A wheel on its way: what of it may be given to clients, and giving it.

Theory of operation. The download's thread tells how many bytes from the file's start are in hand, and only those are
given: what several connections brought ahead of a gap waits. The last bytes are given once the file is proved, by the
published hash where there is one, and by the gate of the mirror: without them no zip can be opened, so that nobody can
mistake an unproved wheel for a sound one. Where the download has to begin again, what clients were given is void, and
whoever was given any of it is told so by the end of its transfer.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.errors import PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.served_as import WHEEL_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from pytorch_offline.server.gateway.threads import Threads

# A zip's end-of-central-directory record lies in its last 65,557 bytes (APPNOTE.TXT, section 4.3.16).
LAST = 64 * 1024 + 22
# The gate reads the largest wheels for half a minute, and pip waits no more than 15 seconds for the next bytes. So more
# is held back than the last bytes, and a little of it given now and then while all is in hand: it lasts ten minutes.
HELD_BACK = 256 * 1024
_BEAT = 1024
_BEAT_SECONDS = 4.0
# What one client is given at a time, and what all clients of one file have in hand together.
_PIECE = 512 * 1024
_ALL_PIECES = 16 * 1024 * 1024
_LEAST_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a file has come.

    Args:
        position: how many bytes from the start are in hand.
        length: how long the file is; None while nobody knows.
        attempt: counts how often the bytes in hand were given up.
        proved: whether all of it may be given.
        place: where it lies in the mirror, once it does.
        error: why it will not come.
    """

    position: int = 0
    length: int | None = None
    attempt: int = 0
    proved: bool = False
    place: Path | None = None
    error: PytorchOfflineError | None = None

    def given_up_to(self, beats: int = 0) -> int:
        """Say before which byte a client may be given everything that has waited so often for the gate."""
        if self.length is None:
            return 0
        if self.proved:
            return self.length
        told = beats * _BEAT if self.position == self.length else 0
        return max(0, min(self.position, self.length - HELD_BACK + min(told, HELD_BACK - LAST)))

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.place is not None or self.error is not None

    def watched(self, position: int, length: int | None) -> Standing:
        """Take note of what the download says; fewer bytes than before means that those were given up."""
        void = position < self.position
        return replace(self, position=position, length=length, attempt=self.attempt + void)


class Arrival:
    """A wheel on its way; its download's thread changes it, coroutines of one loop follow it.

    Args:
        part: where the bytes lie meanwhile.
        etag: strong and quoted; None where no hash was published.
        threads: to read the disk in.
    """

    def __init__(self, part: Path, *, etag: str | None, threads: Threads) -> None:
        self.etag = etag
        self.followers = 0  # coroutines that wait for it, or give it to a client
        self.standing = Standing()
        self._part = part
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waking = False
        self._waiting: list[asyncio.Future[None]] = []

    # For the download's thread.

    def watched(self, position: int, length: int | None) -> None:
        """Take note of how far it is."""
        with self._lock:
            self._change(self.standing.watched(position, length))

    def proved(self, length: int) -> None:
        """Let all of it be given."""
        with self._lock:
            self._change(replace(self.standing, position=length, length=length, proved=True))

    def arrived(self, place: Path, length: int) -> None:
        """Take note of where it lies now, proved."""
        with self._lock:
            self._change(replace(self.standing, position=length, length=length, proved=True, place=place))

    def failed(self, error: PytorchOfflineError) -> None:
        """Tell everybody that it will not come."""
        with self._lock:
            self._change(replace(self.standing, error=error))

    def _change(self, standing: Standing) -> None:
        self.standing = standing
        if not self._waking:
            self._waking = True
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._wake)

    # For coroutines.

    def _wake(self) -> None:
        with self._lock:
            self._waking = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self, seen: Standing) -> Standing:
        """Wait until it is not what was seen; say what it is."""
        while self.standing is seen:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(future)
            await future
        return self.standing

    async def begun(self) -> Sending:
        """Wait until its length is known.

        Raises:
            PytorchOfflineError: it will not come.
        """
        self.followers += 1
        try:
            standing = self.standing
            while standing.length is None:
                if standing.error is not None:
                    raise standing.error
                standing = await self.changed(standing)
            return Sending(self, standing.length)
        finally:
            self.followers -= 1

    async def over(self) -> Standing:
        """Wait until it lies in the mirror, or will not come."""
        self.followers += 1
        try:
            standing = self.standing
            while not standing.is_over:
                standing = await self.changed(standing)
            return standing
        finally:
            self.followers -= 1

    def at_once(self) -> Sending | None:
        """Give it as it is, if that can be without waiting."""
        standing = self.standing
        if standing.error is not None or standing.length is None:
            return None
        return Sending(self, standing.length)

    async def read(self, start: int, stop: int, to: Sending) -> AsyncGenerator[bytes]:
        """Give bytes as they come; see ``GrowingFile``."""
        self.followers += 1
        stream: BinaryIO | None = None
        beats = 0
        try:
            while start < stop:
                standing = self.standing
                if standing.error is not None and not standing.proved:
                    raise standing.error
                if standing.length not in {None, to.size} or to.attempt not in {None, standing.attempt}:
                    raise _restarted()
                ready = min(stop, standing.given_up_to(beats)) - start
                if ready > 0 and stream is None:
                    stream = self._opened(standing)
                if ready <= 0 or stream is None:
                    beats += not await self._changed_soon(standing)
                    continue
                to.attempt = standing.attempt
                piece = await self._threads.read(partial(_read_at, stream, start, min(ready, self._piece())))
                # What was read counts only if it was not given up meanwhile.
                if not piece or self.standing.attempt != to.attempt:
                    raise self.standing.error or _restarted()
                start += len(piece)
                yield piece
        finally:
            self.followers -= 1
            if stream is not None:
                stream.close()

    async def _changed_soon(self, seen: Standing) -> bool:
        try:
            await asyncio.wait_for(self.changed(seen), _BEAT_SECONDS)
        except TimeoutError:
            return False
        return True

    def _opened(self, standing: Standing) -> BinaryIO | None:
        """Open the file where it is; None if it is just being moved."""
        if standing.place is not None:
            try:
                return standing.place.open("rb", buffering=0)
            except OSError as error:
                raise UpstreamError("file-absent", f"{standing.place.name} has just been removed") from error
        try:
            return self._part.open("rb", buffering=0)
        except OSError:
            return None

    def _piece(self) -> int:
        return max(_LEAST_PIECE, min(_PIECE, _ALL_PIECES // max(1, self.followers)))


class Sending:
    """A wheel on its way to one client, of the length that it was told: a ``GrowingFile``.

    All that it is given comes from one ``attempt``, several parts of the file too.
    """

    content_type = WHEEL_TYPE

    def __init__(self, arrival: Arrival, size: int) -> None:
        self.size = size
        self.attempt: int | None = None
        self._arrival = arrival

    @property
    def etag(self) -> str | None:
        """Strong and quoted, where upstream published the sha256."""
        return self._arrival.etag

    def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Give the bytes from ``start`` to before ``stop``, waiting for those that have not come yet.

        Raises:
            PytorchOfflineError: the file will not come, or had to begin again.
        """
        return self._arrival.read(start, stop, self)


def _read_at(stream: BinaryIO, start: int, count: int) -> bytes:
    stream.seek(start)
    return stream.read(count)


def _restarted() -> UpstreamError:
    return UpstreamError("transfer-restarted", "the file had to begin again from its first byte: ask for it again")
