"""How long choosing takes from what is known already: ours beside `uv pip compile` and `pip install --dry-run`.

    python -m benchmarks.selection [--rounds N] [--wide]

All of them ask the same upstream on loopback, which lists every recorded wheel if ``PYTORCH_OFFLINE_SHARED`` (or
``../shared``) holds the recordings, else the simulator's own. Each has run once before, so catalogue and caches are
warm; each measurement is a new process. The turns go round, so that a busy machine slows all alike: compare ratios.

``--wide`` asks for a wide set instead, from the index that pip is configured with, and leaves pip out, which takes
minutes for it.
"""

from __future__ import annotations

import argparse
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

from pytorch_offline.crawler.default_index import configured_index_url  # noqa: E402  (needs the path)
from pytorch_offline.simulator.server import Simulator  # noqa: E402
from pytorch_offline.simulator.spec import Spec  # noqa: E402
from tests.oracles.recorded import recorded_spec  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDS = 7
PROJECTS = ["torch", "torchvision", "torchaudio"]
WIDE = ["transformers", "accelerate", "lightning", "diffusers", "datasets", "torch"]
BACKEND = "cu126"
THEIRS = ["uv pip compile", "uv pip compile --offline", "pip install --dry-run"]
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
    ours = [*_ours(PROJECTS, upstream, default_index, place), "--backend", BACKEND]
    theirs = [*_uv(PROJECTS, default_index, place), "--index", f"{upstream}/{BACKEND}"]
    pip = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--ignore-installed", *PROJECTS]
    pip += ["--index-url", f"{upstream}/{BACKEND}", "--extra-index-url", default_index, "--only-binary", ":all:"]
    pip += ["--cache-dir", str(place / "pip"), "--disable-pip-version-check"]
    return {
        THEIRS[0]: theirs,
        THEIRS[1]: [*theirs, "--offline"],
        "select": ours,
        "select --refresh": [*ours, "--refresh"],
        "select --offline": [*ours, "--offline"],
        THEIRS[2]: pip,
    }


def wide_commands(index: str, place: Path) -> dict[str, list[str]]:
    """Spell a question of some ninety projects, which one index answers."""
    ours, theirs = _ours(WIDE, index, index, place), _uv(WIDE, index, place)
    return {
        THEIRS[0]: theirs,
        THEIRS[1]: [*theirs, "--offline"],
        "select": ours,
        "select --offline": [*ours, "--offline"],
    }


def _ours(projects: Sequence[str], upstream: str, default_index: str, place: Path) -> list[str]:
    ours = [sys.executable, "-m", "pytorch_offline", "select", *projects, "--json", "--mirror", str(place / "mirror")]
    ours += ["--upstream", upstream, "--default-index", default_index]
    return [*ours, "--python-version", PYTHON, "--platform", "manylinux_2_28_x86_64", "--accelerator", "none"]


def _uv(projects: Sequence[str], default_index: str, place: Path) -> list[str]:
    wanted = place / "wanted.in"
    wanted.write_text("\n".join(projects))
    theirs = [uv.find_uv_bin(), "pip", "compile", "--no-config", "--cache-dir", str(place / "uv"), str(wanted)]
    theirs += ["--default-index", default_index, "--emit-index-annotation", "--python-version", PYTHON]
    return [*theirs, "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]


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
    parser = argparse.ArgumentParser(description="Measure choosing beside uv and pip.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--wide", action="store_true", help="ask pip's own index for a wide set")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if options.wide:
            table = measured_in_turns(wide_commands(configured_index_url(), Path(place)), THEIRS[:2], options.rounds)
        else:
            shared = Path(os.environ.get("PYTORCH_OFFLINE_SHARED", ROOT.parent / "shared"))
            spec = recorded_spec(shared) if (shared / "upstream").is_dir() else Spec.default()
            with Simulator(spec) as simulator:
                asked = commands(simulator.url, simulator.default_index_url, Path(place))
                table = measured_in_turns(asked, THEIRS[::2], options.rounds)
    sys.stdout.write(table)


def measured_in_turns(asked: Mapping[str, Sequence[str]], bases: Sequence[str], rounds: int) -> str:
    """Measure each command once in every round; give the table of medians, with ratios to some of them."""
    for command in asked.values():
        measured(command)  # warm
    runs = [{name: measured(command) for name, command in asked.items()} for _ in range(rounds)]
    lines = [f"| command | s | CPU s | {' | '.join(f'x {base} (s; CPU)' for base in bases)} | peak MB |"]
    lines.append("|---|---:|---:|" + "---:|" * len(bases) + "---:|")
    for name in asked:
        seconds, busy = (statistics.median(run[name][which] for run in runs) for which in (0, 1))
        cells = [f"{seconds:.3f}", f"{busy:.3f}"]
        for base in bases:
            ratios = [statistics.median(run[name][which] / run[base][which] for run in runs) for which in (0, 1)]
            cells.append("; ".join(f"{ratio:.2f}" for ratio in ratios))
        lines.append(f"| {name} | {' | '.join(cells)} | {max(run[name][2] for run in runs):.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
