"""A web server on loopback that answers as a test says, faults included, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from requests.structures import CaseInsensitiveDict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came over the wire: the path undecoded."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to answer: ``Content-Length`` is added unless ``headers`` name it or a transfer coding.

    ``reset_after`` ends the connection with a reset after so many bytes of the body; ``None`` sends all of it.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset_after: int | None = None


class Loopback:
    """A server for one test; ``answer`` may be exchanged between requests. With ``tls`` it speaks https."""

    def __init__(self, answer: Callable[[Request], Answer], *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = Request(path=self.path, headers=CaseInsensitiveDict(self.headers.items()))
                loopback.requests.append(request)
                self._send(loopback.answer(request))

            def _send(self, answer: Answer) -> None:
                names = {name.lower() for name in answer.headers}
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if not names & {"content-length", "transfer-encoding"} and answer.status not in {204, 304}:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client may leave before the end
                    self.wfile.write(answer.body[: answer.reset_after])
                    self.wfile.flush()
                if answer.reset_after is not None:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing: a client that goes away is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            # The handshake is made by the thread that answers, so that a client without one holds up nobody.
            plain = self._server.socket
            self._server.socket = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
