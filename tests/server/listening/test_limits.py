"""What clients may take: when a connection was waited for long enough, and what happens to one too many."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.listening import connections
from pytorch_offline.server.listening.limits import Limits, Standing, Verdict, connections_within, judge, standing_since
from tests.mirror.loopback import sized_wheel
from tests.server.raw_answers import parse_answers
from tests.server.serving import Serving

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(head_seconds=10, idle_seconds=70, stall_seconds=60)
STANDING = Standing(answering=True, begun=False, since=100.0, acknowledged=5000, waiting_for_client=True)
WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
SIZE = 20_000_000  # more than the system's buffers take from a sender


@pytest.mark.parametrize(
    ("standing", "seconds", "verdict"),
    [
        (STANDING, 59.0, Verdict.STAYS),
        (STANDING, 60.0, Verdict.READS_NOTHING),
        (replace(STANDING, waiting_for_client=False), 9999.0, Verdict.STAYS),  # we wait for upstream, say
        (replace(STANDING, acknowledged=None), 9999.0, Verdict.STAYS),  # the system does not say
        (replace(STANDING, answering=False, begun=True), 9.0, Verdict.STAYS),
        (replace(STANDING, answering=False, begun=True), 10.0, Verdict.HEAD_TOO_SLOW),
        (replace(STANDING, answering=False), 69.0, Verdict.STAYS),
        (replace(STANDING, answering=False), 70.0, Verdict.IDLE_TOO_LONG),
    ],
)
def test_how_long_a_connection_is_waited_for(standing: Standing, seconds: float, verdict: Verdict) -> None:
    assert judge(standing, LIMITS, standing.since + seconds) is verdict


def test_who_takes_a_byte_now_and_then_is_not_stalled_however_slow() -> None:
    standing = None
    for second in range(600):
        taken = second // 50  # a byte in 50 seconds
        standing = standing_since(standing, float(second), answering=True, begun=False, taken=taken, left=True)
        assert judge(standing, LIMITS, float(second)) is Verdict.STAYS


def test_headers_that_come_byte_by_byte_have_one_deadline() -> None:
    standing, verdicts = None, []
    for second in range(12):
        standing = standing_since(standing, float(second), answering=False, begun=True, taken=None, left=False)
        verdicts.append(judge(standing, LIMITS, float(second)))
    assert verdicts == [Verdict.STAYS] * 10 + [Verdict.HEAD_TOO_SLOW] * 2


def test_there_is_room_for_as_many_connections_as_files_can_be_opened() -> None:
    assert connections_within(1024) == 448
    assert connections_within(10) == 1


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(root)
    sized_wheel(WHEEL[1:].replace("%2B", "+"), SIZE).admit(mirror)
    mirror.publish()
    return root


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.05)


def _connect(serving: Serving, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", serving.port), timeout=10)
    connection.sendall(sent)
    return connection


def _request(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: mirror", *fields, "", ""]).encode()


def _rest(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


def test_headers_that_do_not_end_are_answered_that_they_took_too_long(root: Path) -> None:
    with Serving.mirror(root, limits=Limits(head_seconds=0.3)) as serving, _connect(serving) as slow:
        begun = time.monotonic()
        slow.sendall(b"GET /whl/ HTTP/1.1\r\nHost: mirror\r\nX-Slow: ")
        received = b""
        slow.settimeout(0.05)
        while not received and time.monotonic() - begun < 10:  # a byte at a time wins nothing
            try:
                slow.sendall(b"a")
                received = slow.recv(1000)
            except TimeoutError:
                continue
        assert [answer.status for answer in parse_answers(received, b"GET")] == [408]


def test_a_connection_without_requests_is_closed(root: Path) -> None:
    with Serving.mirror(root, limits=Limits(idle_seconds=0.3)) as serving:
        with _connect(serving) as never:
            assert _rest(never) == b""
        with _connect(serving, _request("/whl/")) as no_more:
            assert [answer.status for answer in parse_answers(_rest(no_more), b"GET")] == [200]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what a client has taken")
def test_who_stops_reading_is_broken_off_and_who_reads_slowly_is_not(root: Path) -> None:
    with Serving.mirror(root, limits=Limits(stall_seconds=0.5)) as serving:
        with _connect(serving) as stopped, _connect(serving) as slow:
            for connection in (stopped, slow):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                connection.sendall(_request(WHEEL))
            got = 0
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                got += len(slow.recv(65536))
                time.sleep(0.02)
            assert len(_rest(stopped)) < SIZE
            while piece := slow.recv(1_000_000):  # it was never given up
                got += len(piece)
                if got > SIZE:
                    break
            assert got > SIZE
        assert serving.ask(WHEEL, Range="bytes=0-9").status == 206


def test_one_connection_too_many_is_told_to_come_again_and_an_idle_one_gives_way(root: Path) -> None:
    limits = Limits(connections=3, connections_per_client=99)
    with Serving.mirror(root, limits=limits) as serving:
        busy = [_connect(serving, _request(WHEEL)) for _ in range(2)]
        for connection in busy:
            connection.recv(1)  # it is being served
        idle = _connect(serving, _request("/whl/"))
        assert idle.recv(1)
        assert serving.ask("/whl/").status == 200  # in the place of the idle one
        with idle:
            assert _rest(idle).endswith(b"</html>\n")
        busy.append(_connect(serving, _request(WHEEL)))
        busy[-1].recv(1)
        refused = serving.ask("/whl/")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        for connection in busy:
            connection.close()
        until = time.monotonic() + 10
        while serving.ask("/whl/").status == 503 and time.monotonic() < until:
            time.sleep(0.05)
        assert serving.ask("/whl/").status == 200


def test_one_client_cannot_have_all_connections(root: Path) -> None:
    with Serving.mirror(root, limits=Limits(connections=10, connections_per_client=2)) as serving:
        busy = [_connect(serving, _request(WHEEL)) for _ in range(2)]
        for connection in busy:
            connection.recv(1)
        assert serving.ask("/whl/").status == 503
        for connection in busy:
            connection.close()


def test_a_connection_is_used_again(root: Path) -> None:
    with Serving.mirror(root) as serving, _connect(serving) as kept:
        for _ in range(3):
            kept.sendall(_request("/whl/"))
            received = b""
            while not received.endswith(b"</html>\n"):
                received += kept.recv(65536)
            time.sleep(0.15)  # longer than it takes to look


def test_who_goes_in_the_middle_of_a_transfer_leaves_nothing_behind(root: Path) -> None:
    with Serving.mirror(root) as serving:
        for _ in range(20):
            with _connect(serving, _request(WHEEL)) as gone:
                gone.recv(1000)
        answer = serving.ask(WHEEL)
        assert (answer.status, len(answer.body)) == (200, int(answer.headers["content-length"]))
        assert serving.said == []


def test_an_answer_arrives_whole_though_the_client_goes_on_sending(root: Path) -> None:
    with Serving.mirror(root) as serving:
        for _ in range(10):
            with _connect(serving, _request(WHEEL, "Connection: close") + _request("/whl/") * 100) as talking:
                received = bytearray()
                while piece := talking.recv(1_000_000):
                    received += piece
                    if len(received) < 10_000_000:
                        talking.sendall(_request("/whl/"))
            (answer,) = parse_answers(bytes(received), b"GET")
            assert answer.status == 200


def test_who_says_that_nothing_more_comes_is_not_kept_waiting(root: Path) -> None:
    limits = Limits(idle_seconds=60)
    with Serving.mirror(root, limits=limits) as serving:
        begun = time.monotonic()
        for number in range(200):
            with _connect(serving, _request("/whl/") * (number % 3 + 1)) as done:
                done.shutdown(socket.SHUT_WR)
                assert len(parse_answers(_rest(done), b"GET")) == number % 3 + 1
        assert time.monotonic() - begun < 50
