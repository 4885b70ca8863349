"""Downloads with their sha256 checked: ours beside curl, wget, aria2c and pip, over lines of several kinds.

    python -m benchmarks.download [--rounds N] [--size MB] [--directory DIR] [--line NAME ...] [--file NAME ...]

nginx on loopback serves one file of 1 GB and a closure of twelve, from 1 to 200 MB, all of them wheels with a member
that is not compressed. The lines are: plain HTTP and TLS, as fast as they go; 20 MB/s for each connection; and a
round trip of 50 ms (``delay_line.py``). All take turns within each round, so that a noisy machine is noisy for
everybody; a ratio is the median over the rounds of the ratios within one. On a slow line, who has one connection
takes as long as arithmetic says: pip is measured once, and curl and wget are not. The sizes fit a run of eight
minutes on two cores. Needs nginx and openssl; the long line needs root. What else is missing is left out of the
table, and named.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.delay_line import NEAR, DelayLine
from benchmarks.downloaders import ARIA, ARIA_SPLIT, COMMAND, CURL, OURS, PIP, Task, downloaders, is_missing
from benchmarks.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.downloaders import Downloader

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
# As torch's dependencies are: few have most of the bytes. In MB.
CLOSURE = (200, 100, 60, 40, 30, 20, 12, 8, 5, 3, 2, 1)
ROUND_TRIP = 0.050
LINES = ("plain", "tls", "throttled", "long")
TITLES = {
    "plain": "plain HTTP",
    "tls": "TLS",
    "throttled": "20 MB/s for each connection",
    "long": "round trip of 50 ms",
}
# What each line is judged by: ours against whom, and how many times as fast it should be.
AIMS = {
    "plain": [(OURS, CURL, 1.5), (COMMAND, PIP, 1.0)],
    "tls": [(OURS, CURL, 1.0), (COMMAND, PIP, 1.0)],
    "throttled": [(OURS, ARIA, 1.5), (OURS, ARIA_SPLIT, 1.5), (OURS, PIP, 8.0)],
    "long": [(OURS, ARIA, 1.0), (OURS, ARIA_SPLIT, 1.0), (OURS, PIP, 3.0)],
}
# A small process starts each command: a child's peak memory includes that of the process it was forked from.
STARTER = """
import os, sys, time
started = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one download took: seconds, CPU seconds of all its processes, the peak memory of the largest in MB."""

    seconds: float
    busy: float
    peak: float


def measured(downloader: Downloader, directory: Path, *, prefix: Sequence[str], certificate: Path) -> Measured:
    """Bring the files once, into an empty directory.

    Raises:
        RuntimeError: it failed.
    """
    for name, text in downloader.files.items():
        (directory / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "REQUESTS_CA_BUNDLE": str(certificate), "NO_PROXY": "*"}
    parts = []
    for command in downloader.commands:
        starter = [*prefix, sys.executable, "-I", "-S", "-c", STARTER, *command]
        done = subprocess.run(starter, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{downloader.name}: {' '.join(command)[:200]}\n{done.stdout}{done.stderr}")
        numbers = done.stdout.splitlines()[0 if downloader.measures_itself else -1].split()
        parts.append(Measured(seconds=float(numbers[0]), busy=float(numbers[1]), peak=float(numbers[2])))
    return Measured(
        seconds=sum(part.seconds for part in parts),
        busy=sum(part.busy for part in parts),
        peak=max(part.peak for part in parts),
    )


def make_wheel(path: Path, size: int) -> str:
    """Write a wheel of about ``size`` bytes; give its sha256."""
    project, version = path.name.split("-")[:2]
    info = f"{project}-{version}.dist-info"
    content = hashlib.sha256()
    with zipfile.ZipFile(path, "w") as wheel:
        with wheel.open(f"{project}/data", "w") as member:
            for _ in range(max(1, size // MB)):
                block = os.urandom(MB)
                content.update(block)
                member.write(block)
        metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        tags = "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", tags)
        rows = [(f"{project}/data", content.digest(), max(1, size // MB) * MB)]
        rows += [
            (f"{info}/{name}", hashlib.sha256(text.encode()).digest(), len(text))
            for name, text in (("METADATA", metadata), ("WHEEL", tags))
        ]
        record = "".join(f"{name},sha256={_urlsafe(digest)},{length}\n" for name, digest, length in rows)
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _urlsafe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def warm_memory(directory: Path, size: int) -> None:
    """Write a file and remove it again, so that whoever comes next finds memory that the machine has at hand.

    Virtual machines that give free memory back to their host pay up to 3 s per GB when they want it again: more than
    all that is measured here, and whom it hits is chance.
    """
    path = directory / "warm"
    block = os.urandom(MB)
    with path.open("wb", buffering=0) as file:
        for _ in range(int(1.3 * size / MB)):
            file.write(block)
    path.unlink()


class Table:
    """What was measured of one set of files over one line."""

    def __init__(self, line: str, title: str, size: int) -> None:
        self.line = line
        self.title = title
        self._size = size
        self._rounds: dict[str, list[Measured]] = {}

    def add(self, name: str, one: Measured) -> None:
        """Note one download."""
        self._rounds.setdefault(name, []).append(one)

    def ratio(self, name: str, other: str) -> float | None:
        """Say how many times as fast ``name`` is as ``other``: the median over the rounds."""
        mine, theirs = self._rounds.get(name), self._rounds.get(other)
        if not mine or not theirs:
            return None
        if len(theirs) == 1:  # of a line's speed
            return theirs[0].seconds / statistics.median(one.seconds for one in mine)
        if len(mine) == 1:
            return statistics.median(one.seconds for one in theirs) / mine[0].seconds
        return statistics.median(a.seconds / b.seconds for a, b in zip(theirs, mine, strict=True))

    def render(self) -> Iterator[str]:
        """Make the lines of the table."""
        base = next(iter(self._rounds))
        yield f"**{self.title}** ({self._size / MB:,.0f} MB)"
        yield ""
        yield f"| | s | x {base} | CPU s per GB | peak MB |"
        yield "|---|---:|---:|---:|---:|"
        for name, runs in self._rounds.items():
            seconds = statistics.median(one.seconds for one in runs)
            busy = statistics.median(one.busy for one in runs) / (self._size / 1000 / MB)
            peak = max(one.peak for one in runs)
            yield f"| {name} | {seconds:.2f} | {self.ratio(name, base):.2f} | {busy:.2f} | {peak:.0f} |"
        yield ""
        for mine, theirs, aim in AIMS[self.line]:
            ratio = self.ratio(mine, theirs)
            if ratio is not None:
                yield f"- {mine} has {ratio:.2f} times the speed of {theirs} (aim: {aim:g})"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1000, help="of the one large file, in MB")
    parser.add_argument("--directory", type=Path, default=Path(), help="where 5 GB are free")
    parser.add_argument("--line", action="append", choices=LINES, help="one of the lines alone")
    parser.add_argument("--files", action="append", choices=("one", "closure"), help="one of the sets alone")
    parser.add_argument("--only", action="append", metavar="TEXT", help="downloaders whose names have this in them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory.resolve(), prefix="benchmark-") as name:
        place = Path(name)
        place.chmod(0o755)
        tables = list(run(place, arguments))
    for table in tables:
        print("\n".join(table.render()), end="\n\n")


def run(place: Path, arguments: argparse.Namespace) -> Iterator[Table]:
    """Measure one table after the other."""
    root = place / "served"
    root.mkdir()
    print("writing the files", file=sys.stderr)
    sets = {
        "one": {"one-1.0-py3-none-any.whl": arguments.size},
        "closure": {f"part{number}-1.0-py3-none-any.whl": size for number, size in enumerate(CLOSURE)},
    }
    wanted = {name: files for name, files in sets.items() if name in (arguments.files or sets)}
    sums = {
        name: {filename: make_wheel(root / filename, size * MB) for filename, size in files.items()}
        for name, files in wanted.items()
    }
    for page in ("whl/index.html", "whl/nothing/index.html"):
        (root / page).parent.mkdir()
        (root / page).write_text('<!DOCTYPE html><title>Index</title><a href="nothing/">nothing</a>')
    for line in arguments.line or LINES:
        with ExitStack() as stack:
            prefix: Sequence[str] = ()
            if line == "long":
                if os.geteuid() != 0:
                    print("the long line needs root: left out", file=sys.stderr)
                    continue
                long = stack.enter_context(DelayLine(ROUND_TRIP))
                prefix = long.far
                print(f"{long.by}: {long.measured() * 1000:.1f} ms", file=sys.stderr)
                server = stack.enter_context(WebServer(root, place / line, address=NEAR, prefix=long.near))
            else:
                server = stack.enter_context(WebServer(root, place / line))
            base = {"tls": server.tls, "throttled": server.throttled}.get(line, server.plain)
            for name, files in sums.items():
                if line == "tls" and name == "closure":
                    continue
                task = Task(base=base, files=files, certificate=server.certificate)
                title = "One file" if len(files) == 1 else f"{len(files)} files"
                size = sum((root / filename).stat().st_size for filename in files)
                table = Table(line, f"{title}, {TITLES[line]}", size)
                measure(table, task, place / "out", arguments, prefix=prefix, size=size)
                yield table


def measure(
    table: Table, task: Task, directory: Path, arguments: argparse.Namespace, *, prefix: Sequence[str], size: int
) -> None:
    """Let everybody take turns."""
    free = table.line in {"plain", "tls"}
    # What a slow line gives varies less, and takes longer.
    for number in range(arguments.rounds if free else max(1, arguments.rounds - 1)):
        for downloader in downloaders(task):
            if arguments.only and not any(text in downloader.name for text in arguments.only):
                continue
            if not free and (not downloader.everywhere or (downloader.one_by_one and number > 0)):
                continue
            if (program := is_missing(downloader)) is not None:
                if number == 0:
                    print(f"{program} is not installed: no {downloader.name}", file=sys.stderr)
                continue
            directory.mkdir()
            os.sync()
            warm_memory(directory, size)
            try:
                one = measured(downloader, directory, prefix=prefix, certificate=task.certificate)
            finally:
                shutil.rmtree(directory)
            print(f"{table.title}: {downloader.name}: {one.seconds:.2f} s", file=sys.stderr)
            table.add(downloader.name, one)


if __name__ == "__main__":
    main()
