"""The ways in which a user has a client install from a mirror, as they are typed."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from tests.clients.closure import BACKEND, EXTRA, NOT_YANKED, VERSION, expected, installed
from tests.clients.enclosure import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.clients.programs import Installed

# Nothing of this machine's settings may reach a client; NO_PROXY makes pip 18.1 fail on file: addresses.
_FOREIGN = ("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "HTTP_", "HTTPS_", "ALL_PROXY", "NO_PROXY", "POETRY_", "PDM_")
_TIME_LIMIT = 300.0  # seconds, for one installation of a few kilobytes
_PATIENCE = 60.0  # seconds, for processes that a client started and did not wait for
_MARK = "TESTS_CLIENT_DIRECTORY"  # inherited by all of a client's processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A mirror as one server offers it.

    Args:
        url: the address of the tree's root, without the last slash.
        root: the directory itself.
    """

    url: str
    root: Path

    @property
    def over_http(self) -> bool:
        return self.url.startswith("http")

    @property
    def index(self) -> str:
        return f"{self.url}/whl/{BACKEND}"

    def lock(self, kind: str, python: str) -> str:
        """The lock of the target with a Python, by its address, or by its path where there is no server."""
        name = f"{kind.partition('.')[0]}.linux_x86_64-glibc2_35-{interpreter_tag(python)}.{kind.partition('.')[2]}"
        return f"{self.url}/locks/{name}" if self.over_http else str(self.root / "locks" / name)

    def torch(self, python: str, *, plus: str) -> str:
        """The address of torch's wheel, with the plus sign of its version written in a way."""
        abi = interpreter_tag(python)
        return f"{self.index}/torch-{VERSION}{plus}{BACKEND}-{abi.rstrip('m')}-{abi}-linux_x86_64.whl"


def interpreter_tag(python: str) -> str:
    return f"cp{python.replace('.', '')}" + ("m" if python in {"3.6", "3.7"} else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a client is to do: its command, what must be installed then, the files that it finds, its settings."""

    command: Sequence[str]
    wanted: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    site_packages: str = "target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is typed after ``pip install`` or ``uv pip install``, and what must be there then (None: the closure)."""

    options: tuple[str, ...]
    extra: bool = False
    wanted: Mapping[str, str] | None = None


Plan: TypeAlias = "Callable[[Installed, Place], Run]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way: its name, what the user types (MIRROR is the mirror's address), and the same as a command."""

    name: str
    typed: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether an installation holds exactly the closure; if not, what the client said."""

    fine: bool
    said: str


def carry_out(run: Run, directory: Path, *, within: Sequence[str] = ()) -> Outcome:
    """Run a client in a new directory and look at what it installed."""
    directory.mkdir(parents=True)
    for name, text in run.files.items():
        (directory / name).write_text(text, encoding="utf-8")
    settings = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    settings |= {"HOME": str(directory), "PIP_CONFIG_FILE": os.devnull, _MARK: str(directory), **run.settings}
    try:
        done = subprocess.run(
            # The directory by its name: another mount namespace would take a working directory for another file system.
            [*within, "env", "--chdir", str(directory), *run.command],
            env=settings,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(fine=False, said=f"nothing within {_TIME_LIMIT:.0f} seconds")
    _wait_for_children(directory)
    found = {name: version for place in directory.glob(run.site_packages) for name, version in installed(place).items()}
    said = done.stdout + done.stderr
    if done.returncode == 0 and found != run.wanted:
        said += f"\ninstalled {found}\nexpected {run.wanted}"
    return Outcome(fine=done.returncode == 0 and found == run.wanted, said=said)


def _wait_for_children(directory: Path) -> None:
    """Wait for what a client left running behind its back, so that what that asks for is put down to it."""
    mark = f"{_MARK}={directory}".encode()
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and any(mark in environment.split(b"\0") for environment in _environments()):
        time.sleep(0.05)


def _environments() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            yield (process / "environ").read_bytes()


def _words(place: Place, python: str) -> dict[str, str]:
    """What stands for the words in capitals of a line that is typed."""
    return {
        "MIRROR": place.url,
        "WHEEL+": place.torch(python, plus="+"),
        "WHEEL": place.torch(python, plus=quote("+")),
        "REQUIREMENTS": place.lock("requirements.txt", python),
        "PYLOCK": place.lock("pylock.toml", python),
    }


def _line(client: Installed, place: Place, line: Line) -> Run:
    """Plan a line for pip, or for uv's likeness of it."""
    python = client.program.python
    options = line.options
    for word, value in _words(place, python).items():
        options = tuple(option.replace(word, value) for option in options)
    command = [str(client.python), "-m"]
    if client.program.name == "pip":
        trusted = ["--trusted-host", NAME] if place.over_http else []
        command += ["pip", "install", "--no-cache-dir", *trusted]
    else:
        command += ["uv", "pip", "install", "--no-cache", "--python", str(client.python)]
    wanted = expected(python, extra=line.extra) if line.wanted is None else line.wanted
    return Run(command=[*command, "--target", "target", *options], wanted=wanted)


_PROJECT = f'[project]\nname = "app"\nversion = "1"\nrequires-python = "==3.11.*"\ndependencies = ["torch[{EXTRA}]"]\n'


def _uv_project(client: Installed, place: Place) -> Run:
    index = f'[[tool.uv.index]]\nname = "mirror"\nurl = "{place.index}"\ndefault = true\n'
    command = [str(client.python), "-m", "uv", "sync", "--no-cache", "--python", str(client.python)]
    return _project(client.program.python, command, _PROJECT + index)


def _poetry(client: Installed, place: Place) -> Run:
    source = f'[[tool.poetry.source]]\nname = "mirror"\nurl = "{place.index}"\npriority = "primary"\n'
    settings = {"POETRY_VIRTUALENVS_IN_PROJECT": "true"}
    text = f"{_PROJECT}[tool.poetry]\npackage-mode = false\n{source}"
    command = [str(client.python), "-m", "poetry", "install", "--no-interaction"]
    return _project(client.program.python, command, text, settings)


def _pdm(client: Installed, place: Place) -> Run:
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{place.index}"\nverify_ssl = false\n'
    settings = {"PDM_CHECK_UPDATE": "false"}
    text = f"{_PROJECT}[tool.pdm]\ndistribution = false\n{source}"
    return _project(client.program.python, [str(client.python), "-m", "pdm", "install"], text, settings)


def _pipenv(client: Installed, place: Place) -> Run:
    source = f'[[source]]\nname = "mirror"\nurl = "{place.index}"\nverify_ssl = false\n'
    return Run(
        command=[str(client.python), "-m", "pipenv", "install"],
        files={"Pipfile": f'{source}[packages]\ntorch = {{version = "*", extras = ["{EXTRA}"]}}\n'},
        settings={
            "PIPENV_VENV_IN_PROJECT": "1",
            "PIPENV_PYTHON": str(client.python),
            # Without it virtualenv, which pipenv makes environments with, asks the public index for newer pips.
            "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
        },
        site_packages=".venv/lib/python*/site-packages",
        wanted=expected(client.program.python, extra=True),
    )


def _project(python: str, command: Sequence[str], text: str, settings: Mapping[str, str] | None = None) -> Run:
    return Run(
        command=command,
        files={"pyproject.toml": text},
        settings=settings or {},
        site_packages=".venv/lib/python*/site-packages",
        wanted=expected(python, extra=True),
    )


_INDEX = ("--index-url", f"MIRROR/whl/{BACKEND}")
_FLAT = ("--no-index", "--find-links", f"MIRROR/whl/{BACKEND}/torch_stable.html")
# MIRROR is the mirror's address; WHEEL torch's own, with %2B or, as WHEEL+, with a plus sign; the locks lie in locks/.
_LINES = {
    "index": Line(options=("torch", *_INDEX)),
    "extra": Line(options=(f"torch[{EXTRA}]", *_INDEX), extra=True),
    "two indexes": Line(
        options=("torch", "--index-url", "MIRROR/whl/cpu", "--extra-index-url", f"MIRROR/whl/{BACKEND}")
    ),
    "simple": Line(options=(f"torch=={VERSION}+{BACKEND}", "--index-url", "MIRROR/simple")),
    "flat page": Line(options=("torch", *_FLAT)),
    "wheel": Line(options=("WHEEL", *_INDEX)),
    "wheel, raw +": Line(options=("WHEEL+", *_INDEX)),
    "requirements": Line(options=("-r", "REQUIREMENTS", "--require-hashes", *_INDEX), extra=True),
    "pylock": Line(options=("-r", "PYLOCK", "--no-index"), extra=True),
    "yanked": Line(options=("fsspec", *_INDEX), wanted=NOT_YANKED),
    "yanked, flat": Line(options=("fsspec", *_FLAT), wanted=NOT_YANKED),
}


def _line_way(name: str, line: Line) -> Way:
    return Way(name=name, typed=" ".join(line.options), plan=lambda client, place: _line(client, place, line))


LINES = tuple(_line_way(name, line) for name, line in _LINES.items())
WAYS: Mapping[str, tuple[Way, ...]] = {
    "pip": LINES,
    "uv": (*LINES, Way(name="project", typed="`uv sync` with `[[tool.uv.index]]`", plan=_uv_project)),
    "poetry": (Way(name="project", typed="`poetry install` with `[[tool.poetry.source]]`", plan=_poetry),),
    "pdm": (Way(name="project", typed="`pdm install` with `[[tool.pdm.source]]`", plan=_pdm),),
    "pipenv": (Way(name="project", typed="`pipenv install` with `[[source]]`", plan=_pipenv),),
}
