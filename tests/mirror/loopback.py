"""A web server on loopback that misbehaves on request, and wheels to serve from it."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

from tests.mirror.wheels import craft_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mirror.wheels import Wheel

CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Are you a robot?</body></html>"
_LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"


def sized_wheel(path: str, size: int, *, seed: int = 0) -> Wheel:
    """Craft a wheel of a little more than ``size`` bytes, which no compression shrinks."""
    return craft_wheel(path, content="# " + random.Random(seed).randbytes(size).hex())


@dataclass(kw_only=True)
class Served:
    """A file as the server has it now; ``etag`` may be None, weak, or what a test wants."""

    body: bytes
    etag: str | None
    last_modified: str | None = _LONG_AGO


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one answer. Offsets count from the first byte of the answer's body.

    What was sent before a reset may be lost with it; where a test counts bytes, ``truncate_at`` is exact.
    """

    reset_at: int | None = None
    truncate_at: int | None = None
    stall_at: int | None = None
    stall_seconds: float = 5.0
    corrupt_at: int | None = None
    status: int | None = None
    retry_after: str | None = None
    ignore_range: bool = False
    range_shift: int = 0  # Content-Range says that many bytes later than what is sent
    length_lie: int = 0  # added to Content-Length
    chunked: bool = False
    chunked_surplus: int = 0
    gzipped: bool = False
    called: str | None = None  # a Content-Encoding that the body does not have
    challenge: bool = False
    changed_to: bytes | None = None  # the file has other bytes from now on
    bytes_per_second: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    range: str | None
    if_range: str | None
    status: int


class Loopback(ThreadingHTTPServer):
    """Serves ``files``; answer after answer takes the next of ``faults`` of its path, then ``always``."""

    daemon_threads = False  # server_close waits for them, so that every socket is closed
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.faults: dict[str, deque[Fault | None]] = defaultdict(deque)
        self.of_parts: dict[str, deque[Fault]] = defaultdict(deque)  # for requests of a part with an end, before others
        self.always: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.tells_length = True  # to who asks for the first byte alone
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients of this server are meant to go away."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{quote(path, safe='/')}"

    def put(self, path: str, body: bytes) -> None:
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        self.files[path] = Served(body=body, etag=etag)

    def fail(self, path: str, *faults: Fault | None) -> None:
        self.faults[path].extend(faults)

    def next_fault(self, path: str, asked: str | None) -> Fault:
        with self.lock:
            part = asked is not None and not asked.endswith("-") and bool(self.of_parts[path])
            queue: deque[Fault] | deque[Fault | None] = self.of_parts[path] if part else self.faults[path]
            fault = queue.popleft() if queue else None
        return fault or self.always.get(path) or Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""

    def do_GET(self) -> None:
        self.close_connection = True
        if self.headers.get("Range") == "bytes=0-0":
            fault = Fault() if self.server.tells_length else Fault(status=503)
        else:
            fault = self.server.next_fault(self.path_decoded, self.headers.get("Range"))
        served = self.server.files.get(self.path_decoded)
        if served is None:
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"}, fault)
            return
        if fault.changed_to is not None:
            self.server.put(self.path_decoded, fault.changed_to)
            served = self.server.files[self.path_decoded]
        if fault.status is not None:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._answer(fault.status, b"trouble", headers, fault)
            return
        if fault.challenge:
            self._answer(200, CHALLENGE, {"Content-Type": "text/html; charset=utf-8"}, fault)
            return
        self._serve(served, fault)

    @property
    def path_decoded(self) -> str:
        return unquote(self.path)

    def _serve(self, served: Served, fault: Fault) -> None:
        headers = {"Content-Type": "binary/octet-stream", "Accept-Ranges": "bytes"}
        if served.etag is not None:
            headers["ETag"] = served.etag
        if served.last_modified is not None:
            headers["Last-Modified"] = served.last_modified
        start, status, body = 0, 200, served.body
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        guard = self.headers.get("If-Range")
        if asked and not fault.ignore_range and guard in {None, served.etag, served.last_modified}:
            start, total = int(asked[1]), len(served.body)
            if start >= total:
                self._answer(416, b"", headers | {"Content-Range": f"bytes */{total}"}, fault)
                return
            end = min(int(asked[2]) + 1, total) if asked[2] else total
            status, body = 206, served.body[start:end]
            shift = fault.range_shift
            headers["Content-Range"] = f"bytes {start + shift}-{end - 1 + shift}/{total + shift}"
        if fault.corrupt_at is not None and fault.corrupt_at < len(body):
            wrong = bytes([body[fault.corrupt_at] ^ 0xFF])
            body = body[: fault.corrupt_at] + wrong + body[fault.corrupt_at + 1 :]
        if fault.gzipped:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        if fault.called is not None:
            headers["Content-Encoding"] = fault.called
        self._answer(status, body, headers, fault)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault) -> None:
        with self.server.lock:
            self.server.requests.append(
                Request(
                    path=self.path_decoded,
                    range=self.headers.get("Range"),
                    if_range=self.headers.get("If-Range"),
                    status=status,
                )
            )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + fault.length_lie))
        self.end_headers()
        if fault.chunked:
            body += bytes(fault.chunked_surplus)
        for piece in self._pieces(body, fault):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
        if fault.reset_at is not None:
            # Closing with a linger time of nothing sends a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.01)  # what was sent should arrive first
            self.connection.shutdown(socket.SHUT_RD)
            self.connection.close()
        elif fault.chunked and fault.truncate_at is None:
            self.wfile.write(b"0\r\n\r\n")

    def _pieces(self, body: bytes, fault: Fault) -> Iterator[bytes]:
        ends = [offset for offset in (fault.reset_at, fault.truncate_at) if offset is not None]
        body = body[: min(ends)] if ends else body
        if fault.stall_at is not None:
            yield body[: fault.stall_at]
            self.server.closing.wait(fault.stall_seconds)
            body = body[fault.stall_at :]
        if fault.bytes_per_second is not None:
            portion = max(1, fault.bytes_per_second // 50)
            for start in range(0, len(body), portion):
                if self.server.closing.wait(0.02):
                    return
                yield body[start : start + portion]
        elif body:
            yield body
