"""``demo``: the whole way on this machine, against a small upstream on loopback.

Every step is the command that a user would type, run as a process of its own, and shown before it runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME
from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The date whose pages the small upstream serves: link pages, absolute hrefs to a second host, upload times.
ERA = "2026-08"
# A machine that is not this one: Python 3.10 on Ubuntu 22.04, an A100 under driver 470.82.01 whose container brings
# a user-mode CUDA 12.2 (research/selectors.md, section 1: the machine that this project began with).
GPU_MACHINE = (
    *("--python-version", "3.10.12", "--platform", "linux_x86_64", "--glibc", "2.35"),
    *("--driver", "470.82.01", "--cuda", "12.2", "--gpu", "A100"),
)
GPU_MACHINE_WHEEL = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
PROOF = "import torch; print(torch.__version__, (torch.ones(2, 3) @ torch.ones(3, 2)).tolist())"
PRODUCT = "[[3.0, 3.0], [3.0, 3.0]]"
# Ways to start a process that has no network at all, the first that works is taken: as any user, then as root.
WITHOUT_NETWORK = (("unshare", "-r", "-n"), ("unshare", "-n"))
OURS = "pytorch-offline"
# What the other side has: here the interpreter that runs this.
PYTHON = "python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what it is for, its command line, what its output must hold, and whether it may use the network."""

    title: str
    command: tuple[str, ...]
    expects: str = ""
    offline: bool = False

    def shown(self, prefix: Sequence[str]) -> str:
        """The line that a user would type."""
        return shlex.join((*prefix, *self.command) if self.offline else self.command)

    def argv(self, prefix: Sequence[str]) -> list[str]:
        """The line that is run: the same, by this interpreter's own copy of the tool."""
        programs = {OURS: (sys.executable, "-m", "pytorch_offline"), PYTHON: (sys.executable,)}
        program = programs.get(self.command[0], (self.command[0],))
        return [*(prefix if self.offline else ()), *program, *self.command[1:]]


def plan_steps(upstream: str, default_index: str, mirror: Path, bundle: Path, environment: Path) -> tuple[Step, ...]:
    """Plan the whole way; paths are shown as they are given."""
    indexes = ("--upstream", upstream, "--default-index", default_index)
    at = ("--mirror", str(mirror))
    family = ("--project", "torch", "--project", "torchvision")
    binaries = "Scripts" if os.name == "nt" else "bin"
    return (
        Step(
            title="Read index pages into the catalogue.",
            command=(OURS, "crawl", "--upstream", upstream, "--backend", "cpu", "--backend", "cu121", *family, *at),
        ),
        Step(
            title="Choose for another machine: Python 3.10 on Ubuntu 22.04, an A100, driver 470.82.01 under a "
            "user-mode CUDA 12.2. Nothing is downloaded.",
            command=(OURS, "select", "torch==2.4.0", *GPU_MACHINE, *indexes, *at),
            expects=GPU_MACHINE_WHEEL,
        ),
        Step(
            title="Fetch for this machine, so that the rest can be tried here: choose, download, check, publish.",
            command=(OURS, "fetch", "torch", "--backend", "cpu", *indexes, *at),
        ),
        Step(
            title="Prove that the mirror is whole: every file, and every member of every wheel, is hashed again.",
            command=(OURS, "verify", "--deep", *at),
        ),
        Step(
            title="Pack what must be carried across the gap: wheels, locks, and an installer that needs nothing else.",
            command=(OURS, "bundle", "-o", str(bundle), "--offline", *at),
        ),
        Step(
            title="On the other side: install by the bundle's own installer, with a Python and without network.",
            command=(PYTHON, "-I", str(bundle / INSTALLER_NAME), "--venv", str(environment)),
            offline=True,
        ),
        Step(
            title="Use it, still without network.",
            command=(str(environment / binaries / "python"), "-I", "-c", PROOF),
            expects=PRODUCT,
            offline=True,
        ),
    )


@click.command(name="demo")
@click.option("--keep", is_flag=True, default=False, help="Keep the directory that it works in.")
@common_options
def command(session: Session, *, keep: bool) -> None:
    """Go the whole way on this machine, against a small upstream that it starts on loopback.

    Crawl, select for a foreign GPU machine, fetch for this one, verify, pack a bundle, install from it by its own
    installer without network, import torch. The upstream serves real names and requirements; its wheels are stand-ins
    of a few kilobytes, so that nothing is fetched from the internet and nothing here is the real torch.

    Works in a new directory below the current one, which is removed afterwards; a mirror named by --mirror must be
    new or empty, and is kept.
    """
    given = click.get_current_context().get_parameter_source("mirror") is ParameterSource.COMMANDLINE
    mirror = session.mirror if given else None
    if mirror is not None and mirror.exists() and any(mirror.iterdir()):
        raise UsageError(
            "mirror-not-empty", f"{mirror} is not empty, and the demo's stand-ins must not get into a real mirror"
        )
    with working_directory(keep=keep) as directory, Simulator(era=ERA) as simulator:
        here = Path(os.path.relpath(directory))
        steps = plan_steps(
            simulator.url, simulator.default_index_url, mirror or here / "cache", here / "bundle", here / "env"
        )
        prefix = prefix_without_network()
        narrate(session, f"A small upstream listens on {simulator.url}; its wheels are stand-ins with real names.")
        if not prefix:
            narrate(session, "Here no process can be kept from the network; pip is told not to use it.")
        started = time.monotonic()
        done = []
        for number, step in enumerate(steps, 1):
            asked_before = len(simulator.requests)
            run_step(session, step, f"{number}/{len(steps)}", prefix)
            requests = len(simulator.requests) - asked_before
            if step.offline and requests:
                raise PytorchOfflineError("demo-failed", f"a step without network sent {requests} requests to upstream")
            done.append({"command": step.shown(prefix), "requests": requests})
        seconds = time.monotonic() - started
        document = {"held": True, "network_taken_away": bool(prefix), "seconds": round(seconds, 1), "steps": done}
        session.result(document, f"\nEverything held: {len(steps)} steps in {seconds:.0f} seconds.")


def run_step(session: Session, step: Step, number: str, prefix: Sequence[str]) -> None:
    """Show and run one step.

    Raises:
        PytorchOfflineError: ``demo-failed`` if the command failed, or did not say what it should.
    """
    narrate(session, f"\n{number}  {step.title}\n$ {step.shown(prefix)}")
    facts = {"command": step.shown(prefix)}
    environment = quiet_environment(os.environ)
    try:
        result = subprocess.run(step.argv(prefix), env=environment, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise PytorchOfflineError("demo-failed", f"step {number} cannot be started: {error}", facts=facts) from error
    narrate(session, result.stdout.rstrip())
    if result.returncode != 0:
        message = f"step {number} ended with exit code {result.returncode}"
        raise PytorchOfflineError("demo-failed", message, facts=facts)
    if step.expects not in result.stdout:
        raise PytorchOfflineError("demo-failed", f"step {number} did not say {step.expects!r}", facts=facts)


def narrate(session: Session, text: str) -> None:
    """Tell the story on stdout, or on stderr where stdout is for one JSON document."""
    if session.verbosity >= 0 and text:
        click.echo(text, err=session.as_json)
        sys.stdout.flush()


def quiet_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for the commands: no settings of this machine's user, no proxy between us and loopback."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("PYTORCH_OFFLINE_", "PIP_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTORCH_OFFLINE_CONFIG": os.devnull, "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}


def prefix_without_network() -> tuple[str, ...]:
    """The words before a command that take the network from it; none where this machine has no way to."""
    for prefix in WITHOUT_NETWORK:
        if shutil.which(prefix[0]) is None:
            continue
        if subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True, check=False).returncode == 0:
            return prefix
    return ()


@contextmanager
def working_directory(*, keep: bool) -> Iterator[Path]:
    """Make a new directory below the current one; remove it at the end, unless it is to be kept or something failed.

    Raises:
        UsageError: ``no-working-directory`` if it cannot be made.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix="pytorch-offline-demo-", dir=Path.cwd()))
    except OSError as error:
        raise UsageError("no-working-directory", f"no directory can be made here: {error}") from error
    try:
        yield directory
    except BaseException:
        click.echo(f"what was made so far is in {directory}", err=True)
        raise
    if keep:
        click.echo(f"kept: {directory}", err=True)
    else:
        shutil.rmtree(directory)
