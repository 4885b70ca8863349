"""One file over several connections.

Theory of operation. A transfer begins with one connection, which asks for the rest of the file. Where more of them
are faster, ``Parallel`` takes over for as long as that answer lasts: it lends blocks beyond it to further readers
(``spans.py`` says which, ``probe.py`` how many), each of which asks for exactly its block, under the same validator.
Only the thread that runs the download knows the plan and writes: it takes a piece from the readers' table, writes it
where its lease stands, and only then moves the lease on. So no byte counts before it is written, and no two
connections write to one place. What goes wrong with a reader costs its lease and nothing else. The first answer
is let go only when it comes to what others have, and never before a part has come from one of them: a server that
does not honour ranges costs nothing either.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

from pytorch_offline.addresses import origin, redacted
from pytorch_offline.byte_ranges import parse_content_range
from pytorch_offline.errors import UpstreamError
from pytorch_offline.mirror.flow import Gauge
from pytorch_offline.mirror.readers import Came, Over, Readers
from pytorch_offline.mirror.sidecar import Validator
from pytorch_offline.mirror.transfer import STALLED, WORTHWHILE, Head, validator_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pytorch_offline.mirror.flow import Flow
    from pytorch_offline.mirror.partial import PartialFile
    from pytorch_offline.mirror.probe import Probe
    from pytorch_offline.mirror.sidecar import Validator
    from pytorch_offline.mirror.spans import Plan
    from pytorch_offline.mirror.workers import Abortable, Stop
    from pytorch_offline.net import Http

# A file that one connection brings within a second is over before more have paid.
WORTH_SECONDS = 1.0
# Small enough that a piece in the hand of each of many readers is little.
_PIECE = 256 * 1024
# How often the probe is thought of while nothing comes, in seconds.
_LOOK = 0.1
# The number of the reader of the first answer.
_FIRST = 0
# The code of an answer that is not the part that was asked for.
MISTAKEN = "bad-range"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What all readers of a file ask, and what guards the seams between their parts.

    That is a strong validator of the file as this host has it now; or the published hash, which judges the whole.
    """

    url: str
    length: int
    validator: Validator | None
    published: bool

    @property
    def guarded(self) -> bool:
        """Whether parts may be joined at all."""
        return self.published or self._guard is not None

    def headers(self, start: int, stop: int) -> dict[str, str]:
        """Ask for the bytes from ``start`` to before ``stop``."""
        asked = {"Range": f"bytes={start}-{stop - 1}"}
        return asked if self._guard is None else asked | {"If-Range": self._guard}

    def problem(self, head: Head, start: int, stop: int) -> UpstreamError | None:
        """Say what is wrong with an answer: it must be exactly these bytes, of this version of the file."""
        url = redacted(self.url)
        if head.status >= HTTPStatus.BAD_REQUEST:
            return UpstreamError("server-error", f"{url} answers {head.status}", facts={"url": url})
        span = parse_content_range(head.headers)
        current = validator_of(self.url, head)
        if (
            head.status == HTTPStatus.PARTIAL_CONTENT
            and head.headers.get("Content-Encoding", "identity").lower() in {"identity", "aws-chunked", ""}
            and span is not None
            and (span.first, span.last) == (start, stop - 1)
            and span.total in {None, self.length}
            and (self._guard is None or current is None or current == self.validator)
        ):
            return None
        said = head.headers.get("Content-Range", "")
        message = f"{url} answers bytes {start}-{stop - 1} with {head.status} and Content-Range {said!r}"
        return UpstreamError(MISTAKEN, message, facts={"url": url, "content_range": said})

    @property
    def _guard(self) -> str | None:
        if self.validator is None or self.validator.origin != origin(self.url):
            return None
        return self.validator.value


class Parallel:
    """The connections of one file, as long as its first answer lasts. All of it is the calling thread's own.

    Args:
        plan: what is in hand; without leases.
        probe: how many connections to begin with.
        source: what to ask.
        part: where the bytes go.
        http: the network.
        flow: what all files share; of its connections the caller has one.
        stop: how to be stopped.
        wrote: told after each piece that this many bytes were written.
        fast_enough: passes a body's pieces on, and breaks off a trickle.
        clock: seconds that only go forward.
        proven: whether the first answer is a part itself, so that the server is known to give parts.
    """

    def __init__(
        self,
        plan: Plan,
        probe: Probe,
        source: Source,
        *,
        part: PartialFile,
        http: Http,
        flow: Flow,
        stop: Stop,
        wrote: Callable[[int], None],
        fast_enough: Callable[[Iterator[bytearray], str], Iterator[bytearray]],
        clock: Callable[[], float] = time.monotonic,
        proven: bool = False,
    ) -> None:
        self.plan = plan
        self.probe = probe
        self._source = source
        self._host = origin(source.url)
        self._file = part.path
        self._part = part
        self._http = http
        self._flow = flow
        self._stop = stop
        self._wrote = wrote
        self._fast_enough = fast_enough
        self._clock = clock
        self._stepped = clock()
        self._gauge = Gauge(flow.meter, clock=clock)
        self._readers = Readers(flow.pool)
        self._numbers = count(_FIRST + 1)
        self._brought: Counter[int] = Counter()
        self._proven = proven
        self._at_once = 1  # how many have given bytes at one time, at most
        self._giving_up = False
        self._trouble: UpstreamError | None = None

    def bring(self, first: AbstractContextManager[Iterator[bytearray]], stream: Abortable) -> UpstreamError | None:
        """Bring what the plan lacks, as far as the server lets us.

        Args:
            first: the rest of the first answer, which goes on from the plan's prefix; left by another thread.
            stream: that answer.

        Returns:
            What went wrong, if not all came.

        Raises:
            Stopped: when told to.
            OSError: the disk failed.
        """
        self.plan = self.plan.streamed(_FIRST)
        self._readers.start(_FIRST, first)
        self._readers.reached(_FIRST, stream)
        try:
            while self.plan.leases:
                self._lend()
                event = self._readers.take(_LOOK)
                self._stop.check()
                match event:
                    case Came():
                        self._came(event.number, event.piece)
                    case Over():
                        self._over(event.number, event.error)
        finally:
            self._readers.let_all_go()
            self._flow.connections.want(self._host, self._file, 0)
        if self.plan.whole:
            return None
        url = redacted(self._source.url)
        return self._trouble or UpstreamError("transfer-broken", f"not all parts of {url} came", facts={"url": url})

    def _lend(self) -> None:
        """Let as many more readers begin as are worth it and to be had."""
        if self._at_once >= self.probe.wanted and (rate := self._gauge.rate()) is not None:
            self._judge(rate)
        while len(self.plan.leases) < self.probe.wanted and not self._giving_up:
            number = next(self._numbers)
            lent = self.plan.lent(number, self.probe.wanted)
            if lent is self.plan:
                break
            self._flow.connections.want(self._host, self._file, self.probe.wanted)
            if not self._flow.connections.take(self._host, self._file):
                return
            self.plan = lent
            lease = lent.leases[number]
            self._readers.start(number, self._part_of_file(number, lease.position, lease.stop))
        self._flow.connections.want(self._host, self._file, len(self.plan.leases))

    def _came(self, number: int, piece: bytes | bytearray) -> None:
        """Write what is wanted of a piece where its lease stands, and move the lease on."""
        rest = memoryview(piece)
        while number in self.plan.leases and rest:
            lease = self.plan.leases[number]
            wanted, rest = rest[: lease.room], rest[lease.room :]
            plan = self.plan.came(number, len(wanted))
            self._part.place(lease.position, wanted, plan.prefix)
            self.plan = plan
            self._note(number, len(wanted))
            if len(wanted) == lease.room and lease.asked == lease.stop and rest:
                self._drop(number)  # it gives more than was asked for
            elif len(wanted) == lease.room and lease.asked > lease.stop:
                self._go_on(number)

    def _judge(self, rate: float) -> None:
        """Take the probe's advice, but no step that would take as long to pay as what is missing takes anyway."""
        after, now = self._flow.measured(self._host, self.probe, rate), self._clock()
        if after.wanted <= self.probe.wanted:
            self.probe = after
        elif self.plan.length - self.plan.in_hand >= rate * (now - self._stepped):
            self.probe, self._stepped = after, now

    def _note(self, number: int, size: int) -> None:
        self._brought[number] += size
        self._proven = self._proven or number != _FIRST
        at_once = sum(key in self._brought for key in self.plan.leases)
        if at_once > self._at_once:
            self._at_once = at_once
            self._gauge.rest()
        self._wrote(size)
        self._stop.sleep(self._flow.meter.took(size))

    def _go_on(self, number: int) -> None:
        """See whether an answer that gives more than is wanted may go on, or comes to what others have."""
        if not self._proven:
            # The others have only asked so far: this answer is worth more than what they may get.
            for other in tuple(self.plan.leases.keys() - {number}):
                self._drop(other)
        self.plan = self.plan.extended(number)
        if self.plan.leases[number].room == 0:
            self._drop(number)

    def _drop(self, number: int) -> None:
        self._readers.let_go(number)
        self.plan = self.plan.returned(number)

    def _over(self, number: int, error: BaseException | None) -> None:
        """Take back what a reader has not brought; one in trouble costs the file half of its connections."""
        missing = self.plan.leases[number].room
        self.plan = self.plan.returned(number)
        if error is None and missing == 0:
            return
        if error is not None and not isinstance(error, UpstreamError):
            raise error
        code = None if error is None else error.code
        if number == _FIRST or code == STALLED:
            self._trouble = error
        mistaken = code == MISTAKEN
        if mistaken or code == STALLED or self._brought[number] < WORTHWHILE:
            if (mistaken or self.probe.wanted == 1) and _FIRST not in self.plan.leases:
                self._giving_up = True
            self.probe = self.probe.alone() if mistaken else self.probe.refused()

    @contextmanager
    def _part_of_file(self, number: int, start: int, stop: int) -> Iterator[Iterator[bytearray]]:
        """Ask for a part, and give its pieces, if that is what the answer has. For a reader's thread."""
        source = self._source
        try:
            with (
                self._http.stream(source.url, headers=source.headers(start, stop)) as stream,
                self._stop.reaching(stream),
            ):
                if self._readers.reached(number, stream):
                    problem = source.problem(Head(status=stream.status, headers=stream.headers), start, stop)
                    if problem is not None:
                        raise problem
                    yield self._fast_enough(stream.iter_chunks(_PIECE), source.url)
                else:
                    yield iter(())
        finally:
            self._flow.connections.release(self._host, self._file)
