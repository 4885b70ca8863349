"""What we choose for an interpreter is what its own pip resolves, file by file, but for differences with a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interpreters import MINORS, interpreter
from tests.oracles.cases import INTERPRETER_CASES, interpreter_cases
from tests.oracles.questions import ask_pip, platform_tag

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracles.questions import Desk

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("minor", MINORS)
def test_same_files_as_pip(minor: str, desk: Desk, tmp_path: Path) -> None:
    python = interpreter(minor)
    cases = [one for one in interpreter_cases(desk.files(), platform_tag(), INTERPRETER_CASES) if one.minor == minor]
    assert len(cases) >= 5  # of the oldest Pythons there are few builds
    outcomes = {}
    for number, case in enumerate(cases):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        outcomes[str(case)] = ask_pip(case, python, desk, scratch)
    assert [case for case, outcome in outcomes.items() if outcome is None] == []
