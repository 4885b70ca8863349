"""The journal of a switch: written and made durable before the first rename, gone when the proof has passed.

The rule: as long as the journal is there, the environment counts as the old one, and ``undo`` makes it so. Every step
is one call to the system, and whether it was done is seen from the private end of it, the stage or the trash. So a run
that was killed at any moment is undone by whoever comes next, as often as that one is killed too.
"""

import errno
import json
import os
import stat
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.reading.lasting_files import sync_directory, write_whole
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.surroundings import local_path, portable_path
from pytorch_offline.installer.switch import Step

JOURNAL_NAME = "journal.json"
JOURNAL_FORMAT = 1


class Journal(NamedTuple):
    """What is being done to an environment.

    Args:
        steps: in order.
        times: directories whose contents change, with the time in nanoseconds at which they last did.
    """

    steps: Tuple[Step, ...]
    times: Mapping[str, int]


def render_journal(journal: Journal, base: str) -> str:
    """Write a journal with paths relative to the directory it lies in: a container may see both elsewhere later."""
    document = {
        "format": JOURNAL_FORMAT,
        "steps": [
            [
                step.kind,
                _path_in_journal(step.place, base),
                _path_in_journal(step.aside, base) if step.aside else "",
                step.mode,
                list(step.owner),
            ]
            for step in journal.steps
        ],
        "times": {_path_in_journal(path, base): time for path, time in journal.times.items()},
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=True)


def parse_journal(text: str, base: str) -> Journal:
    """Read a journal.

    Raises:
        IntegrityError: ``bad-journal`` if it is none.
    """
    try:
        document = json.loads(text)
        if document["format"] != JOURNAL_FORMAT:
            raise ValueError("its format is {}".format(document["format"]))  # noqa: TRY301  (said as the others are)
        steps = tuple(
            Step(
                str(kind),
                _path_from_journal(place, base),
                _path_from_journal(aside, base) if aside else "",
                int(mode),
                (int(user), int(group)),
            )
            for kind, place, aside, mode, (user, group) in document["steps"]
        )
        times = {_path_from_journal(path, base): int(time) for path, time in document["times"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            "bad-journal",
            f"the journal of an interrupted installation in {base} cannot be read: {error}",
            hint="what was there lies beside it in trash/, what was to come in stage/",
        ) from error
    return Journal(steps, times)


def read_journal(directory: str) -> Optional[Journal]:
    """Read the journal that lies in a directory; None if there is none."""
    try:
        with open(os.path.join(directory, JOURNAL_NAME), encoding="ascii") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        text = f"not ASCII: {error}"
    return parse_journal(text, directory)


def write_journal(journal: Journal, directory: str) -> None:
    """Write the journal so that it is there in whole, on the disk itself, or not at all."""
    write_whole(os.path.join(directory, JOURNAL_NAME), render_journal(journal, directory).encode("ascii"))


def remove_journal(directory: str) -> None:
    """Take the journal away: from here on the environment is the new one (or the old one, undone)."""
    os.unlink(os.path.join(directory, JOURNAL_NAME))
    sync_directory(directory)


def remove_journal_if_any(directory: str) -> None:
    """Take away a journal that counts no more, with the environment that it speaks of."""
    if os.path.lexists(os.path.join(directory, JOURNAL_NAME)):
        remove_journal(directory)


def make_journal(steps: Sequence[Step], times: Mapping[str, int]) -> Journal:
    """Remember beside the steps when the directories that they change were changed last, where that is not known."""
    found = dict(times)
    for step in steps:
        directory = os.path.dirname(step.place)
        if directory not in found and os.path.isdir(directory):
            found[directory] = os.stat(directory).st_mtime_ns
    return Journal(tuple(steps), found)


def carry_out_steps(journal: Journal, directory: str) -> Journal:
    """Do the steps of a journal that was written; return it with what had to be done in smaller steps.

    A directory that came with an image's lower layer cannot be renamed on overlayfs, which says EXDEV: its files
    move one by one, and the journal says so before they do.

    Raises:
        OSError: what the system says; some of the steps are done then.
    """
    done: List[Step] = []
    agenda = list(reversed(journal.steps))
    while agenda:
        step = agenda.pop()
        try:
            _do_step(step)
        except OSError as error:
            if step.kind != "out" or error.errno != errno.EXDEV or not _is_real_directory(step.place):
                raise
            smaller, times = _step_in_parts(step)
            agenda.extend(reversed(smaller))
            journal = Journal((*done, *reversed(agenda)), {**times, **journal.times})
            write_journal(journal, directory)
        else:
            done.append(step)
    for changed in sorted({os.path.dirname(step.place) for step in journal.steps}):
        if os.path.isdir(changed):
            sync_directory(changed)
    return journal


def undo_steps(journal: Journal) -> None:
    """Undo whatever of a journal was done, to the time stamps of directories; as often as it takes.

    Raises:
        OSError: what the system says; it can be called again.
    """
    for step in reversed(journal.steps):
        _undo_step(step)
    for directory, time in sorted(journal.times.items(), reverse=True):
        if os.path.isdir(directory):
            os.utime(directory, ns=(os.stat(directory).st_atime_ns, time))
            sync_directory(directory)


def _do_step(step: Step) -> None:
    if step.kind == "out":
        os.rename(step.place, step.aside)
    elif step.kind == "in":
        os.rename(step.aside, step.place)
    elif step.kind == "make":
        os.mkdir(step.place)
    else:
        os.rmdir(step.place)


def _undo_step(step: Step) -> None:
    if step.kind == "out":
        if os.path.lexists(step.aside):
            os.rename(step.aside, step.place)
    elif step.kind == "in":
        if not os.path.lexists(step.aside) and os.path.lexists(step.place):
            os.rename(step.place, step.aside)
    elif step.kind == "make":
        try:
            os.rmdir(step.place)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    elif not os.path.lexists(step.place):
        os.mkdir(step.place)
        if hasattr(os, "chown") and step.owner != (-1, -1):
            os.chown(step.place, *step.owner)
        os.chmod(step.place, step.mode)


def _step_in_parts(step: Step) -> Tuple[List[Step], Dict[str, int]]:
    """Give the steps that move a directory name by name, and the times of the directories in it.

    The directories that take them are made at once, under a name that no step has had so far.
    """
    steps: List[Step] = []
    times: Dict[str, int] = {}
    emptied: List[Step] = []
    for directory, directories, files in os.walk(step.place):
        target = os.path.normpath(os.path.join(step.aside + ".parts", os.path.relpath(directory, step.place)))
        state = os.stat(directory)
        times[directory] = state.st_mtime_ns
        os.makedirs(target, exist_ok=True)
        emptied.append(Step("drop", directory, "", stat.S_IMODE(state.st_mode), (state.st_uid, state.st_gid)))
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        steps.extend(
            Step("out", os.path.join(directory, name), os.path.join(target, name)) for name in sorted(files + links)
        )
    return steps + emptied[::-1], times


def _is_real_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _path_in_journal(path: str, base: str) -> str:
    try:
        return portable_path(os.path.relpath(path, base))
    except ValueError:  # another drive
        return portable_path(path)


def _path_from_journal(path: Any, base: str) -> str:  # noqa: ANN401  (whatever the journal holds)
    return os.path.normpath(os.path.join(base, local_path(path)))
