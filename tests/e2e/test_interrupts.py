"""Real processes on terminals of their own, told to end in mid-work: they end soon, and say how to go on."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if os.name == "nt":
    pytest.skip("Windows has no such terminals", allow_module_level=True)

from pytorch_offline.mirror.manifest import parse_manifest
from tests.e2e.interrupts import PHASES, WHEELS, Phase, Scene, environment, interrupt, scene, slow

if TYPE_CHECKING:
    from collections.abc import Iterator

# The promise is a second (``tests.e2e.interrupts`` measures it). What is waited for in these phases takes 25 seconds
# or more, so that a machine as slow as this still tells a process that was interrupted from one that was not.
SOON = 15
NAMED = {phase.name: phase for phase in PHASES}
RECEIVING = NAMED["receiving slowly"]


@pytest.fixture
def at() -> Iterator[Scene]:
    with scene() as made:
        yield made


def check(at: Scene, phase: Phase, number: signal.Signals, *, send: bytes | signal.Signals) -> None:
    ended = interrupt(phase, at, send=send)
    assert ended.noise == []
    assert ended.code == 128 + number
    assert ended.seconds < SOON
    assert ended.document["error"]["code"] == "interrupted"
    *_, error, last = ended.events
    assert (error["event"], error["code"], error["facts"]["signal"]) == ("error", "interrupted", number.name)
    assert error["facts"]["command"].split()[3:] == [*phase.command(at), "--json", "--progress", "json"]
    assert (last["event"], last["code"]) == ("exit", 128 + number)
    assert ended.events[0]["event"] == "start"


@pytest.mark.parametrize(
    "name",
    [
        "reading pages that do not come",
        "waiting between tries",
        "waiting for the lock",
        "waiting for SQLite",
        "verifying",
    ],
)
def test_ctrl_c_is_heeded_whatever_is_waited_for(at: Scene, name: str) -> None:
    check(at, NAMED[name], signal.SIGINT, send=b"\x03")


def test_the_next_run_goes_on_where_this_one_was_told_to_end(at: Scene) -> None:
    check(at, RECEIVING, signal.SIGHUP, send=signal.SIGHUP)
    kept = sum(path.stat().st_size for path in (at.state / "partial").glob("*.part"))
    assert kept > 0
    command = [sys.executable, "-m", "pytorch_offline", *at.fetch(), "--progress", "lines", "-v"]
    done = subprocess.run(command, cwd=at.directory, env=environment(), capture_output=True, text=True, check=True)
    assert "fetched torch-2.4.0" in done.stderr
    assert "tried again" not in done.stdout
    assert list((at.state / "partial").iterdir()) == []
    rows = parse_manifest((at.directory / "cache" / "manifest.json").read_bytes())
    assert len(rows) == len(WHEELS)
    for row in rows:
        assert hashlib.sha256((at.directory / "cache" / row.path).read_bytes()).hexdigest() == row.sha256


PATIENT = """
import os, signal, sys, time
from pytorch_offline.cli.signals import Guard, Interrupted, end_in_order, patience
end_in_order()
Guard(lambda number: print("goodbye", number, flush=True))
try:
    print("ready", flush=True)
    time.sleep(60)
except Interrupted:
    with patience(60, lambda: print("it takes its time", flush=True)):
        print("putting in order", flush=True)
        time.sleep(float(sys.argv[1]))
print("in order", flush=True)
time.sleep(float(sys.argv[2]))
print("too late", flush=True)
"""


def test_a_second_ctrl_c_ends_at_once_what_may_take_its_time() -> None:
    command = [sys.executable, "-c", PATIENT, "60", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # `timeout` does so: that is one wish
        assert process.stdout.readline() == "putting in order\n"
        assert process.stdout.readline() == "it takes its time\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "goodbye 2\n"
        assert process.wait(timeout=SOON) == 130


def test_what_was_allowed_its_time_has_no_more_than_that() -> None:
    command = [sys.executable, "-c", PATIENT, "1.5", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "putting in order\nit takes its time\nin order\ngoodbye 15\n"
        assert process.wait(timeout=SOON) == 143


def test_on_a_terminal_the_block_goes_and_the_command_to_continue_stays(at: Scene) -> None:
    slow(at)
    master, slave = os.openpty()
    arguments = [*at.fetch(), "--mirror", "镜像 目录"]
    command = [sys.executable, "-m", "pytorch_offline", *arguments]
    variables = environment() | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        command, cwd=at.directory, env=variables, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        seen = b""
        while b"receiving" not in seen and b"from 127.0.0.1" not in seen:
            seen += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        try:
            while piece := os.read(master, 65536):
                seen += piece
        except OSError:  # the other end is closed
            pass
    os.close(master)
    assert process.returncode == 130
    screen = seen.decode()
    last = screen.rpartition("\x1b[J")[2].replace("\r\n", "\n")
    assert "Traceback" not in screen
    assert last.startswith("fetched ")
    assert " are there\ninterrupted; run the same command again to continue where it stopped: " in last
    assert last.endswith(f"-m pytorch_offline {shlex.join(arguments)}\n")


def test_a_reader_of_progress_that_goes_away_costs_nothing(at: Scene) -> None:
    command = [sys.executable, "-m", "pytorch_offline", *at.fetch()]
    with subprocess.Popen(
        command, cwd=at.directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.close()
        assert b"mirror: " in process.stdout.read()
    assert process.returncode == 0
