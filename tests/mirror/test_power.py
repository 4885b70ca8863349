"""Only what was synced survives a power cut, and what a failed fsync dropped is not believed afterwards."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UpstreamError
from tests.mirror.loopback import Loopback
from tests.mirror.power import (
    WHEELS,
    FailingDisk,
    SteppingDisk,
    bring,
    cut,
    leftovers,
    many_connections,
    problems,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.fsync", lambda _: None)
    with many_connections():
        yield


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.mark.parametrize("connections", [1, 16])
def test_after_a_power_cut_nothing_bad_shows_and_no_sidecar_vouches_for_what_was_lost(
    server: Loopback, tmp_path: Path, connections: int
) -> None:
    cuts = 0
    for fatal in range(2, 500, 15):
        scratch = tmp_path / str(fatal)
        reached, wrong = cut(scratch, server, fatal=fatal, connections=connections)
        assert wrong == []
        if not reached:
            break
        cuts += 1
    assert cuts > 4


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("kind", ["sync", "sync directory", "write", "append", "replace"])
def test_a_failed_step_is_told_and_what_it_lost_comes_again(
    server: Loopback, tmp_path: Path, kind: str, code: int
) -> None:
    serve(server, connections=1)
    counting = SteppingDisk()
    bring(tmp_path / "whole", server, disk=counting)
    every = max(1, counting.kinds[kind] // 4)
    told, failures = [], 0
    for number in range(1, counting.kinds[kind] + 1, every):
        root = tmp_path / str(number)
        disk = FailingDisk(kind, lambda count, _, number=number: count == number, code)  # type: ignore[misc]
        serve(server, connections=1)
        try:
            bring(root, server, disk=disk)
        except UpstreamError as error:
            told.append((error.code, error.exit_code))
        if disk.failed_at is None:
            continue  # what is done in the background is done less often on a busy machine
        failures += 1
        disk.forget()
        assert problems(root) == [], number
        server.faults.clear()
        bring(root, server)
        assert problems(root) == []
        assert all((root / wheel.path).is_file() for wheel in WHEELS)
        assert leftovers(root) == set(), number
    assert failures > 0
    assert told == [("disk-failed" if code == errno.EIO else "disk-full", 3)] * failures


def test_bytes_that_a_failed_fsync_dropped_are_fetched_again_and_no_others(server: Loopback, tmp_path: Path) -> None:
    """The large file is whole, and cannot be synced: the sidecar speaks of the bytes of an earlier, good sync."""
    large, small = WHEELS  # the small one is not begun: the disk is lost
    serve(server, connections=1)
    disk = FailingDisk("sync", lambda _, path: large.sha256 in path.name and path.stat().st_size == len(large.body))
    with pytest.raises(UpstreamError, match="failed"):
        bring(tmp_path, server, disk=disk)
    assert disk.failed_at is not None
    disk.forget()
    saved = json.loads(disk.failed_at.with_name(f"{disk.failed_at.name}.json").read_text())["completed"]
    assert 0 < saved < len(large.body)
    server.faults.clear()
    assert bring(tmp_path, server) == len(large.body) - saved + len(small.body)
    assert problems(tmp_path) == []
