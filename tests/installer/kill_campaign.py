"""Kill ``install.py`` at random moments, look, and run it again: ``python -m tests.installer.kill_campaign``.

Each case kills the whole process group by SIGKILL: a third of them at a moment drawn evenly from an undisturbed run's
length, a third in the moment of its switch, a third between that and its end. Looked at are, before the second run: is
the environment the old one, the new one, or one that says itself that it is neither; can the neighbours be imported.
And after it: is it byte for byte what an undisturbed run leaves, are the neighbours untouched to the time stamp, is
nothing left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.installer.workshop import UNFINISHED_MARK, WORKSHOP
from tests.e2e.tool import run_tool
from tests.installer.crafted import Crafted, linux_target, write_mirror
from tests.installer.snapshot import Entry, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECTS = ("alpha", "beta", "gamma")
# What an installation says just before it plans its renames; how long these take from there, and the proof, about.
SWITCH_LINE = "putting "
SECONDS_OF_SWITCH = 0.05
SECONDS_TO_END = 0.8
# What is different from run to run, and said to be: when it was done; uv's note on the file it took.
OF_THE_RUN = ("share/pytorch-offline", "uv_cache.json")
# Byte code begins with 16 bytes that hold its source's time stamp.
HEAD_OF_BYTE_CODE = 16


def wheel(project: str, version: str) -> Crafted:
    """A distribution with all that wheels hold: a package, modules, a share of a namespace, scripts, data, headers."""
    data = f"{project}-{version}.data"
    modules = {f"{project}/part{number}.py": f"value = {version!r}\n" * 50 for number in range(30)}
    return Crafted(
        filename=f"{project}-{version}-py3-none-any.whl",
        modules={
            f"{project}/__init__.py": f"__version__ = {version!r}\n",
            **modules,
            f"family/{project}/__init__.py": f"__version__ = {version!r}\n",
            "family/shared.txt": "the same in each\n",
            f"{project}_single.py": f"version = {version!r}\n",
            f"{data}/scripts/{project}-tool": f"#!python\nprint({version!r})\n",
            f"{data}/data/share/{project}/notes.txt": version,
            f"{data}/headers/{project}.h": f"/* {version} */\n",
            f"{project}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{project} = {project}:main\n",
        },
    )


def write_bundle(directory: Path, version: str, projects: tuple[str, ...] = PROJECTS) -> Path:
    """Write a bundle of all projects in one version."""
    mirror = directory / f"mirror-{version}-{len(projects)}"
    target = linux_target("{}.{}.{}".format(*sys.version_info[:3]), glibc=(2, 17))
    write_mirror(mirror, {"node": [wheel(project, version) for project in projects]}, target=target)
    bundle = directory / f"bundle-{version}-{len(projects)}"
    run_tool("bundle", "--mirror", mirror, "-o", bundle, cwd=directory)
    return bundle


def state_of(environment: Path, *, times: bool = False) -> dict[str, Entry]:
    """Describe an environment without what differs from run to run, and without a workshop."""
    found = {}
    for path, entry in snapshot(environment, times=times).items():
        if WORKSHOP in path.split("/") or any(part in path for part in OF_THE_RUN):
            continue
        if entry[0] == "file" and path.endswith((".pyc", "/RECORD")):
            entry = (*entry[:3], content_of(environment / path))  # noqa: PLW2901  (the same, made comparable)
        found[path] = entry
    return found


def content_of(path: Path) -> str:
    if path.suffix == ".pyc":
        return path.read_bytes()[HEAD_OF_BYTE_CODE:].hex()
    return "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if "uv_cache.json" not in line)


def neighbours_in(environment: Path) -> dict[str, Entry]:
    """The files that no installation here has business with, to the time stamp."""
    return {
        path: entry
        for path, entry in snapshot(environment).items()
        if "innocent" in path and not path.endswith("site-packages")
    }


@dataclass(slots=True, kw_only=True)
class Campaign:
    """One destination and one installer, killed many times."""

    directory: Path
    installer: str
    creating: bool
    seed: int
    told: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Path:
        return self.directory / "env"

    @property
    def template(self) -> Path:
        return self.directory / "template"

    def prepare(self) -> tuple[dict[str, Entry], dict[str, Entry], float]:
        """Make the old environment, and an undisturbed new one; give their states, and how long a run takes."""
        self.environment.parent.mkdir(parents=True, exist_ok=True)
        old, new = (write_bundle(self.directory, version) for version in ("1.0", "2.0"))
        innocent = write_bundle(self.directory, "3.0", ("innocent",))
        del new
        if not self.creating:
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.environment], check=True)
            for bundle in (innocent, old):
                done = self.start(bundle)
                said = done.communicate()[1]
                assert done.returncode == 0, said
            for path in (self.environment / "lib").glob("*/site-packages/alpha"):
                (path / "own_notes_of_innocent.txt").write_text("the user's own\n", encoding="utf-8")
            shutil.copytree(self.environment, self.template, symlinks=True)
        before = state_of(self.environment) if not self.creating else {}
        self.restore()
        began = time.monotonic()
        process = self.start(self.bundle)
        said = process.communicate()[1]
        assert process.returncode == 0, said
        return before, state_of(self.environment), time.monotonic() - began

    @property
    def bundle(self) -> Path:
        return self.directory / f"bundle-2.0-{len(PROJECTS)}"

    def restore(self) -> None:
        """Put the environment back to what it was before the first run."""
        shutil.rmtree(self.environment, ignore_errors=True)
        if not self.creating:
            shutil.copytree(self.template, self.environment, symlinks=True)

    def start(self, bundle: Path) -> subprocess.Popen[str]:
        """Start install.py in a process group of its own."""
        where = ("--venv", str(self.environment), "--installer", self.installer)
        return subprocess.Popen(
            [sys.executable, "-I", str(bundle / "install.py"), *where],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, moments: int) -> None:
        """Kill it so many times."""
        draw = random.Random(self.seed)
        before, after, length = self.prepare()
        for number in range(moments):
            self.restore()
            innocents = neighbours_in(self.environment) if not self.creating else {}
            process = self.start(self.bundle)
            if number % 3 == 0:
                moment = draw.uniform(0, length)
                time.sleep(moment)
            else:
                moment = draw.uniform(0, SECONDS_OF_SWITCH if number % 3 == 1 else SECONDS_TO_END)
                said = self._wait_for_switch(process)
                if said:
                    self.failures.append(f"case {number}: it ended before its switch: {said}")
                time.sleep(moment)
            ended = process.poll() is not None
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.told["ended before the kill" if ended else "killed"] += 1
            case = f"{self.installer}, {'new' if self.creating else 'existing'}, case {number} at {moment:.3f} s"
            self.failures += [f"{case}: {wrong}" for wrong in self._look(before, after, innocents)]
            self.failures += [f"{case}: {wrong}" for wrong in self._again(after, innocents)]

    @staticmethod
    def _wait_for_switch(process: subprocess.Popen[str]) -> str:
        """Read until the switch begins; what was said if it never does."""
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            if line.startswith(SWITCH_LINE):
                return ""
            said.append(line)
        return "".join(said[-5:])

    def _look(self, before: dict[str, Entry], after: dict[str, Entry], innocents: dict[str, Entry]) -> Iterator[str]:
        """See what the kill left, before anything is put right."""
        workshop = self.environment / WORKSHOP
        state = state_of(self.environment) if self.environment.exists() else {}
        if (workshop / UNFINISHED_MARK).exists():
            self.told["marked as unfinished"] += 1
        elif state == after:
            self.told["new" + (", not proven yet" if (workshop / "journal.json").exists() else "")] += 1
        elif state == before or (self.creating and set(state) <= {"."}):
            self.told["old"] += 1
        elif (workshop / "journal.json").exists():
            self.told["under switch"] += 1
        else:
            yield "neither old, nor new, nor does it say so"
        if self.creating:
            return
        if neighbours_in(self.environment) != innocents:
            yield "a neighbour was touched"
        imports = subprocess.run(
            [self.environment / "bin" / "python", "-I", "-B", "-c", "import innocent"], check=False
        )
        if imports.returncode != 0:
            yield "a neighbour cannot be imported"
        own = "import alpha, beta, gamma, family.alpha; print(alpha.__version__)"
        works = subprocess.run(
            [self.environment / "bin" / "python", "-I", "-B", "-c", own], check=False, capture_output=True
        )
        self.told["imports work" if works.returncode == 0 else "imports do not work meanwhile"] += 1

    def _again(self, after: dict[str, Entry], innocents: dict[str, Entry]) -> Iterator[str]:
        """Run it again, undisturbed."""
        process = self.start(self.bundle)
        said = process.communicate()[1]
        if process.returncode != 0:
            yield f"the second run fails: {said[-500:]}"
            return
        state = state_of(self.environment)
        different = sorted({path for path in {*state, *after} if state.get(path) != after.get(path)})
        if different:
            yield f"the end is not the undisturbed one: {different[:5]}"
        left = [str(path) for path in self.environment.rglob(WORKSHOP + "*")]
        if left:
            yield f"left behind: {left}"
        if not self.creating and neighbours_in(self.environment) != innocents:
            yield "a neighbour was touched by the second run"


def main() -> int:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=100, help="of each destination and installer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--installer", choices=("pip", "uv"), action="append")
    parser.add_argument("--destination", choices=("new", "existing"), action="append")
    options = parser.parse_args()
    failures = []
    for installer in options.installer or ("pip", "uv"):
        for destination in options.destination or ("existing", "new"):
            with tempfile.TemporaryDirectory(prefix="kill-campaign-") as directory:
                campaign = Campaign(
                    directory=Path(directory), installer=installer, creating=destination == "new", seed=options.seed
                )
                campaign.run(options.moments)
            told = ", ".join(f"{count} {what}" for what, count in campaign.told.items())
            print(f"{installer}, {destination}: {told}", flush=True)
            failures += campaign.failures
    print(*failures, f"{len(failures)} failures", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
