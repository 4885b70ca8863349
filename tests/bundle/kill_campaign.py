"""``bundle`` and ``import`` are killed at random moments and run again, until nothing is left to do; then once more.

After each kill: what was written of a bundle says that it is not finished, or is whole to the last byte; whoever reads
the mirror meanwhile, over HTTP and from the disk, finds nothing wrong. After each success: the very bytes of a run that
nobody disturbed, and nothing beside them. By hand: ``python -m tests.bundle.kill_campaign --kills 100``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.errors import PytorchOfflineError
from tests.bundle.importing.served import Hammer
from tests.installer.crafted import Crafted, linux_target, pure, write_mirror
from tests.mirror.power import leftovers
from tests.mirror.wheels import tree
from tests.server.processes import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

# Nothing of this process's settings reaches what is run; one date for all bundles.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")} | {
    "PYTORCH_OFFLINE_CONFIG": os.devnull,
    "SOURCE_DATE_EPOCH": "1767225600",
}
# How often a user's Ctrl-C or the system's shutdown stands in for a kill.
_SIGNALS = (signal.SIGKILL,) * 8 + (signal.SIGINT, signal.SIGTERM)
# How many of the kills come while a run writes; before that, a moment is as good as another.
_LATE = 0.9
# What a mirror keeps that is no leftover: which bundles it gave, took, and the lock of writing some.
_KEPT = {"bundles.json", "taken-bundles.json", "bundling"}


@dataclass(kw_only=True)
class Tally:
    """What a campaign has seen."""

    kills: int = 0
    successes: int = 0
    caught: int = 0  # interrupts that the run itself ended by
    unfinished: int = 0  # bundles that said so
    whole: int = 0  # bundles that were whole although the run was killed
    continued: int = 0  # imports that found bytes of an earlier run
    answers: int = 0  # that clients got meanwhile
    problems: list[str] = field(default_factory=list)


def padded(project: str, version: str, size: int, *, seed: int) -> Crafted:
    """Craft a wheel of about so many bytes that do not compress."""
    wheel = pure(project, version)
    chance = random.Random(seed)
    wheel.modules[f"{project}/data.txt"] = "".join(chance.choices("0123456789abcdef", k=2 * size))
    return wheel


def mirror_of(root: Path, sizes: Sequence[int]) -> Path:
    """Write a mirror with a lock of wheels of about these sizes."""
    wheels = [padded(f"project{number}", "1.0", size, seed=number) for number, size in enumerate(sizes)]
    return write_mirror(root, {"node": wheels}, target=linux_target())


def run(command: Sequence[str], cwd: Path) -> None:
    """Run a command that nobody disturbs."""
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")


def tool(*arguments: str | Path) -> list[str]:
    """Give the command line of a command that tells no progress."""
    return [sys.executable, "-m", "pytorch_offline", *map(str, arguments), "--progress", "none", "--json"]


class Campaign(ABC):
    """Kills runs of one command, one place after another.

    Args:
        scratch: an empty directory.
        chance: where randomness comes from.
    """

    def __init__(self, scratch: Path, *, chance: random.Random) -> None:
        self.tally = Tally()
        self.scratch = scratch
        self.begins = 1.0  # seconds from a run's start until it writes
        self.works = 1.0  # and from there to its end
        self._chance = chance

    @abstractmethod
    def prepare(self, number: int) -> list[str]:
        """Make a fresh place, and give the command that works on it."""

    @abstractmethod
    def begun(self) -> bool:
        """Say whether a run has begun to write."""

    @abstractmethod
    def check_killed(self) -> None:
        """See what a killed run left."""

    @abstractmethod
    def check_finished(self) -> None:
        """See that the end is that of a run that nobody disturbed."""

    @abstractmethod
    def end(self) -> None:
        """Let go of a place."""

    def run(self, kills: int) -> Tally:
        """Kill so many runs; at last, let the one that is left finish."""
        for number in count():
            command = self.prepare(number)
            try:
                while not self._one_run(command, patient=self.tally.kills >= kills):
                    self.check_killed()
                self.check_finished()
            finally:
                self.end()
            if self.tally.kills >= kills or len(self.tally.problems) > 10:
                break
        return self.tally

    def measure(self, command: list[str]) -> None:
        """Learn how long an undisturbed run takes until it begins to write, and until its end."""
        started = time.monotonic()
        with subprocess.Popen(
            command, cwd=self.scratch, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            while not self.begun() and process.poll() is None:
                time.sleep(0.002)
            self.begins = time.monotonic() - started
            _, errors = process.communicate()
        self.works = time.monotonic() - started - self.begins
        if process.returncode:
            raise RuntimeError(f"{command}: {errors.decode()}")

    def _one_run(self, command: list[str], *, patient: bool) -> bool:
        """Start a run, and kill it unless it is quicker; say whether it has finished."""
        number = self._chance.choice(_SIGNALS)
        with subprocess.Popen(
            command,
            cwd=self.scratch,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            if not patient:
                deadline = time.monotonic() + self._chance.uniform(0.2, 1.0) * self.begins
                if self._chance.random() < _LATE:
                    while not self.begun() and process.poll() is None:
                        time.sleep(0.001)
                    deadline = time.monotonic() + self._chance.uniform(0.0, 0.9) * self.works
                while time.monotonic() < deadline and process.poll() is None:
                    time.sleep(0.001)
                if process.poll() is None:
                    os.killpg(process.pid, number)
            _, errors = process.communicate(timeout=300)
        if process.returncode not in {0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130, 143}:
            self.tally.problems.append(f"exit {process.returncode}: {errors.decode()[-2000:]}")
            raise RuntimeError(self.tally.problems[-1])
        finished = process.returncode == 0
        self.tally.kills += not finished
        self.tally.caught += process.returncode in {130, 143}
        self.tally.successes += finished
        return finished


class BundleCampaign(Campaign):
    """Kills ``bundle``; ``options`` say how it packs."""

    def __init__(self, scratch: Path, *, chance: random.Random, sizes: Sequence[int], options: Sequence[str]) -> None:
        super().__init__(scratch, chance=chance)
        self._options = options
        mirror_of(scratch / "mirror", sizes)
        self._out = scratch / "undisturbed"
        self.measure(self._command("undisturbed"))
        self._expected = _described(self._out)

    def _command(self, out: str) -> list[str]:
        return tool("bundle", "-o", out, "--mirror", "mirror", "--offline", *self._options)

    def prepare(self, number: int) -> list[str]:
        """Name an output that is not there."""
        shutil.rmtree(self._out)
        self._out = self.scratch / f"out{number}"
        self._out.mkdir()
        return self._command(self._out.name)

    def begun(self) -> bool:
        """Say whether anything lies there."""
        return self._out.is_dir() and any(self._out.iterdir())

    def check_killed(self) -> None:
        """See that what was written is whole, or says that it is none."""
        try:
            source = open_source([str(self._out)])
        except PytorchOfflineError as error:
            self.tally.unfinished += error.code == "bundle-unfinished"
            if error.code not in {"bundle-unfinished", "no-bundle"} or (error.code == "no-bundle" and _fill(self._out)):
                self.tally.problems.append(f"a bundle that was cut off says {error.code}: {error.message}")
            return
        self.tally.whole += 1
        if verify_source(source).findings or _described(self._out) != self._expected:
            self.tally.problems.append("a bundle that was cut off looks finished, and is not")

    def check_finished(self) -> None:
        """Compare bytes, dates and rights."""
        if (found := _described(self._out)) != self._expected:
            unlike = sorted(name for name in found | self._expected if found.get(name) != self._expected.get(name))
            self.tally.problems.append(f"another bundle came of it: {unlike}")
        if left := leftovers(self.scratch / "mirror") - _KEPT:
            self.tally.problems.append(f"left behind: {sorted(left)}")

    def end(self) -> None:
        """Keep what was written until the next place is named."""


class ImportCampaign(Campaign):
    """Kills ``import`` of a bundle into a mirror that is served."""

    def __init__(self, scratch: Path, *, chance: random.Random, sizes: Sequence[int], options: Sequence[str]) -> None:
        super().__init__(scratch, chance=chance)
        near = mirror_of(scratch / "mirror", sizes[:1])
        run(tool("bundle", "-o", "first", "--mirror", near, "--offline"), scratch)
        shutil.rmtree(near / "locks")
        mirror_of(near, sizes)
        run(tool("bundle", "-o", "second", "--mirror", near, "--offline", *options), scratch)
        run(tool("import", "first", "--mirror", "prepared"), scratch)
        shutil.copytree(scratch / "prepared", scratch / "far")
        before = tree(scratch / "prepared")
        self.measure(tool("import", "second", "--mirror", "far"))
        self._expected = _content(scratch / "far")
        self._locks = [
            frozenset(body for name, body in place.items() if name.startswith("locks/"))
            for place in (before, tree(scratch / "far"))
        ]
        self._served: ServeProcess | None = None
        self._hammer: Hammer | None = None

    def prepare(self, number: int) -> list[str]:
        """Lay a mirror out that holds the first bundle, and serve it."""
        del number
        shutil.rmtree(self.scratch / "far")
        shutil.copytree(self.scratch / "prepared", self.scratch / "far")
        self._served = ServeProcess(self.scratch / "far").__enter__()
        self._hammer = Hammer(self.scratch / "far", self._served.port, clients=1).__enter__()
        return tool("import", "second", "--mirror", "far")

    def begun(self) -> bool:
        """Say whether bytes of the bundle have come, or what came goes to its place."""
        state = self.scratch / "far/.state"
        return any(state.glob("partial/*")) or (state / "admitted.jsonl").exists()

    def check_killed(self) -> None:
        """See that locks are all old or all new, and whether anything waits for the next run."""
        staged = [path for path in (self.scratch / "far/.state").glob("partial/*") if path.stat().st_size]
        self.tally.continued += bool(staged)
        if (self.scratch / "far/.state/journal.json").exists():
            return  # the next run finishes the switch
        locks = frozenset(path.read_bytes() for path in (self.scratch / "far/locks").iterdir())
        if locks not in self._locks:
            self.tally.problems.append("locks of two bundles lie there together")

    def check_finished(self) -> None:
        """Compare what the mirror gives, what it remembers, and what lies about."""
        found = _content(self.scratch / "far")
        if found != self._expected:
            unlike = sorted(name for name in found | self._expected if found.get(name) != self._expected.get(name))
            self.tally.problems.append(f"another mirror came of it: {unlike}")
        if left := leftovers(self.scratch / "far") - _KEPT:
            self.tally.problems.append(f"left behind: {sorted(left)}")

    def end(self) -> None:
        """Stop clients and server."""
        if self._hammer is not None:
            self._hammer.__exit__()
            self.tally.answers += self._hammer.seen["answer"]
            self.tally.problems += self._hammer.problems
        if self._served is not None:
            self._served.__exit__()


def _content(root: Path) -> dict[str, bytes]:
    """Give all that clients see and what is remembered; when a file was verified is another moment each time."""
    found = tree(root)
    rows = json.loads(found["manifest.json"])["files"]
    found["manifest.json"] = json.dumps([{**row, "verified_at": ""} for row in rows]).encode()
    return found | {"taken": (root / ".state/taken-bundles.json").read_bytes()}


def _described(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Give each file's bytes, rights and date, by path."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            status = path.stat()
            found[path.relative_to(root).as_posix()] = (
                path.read_bytes(), stat.S_IMODE(status.st_mode), int(status.st_mtime),
            )  # fmt: skip
    return found


def _fill(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


BUNDLES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "plain with parity": ("--parity", "10%"),
    "volumes": ("--volume-size", "2MB"),
    "volumes with parity": ("--volume-size", "2MB", "--parity", "10%"),
}
IMPORTS: dict[str, tuple[str, ...]] = {
    "import": (),
    "import of volumes": ("--volume-size", "2MB"),
    "import of a delta": ("--since", "first"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all campaigns; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Kill bundle and import at random moments.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", choices=[*BUNDLES, *IMPORTS], nargs="*", default=[*BUNDLES, *IMPORTS])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    wrong = 0
    for name, how in (BUNDLES | IMPORTS).items():
        if name not in options.only:
            continue
        chance = random.Random(options.seed)
        sizes = [chance.randrange(200_000, 4_000_000) for _ in range(8)]
        kind = BundleCampaign if name in BUNDLES else ImportCampaign
        with tempfile.TemporaryDirectory(prefix="kill-campaign-") as scratch:
            tally = kind(Path(scratch), chance=chance, sizes=sizes, options=how).run(options.kills)
        wrong += len(tally.problems)
        sys.stdout.write(f"{name}: {tally}\n")
        sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
