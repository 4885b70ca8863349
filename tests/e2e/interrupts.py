"""Ctrl-C in every phase of a run, as a terminal sends it: to the process group in its foreground.

``python -m tests.e2e.interrupts [ROUNDS]`` measures every phase and prints the seconds from the key to the end of the
process; ``test_interrupts.py`` goes through them once, with patience for a slow machine.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click
from filelock import FileLock

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME
from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.simulator.faults import Slow, Stall, Status
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

LINUX = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--accelerator", "none")
WHEELS = tuple(
    f"{project}+cpu-cp311-cp311-linux_x86_64.whl"
    for project in ("torch-2.4.0", "torchvision-0.19.0", "torchaudio-2.4.0")
)
WHEEL_BYTES = 12_000_000
# What a mirror's file is blown up to, so that hashing it takes long enough to be interrupted; nothing on disk.
SPARSE_BYTES = 40_000_000_000

Event = dict[str, Any]

# Makes the terminal on standard input that of a new session, and becomes the command: keys reach it from then on.
_IN_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(kw_only=True)
class Scene:
    """An upstream, and a directory to run the tool in."""

    directory: Path
    upstream: Simulator

    def fetch(self) -> tuple[str, ...]:
        """The command that brings three wheels."""
        return ("fetch", "torch", "torchvision", "torchaudio", *LINUX, "--no-deps", *self.indexes)

    @property
    def indexes(self) -> tuple[str, ...]:
        return ("--upstream", self.upstream.url, "--no-default-index")

    @property
    def state(self) -> Path:
        return self.directory / "cache" / ".state"

    def run(self, *arguments: str) -> None:
        """Run the tool to its end."""
        command = [sys.executable, "-m", "pytorch_offline", *arguments]
        subprocess.run(command, cwd=self.directory, env=environment(), check=True, capture_output=True)

    def check_nothing_left(self) -> None:
        """Make sure that a mirror, if there is one by now, is whole, and that nothing of a download is left."""
        if (self.directory / "cache" / "manifest.json").exists():
            self.run("verify", "--deep")
            left = [*(self.state / "partial").glob("*"), *(self.state / "rejected").glob("*")]
            if left:
                raise RuntimeError(f"{left} are left")

    def blow_up(self) -> None:
        """Make the mirror's files far larger, and its manifest agree that they are."""
        manifest = self.directory / "cache" / "manifest.json"
        document = json.loads(manifest.read_text(encoding="utf-8"))
        for row in document["files"]:
            os.truncate(self.directory / "cache" / row["path"], SPARSE_BYTES)
            row["size"] = SPARSE_BYTES
        manifest.write_text(json.dumps(document), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A moment to interrupt: what to prepare, what to run, and when it has come.

    ``come`` is asked with the events so far.
    """

    name: str
    come: Callable[[list[Event]], bool]
    prepare: Callable[[Scene, ExitStack], None] = lambda _scene, _stack: None
    command: Callable[[Scene], tuple[str, ...]] = Scene.fetch
    continues: bool = True  # whether the same command, undisturbed, then succeeds


def told(**facts: object) -> Callable[[list[Event]], bool]:
    """Wait for an event with these facts."""
    return lambda events: any(all(event.get(name) == value for name, value in facts.items()) for event in events)


def after(seconds: float) -> Callable[[list[Event]], bool]:
    """Wait so many seconds after the first event."""
    started: list[float] = []

    def come(events: list[Event]) -> bool:
        if not events:
            started.clear()
            return False
        if not started:
            started.append(time.monotonic())
        return time.monotonic() - started[0] >= seconds

    return come


def _receiving(events: list[Event]) -> bool:
    return any(event["event"] == "progress" and event["position"] > WHEEL_BYTES // 8 for event in events)


def slow(scene: Scene, _: ExitStack | None = None) -> None:
    """Let the wheels come so slowly that there is time to look."""
    scene.upstream.faults.add("*.whl", Slow(bytes_per_second=500_000), times=None)


def _fetched_and_blown_up(scene: Scene, _: ExitStack) -> None:
    scene.run(*scene.fetch())
    scene.blow_up()


def _huge_mirror(scene: Scene, _: ExitStack) -> None:
    """A mirror whose files take long to read: what ``verify`` needs of one, without a fetch."""
    rows = []
    for wheel in WHEELS:
        path = PurePosixPath("whl", "cpu", wheel)
        (scene.directory / "cache" / path.parent).mkdir(parents=True, exist_ok=True)
        (scene.directory / "cache" / path).touch()
        os.truncate(scene.directory / "cache" / path, SPARSE_BYTES)
        row = MirrorFile(
            path=path,
            size=SPARSE_BYTES,
            sha256="0" * 64,
            hash_origin=HashOrigin.PUBLISHED,
            origin=f"{scene.upstream.url}/cpu/{wheel}",
            metadata_sha256="0" * 64,
            requires_python=None,
            yanked=None,
            upload_time=None,
            verified_at="2026-01-01T00:00:00+00:00",
        )
        rows.append(row)
    (scene.directory / "cache" / "manifest.json").write_bytes(render_manifest(rows))


def _lock_held(scene: Scene, stack: ExitStack) -> None:
    scene.state.mkdir(parents=True)
    stack.enter_context(FileLock(scene.state / "lock"))


def _catalogue_held(scene: Scene, stack: ExitStack) -> None:
    scene.state.mkdir(parents=True)
    connection = sqlite3.connect(scene.state / CATALOGUE_NAME, isolation_level=None)
    stack.callback(connection.close)
    connection.execute("BEGIN EXCLUSIVE")


def _stalled(pattern: str) -> Callable[[Scene, ExitStack], None]:
    def prepare(scene: Scene, _: ExitStack) -> None:
        scene.upstream.faults.add(pattern, Stall(), times=None)

    return prepare


def _unavailable(scene: Scene, _: ExitStack) -> None:
    scene.upstream.faults.add("*.whl", Status(code=503, retry_after="25"), times=None)


PHASES = (
    Phase(name="starting", come=told(event="start")),
    Phase(name="reading pages that do not come", come=after(1.0), prepare=_stalled("*/torch/*")),
    Phase(name="waiting for an answer", come=told(event="doing", doing="asking"), prepare=_stalled("*.whl")),
    Phase(name="waiting between tries", come=told(event="doing", doing="waiting"), prepare=_unavailable),
    Phase(name="receiving slowly", come=_receiving, prepare=slow),
    Phase(name="receiving at full speed", come=told(event="doing", doing="receiving")),
    Phase(name="checking and admitting", come=told(event="doing", doing="checking")),
    Phase(name="waiting for the lock", come=told(event="message"), prepare=_lock_held),
    Phase(name="waiting for SQLite", come=after(1.5), prepare=_catalogue_held),
    Phase(
        name="taking stock",
        come=told(event="doing", doing="hashing"),
        prepare=_fetched_and_blown_up,
        continues=False,
    ),
    Phase(
        name="verifying",
        come=told(event="doing", doing="hashing"),
        prepare=_huge_mirror,
        command=lambda _: ("verify",),
        continues=False,
    ),
    Phase(
        name="crawling pages that do not come",
        come=after(1.0),
        prepare=_stalled("*/torch/*"),
        command=lambda scene: ("crawl", "--backend", "cpu", "--project", "torch", "--upstream", scene.upstream.url),
    ),
)


def environment() -> dict[str, str]:
    """This process's variables without those that configure the tool."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")}
    return kept | {"PYTORCH_OFFLINE_CONFIG": os.devnull}


@dataclass(kw_only=True)
class Ended:
    """How an interrupted process ended."""

    seconds: float
    code: int
    events: list[Event]
    document: Any
    noise: list[str] = field(default_factory=list)


@contextmanager
def scene() -> Iterator[Scene]:
    """Make an upstream of three wheels and an empty directory."""
    spec = Spec()
    for wheel in WHEELS:
        spec.add_wheel("cpu", wheel, padding=WHEEL_BYTES, requires=())
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".interrupts-") as directory, Simulator(spec) as upstream:
        yield Scene(directory=Path(directory), upstream=upstream)


def interrupt(phase: Phase, at: Scene, *, send: bytes | signal.Signals = b"\x03") -> Ended:
    """Run a phase's command on a terminal of its own, and interrupt it: by a key, or by a signal to it alone."""
    with ExitStack() as stack:
        phase.prepare(at, stack)
        master, slave = os.openpty()
        stack.callback(os.close, master)
        errors = stack.enter_context((at.directory / "errors").open("wb"))
        output = stack.enter_context((at.directory / "output").open("wb"))
        tool = [sys.executable, "-m", "pytorch_offline", *phase.command(at), "--json", "--progress", "json"]
        command = [sys.executable, "-S", "-c", _IN_FOREGROUND, *tool]
        process = subprocess.Popen(
            command,
            cwd=at.directory,
            env=environment(),
            stdin=slave,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        os.close(slave)
        try:
            _await(phase, at, process)
            pressed = time.monotonic()
            if isinstance(send, bytes):
                os.write(master, send)
            else:
                process.send_signal(send)
            process.wait(timeout=60)
            seconds = time.monotonic() - pressed
        finally:
            process.kill()
            process.wait()
    at.upstream.faults.clear()
    noise = []
    events = []
    for line in (at.directory / "errors").read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            noise.append(line)
    text = (at.directory / "output").read_text(encoding="utf-8")
    return Ended(
        seconds=seconds,
        code=process.returncode,
        events=events,
        document=json.loads(text) if text else None,
        noise=noise,
    )


def _await(phase: Phase, at: Scene, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None:
        lines = (at.directory / "errors").read_text(encoding="utf-8").splitlines(keepends=True)
        if phase.come([json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{phase.name} did not come")
        time.sleep(0.01)
    said = (at.directory / "errors").read_text(encoding="utf-8")
    raise RuntimeError(f"{phase.name}: it ended before it could be interrupted\n{said}")


def main(rounds: int) -> None:
    """Measure."""
    for phase in PHASES:
        ends = []
        for _ in range(rounds):
            with scene() as at:
                try:
                    ends.append(interrupt(phase, at))
                    if phase.continues:
                        at.run(*phase.command(at))
                        at.check_nothing_left()
                except RuntimeError as error:
                    click.echo(error, err=True)
        seconds = sorted(end.seconds for end in ends)
        codes = sorted({end.code for end in ends})
        noise = sum(len(end.noise) for end in ends)
        click.echo(
            f"{phase.name:34} median {statistics.median(seconds):.2f} s  most {seconds[-1]:.2f} s  "
            f"of {len(ends)}  exit {codes}  lines that are no event {noise}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
