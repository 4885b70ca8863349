"""Answers that are given again to requests of the same bytes: the same as the first, for as long as they are right."""

from __future__ import annotations

import shutil
import socket
import struct
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server import repeats
from pytorch_offline.server.listening.connection import Connection
from pytorch_offline.server.repeats import LONGEST_CONTENT, MOST_ANSWERS, MOST_SEEN, Repeat, Repeats
from tests.mirror.wheels import craft_wheel
from tests.server.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

SYMPY = craft_wheel("whl/sympy-1.2-py3-none-any.whl")
LATER = craft_wheel("whl/sympy-1.3-py3-none-any.whl")
MANY = [craft_wheel(f"whl/numpy-1.{minor}-py3-none-any.whl") for minor in range(120)]
SOME = [craft_wheel(f"whl/scipy-1.{minor}-py3-none-any.whl") for minor in range(60)]


class Line:
    """A connection that is kept, and what comes over it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.stream = self.socket.makefile("rb")

    def ask(self, request: bytes) -> tuple[str, dict[str, str], bytes]:
        self.socket.sendall(request)
        return self.answer(head=request.startswith(b"HEAD"))

    def answer(self, *, head: bool = False) -> tuple[str, dict[str, str], bytes]:
        first = self.stream.readline().decode().strip()
        fields = {}
        while line := self.stream.readline().decode().strip():
            name, _, value = line.partition(": ")
            fields[name] = value
        empty = head or " 304 " in first
        return first, fields, b"" if empty else self.stream.read(int(fields["Content-Length"]))


@contextmanager
def line(serving: Serving) -> Iterator[Line]:
    one = Line(serving.port)
    try:
        yield one
    finally:
        one.stream.close()
        one.socket.close()


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: mirror", *fields, "", ""]).encode()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mirror = Mirror(tmp_path_factory.mktemp("mirror"))
    for wheel in (SYMPY, *MANY, *SOME):
        wheel.admit(mirror)
    mirror.publish()
    return mirror.root


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Repeat]:
    """Note which answers were given again."""
    noted: list[Repeat] = []
    render = Repeat.render

    def noting(self: Repeat, date: bytes) -> bytes:
        noted.append(self)
        return render(self, date)

    monkeypatch.setattr(repeats.Repeat, "render", noting)
    return noted


def test_an_answer_is_given_again_with_all_but_its_date(root: Path, given: list[Repeat]) -> None:
    json = "Accept: application/vnd.pypi.simple.v1+json"
    with Serving.mirror(root) as serving, line(serving) as one, line(serving) as other:
        etag = one.ask(get("/whl/sympy/", json))[1]["ETag"]
        for request in (
            get("/whl/sympy/"),
            get("/whl/sympy/", json),
            get("/whl/sympy/", json, "Accept-Encoding: gzip"),
            get("/whl/sympy/", json, f"If-None-Match: {etag}"),
            get("/whl/sympy/", "Range: bytes=3-9"),
            get("/whl/sympy/", "Range: bytes=1-2,5-6"),
            get("/whl/sympy-1.2-py3-none-any.whl.metadata"),
        ):
            first, second, third, elsewhere = *(one.ask(request) for _ in range(3)), other.ask(request)
            for answer in (first, second, third, elsewhere):
                assert abs(time.mktime(time.strptime(answer[1].pop("Date"), "%a, %d %b %Y %H:%M:%S GMT"))) > 0
            assert first == second == third == elsewhere
    assert len(given) >= 14  # two times seven; "json" was asked for once before


def test_what_has_been_published_since_is_given(root: Path, tmp_path: Path, given: list[Repeat]) -> None:
    root = Path(shutil.copytree(root, tmp_path / "mirror"))
    with Serving.mirror(root) as serving, line(serving) as one:
        request = get("/whl/sympy/")
        for _ in range(3):
            assert b"sympy-1.2" in one.ask(request)[2]
        assert len(given) == 1
        mirror = Mirror(root)
        LATER.admit(mirror)
        mirror.publish()
        until = time.monotonic() + 10
        while b"sympy-1.3" not in one.ask(request)[2]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert b"sympy-1.3" in one.ask(request)[2]


def test_requests_that_come_together_are_answered_in_their_order(root: Path, given: list[Repeat]) -> None:
    with Serving.mirror(root) as serving, line(serving) as one:
        known, unknown = get("/whl/sympy/"), get("/whl/sympy-1.2-py3-none-any.whl")
        first, wheel = one.ask(known)[2], SYMPY.body
        assert one.ask(known)[2] == first
        one.socket.sendall(known + known + unknown + known + unknown)
        assert [one.answer()[2] for _ in range(5)] == [first, first, wheel, first, wheel]
        assert given


def test_what_does_not_come_as_a_whole_request_goes_the_long_way(root: Path, given: list[Repeat]) -> None:
    with Serving.mirror(root) as serving, line(serving) as one:
        request = get("/whl/sympy/")
        first = one.ask(request)[2]
        assert one.ask(request)[2] == first
        one.socket.sendall(request[:20])
        time.sleep(0.05)
        assert one.ask(request[20:])[2] == first
        # The rest of the head that has begun, and not a request of its own.
        one.socket.sendall(b"GET /whl/numpy/ HTTP/1.1\r\nX-Inside: ")
        time.sleep(0.05)
        assert b"numpy" in one.ask(request)[2]
        assert not given
        body = b"GET /whl/sympy/ HTTP/1.1\r\nHost: mirror\r\nContent-Length: %d\r\n\r\n" % len(request)
        for _ in range(4):
            assert one.ask(body + request)[2] == first
        assert not given
        assert one.ask(request)[2] == first
    assert len(given) == 1


@pytest.mark.parametrize(
    "request_",
    [
        get("/whl/sympy/").replace(b"GET", b"HEAD"),
        get("/whl/sympy/", "Connection: close"),
        get("/whl/missing/"),
        get("/whl/sympy"),
        get("/whl/sympy/", f"X-Long: {'x' * 2100}"),
        get("/whl/numpy/"),
    ],
    ids=["HEAD", "closing", "missing", "redirect", "long", "large"],
)
def test_what_is_not_kept_is_answered_all_the_same(root: Path, given: list[Repeat], request_: bytes) -> None:
    with Serving.mirror(root) as serving:
        answers = []
        for _ in range(3):
            with line(serving) as one:
                answers.append(one.ask(request_))
        assert answers[0][::2] == answers[1][::2] == answers[2][::2]
        if b"numpy" in request_:
            assert len(answers[0][2]) > LONGEST_CONTENT
    assert not given


def test_a_client_that_takes_nothing_is_not_given_more_and_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    repeat = Connection._repeat

    def noting(self: Connection, known: Repeat) -> None:
        assert self.transport is not None
        waiting.append(self.transport.get_write_buffer_size())
        repeat(self, known)

    monkeypatch.setattr(Connection, "_repeat", noting)
    with Serving.mirror(root) as serving, line(serving) as one:
        request = get("/whl/scipy/")
        for _ in range(3):
            assert len(one.ask(request)[2]) > LONGEST_CONTENT / 2
        one.socket.settimeout(1.0)
        with pytest.raises(TimeoutError):
            one.socket.sendall(request * 500_000)
    assert len(waiting) > 1  # how many more depends on what the system takes
    assert set(waiting) == {0}


def test_who_goes_with_many_answers_outstanding_is_answered_no_more(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = get("/whl/scipy/")
    with Serving.mirror(root) as serving:
        for _ in range(5):
            with line(serving) as one:
                for _ in range(3):
                    one.ask(request)
                one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.socket.sendall(request * 3000)
        with line(serving) as one:
            assert " 200 " in one.ask(request)[0]
    assert "socket.send() raised exception" not in caplog.text


def test_keeps_so_many_and_forgets_the_oldest() -> None:
    kept = Repeats()
    right = Repeat(head=b"", content=b"", still=lambda: True, served=Mock())
    for number in range(MOST_ANSWERS + 1):
        kept.keep(str(number).encode(), right)
    assert kept.find(b"0") is None
    assert kept.find(b"1") is right
    assert kept.find(str(MOST_ANSWERS).encode()) is right


def test_only_what_is_asked_again_is_kept() -> None:
    kept = Repeats()
    assert not kept.wants(b"once")
    assert kept.wants(b"once")
    for number in range(MOST_SEEN):
        kept.wants(str(number).encode())
    assert not kept.wants(b"once")


def test_what_is_no_longer_so_is_forgotten() -> None:
    kept, still = Repeats(), [True]
    kept.keep(b"request", Repeat(head=b"", content=b"", still=lambda: still[0], served=Mock()))
    assert kept.find(b"request") is not None
    still[0] = False
    assert kept.find(b"request") is None
    still[0] = True
    assert kept.find(b"request") is None


def test_the_date_is_this_second() -> None:
    kept = Repeats()
    assert kept.date(0.9) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert kept.date(1.0) == b"Thu, 01 Jan 1970 00:00:01 GMT"
