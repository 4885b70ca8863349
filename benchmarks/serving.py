"""Serving files and pages: ours beside nginx, pypiserver, devpi-server and proxpi, all of the same wheels.

    python -m benchmarks.serving [--quick] [--rounds N] [--directory DIR] [--only TEXT ...] [--load TEXT ...]

Within each load the servers take turns, round by round, so that a noisy machine is noisy for everybody; a ratio is the
median over the rounds of the ratios within one. The clients are ``benchmarks/draining.py`` for files (bytes are dropped
in the kernel), ``wrk`` for pages, ``curl --parallel`` for TLS; they share the cores with the server. CPU seconds are
those of all processes of the server, from /proc; peak memory is the sum of their peaks. Needs Linux, nginx, wrk, curl
and openssl; the package servers are installed by pip into environments of their own below ``--directory``, and those
that cannot be are left out.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.file_servers import (
    NGINX,
    NGINX_ONE,
    OURS,
    PEERS,
    QUIET,
    SECURE,
    Ground,
    devpi,
    fetch,
    make_certificate,
    make_programs,
    nginx,
    ours,
    proxpi,
    pypiserver,
)
from benchmarks.process_tree import busy, forget_peaks, peak, rests
from benchmarks.served_tree import BIG_PAGE, INDEX, LARGE_WHEEL, SMALL_PAGE, make_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.file_servers import Server

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
RANGE = 16 * 1024 * 1024  # bytes for each request: what downloaders with several connections ask for
# pip asks with a list of types; a browser's is enough here, so that everybody sends HTML.
ACCEPT = "text/html"
_WRK_SCRIPT = """
for name, value in string.gmatch(os.getenv("FIELDS"), "([^\\n=]+)=([^\\n]+)") do wrk.headers[name] = value end
if os.getenv("UNLIKE") then
    local number = 0
    request = function()
        number = number + 1
        wrk.headers["User-Agent"] = "client/" .. number
        return wrk.format()
    end
end
"""


# Lets clients ask a server; gives what was done, the seconds and a note, or None where it has no such answer.
Asking: TypeAlias = "Callable[[Server], tuple[float, float, str] | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One turn: how much was served and in what time, CPU seconds and peak MB of the server.

    Args:
        done: bytes, or answers.
        seconds: how long it took.
        busy: CPU seconds of the server.
        peak: MB.
        note: what else there is to say.
    """

    done: float
    seconds: float
    busy: float
    peak: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A way to ask, and how to print what came.

    Args:
        title: for the table.
        run: asks.
        unit: of the speed: ``GB/s`` for bytes, ``requests/s`` for answers.
        among: whether a server takes part.
        most_rounds: what varies little needs no more.
    """

    title: str
    run: Asking
    unit: str
    among: Callable[[str], bool]
    most_rounds: int = 99


def files(*, clients: int, seconds: float, size: int, ranges: bool = False) -> Asking:
    """Take the large file again and again."""

    def run(server: Server) -> tuple[float, float, str]:
        plan = {"url": server.large, "clients": clients, "seconds": seconds, "size": size}
        return _drained(plan | ({"range": RANGE} if ranges else {}))

    return run


def slow(*, clients: int, rate: float, seconds: float) -> Asking:
    """Take the large file slowly, with a client beside who asks for the small page now and then."""

    def run(server: Server) -> tuple[float, float, str]:
        plan = {"url": server.large, "clients": clients, "seconds": seconds, "rate": rate, "size": 0}
        probe = {"url": server.pages[SMALL_PAGE], "seconds": seconds, "accept": ACCEPT}
        command = [sys.executable, "-m", "benchmarks.probing", json.dumps(probe)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as beside:
            done, took, note = _drained(plan)
            waits = json.loads(beside.communicate()[0])
        waited = f"probe {waits['median']:.1f} / {waits['p99']:.1f} ms"
        return done, took, "; ".join(filter(None, [waited, note]))

    return run


def _drained(plan: dict[str, object]) -> tuple[float, float, str]:
    command = [sys.executable, "-m", "benchmarks.draining", json.dumps(plan)]
    done = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    said = [f"{done['starved']} clients got nothing"] if done["starved"] else []
    said += [f"failed: {done['failures'][0]}"] if done["failures"] else []
    return done["bytes"], done["seconds"], "; ".join(said)


def pages(project: str, *, seconds: float, script: Path, known: bool = False, unlike: bool = False) -> Asking:
    """Ask for a page over 32 connections, in the same words each time, as machines of one kind do.

    Args:
        project: whose page.
        seconds: how long.
        script: what wrk runs.
        known: ask as who has it and only wants to know whether it is still so.
        unlike: no two requests have the same words.
    """

    def run(server: Server) -> tuple[float, float, str] | None:
        url = server.pages[project]
        fields = {"Accept": ACCEPT}
        if known:
            fields |= _validators(url)
            if len(fields) == 1:
                return None
        environment = {**os.environ, "FIELDS": "\n".join(f"{name}={value}" for name, value in fields.items())}
        environment |= {"UNLIKE": "1"} if unlike else {}
        command = ["wrk", "-t1", "-c32", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script), url]
        text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        answers = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", text)
        if answers is None:
            raise RuntimeError(text)
        bad = re.search(r"(?:Non-2xx or 3xx responses|Socket errors).*", text)
        return float(answers[1]), float(answers[2]) * {"ms": 0.001, "s": 1, "m": 60}[answers[3]], bad[0] if bad else ""

    return run


def _validators(url: str) -> dict[str, str]:
    """Give the fields with which a page is asked for by who has it already; none if it comes again all the same."""
    same = {"Accept": ACCEPT}
    try:
        _, found, _ = fetch(url, same)
        fields = {
            name: found[key]
            for key, name in (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
            if key in found
        }
        return fields if fetch(url, same | fields)[0] == 304 else {}
    except OSError:  # still busy with those who left
        return {}


def by_tls(*, clients: int, ground: Ground, size: int) -> Asking:
    """Take the large file with as many connections of one curl, each once."""

    def run(server: Server) -> tuple[float, float, str]:
        began = time.perf_counter()
        same = [
            "--parallel",
            "--parallel-max",
            str(clients),
            "--parallel-immediate",
            "--http1.1",
            "--silent",
            "--no-progress-meter",
            "--fail",
        ]
        outputs = [part for _ in range(clients) for part in ("--output", "/dev/null", server.large)]
        subprocess.run(["curl", *same, "--cacert", str(ground.certificate), *outputs], check=True, capture_output=True)
        return clients * size, time.perf_counter() - began, ""

    return run


class Table:
    """What was measured of one load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._rounds: dict[str, list[Measured]] = {}

    def add(self, name: str, one: Measured) -> None:
        """Note one turn."""
        self._rounds.setdefault(name, []).append(one)

    def _ratio(self, name: str, base: str, value: Callable[[Measured], float]) -> str:
        like = next((suffix for suffix in (QUIET, SECURE) if name.endswith(suffix)), "")
        pairs = zip(self._rounds[name], self._rounds.get(base + like, []), strict=False)
        ratios = [value(mine) / value(its) for mine, its in pairs if mine.done and its.done and value(its)]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    def row(self) -> str:
        """Make the line of the summary: ours against nginx, then the others."""
        mine = OURS if OURS in self._rounds else OURS + SECURE
        if mine not in self._rounds:
            return f"| {self.load.title} |{' |' * 8}"
        cells = [
            *(self._ratio(mine, base, value) for base in (NGINX, NGINX_ONE) for value in (_speed, _cost)),
            *(self._ratio(name, NGINX, _speed) if name in self._rounds else "-" for name in PEERS),
            f"{max(one.peak for one in self._rounds[mine]):.0f}",
        ]
        return f"| {self.load.title} | {' | '.join(cells)} |"

    def render(self) -> Iterator[str]:
        """Make the lines of the table."""
        bases = (NGINX, NGINX_ONE)
        of_bytes = self.load.unit == "GB/s"
        cost, each = ("CPU s per GB", 1e9) if of_bytes else ("CPU µs each", 1)
        yield f"**{self.load.title}**"
        yield ""
        heads = [f"x {base}" for base in bases]
        yield f"| | {self.load.unit} | {' | '.join(heads)} | {cost} | {' | '.join(heads)} | peak MB | |"
        yield f"|---|{'---:|' * (3 + 2 * len(bases))}---|"
        for name, turns in self._rounds.items():
            speed = statistics.median(_speed(one) for one in turns) / each
            costs = [_cost(one) for one in turns if one.done]
            spent = statistics.median(costs) * each * (1 if of_bytes else 1e6) if costs else 0.0
            notes = next((one.note for one in turns if one.note), "")
            cells = [
                f"{speed:.2f}" if of_bytes else f"{speed:,.0f}",
                *(self._ratio(name, base, _speed) for base in bases),
                "-" if not costs else f"{spent:.2f}" if of_bytes else f"{spent:,.0f}",
                *(self._ratio(name, base, _cost) for base in bases),
                f"{max(one.peak for one in turns):.0f}",
                notes,
            ]
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""


def _speed(one: Measured) -> float:
    return one.done / one.seconds


def _cost(one: Measured) -> float:
    return one.busy / one.done


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn; slow clients take three times that")
    parser.add_argument("--quick", action="store_true", help="one round of half a second")
    parser.add_argument("--size", type=int, default=256, help="of the large file, in MB")
    parser.add_argument("--directory", type=Path, default=Path(), help="where 2 GB are free")
    parser.add_argument("--programs", type=Path, help="where the package servers are, or are put; kept")
    parser.add_argument("--only", action="append", metavar="TEXT", help="servers whose names have this in them")
    parser.add_argument("--load", action="append", metavar="TEXT", help="loads whose titles have this in them")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.5
    with tempfile.TemporaryDirectory(dir=arguments.directory.resolve(), prefix="benchmark-") as name:
        place = Path(name)
        place.chmod(0o755)
        tables = []
        for table in run(place, arguments):
            print("\n".join(table.render()), flush=True)
            tables.append(table)
    print("**All of them**, as times of nginx in the same round\n")
    print(f"| | ours | CPU | ours x {NGINX_ONE} | CPU | {' | '.join(PEERS)} | ours, peak MB |")
    print(f"|---|{'---:|' * 8}")
    print("\n".join(table.row() for table in tables))


def run(place: Path, arguments: argparse.Namespace) -> Iterator[Table]:
    """Measure one table after the other."""
    print("writing the mirror", file=sys.stderr)
    mirror = place / "mirror"
    make_tree(mirror, arguments.size)
    size = (mirror / INDEX / LARGE_WHEEL).stat().st_size
    script = place / "fields.lua"
    script.write_text(_WRK_SCRIPT)
    certificate, key = make_certificate(place)
    ground = Ground(mirror=mirror, place=place, certificate=certificate, key=key)
    loads = [
        one
        for one in _loads(ground, arguments.seconds, size, script)
        if not arguments.load or any(text in one.title for text in arguments.load)
    ]
    with ExitStack() as stack:
        servers = list(_servers(stack, ground, arguments.programs or place / "programs", arguments.only or ()))
        for load in loads:
            table = Table(load)
            absent: set[str] = set()
            for _ in range(min(arguments.rounds, load.most_rounds)):
                for server in servers:
                    if not load.among(server.name) or server.name in absent:
                        continue
                    one = measured(load, server)
                    if one is None:
                        absent.add(server.name)
                        continue
                    print(
                        f"{load.title}: {server.name}: {_speed(one):,.0f} a second {one.note}".rstrip(), file=sys.stderr
                    )
                    table.add(server.name, one)
            if absent:
                print(f"{load.title}: no such answer from {', '.join(sorted(absent))}", file=sys.stderr)
            yield table


def measured(load: Load, server: Server) -> Measured | None:
    """Let a server have its turn, once it rests from what clients asked for and did not wait for."""
    rests(server.process)
    forget_peaks(server.process)
    before = busy(server.process)
    done = load.run(server)
    spent = busy(server.process) - before
    if done is None:
        return None
    return Measured(done=done[0], seconds=done[1], busy=spent, peak=peak(server.process), note=done[2])


def _loads(ground: Ground, seconds: float, size: int, script: Path) -> Iterator[Load]:
    def plain(name: str) -> bool:
        return not name.endswith((QUIET, SECURE))

    for clients in (1, 8, 32):
        title = f"Large file, {clients} client{'s' if clients > 1 else ''}"
        yield Load(title=title, run=files(clients=clients, seconds=seconds, size=size), unit="GB/s", among=plain)
    ranges = files(clients=8, seconds=seconds, size=size, ranges=True)
    yield Load(title="Ranges of 16 MiB, 8 clients", run=ranges, unit="GB/s", among=plain)
    tls = by_tls(clients=8, ground=ground, size=size)
    yield Load(title="Large file by TLS, 8 clients", run=tls, unit="GB/s", among=lambda name: name.endswith(SECURE))
    everybody = functools.partial(Load, unit="requests/s", among=lambda name: not name.endswith(SECURE))
    asked = functools.partial(pages, seconds=seconds, script=script)
    for project, what in ((BIG_PAGE, "2 MB"), (SMALL_PAGE, "10 KB")):
        yield everybody(title=f"Page of {what}, 200", run=asked(project))
        yield everybody(title=f"Page of {what}, 304", run=asked(project, known=True))
    yield everybody(title="Page of 10 KB, no two requests alike", run=asked(SMALL_PAGE, unlike=True))
    for clients, rate in ((48, 10.0), (600, 0.7)):
        yield Load(
            title=f"{clients} clients at {rate:g} MB/s",
            run=slow(clients=clients, rate=rate * MB, seconds=3 * seconds),
            unit="GB/s",
            among=plain,
            most_rounds=2,
        )


def _servers(stack: ExitStack, ground: Ground, programs: Path, only: Sequence[str]) -> Iterator[Server]:
    def wanted(name: str) -> bool:
        return not only or any(text in name for text in only)

    base = stack.enter_context(nginx(ground, NGINX, workers="auto"))
    yield base
    if wanted(NGINX_ONE):
        yield stack.enter_context(nginx(ground, NGINX_ONE, workers="1"))
        yield stack.enter_context(nginx(ground, NGINX + QUIET, workers="auto", log=False))
        yield stack.enter_context(nginx(ground, NGINX_ONE + QUIET, workers="1", log=False))
        yield stack.enter_context(nginx(ground, NGINX + SECURE, workers="auto", tls=True))
        yield stack.enter_context(nginx(ground, NGINX_ONE + SECURE, workers="1", tls=True))
    if wanted(OURS):
        yield stack.enter_context(ours(ground))
        yield stack.enter_context(ours(ground, OURS + QUIET, log=False))
        yield stack.enter_context(ours(ground, OURS + SECURE, tls=True))
    upstream = base.large.rpartition("/")[0] + "/"
    for name in PEERS:
        if not wanted(name) or (place := make_programs(name, programs)) is None:
            continue
        if name == "pypiserver":
            yield stack.enter_context(pypiserver(ground, place))
        else:
            yield stack.enter_context((devpi if name == "devpi-server" else proxpi)(ground, place, upstream))


if __name__ == "__main__":
    main()
