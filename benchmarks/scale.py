"""How long until many machines have one closure, from one mirror, several, or in waves: the tables of docs/scale.md.

    python -m benchmarks.scale [--check]

The rules are in ``benchmarks/fair_sharing.py``; here are the figures that go in and the questions. Nothing is random
but the jitter, whose seed is fixed: the same tables come out each time. ``--check`` lets real clients take real files
over a link of 200 Mbit/s between two network namespaces and prints what the simulation says beside what was measured;
it needs root, nginx, and a kernel with the token bucket filter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fair_sharing import Client, Outcome, Server, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GB = 1e9
# TCP's payload on Ethernet with 1,500 bytes: 1,448 of 1,538 on the wire.
GBE = 1e9 / 8 * 1448 / 1538
NODES = (10, 100, 1_000, 10_000)

# The closure: torch 2.7.1+cu126 on Linux with what it requires, by the sizes in pip's output (docs/scale.md).
CLOSURE = 3.0 * GB
# What one `pip install torch` asks of a mirror before the files, counted in the access log: a page for each of 25
# projects, a METADATA for all but one; and pip 26's own CPU time for each (1.3 s in all).
REQUESTS = 49
THINKING_S = 0.027
# pip 26 unpacked torch 2.13.0+cpu at 73 MB/s of what came out, from the page cache of a virtual machine; 5.3 GB come
# out of the closure.
UNPACKING_S = 73.0
# `serve`, one process (benchmarks/README.md, Serving): small answers per second; CPU seconds per GB, plain and by TLS.
REQUESTS_PER_S = 15_000.0
PLAIN_CPU = 0.20
TLS_CPU = 0.70


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Mirrors that are all alike, among which machines that are all alike are dealt out evenly."""

    server: Server
    client: Client
    mirrors: int = 1

    def run(self, starts: Sequence[float]) -> Outcome:
        """Let a machine begin at each of these moments."""
        parts = [
            simulate(self.server, [(start, self.client) for start in starts[number :: self.mirrors]])
            for number in range(min(self.mirrors, len(starts)))
        ]
        return Outcome(
            loaded=tuple(sorted(moment for part in parts for moment in part.loaded)),
            finished=tuple(sorted(moment for part in parts for moment in part.finished)),
            gave_up=sum(part.gave_up for part in parts),
            retries=sum(part.retries for part in parts),
            slowest=min(part.slowest for part in parts),
            longest_answer=max(part.longest_answer for part in parts),
        )


def machine(gigabits: float, *, size: float = CLOSURE) -> Client:
    """Give a machine that installs with pip."""
    return Client(
        network=gigabits * GBE,
        requests=REQUESTS,
        thinking=THINKING_S,
        size=size,
        unpacking=UNPACKING_S * size / CLOSURE,
    )


def mirror(gigabits: float) -> Server:
    """Give a mirror that is limited by its interface; the files are in memory."""
    return Server(network=gigabits * GBE, requests=REQUESTS_PER_S, processor=GB / PLAIN_CPU)


def at_once(number: int) -> list[float]:
    """Let all begin together."""
    return [0.0] * number


def in_waves(number: int, wave: int, every: float) -> list[float]:
    """Let so many begin every so many seconds."""
    return [index // wave * every for index in range(number)]


def spread(number: int, seconds: float) -> list[float]:
    """Let each begin at a moment of its own within so many seconds."""
    chance = random.Random(1)
    return sorted(chance.uniform(0, seconds) for _ in range(number))


def mirrors_for(client: Client, server: Server, number: int, goal: float) -> int | None:
    """Say how many mirrors it takes until all have finished within ``goal`` seconds; None if no number does."""
    if Fleet(server=server, client=client, mirrors=number).run(at_once(number)).finished[-1] > goal:
        return None
    few, enough = 0, number
    while enough - few > 1:
        middle = (few + enough) // 2
        last = Fleet(server=server, client=client, mirrors=middle).run(at_once(number)).finished[-1]
        few, enough = (few, middle) if last <= goal else (middle, enough)
    return enough


def span(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Render a table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def one_mirror() -> Iterator[Sequence[str]]:
    """Say when the last of N machines that begin together has finished; all finish within moments of each other."""
    for gigabits in (1, 10, 25, 100):
        for near in (1, 10):
            fleet = Fleet(server=mirror(gigabits), client=machine(near))
            last = [span(fleet.run(at_once(number)).finished[-1]) for number in NODES]
            yield f"{gigabits} GbE, machines with {near} GbE", *last


def several_mirrors() -> Iterator[Sequence[str]]:
    """Say how many mirrors it takes for a goal."""
    for gigabits in (1, 10, 25):
        for minutes in (5, 15, 60):
            found = [mirrors_for(machine(10), mirror(gigabits), number, minutes * 60) for number in NODES]
            yield f"{gigabits} GbE each, done in {minutes} min", *(str(one or "-") for one in found)


def stores() -> Iterator[Sequence[str]]:
    """Say the same of object stores, which are several doors to one room."""
    for doors, gigabits in ((4, 10), (4, 25), (16, 25), (16, 100)):
        fleet = Fleet(server=mirror(gigabits), client=machine(10), mirrors=doors)
        last = [span(fleet.run(at_once(number)).finished[-1]) for number in NODES]
        yield f"{doors} gateways of {gigabits} GbE", *last


def staggered() -> Iterator[Sequence[str]]:
    """Compare ways to let 1,000 machines begin, at one mirror of 10 GbE."""
    fleet = Fleet(server=mirror(10), client=machine(10))
    wave = 25 * CLOSURE / (10 * GBE)
    ways = {
        "all at once": at_once(1000),
        "spread over 10 minutes": spread(1000, 600),
        "spread over 45 minutes": spread(1000, 2700),
        f"25 every {wave:.0f} s": in_waves(1000, 25, wave),
        f"25 every {1.25 * wave:.0f} s": in_waves(1000, 25, 1.25 * wave),
    }
    for name, starts in ways.items():
        outcome = fleet.run(starts)
        took = sorted(end - start for start, end in zip(sorted(starts), outcome.finished, strict=True))
        ends = outcome.finished
        yield (
            name,
            span(ends[0]),
            span(statistics.median(ends)),
            span(ends[-1]),
            span(statistics.median(took)),
            span(max(took)),
        )


def limits() -> Iterator[Sequence[str]]:
    """Say what happens to 1,000 and 10,000 machines at one mirror of 10 GbE that does not take all connections."""
    for connections in (256, 1024, 4096, None):
        server = replace(mirror(10), connections=connections, retry_after=5.0)
        cells = []
        for number in (1_000, 10_000):
            outcome = simulate(server, [(0.0, machine(10))] * number)
            cells += [f"{len(outcome.finished):,}", f"{outcome.gave_up:,}"]
        yield "all" if connections is None else f"{connections:,}", *cells


def bottlenecks() -> Iterator[Sequence[str]]:
    """Say when 100 and 1,000 machines have finished where something else than a link of 25 GbE is the limit."""
    base = mirror(25)
    cases = {
        "the link alone": base,
        "TLS, one core": replace(base, processor=GB / TLS_CPU),
        "not in memory, NVMe (3 GB/s)": replace(base, disk=3e9),
        "not in memory, SATA SSD (0.5 GB/s)": replace(base, disk=0.5e9),
        "not in memory, hard disk, everybody elsewhere in it (0.05 GB/s)": replace(base, disk=0.05e9),
    }
    for name, server in cases.items():
        last = [span(simulate(server, [(0.0, machine(10))] * number).finished[-1]) for number in (100, 1_000)]
        yield name, *last


def beginnings() -> Iterator[Sequence[str]]:
    """Say how long the pages take when N machines begin together, and what each then has of the link."""
    for number in NODES:
        outcomes = [
            simulate(replace(mirror(10), requests=rate), [(0.0, replace(machine(10), size=1.0, unpacking=0))] * number)
            for rate in (15.0, 500.0, 2_000.0, REQUESTS_PER_S)
        ]
        yield f"{number:,}", *(span(one.loaded[-1]) + " (time-outs)" * one.starves for one in outcomes)


TABLES: dict[str, tuple[Sequence[str], Callable[[], Iterator[Sequence[str]]]]] = {
    "One mirror, all at once: when the last has finished": (("mirror", *(f"{n:,}" for n in NODES)), one_mirror),
    "Mirrors needed, machines with 10 GbE": (("goal", *(f"{n:,}" for n in NODES)), several_mirrors),
    "An object store, machines with 10 GbE": (("store", *(f"{n:,}" for n in NODES)), stores),
    "1,000 machines, one mirror of 10 GbE": (
        ("start", "first", "median", "last", "median wait of one", "longest"),
        staggered,
    ),
    "Connections that one mirror of 10 GbE takes": (
        ("at once", "1,000: done", "gave up", "10,000: done", "gave up"),
        limits,
    ),
    "Something else than the link of 25 GbE is the limit": (("limit", "100", "1,000"), bottlenecks),
    "Until the pages are read, by small answers per second": (
        ("machines", "15", "500", "2,000", f"{REQUESTS_PER_S:,.0f}"),
        beginnings,
    ),
}


# A real case beside the simulation -----------------------------------------------------------------------------------

_RATE = "200mbit"
_FILE = 5_000_000
_NEAR, _FAR = "10.71.0.1", "10.71.0.2"
# Payload of 1,448 in frames of 1,514, as the filter counts them.
_PAYLOAD = 200e6 / 8 * 1448 / 1514


@contextmanager
def link() -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Join two network namespaces by a link of 200 Mbit/s; give what to put before a command to run it in each."""
    names = [f"scale-{os.getpid()}-{side}" for side in ("near", "far")]
    near, far = (("ip", "netns", "exec", name) for name in names)

    def do(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    try:
        for name in names:
            do("ip", "netns", "add", name)
        do("ip", "-n", names[0], "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", names[1])
        for name, device, address in zip(names, ("near0", "far0"), (_NEAR, _FAR), strict=True):
            do("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            do("ip", "-n", name, "link", "set", device, "up")
        # Frames as they would be on the wire: the filter sees what it is handed.
        do(*near, "ip", "link", "set", "near0", "gso_max_size", "1514", "gso_max_segs", "1")
        do(*near, "tc", "qdisc", "add", "dev", "near0", "root", "tbf", "rate", _RATE, "burst", "64k", "limit", "512k")
        yield near, far
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def check() -> Iterator[Sequence[str]]:
    """Measure three cases over the link, and simulate them."""
    cases = {
        "32 machines at once": [(0.0, taker())] * 32,
        "16 at once, 16 more after 3 s": [(0.0, taker())] * 16 + [(3.0, taker())] * 16,
        "8 that take 0.5 MB/s, 24 that take what there is": [(0.0, taker(0.5e6))] * 8 + [(0.0, taker())] * 24,
    }
    with tempfile.TemporaryDirectory() as name, link() as (near, far):
        place = Path(name)
        place.chmod(0o755)
        (place / "file").write_bytes(os.urandom(_FILE))
        configuration = place / "configuration"
        configuration.write_text(
            f"daemon off; pid {place}/pid; error_log {place}/errors; worker_processes 1; user root;\n"
            "events { worker_connections 1024; } http { access_log off; sendfile on;"
            f" client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;"
            f" uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;"
            f" server {{ listen {_NEAR}:8080; root {place}; }} }}\n"
        )
        command = [*near, "nginx", "-p", name, "-c", str(configuration), "-e", str(place / "errors")]
        with subprocess.Popen(command) as server:
            try:
                while not (place / "pid").exists() and server.poll() is None:
                    time.sleep(0.05)
                for title, clients in cases.items():
                    said = simulate(Server(network=_PAYLOAD, requests=1e6), clients).loaded
                    done = measured(far, clients)
                    cells = [
                        f"{one[0]:.1f} / {statistics.median(one):.1f} / {one[-1]:.1f} s" for one in (said, sorted(done))
                    ]
                    yield title, *cells
            finally:
                server.terminate()


def taker(most: float = 1e12) -> Client:
    """Give a client that only takes the file of the check, at most so fast."""
    return Client(network=most, requests=0, thinking=0, size=_FILE, unpacking=0)


def measured(far: Sequence[str], clients: Sequence[tuple[float, Client]]) -> list[float]:
    """Let curl take the file as each of the clients would; give when each was done."""
    program = [sys.executable, str(Path(__file__).with_name("taking.py"))]
    plan = [
        [start, int(client.network) if client.network < 1e11 else 0, f"http://{_NEAR}:8080/file"]
        for start, client in clients
    ]
    done = subprocess.run([*far, *program, json.dumps(plan)], check=True, capture_output=True, text=True)
    moments: list[float] = json.loads(done.stdout)
    return moments


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="measure a real case beside the simulation")
    arguments = parser.parse_args()
    if arguments.check:
        if os.geteuid() != 0 or shutil.which("nginx") is None:
            sys.exit("--check needs root and nginx")
        print("\n".join(table(("case: first / median / last", "simulated", "measured"), check())))
        return
    for title, (heads, rows) in TABLES.items():
        print(f"**{title}**\n")
        print("\n".join(table(heads, rows())))


if __name__ == "__main__":
    main()
