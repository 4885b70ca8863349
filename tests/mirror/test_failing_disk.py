"""A slice of ``failing_disk``: each time another one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.mirror import failing_disk
from tests.mirror.failing_disk import DONE, MEANINGS, check, serve, whole

if TYPE_CHECKING:
    from pathlib import Path

CASES = 30


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: nobody cuts the power during these tests."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_whatever_call_fails_the_next_run_finishes(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with serve() as server:
        steps, expected = whole(server, tmp_path / "whole")
        assert steps > 80
        outcomes = set()
        for case in range(CASES):
            step, number, for_good = chance.randint(1, steps), chance.choice(list(MEANINGS)), chance.random() < 0.5
            told = f"case {case} of seed {seed}: step {step}, errno {number}, for good: {for_good}"
            try:
                outcomes.add(check(server, tmp_path / str(case), step, number, expected, for_good=for_good))
            except AssertionError as error:
                raise AssertionError(told) from error
    assert outcomes - {DONE, failing_disk.NOT_REACHED}
