"""How far a fetch or a verification is, on stderr: drawn on a terminal, lines elsewhere, events for programs.

The threads that work leave numbers on a ``Board``; one thread of its own looks at it ten times a second and shows it
in one of three ways (``screen.py``, ``lines.py``, ``documents.py``: rules from values to text). So telling costs those
who work next to nothing, a terminal that takes no output holds nobody up, and a wait is seen to pass.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pytorch_offline.cli import console
from pytorch_offline.cli.progress.board import Board, Planned, Said
from pytorch_offline.cli.progress.documents import document_of, progress_document
from pytorch_offline.cli.progress.lines import Repeats, line_of, pause_after, progress_line
from pytorch_offline.cli.progress.screen import render_screen
from pytorch_offline.cli.progress.words import closing, duration
from pytorch_offline.cli.session import Style
from pytorch_offline.cli.streams import shown
from pytorch_offline.mirror.progress import Progress, Silent, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytorch_offline.cli.progress.board import Happening, Standing
    from pytorch_offline.cli.session import Session

# Often enough for figures that move, seldom enough to cost nothing.
_LOOK_SECONDS = 0.1
# Between two events that say where the work stands.
_EVENT_SECONDS = 1.0
# What takes no longer needs no line that says that it is under way.
_FIRST_WAIT_SECONDS = 10.0
# A terminal that takes no output must not keep us at the end.
_LAST_WORDS_SECONDS = 0.5


@contextmanager
def shown_progress(session: Session) -> Iterator[Progress]:
    """Give what shows progress as the user asked for."""
    style = session.shown_style
    if style is Style.NONE:
        yield Silent()
        return
    board = Board()
    shower = _shower(session, style)
    teller = _Teller(board, shower)
    try:
        yield board
    except BaseException:
        teller.close(complete=False)
        raise
    teller.close(complete=True)


@contextmanager
def shown_wait(session: Session, doing: str) -> Iterator[None]:
    """Show that something without a measure is under way, and for how long."""
    style, over, started = session.shown_style, threading.Event(), time.monotonic()

    def show() -> None:
        due = _FIRST_WAIT_SECONDS
        while not over.wait(_LOOK_SECONDS):
            seconds = time.monotonic() - started
            if style is Style.BARS and seconds >= 1:
                console.draw([shown(f"{doing}, {duration(seconds)}")[: console.terminal_size()[0] - 1]])
            elif seconds >= due:
                due += pause_after(seconds)
                if style is Style.JSON:
                    session.tell("wait", text=doing, seconds=round(seconds, 3))
                elif style is Style.LINES:
                    _write_line(f"still {doing}, {duration(seconds)}")

    thread = threading.Thread(target=show, name="wait", daemon=True)
    if style is not Style.NONE:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if style is not Style.NONE:
            thread.join(_LAST_WORDS_SECONDS)
        if style is Style.BARS:
            console.draw(())


class Shower(Protocol):
    """Shows in one way what a board holds; one thread at a time."""

    def happened(self, happening: Happening, standing: Standing | None) -> None:
        """Show what happened."""

    def stands(self, standing: Standing) -> None:
        """Show where the work stands, if it is time to."""

    def close(self, standing: Standing, *, complete: bool) -> None:
        """Show what it came to."""


class Lines:
    """Writes a line for what is worth one, and one every so often.

    Args:
        write: takes one line.
        every_file: whether each file's end has a line of its own.
    """

    def __init__(self, write: Callable[[str], None], *, every_file: bool = False) -> None:
        self._write = write
        self._every_file = every_file
        self._repeats = Repeats()
        self._stage = Stage.FETCH
        self._last = 0.0

    def happened(self, happening: Happening, standing: Standing | None) -> None:
        """Write it, unless it was written a moment ago."""
        now = standing.now if standing is not None else 0.0
        if isinstance(happening, Planned):
            self._stage, self._last = happening.stage, now
        line = line_of(happening, self._stage, every_file=self._every_file)
        if line is not None and isinstance(happening, Said):
            line = self._repeats.passed(line, now)
        if line is not None:
            self._write(line)

    def stands(self, standing: Standing) -> None:
        """Write it if the last line is some time ago."""
        if standing.files and standing.now - self._last >= pause_after(standing.seconds):
            self._last = standing.now
            self._write(progress_line(standing))

    def close(self, standing: Standing, *, complete: bool) -> None:
        """Write what came."""
        if standing.files:
            self._write(closing(standing, complete=complete))


class Block:
    """Draws on the terminal, with the lines for what happened above."""

    def __init__(self, *, every_file: bool = False, result_shown: bool = False) -> None:
        self._result_shown = result_shown
        self._lines = Lines(_write_line, every_file=every_file)

    def happened(self, happening: Happening, standing: Standing | None) -> None:
        """Write a line above the block, where it says what the block does not."""
        if isinstance(happening, Planned) and not happening.already_files:
            return
        self._lines.happened(happening, standing)

    def stands(self, standing: Standing) -> None:
        """Draw the block anew."""
        console.draw(render_screen(standing, *console.terminal_size()))

    def close(self, standing: Standing, *, complete: bool) -> None:
        """Take the block away, and write what came, unless the result says so on the same terminal."""
        console.draw(())
        if not complete or not self._result_shown:
            self._lines.close(standing, complete=complete)


class Events:
    """Tells a program."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repeats = Repeats()
        self._last = 0.0

    def happened(self, happening: Happening, standing: Standing | None) -> None:
        """Tell it at once."""
        if isinstance(happening, Said):
            text = self._repeats.passed(happening.text, standing.now if standing is not None else 0.0)
            if text is None:
                return
            happening = Said(text=text)
        event, facts = document_of(happening)
        self._session.tell(event, **facts)

    def stands(self, standing: Standing) -> None:
        """Tell it every second."""
        if standing.now - self._last >= _EVENT_SECONDS:
            self._last = standing.now
            self._session.tell("progress", **progress_document(standing))

    def close(self, standing: Standing, *, complete: bool) -> None:
        """Tell it a last time."""
        self._session.tell("progress", **progress_document(standing), complete=complete)


def _shower(session: Session, style: Style) -> Shower:
    every_file = session.verbosity > 0
    if style is Style.JSON:
        return Events(session)
    if style is Style.LINES:
        return Lines(_write_line, every_file=every_file)
    result_shown = not session.as_json and sys.stdout is not None and sys.stdout.isatty()
    return Block(every_file=every_file, result_shown=result_shown)


class _Teller:
    """The thread that looks at the board and shows it."""

    def __init__(self, board: Board, shower: Shower) -> None:
        self._board = board
        self._shower = shower
        self._over = threading.Event()
        self._complete = True
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def close(self, *, complete: bool) -> None:
        """Show the last of it, unless nothing can be shown just now."""
        self._complete = complete
        self._over.set()
        self._thread.join(_LAST_WORDS_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            standing = self._tell()
            if standing is not None:
                self._shower.stands(standing)
        standing = self._tell()
        if standing is not None:
            self._shower.close(standing, complete=self._complete)

    def _tell(self) -> Standing | None:
        happenings = self._board.happened()
        standing = self._board.standing()
        for happening in happenings:
            self._shower.happened(happening, standing)
        return standing


def _write_line(text: str) -> None:
    console.write_line(shown(text))
