"""A small index on loopback: pages by path, with ETags, and whatever else a test wants to be answered."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

S3_DENIAL = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)


@dataclass(frozen=True)
class Answer:
    """What is answered for one path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: bool = True


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    path: str
    headers: Mapping[str, str]
    status: int


class Site:
    """Serves ``answers``; everything else is denied as S3 does."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = site.answers.get(self.path, Answer(S3_DENIAL, status=403, etag=False))
                tag = f'"{hashlib.sha256(answer.body).hexdigest()}"'
                validated = answer.etag and self.headers.get("If-None-Match") == tag
                status = 304 if validated else answer.status
                site.asked.append(Asked(self.path, dict(self.headers), status))
                self.send_response(status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                # Connections are not kept: nobody waits for the other side when a test ends.
                self.send_header("Connection", "close")
                if answer.etag:
                    self.send_header("ETag", tag)
                if status != 304:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if status != 304:
                    self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def base(self) -> str:
        """The address of ``/whl`` on this site."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/whl"

    def page(self, path: str, body: str | bytes) -> None:
        """Serve a page."""
        self.answers[path] = Answer(body.encode() if isinstance(body, str) else body)

    def project_list(self, path: str, names: Iterator[str] | list[str]) -> None:
        """Serve a list of projects as upstream writes it."""
        lines = "".join(f'    <a href="{name}/">{name}</a><br/>\n' for name in names)
        self.page(path, f"<!DOCTYPE html>\n<html>\n  <body>\n{lines}  </body>\n</html>\n<!--TIMESTAMP 1-->")

    def files(self, path: str, hrefs: list[str]) -> None:
        """Serve a project page as upstream writes it."""
        lines = "".join(f'    <a href="{href}">{href.rpartition("/")[2]}</a><br/>\n' for href in hrefs)
        self.page(path, f"<!DOCTYPE html>\n<html>\n  <body>\n    <h1>Links for x</h1>\n{lines}  </body>\n</html>\n")


def quick_http() -> Http:
    """Make a client that does not wait between its tries."""
    return Http(retry=RetryPolicy(tries=2, connect_tries=1, first_wait=0.0, budget=5.0), sleep=lambda _seconds: None)
