"""What a fetch shows: bars on a terminal, lines in a log, nothing when asked to be quiet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.progress import Bars, Lines, shown_progress
from pytorch_offline.cli.session import Session
from pytorch_offline.mirror.progress import Silent

if TYPE_CHECKING:
    from pytorch_offline.mirror.progress import Progress

TORCH = "whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
SYMPY = "whl/sympy-1.13-py3-none-any.whl"


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def session(verbosity: int) -> Session:
    return Session(mirror=Path("cache"), as_json=False, verbosity=verbosity)


def test_lines_come_every_few_seconds_with_speed_and_time_left() -> None:
    clock, lines = Clock(), list[str]()
    progress = Lines(lines.append, clock=clock, pause=5.0)
    progress.plan(2, 1_000_000_000)
    progress.begin(TORCH, 900_000_000, 400_000_000)
    for second in range(1, 13):
        clock.seconds += 1.0
        progress.advance(TORCH, 400_000_000 + second * 10_000_000, 900_000_000)
    progress.end(TORCH)
    progress.say("one sentence")
    progress.close()
    assert lines == [
        "fetching 2 files, 1.0 GB",
        "450.0 MB of 1.0 GB, 10.0 MB/s, 55 s left, 0 of 2 files done",
        "500.0 MB of 1.0 GB, 10.0 MB/s, 50 s left, 0 of 2 files done",
        "one sentence",
        "fetched 120.0 MB in 12 s",
    ]


def test_a_file_that_starts_again_makes_no_negative_speed() -> None:
    clock, lines = Clock(), list[str]()
    progress = Lines(lines.append, clock=clock, pause=0.0)
    progress.plan(1, 7_200_000_000)
    progress.begin(TORCH, None, 5_000_000)
    clock.seconds += 2
    progress.advance(TORCH, 1_000_000, 7_200_000_000)
    clock.seconds += 2
    progress.advance(TORCH, 9_000_000, 7_200_000_000)
    progress.close()
    assert lines[1:] == [
        "1.0 MB of 7.2 GB, 0 B/s, 0 of 1 file done",
        "9.0 MB of 7.2 GB, 1.0 MB/s, 1 h 59 min left, 0 of 1 file done",
        "fetched 4.0 MB in 4 s",
    ]


def test_nothing_to_fetch_is_nothing_to_say() -> None:
    lines: list[str] = []
    Lines(lines.append).close()
    assert lines == []


def test_bars_show_all_bytes_and_each_file() -> None:
    screen = io.StringIO()
    bars = Bars(screen)
    bars.plan(2, 3_000_000)
    bars.begin(TORCH, 2_000_000, 500_000)
    bars.begin(SYMPY, None, 0)
    bars.advance(TORCH, 2_000_000, 2_000_000)
    bars.say("one sentence")
    bars.end(TORCH)
    bars.advance(TORCH, 2_000_000, 2_000_000)  # too late: its bar is gone
    bars.begin("third.whl", 1000, 0)
    bars.advance(SYMPY, 1_000_000, 1_000_000)
    bars.advance(SYMPY, 10, 1_000_000)
    bars.end(SYMPY)
    bars.end("never begun")
    bars.close()
    shown = screen.getvalue()
    assert "2 files" in shown
    assert "torch-2.4.0+cu121-cp310-cp310-li" in shown
    assert "sympy-1.13-py3-none-any.whl" in shown
    assert "one sentence" in shown
    assert "2.00M/3.00M" in shown.rpartition("2 files")[2]


def test_a_bar_without_a_plan_is_drawn_all_the_same() -> None:
    screen = io.StringIO()
    bars = Bars(screen)
    bars.begin(SYMPY, 10, 0)
    bars.advance(SYMPY, 10, 10)
    bars.close()
    assert "sympy" in screen.getvalue()


def drive(progress: Progress) -> None:
    progress.plan(1, 10)
    progress.begin(SYMPY, 10, 0)
    progress.advance(SYMPY, 10, 10)
    progress.say("one sentence")
    progress.end(SYMPY)


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(session(-1)) as progress:
        assert isinstance(progress, Silent)
        drive(progress)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(session(0)) as progress:
        drive(progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["fetching 1 file, 10 B", "one sentence", "fetched 10 B in 0 s"]


def test_on_a_terminal_there_are_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with shown_progress(session(0)) as progress:
        drive(progress)
    assert "1 file: 100%" in screen.getvalue()


def test_bars_are_cleared_away_when_a_fetch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)

    def interrupted() -> None:
        with shown_progress(session(0)) as progress:
            progress.plan(1, 10)
            progress.begin(SYMPY, 10, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen.getvalue().endswith("\n")
