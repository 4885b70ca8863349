"""docs/codes.md tells every code that the package can give, and none besides."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from pytorch_offline.errors import IntegrityError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.selector.reasons import Reason
from tests.conftest import REPOSITORY

FAMILIES = {
    "UsageError": UsageError,
    "UpstreamError": UpstreamError,
    "IntegrityError": IntegrityError,
    "UnsatisfiableError": UnsatisfiableError,
    "NothingFitsError": UnsatisfiableError,
}
PAGE = (REPOSITORY / "docs" / "codes.md").read_text(encoding="utf-8")
SECTIONS = {title.splitlines()[0]: title for title in PAGE.split("\n## ")[1:]}


def told(section: str) -> set[str]:
    """Read the codes that the tables of a section begin their rows with."""
    rows = (row.split("|")[1] for row in section.splitlines() if row.startswith("| `"))
    return {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}


@cache
def raised() -> dict[int, set[str]]:
    """Collect the codes that are written where errors are made, by exit code."""
    codes: dict[int, set[str]] = {}
    for path in (REPOSITORY / "pytorch_offline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILIES:
                exit_code = FAMILIES[node.func.id].exit_code
                code = node.args[0] if node.args else None
                for written in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
                    if isinstance(written, ast.Constant):
                        codes.setdefault(exit_code, set()).add(str(written.value))
    return codes


@pytest.mark.parametrize("exit_code", [2, 3, 4, 5])
def test_every_code_that_is_raised_is_told_with_its_exit_code(exit_code: int) -> None:
    section = next(text for title, text in SECTIONS.items() if title.endswith(f"({exit_code})"))
    # Chosen where targets that failed are put together, by what they failed by.
    together = {2: {"targets-unknown"}, 5: {"targets-unsatisfiable"}}.get(exit_code, set())
    assert told(section) == raised()[exit_code] | together


def test_every_reason_is_told() -> None:
    assert told(SECTIONS["Reasons of rejections"]) == {reason.value for reason in Reason}
