"""The lines that drive pip or uv hard and offline: arguments, environment and requirements, as values.

The hardened line is research/libraries.md, section 3: nothing but the files we name, every hash required, no
dependency followed (the closure is already complete), no configuration of the user or the machine in force.
``--isolated`` alone does not keep a global pip.conf out; the null device as ``PIP_CONFIG_FILE`` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.selector.lock import render_pin
from pytorch_offline.wheels.pip_tags import taken_since

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from packaging.specifiers import SpecifierSet
    from packaging.tags import Tag

    from pytorch_offline.installer.lock import LockedWheel

# The oldest pip that was driven with the hardened line here: the one that Python 3.6 brings along.
OLDEST_PIP = Version("18.1")

# The first pip that installs straight from the wheel; before it every wheel is unpacked into TMPDIR and copied.
INSTALLS_WITHOUT_UNPACKING = Version("20.2")


# Others that steer Python, or pip: pip 18.1 breaks on file: addresses when it is told of hosts without a proxy.
_STEERING = frozenset({"__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "NO_PROXY"})

# Where Python looks for the directory of temporary files, on every system.
TEMPORARY_VARIABLES = ("TMPDIR", "TEMP", "TMP")


class Installer(StrEnum):
    """What puts the files in place."""

    PIP = "pip"
    UV = "uv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """A pip that can be run for a destination.

    Args:
        version: its version.
        whose: where it comes from, for people.
        arguments: what the destination's interpreter is called with to run it, e.g. ``-m pip``.
        runner: a command that runs a pip of its own with ``--python``, instead of ``arguments``.
        requires_python: None where the pip is the destination's own and runs there by construction.
    """

    version: Version
    whose: str
    arguments: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()
    requires_python: SpecifierSet | None = None

    def __str__(self) -> str:
        return f"{self.whose} pip {self.version}"

    def command(self, python: str) -> tuple[str, ...]:
        """Build the start of the command line that runs this pip for an interpreter."""
        return (*self.runner, "--python", python) if self.runner else (python, *self.arguments)


def choose_pip(
    pips: Iterable[Pip], python: Version, wheels: Sequence[frozenset[Tag]]
) -> tuple[Pip | None, tuple[str, ...]]:
    """Choose the first pip that runs on this Python and reads the tags of every wheel, else None and why not.

    Args:
        pips: best first.
        python: the destination's version.
        wheels: for each wheel, those of its tags that the destination has.
    """
    refused = []
    for pip in pips:
        if pip.requires_python is not None and not pip.requires_python.contains(python, prereleases=True):
            refused.append(f"{pip} asks for Python {pip.requires_python}")
        elif pip.version < (floor := max(map(_oldest_pip_for, wheels), default=OLDEST_PIP)):
            refused.append(f"{pip} is too old for these wheels, which need {floor}")
        else:
            return pip, tuple(refused)
    return None, tuple(refused)


def _oldest_pip_for(tags: frozenset[Tag]) -> Version:
    """Return the oldest pip that takes at least one of the tags."""
    return min((taken_since(tag) or OLDEST_PIP for tag in tags), default=OLDEST_PIP)


def clean_environment(environment: Mapping[str, str], *, temporary: Path | None = None) -> dict[str, str]:
    """Take everything out of an environment that could steer pip, uv or Python; the rest (PATH, locale …) stays.

    Args:
        environment: the surrounding one.
        temporary: where temporary files go, if not where they usually do; old pips unpack whole wheels there, which a
            small ``/tmp`` cannot hold.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(("PIP_", "UV_", "PYTHON")) and name.upper() not in _STEERING
    }
    kept |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONNOUSERSITE": "1",  # without it pip falls back to a user install where it may not write
        "PYTHONIOENCODING": "utf-8",
    }
    if temporary is not None:
        kept |= dict.fromkeys(TEMPORARY_VARIABLES, str(temporary))
    return kept


def pip_install_arguments(*, wheels: Path, requirements: Path) -> tuple[str, ...]:
    """Build pip's arguments for the hardened line, without the command itself.

    ``wheels`` holds exactly the files of the plan: among several wheels of one version pip takes the best tag and only
    then looks at the hash. Replacing is decided by the plan, by exact version: pip would take an installed
    ``2.4.0+cpu`` for ``==2.4.0``.
    """
    return (
        "install",
        "--isolated",
        "--no-index",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-deps",
        "--force-reinstall",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-warn-script-location",
        "--progress-bar=off",
        f"--find-links={wheels}",
        f"--requirement={requirements}",
    )


def pip_check_arguments() -> tuple[str, ...]:
    """Build pip's arguments for its own second opinion."""
    return ("check", "--isolated", "--disable-pip-version-check")


def uv_install_arguments(*, python: str, wheels: Path, requirements: Path, cache: Path) -> tuple[str, ...]:
    """Build uv's arguments for the same; ``cache`` lies in the destination's file system, so that uv links."""
    return (
        "pip",
        "install",
        "--no-config",
        "--offline",
        "--no-index",
        "--no-build",
        "--require-hashes",
        "--no-deps",
        "--reinstall",
        "--prerelease=allow",
        "--no-progress",
        f"--cache-dir={cache}",
        f"--python={python}",
        f"--find-links={wheels}",
        f"--requirements={requirements}",
    )


def uv_check_arguments(*, python: str, cache: Path) -> tuple[str, ...]:
    """Build uv's arguments for its own second opinion."""
    return ("pip", "check", "--no-config", "--offline", f"--cache-dir={cache}", f"--python={python}")


def render_requirements(wheels: Iterable[LockedWheel]) -> str:
    """Write the requirements file: each project pinned to its exact version and hash."""
    return "".join(f"{render_pin(wheel.name, wheel.sha256)}\n" for wheel in wheels)
