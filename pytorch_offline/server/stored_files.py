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
    from pytorch_offline.server.resources import StoredFile

# What is no larger than this is read at once and sent from memory, in fewer system calls than sendfile needs.
SMALL = 64 * 1024
# No METADATA and no lock comes near it; whatever does is not what it is taken for.
MAX_READ = 64 * 1024 * 1024

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flags
    | getattr(os, "O_NONBLOCK", 0)  # a pipe would keep whoever opens it
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A file that is as it should be: its content, or where to send it from.

    Whoever got a ``stream`` closes it.
    """

    size: int
    sha256: str
    modified: datetime
    content: bytes | None
    stream: BinaryIO | None


def open_stored(file: StoredFile) -> OpenFile:
    """Open a file of the mirror. Blocks for as long as the disk takes.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: ``not-as-verified`` if it is not a regular file of the size, or the hash, that it should have.
    """
    try:
        descriptor = os.open(file.path, _FLAGS)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:  # a link (EMLINK on BSD), a socket or a pipe
            raise _not_as_verified(file, "it is no regular file") from error
        raise
    with ExitStack() as undo:
        stream = undo.enter_context(open(descriptor, "rb", buffering=0))  # noqa: PTH123  (a descriptor)
        found = os.fstat(descriptor)
        _check(file, found)
        modified = datetime.fromtimestamp(int(found.st_mtime), UTC)
        if file.sha256 is not None and file.size is not None and file.size > SMALL:
            undo.pop_all()
            return OpenFile(size=file.size, sha256=file.sha256, modified=modified, content=None, stream=stream)
        content = _read(stream, file, found.st_size)
    sha256 = hashlib.sha256(content).hexdigest()
    if file.sha256 is not None and sha256 != file.sha256:
        raise _not_as_verified(file, "its bytes are others")
    return OpenFile(size=len(content), sha256=sha256, modified=modified, content=content, stream=None)


def _check(file: StoredFile, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _not_as_verified(file, "it is no regular file")
    if file.size is not None and found.st_size != file.size:
        raise _not_as_verified(file, f"it has {found.st_size} bytes instead of {file.size}")


def _read(stream: BinaryIO, file: StoredFile, size: int) -> bytes:
    if size > MAX_READ:
        raise _not_as_verified(file, f"it has {size} bytes")
    content = bytearray()
    while piece := stream.read(max(1, size - len(content) + 1)):
        content += piece
        if len(content) > MAX_READ:
            raise _not_as_verified(file, "it grows")
    return bytes(content)


def _not_as_verified(file: StoredFile, what: str) -> IntegrityError:
    return IntegrityError(
        "not-as-verified",
        f"{file.path} is not what was verified: {what}",
        hint="pytorch-offline verify --repair checks all files and fetches bad ones again",
    )
