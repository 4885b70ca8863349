"""A fetch of several files is killed at random moments and run again, until nothing is left to do; then once more.

After each kill: nothing bad shows, and what the sidecars vouch for is what the next run goes on from, by the server's
own log. After each success: all files, nothing else. By hand: ``python -m tests.mirror.kill_campaign --kills 200``;
with ``--command``, what is killed is ``pytorch-offline fetch``, from the simulator: its catalogue and locks too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.simulator.faults import Slow
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.power import leftovers
from tests.mirror.wheels import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

# For each request so far: the path it asked for, and its Range.
Asked = tuple[str, str | None]

# What runs and is killed. Many connections need small blocks, as the files are small; the rest is as it always is.
PROGRAM = """
import json, sys
from pathlib import Path, PurePosixPath
from pytorch_offline.mirror import download, flow, spans
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

root, connections, rows = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
if connections > 1:
    spans.SHORTEST_BLOCK, spans.LONGEST_BLOCK, spans.WORTH_SHARING = 1 << 17, 1 << 18, 1 << 16
    download.WORTH_HELPING, flow.WINDOW = 1 << 18, 0.05
wanted = [
    WantedFile(
        name=parse_wheel_name(PurePosixPath(row["path"]).name),
        path=PurePosixPath(row["path"]), urls=(row["url"],), sha256=row["sha256"], size=row["size"],
    )
    for row in rows
]
with Http() as http:
    fetch_files(Mirror(Path(root)), wanted, http, connections=connections)
"""


# Enough of each for several connections, with blocks as they always are.
SIZES = {"torch-2.4.0": 40_000_000, "torchvision-0.19.0": 24_000_000, "torchaudio-2.4.0": 10_000_000}
# Nothing of this process's settings reaches what is run.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")} | {
    "PYTORCH_OFFLINE_CONFIG": os.devnull
}


@dataclass(kw_only=True)
class Tally:
    """What a campaign has seen."""

    kills: int = 0
    successes: int = 0
    continued: int = 0  # files that went on from where a sidecar said
    ahead: int = 0  # sidecars with bytes beyond the first gap
    unsaved: int = 0  # files of which bytes were on disk, and no sidecar spoke of them yet
    problems: list[str] = field(default_factory=list)


class Upstream(Protocol):
    """Where wheels come from, and what fetches them."""

    @property
    def wheels(self) -> Sequence[Wheel]:
        """What is offered."""
        ...

    def command(self, root: Path, connections: int) -> list[str]:
        """Give the command that fetches all of them into a mirror."""
        ...

    def asked(self) -> list[Asked]:
        """Say what was asked for so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class Library:
    """A plain server, and ``fetch_files``."""

    wheels: Sequence[Wheel]
    server: Loopback

    def command(self, root: Path, connections: int) -> list[str]:
        """Give the command that fetches all of them into a mirror."""
        rows = [
            {
                "path": str(wheel.path),
                "url": self.server.url(f"/{wheel.path}"),
                "sha256": wheel.sha256,
                "size": len(wheel.body),
            }
            for wheel in self.wheels
        ]
        return [sys.executable, "-c", PROGRAM, str(root), str(connections), json.dumps(rows)]

    def asked(self) -> list[Asked]:
        """Say what was asked for so far."""
        return [(unquote(request.path).removeprefix("/"), request.range) for request in self.server.requests]


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """The simulator, and the tool as a user runs it."""

    wheels: Sequence[Wheel]
    simulator: Simulator

    def command(self, root: Path, connections: int) -> list[str]:
        """Give the command that fetches all of them into a mirror."""
        target = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--accelerator", "none")
        where = ("--upstream", self.simulator.url, "--no-default-index", "--mirror", str(root))
        what = ("fetch", *(wheel.path.name.partition("-")[0] for wheel in self.wheels), "--no-deps", *target, *where)
        how = ("--connections", str(connections), "--json", "--progress", "none")
        return [sys.executable, "-m", "pytorch_offline", *what, *how]

    def asked(self) -> list[Asked]:
        """Say what was asked for so far, pages too; but not the question for a length that no page says."""
        requests = [(each.path.removeprefix("/"), each.headers.get("range")) for each in self.simulator.requests]
        return [request for request in requests if request[1] != "bytes=0-0"]


@contextmanager
def library(wheels: Sequence[Wheel], *, pace: int) -> Iterator[Upstream]:
    """Serve wheels at so many bytes per second of each connection."""
    with Loopback() as server:
        for wheel in wheels:
            server.put(f"/{wheel.path}", wheel.body)
            server.always[f"/{wheel.path}"] = Fault(bytes_per_second=pace)
        yield Library(wheels=wheels, server=server)


@contextmanager
def command_line(sizes: Mapping[str, int], *, pace: int) -> Iterator[Upstream]:
    """Offer wheels of torch's family as an index does, at so many bytes per second of each connection."""
    spec = Spec()
    wheels = []
    for release, size in sizes.items():
        offer = spec.add_wheel("cpu", f"{release}+cpu-cp311-cp311-linux_x86_64.whl", padding=size, requires=())
        body = spec.body(offer)
        path = PurePosixPath("whl/cpu", offer.filename)
        wheels.append(Wheel(path=path, body=body.read(0, body.size), metadata=spec.metadata(offer)))
    with Simulator(spec) as simulator:
        simulator.faults.add("*.whl", Slow(bytes_per_second=pace), times=None)
        yield CommandLine(wheels=wheels, simulator=simulator)


class Campaign:
    """Kills runs on one mirror after another.

    Args:
        upstream: what is fetched, and how.
        connections: how many to the server.
        longest: seconds from a run's first request to the latest moment of a kill.
        chance: where randomness comes from.
    """

    def __init__(self, upstream: Upstream, *, connections: int, longest: float, chance: random.Random) -> None:
        self.tally = Tally()
        self._upstream = upstream
        self._wheels = upstream.wheels
        self._connections = connections
        self._longest = longest
        self._chance = chance
        self._saved: dict[str, int] = {}

    def run(self, kills: int, scratch: Path) -> Tally:
        """Kill so many runs; at last, let the one that is left finish."""
        for number in count():
            root = scratch / str(number)
            self._saved = {}
            while not self._one_run(root, patient=self.tally.kills >= kills):
                pass
            if self.tally.kills >= kills:
                break
        return self.tally

    def _one_run(self, root: Path, *, patient: bool) -> bool:
        """Start a run, and kill it unless it is quicker; say whether it has finished."""
        before = len(self._upstream.asked())
        with subprocess.Popen(
            self._upstream.command(root, self._connections),
            cwd=root.parent,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            if not patient:
                deadline = time.monotonic() + 60
                while len(self._upstream.asked()) == before and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.002)
                time.sleep(self._chance.uniform(0.0, self._longest))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            _, errors = process.communicate(timeout=300)
        finished = process.returncode == 0
        if process.returncode not in {0, -signal.SIGKILL}:
            self.tally.problems.append(f"exit {process.returncode}: {errors.decode()[-2000:]}")
            raise RuntimeError(self.tally.problems[-1])
        self.tally.kills += not finished
        self.tally.successes += finished
        self._check_requests(self._upstream.asked()[before:])
        self._check_tree(root, finished=finished)
        self._saved = self._read_saved(root)
        return finished

    def _check_requests(self, requests: Sequence[Asked]) -> None:
        """Hold the first request for each file against what was saved of it before."""
        seen = set()
        for path, span in requests:
            if path in seen:
                continue
            seen.add(path)
            saved = self._saved.get(path)
            if saved is None:
                continue
            if (span or "").startswith(f"bytes={saved}-"):
                self.tally.continued += 1
            else:
                self.tally.problems.append(f"{path}: {saved} bytes were saved, and asked for was {span}")

    def _check_tree(self, root: Path, *, finished: bool) -> None:
        for wheel in self._wheels:
            place = root / wheel.path
            if place.exists() and place.read_bytes() != wheel.body:
                self.tally.problems.append(f"{wheel.path} is bad, and shows")
            if finished and not place.exists():
                self.tally.problems.append(f"{wheel.path} is missing after a success")
        for page in root.glob("whl/**/index.html"):
            text = page.read_text()
            self.tally.problems += [
                f"{page} names {wheel.path}, which is not there"
                for wheel in self._wheels
                if wheel.path.name.replace("+", "%2B") in text and not (root / wheel.path).exists()
            ]
        if finished:
            left = {name for name in leftovers(root) if not name.startswith(("catalogue.sqlite", "pip.json"))}
            if left:
                self.tally.problems.append(f"left behind: {sorted(left)}")
            if sorted(Mirror(root).read_files()) != sorted(wheel.path for wheel in self._wheels):
                self.tally.problems.append("the manifest does not list what was fetched")

    def _read_saved(self, root: Path) -> dict[str, int]:
        """Read how many bytes of which file the sidecars vouch for; what they say must be on disk, and right."""
        saved = {}
        for wheel in self._wheels:
            part = root / ".state/partial" / f"{wheel.sha256}.part"
            sidecar = part.with_name(f"{part.name}.json")
            if not part.exists():
                continue
            body = part.read_bytes()
            if not sidecar.exists():
                self.tally.unsaved += len(body) > 0
                continue
            document = json.loads(sidecar.read_text())
            spans = [[0, document["completed"]], *document["ahead"]]
            self.tally.ahead += len(spans) > 1
            if any(body[start:stop] != wheel.body[start:stop] for start, stop in spans):
                self.tally.problems.append(f"the sidecar of {wheel.path} vouches for bytes that are not there")
            saved[str(wheel.path)] = document["completed"]
        return saved


def several_wheels(unit: int) -> list[Wheel]:
    """Craft files of very different sizes, the largest of 24 units."""
    names = {"cpu/torch-1.0+cpu": 24, "cpu/torchvision-0.9+cpu": 16, "triton-3.0": 8, "numpy-1.2": 2, "sympy-1.2": 1}
    return [
        sized_wheel(f"whl/{name}-py3-none-any.whl", size * unit, seed=number)
        for number, (name, size) in enumerate(names.items())
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run campaigns with one connection and with many; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Kill a fetch at random moments.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="store_true", help="kill the command, with files of tens of megabytes")
    options = parser.parse_args(arguments)
    wrong = 0
    for connections in options.connections:
        chance = random.Random(options.seed)
        offered: AbstractContextManager[Upstream] = (
            command_line(SIZES, pace=4_000_000) if options.command else library(several_wheels(200_000), pace=1_000_000)
        )
        longest = 6.0 if options.command else 1.5
        with offered as upstream, tempfile.TemporaryDirectory(prefix="kill-campaign-") as scratch:
            campaign = Campaign(upstream, connections=connections, longest=longest, chance=chance)
            tally = campaign.run(options.kills, Path(scratch))
        wrong += len(tally.problems)
        sys.stdout.write(f"{connections} connections: {tally}\n")
        sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
