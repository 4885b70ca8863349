"""The environment of an installation, created if it must be, held, put back where it fails, left clean: effects."""

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import Iterator, List, NamedTuple, Tuple

from pytorch_offline.bundle.reading.lasting_files import sync_directory
from pytorch_offline.errors import PytorchOfflineError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.destination import interpreter_of, last_words, read_survey
from pytorch_offline.installer.journal import remove_journal_if_any
from pytorch_offline.installer.model import Context, Plan, Survey
from pytorch_offline.installer.surroundings import clean_environment
from pytorch_offline.installer.workshop import (
    LITTLE_ROOM,
    UNFINISHED_MARK,
    WORKSHOP,
    HeldWorkshop,
    clear_workshop,
    disk_trouble,
    hold_workshop,
    remove_tree,
    undo_switch,
    was_being_created,
    workshop_of,
    workshops_elsewhere,
)


class Work(NamedTuple):
    """Where an installation works.

    Args:
        held: the workshop, ours alone.
        interpreter: of the environment.
        survey: of the environment, which may just have been created.
    """

    held: HeldWorkshop
    interpreter: str
    survey: Survey

    @property
    def directory(self) -> str:
        """The workshop's path."""
        return self.held.directory

    @property
    def inherited(self) -> Tuple[int, ...]:
        """What programs that we start keep open: the lock, so that nobody works here while one of them still does."""
        return (self.held.lock,) if os.name == "posix" else ()


@contextmanager
def workplace(plan: Plan, context: Context) -> Iterator[Work]:
    """Hold the destination for one installation, creating it if it is to be created.

    If what is done within fails, the environment is what it was: a switch that was begun is undone, an environment
    that was created is removed.

    Raises:
        UnsatisfiableError: ``no-virtual-environment``.
        UpstreamError: ``disk-full``, ``disk-failed``.
        UsageError: ``destination-busy``, ``not-writable``.
    """
    if plan.destination.creates is not None:
        with _new_environment(plan, plan.destination.creates, context) as work:
            yield work
        return
    survey = plan.survey
    with hold_workshop(workshop_of(survey), context) as held:
        try:
            with disk_trouble(survey.prefix):
                undo_switch(held)  # of one that was killed since the survey
            yield Work(held, plan.destination.interpreter, survey)
            held.times.clear()
        finally:
            with disk_trouble(survey.prefix):
                undo_switch(held)  # where it was not committed
                for other in workshops_elsewhere(survey):
                    remove_tree(other)


@contextmanager
def _new_environment(plan: Plan, directory: str, context: Context) -> Iterator[Work]:
    """Create a virtual environment, marked as unfinished until all is done in it; one so marked is begun anew."""
    existed = os.path.isdir(directory) and not was_being_created(directory)
    done = False
    try:
        with hold_workshop(os.path.join(os.path.abspath(directory), WORKSHOP), context) as held:
            mark = os.path.join(held.directory, UNFINISHED_MARK)
            with disk_trouble(directory):
                _mark_unfinished(mark, directory)
                _empty_but_for_workshop(directory)
                remove_journal_if_any(held.directory)
                clear_workshop(held)
            try:
                interpreter = _create_environment(plan.survey, directory, held, context)
                yield Work(held, interpreter, read_survey(interpreter, context))
                done = True
            except PytorchOfflineError as error:
                error.facts["state"] = f"{directory}, which was created for this, is removed again"
                raise
            finally:
                with disk_trouble(directory):
                    if not done:
                        _empty_but_for_workshop(directory)
                    remove_journal_if_any(held.directory)
                    clear_workshop(held)
                    os.unlink(mark)
                if done:
                    held.times.clear()
    finally:
        if not done and not existed:
            with suppress(OSError):  # it was never made, or somebody has put something there
                os.rmdir(directory)


def _mark_unfinished(mark: str, directory: str) -> None:
    """Leave the mark by which a killed creation is known, durably, before anything else is there.

    Raises:
        UsageError: ``not-an-environment`` if there is something in the directory that is not ours.
    """
    if not os.path.exists(mark):
        if set(os.listdir(directory)) - {WORKSHOP}:
            raise UsageError("not-an-environment", f"{directory} is not empty; nothing was changed")
        with open(mark, "w", encoding="ascii") as file:
            file.write("An installation into this new environment is under way, or was interrupted.\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(os.path.dirname(mark))


def _empty_but_for_workshop(directory: str) -> None:
    """Remove all but the workshop, in which the mark lies that says that this may be done."""
    for name in sorted(os.listdir(directory)):
        if name != WORKSHOP:
            remove_tree(os.path.join(directory, name))


def _create_environment(base: Survey, directory: str, held: HeldWorkshop, context: Context) -> str:
    """Create the environment; its pip is the one that ensurepip brings along, without ensurepip it gets none.

    Raises:
        UnsatisfiableError: ``no-virtual-environment`` if the base cannot create one.
        UpstreamError: ``disk-full``.
    """
    context.say(f"creating {directory} from {base.executable}")
    temporary = os.path.join(held.directory, "tmp")  # ensurepip unpacks pip, for which a small /tmp has no room
    os.mkdir(temporary)
    options: List[str] = [] if base.bundled_pip else ["--without-pip"]
    output = os.path.join(held.directory, "output.txt")
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [base.executable, "-I", "-m", "venv", *options, directory],
            env=clean_environment(context.environment, temporary),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            pass_fds=(held.lock,) if os.name == "posix" else (),
        )
    _wait_to_the_end(process)
    with open(output, encoding="utf-8", errors="replace") as text:
        said = text.read()
    for path in (temporary, output):
        remove_tree(path)
    interpreter = interpreter_of(directory)
    if process.returncode == 0 and interpreter is not None:
        return interpreter
    if "No space left on device" in said or shutil.disk_usage(held.directory).free < LITTLE_ROOM:
        raise UpstreamError(
            "disk-full",
            f"the destination's disk filled up while {directory} was created",
            facts={"it says": last_words(said)},
            hint="make room",
        )
    raise UnsatisfiableError(
        "no-virtual-environment",
        f"{base.executable} cannot create a virtual environment at {directory}",
        facts={"it says": last_words(said)},
        hint="name another base interpreter: --python EXE --venv DIR",
    )


def _wait_to_the_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process also where we are asked to end: killed, it would leave children that go on writing."""
    try:
        process.wait()
    except BaseException:
        try:
            process.wait()
        finally:  # asked for a second time
            if process.poll() is None:
                process.kill()
                process.wait()
        raise
