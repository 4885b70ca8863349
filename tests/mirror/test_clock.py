"""The wall clock jumps by hours and years while files come: waits, patience, resumption and the log go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHEEL = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 200_000)
PATH = f"/{WHEEL.path}"
TODAY = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
JUMPS = {
    "hours forwards": [timedelta(0), timedelta(hours=5)],
    "hours to and fro": [timedelta(0), timedelta(hours=5), timedelta(hours=-7), timedelta(hours=1)],
    "years forwards": [timedelta(0), timedelta(days=3650)],
    "years backwards": [timedelta(0), timedelta(days=-18_000)],
}


def jumping(jumps: list[timedelta]) -> Callable[[], datetime]:
    moments = cycle(jumps)
    return lambda: TODAY + next(moments)


@pytest.mark.parametrize("name", JUMPS)
def test_a_clock_that_jumps_costs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    now = jumping(JUMPS[name])
    mirror = Mirror(tmp_path / "mirror")
    retry = RetryPolicy(tries=4, first_wait=0.01, longest_wait=0.02)  # which bounds what Retry-After asks for, too
    with (
        Loopback() as server,
        Http(timeouts=Timeouts(connect=2.0, read=0.3), now=now) as http,
        Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue,
    ):
        log = DriftLog(catalogue, now=now)
        server.put(PATH, WHEEL.body)
        server.files[PATH].etag = None  # the date of the last change alone guards the seam
        server.fail(
            PATH,
            Fault(truncate_at=70_000),
            Fault(status=503, retry_after=(TODAY + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")),
            Fault(stall_at=70_000),
        )
        wanted = WHEEL.wanted(urls=(server.url(PATH),))
        report = fetch_files(mirror, [wanted], http, retry=retry, now=now, log=log)
        assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
        assert report.bytes_downloaded == len(WHEEL.body), "nothing came twice"
        for _ in range(4):
            log.note(server.url(PATH), sha256=WHEEL.sha256, size=len(WHEEL.body), etag=None, last_modified=None)
        assert all(receipt.first_seen <= receipt.last_seen for receipt in catalogue.receipts(PATH))


def test_what_was_verified_in_the_future_is_verified_again(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        WHEEL.admit(mirror)
        mirror.publish()
    (mirror.root / WHEEL.path).write_bytes(WHEEL.body[:-1] + b"\xff")
    long_before = datetime(2001, 1, 1, tzinfo=UTC)
    report = verify_mirror(mirror, older_than=timedelta(days=30), now=lambda: long_before)
    assert [finding.path for finding in report.findings] == [WHEEL.path]
