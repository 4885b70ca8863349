"""What a fetch shows: a block on a terminal, lines in a log, events for programs, nothing when asked to be quiet."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm.utils import disp_len

from pytorch_offline.cli import console
from pytorch_offline.cli.progress import Lines, shown_progress, shown_wait
from pytorch_offline.cli.progress.board import Board, Ended, FileStanding, Restarted, Speed, Standing
from pytorch_offline.cli.progress.documents import document_of, progress_document
from pytorch_offline.cli.progress.lines import REPEAT_SECONDS, Repeats, pause_after
from pytorch_offline.cli.progress.screen import render_screen, shortened
from pytorch_offline.cli.session import Session, Style
from pytorch_offline.mirror.progress import Doing, Outcome, Silent, Stage

if TYPE_CHECKING:
    from pytorch_offline.mirror.progress import Progress

TORCH = "whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
SYMPY = "whl/sympy-1.13-py3-none-any.whl"


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def session(verbosity: int = 0, *, as_json: bool = False, style: Style = Style.AUTO) -> Session:
    return Session(mirror=Path("cache"), as_json=as_json, verbosity=verbosity, style=style)


def standing_of(board: Board) -> Standing:
    standing = board.standing()
    assert standing is not None
    return standing


def show(board: Board, lines: Lines) -> None:
    """Do once what the thread that shows does ten times a second."""
    happenings, standing = board.happened(), standing_of(board)
    for happening in happenings:
        lines.happened(happening, standing)
    lines.stands(standing)


# Numbers ------------------------------------------------------------------------------------------------------------


def test_what_was_here_before_counts_as_here_and_not_as_speed() -> None:
    clock = Clock()
    board = Board(clock=clock)
    board.plan({TORCH: 900_000_000, SYMPY: 100_000_000})
    board.begin(TORCH, 900_000_000, 400_000_000)
    assert standing_of(board).speed == 0
    for second in range(1, 11):
        clock.seconds += 1
        board.advance(TORCH, 400_000_000 + second * 10_000_000, 900_000_000)
        standing = standing_of(board)
        assert standing.speed == 10_000_000
    standing = standing_of(board)
    assert (standing.position, standing.size, standing.received) == (500_000_000, 1_000_000_000, 100_000_000)
    assert standing.seconds_left == 50


def test_the_speed_is_that_of_the_last_seconds() -> None:
    speed = Speed(0.0, seconds=5.0)
    for second in range(1, 101):
        assert speed.measured(second, second * 1000) == 1000
    assert [round(speed.measured(second, 100_000)) for second in range(101, 108)] == [800, 600, 400, 200, 0, 0, 0]


def test_sizes_that_nobody_published_are_told_apart_until_they_are_known() -> None:
    clock = Clock()
    board = Board(clock=clock)
    board.plan({TORCH: None, SYMPY: 100})
    board.begin(TORCH, None, 0)
    clock.seconds += 1
    board.advance(TORCH, 50, None)
    before = standing_of(board)
    assert (before.size, before.unknown_sizes, before.seconds_left) == (100, 1, None)
    assert "50 B/100 B+?" in render_screen(before, 80, 24)[0]
    board.advance(TORCH, 60, 1000)
    board.advance(TORCH, 70, 1000)
    after = standing_of(board)
    assert (after.size, after.unknown_sizes) == (1100, 0)
    assert after.seconds_left is not None


@given(
    st.lists(
        st.tuples(st.sampled_from([TORCH, SYMPY]), st.integers(0, 100), st.sampled_from([None, 100, 120])),
        max_size=30,
    )
)
def test_the_total_falls_back_only_where_a_file_does_and_that_is_told(moves: list[tuple[str, int, int | None]]) -> None:
    board = Board(clock=Clock())
    board.plan({TORCH: None, SYMPY: 100})
    positions = {TORCH: 0, SYMPY: 0}
    for file in positions:
        board.begin(file, None, 0)
    board.happened()
    for file, position, size in moves:
        total = standing_of(board).position
        board.advance(file, position, size)
        fell = [one for one in board.happened() if isinstance(one, Restarted)]
        assert bool(fell) == (position < positions[file])
        assert standing_of(board).position >= total or fell
        positions[file] = position
        assert standing_of(board).position == sum(positions.values())
    total = standing_of(board).position
    board.end(TORCH, Outcome.FAILED)
    assert (standing_of(board).position, standing_of(board).failed) == (total, 1)
    board.end(SYMPY)
    assert standing_of(board).position == total
    assert standing_of(board).ended == 2


def test_the_rest_of_a_file_that_failed_is_not_waited_for() -> None:
    board = Board(clock=Clock())
    board.plan({TORCH: 1000, SYMPY: None})
    board.begin(TORCH, 1000, 0)
    board.advance(TORCH, 300, 1000)
    board.end(TORCH, Outcome.FAILED)
    board.begin(SYMPY, None, 0)
    board.end(SYMPY, Outcome.FAILED)
    assert (standing_of(board).size, standing_of(board).unknown_sizes) == (300, 0)


def test_many_threads_lose_nothing() -> None:
    board = Board()
    files = [f"whl/f{number}-1-py3-none-any.whl" for number in range(8)]
    board.plan(dict.fromkeys(files, 10_000))

    def work(file: str) -> None:
        board.begin(file, None, 0)
        for position in range(1, 10_001):
            board.advance(file, position, 10_000)
        board.end(file)

    threads = [threading.Thread(target=work, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        board.standing()
    for thread in threads:
        thread.join()
    standing = standing_of(board)
    assert (standing.position, standing.received, standing.ended) == (80_000, 80_000, 8)
    assert len([one for one in board.happened() if isinstance(one, Ended)]) == 8


# On a terminal ------------------------------------------------------------------------------------------------------


def under_way(**changes: object) -> FileStanding:
    facts: dict[str, object] = {
        "file": TORCH,
        "size": 200,
        "position": 50,
        "doing": Doing.RECEIVING,
        "host": "download.pytorch.org",
        "until": None,
        "reason": None,
    }
    return FileStanding(**(facts | changes))  # type: ignore[arg-type]


def stood(*active: FileStanding, **changes: object) -> Standing:
    facts: dict[str, object] = {
        "stage": Stage.FETCH,
        "now": 10.0,
        "since": 0.0,
        "files": 31,
        "ended": 3,
        "failed": 0,
        "size": 3_000_000_000,
        "unknown_sizes": 0,
        "position": 1_234_000_000,
        "received": 1_000_000_000,
        "speed": 50_000_000.0,
        "already_files": 12,
        "already_size": 1_900_000_000,
        "active": active,
    }
    return Standing(**(facts | changes))  # type: ignore[arg-type]


def test_the_screen_at_three_widths() -> None:
    standing = stood(
        under_way(),
        under_way(file=SYMPY, doing=Doing.WAITING, until=17.6, reason="503 from download.pytorch.org"),
        under_way(file="whl/火炬火炬-1.0-py3-none-any.whl", size=None, doing=Doing.HASHING),
    )
    there = "12 files, 1.9 GB already there"
    assert render_screen(standing, 200, 50)[:2] == [
        f"fetching  3/31  41%  1.2 GB/3.0 GB  50.0 MB/s  35 s left  [#######           ]  {there}",
        "  torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl              25% of    200 B  from download.pytorch.org",
    ]
    assert render_screen(standing, 80, 24) == [
        "fetching  3/31  41%  1.2 GB/3.0 GB  50.0 MB/s  35 s left  [#######           ]",
        "  torch-2.4.0+cu121-cp310-cp310-linux..   25%  from download.pytorch.org",
        "  sympy-1.13-py3-none-any.whl             25%  waiting 8 s: 503 from download.p",
        "  火炬火炬-1.0-py3-none-any.whl          50 B  hashing",
    ]
    assert render_screen(standing, 40, 24) == [
        "41%  1.2 GB/3.0 GB  35 s left",
        "  torch-2.4.0+cu121-cp310..   25%  from",
        "  sympy-1.13-py3-none-any     25%  wait",
        "  火炬火炬-1.0-py3-none-any  50 B  hash",
    ]


@given(
    st.integers(1, 250),
    st.integers(1, 60),
    st.lists(st.tuples(st.text(max_size=60), st.one_of(st.none(), st.integers(0, 10**12))), max_size=12),
    st.integers(0, 10**12),
)
def test_no_line_is_wider_than_the_terminal_and_no_block_higher(
    columns: int, rows: int, files: list[tuple[str, int | None]], position: int
) -> None:
    active = [
        under_way(file=f"whl/{name}", size=size, doing=doing)
        for (name, size), doing in zip(files, [*Doing] * 3, strict=False)
    ]
    lines = render_screen(stood(*active, position=position, unknown_sizes=position % 2), columns, rows)
    assert len(lines) <= max(1, rows - 1)
    for line in lines:
        assert disp_len(line) < columns or columns == 1
        assert "\n" not in line
        assert "\x1b" not in line


def test_files_beyond_the_terminals_height_are_counted() -> None:
    active = [under_way(file=f"whl/f{number}-1-py3-none-any.whl") for number in range(8)]
    lines = render_screen(stood(*active), 80, 8)
    assert len(lines) == 6
    assert lines[-1] == "  and 4 files more"


@given(st.text(max_size=80), st.integers(2, 80))
def test_a_shortened_name_fits(name: str, width: int) -> None:
    assert disp_len(shortened(name, width)) <= width


def test_a_message_stands_above_the_block_and_the_block_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    console.draw(["one", "two"])
    console.write_line("said")
    console.draw([])
    assert screen.getvalue() == (
        "\rone\x1b[K\ntwo\x1b[K\x1b[J\r\x1b[1A"  # and the cursor rests at its first sign
        "\r\x1b[Jsaid\none\x1b[K\ntwo\x1b[K\x1b[J\r\x1b[1A"
        "\r\x1b[J"
    )


@pytest.mark.parametrize("gone", ["closed", "none"])
def test_a_stderr_that_is_gone_costs_nothing(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream if gone == "closed" else None)
    console.write_line("nobody hears")
    if gone == "none":
        assert not console.is_terminal()


# In lines -----------------------------------------------------------------------------------------------------------


def test_lines_come_every_few_seconds_with_speed_and_time_left() -> None:
    clock, lines = Clock(), list[str]()
    board, shower = Board(clock=clock), Lines(lines.append)
    board.plan({TORCH: 900_000_000, SYMPY: 100_000_000}, already=29, already_size=5_000_000_000)
    board.begin(TORCH, 900_000_000, 400_000_000)
    show(board, shower)
    for second in range(1, 13):
        clock.seconds += 1.0
        board.advance(TORCH, 400_000_000 + second * 10_000_000, 900_000_000)
        if second == 7:
            board.doing(TORCH, Doing.WAITING, seconds=4, reason="503 from host")
        show(board, shower)
    board.end(TORCH)
    board.say("one sentence")
    show(board, shower)
    shower.close(standing_of(board), complete=True)
    assert lines == [
        "fetching: 2 files, 1.0 GB; 29 of 31 files, 5.0 GB already in the mirror",
        "450.0 MB of 1.0 GB, 10.0 MB/s, 55 s left, 0 of 2 files done",
        "500.0 MB of 1.0 GB, 10.0 MB/s, 50 s left, 0 of 2 files done; 1 file waiting: 503 from host",
        "fetched torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl, 520.0 MB in 12 s, 10.0 MB/s",
        "one sentence",
        "fetched 120.0 MB in 12 s, 10.0 MB/s",
    ]


def test_a_file_that_starts_again_makes_no_negative_speed() -> None:
    clock, lines = Clock(), list[str]()
    board, shower = Board(clock=clock), Lines(lines.append)
    board.plan({TORCH: 7_200_000_000})
    board.begin(TORCH, None, 5_000_000)
    show(board, shower)
    clock.seconds += 5
    board.advance(TORCH, 1_000_000, 7_200_000_000)
    show(board, shower)
    clock.seconds += 5
    board.advance(TORCH, 6_000_000, 7_200_000_000)
    show(board, shower)
    board.end(TORCH, Outcome.FAILED)
    show(board, shower)
    shower.close(standing_of(board), complete=False)
    assert lines == [
        "fetching: 1 file, 7.2 GB",
        "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl fell back from 5.0 MB to 1.0 MB",
        "1.0 MB of 7.2 GB, 0 B/s, 0 of 1 file done",
        "6.0 MB of 7.2 GB, 1.0 MB/s, 1 h 59 min left, 0 of 1 file done",
        "failed: torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl after 6.0 MB",
        "fetched 5.0 MB in 10 s, 500.0 kB/s; 1 of 1 file failed, 6.0 MB kept",
    ]


def test_small_files_have_no_line_of_their_own_unless_asked_for() -> None:
    for every_file, expected in ((False, 1), (True, 101)):
        lines = list[str]()
        board, shower = Board(clock=Clock()), Lines(lines.append, every_file=every_file)
        files = [f"whl/f{number}-1-py3-none-any.whl" for number in range(100)]
        board.plan(dict.fromkeys(files, 1000))
        for file in files:
            board.begin(file, 1000, 0)
            board.advance(file, 1000, 1000)
            board.end(file)
        show(board, shower)
        assert len(lines) == expected


def test_a_night_makes_few_lines() -> None:
    seconds, lines = 0.0, 0
    while seconds < 8 * 3600:
        seconds += pause_after(seconds)
        lines += 1
    assert lines < 1100
    assert pause_after(0) == 5


def test_what_is_said_again_and_again_is_counted() -> None:
    repeats = Repeats()
    text = "the transfer of http://host/torch-2.4.0.whl broke off after {} bytes; trying again"
    said = [repeats.passed(text.format(number), now=number / 100) for number in range(5000)]
    shown = [one for one in said if one is not None]
    assert len(shown) == 50 / REPEAT_SECONDS
    assert shown[0] == text.format(0)
    assert shown[1].endswith("(999 times more in the meantime)")
    assert repeats.passed(text.replace("2.4.0", "2.5.0").format(1), now=50.0) is not None


# The way it is told -------------------------------------------------------------------------------------------------


def drive(progress: Progress) -> None:
    progress.plan({SYMPY: 10})
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
    assert captured.err.splitlines() == ["fetching: 1 file, 10 B", "one sentence", "fetched 10 B in 0 s"]


def test_nothing_to_fetch_is_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(session(0)):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fails", [False, True])
def test_on_a_terminal_there_is_a_block_and_it_goes(*, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")

    def work() -> None:
        with shown_progress(session(0)) as progress:
            progress.plan({SYMPY: 10})
            progress.begin(SYMPY, 10, 0)
            deadline = time.monotonic() + 30
            while "sympy" not in screen.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            work()
    else:
        work()
    assert "fetching  0/1  0%" in screen.getvalue()
    end = screen.getvalue().rpartition("\x1b[J")[2]
    assert end == ("fetched 0 B in 0 s; 0 B of 10 B are there\n" if fails else "fetched 0 B in 0 s\n")


@pytest.mark.parametrize(("named", "term", "expected"), [
    (Style.AUTO, "xterm", Style.BARS),
    (Style.AUTO, "dumb", Style.LINES),
    (Style.BARS, "dumb", Style.LINES),
    (Style.JSON, "xterm", Style.JSON),
    (Style.LINES, "xterm", Style.LINES),
    (Style.NONE, "xterm", Style.NONE),
])  # fmt: skip
def test_which_way_fits_a_terminal(named: Style, term: str, expected: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    assert session(0, style=named).shown_style is expected


def test_choosing_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with shown_wait(session(0), "choosing"):
        deadline = time.monotonic() + 30
        while "choosing, 1 s" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert screen.getvalue().startswith("\rchoosing, 1 s\x1b[K")
    assert screen.getvalue().endswith("\r\x1b[J")


def test_which_way_fits_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    del capsys
    assert session(0).shown_style is Style.LINES
    assert session(0, style=Style.BARS).shown_style is Style.LINES
    assert session(0, as_json=True).shown_style is Style.JSON
    assert session(-1, as_json=True).shown_style is Style.NONE
    assert Session(mirror=Path("cache"), as_json=True, verbosity=0).shown_style is Style.LINES


def test_events_are_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    asked = session(0, style=Style.JSON)
    with shown_progress(asked) as progress:
        drive(progress)
        progress.begin(TORCH, None, 5)
        progress.doing(TORCH, Doing.WAITING, host="host", seconds=1.5, reason="503")
        progress.advance(TORCH, 2, 100)
        progress.end(TORCH, Outcome.FAILED)
    asked.warn("a\nb\x1b[2J火")
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert err.isascii()
    assert "\x1b" not in err
    assert [event["event"] for event in events] == [
        "plan", "begin", "message", "end", "begin", "doing", "restart", "end", "progress", "warning",
    ]  # fmt: skip
    assert events[6] | {"time": ""} == {"event": "restart", "time": "", "file": TORCH, "before": 5, "position": 2}
    assert (events[-2]["ended"], events[-2]["failed"], events[-2]["complete"]) == (2, 1, True)
    assert events[-1]["text"] == "a\nb\x1b[2J火"


def test_what_is_told_of_a_file_under_way() -> None:
    standing = stood(under_way(doing=Doing.WAITING, until=12.5, reason="503"))
    document = progress_document(standing)
    assert document["bytes_per_second"] == 50_000_000
    assert document["active"] == [
        {
            "file": TORCH, "size": 200, "position": 50, "doing": "waiting",
            "host": "download.pytorch.org", "seconds": 2.5, "reason": "503",
        }
    ]  # fmt: skip
    assert document_of(Restarted(file=TORCH, before=2, position=1))[0] == "restart"
