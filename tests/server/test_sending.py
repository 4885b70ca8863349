"""Files by TLS, whose bytes pass through the process: every byte, in ranges too, and never a short one as a whole."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager
from http.client import HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, BinaryIO

import pytest

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server import sending
from pytorch_offline.server.handler import Handler
from pytorch_offline.server.listening.door import addresses, bind
from pytorch_offline.server.listening.limits import Limits
from pytorch_offline.server.monitoring.access_log import content_sent
from pytorch_offline.server.running import Certificate, Service, serving
from pytorch_offline.server.tree.following import FollowedMirror
from tests.mirror.loopback import sized_wheel
from tests.net.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp import web

    from pytorch_offline.server.monitoring.access_log import Served

TORCH = sized_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl", 700_000)
WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"


class Sizes:
    """A log of how much content went out."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def answered(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        assert seconds >= 0
        self.sizes.append(content_sent(request, response))

    def repeated(self, served: Served, client: str) -> None:
        raise AssertionError((served, client))

    def refused(self, client: str, status: int) -> None:
        raise AssertionError((client, status))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def secure(root: Path, authority: Authority, log: Sizes) -> Iterator[HTTPSConnection]:
    """Serve a mirror by TLS, and connect."""
    pem = authority.issue("mirror")
    ready, port = threading.Event(), 0
    end: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        nonlocal port
        site = FollowedMirror(root, tell=lambda _: None)
        site.load()
        listeners = bind("127.0.0.1", 0)
        ((_, port),) = addresses(listeners)
        service = Service(
            handler=Handler(site, complain=lambda _: None),
            listeners=listeners,
            limits=Limits(),
            grace=1.0,
            say=lambda _: None,
            log=log,
            certificate=Certificate(pem, pem, lambda _: None),
        )
        async with serving(service):
            end.append((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await end[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    connection = HTTPSConnection(
        "127.0.0.1", port, timeout=10, context=ssl.create_default_context(cafile=authority.root)
    )
    try:
        yield connection
    finally:
        connection.close()
        end[0][0].call_soon_threadsafe(end[0][1].set)
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    TORCH.admit(mirror)
    mirror.publish()
    return mirror.root


@pytest.mark.parametrize("way", ["from memory", "by a thread"])
def test_a_file_comes_whole_and_in_ranges(
    root: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "by a thread":
        monkeypatch.setattr(sending, "_AT_ONCE", None)
    log, body = Sizes(), TORCH.body
    with secure(root, authority, log) as connection:
        for field, expected in (
            (None, body),
            ("bytes=0-0", body[:1]),
            (f"bytes=65536-{65536 * 2}", body[65536 : 65536 * 2 + 1]),
            ("bytes=-70000", body[-70000:]),
        ):
            connection.request("GET", WHEEL, headers={} if field is None else {"Range": field})
            answer = connection.getresponse()
            assert answer.read() == expected
            assert answer.status == (200 if field is None else 206)
        connection.request("GET", WHEEL, headers={"Range": "bytes=5-9,100000-300000"})
        several = connection.getresponse().read()
        assert body[5:10] in several
        assert body[100000:300001] in several
    assert log.sizes == [len(body), 1, 65537, 70000, len(several)]


def test_a_file_that_became_shorter_is_broken_off(
    root: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sending._from_memory
    path = root / "whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl"

    def shortening(stream: BinaryIO, size: int, at: int) -> bytes | bytearray | None:
        if at > 200_000:
            with path.open("r+b") as file:
                file.truncate(200_000)
        return whole(stream, size, at)

    monkeypatch.setattr(sending, "_from_memory", shortening)
    with secure(root, authority, Sizes()) as connection:
        connection.request("GET", WHEEL)
        answer = connection.getresponse()
        with pytest.raises((IncompleteRead, ConnectionError, ssl.SSLError)):
            answer.read()
