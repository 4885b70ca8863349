"""How long choosing takes from what is known already: ours beside `uv pip compile` and `pip install --dry-run`.

    python benchmarks/selection.py [ROUNDS]

All of them ask the same upstream on loopback, which lists every recorded wheel if ``PYTORCH_OFFLINE_SHARED`` (or
``../shared``) holds the recordings, else the simulator's own. Each has run once before, so catalogue and caches are
warm; each measurement is a new process. The turns go round, so that a busy machine slows all alike: compare ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uv

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pytorch_offline.simulator.server import Simulator  # noqa: E402  (needs the path)
from pytorch_offline.simulator.spec import Spec  # noqa: E402
from tests.oracles.recorded import recorded_spec  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 7
PROJECTS = ["torch", "torchvision", "torchaudio"]
BACKEND = "cu126"
PYTHON = f"3.{sys.version_info.minor}"  # pip chooses for the Python that runs it, so the others do too
STARTER = """
import os, sys, time
silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silence)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def commands(upstream: str, default_index: str, place: Path) -> dict[str, list[str]]:
    """Spell the same question for each of the three."""
    ours = [sys.executable, "-m", "pytorch_offline", "select", *PROJECTS, "--backend", BACKEND, "--json"]
    ours += ["--upstream", upstream, "--default-index", default_index, "--mirror", str(place / "mirror")]
    ours += ["--python-version", PYTHON, "--platform", "manylinux_2_28_x86_64", "--accelerator", "none"]
    wanted = place / "wanted.in"
    wanted.write_text("\n".join(PROJECTS))
    theirs = [uv.find_uv_bin(), "pip", "compile", "--no-config", "--cache-dir", str(place / "uv"), str(wanted)]
    theirs += ["--default-index", default_index, "--index", f"{upstream}/{BACKEND}", "--emit-index-annotation"]
    theirs += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    pip = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--ignore-installed", *PROJECTS]
    pip += ["--index-url", f"{upstream}/{BACKEND}", "--extra-index-url", default_index, "--only-binary", ":all:"]
    pip += ["--cache-dir", str(place / "pip"), "--disable-pip-version-check"]
    return {
        "uv pip compile": theirs,
        "uv pip compile --offline": [*theirs, "--offline"],
        "select": ours,
        "select --offline": [*ours, "--offline"],
        "pip install --dry-run": pip,
    }


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command in a process of its own; return its seconds, those of CPU, and its peak memory in MB.

    A small process starts it: a child's peak includes that of the process that it was forked from.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    starter = [sys.executable, "-I", "-S", "-c", STARTER, *command]
    done = subprocess.run(starter, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    seconds, busy, kilobytes = done.stdout.split()
    return float(seconds), float(busy), float(kilobytes) / 1024


def main() -> None:
    """Measure, and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    shared = Path(os.environ.get("PYTORCH_OFFLINE_SHARED", ROOT.parent / "shared"))
    spec = recorded_spec(shared) if (shared / "upstream").is_dir() else Spec.default()
    with tempfile.TemporaryDirectory() as place, Simulator(spec) as simulator:
        asked = commands(simulator.url, simulator.default_index_url, Path(place))
        for command in asked.values():
            measured(command)  # warm
        runs = [{name: measured(command) for name, command in asked.items()} for _ in range(rounds)]
    base = "uv pip compile"
    sys.stdout.write(
        "| command | s (median) | CPU s (median) | x uv (median of rounds) | peak MB |\n|---|---:|---:|---:|---:|\n"
    )
    for name in asked:
        seconds = statistics.median(run[name][0] for run in runs)
        ratio = statistics.median(run[name][0] / run[base][0] for run in runs)
        busy = statistics.median(run[name][1] for run in runs)
        memory = max(run[name][2] for run in runs)
        sys.stdout.write(f"| {name} | {seconds:.3f} | {busy:.3f} | {ratio:.2f} | {memory:.0f} |\n")


if __name__ == "__main__":
    main()
