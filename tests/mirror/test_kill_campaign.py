"""A short campaign of kills; ``kill_campaign.py`` by hand is a long one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.mirror.kill_campaign import Campaign, several_wheels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("connections", [1, 16])
def test_no_kill_costs_what_was_safe_or_leaves_anything_behind(tmp_path: Path, connections: int) -> None:
    campaign = Campaign(
        several_wheels(20_000), connections=connections, pace=400_000, longest=0.5, chance=random.Random()
    )
    tally = campaign.run(3, tmp_path)
    assert tally.problems == []
    assert tally.kills >= 3
    assert tally.successes > 0
    assert tally.continued > 0
