"""One file on its way: what is on disk when, and what a later run makes of it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror import partial as partial_module
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.download import Download
from pytorch_offline.mirror.partial import SIDECAR_SUFFIX, Interval, PartialFile
from pytorch_offline.mirror.room import Room
from pytorch_offline.mirror.sidecar import Partial, parse_partial, render_partial
from pytorch_offline.mirror.workers import Stop
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.wheels import now

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.errors import IntegrityError
    from pytorch_offline.mirror.transfer import Complete

WHEEL = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 300_000)
URL_PATH = f"/{WHEEL.path}"
NEVER = Interval(size=1 << 60, seconds=1e9)
ALWAYS = Interval(size=1, seconds=0.0)


def claim(completed: int) -> Partial:
    return Partial(url_path=URL_PATH, sha256=WHEEL.sha256, length=None, validator=None, completed=completed)


class RecordingDisk(Disk):
    """Writes down what is done in which order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []

    def write(self, path: Path, body: bytes) -> None:
        self.steps.append(("write", path.name))
        super().write(path, body)

    def sync(self, path: Path) -> None:
        self.steps.append(("sync", path.name))

    def sync_directory(self, path: Path) -> None:
        self.steps.append(("sync directory", path.name))

    def replace(self, source: Path, target: Path) -> None:
        self.steps.append(("replace", target.name))
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self.steps.append(("remove", path.name))
        super().remove(path)


class CrashingDisk(RecordingDisk):
    """Fails at one step, and at every one after it, as a machine does that has lost its power."""

    def __init__(self, fatal: int) -> None:
        super().__init__()
        self.fatal = fatal

    def _step(self) -> None:
        if self.fatal == 0:
            raise OSError(errno.EIO, "the power is gone")
        self.fatal -= 1

    def write(self, path: Path, body: bytes) -> None:
        self._step()
        super().write(path, body)

    def sync(self, path: Path) -> None:
        self._step()
        super().sync(path)

    def sync_directory(self, path: Path) -> None:
        self._step()
        super().sync_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


def test_bytes_are_safe_before_the_sidecar_vouches_for_them(tmp_path: Path) -> None:
    disk = RecordingDisk()
    with PartialFile(tmp_path / "x.part", disk=disk, interval=NEVER) as part:
        part.write(b"abc")
        part.save(claim(999))
        part.save(claim(999))  # nothing new: nothing done
        assert disk.steps == [
            ("sync", "x.part"),
            ("write", "x.part.json.new"),
            ("replace", "x.part.json"),
            ("sync directory", tmp_path.name),
        ]
    assert parse_partial((tmp_path / "x.part.json").read_text()) == claim(3)


def test_the_sidecar_goes_before_its_bytes_do(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "x.part") as part:
        part.write(b"abc")
        part.save(claim(3))

    class Watching(RecordingDisk):
        def remove(self, path: Path) -> None:
            assert (tmp_path / "x.part").read_bytes() == b"abc"
            super().remove(path)

    disk = Watching()
    with PartialFile(tmp_path / "x.part", disk=disk) as part:
        part.empty()
    assert disk.steps == [("remove", "x.part.json"), ("sync directory", tmp_path.name)]
    assert (tmp_path / "x.part").read_bytes() == b""


@given(pieces=st.lists(st.binary(max_size=50)), kept=st.integers(1, 40))
def test_the_hash_is_that_of_the_bytes_on_disk(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], kept: int
) -> None:
    path = tmp_path_factory.mktemp("hash") / "x.part"
    path.write_bytes(bytes(range(60)))
    with PartialFile(path, interval=NEVER) as part:
        part.keep(kept)
        for piece in pieces:
            part.write(piece)
        assert part.size == kept + sum(map(len, pieces))
        assert part.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
        part.empty()
        part.write(b"anew")
        assert part.sha256() == hashlib.sha256(b"anew").hexdigest()
    assert path.read_bytes() == b"anew"


def test_saving_happens_by_size_and_by_time(tmp_path: Path) -> None:
    seconds = [0.0]
    disk = RecordingDisk()
    interval = Interval(size=10, seconds=5.0)
    with PartialFile(tmp_path / "x.part", disk=disk, interval=interval, clock=lambda: seconds[0]) as part:

        def saved() -> int:
            part._saving.finish()
            return sum(step == ("sync", "x.part") for step in disk.steps)

        part.write(b"123")
        part.save_now_and_then(claim(0))
        assert saved() == 1, "the first bytes are saved at once"
        part.write(b"123456789")
        part.save_now_and_then(claim(0))
        assert saved() == 1
        part.write(b"0")
        part.save_now_and_then(claim(0))
        assert saved() == 2
        part.write(b"1")
        part.save_now_and_then(claim(0))
        assert saved() == 2
        seconds[0] = 0.5
        part.save_now_and_then(claim(0))
        assert saved() == 3
        seconds[0] = 50.0
        part.save_now_and_then(claim(0))  # nothing new
        assert saved() == 3


@pytest.mark.parametrize("kept", [0, 1000])
def test_savings_come_as_the_seconds_double(tmp_path: Path, kept: int) -> None:
    seconds = [0.0]
    (tmp_path / "x.part").write_bytes(bytes(kept))
    disk = RecordingDisk()
    saved = []
    interval = Interval(size=1 << 30, seconds=5.0)
    with PartialFile(tmp_path / "x.part", disk=disk, interval=interval, clock=lambda: seconds[0]) as part:
        part.keep(kept)
        for tenth in range(1, 201):
            seconds[0] = tenth / 10
            part.write(b"x")
            part.save_now_and_then(claim(0))
            part._saving.finish()
            if disk.steps:
                saved.append(seconds[0])
                disk.steps.clear()
    assert saved == [0.1, 0.6, 1.2, 2.4, 4.8, 9.6, 14.6, 19.6]


def test_a_file_that_grows_is_saved_as_it_doubles(tmp_path: Path) -> None:
    disk = RecordingDisk()
    saved = []
    with PartialFile(tmp_path / "x.part", disk=disk, interval=Interval(size=8 << 20, seconds=1e9)) as part:
        for number in range(1, 33):
            part.write(bytes(1 << 20))
            part.save_now_and_then(claim(0))
            part._saving.finish()
            if disk.steps:
                saved.append(number)
                disk.steps.clear()
    assert saved == [1, 2, 4, 8, 16, 24, 32]


def test_no_saving_is_under_way_when_the_bytes_are_about_to_move(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(RecordingDisk):
        def sync(self, path: Path) -> None:
            begun.set()
            go_on.wait(10)
            super().sync(path)

    with PartialFile(tmp_path / "x.part", disk=Slow(), interval=NEVER) as part:
        part.write(b"abc")
        part.save_now_and_then(claim(0))
        assert begun.wait(10)
        timer = threading.Timer(0.05, go_on.set)
        timer.start()
        assert part.sha256() == hashlib.sha256(b"abc").hexdigest()
        (tmp_path / "x.part").rename(tmp_path / "elsewhere")
        part.reopen()  # it would say that the bytes are not there
        timer.join()
    assert not (tmp_path / "x.part.json").exists()


def test_what_the_disk_says_in_another_thread_is_heard(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "x.part", disk=CrashingDisk(0), interval=NEVER) as part:
        part.write(b"abc")
        with pytest.raises(OSError, match="power"):
            part.save(claim(3))
    assert not (tmp_path / "x.part.json").exists()


def test_a_start_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    path.write_bytes(b"abc")
    with PartialFile(path) as part:
        os.truncate(path, 2)
        part.size = 3
        part._hashing.do(lambda: part._hash_span(0, 3))
        with pytest.raises(OSError, match="shorter"):
            part.sha256()


def test_a_disk_that_takes_little_at_a_time_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little(io.FileIO):
        def write(self, piece: object) -> int:
            return super().write(memoryview(piece)[:3])  # type: ignore[arg-type]

    monkeypatch.setattr(partial_module, "_open", Little)
    with PartialFile(tmp_path / "x.part") as part:
        part.write(b"0123456789")
    assert (tmp_path / "x.part").read_bytes() == b"0123456789"


@pytest.mark.parametrize("text", ["", "{}", "\x00", render_partial(claim(4))])
def test_a_sidecar_that_does_not_fit_its_bytes_vouches_for_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"abc")
    (tmp_path / f"x.part{SIDECAR_SUFFIX}").write_text(text)
    with PartialFile(tmp_path / "x.part") as part:
        assert part.resume() is None


def run(server: Loopback, path: Path, *, disk: Disk | None = None, interval: Interval = ALWAYS) -> Complete:
    def no_wrong_bytes(error: IntegrityError) -> None:
        raise AssertionError(error)

    with Http() as http, PartialFile(path, disk=disk or RecordingDisk(), interval=interval) as part:
        return Download(
            WHEEL.wanted(urls=(server.url(URL_PATH),)),
            part,
            http=http,
            room=Room(path.parent),
            stop=Stop(),
            set_aside=no_wrong_bytes,
            now=now,
            retry=RetryPolicy(first_wait=0.001, longest_wait=0.001),
        ).run()


def test_power_lost_at_any_step_of_the_disk_loses_no_file(tmp_path: Path) -> None:
    """Lose the power at the first step, the second, and so on, until a run gets by without reaching the fatal one."""
    path = tmp_path / "x.part"
    faults = [Fault(truncate_at=90_000), Fault(truncate_at=90_000, ignore_range=True), Fault(truncate_at=90_000)]
    with Loopback() as server:
        server.put(URL_PATH, WHEEL.body)
        crashes = 0
        for fatal in range(200):
            server.faults[URL_PATH].clear()
            server.fail(URL_PATH, *faults)
            disk = CrashingDisk(fatal)
            try:
                run(server, path, disk=disk)
            except OSError:
                crashes += 1
            if disk.fatal > 0:
                break
            server.faults[URL_PATH].clear()
            complete = run(server, path)
            assert complete.sha256 == WHEEL.sha256
            assert path.read_bytes() == WHEEL.body
            for leftover in tmp_path.iterdir():
                leftover.unlink()
        assert crashes > 8


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Fetching 64 MB takes a few pieces' memory: what waits for the hash is bounded."""
    body = b"PK\x03\x04" + bytes(64_000_000)
    with Loopback() as server:
        server.put(URL_PATH, body)
        wanted = WHEEL.wanted(urls=(server.url(URL_PATH),), sha256=hashlib.sha256(body).hexdigest(), size=None)
        tracemalloc.start()
        try:
            with Http() as http, PartialFile(tmp_path / "x.part", disk=RecordingDisk()) as part:
                download = Download(
                    wanted,
                    part,
                    http=http,
                    room=Room(tmp_path),
                    stop=Stop(),
                    set_aside=lambda _: None,
                    now=now,
                )
                download.run()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # The server sends one big object: nothing of it is copied on its side.
        assert peak < 24_000_000
