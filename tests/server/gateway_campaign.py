"""A gateway under many clients and many kills: ``python -m tests.server.gateway_campaign DIRECTORY [--wheel FILE]``.

Prints figures. Everything runs on loopback; real pips and uvs install from the gateway, and what the simulator was
asked is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.simulator.faults import Slow
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.mirror.loopback import sized_wheel
from tests.server.gateway.test_disk import started
from tests.server.gateways import host_and_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 1000
PROCESSES = 10
KILLS = 12


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def gateway(mirror: Path, upstream: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the real command for as long as the context lasts."""
    process, url = started(mirror, upstream)
    with process:
        try:
            yield process, url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def memory_of(process: subprocess.Popen[str]) -> str:
    """Say the most memory that a process had."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith("VmHWM"))


async def ask_all(url: str, path: str, count: int) -> Counter[str]:
    """Let so many clients ask for a path at the same time; count what they got."""
    host, port = host_and_port(url)
    start = asyncio.Event()

    async def one() -> str:
        reader, writer = await asyncio.open_connection(host, port)
        await start.wait()
        writer.write(f"GET {quote(path)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        digest = hashlib.sha256()
        while piece := await reader.read(1 << 16):
            digest.update(piece)
        writer.close()
        return f"{head.split()[1].decode()} {digest.hexdigest()[:12]}"

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(1.0)
    start.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return Counter(one if isinstance(one, str) else type(one).__name__ for one in found)


def stampede(directory: Path) -> None:
    """Many clients at once for a page, and for a wheel that nobody had yet."""
    wheel = sized_wheel("whl/cpu/large-1.0-py3-none-any.whl", 10_000_000)
    spec = Spec()
    spec.add_wheel("cpu", wheel.path.name, body=wheel.body)
    with Simulator(spec) as upstream, gateway(directory / "stampede", upstream.url) as (process, url):
        for path in ("/whl/cpu/large/", f"/{wheel.path}", f"/{wheel.path}.metadata"):
            upstream.requests.clear()
            began = time.monotonic()
            answers = asyncio.run(ask_all(url, path, CLIENTS))
            took = time.monotonic() - began - 1.0
            asked = Counter(request.path for request in upstream.requests)
            say(f"stampede {path}: {dict(answers)} in {took:.2f} s; upstream was asked {dict(asked)}")
            say(f"  memory {memory_of(process)}; sha256 {wheel.sha256[:12]}")


def install(tool: str, url: str, place: Path) -> int:
    """Install with a real client; its exit code."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment = clean | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    asked = ["torch", "torchvision", "--index-url", f"{url}/whl/cpu", "--target", str(place)]
    command = {
        "pip": [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--quiet", *asked],
        "uv": ["uv", "pip", "install", "--no-cache", "--quiet", *asked],
    }[tool]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(done.stderr[-500:])
    return done.returncode


def installs(directory: Path) -> None:
    """Real pips and uvs at once, and once more when upstream is gone."""
    mirror = directory / "installs"
    with Simulator() as upstream:
        with gateway(mirror, upstream.url) as (process, url), ThreadPoolExecutor(2 * PROCESSES) as pool:
            began = time.monotonic()
            jobs = [(tool, directory / f"{tool}{number}") for tool in ("pip", "uv") for number in range(PROCESSES)]
            codes = list(pool.map(lambda job: install(job[0], url, job[1]), jobs))
            took = time.monotonic() - began
            asked = Counter(
                (request.method, request.path)
                for request in upstream.requests
                if request.path.endswith(".whl") and request.method == "GET"
            )
            pages = Counter(request.path for request in upstream.requests if request.path.endswith("/"))
            say(
                f"installs: exit codes {dict(Counter(codes))} of {len(jobs)} clients in {took:.1f} s; "
                f"{len(asked)} wheels, most downloads of one {max(asked.values())}; "
                f"{len(pages)} pages, most requests of one {max(pages.values())}; memory {memory_of(process)}"
            )
        address = upstream.url
    with gateway(mirror, address) as (_, url):
        began = time.monotonic()
        codes = [install(tool, url, directory / f"again-{tool}") for tool in ("pip", "uv")]
        say(f"upstream gone: exit codes {codes} in {time.monotonic() - began:.1f} s")


def kills(directory: Path) -> None:
    """Kill the gateway at random moments of a transfer; look at what is visible; go on."""
    wheel = sized_wheel("whl/cpu/large-1.0-py3-none-any.whl", 30_000_000)
    spec = Spec()
    spec.add_wheel("cpu", wheel.path.name, body=wheel.body)
    mirror, sent = directory / "kills", 0
    chance = random.Random(5)
    with Simulator(spec) as upstream:
        upstream.faults.add(f"/{wheel.path}", Slow(bytes_per_second=20_000_000), times=None)
        for number in range(KILLS):
            process, url = started(mirror, upstream.url)
            with process, closing(http.client.HTTPConnection(*host_and_port(url), timeout=30)) as client:
                client.request("GET", f"/{wheel.path}")
                end = time.monotonic() + chance.uniform(0.1, 0.6)
                with suppress(OSError, http.client.HTTPException):
                    answer = client.getresponse()
                    while time.monotonic() < end and answer.read(1 << 16):
                        pass
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            for found in mirror.glob("whl/**/*.whl"):
                assert hashlib.sha256(found.read_bytes()).hexdigest() == wheel.sha256, number
            for row in Mirror(mirror).read_files().values():
                assert (mirror / row.path).is_file()
            sent = sum(int(request.status in {200, 206}) for request in upstream.requests)
        with (
            gateway(mirror, upstream.url) as (_, url),
            closing(http.client.HTTPConnection(*host_and_port(url), timeout=60)) as client,
        ):
            client.request("GET", f"/{wheel.path}")
            assert client.getresponse().read() == wheel.body
        ranges = [request.headers.get("range") for request in upstream.requests if request.path == f"/{wheel.path}"]
    say(f"kills: {KILLS} kills, nothing unproved was visible; ranges asked of upstream: {ranges}; {sent} answers")


def throughput(directory: Path, wheel: Path) -> None:
    """First byte, 99 percent, and the end: upstream itself, the gateway the first time, and again."""
    spec = Spec()
    spec.add_wheel("cpu", wheel.name, body=wheel)
    rows: dict[str, list[tuple[float, float, float]]] = {"direct": [], "first": [], "again": []}
    with Simulator(spec) as upstream:
        project = wheel.name.partition("-")[0]
        for number in range(3):
            mirror = directory / f"throughput{number}"
            with gateway(mirror, upstream.url) as (process, url):
                for name, address in (("direct", upstream.root_url), ("first", url), ("again", url)):
                    timed(address, f"/whl/cpu/{project}/")
                    rows[name].append(timed(address, f"/whl/cpu/{quote(wheel.name)}"))
                say(f"  memory {memory_of(process)}")
            shutil.rmtree(mirror)
    for name, measured in rows.items():
        first, most, whole = (statistics.median(column) for column in zip(*measured, strict=True))
        told = f"first byte {first * 1000:.0f} ms, 99 % {most:.2f} s, the end {whole:.2f} s"
        say(f"throughput {name}: {told} (median of 3)")


def timed(address: str, path: str) -> tuple[float, float, float]:
    """Give the seconds to the first byte, to 99 percent and to the end."""
    began = time.monotonic()
    with closing(http.client.HTTPConnection(*host_and_port(address), timeout=120)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        length, got, first, most = int(answer.headers["Content-Length"]), 0, 0.0, 0.0
        buffer = bytearray(1 << 20)
        while count := answer.readinto(buffer):
            got += count
            first = first or time.monotonic() - began
            most = most or (time.monotonic() - began if got >= length * 0.99 else 0.0)
        assert got == length
    return first, most, time.monotonic() - began


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--only", nargs="*", default=["stampede", "installs", "kills", "throughput"])
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        if name == "throughput":
            if arguments.wheel is not None:
                throughput(arguments.directory, arguments.wheel)
        else:
            {"stampede": stampede, "installs": installs, "kills": kills}[name](arguments.directory)


if __name__ == "__main__":
    main()
