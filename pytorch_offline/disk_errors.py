"""What the operating system says of a disk, as our errors.

Databases and libraries often swallow which of these it was; ``ask_disk`` finds out by writing a file beside.
"""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The codes of errors that the next file or page would meet again.
DISK_CODES = frozenset({"disk-full", "disk-failed", "file-too-large"})

# A disk, or a quota on it, has no room left.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# What a file system says when it or its medium is lost, and not one file refused: I/O errors, made read-only because
# of them (ext4's errors=remount-ro), damaged (EUCLEAN), unplugged, a network share or a FUSE server that is gone.
# Not every system knows each.
_LOST = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EROFS", "EUCLEAN", "ENODEV", "ENXIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN")
    if hasattr(errno, name)
)
# As much as a page of a database and its log take: a quota may leave room for an empty file and for no more.
_PROBE = 65536
_AGAIN = "make room and run the same command again; it continues where it stopped"


def disk_error(error: OSError, root: Path, *, called: str = "mirror") -> PytorchOfflineError:
    """Make what the operating system said into ours; ``called`` is what ``root`` is to the user.

    The codes are ``disk-full`` (no room, no inodes or no quota left), ``file-too-large`` for its file system or for
    the limit of the process, ``mirror-not-writable``, and ``disk-failed`` for what else went wrong.
    """
    facts = {called: str(root), "reason": error.strerror or str(error)}
    if error.filename is not None:
        facts["file"] = os.fsdecode(error.filename)
    if error.errno in FULL:
        quota = " for this user's quota" if error.errno == errno.EDQUOT else ""
        return UpstreamError("disk-full", f"the disk that holds {root} is full{quota}", facts=facts, hint=_AGAIN)
    if error.errno == errno.EFBIG:
        return file_too_large(root, facts)
    if error.errno in _NOT_WRITABLE or isinstance(error, (FileExistsError, NotADirectoryError)):
        may_not = "may not be read or changed by this user" if error.errno == errno.EACCES else "cannot be written"
        return UsageError("mirror-not-writable", f"the {called} {root} {may_not}", facts=facts)
    return UpstreamError("disk-failed", f"the disk that holds {root} failed", facts=facts)


def is_of_whole_disk(error: PytorchOfflineError) -> bool:
    """Say whether the next file would meet the same: the disk is full or lost, and not one name or size refused."""
    if error.code not in {"disk-failed", "mirror-not-writable"}:  # a network has some of these numbers, too
        return error.code == "disk-full"
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _LOST


@contextmanager
def disk_errors(root: Path, *, called: str = "mirror") -> Iterator[None]:
    """Turn what the operating system says of a disk into our errors.

    Raises:
        UpstreamError: ``disk-full`` when there is no room or no quota left, ``file-too-large``, ``disk-failed`` for
            what else went wrong.
        UsageError: ``mirror-not-writable`` when the directory may not be changed.
    """
    try:
        yield
    except PytorchOfflineError:
        raise
    except OSError as error:
        raise disk_error(error, root, called=called) from error


def file_too_large(root: Path, facts: dict[str, str]) -> UpstreamError:
    """Say that a file cannot be stored because of its size alone."""
    return UpstreamError(
        "file-too-large",
        f"a file is larger than {root} can hold: its file system, or a limit of this process (ulimit -f), ends it",
        facts=facts,
        hint="FAT32 holds files below 4 GiB; format the medium as exFAT, NTFS or ext4, or put the mirror elsewhere "
        "with --mirror",
    )


def ask_disk(directory: Path, *, size: int = _PROBE, durable: bool = True) -> OSError | None:
    """Find out what keeps files from being written to a directory, by writing one; None if nothing does.

    Args:
        directory: where.
        size: how many bytes.
        durable: whether to wait for the disk; without that, only what is reserved at once is found to be missing.
    """
    probe = directory / f".probe-{uuid.uuid4().hex}"
    try:
        with probe.open("xb") as file:
            file.write(bytes(size))
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        return error
    finally:
        with suppress(OSError):  # the directory may have become read-only meanwhile
            probe.unlink(missing_ok=True)
    return None
