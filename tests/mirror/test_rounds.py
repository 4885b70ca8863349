"""Scrubbing by age: what is due, in which order, and what a kill leaves."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror import scrub
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.rounds import LOG_NAME, Rounds, recent_files
from pytorch_offline.mirror.scrub import Pace
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, now

if TYPE_CHECKING:
    from pathlib import Path

WHEELS = (TORCH_CPU, TORCH_CUDA, SYMPY)


def later() -> datetime:
    return now() + timedelta(days=40)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for wheel in WHEELS:
            wheel.admit(mirror)
        mirror.publish()
    return mirror


@given(hashes=st.lists(st.integers(0, 2**256 - 1), min_size=60, max_size=60, unique=True))
def test_files_of_one_night_come_due_over_half_the_time_and_none_too_late(hashes: list[int]) -> None:
    files = [SYMPY.row(path=SYMPY.path.with_name(f"{n}"), sha256=f"{one:064x}") for n, one in enumerate(hashes)]
    age = timedelta(days=30)
    verified = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
    due = [len(files) - len(recent_files(files, age, verified + timedelta(days=day), spread=True)) for day in range(32)]
    assert due[:15] == [0] * 15
    assert due[30:] == [60, 60]
    assert due == sorted(due)
    assert recent_files(files, age, verified + timedelta(days=29)) == {file.path for file in files}


def test_what_a_killed_run_had_verified_is_not_read_again(mirror: Mirror) -> None:
    rounds = Rounds(mirror.state)
    rows = mirror.read_files()
    rounds.note([SYMPY.row(verified_at="2026-10-01T00:00:00Z")])
    with (mirror.state / LOG_NAME).open("ab") as log:
        log.write(b'\n{"path": "whl/torn')
    assert rounds.applied(rows)[SYMPY.path].verified_at == "2026-10-01T00:00:00Z"
    report = verify_mirror(mirror, older_than=timedelta(days=1), now=lambda: datetime(2026, 10, 1, 6, tzinfo=UTC))
    assert report.recent == 1
    assert report.bytes_read == len(TORCH_CPU.body) + len(TORCH_CUDA.body)
    assert not (mirror.state / LOG_NAME).exists()
    verified = {path: row.verified_at for path, row in mirror.read_files().items()}
    assert verified[SYMPY.path] == "2026-10-01T00:00:00Z"
    assert verified[TORCH_CPU.path] == "2026-10-01T06:00:00Z"


def test_a_note_of_other_bytes_does_not_count(mirror: Mirror) -> None:
    rounds = Rounds(mirror.state)
    rounds.note([SYMPY.row(sha256="0" * 64, verified_at="2026-10-01T00:00:00Z")])
    assert rounds.applied(mirror.read_files())[SYMPY.path].verified_at == "2026-08-22T12:00:00Z"


def test_without_time_nothing_is_begun_and_the_longest_wait_is_told(mirror: Mirror) -> None:
    report = verify_mirror(mirror, pace=Pace(jobs=1, seconds=0), now=later)
    assert (report.postponed, report.recent, report.bytes_read) == (3, 0, 0)
    assert report.oldest == "2026-08-22T12:00:00Z"
    assert report.findings == ()


def test_with_little_time_what_was_verified_longest_ago_goes_first(mirror: Mirror) -> None:
    Rounds(mirror.state).note(
        [SYMPY.row(verified_at="2026-09-02T00:00:00Z"), TORCH_CPU.row(verified_at="2026-09-01T00:00:00Z")]
    )
    order: list[str] = []
    reading = scrub.read_wheels(
        mirror.root,
        Rounds(mirror.state).applied(mirror.read_files()).values(),
        pace=Pace(jobs=1, seconds=1000),
        progress=Silent(),
        verified=lambda files: order.extend(str(file.path) for file in files),
    )
    assert order == [str(TORCH_CUDA.path), str(TORCH_CPU.path), str(SYMPY.path)]
    assert reading.postponed == []


def test_a_rate_is_held(mirror: Mirror) -> None:
    size = sum(len(wheel.body) for wheel in WHEELS)
    report = verify_mirror(mirror, pace=Pace(jobs=3, rate=size * 2), now=later)
    assert report.seconds >= 0.4
