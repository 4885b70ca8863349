"""Carry a plan out: create the environment if one was asked for, run pip or uv once, have it proven.

The files lie ready under their own names in a temporary directory in the destination's file system; nothing else is in
the installer's sight. If it fails, the error says what state the destination is in; an environment that was created
here is removed again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.destination import Survey, create_virtual_environment, read_survey, run
from pytorch_offline.installer.installer_line import (
    Pip,
    clean_environment,
    pip_install_arguments,
    render_requirements,
    uv_install_arguments,
)
from pytorch_offline.installer.prove import list_conflicts, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.installer.evidence import Evidence
    from pytorch_offline.installer.plan import Plan

    Say = Callable[[str], None]

# How much of the installer's output an error repeats.
LINES_REPEATED = 15
# What pip says of every wheel, before anything can go wrong.
ROUTINE = ("Looking in links:", "Processing ")


def carry_out(plan: Plan, *, now: Callable[[], datetime], say: Say) -> Evidence:
    """Install and prove; the evidence is left in the environment too.

    Raises:
        IntegrityError: ``hash-mismatch`` if the installer found other bytes than were checked; ``proof-failed``.
        UnsatisfiableError: ``installer-failed`` with its output and the state of the destination; ``proof-failed``;
            ``no-virtual-environment``.
        UpstreamError: ``disk-full`` if the destination's disk filled up on the way, ``disk-failed`` if it cannot be
            written to.
        UsageError: ``destination-busy`` if another installation into the same environment is under way.
    """
    if plan.creates is None:
        return _install_and_prove(plan, plan.interpreter, now=now, say=say)
    say(f"creating {plan.creates} from {plan.survey.executable}")
    try:
        interpreter = create_virtual_environment(plan.survey, plan.creates, clean_environment(os.environ))
        _put_in_place(plan, interpreter, say=say)
    except BaseException as error:
        shutil.rmtree(plan.creates, ignore_errors=True)
        if isinstance(error, PytorchOfflineError):
            error.facts["state"] = f"{plan.creates}, which was created for this, is removed again"
        raise
    return prove(plan, interpreter, (), now=now, say=say)


def _install_and_prove(plan: Plan, interpreter: Path, *, now: Callable[[], datetime], say: Say) -> Evidence:
    """Install into an environment that was there before; its own conflicts are not held against us."""
    before = list_conflicts(plan, interpreter, plan.survey.prefix) if plan.install else None
    _put_in_place(plan, interpreter, say=say)
    return prove(plan, interpreter, before, now=now, say=say)


def _put_in_place(plan: Plan, interpreter: Path, *, say: Say) -> None:
    """Run pip or uv once, on exactly the files of the plan."""
    if not plan.install:
        return
    environment = clean_environment(os.environ)
    before = read_survey(interpreter, environment)
    say(f"installing {len(plan.install)} wheels with {plan.program_name}")
    try:
        with _work_directory(before) as work:
            command = _prepare(plan, str(interpreter), work)
            completed = run(command, clean_environment(os.environ, temporary=work / "tmp"), directory=work)
    except OSError as error:
        raise UpstreamError("disk-failed", f"{before.purelib} could not be made ready: {error}") from error
    if completed.returncode != 0:
        raise _installer_error(completed.stdout, before, read_survey(interpreter, environment), plan.program_name)


@contextmanager
def _work_directory(survey: Survey) -> Iterator[Path]:
    """Give an empty directory in the destination's file system, to one process at a time, and take it away again.

    What a killed run left there goes first. Of the two names, the lock file stays, as native locks must.

    Raises:
        UsageError: ``destination-busy`` if another installation into this environment is under way.
    """
    place = survey.purelib / ".pytorch-offline"
    work = place / "work"
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / "lock", timeout=0):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except Timeout as error:
        raise UsageError("destination-busy", f"another installation into {survey.prefix} is under way") from error


def _prepare(plan: Plan, python: str, work: Path) -> tuple[str, ...]:
    """Lay the files of the plan ready and build the command that installs them."""
    wheels, requirements = work / "wheels", work / "requirements.txt"
    for directory in (wheels, work / "tmp"):
        directory.mkdir()
    for wheel in plan.install:
        lay_ready((plan.mirror / wheel.path).resolve(), wheels / wheel.name.filename)
    requirements.write_text(render_requirements(plan.install), encoding="utf-8")
    if isinstance(plan.program, Pip):
        arguments = pip_install_arguments(wheels=wheels, requirements=requirements)
        return (*plan.program.command(python), *arguments)
    cache = work / "cache"
    return (
        str(plan.program),
        *uv_install_arguments(python=python, wheels=wheels, requirements=requirements, cache=cache),
    )


def lay_ready(source: Path, place: Path) -> None:
    """Make a file appear under a name: by symbolic link, else hard link, else (Windows without the right) as a copy."""
    for way in (place.symlink_to, place.hardlink_to):
        try:
            way(source)
        except OSError:
            continue
        return
    shutil.copyfile(source, place)


def _installer_error(output: str, before: Survey, after: Survey, program: str) -> PytorchOfflineError:
    """Turn the installer's failure into ours, with the state that the destination is in."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(ROUTINE)]
    facts = {"it says": "\n    ".join(lines[-LINES_REPEATED:]), "state": describe_change(before, after)}
    if "No space left on device" in output:
        return UpstreamError("disk-full", f"the destination's disk filled up while {program} ran", facts=facts)
    if "DO NOT MATCH THE HASHES" in output or "Hash mismatch" in output:
        return IntegrityError(
            "hash-mismatch", f"{program} found other bytes than were checked a moment ago", facts=facts
        )
    return UnsatisfiableError("installer-failed", f"{program} did not install the wheels", facts=facts)


def describe_change(before: Survey, after: Survey) -> str:
    """Say in words what is different in an environment."""
    changes = []
    for name in sorted({*before.distributions, *after.distributions}):
        old, new = before.distributions.get(name), after.distributions.get(name)
        versions = (old.version if old else "absent", new.version if new else "absent")
        if versions[0] != versions[1]:
            changes.append(f"{name} {versions[0]} → {versions[1]}")
    if not changes:
        return f"{after.prefix} holds the same distributions as before"
    return f"{after.prefix} was changed in part: {', '.join(changes)}; install again once the cause is gone"
