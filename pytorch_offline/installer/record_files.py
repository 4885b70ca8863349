"""RECORD, as wheels bring it along and as installers leave it: paths and hashes.

https://packaging.python.org/specifications/recording-installed-packages/
"""

import base64
import csv
import hashlib
import io
import os
import zipfile
import zlib
from typing import BinaryIO, Dict, Mapping, Optional

from pytorch_offline.errors import IntegrityError

# Of torch, whose RECORD names 15,000 files, it is 2 MB.
LONGEST_RECORD = 64 * 1024 * 1024
# Read in runs of this size: large enough that the interpreter's overhead vanishes, small enough for any machine.
RUN_OF_BYTES = 1024 * 1024
# What installers write themselves.
OWN_TO_INSTALLERS = (".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/RECORD", ".dist-info/direct_url.json")


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


def read_installed_record(information: str) -> Dict[str, str]:
    """Read the hashes in the RECORD of an installed distribution.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    with open(os.path.join(information, "RECORD"), "rb") as file:
        return hashes_in_record(file.read(LONGEST_RECORD).decode("utf-8"))


def keeping_their_place(record: Mapping[str, str]) -> Dict[str, str]:
    """Leave out what a wheel has below ``.data``: installers put that elsewhere, scripts with other bytes."""
    return {path: one for path, one in record.items() if not path.split("/", 1)[0].endswith(".data")}


def hashes_in_record(text: str) -> Dict[str, str]:
    """Read path → ``algorithm=digest`` of a RECORD, without what installers write themselves."""
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if len(row) > 1 and "=" in row[1]]
    return {row[0]: row[1].rstrip("=") for row in rows if not row[0].endswith(OWN_TO_INSTALLERS)}


def hash_as_in_record(path: str, algorithm: str = "sha256") -> Optional[str]:
    """Hash a file as RECORD writes it, None if it cannot be read or nobody knows the algorithm."""
    try:
        digest = hashlib.new(algorithm)
        with open(path, "rb") as file:
            for run in iter(lambda: file.read(RUN_OF_BYTES), b""):
                digest.update(run)
    except (OSError, ValueError):
        return None
    return algorithm + "=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
