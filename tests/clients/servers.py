"""The servers over one mirror that clients are tried with."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.clients.enclosure import ADDRESS, NAME
from tests.clients.nginx import Nginx
from tests.clients.ways import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE, HTTP_SERVER, NGINX, SERVE = "file://", "http.server", "nginx", "serve"
SERVERS = (SERVE, NGINX, FILE, HTTP_SERVER)
_PORTS = {SERVE: 8080, NGINX: 8081, HTTP_SERVER: 8082}


@contextmanager
def start(
    server: str,
    mirror: Path,
    directory: Path,
    *,
    within: Sequence[str],
    port: int | None = None,
    options: Sequence[str | Path] = (),
) -> Iterator[Place]:
    """Serve a mirror within an enclosure.

    Args:
        server: one of ``SERVERS``.
        mirror: its directory.
        directory: a new one for what the server writes.
        within: the command that starts another one in the enclosure.
        port: None for the server's usual one.
        options: further ones for ``serve``.
    """
    if server == FILE:
        yield Place(url=mirror.as_uri(), root=mirror)
        return
    port = port or _PORTS[server]
    place = Place(url=f"http://{NAME}:{port}", root=mirror)
    if server == NGINX:
        with Nginx(mirror, directory, host=ADDRESS, port=port, within=within):
            yield place
        return
    commands = {
        SERVE: ("pytorch_offline", "serve", "--mirror", mirror, "--host", ADDRESS, "--port", port, *options),
        HTTP_SERVER: ("http.server", port, "--bind", ADDRESS, "--directory", mirror),
    }
    command = [*within, sys.executable, "-m", *map(str, commands[server])]
    directory.mkdir(parents=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(port, process, within)
            yield place
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], within: Sequence[str]) -> None:
    question = f"import socket; socket.create_connection(({ADDRESS!r}, {port})).close()"
    deadline = time.monotonic() + 30
    while subprocess.run([*within, sys.executable, "-c", question], capture_output=True, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server on port {port} did not come up")
        time.sleep(0.05)
