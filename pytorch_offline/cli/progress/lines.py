"""Progress as plain lines: for logs, for cron and CI, for terminals that cannot be drawn on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytorch_offline.cli.progress.board import Changed, Ended, Planned, Restarted, Said
from pytorch_offline.cli.progress.words import beginning, ending, state, waits
from pytorch_offline.mirror.progress import Outcome, Stage
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from pytorch_offline.cli.progress.board import Happening, Standing

# Somebody may be watching at first; a log that is kept for a night wants fewer.
_PAUSES = ((60.0, 5.0), (600.0, 10.0))
_LONGEST_PAUSE = 30.0
# A file that took less than this is counted in the next line, and has none of its own.
WORTH_A_LINE_SECONDS = 5.0
# A server that breaks every connection says the same thing thousands of times.
REPEAT_SECONDS = 10.0
_NUMBERS = re.compile(r"(?<![\w.-])\d+(?![\w-])")


def pause_after(seconds: float) -> float:
    """Say how long after the last line of progress the next one is due, ``seconds`` after the work began."""
    return next((pause for until, pause in _PAUSES if seconds < until), _LONGEST_PAUSE)


def line_of(happening: Happening, stage: Stage, *, every_file: bool = False) -> str | None:
    """Say what happened in one line; None where the next line of progress says it well enough."""
    match happening:
        case Planned():
            return beginning(happening) if happening.files or happening.already_files else None
        case Restarted():
            name = happening.file.rpartition("/")[2]
            return f"{name} fell back from {render_size(happening.before)} to {render_size(happening.position)}"
        case Ended():
            slow = happening.seconds >= WORTH_A_LINE_SECONDS
            telling = happening.outcome is Outcome.FAILED or slow or every_file
            return ending(happening, stage) if telling else None
        case Said():
            return happening.text
        case Changed():
            return None
        case _:
            return None


def progress_line(standing: Standing) -> str:
    """Say where the work stands in one line."""
    return "; ".join(part for part in (state(standing), waits(standing)) if part)


class Repeats:
    """Lets through what was not said lately; what was is counted, and the count said with it the next time."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}

    def passed(self, text: str, now: float) -> str | None:
        """Give the sentence as it should be said, or None."""
        key = _NUMBERS.sub("#", text)
        last, times = self._said.get(key, (None, 0))
        if last is not None and now - last < REPEAT_SECONDS:
            self._said[key] = (last, times + 1)
            return None
        if len(self._said) >= 1000:  # noqa: PLR2004  (as many sentences as nobody reads; memory stays flat)
            self._said.clear()
        self._said[key] = (now, 0)
        more = "once more" if times == 1 else f"{times} times more"
        return f"{text} ({more} in the meantime)" if times else text
