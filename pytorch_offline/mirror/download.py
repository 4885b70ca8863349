"""Brings one file: does what the transfer's steps say, with a network, a disk and a clock."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, assert_never

from pytorch_offline.addresses import host_of, origin, redacted
from pytorch_offline.byte_ranges import complete_length
from pytorch_offline.disk_errors import DISK_CODES
from pytorch_offline.errors import UpstreamError
from pytorch_offline.mirror.flow import Connections, Flow, Gauge, Meter
from pytorch_offline.mirror.parallel import WORTH_SECONDS, Parallel, Source
from pytorch_offline.mirror.progress import Doing, Silent
from pytorch_offline.mirror.readers import Pool
from pytorch_offline.mirror.spans import WORTH_HELPING, Plan
from pytorch_offline.mirror.transfer import (
    PATIENCE,
    STALLED,
    WHEEL_MAGIC,
    WORTHWHILE,
    Complete,
    Failed,
    Head,
    Receive,
    Send,
    SetAside,
    Transfer,
    Verify,
    Wait,
    is_compressed,
)
from pytorch_offline.mirror.workers import Stopped
from pytorch_offline.moments import spell_moment
from pytorch_offline.retries import seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from pytorch_offline.errors import IntegrityError, PytorchOfflineError
    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.mirror.partial import PartialFile
    from pytorch_offline.mirror.probe import Probe
    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.room import Room
    from pytorch_offline.mirror.workers import Stop
    from pytorch_offline.net import Http, Stream
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
        flow: what all downloads of a run share; by default one connection, and no limit.
        chance: random numbers in [0, 1), so that many clients do not return together.
        floor: what is too slow.
        clock: seconds that only go forward.
        watched: told how many bytes from the file's start are in hand, and how long it is as far as that is known,
            after each change; of bytes that are about to be given up it is told before they are.
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
        flow: Flow | None = None,
        chance: Callable[[], float] = random.random,
        floor: Floor | None = None,
        clock: Callable[[], float] = time.monotonic,
        watched: Callable[[int, int | None], None] = lambda _position, _length: None,
    ) -> None:
        self.bytes_received = 0
        self.troubles = 0  # how often something went wrong and was tried again
        self._label = str(wanted.path)
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
        self._watched = watched
        self._flow = flow or Flow(connections=Connections(1), meter=Meter(), pool=Pool())

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
        partial = self._part.resume()
        wanted = replace(self._wanted, urls=self._flow.hosts.in_order(self._wanted.urls))
        transfer = Transfer.begin(wanted, partial, retry=self._retry)
        if partial is not None and transfer.position > 0:  # else what is there stays until an answer takes its place
            self._part.keep(transfer.position, partial.end)
            self._watched(transfer.position, transfer.length)
        self._progress.begin(self._label, transfer.length, transfer.in_hand)
        while True:
            self._stop.check()
            match transfer.step:
                case Send() as step:
                    transfer = self._bring_more(transfer, step)
                case Wait() as step:
                    asked = seconds_until(step.retry_after, self._now)
                    seconds = self._retry.wait(step.failures, chance=self._chance(), asked=asked)
                    reason = _in_short(transfer.trouble)
                    self._progress.doing(self._label, Doing.WAITING, seconds=seconds, reason=reason)
                    self._stop.sleep(seconds)
                    transfer = transfer.waited()
                case Verify():
                    self._progress.doing(self._label, Doing.HASHING)
                    transfer = self._hash(transfer)
                case SetAside(error=error):
                    error.facts["found at"] = spell_moment(self._now())
                    self._watched(0, None)
                    self._set_aside(error)
                    self._part.reopen()
                    self._progress.advance(self._label, 0, self._wanted.size)
                    before, transfer = transfer, transfer.set_aside()
                    self._tell(before, transfer)
                case Complete() as complete:
                    return complete
                case Failed(error=error):
                    raise error
                case Receive():
                    raise AssertionError("a body is received within its exchange")
                case _ as never:
                    assert_never(never)

    def _hash(self, transfer: Transfer) -> Transfer:
        """Compare the hash of what came."""
        hashed = transfer.hashed(self._part.sha256())
        if hashed.restarted and not transfer.restarted:
            name = self._wanted.name.filename
            self._progress.say(f"the parts of {name} have not its hash together: once more, in one piece")
        return hashed

    def _bring_more(self, transfer: Transfer, step: Send) -> Transfer:
        """Send one request, and take what comes of it, until it ends, breaks or is refused."""
        before = transfer
        self._progress.doing(self._label, Doing.ASKING, host=host_of(step.url))
        try:
            with ExitStack() as answer:
                answer.enter_context(self._flow.connections.first(origin(step.url), self._part.path, self._stop))
                stream = answer.enter_context(self._http.stream(step.url, headers=step.headers))
                answer.enter_context(self._stop.reaching(stream))
                pieces = stream.iter_chunks()
                readable = stream.status in _WITH_BODY and not is_compressed(stream.headers)
                first = _first_bytes(pieces) if readable else bytearray()
                transfer = transfer.answered(Head(status=stream.status, headers=stream.headers, first=bytes(first)))
                if isinstance(transfer.step, Receive):
                    self._prepare(transfer, transfer.step)
                    self._progress.doing(self._label, Doing.RECEIVING, host=host_of(step.url))
                    pieces = self._fast_enough(chain((first,), pieces), step.url)
                    transfer = self._receive(transfer, stream, pieces, answer)
        except UpstreamError as error:
            if error.code in DISK_CODES:
                raise
            transfer = transfer.broke(error)
        self._save(transfer)
        self._learn(before, transfer, step.url)
        self._tell(before, transfer)
        return transfer

    def _receive(self, transfer: Transfer, stream: Stream, pieces: Iterator[bytearray], answer: ExitStack) -> Transfer:
        """Take a body, until it is over, breaks, or comes to what is in hand already; ``answer`` keeps it open."""
        source = _source(transfer, stream)
        probe = self._flow.probe(origin(transfer.urls[0]))
        gauge = Gauge(self._flow.meter, clock=self._clock)
        try:
            for piece in pieces:
                wanted = piece[: transfer.gap] if transfer.ahead else piece
                following = transfer.received(wanted)
                if not isinstance(following.step, Receive):
                    return following
                self._part.write(wanted)
                transfer = following.met()
                self._part.grow(transfer.position)
                self._count(transfer, len(wanted))
                self._stop.sleep(self._flow.meter.took(len(wanted)))
                if not isinstance(transfer.step, Receive):
                    return transfer
                rate = gauge.rate()
                if rate is not None:
                    probe = self._flow.measured(origin(transfer.urls[0]), probe, rate)
                if source is not None and probe.wanted > 1 and _worth_helping(transfer, rate):
                    first = _handed_over(answer.pop_all(), pieces)
                    return self._receive_in_parallel(transfer, source, probe, first, stream)
        except UpstreamError as error:
            if error.code in DISK_CODES:
                raise
            return transfer.broke(error)
        except (OSError, Stopped):
            self._save_if_possible(transfer)
            raise
        return transfer.ended()

    def _receive_in_parallel(
        self,
        transfer: Transfer,
        source: Source,
        probe: Probe,
        first: AbstractContextManager[Iterator[bytearray]],
        stream: Stream,
    ) -> Transfer:
        """Take the rest of a body, and with it what further connections bring."""

        def held() -> Transfer:
            return transfer.holding(parallel.plan.prefix, parallel.plan.ahead)

        parallel = Parallel(
            Plan(length=source.length, prefix=transfer.position, ahead=transfer.ahead),
            probe,
            source,
            part=self._part,
            http=self._http,
            flow=self._flow,
            stop=self._stop,
            wrote=lambda size: self._count(held(), size),
            fast_enough=self._fast_enough,
            clock=self._clock,
            proven=stream.status == HTTPStatus.PARTIAL_CONTENT,
        )
        try:
            error = parallel.bring(first, stream)
        except (OSError, Stopped):
            self._save_if_possible(held())
            raise
        self._flow.learn(origin(source.url), parallel.probe)
        return held().ended() if error is None else held().broke(error)

    def _learn(self, before: Transfer, transfer: Transfer, url: str) -> None:
        """Let the other downloads know whether a host is in order."""
        if transfer.in_hand - before.in_hand >= WORTHWHILE or isinstance(transfer.step, Verify):
            self._flow.hosts.gave(url)
        if transfer.trouble is not None and transfer.trouble is not before.trouble:
            self._flow.hosts.failed(url, transfer.trouble.code)

    def _fast_enough(self, pieces: Iterator[bytearray], url: str) -> Iterator[bytearray]:
        """Pass pieces on; break off where what comes falls under the floor. Only waiting for the server counts."""
        waited, came = 0.0, 0
        while True:
            since = self._clock()
            try:
                piece = next(pieces)
            except StopIteration:
                return
            waited += self._clock() - since
            yield piece
            came += len(piece)
            if came >= self._floor.size:
                waited, came = 0.0, 0
            elif waited >= self._floor.seconds:
                raise UpstreamError(
                    STALLED,
                    f"{redacted(url)} gave {came} bytes in {self._floor.seconds:g} seconds",
                    facts={"url": redacted(url)},
                )

    def _tell(self, before: Transfer, transfer: Transfer) -> None:
        """Say what went wrong, unless that is told anyway because it was the end."""
        trouble = transfer.trouble
        if trouble is not None and trouble is not before.trouble and not isinstance(transfer.step, Failed):
            host = host_of(transfer.urls[0])
            self.troubles += 1
            other = host != host_of(before.urls[0])
            self._progress.say(f"{trouble.message}; trying {f'{host} instead' if other else 'again'}")

    def _save(self, transfer: Transfer) -> None:
        """Make safe what came, unless the transfer has given it up, or has all: admission is about to sync it."""
        if transfer.position > 0 and self._part.size > 0 and not isinstance(transfer.step, Verify):
            self._part.save(transfer.partial)

    def _save_if_possible(self, transfer: Transfer) -> None:
        """Make safe what came, because it ends here; the disk may be why it does."""
        with suppress(OSError):
            self._save(transfer)

    def _prepare(self, transfer: Transfer, step: Receive) -> None:
        if step.start == 0 and self._part.size > 0:
            self._progress.say(f"{self._wanted.name.filename} starts again from its first byte")
        if step.start == 0:
            self._watched(0, None)
            self._part.empty()
        if transfer.length is not None:
            self._room.learn(self._wanted.path, transfer.length - transfer.in_hand)
        self._watched(transfer.position, transfer.length)

    def _count(self, transfer: Transfer, size: int) -> None:
        """Tell everybody of bytes that are written; now and then, make safe what came."""
        self.bytes_received += size
        self._room.took(self._wanted.path, size)
        self._watched(transfer.position, transfer.length)
        self._progress.advance(self._label, transfer.in_hand, transfer.length if transfer.ahead else self._wanted.size)
        self._part.save_now_and_then(transfer.partial)
        self._stop.check()


def _in_short(trouble: PytorchOfflineError | None) -> str | None:
    """Say in a few words what went wrong: ``503 from host``, ``stalled``."""
    if trouble is None:
        return None
    url = trouble.facts.get("url")
    what = f"{trouble.facts['status']} from" if "status" in trouble.facts else f"{trouble.code.replace('-', ' ')},"
    return f"{what} {host_of(url)}" if isinstance(url, str) else what.rstrip(",")


def _source(transfer: Transfer, stream: Stream) -> Source | None:
    """Say what further connections may ask for: nothing where the length is only a guess, or no seam is guarded."""
    if transfer.length is None or transfer.restarted or complete_length(stream.status, stream.headers) is None:
        return None
    source = Source(
        url=transfer.urls[0],
        length=transfer.length,
        validator=transfer.validator,
        published=transfer.sha256 is not None,
    )
    return source if source.guarded else None


def _worth_helping(transfer: Transfer, rate: float | None) -> bool:
    """Say whether there is so much to come that more connections pay; ``rate`` is what one brings, if that is known."""
    missing = (transfer.length or 0) - transfer.in_hand
    return missing >= WORTH_HELPING and (rate is None or missing >= WORTH_SECONDS * rate)


@contextmanager
def _handed_over(answer: ExitStack, pieces: Iterator[bytearray]) -> Iterator[Iterator[bytearray]]:
    """Give the rest of an answer to another thread, which closes it."""
    with answer:
        yield pieces


def _first_bytes(pieces: Iterator[bytearray]) -> bytearray:
    """Take as many pieces as it needs to see what a body is."""
    first = bytearray()
    for piece in pieces:
        first += piece
        if len(first) >= len(WHEEL_MAGIC):
            break
    return first
