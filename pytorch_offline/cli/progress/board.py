"""What is known of the work under way: told by the threads that do it, read by the one that shows it.

Those who work leave numbers and go on; nobody waits for a terminal or for each other. Whoever shows takes a
``Standing``, a value that does not change under the reader, and the ``Happening``s since the last one, in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.mirror.progress import Doing, Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Over how many seconds the speed is taken: longer than a hiccup, short enough to see that a line got slow.
SPEED_SECONDS = 5.0
# What a reader that stands still may fall behind by; then the oldest is forgotten.
_MOST_HAPPENINGS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A stage began; see ``Progress.plan``."""

    stage: Stage
    files: int
    size: int
    unknown_sizes: int
    already_files: int
    already_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A file's turn came; ``position`` bytes are there from an earlier run."""

    file: str
    size: int | None
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Something else is done about a file now; ``seconds`` is how long it is waited."""

    file: str
    doing: Doing
    host: str | None
    seconds: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """A file fell back from one position to another: bytes in hand turned out to be of no use."""

    file: str
    before: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A file's turn is over. ``received`` bytes came in ``seconds``, the last of them from ``host``."""

    file: str
    outcome: Outcome
    size: int | None
    position: int
    received: int
    seconds: float
    host: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A sentence for people."""

    text: str


Happening = Planned | Begun | Changed | Restarted | Ended | Said


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStanding:
    """One file under way. ``until`` is when a wait ends, by the board's clock."""

    file: str
    size: int | None
    position: int
    doing: Doing
    host: str | None
    until: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the work stands at the moment ``now``, by the board's clock.

    ``size`` counts what is known of all files, ``unknown_sizes`` the files that it lacks; ``position`` counts the bytes
    in hand, ``received`` those that came in this run, ``speed`` those of the last seconds, per second.
    """

    stage: Stage
    now: float
    since: float
    files: int
    ended: int
    failed: int
    size: int
    unknown_sizes: int
    position: int
    received: int
    speed: float
    already_files: int
    already_size: int
    active: tuple[FileStanding, ...]

    @property
    def seconds(self) -> float:
        """How long the stage has taken so far."""
        return self.now - self.since

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this speed; None where that cannot be known."""
        rest = self.size - self.position
        if self.unknown_sizes or self.speed <= 0 or rest < 0:
            return None
        return rest / self.speed


class Speed:
    """Bytes per second over the last seconds, from counts taken now and then."""

    def __init__(self, now: float, *, seconds: float = SPEED_SECONDS) -> None:
        self._seconds = seconds
        self._counts = deque([(now, 0)])

    def measured(self, now: float, count: int) -> float:
        """Note that ``count`` bytes have come by ``now``, and give the speed."""
        counts = self._counts
        counts.append((now, count))
        while len(counts) > 2 and counts[1][0] <= now - self._seconds:  # noqa: PLR2004  (the two ends of a span)
            counts.popleft()
        since, before = counts[0]
        return (count - before) / (now - since) if now > since else 0.0


class _File:
    """What is known of one file; its own thread alone writes it."""

    __slots__ = ("begun", "come", "doing", "host", "position", "reason", "received", "size", "until")

    def __init__(self, size: int | None, position: int, begun: float) -> None:
        self.size = size
        self.position = position
        self.received = 0
        self.begun = begun
        self.come: float | None = None  # when all its bytes were there
        self.doing = Doing.ASKING
        self.host: str | None = None
        self.until: float | None = None
        self.reason: str | None = None


class Board:
    """Takes what the workers tell; a ``mirror.progress.Progress``.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # for what several files share; ``advance`` takes it only in rare cases
        self._happenings: deque[Happening] = deque(maxlen=_MOST_HAPPENINGS)
        self._files: dict[str, _File] = {}
        self._plan: Planned | None = None
        self._sizes: dict[str, int | None] = {}
        self._reset(clock())

    def plan(
        self,
        sizes: Mapping[str, int | None],
        *,
        stage: Stage = Stage.FETCH,
        already: int = 0,
        already_size: int = 0,
    ) -> None:
        """Begin a stage, and with it all counts."""
        with self._lock:
            self._plan = _planned(sizes, stage=stage, already=already, already_size=already_size)
            self._reset(self._clock())
            self._sizes = dict(sizes)
            self._size, self._unknown = self._plan.size, self._plan.unknown_sizes
            self._happenings.append(self._plan)

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Begin a file."""
        with self._lock:
            self._learn(file, size)
            size = self._sizes.get(file)
            self._files[file] = _File(size, position, self._clock())
            self._happenings.append(Begun(file=file, size=size, position=position))

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Move a file on. Called for every piece that comes: nothing is locked, drawn or written."""
        known = self._files.get(file)
        if known is None:
            return
        before = known.position
        known.position = position
        if position >= before:
            known.received += position - before
        else:
            self._happenings.append(Restarted(file=file, before=before, position=position))
        if size != known.size and size is not None:
            known.size = size
            with self._lock:
                self._learn(file, size)

    def doing(
        self,
        file: str,
        doing: Doing,
        *,
        host: str | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> None:
        """Change what is done about a file; who gives it stays known."""
        known = self._files.get(file)
        if known is None:
            return
        if doing is Doing.CHECKING and known.come is None:
            known.come = self._clock()
        known.doing = doing
        known.host = host or known.host
        known.until = None if seconds is None else self._clock() + seconds
        known.reason = reason
        self._happenings.append(Changed(file=file, doing=doing, host=known.host, seconds=seconds, reason=reason))

    def end(self, file: str, outcome: Outcome = Outcome.DONE) -> None:
        """End a file; what came of it stays counted."""
        with self._lock:
            known = self._files.pop(file, None)
            if known is None:
                return
            self._ended += 1
            if outcome is Outcome.FAILED:
                self._failed += 1
                self._learn(file, known.position)  # the rest will not come
            self._ended_position += known.position
            self._ended_received += known.received
            self._happenings.append(
                Ended(
                    file=file,
                    outcome=outcome,
                    size=known.size,
                    position=known.position,
                    received=known.received,
                    seconds=(self._clock() if known.come is None else known.come) - known.begun,
                    host=known.host,
                )
            )

    def say(self, message: str) -> None:
        """Say a sentence."""
        self._happenings.append(Said(text=message))

    # For the reader --------------------------------------------------------------------------------------------------

    def happened(self) -> list[Happening]:
        """Give what happened since this was asked last."""
        happenings = []
        while self._happenings:
            happenings.append(self._happenings.popleft())
        return happenings

    def standing(self) -> Standing | None:
        """Say where the work stands; None before the first plan."""
        with self._lock:
            files = dict(self._files)
            if self._plan is None:
                return None
            plan = self._plan
            now = self._clock()
            received = self._ended_received + sum(file.received for file in files.values())
            return Standing(
                stage=plan.stage,
                now=now,
                since=self._since,
                files=plan.files,
                ended=self._ended,
                failed=self._failed,
                size=self._size,
                unknown_sizes=self._unknown,
                position=self._ended_position + sum(file.position for file in files.values()),
                received=received,
                speed=self._speed.measured(now, received),
                already_files=plan.already_files,
                already_size=plan.already_size,
                active=tuple(
                    FileStanding(
                        file=name,
                        size=file.size,
                        position=file.position,
                        doing=file.doing,
                        host=file.host,
                        until=file.until,
                        reason=file.reason,
                    )
                    for name, file in files.items()
                ),
            )

    def _reset(self, now: float) -> None:
        self._files.clear()
        self._since = now
        self._size = self._unknown = 0
        self._ended = self._failed = 0
        self._ended_position = self._ended_received = 0
        self._speed = Speed(now)

    def _learn(self, file: str, size: int | None) -> None:
        """Take note of how long a file is: for the first time, or otherwise than was said."""
        if size is None:
            self._sizes.setdefault(file, None)
            return
        before = self._sizes.get(file)
        self._unknown -= before is None and file in self._sizes
        self._size += size - (before or 0)
        self._sizes[file] = size


def _planned(sizes: Mapping[str, int | None], *, stage: Stage, already: int, already_size: int) -> Planned:
    return Planned(
        stage=stage,
        files=len(sizes),
        size=sum(size or 0 for size in sizes.values()),
        unknown_sizes=sum(size is None for size in sizes.values()),
        already_files=already,
        already_size=already_size,
    )
