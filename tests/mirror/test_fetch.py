"""Many files into a mirror: what is there already, what fits, what fails, what an interrupt leaves."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from pytorch_offline.crawler.catalogue import Catalogue, Fetched
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.crawler.model import Link, Page, PageKind
from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.mirror.fetch import FetchReport, fetch_files
from pytorch_offline.mirror.model import HashOrigin
from pytorch_offline.mirror.progress import Doing, Outcome, Silent, Stage
from pytorch_offline.mirror.room import MARGIN, Room
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.workers import Stop, Stopped, for_each
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.wheels import Wheel, craft_wheel, now, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytorch_offline.mirror.model import WantedFile

TORCH = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 400_000)
VISION = sized_wheel("whl/cpu/torchvision-0.9+cpu-py3-none-any.whl", 200_000, seed=1)
SYMPY = sized_wheel("whl/sympy-1.2-py3-none-any.whl", 100_000, seed=2)
ALL = (SYMPY, TORCH, VISION)
QUICK = RetryPolicy(tries=2, first_wait=0.01, longest_wait=0.02)


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: nobody cuts the power during these tests."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        for wheel in ALL:
            server.put(f"/{wheel.path}", wheel.body)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(timeouts=Timeouts(connect=2.0, read=5.0)) as http:
        yield http


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror")


class Recorder(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.plans: list[tuple[Stage, int, int]] = []
        self.hosts: set[str] = set()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.said: list[str] = []
        self.positions: dict[str, int] = {}

    def plan(
        self, sizes: Mapping[str, int | None], *, stage: Stage = Stage.FETCH, already: int = 0, already_size: int = 0
    ) -> None:
        del already, already_size
        self.plans.append((stage, len(sizes), sum(size or 0 for size in sizes.values())))

    def begin(self, file: str, size: int | None, position: int) -> None:
        del size
        self.begun.append(file)
        self.positions[file] = position

    def advance(self, file: str, position: int, size: int | None) -> None:
        assert size is None or position <= size
        self.positions[file] = position

    def doing(
        self,
        file: str,
        doing: Doing,
        *,
        host: str | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> None:
        del seconds, reason
        assert file in self.begun
        if doing is Doing.RECEIVING:
            assert host is not None
            self.hosts.add(host)

    def end(self, file: str, outcome: Outcome = Outcome.DONE) -> None:
        del outcome
        self.ended.append(file)

    def say(self, message: str) -> None:
        self.said.append(message)


def wanted(server: Loopback, *wheels: Wheel, **changes: object) -> list[WantedFile]:
    return [wheel.wanted(urls=(server.url(f"/{wheel.path}"),), **changes) for wheel in wheels]


def test_files_come_and_are_published(server: Loopback, http: Http, mirror: Mirror) -> None:
    recorder = Recorder()
    report = fetch_files(mirror, wanted(server, *ALL), http, progress=recorder, now=now)
    assert [row.path for row in report.downloaded] == sorted(wheel.path for wheel in ALL)
    assert report.already == ()
    assert report.bytes_downloaded == sum(len(wheel.body) for wheel in ALL)
    assert mirror.read_files() == {row.path: row for row in report.downloaded}
    for wheel in ALL:
        assert (mirror.root / wheel.path).read_bytes() == wheel.body
    assert (mirror.root / "whl/cpu/torch/index.html").is_file()
    assert recorder.plans == [(Stage.FETCH, 3, report.bytes_downloaded)]
    assert recorder.hosts == {urlsplit(server.url("/")).netloc}
    assert sorted(recorder.begun) == sorted(recorder.ended) == sorted(str(wheel.path) for wheel in ALL)
    assert recorder.positions == {str(wheel.path): len(wheel.body) for wheel in ALL}
    assert not list(mirror.partial.iterdir())


def test_a_second_fetch_asks_for_nothing(server: Loopback, http: Http, mirror: Mirror) -> None:
    first = fetch_files(mirror, wanted(server, *ALL), http, now=now)
    before = tree(mirror.root)
    server.requests.clear()
    for changes in ({}, {"sha256": None, "size": None}):
        again = fetch_files(mirror, wanted(server, *ALL, **changes), http, now=now)
        assert again == FetchReport(downloaded=(), already=first.downloaded, bytes_downloaded=0)
    assert server.requests == []
    assert tree(mirror.root) == before


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_a_listed_file_that_is_not_as_listed_comes_again(
    damage: str, server: Loopback, http: Http, mirror: Mirror
) -> None:
    fetch_files(mirror, wanted(server, *ALL), http, now=now)
    place = mirror.root / TORCH.path
    if damage == "gone":
        place.unlink()
    else:
        os.truncate(place, 100)
    server.requests.clear()
    report = fetch_files(mirror, wanted(server, *ALL), http, now=now)
    assert [row.path for row in report.downloaded] == [TORCH.path]
    assert {request.path for request in server.requests} == {f"/{TORCH.path}"}
    assert place.read_bytes() == TORCH.body


def test_a_directory_serves_as_well_as_a_host(http: Http, mirror: Mirror, tmp_path: Path) -> None:
    source = tmp_path / TORCH.path.name
    source.write_bytes(TORCH.body)
    report = fetch_files(mirror, [TORCH.wanted(urls=(source.as_uri(),), size=None)], http, now=now)
    assert [row.sha256 for row in report.downloaded] == [TORCH.sha256]


def test_unpublished_facts_are_computed_and_say_so(server: Loopback, http: Http, mirror: Mirror) -> None:
    report = fetch_files(mirror, wanted(server, TORCH, sha256=None, size=None), http, now=now)
    assert [(row.sha256, row.size, row.hash_origin) for row in report.downloaded] == [
        (TORCH.sha256, len(TORCH.body), HashOrigin.COMPUTED)
    ]


def test_unknown_sizes_are_asked_for_and_the_biggest_comes_first(server: Loopback, http: Http, mirror: Mirror) -> None:
    recorder = Recorder()
    fetch_files(mirror, wanted(server, *ALL, size=None), http, jobs=1, progress=recorder, now=now)
    assert recorder.plans == [(Stage.FETCH, 3, sum(len(wheel.body) for wheel in ALL))]
    assert recorder.begun == [str(wheel.path) for wheel in (TORCH, VISION, SYMPY)]
    asked = Counter(request.range for request in server.requests)
    assert asked == {"bytes=0-0": 3, None: 3}


def test_several_files_come_at_once(server: Loopback, http: Http, mirror: Mirror) -> None:
    """Each answer is held back until all have been asked for."""
    barrier = threading.Barrier(len(ALL), timeout=10)

    class Together(Recorder):
        def begin(self, file: str, size: int | None, position: int) -> None:
            barrier.wait()
            super().begin(file, size, position)

    report = fetch_files(mirror, wanted(server, *ALL), http, jobs=3, progress=Together(), now=now)
    assert len(report.downloaded) == 3


def test_a_file_that_fails_does_not_stop_the_others(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[f"/{TORCH.path}"] = Fault(status=404)
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, wanted(server, *ALL), http, now=now, retry=QUICK)
    assert caught.value.code == "file-absent"
    assert caught.value.facts["file"] == TORCH.path.name
    assert sorted(mirror.read_files()) == sorted([SYMPY.path, VISION.path])
    assert (mirror.root / "whl/sympy/index.html").is_file()
    assert not (mirror.root / TORCH.path).exists()


def test_wrong_bytes_are_told_and_no_longer_counted(server: Loopback, http: Http, mirror: Mirror) -> None:
    bad, good = f"/elsewhere/{TORCH.path}", f"/{TORCH.path}"
    server.files[bad] = server.files[good]
    server.always[bad] = Fault(corrupt_at=5000)
    recorder = Recorder()
    fetch_files(
        mirror, [TORCH.wanted(urls=(server.url(bad), server.url(good)))], http, now=now, retry=QUICK, progress=recorder
    )
    (told,) = recorder.said
    assert told.startswith(f"the bytes of {TORCH.path.name} are not those that its index published; trying ")

    server.always[good] = Fault(corrupt_at=5000)
    other = Mirror(mirror.root / "other")
    with pytest.raises(IntegrityError):
        fetch_files(other, wanted(server, TORCH), http, now=now, retry=QUICK, progress=recorder)
    assert recorder.positions[str(TORCH.path)] == 0


def test_of_several_failures_the_worst_is_raised_and_all_are_told(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[f"/{TORCH.path}"] = Fault(status=503)
    server.always[f"/{VISION.path}"] = Fault(corrupt_at=5000)
    server.always[f"/{SYMPY.path}"] = Fault(status=404)
    with pytest.raises(IntegrityError) as caught:
        fetch_files(mirror, wanted(server, *ALL), http, now=now, retry=QUICK)
    assert caught.value.code == "hash-mismatch"
    told = caught.value.facts["failed files"]
    assert isinstance(told, list)
    assert [line.partition(":")[0] for line in told] == sorted(str(wheel.path) for wheel in ALL)


def remembered(server: Loopback, catalogue: Catalogue, *days: tuple[str, datetime]) -> DriftLog:
    """Let a page of torch publish one hash after another."""
    page = server.url("/whl/cpu/torch/")
    for sha256, day in days:
        path = f"/{TORCH.path}"
        link = Link(filename=TORCH.path.name, path=path, url=server.url(path), sha256=sha256)
        fetched = Fetched(final_url=page, body_sha256="0" * 64, parser=1)
        catalogue.store_page(page, Page(kind=PageKind.FILES, links=(link,)), fetched, now=day)
    return DriftLog(catalogue, now=now)


def test_wrong_bytes_are_told_with_both_hashes_sources_and_days(
    server: Loopback, http: Http, mirror: Mirror, tmp_path: Path
) -> None:
    old = sized_wheel(str(TORCH.path), 300_000, seed=9)
    server.put(f"/{TORCH.path}", old.body)
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        april, may = datetime(2025, 4, 23, tzinfo=UTC), datetime(2025, 5, 14, tzinfo=UTC)
        log = remembered(server, catalogue, (old.sha256, april), (TORCH.sha256, may))
        with pytest.raises(IntegrityError) as caught:
            fetch_files(mirror, wanted(server, TORCH, size=None), http, now=now, retry=QUICK, log=log)
        facts = caught.value.facts
        page = server.url("/whl/cpu/torch/")
        assert caught.value.code == "hash-mismatch"
        assert (facts["published"], facts["actual"]) == (TORCH.sha256, old.sha256)
        assert facts["published by"] == f"{page} published from 2025-05-14 to 2025-05-14"
        assert facts["received bytes are"] == f"what {page} published from 2025-04-23 to 2025-04-23"
        assert facts["url"] == server.url(f"/{TORCH.path}")
        assert facts["found at"] == "2026-08-22T12:00:00Z"
        assert len(facts["uploaded again"]) == 2  # type: ignore[arg-type]
        assert "uploaded this file again" in str(caught.value.hint)
        (reason,) = mirror.rejected.glob("*.json")
        assert json.loads(reason.read_text())["facts"]["uploaded again"] == facts["uploaded again"]
        (receipt,) = catalogue.receipts(f"/{TORCH.path}")
        assert (receipt.sha256, receipt.size) == (old.sha256, len(old.body))


def test_what_came_is_noted_with_its_etag(server: Loopback, http: Http, mirror: Mirror, tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        fetch_files(mirror, wanted(server, *ALL), http, now=now, log=DriftLog(catalogue, now=now))
        noted = {receipt.path: receipt for receipt in catalogue.receipts()}
    assert noted.keys() == {f"/{wheel.path}" for wheel in ALL}
    for wheel in ALL:
        receipt = noted[f"/{wheel.path}"]
        assert (receipt.sha256, receipt.size) == (wheel.sha256, len(wheel.body))
        assert receipt.etag == server.files[f"/{wheel.path}"].etag
        assert receipt.first_seen == receipt.last_seen == "2026-08-22T12:00:00Z"


def test_no_memory_of_the_catalogue_is_on_the_disk_while_files_fill_it(
    server: Loopback, http: Http, mirror: Mirror, tmp_path: Path
) -> None:
    """SQLite maps a file as long as it is open, and a full btrfs ends whoever writes there (SIGBUS)."""
    place = tmp_path / "catalogue.sqlite"
    seen: list[list[str]] = []

    class Looking(Silent):
        def advance(self, file: str, position: int, size: int | None) -> None:
            del file, position, size
            seen.append([path.name for path in tmp_path.glob("catalogue.sqlite-*")])

    with Catalogue.open(place) as catalogue:
        log = remembered(server, catalogue, (TORCH.sha256, datetime(2025, 4, 23, tzinfo=UTC)))
        assert list(tmp_path.glob("catalogue.sqlite-*"))
        fetch_files(mirror, wanted(server, *ALL), http, now=now, jobs=1, progress=Looking(), log=log)
        assert len(catalogue.receipts()) == len(ALL)
    assert len(seen) >= len(ALL)
    assert not any(seen)


def test_a_log_that_cannot_be_written_costs_no_file(
    server: Loopback, http: Http, mirror: Mirror, tmp_path: Path
) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"no database" * 100)
    recorder = Recorder()
    log = DriftLog(Catalogue(tmp_path / "catalogue.sqlite"), now=now)
    assert len(fetch_files(mirror, wanted(server, TORCH), http, now=now, progress=recorder, log=log).downloaded) == 1
    assert any("was not noted" in line for line in recorder.said)


def test_a_name_with_other_bytes_than_before_says_when_upstream_changed_them(
    server: Loopback, http: Http, mirror: Mirror, tmp_path: Path
) -> None:
    fetch_files(mirror, wanted(server, TORCH), http, now=now)
    fresh = sized_wheel(str(TORCH.path), 300_000, seed=9)
    server.put(f"/{TORCH.path}", fresh.body)
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        april, may = datetime(2025, 4, 23, tzinfo=UTC), datetime(2025, 5, 14, tzinfo=UTC)
        log = remembered(server, catalogue, (TORCH.sha256, april), (fresh.sha256, may))
        with pytest.raises(IntegrityError) as caught:
            fetch_files(mirror, wanted(server, fresh), http, now=now, log=log)
    assert caught.value.code == "path-conflict"
    assert caught.value.facts["held bytes are"] == (
        f"what {server.url('/whl/cpu/torch/')} published from 2025-04-23 to 2025-04-23"
    )
    assert (mirror.root / TORCH.path).read_bytes() == TORCH.body


def test_a_wheel_that_the_gate_refuses_is_no_endless_loop(server: Loopback, http: Http, mirror: Mirror) -> None:
    bad = craft_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", wrong_record_for="__init__.py")
    server.put(f"/{bad.path}", bad.body)
    for sha256 in (bad.sha256, None):
        with pytest.raises(IntegrityError) as caught:
            fetch_files(mirror, wanted(server, bad, sha256=sha256), http, now=now)
        assert caught.value.code == "bad-wheel"
        assert not list(mirror.partial.iterdir())
    server.put(f"/{TORCH.path}", TORCH.body)
    assert fetch_files(mirror, wanted(server, TORCH), http, now=now).downloaded


def test_the_same_bytes_are_fetched_once_for_two_places(server: Loopback, http: Http, mirror: Mirror) -> None:
    twin = Wheel(path=PurePosixPath("whl") / TORCH.path.name, body=TORCH.body, metadata=TORCH.metadata)
    server.put(f"/{twin.path}", twin.body)
    report = fetch_files(mirror, wanted(server, TORCH, twin), http, now=now)
    assert [row.path for row in report.downloaded] == sorted([TORCH.path, twin.path])
    assert report.bytes_downloaded == len(TORCH.body)
    assert (mirror.root / TORCH.path).samefile(mirror.root / twin.path)


def test_a_file_wanted_twice_is_fetched_once(server: Loopback, http: Http, mirror: Mirror) -> None:
    report = fetch_files(mirror, wanted(server, TORCH, TORCH), http, now=now)
    assert len(report.downloaded) == 1
    assert len(server.requests) == 1


def test_two_files_cannot_have_one_place(server: Loopback, http: Http, mirror: Mirror) -> None:
    files = [*wanted(server, TORCH), *wanted(server, TORCH, sha256="0" * 64)]
    with pytest.raises(IntegrityError) as caught:
        fetch_files(mirror, files, http, now=now)
    assert caught.value.code == "path-conflict"


def test_other_bytes_than_those_listed_are_not_even_fetched(server: Loopback, http: Http, mirror: Mirror) -> None:
    fetch_files(mirror, wanted(server, TORCH), http, now=now)
    server.requests.clear()
    with pytest.raises(IntegrityError) as caught:
        fetch_files(mirror, wanted(server, TORCH, sha256="0" * 64), http, now=now)
    assert caught.value.code == "path-conflict"
    assert server.requests == []
    assert (mirror.root / TORCH.path).read_bytes() == TORCH.body


def test_a_file_without_an_address_is_said_to_have_none(http: Http, mirror: Mirror) -> None:
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, [TORCH.wanted(urls=())], http, now=now)
    assert caught.value.code == "no-address"


def test_nothing_wanted_is_nothing_done(http: Http, mirror: Mirror) -> None:
    assert fetch_files(mirror, [], http, now=now) == FetchReport(downloaded=(), already=(), bytes_downloaded=0)


def test_another_run_is_waited_for_and_that_is_said(server: Loopback, http: Http, mirror: Mirror) -> None:
    recorder = Recorder()
    started = threading.Event()
    free = threading.Event()

    def hold() -> None:
        with Mirror(mirror.root).lock():
            started.set()
            free.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert started.wait(10)

    class Waiting(Recorder):
        def say(self, message: str) -> None:
            recorder.say(message)
            free.set()

    fetch_files(mirror, wanted(server, TORCH), http, progress=Waiting(), now=now)
    holder.join()
    assert len(recorder.said) == 1
    assert "waiting" in recorder.said[0]


# Room ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_what_does_not_fit_is_not_begun(*, known: bool, server: Loopback, http: Http, mirror: Mirror) -> None:
    changes = {} if known else {"size": None}
    total = sum(len(wheel.body) for wheel in ALL)
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, wanted(server, *ALL, **changes), http, now=now, free=lambda _: total + MARGIN - 1)
    assert (caught.value.code, caught.value.exit_code) == ("disk-full", 3)
    assert caught.value.facts["bytes to come"] == total
    assert caught.value.facts["bytes free"] == total + MARGIN - 1
    assert {request.range for request in server.requests} <= {"bytes=0-0"}
    assert fetch_files(mirror, wanted(server, *ALL), http, now=now, free=lambda _: total + MARGIN).downloaded


def test_what_is_here_needs_no_room_again(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.fail(f"/{TORCH.path}", Fault(truncate_at=300_000), *[Fault(status=500)] * QUICK.tries)
    with pytest.raises(UpstreamError):
        fetch_files(mirror, wanted(server, TORCH), http, now=now, retry=QUICK)
    rest = len(TORCH.body) - 300_000
    assert fetch_files(mirror, wanted(server, TORCH), http, now=now, free=lambda _: rest + MARGIN).downloaded


def test_a_length_that_is_told_late_is_held_against_the_room_before_the_body_comes(
    server: Loopback, http: Http, mirror: Mirror
) -> None:
    server.tells_length = False
    recorder = Recorder()
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, wanted(server, TORCH, size=None), http, progress=recorder, now=now, free=lambda _: 1000)
    assert caught.value.code == "disk-full"
    assert caught.value.facts["bytes to come"] == len(TORCH.body)
    assert recorder.positions == {str(TORCH.path): 0}
    assert [request.status for request in server.requests] == [503, 200]


def test_room_is_counted_down_as_bytes_come(tmp_path: Path) -> None:
    room = Room(tmp_path, free=lambda _: MARGIN + 100)
    room.expect("a", 60)
    room.expect("b", 60)
    with pytest.raises(UpstreamError):
        room.check()
    room.took("a", 20)
    room.check()
    room.learn("a", 40)  # no news
    with pytest.raises(UpstreamError):
        room.learn("a", 41)


def test_a_disk_that_fills_up_stops_everything_and_keeps_what_came(
    server: Loopback, http: Http, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from pytorch_offline.mirror import partial

    large = sized_wheel(str(TORCH.path), 3_000_000)  # several pieces
    server.put(f"/{large.path}", large.body)
    written = 0
    limit = 2_500_000

    class Full(io.FileIO):
        def write(self, piece: object) -> int:
            nonlocal written
            if written >= limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = super().write(memoryview(piece)[: limit - written])  # type: ignore[arg-type]
            written += count
            return count

    monkeypatch.setattr(partial, "_open", Full)
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, wanted(server, large), http, now=now, retry=QUICK)
    assert (caught.value.code, caught.value.exit_code) == ("disk-full", 3)
    assert caught.value.facts["bytes free"]
    monkeypatch.undo()
    report = fetch_files(mirror, wanted(server, large), http, now=now)
    assert 0 < report.bytes_downloaded < len(large.body)
    assert (mirror.root / large.path).read_bytes() == large.body


# Stopping -----------------------------------------------------------------------------------------------------------


def test_an_interrupt_ends_waiting_threads_and_keeps_what_came(server: Loopback, http: Http, mirror: Mirror) -> None:
    """The servers stall for longer than the test may take; the interrupt comes from the thread that shows progress."""
    import _thread

    for wheel in ALL:
        server.always[f"/{wheel.path}"] = Fault(stall_at=90_000, stall_seconds=60)
    arrived = set()

    class Impatient(Recorder):
        def advance(self, file: str, position: int, size: int | None) -> None:
            super().advance(file, position, size)
            if position >= 90_000:
                arrived.add(file)
            if len(arrived) == len(ALL):
                _thread.interrupt_main()

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        fetch_files(mirror, wanted(server, *ALL), http, progress=Impatient(), now=now)
    assert tree(mirror.root) == {}
    assert len(list(mirror.partial.glob("*.part"))) == 3
    server.closing.set()
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    server.closing.clear()
    server.always.clear()
    report = fetch_files(mirror, wanted(server, *ALL), http, now=now)
    assert report.bytes_downloaded == sum(len(wheel.body) - 90_000 for wheel in ALL)


def test_work_is_stopped_by_what_it_raises() -> None:
    stop = Stop()
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise RuntimeError("three")
        done.append(item)

    with pytest.raises(RuntimeError, match="three"):
        for_each(range(10), work, jobs=1, stop=stop)
    assert done == [0, 1, 2]
    assert stop.is_set


def test_who_begins_to_wait_too_late_does_not_wait() -> None:
    class Waiting:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    stop, waiting = Stop(), Waiting()
    with stop.reaching(waiting):
        stop.set()
    assert waiting.aborted
    with pytest.raises(Stopped), stop.reaching(waiting):
        pass
    with pytest.raises(Stopped):
        stop.sleep(60)
    with pytest.raises(Stopped):
        stop.check()
