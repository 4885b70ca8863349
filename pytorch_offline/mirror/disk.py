"""The system calls that change a mirror, and what their failures mean.

The recipe for a file that must be whole or absent is containerd's, as hauler has it (mirrors.md, section 4.2): write a
temporary file in the same file system, fsync it, rename it, fsync the directory, and bear a file system that cannot
fsync a directory. ``Disk`` is also the seam where a test makes any one call fail, or be the last one before a crash.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

# What fsync of a directory may answer where that has no meaning: SMB, some FUSE file systems, old NFS.
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})
# What link answers where it cannot: FAT and exFAT, some network file systems, or a file with too many names.
_CANNOT_LINK = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})

_COPY = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h


class Disk:
    """The changes that a mirror makes on disk. Each method is one step: done, or not done."""

    def write(self, path: Path, body: bytes) -> None:
        """Write a new file and make it durable; whoever sees its name may see a part of it."""
        with path.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())

    def append(self, path: Path, body: bytes) -> None:
        """Add to the end of a file and make it durable."""
        with path.open("ab") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())

    def sync(self, path: Path) -> None:
        """Make a file's bytes durable, whoever wrote them."""
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable, where the file system can."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:
            return  # Windows opens no directories, and keeps their entries in its journal
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise
        finally:
            os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Make one directory; its parent is there."""
        path.mkdir(exist_ok=True)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file, over whatever file has the new name; to another file system by way of a copy there."""
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _carry_over(source, target)

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where the file system cannot."""
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            return False
        return True

    def remove(self, path: Path) -> None:
        """Remove a file that may be gone already."""
        path.unlink(missing_ok=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()


def share_blocks(original: BinaryIO, copy: BinaryIO) -> bool:
    """Make an open file of the blocks of another one, where both lie on one file system that can; say whether it did.

    Unlike a hard link: a later change of either does not reach the other (ioctl_ficlone(2)).
    """
    if fcntl is None:
        return False
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
    except OSError:
        return False
    return True


def incoming_of(path: Path) -> Path:
    """Name the copy that a file is brought by from another file system."""
    return path.with_name(f".{path.name}.incoming")


def _carry_over(source: Path, target: Path) -> None:
    """Copy a file to another file system, durably and whole or not at all, and remove it here.

    A mount or a symbolic link within a mirror is the user's wish, and a bind mount or a subvolume of the same file
    system cannot be renamed into either.
    """
    incoming = incoming_of(target)
    try:
        with source.open("rb") as coming, incoming.open("wb") as file:
            shutil.copyfileobj(coming, file, _COPY)
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(target)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise
    source.unlink()


def make_directories(disk: Disk, *paths: Path) -> None:
    """Make directories and what is missing above them, each name durable before anything is put below it.

    Names in one directory are made durable together.
    """
    if not (missing := [path for path in dict.fromkeys(paths) if not path.is_dir()]):
        return
    make_directories(disk, *(path.parent for path in missing))
    missing = [path for path in missing if not path.is_dir()]  # one may be above another
    for path in missing:
        disk.make_directory(path)
    for parent in dict.fromkeys(path.parent for path in missing):
        disk.sync_directory(parent)


def write_atomically(disk: Disk, path: Path, body: bytes, *, temporary: Path) -> None:
    """Put a file in place, whole or not at all, by way of a temporary name in the same file system."""
    make_directories(disk, temporary.parent)
    make_directories(disk, path.parent)
    disk.write(temporary, body)
    disk.replace(temporary, path)
    disk.sync_directory(path.parent)
