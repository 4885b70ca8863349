"""A short campaign of kills; ``kill_campaign.py`` by hand is a long one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.mirror.kill_campaign import Campaign, command_line, library, several_wheels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("connections", [1, 16])
def test_no_kill_costs_what_was_safe_or_leaves_anything_behind(tmp_path: Path, connections: int) -> None:
    with library(several_wheels(20_000), pace=400_000) as upstream:
        campaign = Campaign(upstream, connections=connections, longest=0.5, chance=random.Random())
        tally = campaign.run(3, tmp_path)
    assert tally.problems == []
    assert tally.kills >= 3
    assert tally.successes > 0
    assert tally.continued > 0


def test_no_kill_of_the_command_costs_what_was_safe_or_leaves_anything_behind(tmp_path: Path) -> None:
    sizes = {"torch-2.4.0": 1_500_000, "torchvision-0.19.0": 500_000}
    with command_line(sizes, pace=1_000_000) as upstream:
        tally = Campaign(upstream, connections=16, longest=2.0, chance=random.Random()).run(2, tmp_path)
    assert tally.problems == []
    assert tally.kills >= 2
    assert tally.successes > 0
