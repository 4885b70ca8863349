"""install.py against plain pip and uv, the same wheels in the same run: ``python -m benchmarks.installing DIR``.

DIR holds wheels for the Python that runs this, e.g. torch for the CPU and what it needs. Each way installs into a fresh
virtual environment that was made beforehand; install.py checks every file of the bundle, unpacks, hashes, compiles,
switches, imports torch and computes, and leaves its evidence, while pip and uv only install. Wall time and the CPU
seconds of all processes; the ways take turns, the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.installer.crafted import Crafted, linux_target, write_mirror


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def spend(command: list[str | Path]) -> Spent:
    """Run a command to its end and say what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=surroundings())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return Spent(time.monotonic() - began, cpu)


def surroundings() -> dict[str, str]:
    """Give variables in which no configuration of this machine is in force, and uv is found."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PIP_CONFIG_FILE": os.devnull, "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def write_bundle(wheels: Path, directory: Path) -> Path:
    """Write a bundle of the wheels, with an installer of its own."""
    crafted = [
        Crafted(
            filename=path.name, body=path.read_bytes(), directory="whl/cpu" if path.name.startswith("torch-") else "whl"
        )
        for path in sorted(wheels.glob("*.whl"))
    ]
    libc = os.confstr("CS_GNU_LIBC_VERSION") or "glibc 2.28"
    major, minor = map(int, libc.split()[1].split(".")[:2])
    target = linux_target("{}.{}.{}".format(*sys.version_info[:3]), glibc=(major, minor))
    write_mirror(directory / "mirror", {"node": crafted}, target=target)
    tool = (sys.executable, "-m", "pytorch_offline")
    subprocess.run([*tool, "bundle", "--mirror", directory / "mirror", "-o", directory / "bundle"], check=True)
    return directory / "bundle"


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help="a directory of wheels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=None, help="where to install; the disk that is measured")
    options = parser.parse_args()
    names = sorted({path.name.split("-")[0] for path in options.wheels.glob("*.whl")})
    with tempfile.TemporaryDirectory(prefix="installing-", dir=options.directory) as temporary:
        root = Path(temporary)
        bundle = write_bundle(options.wheels, root)
        environment, cache = root / "env", root / "cache"
        python = environment / "bin" / "python"
        found: tuple[str | Path, ...] = ("--no-index", "--find-links", options.wheels.absolute())
        ours: tuple[str | Path, ...] = (sys.executable, "-I", bundle / "install.py", "--venv", environment)
        ways: dict[str, list[str | Path]] = {
            "pip install --no-index": [python, "-m", "pip", "install", *found, *names],
            "install.py with pip": [*ours],
            "uv pip install --offline": [
                *("uv", "pip", "install", "--offline", "--python", python, "--cache-dir", cache),
                *found,
                *names,
            ],
            "install.py with uv": [*ours, "--installer", "uv"],
        }
        spent: dict[str, list[Spent]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, command in ways.items():
                for path in (environment, cache):
                    shutil.rmtree(path, ignore_errors=True)
                subprocess.run([sys.executable, "-m", "venv", environment], check=True)
                os.sync()
                spent[way].append(spend(command))
    print("| way | wall, s | x pip | CPU, s | x pip |\n|---|---:|---:|---:|---:|")
    pip = spent["pip install --no-index"]
    for way, each in spent.items():
        wall, cpu = min(one.wall for one in each), min(one.cpu for one in each)
        of_pip = (wall / min(one.wall for one in pip), cpu / min(one.cpu for one in pip))
        print(f"| {way} | {wall:.1f} | {of_pip[0]:.2f} | {cpu:.1f} | {of_pip[1]:.2f} |")


if __name__ == "__main__":
    main()
