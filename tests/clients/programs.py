"""The clients that install from a mirror, each in an environment of its own, kept between runs.

Old pips run on the Pythons that they were made for. They come from the index that pip is configured for here, which is
asked once for each: what is there is used again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from tests.interpreters import find_interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A client: the distribution's name, its version (None: the newest), and the CPython that it runs on."""

    name: str
    version: str | None
    python: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.version or 'newest'} ({self.python})"

    @property
    def release(self) -> tuple[int, ...]:
        """The version to compare with; the newest is newer than all."""
        return (9999,) if self.version is None else Version(self.version).release


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A client that can be started."""

    program: Program
    python: Path
    version: str


# pip: the last of each line that behaves differently (research: JSON pages came with 22.2, sidecars with 22.3, both
# right with 23.2, resumed downloads with 25.1, locks with 26.1), on the oldest and newest Pythons that it runs on.
PROGRAMS = (
    *(
        Program(name="pip", version=version, python=python)
        for version, python in (
            ("18.1", "3.6"),
            ("19.3.1", "3.7"),
            ("20.3.4", "3.6"),
            ("21.3.1", "3.6"),
            ("21.3.1", "3.10"),
            ("22.3.1", "3.7"),
            ("23.2.1", "3.8"),
            ("24.0", "3.7"),
            ("24.3.1", "3.12"),
            ("25.0.1", "3.8"),
            ("25.3", "3.9"),
            ("26.1", "3.11"),
            (None, "3.10"),
            (None, "3.13"),
        )
    ),
    Program(name="uv", version="0.9.11", python="3.11"),  # of November 2025: a year old
    Program(name="uv", version=None, python="3.11"),
    Program(name="poetry", version=None, python="3.11"),
    Program(name="pdm", version=None, python="3.11"),
    Program(name="pipenv", version=None, python="3.11"),
)


def bundled(minor: str | None = None) -> Installed | None:
    """The pip that an interpreter of this machine brought along; None for the running one."""
    interpreter = Path(sys.executable) if minor is None else find_interpreter(minor)
    if interpreter is None:
        return None
    question = "import sys, pip; print('%d.%d' % sys.version_info[:2], pip.__version__)"
    told = subprocess.run([interpreter, "-c", question], capture_output=True, text=True, check=True).stdout
    python, version = told.split()
    return Installed(program=Program(name="pip", version=version, python=python), python=interpreter, version=version)


def install(program: Program, directory: Path) -> Installed | None:
    """Install a client below a directory, unless it is there; None without a fitting Python or without the index."""
    interpreter = find_interpreter(program.python)
    if interpreter is None:
        return None
    home = directory / f"{program.name}-{program.version or 'newest'}-{program.python}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        _run(interpreter, "-m", "venv", "--without-pip", home)
        # pdm with the dependencies that it was tested with: newer ones have broken it.
        name = "pdm[locked]" if program.name == "pdm" else program.name
        wanted = name if program.version is None else f"{name}=={program.version}"
        done = _install_pip(wanted, program, python, home) if program.name == "pip" else _install(wanted, python)
        if not done:
            return None
        (home / "complete").touch()
    return Installed(program=program, python=python, version=_version(program.name, python))


def _install_pip(wanted: str, program: Program, python: Path, home: Path) -> bool:
    """Let a pip of any age install itself, run straight from its wheel."""
    wheels = home / "wheels"
    options = ("--no-deps", "--only-binary", ":all:", "--python-version", program.python, "--dest", wheels)
    if not _run(sys.executable, "-m", "pip", "download", "--quiet", *options, wanted):
        return False
    [wheel] = wheels.glob("pip-*.whl")
    return _run(python, wheel / "pip", "install", "--isolated", "--quiet", "--no-index", wheel)


def _install(wanted: str, python: Path) -> bool:
    return _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", wanted)


def _run(*command: str | Path) -> bool:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
    return done.returncode == 0


def _version(name: str, python: Path) -> str:
    """Ask the environment itself: importlib.metadata came with Python 3.8."""
    found = list(python.parent.parent.glob(f"lib/python*/site-packages/{name}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").removeprefix(f"{name}-")
