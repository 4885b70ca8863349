"""The environment that is installed into: found, and asked about itself by its own interpreter.

``--python`` names an interpreter, ``--venv`` a virtual environment that is created if it is missing, ``--prefix`` an
environment that exists, by its directory, as conda's own ``--prefix`` does. With none of them it is the environment
that is active; a Python of the system is never taken by itself, and neither is conda's base.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from pytorch_offline.errors import UsageError
from pytorch_offline.installer.model import Context, Destination, Request, Survey
from pytorch_offline.installer.surroundings import clean_environment
from pytorch_offline.installer.survey import CONDA_RECORDS, survey_of, variables_of_a_normal_run
from pytorch_offline.installer.workshop import WORKSHOP, was_being_created

# A cold interpreter on a slow network file system, or nvidia-smi on a machine of many GPUs; more means that it hangs.
ANSWER_SECONDS = 300
# Before the answer: what an environment's own start-up files print stands on other lines.
ANSWER_MARK = "@@pytorch-offline@@ "


def find_destination(request: Request, context: Context) -> Destination:
    """Find out where to install.

    Raises:
        UsageError: ``no-destination``, ``no-interpreter``, ``not-an-environment``, ``other-base``, ``own-environment``.
    """
    if request.prefix is not None:
        if request.venv is not None or request.python is not None:
            raise UsageError("no-destination", "--prefix names an environment by itself: without --venv and --python")
        return Destination(environment_at(request.prefix), None, "--prefix")
    if request.venv is not None:
        return _virtual_environment(request.venv, request.python, context)
    if request.python is not None:
        return Destination(find_interpreter(request.python), None, "--python")
    return _active_environment(context)


def environment_at(directory: str) -> str:
    """Return the interpreter of the environment in a directory.

    Raises:
        UsageError: ``not-an-environment``.
    """
    interpreter = interpreter_of(directory)
    if interpreter is None:
        raise UsageError(
            "not-an-environment",
            f"{directory} holds no Python environment; nothing was changed",
            hint="--prefix takes the directory of one that exists, --venv DIR creates one",
        )
    return interpreter


def _virtual_environment(named: str, python: Optional[str], context: Context) -> Destination:
    venv = os.path.abspath(named)
    if is_free_for_environment(venv):
        return Destination(find_interpreter(python or base_interpreter()), venv, "--venv")
    interpreter = interpreter_of(venv)
    if interpreter is None:
        raise UsageError(
            "not-an-environment",
            f"{venv} exists and is no virtual environment; nothing was changed",
            hint="name a new or an empty directory, or one with an environment in it",
        )
    if context.own_prefix is not None and same_place(venv, context.own_prefix):
        raise UsageError(
            "own-environment",
            f"{named} is the environment that this tool runs in",
            hint=f"install elsewhere; if this is what you mean, say --python {sys.executable}",
        )
    if python is not None:
        bases = [ask_destination(exe, ["base"], context) for exe in (interpreter, find_interpreter(python))]
        if bases[0] != bases[1]:
            raise UsageError("other-base", f"{venv} exists and was not created from {python}")
    return Destination(interpreter, None, "--venv")


def describe_base(arguments: List[str]) -> str:
    """Say where the running interpreter's base lies, links resolved."""
    del arguments
    return os.path.realpath(sys.base_prefix)


def _active_environment(context: Context) -> Destination:
    """Take the environment that is active, if it is one and no more.

    Raises:
        UsageError: ``no-destination`` where there is none, or several.
    """
    named: Dict[str, str] = {}
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if context.environment.get(variable):
            named[variable] = context.environment[variable]
    if context.own_prefix is None and (sys.prefix != sys.base_prefix or is_conda(sys.prefix)):
        named["the Python that runs this"] = sys.prefix
    left: Dict[str, str] = {}
    passed_over: Dict[str, object] = {}
    for how, directory in named.items():
        if context.own_prefix is not None and same_place(directory, context.own_prefix):
            passed_over[how] = f"{directory}, which this tool runs in"
        elif is_conda_base(directory):
            passed_over[how] = f"{directory}, conda's base environment, where conda itself lives"
        elif interpreter_of(directory) is None:
            passed_over[how] = f"{directory}, which holds no Python"
        elif not any(same_place(directory, other) for other in left.values()):
            left[how] = directory
    if len(left) == 1:
        ((how, directory),) = left.items()
        return Destination(environment_at(directory), None, how)
    facts: Dict[str, object] = dict(left)
    facts.update({f"not taken: {how}": what for how, what in passed_over.items()})
    raise UsageError(
        "no-destination",
        "several environments are active: say which one to install into"
        if left
        else "say where to install: no environment is active, and the system's Python is not touched",
        facts=facts,
        hint="--venv DIR (created if it is missing), --prefix DIR (an environment, conda's too), or --python EXE",
    )


def base_interpreter() -> str:
    """Return the interpreter that runs this, which new environments are made from if no other is named."""
    return sys.executable or "python3"


def find_interpreter(named: str) -> str:
    """Find the interpreter that the user names: a file, a command on PATH, or the directory of an environment.

    The name is kept as it is: a virtual environment's interpreter is a link that must not be followed.

    Raises:
        UsageError: ``no-interpreter`` if there is none.
    """
    if os.path.isdir(named):
        found = interpreter_of(named)
        if found is not None:
            return found
    elif os.path.isfile(named):
        return os.path.abspath(named)
    elif not os.path.dirname(named):
        on_path = shutil.which(named)
        if on_path:
            return os.path.abspath(on_path)
    raise UsageError(
        "no-interpreter", f"there is no Python interpreter at {named}", hint="name it in full: --python EXE"
    )


def interpreter_of(environment: str) -> Optional[str]:
    """Find the interpreter in an environment's directory (virtual or conda), None if there is none."""
    for place in ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe"):
        path = os.path.join(os.path.abspath(environment), *place.split("/"))
        if os.path.isfile(path):
            return path
    return None


def is_conda(prefix: str) -> bool:
    """Whether a directory is a conda environment; every one has records of its packages."""
    return os.path.isdir(os.path.join(prefix, CONDA_RECORDS))


def is_conda_base(prefix: str) -> bool:
    """Whether a directory is conda's own environment."""
    return is_conda(prefix) and os.path.isdir(os.path.join(prefix, "condabin"))


def same_place(one: str, other: str) -> bool:
    """Whether two names are of the same directory."""
    # As bytes: a C locale under Python 3.7 spells sys.prefix otherwise than what the environment names.
    return os.fsencode(os.path.realpath(one)) == os.fsencode(os.path.realpath(other))


def is_free_for_environment(directory: str) -> bool:
    """Whether an environment can be made there: nothing is, or what an earlier run began and did not finish."""
    try:
        there = os.listdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # A run that was killed before it could leave its mark left an empty workshop.
    return set(there) <= {WORKSHOP} or was_being_created(directory)


def ask_destination(
    interpreter: str, arguments: Sequence[str], context: Context, *, seconds: Optional[float] = ANSWER_SECONDS
) -> Any:  # noqa: ANN401  (whatever JSON can say; each part knows its own)
    """Run one of our parts under an interpreter, isolated and in clean surroundings, and return what it answers.

    Args:
        interpreter: the destination's.
        arguments: the part's name (``command.py`` lists them) and its arguments.
        context: gives the text that is run.
        seconds: for how long it is waited; None without end.

    Raises:
        UsageError: ``bad-interpreter`` if it cannot be run, or is not Python 3.6 or newer.
    """
    try:
        done = subprocess.run(
            [interpreter, "-I", "-B", "-", *arguments],  # what only looks leaves no byte code
            env=clean_environment(context.environment),
            input=context.program_text().encode("utf-8"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError("bad-interpreter", f"{interpreter} cannot be run: {error}") from error
    if done.returncode != 0:
        raise UsageError(
            "bad-interpreter",
            f"{interpreter} is not a Python that can be installed into",
            facts={"it says": last_words(done.stderr.decode("utf-8", "replace"))},
            hint="Python 3.6 or newer is needed",
        )
    return parse_answer(done.stdout.decode("utf-8", "replace"), interpreter)


def parse_answer(text: str, interpreter: str) -> Any:  # noqa: ANN401  (as above)
    """Find the answer in what an interpreter printed.

    Raises:
        UsageError: ``bad-interpreter`` if there is none.
    """
    for line in reversed(text.splitlines()):
        if line.startswith(ANSWER_MARK):
            try:
                return json.loads(line[len(ANSWER_MARK) :])
            except ValueError:
                break
    raise UsageError("bad-interpreter", f"{interpreter} does not describe itself", facts={"it says": last_words(text)})


def read_survey(interpreter: str, context: Context) -> Survey:
    """Ask an interpreter what its environment is and holds.

    Raises:
        UsageError: ``bad-interpreter``.
    """
    variables = json.dumps(variables_of_a_normal_run(context.environment))
    document: Mapping[str, Any] = ask_destination(interpreter, ["survey", variables], context)
    try:
        return survey_of(document)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("bad-interpreter", f"{interpreter} does not describe itself: {error!r}") from error


def last_words(text: str) -> str:
    """Return the last line that says something: of a traceback, the exception."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def free_bytes_at(place: str) -> int:
    """Return the free space where a directory is, or will be."""
    directory = Path(place)
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(str(directory)).free
