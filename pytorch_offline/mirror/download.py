"""Brings one file: does what the transfer's steps say, with a network, a disk and a clock."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from itertools import chain
from typing import TYPE_CHECKING, assert_never

from pytorch_offline.addresses import redacted
from pytorch_offline.errors import UpstreamError
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.transfer import (
    PATIENCE,
    STALLED,
    WHEEL_MAGIC,
    Complete,
    Failed,
    Head,
    Receive,
    Send,
    SetAside,
    Transfer,
    Verify,
    Wait,
)
from pytorch_offline.mirror.workers import Stopped
from pytorch_offline.retries import seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from pytorch_offline.errors import IntegrityError, PytorchOfflineError
    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.mirror.partial import PartialFile
    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.room import Room
    from pytorch_offline.mirror.workers import Stop
    from pytorch_offline.net import Http
    from pytorch_offline.retries import RetryPolicy

_WITH_BODY = frozenset({200, 206})


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that counts as giving: ``size`` bytes within ``seconds``; a body that comes slower is broken off.

    1 KiB/s over half a minute is where curl's users commonly put --speed-limit. At that rate a wheel of 200 MB would
    take two days; and what trickles to hold a client up never trips a timeout that every byte winds up again.
    """

    size: int = 30 * 1024
    seconds: float = 30.0


class Download:
    """One file's download.

    Args:
        wanted: the file.
        part: where its bytes go.
        http: the network.
        room: told what is to come and what came.
        stop: how to be stopped.
        set_aside: moves whole and wrong bytes out of the way, for inspection.
        now: the time, in UTC.
        progress: told how far it is.
        retry: patience; see ``transfer.PATIENCE``.
        chance: random numbers in [0, 1), so that many clients do not return together.
        floor: what is too slow.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        wanted: WantedFile,
        part: PartialFile,
        *,
        http: Http,
        room: Room,
        stop: Stop,
        set_aside: Callable[[IntegrityError], None],
        now: Callable[[], datetime],
        progress: Progress | None = None,
        retry: RetryPolicy = PATIENCE,
        chance: Callable[[], float] = random.random,
        floor: Floor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bytes_received = 0
        self._wanted = wanted
        self._part = part
        self._http = http
        self._room = room
        self._stop = stop
        self._set_aside = set_aside
        self._now = now
        self._progress = progress or Silent()
        self._retry = retry
        self._chance = chance
        self._floor = floor or Floor()
        self._clock = clock

    def run(self) -> Complete:
        """Bring the file.

        Returns:
            What came; the bytes are those of ``part``, and the published ones if a hash was published.

        Raises:
            UpstreamError: ``unreachable``, ``transfer-broken``, ``stalled``, ``server-error``, ``file-absent``,
                ``not-a-wheel-body``, ``encoded-body``, ``unexpected-status``, ``bad-range``, ``hosts-differ``,
                ``too-large``, ``disk-full``.
            IntegrityError: ``hash-mismatch``, ``size-mismatch``.
            Stopped: when told to.
            OSError: the disk failed.
        """
        transfer = Transfer.begin(self._wanted, self._part.resume(), retry=self._retry)
        if transfer.position > 0:  # else what is there stays until an answer takes its place
            self._part.keep(transfer.position)
        self._progress.begin(str(self._wanted.path), transfer.length, transfer.position)
        while True:
            self._stop.check()
            match transfer.step:
                case Send() as step:
                    before, transfer = transfer.trouble, self._exchange(transfer, step)
                    self._tell(before, transfer)
                case Wait() as step:
                    asked = seconds_until(step.retry_after, self._now)
                    self._stop.sleep(self._retry.wait(step.failures, chance=self._chance(), asked=asked))
                    transfer = transfer.waited()
                case Verify():
                    transfer = transfer.hashed(self._part.sha256())
                case SetAside(error=error):
                    error.facts["found at"] = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                    self._set_aside(error)
                    self._part.reopen()
                    transfer = transfer.set_aside()
                case Complete() as complete:
                    return complete
                case Failed(error=error):
                    raise error
                case Receive():
                    raise AssertionError("a body is received within its exchange")
                case _ as never:
                    assert_never(never)

    def _exchange(self, transfer: Transfer, step: Send) -> Transfer:
        """Send one request, and take what comes of it, until it ends, breaks or is refused."""
        try:
            with self._http.stream(step.url, headers=step.headers) as stream, self._stop.reaching(stream):
                pieces = stream.iter_chunks()
                first = _first_bytes(pieces) if stream.status in _WITH_BODY else b""
                transfer = transfer.answered(Head(status=stream.status, headers=stream.headers, first=first))
                if isinstance(transfer.step, Receive):
                    self._prepare(transfer, transfer.step)
                    for piece in self._fast_enough(chain((first,), pieces), step.url):
                        transfer = transfer.received(piece)
                        if not isinstance(transfer.step, Receive):
                            break
                        self._take(transfer, piece)
                        self._stop.check()
                    else:
                        transfer = transfer.ended()
        except UpstreamError as error:
            if error.code == "disk-full":
                raise
            transfer = transfer.broke(error)
        except (OSError, Stopped):
            with suppress(OSError):
                self._save(transfer)
            raise
        self._save(transfer)
        return transfer

    def _fast_enough(self, pieces: Iterable[bytes], url: str) -> Iterator[bytes]:
        """Pass pieces on; break off where what comes falls under the floor."""
        since, came = self._clock(), 0
        for piece in pieces:
            yield piece
            came += len(piece)
            if came >= self._floor.size:
                since, came = self._clock(), 0
            elif self._clock() - since >= self._floor.seconds:
                raise UpstreamError(
                    STALLED,
                    f"{redacted(url)} gave {came} bytes in {self._floor.seconds:g} seconds",
                    facts={"url": redacted(url)},
                )

    def _tell(self, before: PytorchOfflineError | None, transfer: Transfer) -> None:
        """Say what went wrong, unless that is told anyway because it was the end."""
        trouble = transfer.trouble
        if trouble is not None and trouble is not before and not isinstance(transfer.step, Failed):
            self._progress.say(f"{trouble.message}; trying again")

    def _save(self, transfer: Transfer) -> None:
        """Make safe what came, unless the transfer has given it up, or has all: admission is about to sync it."""
        if transfer.position >= self._part.size > 0 and not isinstance(transfer.step, Verify):
            self._part.save(transfer.partial)

    def _prepare(self, transfer: Transfer, step: Receive) -> None:
        if step.start == 0 and self._part.size > 0:
            self._progress.say(f"{self._wanted.name.filename} starts again from its first byte")
        if step.start == 0:
            self._part.empty()
        if transfer.length is not None:
            self._room.learn(self._wanted.path, transfer.length - step.start)

    def _take(self, transfer: Transfer, piece: bytes) -> None:
        self._part.write(piece)
        self._part.save_now_and_then(transfer.partial)
        self.bytes_received += len(piece)
        self._room.took(self._wanted.path, len(piece))
        self._progress.advance(str(self._wanted.path), transfer.position, transfer.length)


def _first_bytes(pieces: Iterator[bytes]) -> bytes:
    """Take as many pieces as it needs to see what a body is."""
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= len(WHEEL_MAGIC):
            break
    return first
