"""The lock: who waits, for whom, how long; what the dead leave; file systems that keep no locks."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.lock import Holder, parse_holder, render_holder
from pytorch_offline.mirror.store import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from pytorch_offline.mirror.store import Mirror
with Mirror(Path(sys.argv[1]), work="hold").lock():
    print("held", flush=True)
    time.sleep(600)
"""
WAIT = """
import sys
from pathlib import Path
from pytorch_offline.mirror.store import Mirror
try:
    with Mirror(Path(sys.argv[1])).lock(lambda said: print(said, flush=True)):
        print("mine", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "mirror")], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_writer_waits_and_says_for_whom(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    said: list[str] = []
    order: list[str] = []
    told = threading.Event()

    def wait(message: str) -> None:
        said.append(message)
        told.set()

    def second() -> None:
        with Mirror(root).lock(wait):
            order.append("second")

    thread = threading.Thread(target=second)
    with Mirror(root, work="fetch").lock():
        thread.start()
        assert told.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    (message,) = said
    assert message.startswith(f"another run is changing {root} (fetch, process {os.getpid()} on {socket.gethostname()}")
    assert message.endswith("; waiting for it to end")
    assert (root / ".state/lock").read_bytes() == b""


def test_patience_ends_with_the_name_of_who_is_waited_for(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = start(HOLD)
    assert line(holder) == "held"
    for patience in (0, 0.3):
        said: list[str] = []
        began = time.monotonic()
        with (
            pytest.raises(UsageError) as caught,
            Mirror(tmp_path / "mirror", patience=patience).lock(said.append),
        ):
            pass
        assert caught.value.code == "mirror-busy"
        assert str(caught.value.facts["changed by"]).startswith(f"hold, process {holder.pid} on ")
        assert time.monotonic() - began >= patience
        assert len(said) == (1 if patience else 0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_whoever_waits_can_be_interrupted(start: Callable[[str], subprocess.Popen[str]]) -> None:
    assert line(start(HOLD)) == "held"
    waiting = start(WAIT)
    assert "waiting for it to end" in line(waiting)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(10) == 130


def test_the_dead_hold_nothing(tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]) -> None:
    holder = start(HOLD)
    assert line(holder) == "held"
    waiting = start(WAIT)
    assert f"process {holder.pid}" in line(waiting)
    holder.kill()
    assert line(waiting) == "mine"
    # What a dead one left says nothing, whether a process of that number lives or not.
    lock = tmp_path / "mirror/.state/lock"
    for pid in (os.getpid(), 999_999_999):
        lock.write_bytes(render_holder(Holder(work="fetch", pid=pid, host=socket.gethostname(), since="long ago")))
        with Mirror(tmp_path / "mirror", patience=10).lock():
            assert json.loads(lock.read_bytes())["pid"] == os.getpid()


def test_containers_that_share_a_directory_share_its_lock(tmp_path: Path) -> None:
    """In a container of its own every process is number 1 or 2, and the host's name may be ours."""
    try:
        able = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("this process may not make a namespace")
    root = tmp_path / "mirror"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", HOLD, str(root)]
    contained = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert line(contained) == "held"
        assert json.loads((root / ".state/lock").read_bytes())["pid"] == 1
        with pytest.raises(UsageError) as caught, Mirror(root, patience=0).lock():
            pass
        assert caught.value.code == "mirror-busy"
    finally:
        contained.kill()
        contained.communicate()
    with Mirror(root, patience=10).lock():
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="keeps no locks") as caught:
        Mirror(tmp_path / "mirror").publish()
    assert caught.value.code == "mirror-not-lockable"
    assert not (tmp_path / "mirror/manifest.json").exists()
    monkeypatch.undo()
    Mirror(tmp_path / "mirror").publish()


def test_a_disk_without_room_keeps_nobody_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: Holder) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pytorch_offline.mirror.lock.render_holder", no_room)
    with Mirror(tmp_path / "mirror").lock():
        pass


def test_half_a_name_is_none() -> None:
    whole = render_holder(Holder(work="fetch", pid=1, host="h", since="2026-01-01T00:00:00Z"))
    assert parse_holder(whole) is not None
    for end in range(len(whole)):
        assert parse_holder(whole[:end]) is None
    for other in (b"[]", b"null", b'{"pid": "x", "work": 1, "host": 2, "since": 3}'):
        assert parse_holder(other) is None
