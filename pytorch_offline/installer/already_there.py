"""Which wheels need not be installed: those whose version is there, with the very files that the wheel holds.

The formats: https://packaging.python.org/specifications/recording-installed-packages/ and the wheel's own RECORD.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Callable, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.model import Survey, same_version
from pytorch_offline.installer.preflight import is_in_environment
from pytorch_offline.installer.record_files import (
    hash_as_in_record,
    keeping_their_place,
    read_installed_record,
    record_of_wheel,
)


def split_by_presence(
    wheels: Sequence[LockedWheel], survey: Survey, open_file: Callable[[str], BinaryIO]
) -> Tuple[Tuple[LockedWheel, ...], Tuple[LockedWheel, ...]]:
    """Split wheels into those that must be installed and those that are there already.

    One that is there in its version without a RECORD (a conda package, an old distutils one) cannot be taken away by
    any installer; it is left alone too, and the proof tells so.

    Args:
        wheels: those of the plan.
        survey: the destination.
        open_file: opens a file of the bundle by its path.
    """
    install, keep = [], []
    for wheel in wheels:
        held = survey.distributions.get(wheel.project)
        same = held is not None and same_version(held.version, wheel.version) and is_in_environment(held, survey)
        if same and held is not None and (not held.record or is_whole(held.information, wheel, open_file)):
            keep.append(wheel)
        else:
            install.append(wheel)
    return tuple(install), tuple(keep)


def is_whole(information: str, wheel: LockedWheel, open_file: Callable[[str], BinaryIO]) -> bool:
    """Whether an installed distribution has the files of a wheel, byte for byte."""
    try:
        installed = read_installed_record(information)
        with open_file(wheel.path) as stream:
            of_wheel = record_of_wheel(stream)
    except (OSError, ValueError, IntegrityError):
        return False
    if any(installed.get(path) != sha256 for path, sha256 in keeping_their_place(of_wheel).items()):
        return False
    site = os.path.dirname(information)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda path: hash_as_in_record(os.path.join(site, *path.split("/"))), installed)
        return all(expected == actual for expected, actual in zip(installed.values(), found))
