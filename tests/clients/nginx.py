"""nginx over a tree, with the configuration that we give away."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx() -> str | None:
    """Find the program: Debian keeps it where only root's PATH leads."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def render_site(root: Path, listen: str) -> str:
    """Change the lines of ``deploy/nginx.conf`` that its reader is told to change, and nothing else."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    text, listens = re.subn(r"\n    listen .*", lambda _: f"\n    listen {listen};", text)
    text, roots = re.subn(r"\n    root .*", lambda _: f'\n    root "{root}";', text)
    assert (listens, roots) == (1, 1)
    return text


def render_main(directory: Path, *, as_root: bool) -> str:
    """Render what Debian's nginx.conf has around a site, with every path below a directory."""
    lines = [f"{name}_temp_path {directory}/{name};" for name in _TEMPORARY]
    lines += [f"access_log {directory}/access.log;", f"include {directory}/site.conf;"]
    user = ["user root;"] if as_root else []  # the tests' directories are closed to anybody else
    return "\n".join(
        [
            *user,
            "worker_processes 1;",
            f"pid {directory}/pid;",
            f"error_log {directory}/error.log;",
            "events { worker_connections 512; }",
            "http {",
            *lines,
            "}\n",
        ]
    )


class Nginx:
    """nginx over a tree, on an address of its own; a context manager.

    Args:
        root: the tree.
        directory: a new directory for what nginx writes.
        host: the address that it listens on.
        port: None for a free one.
        within: the command that starts another one somewhere else, such as in a network namespace.
    """

    def __init__(
        self,
        root: Path,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.port = _free_port() if port is None else port
        self.url = f"http://{host}:{self.port}"
        self._directory = directory
        program = find_nginx()
        assert program is not None
        directory.mkdir(parents=True)
        as_root = os.geteuid() == 0 or bool(within)  # whoever enters a namespace is root there
        (directory / "site.conf").write_text(render_site(root, f"{host}:{self.port}"), encoding="utf-8")
        (directory / "nginx.conf").write_text(render_main(directory, as_root=as_root), encoding="utf-8")
        settings = f"daemon off; master_process {'on' if os.geteuid() == 0 and not within else 'off'};"
        configuration = directory / "nginx.conf"
        self._command = [*within, program, "-p", str(directory), "-e", f"{directory}/error.log"]
        self._command += ["-c", str(configuration), "-g", settings]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not (self._directory / "pid").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError((self._directory / "error.log").read_text(encoding="utf-8"))
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
