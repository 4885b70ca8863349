"""Small files that outlast a power cut: in place whole or not at all, and their names as durable as their bytes.

What a far side remembers is written so: the journal of a switch, which bundles it took, whom it trusts, what it proved.
"""

import errno
import os

# Where such files lie: below an environment's prefix, and below a mirror (``mirror/layout.py``: STATE_NAME).
ENVIRONMENT_FOLDER = os.path.join("share", "pytorch-offline")
MIRROR_FOLDER = ".state"
# What fsync of a directory may answer where that has no meaning: SMB, some FUSE file systems, old NFS, Windows.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


def write_whole(path: str, body: bytes) -> None:
    """Put a file in place, whole or not at all, and durably.

    Raises:
        OSError: what the disk said; the file is then what it was.
    """
    beside = f"{path}.{os.getpid()}.new"  # of this process: another one may write the same file
    if os.path.lexists(beside):
        os.unlink(beside)
    try:
        with open(beside, "xb") as file:  # and never through a link that lay there
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise
    sync_directory(os.path.dirname(os.path.abspath(path)))


def sync_directory(directory: str) -> None:
    """Make what a directory lists durable, where the system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:  # Windows opens no directories
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
