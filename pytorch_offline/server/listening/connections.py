"""All clients' connections: how many there may be, who makes room for whom, and what no handler needs to see."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage

from pytorch_offline.server.listening.connection import Connection
from pytorch_offline.server.listening.refusals import plain
from pytorch_offline.server.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.streams import StreamReader

    from pytorch_offline.server.listening.limits import Limits
    from pytorch_offline.server.monitoring.access_log import Log

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LOOK_SECONDS = 1.0
_VERSIONS = frozenset({HttpVersion10, HttpVersion11})
# What a host is written with (RFC 3986, section 3.2.2), without user and password. Pages repeat it to people.
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]*")
_OTHER_VERSION = web.RequestKey("other_version", bool)
_RETRY_AFTER = (hdrs.RETRY_AFTER, "5")


class Server(web.Server):
    """All connections, the looking after them, and room for new ones.

    Args:
        handler: answers requests.
        limits: what clients may take.
        log: is told of every answer.
        say: told what the administrator should know.
    """

    def __init__(self, handler: Handler, *, limits: Limits, log: Log | None, say: Callable[[str], None]) -> None:
        super().__init__(_within(handler, limits), request_factory=self._request)
        self.limits = limits
        self.repeats = Repeats()
        self.say = say
        self._log = log
        self._by_client: dict[str, int] = {}

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Make aiohttp's request; one of another version of HTTP is answered in ours."""
        if message.version in _VERSIONS:
            return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        message = message._replace(version=HttpVersion11)
        request = web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        request[_OTHER_VERSION] = True
        return request

    def connection(self, client: str) -> Connection:
        """Make the protocol of a new connection from an address."""
        too_many = self.is_full(client, 1)
        return Connection(self, loop=self._loop, client=client, turned_away=too_many, log=self._log)

    def is_full(self, client: str, newcomers: int) -> bool:
        """Whether there are too many connections (of a client) with so many more, and none gives way."""
        full = len(self._connections) + newcomers > self.limits.connections and not self.make_room()
        of_client = self._by_client.get(client, 0) + newcomers
        return full or (of_client > self.limits.connections_per_client and not self.make_room(client))

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection."""
        super().connection_made(handler, transport)
        if isinstance(handler, Connection):
            self._by_client[handler.client] = self._by_client.get(handler.client, 0) + 1

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Count a connection no more."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            left = self._by_client.pop(handler.client, 1) - 1
            if left:
                self._by_client[handler.client] = left

    def make_room(self, client: str | None = None) -> bool:
        """Close the connection (of a client) that has been idle for longest; False if all have something to do."""
        ours = (one for one in self._connections if isinstance(one, Connection) and one.connected and one.idle)
        idle = [one for one in ours if client is None or one.client == client]
        if not idle:
            return False
        min(idle, key=Connection.idle_since).force_close()
        return True

    @property
    def answering(self) -> int:
        """How many clients wait for an answer, or the rest of one."""
        return sum(isinstance(one, Connection) and one.connected and one.answering for one in self._connections)

    def finish(self) -> None:
        """Let every connection end with the answer that it is waiting for; those that wait for none end now."""
        for connection in tuple(self._connections):
            if isinstance(connection, Connection) and connection.answering:
                connection.close()
            else:
                connection.force_close()

    def abort(self) -> None:
        """End every connection at once."""
        for connection in tuple(self._connections):
            if isinstance(connection, Connection):
                connection.abort()

    async def look_after(self) -> None:
        """Look at every connection each second; runs until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._loop.time()
            for connection in tuple(self._connections):
                if isinstance(connection, Connection):
                    connection.look(now)


def _within(handler: Handler, limits: Limits) -> Handler:
    """Keep from a handler what is not its business: connections too many, and bodies."""

    async def bounded(request: web.BaseRequest) -> web.StreamResponse:
        status = _refusal(request, limits)
        if status is None:
            return await handler(request)
        response = plain(status, *([_RETRY_AFTER] if status is HTTPStatus.SERVICE_UNAVAILABLE else []))
        response.force_close()
        return response

    return bounded


def _refusal(request: web.BaseRequest, limits: Limits) -> HTTPStatus | None:
    """Say with which status a request is answered that no handler needs to see."""
    connection = request.protocol
    if isinstance(connection, Connection) and connection.is_too_many():
        return HTTPStatus.SERVICE_UNAVAILABLE
    if _OTHER_VERSION in request:
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if request.method == hdrs.METH_CONNECT:  # what comes after it is no HTTP
        return HTTPStatus.NOT_IMPLEMENTED
    if not _HOST.fullmatch(request.headers.get(hdrs.HOST, "")):
        return HTTPStatus.BAD_REQUEST
    if hdrs.TRANSFER_ENCODING in request.headers:
        return HTTPStatus.LENGTH_REQUIRED
    if (request.content_length or 0) > limits.body_bytes:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None
