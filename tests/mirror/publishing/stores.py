"""An S3 on loopback, and a proxy before it that misbehaves on request."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import struct
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from pytorch_offline.mirror.publishing.object_store import ObjectStoreDestination
from pytorch_offline.mirror.publishing.s3_client import Endpoint, S3Client, connect, readers_address
from pytorch_offline.mirror.workers import Stop
from pytorch_offline.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytorch_offline.mirror.progress import Progress

IMPATIENT = RetryPolicy(tries=4, connect_tries=2, first_wait=0.01, longest_wait=0.05)


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with the requests that ``hits`` admits, so many times.

    Args:
        hits: told the method, and the path with its query.
        times: how often.
        status: answer this instead, with S3's ``code``.
        cut: end the connection: "before" the request reaches the store, or "after", so that its answer is lost.
        stall: seconds before anything is done.
        damage: change a byte of the body, and check its hash as S3 does.
    """

    hits: Callable[[str, str], bool]
    times: int = 1
    status: int | None = None
    code: str = "SlowDown"
    cut: str | None = None
    stall: float = 0.0
    damage: bool = False
    met: int = 0


@dataclass
class Proxy:
    """Hands requests on to a store, as ``faults`` say."""

    port: int
    target: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, method: str, path: str) -> Fault | None:
        self.requests.append((method, path))
        for fault in self.faults:
            if fault.met < fault.times and fault.hits(method, path):
                fault.met += 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy

    def handle_error(self, *_: object) -> None:
        """Say nothing: connections are cut here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_ANY(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.proxy.fault(self.command, self.path)
        if fault is not None:
            time.sleep(fault.stall)
        if fault is not None and fault.damage:
            body = body[:-1] + bytes([body[-1] ^ 1])
            if hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
                self._refuse(400, "XAmzContentSHA256Mismatch")
                return
        if fault is not None and fault.status is not None:
            self._refuse(fault.status, fault.code)
        elif fault is not None and fault.cut == "before":
            self._cut()
        else:
            self._hand_on(body, cut=fault is not None and fault.cut == "after")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_ANY  # noqa: N815  (http.server's names)

    def _hand_on(self, body: bytes, *, cut: bool) -> None:
        back = http.client.HTTPConnection("127.0.0.1", self.server.proxy.target, timeout=30)
        try:
            back.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = back.getresponse()
            content = answer.read()
        finally:
            back.close()
        if cut:
            self._cut()
        else:
            self._answer(answer.status, dict(answer.getheaders()), content)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>as the test wants</Message></Error>".encode()
        self._answer(status, {"Content-Type": "application/xml"}, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), None)
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", (self.command == "HEAD" and length) or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _cut(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def misbehaving(target: int) -> Iterator[Proxy]:
    """Run a proxy before the store at a port of loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.proxy = Proxy(server.server_address[1], target)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Bucket:
    """A bucket that anybody may read."""

    name: str
    port: int
    client: Any  # botocore's, which has no types

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> dict[str, bytes]:
        """Read every object, by key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        found = {}
        for key in keys:
            with self.client.get_object(Bucket=self.name, Key=key)["Body"] as body:
                found[key] = body.read()
        return found

    def unfinished(self) -> list[str]:
        """Name the keys of unfinished uploads."""
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        return [entry["Key"] for entry in answer.get("Uploads", ())]

    def destination(
        self, progress: Progress, *, url: str | None = None, prefix: str = "pre/fix", stop: Stop | None = None
    ) -> ObjectStoreDestination:
        client, address = connected(url or self.url)
        return ObjectStoreDestination(
            client,
            self.name,
            prefix,
            address=f"{readers_address(address, self.name)}/{prefix}",
            stop=stop or Stop(),
            progress=progress,
            retry=IMPATIENT,
        )


@cache
def connected(url: str) -> tuple[S3Client, str]:
    return connect(Endpoint(url=url, timeout=5))


def make_bucket(port: int) -> Bucket:
    name = f"b-{uuid.uuid4().hex}"
    client: Any = connected(f"http://127.0.0.1:{port}")[0]
    client.create_bucket(Bucket=name)
    readable = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [readable]}))
    return Bucket(name, port, client)


def putting(part: str) -> Callable[[str, str], bool]:
    """Admit requests that write something with ``part`` in its path or query."""
    return lambda method, path: method in {"PUT", "POST"} and part in path
