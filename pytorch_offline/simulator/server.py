"""The simulator: upstream's two hosts on two loopback ports, with a log of requests and faults to switch on.

with Simulator(era="2026-08") as simulator:
simulator.faults.add("/whl/cpu/torch-*", Reset(offset=1000))
...  # point a client at simulator.url
assert [request.status for request in simulator.requests] == [200, 206]
"""

from __future__ import annotations

import http.server
import selectors
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import unquote, urlsplit

from pytorch_offline.simulator.answers import Answer, Framing, Host, missing_answer, resource_answer
from pytorch_offline.simulator.bodies import READ_SIZE
from pytorch_offline.simulator.eras import parse_era
from pytorch_offline.simulator.faults import Changed, Faults, flipped
from pytorch_offline.simulator.site import GeneratedSite
from pytorch_offline.simulator.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from pytorch_offline.simulator.bodies import Resource

LOOPBACK = "127.0.0.1"
# How often a server thread looks whether it should stop, in seconds.
POLL_INTERVAL = 0.02
# Parts per second that a slow body is sent in.
SLOW_STEPS = 20


class Site(Protocol):
    """What is served: from an address to a resource."""

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up; ``path`` is decoded and starts with a slash."""
        ...

    def replace(self, path: str, body: bytes) -> None:
        """Put other bytes under an address, from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request: ``path`` is decoded, without the query; header names are in lower case."""

    host: Host
    method: str
    path: str
    target: str  # as it came on the wire
    headers: Mapping[str, str]
    status: int


class RequestLog:
    """The requests so far, in the order of their answers; safe from many threads."""

    def __init__(self) -> None:
        self._requests: list[LoggedRequest] = []
        self._lock = threading.Lock()

    def append(self, request: LoggedRequest) -> None:
        """Add a request."""
        with self._lock:
            self._requests.append(request)

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._requests.clear()

    def __iter__(self) -> Iterator[LoggedRequest]:
        with self._lock:
            return iter(tuple(self._requests))

    def __len__(self) -> int:
        with self._lock:
            return len(self._requests)

    def paths(self, method: str = "GET") -> list[str]:
        """The paths that were asked for with a method."""
        return [request.path for request in self if request.method == method]


class Simulator:
    """A faithful small upstream on loopback; a context manager.

    Args:
        spec: what it offers; None for the default offer of real names (``Spec.default()``).
        era: the date whose pages are served, ``2026-08`` or ``2026-08-15``.
        site: serve something else entirely, such as recorded pages; ``spec`` and ``era`` are then not used.
    """

    def __init__(self, spec: Spec | None = None, *, era: str = "2026-08", site: Site | None = None) -> None:
        self.spec = Spec.default() if spec is None and site is None else spec or Spec()
        self.faults = Faults()
        self.requests = RequestLog()
        self._era = parse_era(era)
        self._given_site = site
        self._servers: list[_Server] = []
        self._threads: list[threading.Thread] = []
        self.site: Site

    @classmethod
    def replaying(cls, recorded: Path, *, at: str = "latest") -> Self:
        """Serve recorded pages byte for byte; see ``pytorch_offline.simulator.replay``.

        Args:
            recorded: the directory that holds ``pages/`` and ``pages/SOURCES.tsv``.
            at: the newest recorded content of each page not after this day (``2025-01-30``), or ``latest``.

        Raises:
            UsageError: ``no-recording`` if the directory holds none.
        """
        from pytorch_offline.simulator.replay import read_recording  # noqa: PLC0415  (only this needs it)

        return cls(site=read_recording(recorded, at=at))

    def __enter__(self) -> Self:
        first, second = _Server(self, Host.FIRST), _Server(self, Host.SECOND)
        self._servers = [first, second]
        self.site = self._given_site or GeneratedSite(self.spec, self._era, second_url=second.url)
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, args=(POLL_INTERVAL,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving: break what is under way, close all sockets, end all threads."""
        for server in self._servers:
            server.stopping.set()
            server.shutdown()
            server.break_connections()
            server.server_close()
        for thread in self._threads:
            thread.join()
        self._servers, self._threads = [], []

    @property
    def root_url(self) -> str:
        """The first host, without a path."""
        return self._servers[0].url

    @property
    def url(self) -> str:
        """The index, as ``--upstream`` takes it: ``http://127.0.0.1:PORT/whl``."""
        return f"{self.root_url}/whl"

    @property
    def second_url(self) -> str:
        """The second host, without a path: ``http://127.0.0.1:PORT2``."""
        return self._servers[1].url

    @property
    def default_index_url(self) -> str:
        """A plain PEP 503 and PEP 691 index for everything that is not torch's own family."""
        return f"{self.second_url}/simple/"

    @property
    def listing_url(self) -> str:
        """The index's directories as plain listings, as public copies of it are served."""
        return f"{self.second_url}/listing/whl/"


class _Server(http.server.ThreadingHTTPServer):
    """One host."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, simulator: Simulator, host: Host) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.simulator = simulator
        self.host = host
        self.stopping = threading.Event()
        self.to_reset: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Remember the connection, so that ``close`` need not wait for a client that keeps it open."""
        assert isinstance(request, socket.socket)  # noqa: S101  (a stream server has nothing else)
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection: with a reset where a fault asked for one."""
        assert isinstance(request, socket.socket)  # noqa: S101  (a stream server has nothing else)
        with self._open_lock:
            self._open.discard(request)
            reset = request in self.to_reset
            self.to_reset.discard(request)
        if reset:
            # Zero seconds of lingering make close() send RST in place of FIN.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
        else:
            super().shutdown_request(request)

    def break_connections(self) -> None:
        """Wake every thread that waits for a client."""
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was quicker

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: tuple[str, int]
    ) -> None:
        """Say nothing of clients that went away, which tests kill on purpose; a fault of our own is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def version_string(self) -> str:
        """The Server header of the real hosts."""
        return "AmazonS3" if self.server.host is Host.FIRST else "cloudflare"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Keep stderr clean; requests are in the simulator's log."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._respond("GET")

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self._respond("HEAD")

    def _respond(self, method: str) -> None:
        simulator, host = self.server.simulator, self.server.host
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(urlsplit(self.path).path)
        resource = simulator.site.find(host, path, accept=headers.get("accept", ""))
        answer = missing_answer(host) if resource is None else resource_answer(headers, resource)
        for fault in simulator.faults.striking(method, path, host):
            answer = fault.apply(answer)
            if isinstance(fault, Changed):
                simulator.site.replace(path, fault.body)
        simulator.requests.append(
            LoggedRequest(host=host, method=method, path=path, target=self.path, headers=headers, status=answer.status)
        )
        self._send(answer, with_body=method == "GET")

    def _send(self, answer: Answer, *, with_body: bool) -> None:
        self._wait(answer.delay)
        if answer.silent:
            self._break_off(reset=True)
            return
        self.send_response_only(answer.status)
        self.send_header("Server", self.version_string())
        if answer.header("Date") is None:
            self.send_header("Date", self.date_time_string())
        for name, value in answer.headers:
            self.send_header(name, value)
        promised = answer.length if answer.promised is None else answer.promised
        if answer.status == http.HTTPStatus.NOT_MODIFIED:
            pass  # it has no body
        elif answer.framing is Framing.CHUNKED:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.framing is Framing.CLOSE:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(promised))
        self.end_headers()
        if not with_body:
            return
        sent = self._send_body(answer)
        if answer.framing is Framing.CHUNKED and sent == answer.length:
            self.wfile.write(b"0\r\n\r\n")
        if answer.reset or (sent < promised and not answer.spills) or answer.framing is Framing.CLOSE:
            self._break_off(reset=answer.reset)

    def _send_body(self, answer: Answer) -> int:
        """Send the body's part, as well or badly as the answer says; return the count of bytes sent."""
        end = answer.length if answer.cut_at is None else min(answer.length, answer.cut_at)
        step = READ_SIZE if answer.rate is None else max(1, answer.rate // SLOW_STEPS)
        sent, stalled = 0, answer.stall_at is None
        while not self.server.stopping.is_set():
            if not stalled and sent >= (answer.stall_at or 0):
                stalled = True
                self._wait(answer.stall_seconds)
                continue
            if sent >= end:
                break
            size = min(step, end - sent)
            if not stalled and answer.stall_at is not None:
                size = min(size, answer.stall_at - sent)
            piece = flipped(answer.body, answer.start + sent, size, answer.flips)
            self.wfile.write(b"%x\r\n%b\r\n" % (size, piece) if answer.framing is Framing.CHUNKED else piece)
            sent += size
            if answer.rate is not None:
                self._wait(size / answer.rate)
        return sent

    def _wait(self, seconds: float) -> None:
        """Wait, unless the server stops or the client goes away."""
        remaining = seconds
        while remaining > 0 and not self.server.stopping.wait(min(remaining, POLL_INTERVAL)):
            remaining -= POLL_INTERVAL
            with selectors.DefaultSelector() as selector:  # select.select knows no descriptor above 1,023
                selector.register(self.connection, selectors.EVENT_READ)
                readable = selector.select(0)
            if readable:
                break  # closed, or pipelined: nobody waits for this body

    def _break_off(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.server.to_reset.add(self.connection)
