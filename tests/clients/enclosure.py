"""A network in which there is a mirror and nobody else, and which tells of every attempt to reach anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Self

ADDRESS = "10.77.0.1"  # the mirror's, not a loopback one: clients treat those as trusted
NAME = "mirror"
RESOLVER = "10.77.0.53"
REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def why_not() -> str | None:
    """Say why this process cannot make such a network; None if it can."""
    for program in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine"
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no network namespace can be made here: {tried.stderr.strip()}"


def _unshare() -> list[str]:
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount"]


class Enclosure:
    """The network; a context manager. ``within`` is the command that starts another one inside, in the root directory.

    Args:
        directory: a new directory for the network's settings.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        command = [*_unshare(), sys.executable, "-m", "tests.clients.watcher", str(self._directory)]
        self._watcher = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if self._answer() != "ready\n":
            self.__exit__()
            raise RuntimeError("the network could not be made; its words are on standard error")
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.within = ["nsenter", "--target", str(self._watcher.pid), *user, "--net", "--mount"]
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.communicate()

    def give_name(self, name: str) -> None:
        """Let the mirror be known by another name, too, as a LAN's own name server could."""
        with (self._directory / "hosts").open("a", encoding="ascii") as hosts:  # the very file that is mounted
            hosts.write(f"{ADDRESS} {name}\n")

    def _answer(self) -> str:
        assert self._watcher.stdout is not None
        return self._watcher.stdout.readline()

    def seen(self) -> list[str]:
        """Say what was tried since this was asked last: look-ups of names, connections, datagrams."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.write("\n")
        told = json.loads(self._answer())
        assert told["lost"] == 0, "packets went by unseen"
        seen: list[str] = told["seen"]
        return seen
