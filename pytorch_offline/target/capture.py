"""Capture: the stand-alone probe, run under an interpreter of this machine."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.target.codec import parse_target
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.target.interpreters import find_interpreter

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.target.model import Target

# Several runs of nvidia-smi at the probe's own limit of 30 s each; a hung driver must not hang us for ever.
_TIMEOUT_S = 120


def probe_source() -> bytes:
    """Return the stand-alone probe's own bytes, as ``detect --standalone`` writes them."""
    return resources.files(__package__).joinpath("probe.py").read_bytes()


def this_machine(python: Path | None = None) -> Target:
    """Describe this machine under one of its interpreters, by default the running one.

    ``python`` may also name an environment's directory, a command, or a conda environment (``find_interpreter``).

    Raises:
        UsageError: ``python-not-usable`` if the interpreter cannot be started or cannot run the probe.
    """
    executable = str(find_interpreter(python)) if python is not None else sys.executable
    # Isolated (-I), so that neither PYTHON* variables nor the working directory change what is seen.
    command = [executable, "-I", "-"]
    try:
        done = subprocess.run(command, input=probe_source(), capture_output=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            "python-not-usable", f"{executable} cannot be run: {error}", facts={"python": executable}
        ) from error
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UsageError(
            "python-not-usable",
            f"{executable} cannot describe itself (exit code {done.returncode})",
            facts={"python": executable, "said": " ".join(last)},
            hint="the interpreter must be Python 3.6 or newer",
        )
    try:
        said = done.stdout.decode("utf-8", "replace")
        # What an environment starts with (sitecustomize, a .pth file) may have printed before it.
        return with_known_capabilities(parse_target(said[max(0, said.find("{\n")) :]))
    except UsageError as error:
        raise UsageError(
            "python-not-usable",
            f"{executable} does not describe itself as a Python does: {error.message}",
            facts={"python": executable} | error.facts,
        ) from error
