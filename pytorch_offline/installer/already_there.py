"""Which wheels need not be installed: those whose version is there, with the very files that the wheel holds.

The formats: https://packaging.python.org/specifications/recording-installed-packages/ and the wheel's own RECORD.
"""

import base64
import csv
import hashlib
import io
import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Callable, Dict, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.model import Survey, same_version
from pytorch_offline.installer.preflight import is_in_environment

# Of torch, whose RECORD names 15,000 files, it is 2 MB.
LONGEST_RECORD = 64 * 1024 * 1024
# Read in runs of this size: large enough that the interpreter's overhead vanishes, small enough for any machine.
RUN_OF_BYTES = 1024 * 1024
# What installers write themselves.
OWN_TO_INSTALLERS = (".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/RECORD", ".dist-info/direct_url.json")


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
        with open(os.path.join(information, "RECORD"), "rb") as file:
            installed = hashes_in_record(file.read(LONGEST_RECORD).decode("utf-8"))
        with open_file(wheel.path) as stream:
            of_wheel = record_of_wheel(stream)
    except (OSError, ValueError, IntegrityError):
        return False
    own = {path: sha256 for path, sha256 in of_wheel.items() if not path.split("/", 1)[0].endswith(".data")}
    if any(installed.get(path) != sha256 for path, sha256 in own.items()):
        return False
    site = os.path.dirname(information)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda path: hash_as_in_record(os.path.join(site, *path.split("/"))), installed)
        return all(expected == actual for expected, actual in zip(installed.values(), found))


def record_of_wheel(stream: BinaryIO) -> Dict[str, str]:
    """Read the hashes in a wheel's RECORD.

    Raises:
        IntegrityError: ``bad-wheel`` if it cannot be read.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            tops = {name.split("/", 1)[0] for name in archive.namelist()}
            information = min((top for top in tops if top.endswith(".dist-info")), default=".dist-info")
            member = archive.getinfo(information + "/RECORD")
            if member.file_size > LONGEST_RECORD:
                raise IntegrityError("bad-wheel", f"RECORD has {member.file_size} bytes")
            return hashes_in_record(archive.read(member).decode("utf-8"))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, LookupError, ValueError) as error:
        raise IntegrityError("bad-wheel", f"RECORD cannot be read: {error!r}") from error


def hashes_in_record(text: str) -> Dict[str, str]:
    """Read path → ``algorithm=digest`` of a RECORD, without what installers write themselves."""
    rows = [row for row in csv.reader(io.StringIO(text)) if len(row) > 1 and "=" in row[1]]
    return {row[0]: row[1].rstrip("=") for row in rows if not row[0].endswith(OWN_TO_INSTALLERS)}


def hash_as_in_record(path: str) -> Optional[str]:
    """Hash a file as RECORD writes it, None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for run in iter(lambda: file.read(RUN_OF_BYTES), b""):
                digest.update(run)
    except OSError:
        return None
    return "sha256=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
