"""Crowds of clients: ``python -m tests.server.crowds [--tls]``.

One after another, each with small requests of a well-behaved client beside it, whose times are told: a thousand
connections that ask nothing, five hundred that send their headers a byte at a time, forty-eight that read a large wheel
slowly, forty-eight that stop reading, a thousand that begin together. In the end the server has the files open, and
about the memory, that it had.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import selectors
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.mirror.store import Mirror
from tests.mirror.loopback import sized_wheel
from tests.server.processes import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHEEL = "whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl"
SIZE = 60_000_000
GET_WHEEL = f"GET /{WHEEL} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode()
GET_PAGE = b"GET /whl/cu121/torch/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"


def probe(port: int) -> float:
    """Ask for a page over a connection of its own; give the seconds."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(GET_PAGE)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 "), received[:100]
    return time.perf_counter() - begun


@contextmanager
def connected(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Keep connections open, each with something sent."""
    crowd = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        one.connect(("127.0.0.1", port))
        one.sendall(first)
        one.setblocking(False)  # noqa: FBT003  (socket's own signature)
        crowd.append(one)
    try:
        yield crowd
    finally:
        for one in crowd:
            one.close()


def while_probing(name: str, server: ServeProcess, seconds: float, act: Callable[[float], None]) -> None:
    """Do something for a while, again and again, and ask for a page in between; tell the times."""
    times, files, begun, cpu = [], 0, time.monotonic(), server.cpu_seconds()
    while (passed := time.monotonic() - begun) < seconds:
        act(passed)
        times.append(probe(server.port))
        files = max(files, server.open_files())
    times.sort()
    print(
        f"{name}: {len(times)} probes, p50 {times[len(times) // 2] * 1000:.1f} ms, "
        f"p99 {times[len(times) * 99 // 100] * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms; open files {files}, "
        f"memory {server.memory() / 2**20:.0f} MiB, CPU {server.cpu_seconds() - cpu:.1f} s of {passed:.1f}"
    )


def idle(server: ServeProcess) -> None:
    """A thousand connections that ask nothing."""
    with connected(server.port, 1000):
        while_probing("1,000 idle connections", server, 5, lambda _: time.sleep(0.005))


def loris(server: ServeProcess) -> None:
    """Five hundred that send a header a byte at a time, for longer than they may."""
    ended = set()
    with connected(server.port, 500, b"GET /whl/ HTTP/1.1\r\nHost: mirror\r\nX-Slow: ") as crowd:

        def drip(_passed: float) -> None:
            for one in crowd:
                if one in ended:
                    continue
                try:
                    one.sendall(b"a")
                    if one.recv(1000) == b"":
                        ended.add(one)
                except BlockingIOError:
                    continue
                except OSError:
                    ended.add(one)

        while_probing("500 slow headers", server, 22, drip)
    print(f"  ended by the server: {len(ended)}")
    assert len(ended) == 500


def slow_readers(server: ServeProcess, digest: bytes) -> None:
    """Forty-eight that read 10 MB/s each until they have the whole file, and two that read 10 kB/s."""
    waiting = selectors.DefaultSelector()
    with connected(server.port, 50, GET_WHEEL) as crowd:
        got, begun = dict.fromkeys(crowd, 0), time.monotonic()
        hashes = {one: hashlib.sha256() for one in crowd}
        heads = dict.fromkeys(crowd, b"")
        for one in crowd:
            waiting.register(one, selectors.EVENT_READ)
        crawling = set(crowd[48:])

        def read(_passed: float) -> None:
            passed = time.monotonic() - begun
            for key, _ in (ready for _ in range(20) for ready in waiting.select(0.002)):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                allowed = (10_000 if one in crawling else 10_000_000) * passed - got[one]
                if allowed <= 0:
                    continue
                piece = one.recv(min(262_144, int(allowed) + 1))
                got[one] += len(piece)
                if not heads[one].endswith(b"\r\n\r\n"):
                    head, end, piece = (heads[one] + piece).partition(b"\r\n\r\n")
                    heads[one] = head + end
                hashes[one].update(piece)

        for _ in range(6):  # a busy machine reads more slowly than that
            while_probing("48 slow readers (10 MB/s each) and 2 very slow (10 kB/s)", server, 15, read)
            if all(hashes[one].digest() == digest for one in crowd[:48]):
                break
        whole = sum(hashes[one].digest() == digest for one in crowd[:48])
        print(f"  whole and right: {whole} of 48; the very slow have {min(got[one] for one in crawling)} bytes")
        assert whole == 48
        assert all(got[one] > 100_000 for one in crawling)


def stopped_readers(server: ServeProcess) -> None:
    """Forty-eight that stop reading: each is given up after a minute."""
    with connected(server.port, 48, GET_WHEEL) as crowd:
        while_probing("48 that stop reading", server, 66, lambda _: time.sleep(0.05))
        ended = 0
        for one in crowd:
            one.setblocking(True)  # noqa: FBT003  (socket's own signature)
            try:
                while one.recv(1_000_000):
                    pass
            except ConnectionResetError:
                ended += 1
        print(f"  given up: {ended}")
        assert ended == 48


def together(server: ServeProcess) -> None:
    """A thousand that connect and ask at the same time."""
    begun = time.monotonic()
    with connected(server.port, 1000, GET_PAGE) as crowd:
        answered = 0
        for one in crowd:
            one.setblocking(True)  # noqa: FBT003  (socket's own signature)
            received = b""
            while piece := one.recv(65536):
                received += piece
            answered += received.startswith(b"HTTP/1.1 200 ")
    print(f"1,000 that begin together: {answered} answered in {time.monotonic() - begun:.2f} s")
    assert answered == 1000


def main() -> int:
    """Run one crowd after another."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "mirror"
        mirror = Mirror(root)
        sized_wheel(WHEEL, SIZE).admit(mirror)
        mirror.publish()
        digest = hashlib.sha256((root / WHEEL).read_bytes()).digest()
        with ServeProcess(root) as server:
            for _ in range(200):
                probe(server.port)
            memory, files = server.memory(), server.open_files()
            together(server)
            idle(server)
            loris(server)
            slow_readers(server, digest)
            stopped_readers(server)
            time.sleep(3)
            now, peak = server.memory() / 2**20, server.peak_memory() / 2**20
            print(
                f"memory {memory / 2**20:.0f} → {now:.0f} MiB, peak {peak:.0f}; files {files} → {server.open_files()}"
            )
            assert server.open_files() <= files + 2
            assert server.peak_memory() < 200 * 2**20
            code = server.stop()
            faults = [line for line in server.said if "fault" in line or "Traceback" in line]
            print(f"exit code {code}; faults {faults}")
            assert not faults
    return 0


if __name__ == "__main__":
    sys.exit(main())
