"""Fetching one large file with its sha256 checked, against ``curl`` and then ``sha256sum``, turn by turn.

Run it as ``python benchmarks/download.py [--size MB] [--rounds N] [--directory DIR]``. A server process on loopback
sends the file with sendfile(2); both sides write to the same directory. What is measured for us is ``Download.run``:
the request, the bytes on disk and synced now and then, the sidecar, the hash compared. Admission, which reads every
member of a wheel, comes after it and is not part of this.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.download import Download
from pytorch_offline.mirror.flow import Connections, Flow, Meter
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.partial import PartialFile
from pytorch_offline.mirror.readers import Pool
from pytorch_offline.mirror.room import Room
from pytorch_offline.mirror.workers import Stop
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "torch-2.4.0-py3-none-any.whl"


def serve(path: Path, listener: socket.socket) -> None:
    """Answer every request with the file, for ever."""
    size = path.stat().st_size
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "1"\r\nConnection: close\r\n\r\n'.encode()
    while True:
        connection, _ = listener.accept()
        with connection, path.open("rb") as file:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            connection.sendall(head)
            connection.sendfile(file)


class Unsynced(Disk):
    """A disk that makes nothing durable, to see what durability costs."""

    def sync(self, path: Path) -> None:
        """Do nothing."""


def ours(url: str, sha256: str, directory: Path, *, synced: bool) -> None:
    """Fetch once."""
    part = directory / "ours.part"
    wanted = WantedFile(
        name=parse_wheel_name(NAME), path=PurePosixPath("whl", NAME), urls=(url,), sha256=sha256, size=None
    )
    with Http() as http, PartialFile(part, disk=Disk() if synced else Unsynced()) as file:
        Download(
            wanted,
            file,
            http=http,
            room=Room(directory),
            stop=Stop(),
            set_aside=lambda error: sys.exit(str(error)),
            now=lambda: datetime.now(UTC),
            flow=Flow(connections=Connections(), meter=Meter(), pool=Pool()),
        ).run()
        file.forget()
    part.unlink()


def theirs(url: str, sha256: str, directory: Path, *, synced: bool) -> None:
    """Fetch with curl, then hash with sha256sum; with ``synced``, make the file durable as we do."""
    path = directory / "curl.part"
    subprocess.run(["curl", "--silent", "--fail", "--output", path, url], check=True)
    if synced:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    output = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout
    if not output.startswith(sha256):
        sys.exit("curl got other bytes")
    path.unlink()


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path())
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    try:
        source = directory / NAME
        digest = hashlib.sha256()
        with source.open("wb") as file:
            for number in range(arguments.size):
                block = (b"PK\x03\x04" if number == 0 else b"    ") + os.urandom(1_000_000 - 4)
                digest.update(block)
                file.write(block)
        measure(source, digest.hexdigest(), directory, arguments.rounds)
    finally:
        shutil.rmtree(directory)


def measure(source: Path, sha256: str, directory: Path, rounds: int) -> None:
    """Take turns, so that a noisy neighbour meets everybody."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = os.fork()
    if server == 0:
        serve(source, listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/whl/{NAME}"
    contenders: dict[str, Callable[[], None]] = {
        "curl; sha256sum": lambda: theirs(url, sha256, directory, synced=False),
        "curl; fsync; sha256sum": lambda: theirs(url, sha256, directory, synced=True),
        "pytorch-offline": lambda: ours(url, sha256, directory, synced=True),
        "pytorch-offline, syncing nothing": lambda: ours(url, sha256, directory, synced=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for _ in range(rounds + 1):  # the first only warms the page cache
            for name, run in contenders.items():
                os.sync()
                before, started = processor_seconds(), time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
                processor[name].append(processor_seconds() - before)
    finally:
        os.kill(server, 9)
        os.waitpid(server, 0)
        listener.close()
    reference = seconds["curl; sha256sum"][1:]
    print("| method | s (median) | x curl; sha256sum (median of rounds) | CPU s |")
    print("|---|---|---|---|")
    for name in contenders:
        ratio = statistics.median(base / mine for base, mine in zip(reference, seconds[name][1:], strict=True))
        median = statistics.median(seconds[name][1:])
        print(f"| {name} | {median:.2f} | {ratio:.2f} | {statistics.median(processor[name][1:]):.2f} |")
    print(f"\npeak memory of our process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def processor_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
