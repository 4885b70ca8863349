"""What we choose for a foreign machine is what uv installs for it, file by file, but for differences with a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.oracles.cases import FOREIGN_CASES, PLATFORMS, Platform, foreign_cases
from tests.oracles.questions import ask_uv

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracles.questions import Desk

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.ours)
def test_same_files_as_uv(platform: Platform, desk: Desk, tmp_path: Path) -> None:
    cases = [case for case in foreign_cases(desk.files(), FOREIGN_CASES) if case.platform == platform]
    assert len(cases) >= 10  # win_arm64 and musl have few builds
    outcomes = {str(case): ask_uv(case, desk, tmp_path) for case in cases}
    assert [case for case, outcome in outcomes.items() if outcome is None] == []
