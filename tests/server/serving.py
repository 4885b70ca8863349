"""A server of ours on loopback in a thread of its own, and questions asked of it over a bare socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pytorch_offline.server.handler import Handler
from pytorch_offline.server.listening.door import addresses, bind
from pytorch_offline.server.listening.limits import Limits
from pytorch_offline.server.running import Service, serving
from pytorch_offline.server.tree.following import FollowedMirror

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.server.resources import Site


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One answer as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Serving:
    """Serves a site for as long as the context lasts; ``said`` has all that the administrator was told."""

    def __init__(self, site: Site, *, follow: FollowedMirror | None = None, limits: Limits | None = None) -> None:
        self._site = site
        self._follow = follow
        self._limits = limits or Limits()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.said: list[str] = []
        self.port = 0

    @classmethod
    def mirror(cls, root: Path, *, limits: Limits | None = None) -> Self:
        """Serve a mirror's directory and follow it."""
        said: list[str] = []
        site = FollowedMirror(root, tell=said.append)
        site.load()
        serving = cls(site, follow=site, limits=limits)
        serving.said = said
        return serving

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        handler = Handler(self._site, complain=self.said.append)
        listeners = bind("127.0.0.1", 0)
        ((_, self.port),) = addresses(listeners)
        service = Service(handler=handler, listeners=listeners, limits=self._limits, grace=1.0, say=self.said.append)
        async with serving(service):
            follower = asyncio.create_task(self._follow.follow()) if self._follow is not None else None
            self._ready.set()
            await self._end.wait()
            if follower is not None:
                follower.cancel()

    def ask(self, target: str, *, method: str = "GET", **headers: str) -> Heard:
        """Ask for a target exactly as it is written; ``If_Range`` is the header ``If-Range``."""
        lines = [f"{method} {target} HTTP/1.1", "Host: mirror", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return ask_raw(self.port, "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"), method=method)


def ask_raw(port: int, request: bytes, *, method: str = "GET") -> Heard:
    """Send bytes, read until the other side closes, and check that the answer has the length that it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    status = int(first.split()[1])
    if method == "HEAD" or status == 304:
        assert body == b""
    else:
        assert len(body) == int(headers["content-length"])
    return Heard(status=status, headers=headers, body=body)
