"""A real process is ended in the middle of a fetch; at any moment, and again and again: ``kill_campaign.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.mirror.loopback import Fault, Loopback, sized_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHEELS = (
    sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 500_000),
    sized_wheel("whl/cpu/torchvision-0.9+cpu-py3-none-any.whl", 250_000, seed=1),
    sized_wheel("whl/sympy-1.2-py3-none-any.whl", 50_000, seed=2),
)

# What runs and is killed: a fetch that saves often, of the wheels named in argv, from the server named there.
PROGRAM = """
import json, sys
from pathlib import Path, PurePosixPath
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.partial import Interval
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

root, rows = sys.argv[1], json.loads(sys.argv[2])
wanted = [
    WantedFile(
        name=parse_wheel_name(PurePosixPath(row["path"]).name),
        path=PurePosixPath(row["path"]), urls=(row["url"],), sha256=row["sha256"],
    )
    for row in rows
]
try:
    with Http() as http:
        report = fetch_files(Mirror(Path(root)), wanted, http, jobs=2, interval=Interval(size=20_000, seconds=0.05))
except KeyboardInterrupt:
    sys.exit(130)
print(report.bytes_downloaded)
"""


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        for wheel in WHEELS:
            server.put(f"/{wheel.path}", wheel.body)
        yield server


@pytest.fixture
def start(server: Loopback, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start the program; whatever is still running at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        rows = [
            {"path": str(wheel.path), "url": server.url(f"/{wheel.path}"), "sha256": wheel.sha256} for wheel in WHEELS
        ]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "mirror"), json.dumps(rows)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        with process:
            process.kill()


def downloads(server: Loopback) -> int:
    return sum(request.range != "bytes=0-0" for request in server.requests)


def wait_for_download(server: Loopback, process: subprocess.Popen[str], before: int) -> None:
    deadline = time.monotonic() + 60
    while downloads(server) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def test_what_was_vouched_for_before_a_kill_is_not_asked_for_again(
    server: Loopback, start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    for wheel in WHEELS[:2]:
        server.always[f"/{wheel.path}"] = Fault(stall_at=200_000, stall_seconds=60)
    process = start()
    partial = tmp_path / "mirror/.state/partial"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        saved = [json.loads(path.read_text())["completed"] for path in partial.glob("*.json")]
        if len(saved) == 2:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    saved = [json.loads(path.read_text())["completed"] for path in partial.glob("*.json")]
    assert len(saved) == 2
    server.closing.set()
    server.always.clear()
    output, errors = start().communicate(timeout=60)
    assert errors == ""
    assert int(output) == sum(len(wheel.body) for wheel in WHEELS) - sum(saved)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_interrupt_is_heeded_while_the_server_is_silent(
    server: Loopback, start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    for wheel in WHEELS:
        server.always[f"/{wheel.path}"] = Fault(stall_at=100_000, stall_seconds=300)
    process = start()
    wait_for_download(server, process, 0)
    partial = tmp_path / "mirror/.state/partial"

    def saved() -> int:
        return sum(json.loads(path.read_text())["completed"] for path in partial.glob("*.json"))

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not saved():
        time.sleep(0.01)
    before = saved()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)  # the server would be silent for minutes
    assert (process.returncode, errors) == (130, "")
    assert saved() >= before > 0
