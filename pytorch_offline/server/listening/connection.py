"""One client's connection: aiohttp's protocol, with the bounds that it leaves to whoever stands in front of it.

aiohttp answers every bad request 400, waits for a slow client's headers as long as for an idle one, and for ever for a
client that stops reading. Here each second somebody looks at every connection and judges it by ``limits``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage

from pytorch_offline.server.listening.client_progress import taken_by_client
from pytorch_offline.server.listening.limits import Standing, Verdict, judge, standing_since
from pytorch_offline.server.listening.refusals import plain, status_of, told
from pytorch_offline.server.monitoring.access_log import USER, served_of
from pytorch_offline.server.repeats import LONGEST_REQUEST, Repeats, repeat_of

if TYPE_CHECKING:
    from pytorch_offline.server.listening.connections import Server
    from pytorch_offline.server.monitoring.access_log import Log
    from pytorch_offline.server.repeats import Repeat

# Who is answered an error while still sending would lose the answer to a reset: nginx, too, reads on for a while
# (`lingering_time`, `lingering_timeout`).
_LINGER_SECONDS = 2.0
_END_OF_HEAD = b"\r\n\r\n"
_WITHOUT_LINGERING = struct.pack("ii", 1, 0)
# What is being sent of a file, for what the log says if the client goes meanwhile.
SENDING = web.RequestKey("sending", web.StreamResponse)


class Connection(web.RequestHandler):
    """One client's connection.

    Args:
        server: what it belongs to.
        turned_away: whether there is one too many, and its first request is answered that it should come again.
    """

    __slots__ = (
        "_asked",
        "_bounds",
        "_broken",
        "_ended",
        "_gone",
        "_head_bytes",
        "_last",
        "_log",
        "_repeats",
        "_say",
        "_server",
        "_standing",
        "client",
        "turned_away",
    )

    def __init__(
        self, server: Server, *, loop: asyncio.AbstractEventLoop, client: str, turned_away: bool, log: Log | None
    ) -> None:
        bounds = server.limits
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=2 * bounds.idle_seconds,  # whoever looks at us each second is sooner
            access_log=None,  # type: ignore[arg-type]  # `log_access` below is asked
            max_line_size=bounds.line_bytes,
            max_field_size=bounds.field_bytes,
            max_headers=bounds.fields,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
        )
        self._logging_enabled = True  # so that answers are timed
        self._bounds = bounds
        self._log = log
        self._repeats: Repeats = server.repeats
        self._asked: bytes | None = None  # the one request that is being answered, if it came in one piece
        self._say = server.say
        self._server = server
        self._head_bytes = 0
        self._broken = False  # nothing more can be made of what comes
        self._last = False  # it had its last request
        self._ended = False  # the client sends nothing more
        self._gone: asyncio.Future[None] | None = None
        self._standing: Standing | None = None
        self.client = client
        self.turned_away = turned_away

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self.answering and not self._head_bytes

    @property
    def answering(self) -> bool:
        """Whether somebody waits for an answer, or the rest of one."""
        return bool(self._messages) or (self._waiter is None and self._request_count > 0)

    def is_too_many(self) -> bool:
        """Whether it was one too many when it came, and is so still."""
        self.turned_away = self.turned_away and self._server.is_full(self.client, 0)
        return self.turned_away

    def idle_since(self) -> float:
        """Say since when it is idle."""
        return self._standing.since if self._standing is not None else self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Take bytes; of a request whose headers have no end, or make no sense, no more than an answer needs.

        aiohttp's parser forgets the good requests before a bad one that came with them. So it gets them one by one.
        """
        if self._gone is not None:
            return
        if not data:  # aiohttp's own, to go on with what its parser has kept
            super().data_received(data)
            self._notice(0)
        while data and not self._broken and not self._last and not self._is_lost():
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            piece, data = (data[:end], data[end:]) if end >= len(_END_OF_HEAD) else (data, b"")
            rested = not (self._head_bytes or self.answering)
            if rested and (known := self._repeats.find(piece)) is not None and self._may_repeat():
                self._repeat(known)
                continue
            super().data_received(piece)
            self._notice(len(piece))
            if rested:
                self._asked = piece if len(piece) <= LONGEST_REQUEST and self._has_one_request() else None

    def _is_lost(self) -> bool:
        """Whether nothing can be sent any more, as a write may just have found out while more requests wait."""
        return self.transport is None or self.transport.is_closing()

    def _notice(self, size: int) -> None:
        if not self.answering:
            self._head_bytes += size
            if self._head_bytes > self._bounds.head_bytes:
                self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._head_bytes = 0
        if self._messages:
            message, content = self._messages[-1]
            # What comes after a request that ends the connection is nobody's (RFC 9112, section 9.6).
            self._last = isinstance(message, RawRequestMessage) and message.should_close and content.is_eof()

    def _has_one_request(self) -> bool:
        return len(self._messages) == 1 and self._messages[0][1].is_eof()

    def _may_repeat(self) -> bool:
        """Whether an answer can be given past aiohttp: nothing is ending, and the client has taken what it had."""
        if self._close or self._force_close or self._upgraded or self.turned_away or self.transport is None:
            return False
        return not self._is_lost() and self.transport.get_write_buffer_size() == 0

    def _repeat(self, known: Repeat) -> None:
        assert self.transport is not None  # noqa: S101  (`_may_repeat` has looked)
        self.transport.write(known.render(self._repeats.date()))
        self._standing = None  # it is not idle since longer than now
        if self._log is not None:
            self._log.repeated(known.served, self.client)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own contract, of which aiohttp uses a part
        """Hear that the client sends nothing more: it may still wait for its answers."""
        self._ended = True
        self._left()
        return self.answering and self.transport is not None and self.ssl_context is None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Hear that the client is gone."""
        self._left()
        super().connection_lost(exc)

    def _left(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser or a handler could not: in a line, with the status that fits, and close."""
        del message  # it shows the client's own bytes to the client
        if isinstance(exc, BadHttpMessage):
            self._broken = True
            status = status_of(exc, self._bounds)
            response = plain(status)
            response.force_close()
            return response
        if isinstance(exc, ConnectionError):  # the client has gone: nobody is told but the log
            sending = request.get(SENDING)
            if sending is not None:
                self.log_access(request, sending, None)
            raise exc
        if exc is not None:
            self._say(f"a fault of this server: {told(exc)}; asked for: {request.raw_path[:200]!r}")
        if request.writer.output_size > 0:  # half an answer is out: the client must see that it is none
            raise ConnectionError
        response = plain(HTTPStatus(status))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; where it ends the connection over bytes that still come, let it arrive first."""
        finished = await super().finish_response(request, resp, start_time)
        asked, self._asked = self._asked, None
        if asked is not None and not finished[1] and USER not in request and request.method == hdrs.METH_GET:
            self._remember(asked, request, resp)
        if self._ended and not self._messages:
            self.close()
        elif not finished[1] and not resp.keep_alive:
            await self._linger()
        return finished

    def _remember(self, asked: bytes, request: web.BaseRequest, response: web.StreamResponse) -> None:
        if not self._repeats.wants(asked):
            return
        repeat = repeat_of(response, served_of(request, response, 0.0))
        if repeat is not None:
            self._repeats.keep(asked, repeat)

    async def _linger(self) -> None:
        """End our half of the connection, and wait for the client's, throwing away what it still sends.

        A socket that is closed over bytes nobody has read is reset, and the client may lose the end of its answer.
        """
        transport = self.transport
        if transport is None or self._ended or not transport.can_write_eof():
            return
        self._gone = self._loop.create_future()
        with suppress(OSError, RuntimeError):
            transport.write_eof()
            transport.resume_reading()  # it may have been paused over a body that nobody wanted
            await asyncio.wait((self._gone,), timeout=_LINGER_SECONDS)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Note an answer."""
        if self._log is not None:
            self._log.answered(request, response, self._loop.time() - time if time is not None else 0.0)

    def refuse(self, status: HTTPStatus) -> None:
        """Answer a request that is not whole, and end the connection."""
        self._broken = True
        transport = self.transport
        if transport is None:
            return
        if self._log is not None:
            self._log.refused(self.client, status)
        transport.write(
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        if transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, self.force_close)
        else:
            self.force_close()

    def look(self, now: float) -> None:
        """See whether it has been waited for long enough."""
        if self.transport is None or self._broken:
            return
        answering = self.answering
        if self._ended and not answering:  # it said so in the moment between two requests
            self.force_close()
            return
        taken, left = taken_by_client(self.transport) if answering else (None, False)
        self._standing = standing_since(
            self._standing, now, answering=answering, begun=self._head_bytes > 0, taken=taken, left=left
        )
        match judge(self._standing, self._bounds, now):
            case Verdict.IDLE_TOO_LONG:
                self.force_close()
            case Verdict.HEAD_TOO_SLOW:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT)
            case Verdict.READS_NOTHING:
                self.abort()
            case Verdict.STAYS:
                pass

    def abort(self) -> None:
        """End it at once, whatever is still to be sent.

        The socket is shut, and its transport left: the loop's sendfile waits on the descriptor itself, would never hear
        of a transport that closed it, and would take the next connection of that number for its own.
        """
        connection = self.transport.get_extra_info("socket") if self.transport is not None else None
        if connection is None:
            return
        with suppress(OSError):  # it may have been reset already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITHOUT_LINGERING)
            connection.shutdown(socket.SHUT_RDWR)
