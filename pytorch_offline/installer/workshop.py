"""The private directory of an installation, in the destination's own file system, and who may use it.

``.pytorch-offline`` lies in a virtual environment's prefix, else in ``site-packages``. In it are, while one
installation is under way: ``lock``, held by it and by the programs that it started; ``unfinished`` in a virtual
environment that is being created; ``work/`` and ``stage/``, in which the wheels are unpacked; ``trash/``, to which old
files go; and ``journal.json``, as long as a switch is not settled. Afterwards nothing is left of it.
"""

import errno
import os
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from typing import Dict, Iterator, List, NamedTuple, Optional

from pytorch_offline.bundle.reading.lasting_files import sync_directory
from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.installer.journal import JOURNAL_NAME, read_journal, remove_journal, undo_steps
from pytorch_offline.installer.model import Context, Survey

WORKSHOP = ".pytorch-offline"
LOCK_NAME = "lock"
# Where less is free than this when a program that we started has failed, the disk is why.
LITTLE_ROOM = 1024 * 1024
UNFINISHED_MARK = "unfinished"
# Where installers put files, as sysconfig calls it.
SCHEME_PATHS = ("purelib", "platlib", "scripts", "data", "include", "platinclude")
NO_ROOM_ERRORS = (errno.ENOSPC, errno.EDQUOT)
REFUSED_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS)


class HeldWorkshop(NamedTuple):
    """A workshop that this process alone may use.

    Args:
        directory: the workshop.
        lock: the open lock file; programs that are started inherit it, and so hold the lock beyond our death.
        times: directories whose time stamps are put back at the end, if they are still in it then.
    """

    directory: str
    lock: int
    times: Dict[str, int]


def workshop_of(survey: Survey) -> str:
    """Say where the workshop of an environment lies, by its paths."""
    return os.path.join(os.path.realpath(survey.prefix if survey.virtual else survey.paths["purelib"]), WORKSHOP)


def scheme_directories(survey: Survey) -> List[str]:
    """List the directories that installers put files in, the deepest first; of a virtual environment, only its own.

    ``include`` of a virtual environment is its base's, for sysconfig; installers use another one, below ``data``.
    """
    prefix = os.path.realpath(survey.prefix)
    found = {survey.paths[key] for key in SCHEME_PATHS if key in survey.paths}
    own = {path for path in found if not survey.virtual or is_below(os.path.realpath(path), prefix)}
    return sorted(own, key=lambda path: (-len(path.split(os.sep)), path))


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it, both spelt without links."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def workshops_elsewhere(survey: Survey) -> List[str]:
    """List where there may be further ones: beside files that lie on another mount than the workshop."""
    places = {os.path.join(os.path.realpath(path), WORKSHOP) for path in scheme_directories(survey)}
    return sorted(places - {workshop_of(survey)})


def was_being_created(directory: str) -> bool:
    """Whether a virtual environment in a directory was being created by us, and never finished."""
    return os.path.isfile(os.path.join(directory, WORKSHOP, UNFINISHED_MARK))


def left_unfinished(survey: Survey) -> Optional[str]:
    """Say in words what a killed run left in an environment, None if nothing; changes nothing."""
    workshop = workshop_of(survey)
    if not os.path.isdir(workshop):
        return None
    journal = read_journal(workshop)
    if journal is None:
        return f"an installation into {survey.prefix} was interrupted, or is under way; it changed nothing so far"
    return (
        f"an installation into {survey.prefix} was interrupted while it changed files, or is under way; "
        "the next one without --dry-run begins by undoing it"
    )


def put_right(survey: Survey, context: Context) -> bool:
    """Undo what a killed run left in an environment; True if it is another one than was surveyed.

    Raises:
        IntegrityError: ``bad-journal``.
        UpstreamError: ``disk-full``, ``disk-failed``.
        UsageError: ``destination-busy``, ``not-writable``.
    """
    workshop = workshop_of(survey)
    if not os.path.isdir(workshop):
        return False
    with disk_trouble(survey.prefix), hold_workshop(workshop, context) as held:
        changed = undo_switch(held)
        if changed:
            context.say(f"an interrupted installation into {survey.prefix} was undone")
        for other in workshops_elsewhere(survey):
            remove_tree(other)
    return changed


def undo_switch(held: HeldWorkshop) -> bool:
    """Undo the switch whose journal lies in a workshop, False if there is none; then clear the workshop."""
    journal = read_journal(held.directory)
    if journal is not None:
        undo_steps(journal)
        remove_journal(held.directory)
        held.times.update(journal.times)
    clear_workshop(held)
    return journal is not None


def clear_workshop(held: HeldWorkshop) -> None:
    """Remove what lies in a workshop, but for the lock, the mark of a new environment and the journal."""
    for name in sorted(os.listdir(held.directory)):
        if name not in (LOCK_NAME, UNFINISHED_MARK, JOURNAL_NAME):
            remove_tree(os.path.join(held.directory, name))


def remove_tree(path: str) -> None:
    """Remove a file or a directory with all it holds, read-only directories too; what cannot be removed stays."""

    def make_writable(_function: object, refused: str, _error: object) -> None:
        parent = os.path.dirname(refused)
        for place in (parent, refused):
            with suppress(OSError):
                os.chmod(place, stat.S_IRWXU)
        with suppress(OSError):
            (os.rmdir if os.path.isdir(refused) and not os.path.islink(refused) else os.unlink)(refused)

    if os.path.isdir(path) and not os.path.islink(path):
        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=make_writable)
        else:
            shutil.rmtree(path, onerror=make_writable)
    elif os.path.lexists(path):
        os.unlink(path)


@contextmanager
def hold_workshop(directory: str, context: Context) -> Iterator[HeldWorkshop]:
    """Make a workshop, or take over what a killed run left of it; hold it alone; leave nothing of it.

    What stays is what must: the journal of a switch that could not be undone, and the mark of an unfinished
    environment. The directory that it lies in gets its time stamp back, unless that is taken out of ``times``.

    Raises:
        UsageError: ``destination-busy`` if another process holds it.
    """
    parent = os.path.dirname(directory)
    times = {parent: os.stat(parent).st_mtime_ns} if os.path.isdir(parent) else {}
    lock = _take_lock(directory, context)
    try:
        yield HeldWorkshop(directory, lock, times)
    finally:
        _release_lock(directory, lock)
        for changed, time in times.items():
            if os.path.isdir(changed):
                os.utime(changed, ns=(os.stat(changed).st_atime_ns, time))
        if os.path.isdir(parent):
            sync_directory(parent)


def _take_lock(directory: str, context: Context) -> int:
    path = os.path.join(directory, LOCK_NAME)
    while True:
        os.makedirs(directory, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # who held it took the directory away, just now
        try:
            free = _lock_file(lock, context)
            if free and _is_same_file(lock, path):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        if not free:
            raise UsageError(
                "destination-busy",
                f"another installation into {os.path.dirname(directory)} is under way",
                hint="wait until it is done; a process that was killed holds nothing, but a pip that it left may",
            )


def _lock_file(lock: int, context: Context) -> bool:
    """Lock an open file against other processes, False if one has it; a killed process loses it by itself."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415  (there is none elsewhere)

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415  (there is none on Windows)

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.EWOULDBLOCK):
            return False
        context.warn(f"this file system knows no locks ({error.strerror}): start one installation at a time")
    return True


def _is_same_file(lock: int, path: str) -> bool:
    """Whether an open file is still the one of that name: its last holder may have removed it before we locked it."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(lock)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _release_lock(directory: str, lock: int) -> None:
    """Remove the lock file and the empty workshop while the lock is held, then let it go."""
    names = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if names == {LOCK_NAME} and sys.platform != "win32":
        os.unlink(os.path.join(directory, LOCK_NAME))
        with suppress(OSError):  # somebody may have come meanwhile
            os.rmdir(directory)
    os.close(lock)
    if names == {LOCK_NAME} and sys.platform == "win32":
        for remove, path in ((os.unlink, os.path.join(directory, LOCK_NAME)), (os.rmdir, directory)):
            with suppress(OSError):
                remove(path)


@contextmanager
def disk_trouble(where: str) -> Iterator[None]:
    """Turn what the operating system says of the destination's disk into our errors.

    Raises:
        UpstreamError: ``disk-full``, ``disk-failed``.
        UsageError: ``not-writable``.
    """
    try:
        yield
    except OSError as error:
        raise destination_error(error, where) from error


def destination_error(error: OSError, where: str) -> PytorchOfflineError:
    """Make what the operating system said of a destination into ours."""
    facts = {"destination": where, "reason": error.strerror or str(error)}
    if error.filename is not None:
        facts["file"] = os.fsdecode(error.filename)
    if error.errno in NO_ROOM_ERRORS:
        quota = " for this user's quota" if error.errno == errno.EDQUOT else ""
        return UpstreamError("disk-full", f"the destination's disk is full{quota}", facts=facts, hint="make room")
    if error.errno in REFUSED_ERRORS:
        return UsageError("not-writable", f"{where} may not be changed by this user", facts=facts)
    return UpstreamError("disk-failed", f"{where} could not be changed", facts=facts)
