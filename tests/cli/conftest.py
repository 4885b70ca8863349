from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.in_process import Tool

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.chdir(tmp_path)
    return Tool(tmp_path, capsys.readouterr)
