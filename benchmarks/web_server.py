"""nginx with a configuration of its own in a scratch directory, as long as the context lasts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CONFIGURATION = """
daemon off; pid {place}/pid; error_log {place}/errors; worker_processes 2; {user}
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; sendfile_max_chunk 2m;
    types {{ text/html html; }} default_type application/octet-stream;
    ssl_certificate {place}/certificate; ssl_certificate_key {place}/key; ssl_protocols TLSv1.2 TLSv1.3;
    client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;
    uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;
    server {{ listen {address}:{plain}; root {root}; }}
    server {{ listen {address}:{tls} ssl; root {root}; }}
    server {{ listen {address}:{throttled}; root {root}; limit_rate 20m; }}
}}
"""


class WebServer:
    """Serves a directory by HTTP, by TLS, and by HTTP with 20 MB/s for each connection.

    Args:
        root: what to serve.
        place: an empty directory for what nginx needs; ``certificate`` in it is who to trust.
        address: where to listen.
        prefix: what to put before the command, to run it elsewhere.
    """

    def __init__(self, root: Path, place: Path, *, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        ports = _free_ports(3)
        self.certificate = place / "certificate"
        self.plain, self.tls, self.throttled = (
            f"{scheme}://{address}:{port}" for scheme, port in zip(("http", "https", "http"), ports, strict=True)
        )
        self._place = place
        own = ["-p", str(place), "-c", str(place / "configuration"), "-e", str(place / "errors")]
        self._command = [*prefix, "nginx", *own]
        place.mkdir(parents=True)
        (place / "configuration").write_text(
            _CONFIGURATION.format(
                place=place,
                root=root,
                address=address,
                plain=ports[0],
                tls=ports[1],
                throttled=ports[2],
                user=f"user {root.owner()};" if os.geteuid() == 0 else "",  # its workers read what we wrote
            )
        )
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}",
             "-addext", f"subjectAltName=IP:{address}", "-keyout", place / "key", "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command)
        for _ in range(100):
            if (self._place / "pid").exists():
                return self
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        raise RuntimeError(f"nginx did not start: {(self._place / 'errors').read_text()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def available() -> bool:
    """Say whether there is an nginx."""
    return shutil.which("nginx") is not None


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
