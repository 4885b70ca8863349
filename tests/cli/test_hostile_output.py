"""What others wrote is shown to a reader, and never obeyed by the reader's terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import report
from pytorch_offline.cli.session import Session, render_json
from pytorch_offline.cli.streams import shown
from pytorch_offline.errors import UsageError
from tests.cli.in_process import LINUX, Tool

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "clear \x1b[2J, title \x1b]0;x\x07, C1 \x9b31m, back \x08\r, turned \u202egpj.exe\u2066"


def test_signs_for_the_terminal_are_written_out() -> None:
    text = shown(f"{HOSTILE}\n\ttwo lines, Grüße, 火炬")
    assert text.startswith(r"clear \x1b[2J, title \x1b]0;x\x07, C1 \x9b31m, back \x08\r, turned \u202egpj.exe\u2066")
    assert text.endswith("\n\ttwo lines, Grüße, 火炬")


def test_results_messages_warnings_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(mirror=tmp_path, as_json=False, verbosity=0)
    session.result({}, HOSTILE)
    session.message(HOSTILE)
    session.warn(HOSTILE)
    error = UsageError("x", HOSTILE, facts={HOSTILE: HOSTILE}, hint=HOSTILE, sections={HOSTILE: [HOSTILE]})
    report(error, session)
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07\x08\r\x9b\u202e\u2066")
    assert out == f"{shown(HOSTILE)}\n"


def test_a_fact_of_several_has_a_line_for_each_and_none_for_the_sentence_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"failed files": ["one", "two"], "also": ["code: it is gone", "other: it is elsewhere"], "in_hand": 3}
    report(UsageError("x", "it is gone", facts=facts), Session(mirror=tmp_path, as_json=False, verbosity=0))
    assert capsys.readouterr().err.splitlines() == [
        "error: it is gone",
        "  failed files: one",
        "  failed files: two",
        "  also: other: it is elsewhere",
        "  in_hand: 3",
    ]


def test_json_says_the_same_and_holds_no_such_sign() -> None:
    text = render_json({HOSTILE: HOSTILE})
    assert not set(text) & set("\x1b\x07\x08\r\x9b\u202e\u2066\x7f")
    assert json.loads(text) == {HOSTILE: HOSTILE}


@pytest.mark.parametrize("name", ["a\0b.txt", "/dev/zero"])
def test_what_is_no_file_of_requirements(tool: Tool, name: str) -> None:
    (tool.directory / "r.txt").write_text(f"-r {name}\n")
    _, err = tool.run("select", "-r", "r.txt", *LINUX, expect=2)
    assert "requirements file" in err
    assert "\0" not in err
