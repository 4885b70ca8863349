"""Bodies in pieces: gathered, whole, given up to the byte where they break, and nothing else after an abort."""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import urllib3

from pytorch_offline.body import Body
from pytorch_offline.errors import UpstreamError
from pytorch_offline.net import Http, Timeouts
from tests.loopback import Answer, Loopback, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from urllib3.response import HTTPResponse

MIB = 1 << 20
BODY = random.Random(5).randbytes(3 * MIB + 17)


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@contextmanager
def answers(answer: Answer, *, tls: Path | None = None) -> Iterator[Callable[[], HTTPResponse]]:
    """Give a way to ask a server again and again, over one connection as long as it is kept."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

    def ask() -> HTTPResponse:
        raw = pool.request("GET", server.url, preload_content=False, retries=False)
        assert isinstance(raw, urllib3.HTTPResponse)
        return raw

    authority = None if tls is None else str(tls)
    with Loopback(lambda _: answer, tls=context) as server, urllib3.PoolManager(ca_certs=authority, timeout=10) as pool:
        yield ask


@contextmanager
def stalling(came: bytes) -> Iterator[str]:
    """Serve the first bytes of a megabyte, and then nothing."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            time.sleep(0.05)  # so that the head comes alone
            connection.sendall(came)
            over.wait(30)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            over.set()
            server.join()


def test_pieces_are_full_whatever_one_read_gives(certificate: Path) -> None:
    with answers(Answer(body=BODY), tls=certificate) as ask:  # 16 KiB at a time
        pieces = list(Body(ask(), gathering=60).pieces(MIB))
    assert b"".join(pieces) == BODY
    assert [len(piece) for piece in pieces] == [MIB, MIB, MIB, 17]


def test_nothing_is_held_back_for_long() -> None:
    with answers(Answer(body=BODY)) as ask:
        pieces = list(Body(ask(), gathering=0).pieces(4 * MIB))
    assert b"".join(pieces) == BODY
    assert len(pieces) > 1


def test_what_is_here_is_given_while_nothing_more_comes() -> None:
    with stalling(BODY[:5000]) as url, Http() as http, http.stream(url) as stream:
        assert next(stream.iter_chunks()) == BODY[:5000]


def test_a_body_within_tls_ends_without_a_wait(certificate: Path) -> None:
    with answers(Answer(body=BODY), tls=certificate) as ask:
        began = time.monotonic()
        assert b"".join(Body(ask(), gathering=60).pieces(4 * MIB)) == BODY
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=BODY),
        Answer(body=chunked(BODY), headers={"Transfer-Encoding": "chunked"}),
        Answer(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"}),
        Answer(body=b"x"),
        Answer(body=b""),
        Answer(status=204),
    ],
    ids=["plain", "chunked", "encoded", "one byte", "empty", "without a body"],
)
@pytest.mark.parametrize("size", [1000, MIB])
def test_every_body_is_whole_and_its_connection_serves_again(answer: Answer, size: int) -> None:
    whole = BODY if len(answer.body) > 1 else answer.body
    ports = set()
    with answers(answer) as ask:
        for _ in range(3):
            raw = ask()
            assert raw.connection is not None
            if raw.connection.sock is not None:
                ports.add(raw.connection.sock.getsockname()[1])
            assert b"".join(Body(raw).pieces(size)) == whole
            assert raw.connection is None  # given back
    assert len(ports) == 1


@pytest.mark.parametrize("kept", [0, 1, 1000, MIB, len(BODY) - 1])
def test_what_came_before_a_break_is_given(kept: int) -> None:
    came = bytearray()

    def receive(server: Loopback) -> None:
        with Http() as http, http.stream(server.url) as stream:
            for piece in stream.iter_chunks():
                came.extend(piece)

    # The connection is closed, not reset: a reset may overtake bytes.
    answer = Answer(body=BODY[:kept], headers={"Content-Length": str(len(BODY)), "Connection": "close"})
    with Loopback(lambda _: answer) as server, pytest.raises(UpstreamError) as caught:
        receive(server)
    assert caught.value.code == "transfer-broken"
    assert came == BODY[:kept]


def test_what_came_before_a_stall_is_given() -> None:
    came = bytearray()

    def receive(url: str) -> None:
        with Http(timeouts=Timeouts(read=0.3)) as http, http.stream(url) as stream:
            for piece in stream.iter_chunks():
                came.extend(piece)

    with stalling(BODY[:5000]) as url, pytest.raises(UpstreamError) as caught:
        receive(url)
    assert caught.value.code == "stalled"
    assert came == BODY[:5000]


@pytest.mark.parametrize("with_tls", [False, True])
def test_after_an_abort_there_is_nothing_but_the_error(certificate: Path, with_tls: bool) -> None:  # noqa: FBT001
    whole = BODY * 4
    came = bytearray()

    def receive(server: Loopback) -> None:
        with Http(ca_bundle=certificate) as http, http.stream(server.url) as stream:
            for piece in stream.iter_chunks(100_000):
                came.extend(piece)
                if len(came) == 300_000:
                    stream.abort()  # much more is here already: of a TLS socket, as ciphertext

    context = None
    if with_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def answer(_: Request) -> Answer:
        return Answer(body=whole)

    with Loopback(answer, tls=context) as server, pytest.raises(UpstreamError) as caught:
        receive(server)
    assert caught.value.code == "transfer-broken"
    assert came == whole[:300_000]
