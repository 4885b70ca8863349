"""What is measured by ``serving.py``: ours, nginx, and three package servers, each as its users start it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from benchmarks.served_tree import BIG_PAGE, INDEX, LARGE, LARGE_WHEEL, SMALL_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
OURS, NGINX, NGINX_ONE = "pytorch-offline", "nginx", "nginx, 1 worker"
QUIET, SECURE = ", no log", ", TLS"
PEERS = {
    "pypiserver": ("pypiserver[cache]", "gunicorn"),
    "devpi-server": ("devpi-server",),
    "proxpi": ("proxpi", "gunicorn"),
}
_START_S = 60

_NGINX = """
daemon off; pid {place}/pid; error_log {place}/errors; worker_processes {workers}; {user}
events {{ worker_connections 4096; }}
http {{
    access_log {log}; sendfile on; tcp_nopush on;
    types {{ text/html html; }} default_type application/octet-stream;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;
    uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;
    server {{ listen {host}:{port} {tls}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs.

    Args:
        name: for the tables.
        process: the number of its first process; all below belong to it.
        large: the address of the large file.
        pages: the addresses of the big and the small page.
    """

    name: str
    process: int
    large: str
    pages: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the servers are started with: the mirror, a place for what each needs, a certificate and its key."""

    mirror: Path
    place: Path
    certificate: Path
    key: Path


def make_certificate(place: Path) -> tuple[Path, Path]:
    """Write a certificate for loopback and its key."""
    certificate, key = place / "certificate", place / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@contextmanager
def nginx(ground: Ground, name: str, *, workers: str, log: bool = True, tls: bool = False) -> Iterator[Server]:
    """Run nginx with a configuration like its package's."""
    place = ground.place / name.replace(", ", "-").replace(" ", "-")
    place.mkdir()
    port = _free_port()
    (place / "configuration").write_text(
        _NGINX.format(
            place=place,
            workers=workers,
            user=f"user {ground.mirror.owner()};" if os.geteuid() == 0 else "",  # its workers read what we wrote
            log=f"{place}/access" if log else "off",
            certificate=ground.certificate,
            key=ground.key,
            host=HOST,
            port=port,
            tls="ssl" if tls else "",
            root=ground.mirror,
        )
    )
    command = ["nginx", "-p", str(place), "-c", str(place / "configuration"), "-e", str(place / "errors")]
    with _running(command, place, port) as process:
        yield _of_the_tree(name, process, port, tls=tls)


@contextmanager
def ours(ground: Ground, name: str = OURS, *, log: bool = True, tls: bool = False) -> Iterator[Server]:
    """Run ``pytorch-offline serve``."""
    place = ground.place / name.replace(", ", "-").replace(" ", "-")
    place.mkdir()
    port = _free_port()
    secure = ("--tls-cert", str(ground.certificate), "--tls-key", str(ground.key)) if tls else ()
    where = ("--mirror", str(ground.mirror), "--host", HOST, "--port", str(port))
    logged = ("--access-log", str(place / "access")) if log else ()
    command = [sys.executable, "-m", "pytorch_offline", "serve", *where, *secure, *logged]
    with _running(command, place, port) as process:
        yield _of_the_tree(name, process, port, tls=tls)


@contextmanager
def pypiserver(ground: Ground, programs: Path) -> Iterator[Server]:
    """Run pypiserver under gunicorn, as its manual does, over a directory of the same files."""
    place = ground.place / "pypiserver"
    (place / "packages").mkdir(parents=True)
    for wheel in (ground.mirror / INDEX).glob("*.whl"):
        (place / "packages" / wheel.name).hardlink_to(wheel)
    port = _free_port()
    application = f"pypiserver:app(root={str(place / 'packages')!r})"
    command = [str(programs / "gunicorn"), "-w", "4", "-b", f"{HOST}:{port}", application]
    with _running(command, place, port) as process:
        yield _with_pages("pypiserver", process, f"http://{HOST}:{port}/simple/")


@contextmanager
def proxpi(ground: Ground, programs: Path, upstream: str) -> Iterator[Server]:
    """Run proxpi under gunicorn, as its image does, with its cache warm."""
    place = ground.place / "proxpi"
    place.mkdir()
    port = _free_port()
    settings = {
        "PROXPI_INDEX_URL": upstream,
        "PROXPI_CACHE_DIR": str(place / "cache"),
        "PROXPI_DOWNLOAD_TIMEOUT": "60",  # else it sends clients to upstream, and its cache would not be measured
        "PROXPI_INDEX_TTL": "86400",
    }
    command = [str(programs / "gunicorn"), "--preload", "--threads", "4", "--access-logfile", "-"]
    with _running([*command, "-b", f"{HOST}:{port}", "proxpi.server:app"], place, port, settings) as process:
        yield _with_pages("proxpi", process, f"http://{HOST}:{port}/index/")


@contextmanager
def devpi(ground: Ground, programs: Path, upstream: str) -> Iterator[Server]:
    """Run devpi-server with an index that mirrors upstream, with its cache warm."""
    place = ground.place / "devpi"
    place.mkdir()
    port = _free_port()
    directory = ("--serverdir", str(place / "data"))
    subprocess.run(
        [str(programs / "devpi-init"), *directory, "--no-root-pypi"], check=True, capture_output=True, timeout=_START_S
    )
    command = [str(programs / "devpi-server"), *directory, "--host", HOST, "--port", str(port)]
    with _running(command, place, port) as process:
        base = f"http://{HOST}:{port}"
        token = json.loads(_ask(f"{base}/+login", "POST", {"user": "root", "password": ""}))["result"]["password"]
        secret = base64.b64encode(f"root:{token}".encode()).decode()
        index = {"type": "mirror", "mirror_url": upstream, "mirror_cache_expiry": 86400, "volatile": False}
        _ask(f"{base}/root/lan", "PUT", index, {"X-Devpi-Auth": secret})
        yield _with_pages("devpi-server", process, f"{base}/root/lan/+simple/")


def make_programs(name: str, directory: Path) -> Path | None:
    """Put a package server into a virtual environment of its own; None where the package index has it not."""
    place = directory / name
    if not (place / "bin" / "gunicorn").exists() and not (place / "bin" / "devpi-server").exists():
        print(f"installing {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *PEERS[name]]
        if subprocess.run(pip, check=False, capture_output=True).returncode != 0:
            print(f"{name} cannot be installed: left out", file=sys.stderr)
            shutil.rmtree(place)
            return None
    return place / "bin"


def fetch(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
    """Ask once; give the status, the header fields by lower-case name, and the body."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_START_S)
    try:
        connection.request("GET", parts.path, headers=dict(headers or {}))
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()


def _ask(url: str, method: str, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_START_S)
    try:
        fields = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        connection.request(method, parts.path, json.dumps(body), fields)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status not in {200, 201}:
        raise RuntimeError(f"{method} {parts.path}: {answer.status} {text[:300]!r}")
    return text


def _of_the_tree(name: str, process: int, port: int, *, tls: bool) -> Server:
    base = f"http{'s' if tls else ''}://{HOST}:{port}/{INDEX}"
    pages = {project: f"{base}/{project}/" for project in (BIG_PAGE, SMALL_PAGE)}
    return Server(name=name, process=process, large=f"{base}/{LARGE_WHEEL}", pages=pages)


def _with_pages(name: str, process: int, index: str) -> Server:
    """Find the large file through the server's own page, and ask for everything once: its caches are warm then."""
    pages = {project: f"{index}{project}/" for project in (BIG_PAGE, SMALL_PAGE)}
    for url in pages.values():
        status, _, body = fetch(url, {"Accept": "text/html"})
        if status != 200 or b".whl" not in body:
            raise RuntimeError(f"{name}: {status} {body[:300]!r}")
    page = f"{index}{LARGE}/"
    _, _, body = fetch(page, {"Accept": "text/html"})
    href = next(part.split('"')[0] for part in body.decode().split('href="')[1:] if LARGE_WHEEL in part)
    large = urljoin(page, href).split("#")[0]
    status, _, body = fetch(large)
    if status != 200:
        raise RuntimeError(f"{name}: the large file: {status}")
    return Server(name=name, process=process, large=large, pages=pages)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as one:
        port: int = one.getsockname()[1]
    return port


@contextmanager
def _running(
    command: Sequence[str], place: Path, port: int, settings: Mapping[str, str] | None = None
) -> Iterator[int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment |= {"PYTHONPATH": str(ROOT)} if command[0] == sys.executable else {}
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=place,
            env={**environment, "NO_PROXY": "*", **(settings or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _until(lambda: process.poll() is not None or _answers(port))
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {(place / 'output').read_text()[-2000:]}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the session is its own
            process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("a server did not start")
        time.sleep(0.05)
