"""Kills publications at any moment, to a directory and to a bucket, and looks at what readers find.

``python -m tests.mirror.publishing.kill_campaign [ROUNDS]``. Two mirrors that share wheels are published by turns, each
run removing what is the other's alone.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click
import moto.server

from pytorch_offline.mirror.store import Mirror
from tests.mirror.loopback import sized_wheel
from tests.mirror.publishing.memory import broken_links
from tests.mirror.publishing.stores import make_bucket
from tests.mirror.publishing.test_publish import public
from tests.mirror.wheels import SYMPY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.mirror.wheels import Wheel

OLD = sized_wheel("whl/cu121/torch-1.0+cu121-py3-none-any.whl", 20_000_000)
NEW = sized_wheel("whl/cu121/torch-2.0+cu121-py3-none-any.whl", 20_000_000, seed=1)


def mirror_of(root: Path, *wheels: Wheel) -> Path:
    mirror = Mirror(root)
    for wheel in wheels:
        wheel.admit(mirror)
    mirror.publish()
    return root


def campaign(
    mirrors: Sequence[Path], destination: Sequence[str], read: Callable[[], Mapping[PurePosixPath, bytes]], rounds: int
) -> tuple[int, int]:
    """Publish and kill, so many times; give how many runs were killed, and how many pages readers found all in all."""
    chance, killed, pages = random.Random(rounds), 0, 0
    command = [sys.executable, "-m", "pytorch_offline", "publish", *destination, "--delete", "--quiet"]
    began = time.monotonic()
    subprocess.run([*command, "--mirror", str(mirrors[0])], check=True)
    longest = time.monotonic() - began
    for number in range(rounds):
        began = time.monotonic()
        running = subprocess.Popen([*command, "--mirror", str(mirrors[number % 2])], stdout=subprocess.DEVNULL)
        try:
            running.wait(chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            running.kill()
            killed += 1
        if running.wait() == 0:
            longest = time.monotonic() - began  # as long as it takes on this machine, now
        assert running.returncode in {0, -9}
        there = read()
        pages += sum(path.suffix == ".html" for path in there)
        assert broken_links(there) == [], f"round {number}"
    subprocess.run([*command, "--mirror", str(mirrors[1])], check=True)
    assert read() == public(mirrors[1])
    return killed, pages


@click.command()
@click.argument("rounds", type=int, default=40)
def main(rounds: int) -> None:
    """Kill so many publications of each kind."""
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")  # noqa: S106  (the store believes anybody)
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    bucket = make_bucket(server.get_host_and_port()[1])

    def read() -> dict[PurePosixPath, bytes]:
        bodies = bucket.bodies()
        return {PurePosixPath(key): body for key, body in bodies.items() if not key.endswith("/")}

    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        mirrors = [mirror_of(root / "old", OLD, SYMPY), mirror_of(root / "new", NEW, SYMPY)]
        there = root / "there"
        click.echo(
            "directory: {} killed, {} pages followed".format(
                *campaign(mirrors, [str(there)], lambda: public(there), rounds)
            )
        )
        s3 = [f"s3://{bucket.name}", "--endpoint-url", bucket.url]
        click.echo("bucket: {} killed, {} pages followed".format(*campaign(mirrors, s3, read, rounds)))
        assert bucket.unfinished() == []
    server.stop()


if __name__ == "__main__":
    main()
