"""A slice of ``failing_disk``: each time another one."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.store import Mirror
from tests.mirror import failing_disk
from tests.mirror.failing_disk import DONE, MEANINGS, WHEELS, check, fetch, serve, whole

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


class RefusingDisk(Disk):
    """Says a number of whatever is to be made durable of one wheel."""

    def __init__(self, sha256: str, number: int) -> None:
        self._sha256 = sha256
        self._number = number

    def sync(self, path: Path) -> None:
        """Sync, or not."""
        if path.name.startswith(self._sha256):
            raise OSError(self._number, os.strerror(self._number), str(path))
        super().sync(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENODEV, errno.ENOSPC])
def test_a_disk_that_is_lost_stops_the_run(tmp_path: Path, number: int) -> None:
    largest = WHEELS[0]
    with serve() as server:
        with pytest.raises(PytorchOfflineError):
            fetch(server, tmp_path, RefusingDisk(largest.sha256, number))
        assert {request.path for request in server.requests} == {f"/{largest.path}"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EFBIG, errno.ENAMETOOLONG])
def test_a_file_that_is_refused_does_not_keep_the_others_from_coming(tmp_path: Path, number: int) -> None:
    largest, *others = WHEELS
    with serve() as server, pytest.raises(PytorchOfflineError):
        fetch(server, tmp_path, RefusingDisk(largest.sha256, number))
    assert sorted(Mirror(tmp_path).read_files()) == sorted(wheel.path for wheel in others)
