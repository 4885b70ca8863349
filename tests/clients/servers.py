"""The servers over one mirror that clients are tried with."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.clients.closure import BACKEND
from tests.clients.enclosure import ADDRESS, NAME, REPOSITORY
from tests.clients.nginx import Nginx
from tests.clients.ways import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE, GATEWAY, HTTP_SERVER, NGINX, SERVE = "file://", "gateway", "http.server", "nginx", "serve"
SERVERS = (SERVE, NGINX, FILE, HTTP_SERVER, GATEWAY)
_PORTS = {SERVE: 8080, NGINX: 8081, HTTP_SERVER: 8082, GATEWAY: 8083}


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
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        words: tuple[object, ...] = ("http.server", port, "--bind", ADDRESS, "--directory", mirror)
        if server != HTTP_SERVER:
            served: Sequence[object] = (mirror, *options)
            if server == GATEWAY:
                upstream, default_index = stack.enter_context(_upstream(mirror, within))
                served = (directory / "mirror", "--upstream", upstream, "--default-index", default_index)
            words = ("pytorch_offline", "serve", "--host", ADDRESS, "--port", port, "--mirror", *served)
        log = stack.enter_context((directory / "log").open("wb"))
        command = [*within, sys.executable, "-m", *map(str, words)]
        process = stack.enter_context(_running(command, stdout=log, stderr=log))
        _wait_for(port, process, within)
        yield place


@contextmanager
def _running(command: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[Any]]:  # noqa: ANN401
    process = subprocess.Popen(command, **streams)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _upstream(mirror: Path, within: Sequence[str]) -> Iterator[list[str]]:
    """Run the upstream that a mirror was fetched from, whose torch has as many bytes."""
    wheel = next((mirror / "whl" / BACKEND).glob("torch-*.whl"))
    size = wheel.stat().st_size // 1_000_000 * 1_000_000  # all but a few kilobytes was asked for
    command = [*within, "env", "--chdir", str(REPOSITORY), sys.executable, "-m", "tests.clients.upstream", str(size)]
    with _running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()


def _wait_for(port: int, process: subprocess.Popen[Any], within: Sequence[str]) -> None:
    question = f"import socket; socket.create_connection(({ADDRESS!r}, {port})).close()"
    deadline = time.monotonic() + 30
    while subprocess.run([*within, sys.executable, "-c", question], capture_output=True, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server on port {port} did not come up")
        time.sleep(0.05)
