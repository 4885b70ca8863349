"""Which program puts the files in place: which of the pips at hand, or uv.

A pip is the destination's own; else one that travels along; else that of the tool's own environment, run from outside
(pip 22.3 and newer have ``--python``); else the one that the destination's ensurepip holds, straight from its wheel.
"""

import os
import re
import shutil
import sys
from typing import FrozenSet, Iterator, List, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import Tool
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.model import Context, Program, Survey, version_numbers

# The oldest pip that was driven with our line here: the one that Python 3.6 brings along.
OLDEST_PIP_DRIVEN = "18.1"
# The first pip with --python, and the oldest Python that it can be told of: 3.7 for 22.3, then as its own floor.
FIRST_PIP_FOR_OTHERS = "22.3"
# The oldest Python on which the pip of the tool's own environment is taken to run: pip 26.
OLDEST_PYTHON_OF_OWN_PIP = (3, 10)


def choose_program(
    name: str,
    survey: Survey,
    tools: Sequence[Tool],
    context: Context,
    *,
    oldest_pip: str,
    creating: bool,
) -> Program:
    """Choose the program.

    Args:
        name: ``pip`` or ``uv``.
        survey: the destination, or the base of an environment that is to be created from it.
        tools: what travels along.
        context: may know a pip of its own.
        oldest_pip: the first that takes all of the lock's files.
        creating: a virtual environment is to be created, which gets its base's bundled pip.

    Raises:
        UsageError: ``no-uv``.
        UnsatisfiableError: ``no-usable-pip``.
    """
    tags = frozenset(survey.machine["compatible_tags"])
    if name == "uv":
        return _choose_uv(tools, tags, context)
    refused: List[str] = []
    floor = max(oldest_pip, OLDEST_PIP_DRIVEN, key=version_numbers)
    for pip in _pips(survey, tools, context, creating=creating):
        if version_numbers(pip.version) >= version_numbers(floor):
            return pip
        refused.append(f"{pip} is too old for these wheels, which need {floor}")
    raise UnsatisfiableError(
        "no-usable-pip",
        f"no pip at hand can install these wheels for Python {survey.python}",
        facts={f"pip {number}": reason for number, reason in enumerate(refused, 1)},
        hint="let a pip travel along: `bundle` adds one for every target's Python; for a mirror, `fetch` pip too",
    )


def _pips(survey: Survey, tools: Sequence[Tool], context: Context, *, creating: bool) -> Iterator[Program]:
    """Yield the pips at hand, best first."""
    module = ("-I", "-m", "pip")
    bundled = pip_version_of(survey.bundled_pip)
    if creating and bundled:
        yield Program("pip", bundled, "the new environment's", module)
    elif not creating and survey.pip:
        yield Program("pip", survey.pip, "the destination's", module)
    minor = ".".join(survey.python.split(".")[:2])
    carried = [tool for tool in tools if tool.name == "pip" and minor in tool.pythons]
    for tool in sorted(carried, key=lambda tool: version_numbers(tool.version), reverse=True):
        yield Program("pip", tool.version, "the bundle's", tool=tool)
    if context.own_pip is not None:
        command, version = context.own_pip
        here = version_numbers(survey.python)[:2]
        if version_numbers(version) >= version_numbers(FIRST_PIP_FOR_OTHERS) and here >= OLDEST_PYTHON_OF_OWN_PIP:
            yield Program("pip", version, "this tool's", command=command)
    if not creating and bundled and survey.bundled_pip:
        yield Program("pip", bundled, "ensurepip's", ("-I", os.path.join(survey.bundled_pip, "pip")))


def pip_version_of(wheel: Optional[str]) -> str:
    """Read the version out of the file name of a pip wheel; empty if there is none."""
    match = re.match(r"pip-([^-]+)-", os.path.basename(wheel or ""))
    return match.group(1) if match else ""


def _choose_uv(tools: Sequence[Tool], tags: FrozenSet[str], context: Context) -> Program:
    """Take the uv that travels along, else the user's own.

    Raises:
        UsageError: ``no-uv``.
    """
    for tool in tools:
        if tool.name == "uv" and not tags.isdisjoint(tool.tags):
            return Program("uv", tool.version, "the bundle's", tool=tool)
    places: Tuple[Optional[str], ...] = (
        shutil.which("uv", path=context.environment.get("PATH")),
        shutil.which("uv", path=os.path.dirname(sys.executable or "")),
    )
    for found in places:
        if found is not None:
            return Program("uv", "", "this machine's", command=(found,))
    raise UsageError(
        "no-uv",
        "no uv for this machine travels along, none is on PATH",
        hint="use --installer pip, or write the bundle with --with-uv",
    )
