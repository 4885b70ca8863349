"""Read what users write: requirements on the command line and in requirements files.

A line that cannot be honoured is an error that names it, never ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# As pip reads them: a comment starts at `#` at the line's start or after white space.
_COMMENT = re.compile(r"(^|\s+)#.*$")
# What PyTorch is called elsewhere: by people, and by conda. On the default index these names are other people's.
_OTHER_NAMES = {
    "pytorch": "PyTorch's wheels are called torch: write torch",
    "pytorch-cuda": "that is conda's; say --driver (or --backend cu121), and torch's build is chosen by it",
    "pytorch-cpu": "that is conda's; write torch and --backend cpu",
    "pytorch-gpu": "that is conda's; write torch and say --driver",
    "torch-gpu": "write torch and say --driver; the CUDA build is chosen by it",
    "cudatoolkit": "that is conda's; torch's wheels bring the CUDA libraries that they need",
}
# Files may include files; deeper than this it is a circle.
MAX_NESTING = 16


def parse_requirement(text: str, where: str) -> Requirement:
    """Read one requirement (PEP 508).

    Raises:
        UsageError: ``bad-requirement`` with the text and where it stood.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        detail = str(error).splitlines()[0]
        raise UsageError(
            "bad-requirement",
            f"{where}: {text!r} is not a requirement ({detail})",
            hint=_meant(text),
        ) from error
    if requirement.url is not None:
        raise UsageError(
            "url-requirement",
            f"{where}: {text!r} names an address; only projects of an index can be selected",
            hint="write the project and its exact version, e.g. 'torch==2.4.0+cu121'",
        )
    if (meant := _OTHER_NAMES.get(canonicalize_name(requirement.name))) is not None:
        raise UsageError("wrong-name", f"{where}: {text!r} is not what the project is called here", hint=meant)
    return requirement


def _meant(text: str) -> str:
    """Guess what a text that is no requirement was meant to be."""
    if text.endswith(".whl"):
        return "files are not taken; write the project and its exact version, e.g. 'torch==2.4.0+cu121'"
    one = re.fullmatch(r"([A-Za-z0-9._-]+)=([0-9A-Za-z.+]+)", text)
    if one is not None:
        return f"a version is written with two signs: '{one[1]}=={one[2]}'"
    if re.fullmatch(r"[A-Za-z0-9._-]+(?:[ ,;]+[A-Za-z0-9._-]+)+", text):
        return f"write several projects as several arguments: {' '.join(re.split(r'[ ,;]+', text))}"
    return "write a project with an optional version, e.g. 'torch==2.4.0' or 'torchvision>=0.19,<0.20'"


def read_requirements_file(
    path: Path, *, read: Callable[[Path], str] | None = None, depth: int = 0
) -> tuple[list[Requirement], list[Requirement]]:
    """Read a requirements file: its requirements and the constraints that it includes (``-c``).

    Raises:
        UsageError: ``bad-requirements-file`` if it cannot be read, includes itself, or holds an option that cannot be
            honoured; ``bad-requirement`` for a line that is no requirement.
    """
    if depth > MAX_NESTING:
        raise UsageError("bad-requirements-file", f"{path} includes itself, or is nested more than {MAX_NESTING} deep")
    try:
        text = read(path) if read is not None else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError("bad-requirements-file", f"requirements file {path} cannot be read: {why}") from error
    requirements: list[Requirement] = []
    constraints: list[Requirement] = []
    for number, line in _logical_lines(text):
        where = f"{path}, line {number}"
        included = _included(line)
        if included is not None:
            option, name = included
            inner, inner_constraints = read_requirements_file(path.parent / name, read=read, depth=depth + 1)
            constraints += inner_constraints
            (requirements if option == "-r" else constraints).extend(inner)
        elif line.startswith("-"):
            option = re.split(r"[\s=]", line)[0]
            raise UsageError(
                "unsupported-option",
                f"{where}: option {option!r} cannot be honoured here",
                hint="give indexes with --upstream and --default-index; -r and -c may be nested",
            )
        else:
            if " --" in line:
                option = line[line.index(" --") + 1 :].split("=")[0].split()[0]
                raise UsageError("unsupported-option", f"{where}: option {option!r} cannot be honoured here")
            requirements.append(parse_requirement(line, where))
    return requirements, constraints


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Join lines that end in a backslash, drop comments and blank lines; number each by its first line."""
    buffer = ""
    start = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        start = start or number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            buffer += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", buffer + raw).strip()
        if line:
            yield start, line
        buffer, start = "", 0
    if line := _COMMENT.sub("", buffer).strip():
        yield start, line


def _included(line: str) -> tuple[str, str] | None:
    """Read ``-r FILE``, ``--requirement=FILE`` and their ``-c`` kin; the option comes back in its short form."""
    match = re.fullmatch(r"(-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))(?P<name>\S.*)", line)
    if match is None:
        return None
    return ("-r" if match[1] in {"-r", "--requirement"} else "-c"), match["name"].strip()
