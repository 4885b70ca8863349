"""A forward proxy on loopback, as a company has it: CONNECT, absolute addresses, a password; remembers what was asked.

Whatever host is named, it connects to 127.0.0.1 at the port named, so that names need no name server.
"""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl


class LoopbackProxy:
    """A proxy for one test.

    Args:
        wants: ``user:password``, if it wants one.
        refuses: a status line with which it refuses everything, such as ``403 Forbidden``.
        tls: speaks TLS itself, as ``https://`` proxies do.
        socks: speaks SOCKS5 instead of HTTP.
    """

    def __init__(
        self,
        *,
        wants: str | None = None,
        refuses: str | None = None,
        tls: ssl.SSLContext | None = None,
        socks: bool = False,
    ) -> None:
        self.asked: list[str] = []
        self._wants = wants
        self._refuses = refuses
        self._tls = tls
        self._socks = socks
        self._scheme = "socks5h" if socks else "http" if tls is None else "https"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = False

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def with_password(self, password: str) -> str:
        return f"{self._scheme}://{password}@127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):  # the client was first
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            with self._lock:
                self._open.add(client)
            if self._socks:
                self._serve_socks(client)
            else:
                self._serve_http(client)
        except OSError:
            pass  # the client went away
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _serve_http(self, client: socket.socket) -> None:
        while (head := _read_head(client)) is not None:
            line, *fields = head.decode("latin-1").split("\r\n")
            method, address, _ = line.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            self.asked.append(f"{method} {address}")
            refusal = self._refuses
            if self._wants is not None:
                wanted = "Basic " + base64.b64encode(self._wants.encode()).decode()
                if headers.get("proxy-authorization") != wanted:
                    refusal = "407 Proxy Authentication Required"
            if refusal is not None:
                client.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
                continue
            parts = urlsplit(f"//{address}" if method == "CONNECT" else address)
            with socket.create_connection(("127.0.0.1", parts.port or 80)) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    kept = [one for one in fields if not one.lower().startswith(("proxy-", "connection:"))]
                    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                    server.sendall(
                        "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode()
                    )
                _relay(client, server)
            return

    def _serve_socks(self, client: socket.socket) -> None:
        _, methods = _exactly(client, 2)
        _exactly(client, methods)
        client.sendall(b"\x05\x00")
        _, _, _, kind = _exactly(client, 4)
        name = _exactly(client, 4 if kind == 1 else _exactly(client, 1)[0])
        port = int.from_bytes(_exactly(client, 2))
        self.asked.append(f"SOCKS {name.decode() if kind == 3 else socket.inet_ntoa(name)}:{port}")
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            _relay(client, server)


def _read_head(client: socket.socket) -> bytes | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            return None
        head += byte
    return head.removesuffix(b"\r\n\r\n")


def _exactly(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = client.recv(size - len(got))
        if not piece:
            raise ConnectionError
        got += piece
    return got


def _relay(client: socket.socket, server: socket.socket) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, server)
        ready.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in ready.select(5):
                source, sink = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                piece = source.recv(65536)
                if not piece:
                    return
                sink.sendall(piece)
                # What TLS has decoded already is not seen by select.
                while getattr(source, "pending", lambda: 0)():
                    sink.sendall(source.recv(65536))
