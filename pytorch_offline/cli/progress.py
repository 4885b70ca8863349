"""How far a fetch is: bars on a terminal, a line every few seconds elsewhere, nothing with ``-q``.

Everything goes to stderr. On a terminal there is one bar for all bytes, with speed and time left, and one below it for
each file under way.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TextIO

import click
from tqdm import tqdm

from pytorch_offline.cli.streams import shown
from pytorch_offline.mirror.progress import Progress, Silent
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytorch_offline.cli.session import Session

# Often enough to see that it lives, seldom enough for a log that is kept.
SECONDS_BETWEEN_LINES = 5.0
_NAME_WIDTH = 32


@contextmanager
def shown_progress(session: Session, *, doing: str = "fetching", done: str = "fetched") -> Iterator[Progress]:
    """Give what shows progress as the user asked for; ``doing`` and ``done`` are its words for the work."""
    if session.verbosity < 0:
        yield Silent()
    elif session.show_bars:
        bars = Bars(sys.stderr)
        try:
            yield bars
        finally:
            bars.close()
    else:
        lines = Lines(lambda text: click.echo(shown(text), err=True), doing=doing, done=done)
        yield lines
        lines.close()


class Lines:
    """Writes how far it is every few seconds, and every message.

    Args:
        write: takes one line.
        clock: seconds that never go back.
        pause: seconds between two lines of progress.
        doing: the word for the work, at its beginning.
        done: the word for it at its end.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = SECONDS_BETWEEN_LINES,
        doing: str = "fetching",
        done: str = "fetched",
    ) -> None:
        self._write = write
        self._doing = doing
        self._done = done
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._positions: dict[str, int] = {}
        self._fetched = 0
        self._files = 0
        self._ended = 0
        self._size = 0
        self._started = self._last = clock()

    def plan(self, files: int, size: int) -> None:
        """Say what is to come."""
        with self._lock:
            self._files, self._size = files, size
            self._started = self._last = self._clock()
            self._write(f"{self._doing} {_count(files)}, {render_size(size)}")

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Note where a file stands."""
        del size
        with self._lock:
            self._positions[file] = position

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Note it, and write a line if it is time to."""
        del size
        with self._lock:
            self._fetched += position - self._positions.get(file, 0)
            self._positions[file] = position
            now = self._clock()
            if now - self._last >= self._pause:
                self._last = now
                self._write(self._state(now))

    def end(self, file: str) -> None:
        """Count a file."""
        del file
        with self._lock:
            self._ended += 1

    def say(self, message: str) -> None:
        """Write a message."""
        with self._lock:
            self._write(message)

    def close(self) -> None:
        """Say what came."""
        with self._lock:
            if self._files:
                seconds = self._clock() - self._started
                self._write(f"{self._done} {render_size(max(0, self._fetched))} in {_duration(seconds)}")

    def _state(self, now: float) -> str:
        here = sum(self._positions.values())
        speed = max(0, self._fetched) / max(now - self._started, 1e-9)
        text = f"{render_size(here)} of {render_size(self._size)}, {render_size(int(speed))}/s"
        if speed > 0 and self._size > here:
            text += f", {_duration((self._size - here) / speed)} left"
        return f"{text}, {self._ended} of {_count(self._files)} done"


class Bars:
    """Draws bars on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._total: _Bar | None = None
        self._bars: dict[str, _Bar] = {}

    def plan(self, files: int, size: int) -> None:
        """Draw the bar for all bytes."""
        with self._lock:
            if self._total is not None:
                self._total.close()
            self._total = self._bar(_count(files), size, 0, 0)

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Draw a bar for one file, in the first free line."""
        with self._lock:
            taken = {bar.line for bar in self._bars.values()}
            line = next(number for number in range(1, len(taken) + 2) if number not in taken)
            self._bars[file] = self._bar(PurePosixPath(file).name[:_NAME_WIDTH], size, position, line)
            if self._total is not None:  # what was here before counts, but not as speed
                self._total.initial += position
                self._total.n += position
                self._total.refresh()

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Move a file's bar and the one for all bytes."""
        with self._lock:
            bar = self._bars.get(file)
            if bar is None:
                return
            step = position - int(bar.n)
            bar.total = size
            bar.update(step)
            if self._total is not None:
                self._total.update(step)

    def end(self, file: str) -> None:
        """Remove a file's bar."""
        with self._lock:
            bar = self._bars.pop(file, None)
            if bar is not None:
                bar.close()

    def say(self, message: str) -> None:
        """Write a message above the bars."""
        with self._lock:
            _Bar.write(message, file=self._stream)

    def close(self) -> None:
        """Leave the bar for all bytes as it is, and end."""
        with self._lock:
            for bar in self._bars.values():
                bar.close()
            self._bars.clear()
            if self._total is not None:
                self._total.close()

    def _bar(self, text: str, size: int | None, position: int, line: int) -> _Bar:
        bar = _Bar(
            desc=text,
            total=size,
            initial=position,
            position=line,
            leave=line == 0,
            file=self._stream,
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
        )
        bar.line = line
        return bar


class _Bar(tqdm):  # type: ignore[type-arg]  # generic for type checkers alone
    """A tqdm bar without the thread that watches for bars that stand still."""

    monitor_interval = 0
    line: int


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
