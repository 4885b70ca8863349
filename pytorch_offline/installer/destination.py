"""The environment that is installed into: found, described by itself, created where asked, and spoken to.

Every fact about it comes from its own interpreter (``survey.py``, run there); that may be Python 3.6.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.installer_line import TEMPORARY_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SURVEY = Path(__file__).with_name("survey.py")
# A cold interpreter on a slow network file system; more means that it hangs.
SURVEY_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution; ``record`` (path → hash on disk) and ``problems`` only where hashing was asked for."""

    version: str
    path: str
    record: Mapping[str, str] | None = None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What an environment is and holds; see ``survey.py``."""

    executable: str
    python: Version
    prefix: Path
    base_prefix: Path
    purelib: Path
    writable: bool
    externally_managed: str | None
    bundled_pip: Path | None
    distributions: Mapping[NormalizedName, Distribution]

    @property
    def is_virtual(self) -> bool:
        """Whether this is a virtual environment."""
        return self.prefix != self.base_prefix

    def versions(self) -> dict[NormalizedName, Version]:
        """Give the versions installed, leaving out those that no specifier can be compared with."""
        found = {}
        for name, distribution in self.distributions.items():
            try:
                found[name] = Version(distribution.version)
            except InvalidVersion:
                continue
        return found


def parse_survey(text: str) -> Survey:
    """Read the last line that ``survey.py`` printed; what an environment starts with may print before it.

    Raises:
        UsageError: ``bad-interpreter`` if it is not that.
    """
    try:
        document = json.loads(last_line(text))
        return Survey(
            executable=document["executable"],
            python=Version(document["version"]),
            prefix=Path(document["prefix"]),
            base_prefix=Path(document["base_prefix"]),
            purelib=Path(document["purelib"]),
            writable=document["writable"],
            externally_managed=document["externally_managed"],
            bundled_pip=Path(document["bundled_pip"]) if document["bundled_pip"] else None,
            distributions={
                canonicalize_name(entry["name"]): _distribution(entry) for entry in document["distributions"]
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("bad-interpreter", f"the interpreter does not describe itself: {error!r}") from error


def _distribution(entry: Mapping[str, Any]) -> Distribution:
    return Distribution(
        version=entry["version"],
        path=entry["path"],
        record=entry.get("record"),
        problems=tuple((path, detail) for path, detail in entry.get("problems", ())),
    )


def find_interpreter(named: Path) -> Path:
    """Find the interpreter that the user names: a file, a command on PATH, or the directory of an environment.

    The name is kept as it is: a virtual environment's interpreter is a link that must not be followed.

    Raises:
        UsageError: ``no-interpreter`` if there is none.
    """
    if named.is_dir():
        found = interpreter_of(named)
        if found is not None:
            return found
    elif named.is_file():
        return named.absolute()
    elif named.parent == Path() and (on_path := shutil.which(str(named))):
        return Path(on_path).absolute()
    raise UsageError(
        "no-interpreter", f"there is no Python interpreter at {named}", hint="name it in full: --python EXE"
    )


def interpreter_of(environment: Path) -> Path | None:
    """Find the interpreter in an environment's directory (virtual or conda), None if there is none."""
    places = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")
    return next((path.absolute() for place in places if (path := environment / place).is_file()), None)


def read_survey(python: Path, environment: Mapping[str, str], *, hashed: Iterable[str] = ()) -> Survey:
    """Ask an interpreter about its environment; the installed files of the projects in ``hashed`` are hashed again.

    Raises:
        UsageError: ``bad-interpreter`` if it cannot be run, or is not Python 3.6 or newer.
    """
    command = [str(python), "-I", str(SURVEY)]
    if records := sorted(hashed):
        command += ["--records", *records]
    try:
        completed = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=None if records else SURVEY_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError("bad-interpreter", f"{python} cannot be run: {error}") from error
    if completed.returncode != 0:
        raise UsageError(
            "bad-interpreter",
            f"{python} is not a Python that can be installed into",
            facts={"it says": last_line(completed.stderr.decode(errors="replace"))},
            hint="Python 3.6 or newer is needed",
        )
    return parse_survey(completed.stdout.decode(errors="replace"))


def create_virtual_environment(base: Survey, directory: Path, environment: Mapping[str, str]) -> Path:
    """Create a virtual environment from the base interpreter and return its interpreter.

    Its pip is the one that the base's ensurepip brings along, which needs no network; without ensurepip (Debian keeps
    it in a package of its own) the environment gets none, and is installed into from outside.

    Args:
        base: the interpreter to create it from.
        directory: where; empty or missing.
        environment: the variables to run in.

    Raises:
        UnsatisfiableError: ``no-virtual-environment`` if the base cannot create one.
        UpstreamError: ``disk-failed``.
    """
    temporary = directory / ".pytorch-offline"  # ensurepip unpacks pip, for which a small /tmp has no room
    options = [] if base.bundled_pip else ["--without-pip"]
    try:
        temporary.mkdir(parents=True)
        surroundings = {**environment, **dict.fromkeys(TEMPORARY_VARIABLES, str(temporary))}
        completed = run([base.executable, "-I", "-m", "venv", *options, str(directory)], surroundings)
        shutil.rmtree(temporary)
    except OSError as error:
        raise UpstreamError("disk-failed", f"{directory} could not be made ready: {error}") from error
    interpreter = interpreter_of(directory)
    if completed.returncode == 0 and interpreter is not None:
        return interpreter
    raise UnsatisfiableError(
        "no-virtual-environment",
        f"{base.executable} cannot create a virtual environment at {directory}",
        facts={"it says": last_line(completed.stdout)},
        hint="name another base interpreter: --python EXE --venv DIR",
    )


def run(
    command: Sequence[str], environment: Mapping[str, str], *, directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with no input, its output and error output together; it dies with us."""
    return subprocess.run(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        encoding="utf-8",
        errors="replace",
    )


def last_line(text: str) -> str:
    """Return the last line that says something: of a traceback, the exception."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def free_bytes(directory: Path) -> int:
    """Return the free space where a directory is, or will be."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free


def is_empty_or_missing(directory: Path) -> bool:
    """Whether a directory can be filled without touching anything that is there."""
    return not directory.exists() or (directory.is_dir() and next(directory.iterdir(), None) is None)
