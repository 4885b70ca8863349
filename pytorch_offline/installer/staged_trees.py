"""From a mirrored file system on the stage to trees that can be renamed into the environment's directories: effects.

Where one of these directories is another mount than the workshop's (a volume of a container), nothing can be renamed
into it; its staged tree is copied beforehand into a workshop there, and old files of it go to a trash there.
"""

import errno
import os
import shutil
from typing import List, Sequence, Tuple

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.installer.environment_files import EnvironmentFiles
from pytorch_offline.installer.staging import staged_path
from pytorch_offline.installer.workplace import Work
from pytorch_offline.installer.workshop import WORKSHOP, remove_tree, scheme_directories

PROBE_NAME = "probe"


def staged_trees(roots: Sequence[str], work: Work, files: EnvironmentFiles) -> List[Tuple[str, str]]:
    """Cut the staged trees up by the directories that installers put files in; each with its final directory.

    Raises:
        UnsatisfiableError: ``installer-failed`` if a staged file belongs nowhere in the environment.
    """
    found = []
    for number, final in enumerate(scheme_directories(work.survey)):
        real = files.inside(final)
        if real is None:
            continue
        trees = [staged_path(root, final) for root in roots]
        present = [tree for tree in trees if os.path.isdir(tree)]
        near = not present or _can_rename_into(real, work)
        for share, tree in enumerate(present):
            place = os.path.join(work.directory if near else os.path.join(real, WORKSHOP), "trees", f"{number}-{share}")
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if near:
                os.rename(tree, place)
            else:
                shutil.copytree(tree, place, symlinks=True)
                remove_tree(tree)
            found.append((place, real))
    for root in roots:
        for directory, _, names in os.walk(root):
            if names:
                stray = os.path.join(directory, names[0])[len(root) :]
                raise UnsatisfiableError(
                    "installer-failed", f"a file was unpacked for a place outside of {work.survey.prefix}: {stray}"
                )
    return found


def _can_rename_into(directory: str, work: Work) -> bool:
    """Whether a file of the workshop can be renamed into a directory, tried with an empty one."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    if directory == os.path.dirname(work.directory):
        return True
    state = os.stat(directory)
    if state.st_dev != os.stat(work.directory).st_dev:
        return False
    probe, landed = os.path.join(work.directory, PROBE_NAME), os.path.join(directory, WORKSHOP + "." + PROBE_NAME)
    with open(probe, "wb"):
        pass
    try:
        os.rename(probe, landed)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    os.unlink(landed)
    os.utime(directory, ns=(state.st_atime_ns, state.st_mtime_ns))
    return True
