"""Opening the mirror's files: only regular ones, only as they were verified, and never through a link.

A directory of the mirror may be a link or a mount, as an administrator puts ``whl/nightly`` on another disk. The file
itself may not: nobody who can only write below the mirror leads readers elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from io import FileIO

    from pytorch_offline.server.resources import StoredFile

# What is no larger than this is read at once and sent from memory, in fewer system calls than sendfile needs. METADATA
# of torch has 30 kB, a lock 20.
SMALL = 128 * 1024

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these, and POSIX not the last
    | getattr(os, "O_NONBLOCK", 0)  # a pipe would keep whoever opens it
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_hashes: dict[tuple[int, int, int, int], str] = {}
_MAX_HASHES = 256
# How opening a link, a socket or a pipe fails (EMLINK on BSD).
_NO_REGULAR_FILE = {errno.ELOOP, errno.EMLINK, errno.ENXIO}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A file that is as it should be: its content if it is small, else a stream, which whoever got it closes."""

    size: int
    sha256: str
    modified: datetime
    content: bytes | None
    stream: BinaryIO | None


def open_stored(file: StoredFile) -> OpenFile:
    """Open a file of the mirror. Blocks for as long as the disk takes.

    Raises:
        FileNotFoundError: it is not there.
        OSError: the disk does not give it.
        IntegrityError: ``not-as-verified`` if it is not a regular file of the size, or the hash, that it should have.
    """
    try:
        descriptor = os.open(file.path, _FLAGS)
    except OSError as error:
        if error.errno in _NO_REGULAR_FILE:
            raise _not_as_verified(file, "it is no regular file") from error
        raise
    with ExitStack() as undo:
        stream = undo.enter_context(open(descriptor, "rb", buffering=0))  # noqa: PTH123  (a descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_as_verified(file, "it is no regular file")
        if file.size is not None and found.st_size != file.size:
            raise _not_as_verified(file, f"it has {found.st_size} bytes instead of {file.size}")
        modified = datetime.fromtimestamp(int(found.st_mtime), UTC)
        if found.st_size > SMALL:
            # A size that agrees with a verified one is trusted; where only the hash is known, that is asked.
            sha256 = file.sha256 if file.size is not None and file.sha256 is not None else _hash_of(stream, found)
            _check_hash(file, sha256)
            undo.pop_all()
            return OpenFile(size=found.st_size, sha256=sha256, modified=modified, content=None, stream=stream)
        content = stream.read(SMALL + 1)
    if len(content) != found.st_size:
        raise _not_as_verified(file, "it changes")
    sha256 = hashlib.sha256(content).hexdigest()
    _check_hash(file, sha256)
    return OpenFile(size=len(content), sha256=sha256, modified=modified, content=content, stream=None)


def _hash_of(stream: FileIO, found: os.stat_result) -> str:
    """Hash a large file that has no verified hash, as a long manifest is; once for each of its states."""
    state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    if state not in _hashes:
        if len(_hashes) >= _MAX_HASHES:
            _hashes.clear()
        _hashes[state] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _hashes[state]


def _check_hash(file: StoredFile, sha256: str) -> None:
    if file.sha256 is not None and sha256 != file.sha256:
        raise _not_as_verified(file, "its bytes are others")


def _not_as_verified(file: StoredFile, what: str) -> IntegrityError:
    return IntegrityError(
        "not-as-verified",
        f"{file.path} is not what was verified: {what}",
        hint="pytorch-offline verify --repair checks all files and fetches bad ones again",
    )
