"""Servers in processes of their own: ours as an administrator starts it, and nginx over the same tree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Watched:
    """What can be seen of a process from outside."""

    pid: int
    port: int

    @property
    def pids(self) -> list[int]:
        """The process and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def memory(self) -> int:
        """Bytes that it holds now; 0 where the system does not say."""
        return sum(_status_kib(pid, "VmRSS") for pid in self.pids) * 1024

    def peak_memory(self) -> int:
        """Bytes that it held at most."""
        return sum(_status_kib(pid, "VmHWM") for pid in self.pids) * 1024

    def open_files(self) -> int:
        return sum(1 for pid in self.pids for _ in Path(f"/proc/{pid}/fd").iterdir())

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


class ServeProcess(Watched):
    """``pytorch-offline serve`` on a free port, until the context ends."""

    def __init__(
        self,
        mirror: Path,
        *options: str | Path,
        open_files: tuple[int, int] | None = None,
        environment: dict[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        self._command = [*launcher, sys.executable, "-m", "pytorch_offline", "serve", "--mirror", str(mirror)]
        self._command += ["--port", "0", "--json", *map(str, options)]
        self._open_files = open_files
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")}
        self._environment = clean | (environment or {})
        self.said: list[str] = []

    def __enter__(self) -> Self:
        if self._open_files is not None:
            soft, hard = self._open_files
            self._command = ["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$0" "$@"', *self._command]
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        self.pid = self.process.pid
        self._hearing = threading.Thread(target=self._hear)
        self._hearing.start()
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        if not lines or not lines[-1].startswith("}"):
            self.__exit__()
            raise AssertionError(f"it did not start: {''.join(lines)} {self.said}")
        self.told = json.loads("".join(lines))
        if "listening" not in self.told:
            self.__exit__()
            raise AssertionError(f"it did not start: {self.told}")
        self.port = int(str(self.told["listening"]).rpartition(":")[2])
        return self

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))

    def wait_said(self, words: str, seconds: float = 20.0) -> str:
        """Wait until a line with some words was said; give it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in tuple(self.said):
                if words in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{words!r} was not said: {self.said}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; give its exit code."""
        self.send(number)
        return self.wait()

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._hearing.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()


class NginxProcess(Watched):
    """nginx over a mirror's tree, as its own documentation would have it, until the context ends."""

    def __init__(self, mirror: Path, directory: Path) -> None:
        self._mirror = mirror
        self._directory = directory

    def __enter__(self) -> Self:
        assert NGINX is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        configuration = self._directory / "nginx.conf"
        configuration.write_text(f"""
daemon off; master_process off; pid {self._directory}/pid; error_log {self._directory}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on;
  client_body_temp_path {self._directory}/b; proxy_temp_path {self._directory}/p;
  fastcgi_temp_path {self._directory}/f; uwsgi_temp_path {self._directory}/u; scgi_temp_path {self._directory}/s;
  server {{ listen 127.0.0.1:{self.port} backlog=4096; root {self._mirror}; index index.html;
            location ~ /\\. {{ return 404; }} }}
}}
""")
        self.process = subprocess.Popen([NGINX, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        raise AssertionError("nginx does not answer")

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait()
