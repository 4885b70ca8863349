"""The access log: lines that log analysers read, which no client can break, forge, or put a secret into."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.server.monitoring import access_log
from pytorch_offline.server.monitoring.access_log import AccessLog, LogFormat, Served, redacted_target, render

SERVED = Served(
    client="192.0.2.7",
    user="alice",
    moment=1_795_196_096.5,
    method="GET",
    target="/whl/cu126/torch/?format=html",
    version="HTTP/1.1",
    status=206,
    size=1024,
    seconds=0.01234,
    referer="",
    agent="pip/26.1",
    range="bytes=0-1023",
)
# As nginx's "combined" is described, and read by goaccess and awstats.
COMBINED = re.compile(
    r"(?P<client>\S+) - (?P<user>\S+) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "
    r'"(?P<line>[^"]*)" (?P<status>\d{3}) (?P<size>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)
# What a socket gives: text of any kind, bytes beyond UTF-8 as lone surrogates.
HOSTILE = st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape"))


def test_a_line_in_the_combined_form() -> None:
    assert render(SERVED, LogFormat.COMBINED) == (
        '192.0.2.7 - alice [20/Nov/2026:17:34:56 +0000] "GET /whl/cu126/torch/?format=html HTTP/1.1" 206 1024 "-" '
        '"pip/26.1"'
    )


def test_a_line_in_json() -> None:
    assert json.loads(render(SERVED, LogFormat.JSON)) == {
        "time": "2026-11-20T17:34:56.500+00:00",
        "client": "192.0.2.7",
        "user": "alice",
        "method": "GET",
        "target": "/whl/cu126/torch/?format=html",
        "version": "HTTP/1.1",
        "status": 206,
        "bytes": 1024,
        "seconds": 0.012,
        "range": "bytes=0-1023",
        "referer": None,
        "agent": "pip/26.1",
    }


@given(method=HOSTILE, target=HOSTILE, user=HOSTILE, referer=HOSTILE, agent=HOSTILE)
def test_whatever_a_client_sends_is_one_line_with_its_fields_in_place(
    method: str, target: str, user: str, referer: str, agent: str
) -> None:
    hostile = replace(SERVED, method=method, target=target, user=user, referer=referer, agent=agent)
    line = render(hostile, LogFormat.COMBINED)
    assert line.isascii()
    assert line.isprintable()
    assert COMBINED.fullmatch(line)
    document = render(hostile, LogFormat.JSON)
    assert document.isascii()
    assert document.isprintable()
    assert json.loads(document)["agent"] == (agent or None)


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("/whl/?token=abc&format=html&x", "/whl/?token=***&format=html&x"),
        ("http://alice:secret@mirror/whl/?a=b", "http://mirror/whl/?a=***"),
        ("http://alice:secret@mirror", "http://mirror"),
        (f"/whl/?{'t' * 80}", "/whl/?***"),
        ("/whl/?empty=", "/whl/?empty="),
        ("*", "*"),
    ],
)
def test_no_secret_of_a_target_is_written(target: str, written: str) -> None:
    assert redacted_target(target) == written


def test_lines_go_to_the_file_and_on_in_a_new_one_after_it_was_moved(tmp_path: Path) -> None:
    path, said = tmp_path / "access.log", list[str]()
    log = AccessLog(path, LogFormat.COMBINED, said.append)
    log.add(SERVED)
    log.reopen()
    moved = path.rename(tmp_path / "access.log.1")
    written = threading.Event()
    log.reopen()
    while not path.exists():
        written.wait(0.01)
    log.add(replace(SERVED, status=404))
    log.close()
    assert [line.split('"')[2].split()[0] for line in moved.read_text().splitlines()] == ["206"]
    assert [line.split('"')[2].split()[0] for line in path.read_text().splitlines()] == ["404"]
    assert said == []


def test_a_reader_that_does_not_keep_up_loses_lines_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "_MOST_WAITING", 10)
    monkeypatch.setattr(access_log, "_SECONDS", 60.0)
    said: list[str] = []
    path = tmp_path / "access.log"
    log = AccessLog(path, LogFormat.COMBINED, said.append)
    for _ in range(25):
        log.add(SERVED)
    log.close()
    assert len(path.read_text().splitlines()) == 10
    assert said == ["lines of the access log were lost: 15 (it grew faster than it could be written)"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_SECONDS", 0.001)
    said: list[str] = []
    log = AccessLog(Path("/dev/full"), LogFormat.COMBINED, said.append)
    for _ in range(50):
        log.add(SERVED)
        time.sleep(0.002)
    log.close()
    assert 1 <= len(said) <= 2
    assert sum(int(line.partition(": ")[2].split()[0]) for line in said) == 50
    assert all(line.endswith("(No space left on device)") for line in said)


def test_a_full_pipe_that_nobody_reads_is_left_in_the_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AccessLog(pipe, LogFormat.COMBINED, print)
        for _ in range(2_000):  # a pipe holds 64 KiB
            log.add(SERVED)
        log.close(patience=0.2)  # and comes back
    finally:
        os.close(reader)


def test_a_log_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory") as caught:
        AccessLog(tmp_path / "nowhere" / "access.log", LogFormat.COMBINED, print)
    assert caught.value.code == "cannot-log"
