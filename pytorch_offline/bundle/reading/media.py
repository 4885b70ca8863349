"""Directories that came from outside, read with care: what lies in them, and the bytes of what lies there.

Nothing here trusts what it meets: links lead nowhere but within the directories that were given, special files are not
opened, and depth, entries and bytes are bounded.
"""

import os
import stat
from io import FileIO
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.reading.names import is_dropping
from pytorch_offline.errors import UsageError

# A bundle is four directories deep (whl/<backend>/<file>), volumes one more; the rest is how people nest copies.
MAX_DEPTH = 8
# Every wheel that upstream ever published, mirrored with its pages, is a tenth of it.
MAX_ENTRIES = 1000000
# Large enough that neither the interpreter's lock nor a medium's head counts, small enough for the cache of a core.
READ_BYTES = 1 << 20


class Met(NamedTuple):
    """What lies in a directory.

    Args:
        folders: names of the directories from the given one down to it.
        name: its own name.
        path: where it is read; a link's own path where it is not followed.
        kind: ``file``, ``link`` (one that leads out), ``special`` or ``unreadable`` (a directory).
    """

    folders: Tuple[str, ...]
    name: str
    path: str
    kind: str


def walk_media(
    directory: str, within: Sequence[str], skipped: Sequence[str] = (), depth: int = MAX_DEPTH
) -> Iterator[Met]:
    """Go through a directory, sorted by name, without what file managers leave behind and without hidden directories.

    Args:
        directory: an absolute path without links.
        within: absolute paths without links; a link to a file below one of them is that file.
        skipped: names of directories, in lower case, that are not entered.
        depth: how many directories down.

    Raises:
        UsageError: ``too-many-files`` if it holds more than a bundle's directories ever do.
    """
    seen = 0
    waiting: List[Tuple[str, ...]] = [()]
    while waiting:
        folders = waiting.pop()
        place = os.path.join(directory, *folders)
        here = _list_directory(place, MAX_ENTRIES - seen)
        if here is None:
            yield Met(folders[:-1], folders[-1] if folders else "", place, "unreadable")
            continue
        seen += len(here)
        if seen > MAX_ENTRIES:
            raise UsageError(
                "too-many-files",
                f"{directory} holds more than {MAX_ENTRIES} files: it cannot be a bundle's directory",
                hint="name the directory of the bundle, or those of its volumes",
            )
        deeper: List[Tuple[str, ...]] = []
        for name, kind, path in here:
            if kind == "directory":
                if name[0] != "." and name.lower() not in skipped and len(folders) < depth:
                    deeper.append((*folders, name))
            elif kind == "link":
                target = os.path.realpath(path)
                inside = any(target.startswith(top.rstrip(os.sep) + os.sep) for top in within)
                if inside and os.path.isfile(target):
                    yield Met(folders, name, target, "file")
                elif not os.path.isdir(target):
                    yield Met(folders, name, path, kind)
            else:
                yield Met(folders, name, path, kind)
        waiting.extend(reversed(deeper))


def _list_directory(place: str, limit: int) -> Optional[List[Tuple[str, str, str]]]:
    """Give name, kind and path of what lies in a directory, at most one more than the limit; None if unreadable."""
    here: List[Tuple[str, str, str]] = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if not is_dropping(entry.name):
                    here.append((entry.name, _kind_of(entry), entry.path))
                    if len(here) > limit:
                        break
    except OSError:
        return None
    return sorted(here)


def _kind_of(entry: "os.DirEntry[str]") -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "file" if entry.is_file(follow_symlinks=False) else "special"


class FileStamp(NamedTuple):
    """What changes when a file is written to, as far as a file system tells."""

    size: int
    modified_ns: int
    inode: int


def read_stamp(path: str) -> Optional[FileStamp]:
    """Read the stamp of a regular file; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return stamp_of(found) if stat.S_ISREG(found.st_mode) else None


def stamp_of(found: os.stat_result) -> FileStamp:
    """Make a file's stamp of what its file system says."""
    return FileStamp(found.st_size, found.st_mtime_ns, found.st_ino)


def open_regular(path: str) -> FileIO:
    """Open a regular file to be read without a buffer of its own; nothing waits at a pipe, and no link is followed.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    try:
        _require_regular(path, descriptor)
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: str, descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(f"{path} is no regular file")


def read_regular(path: str, limit: int) -> bytes:
    """Read a regular file that is at most so large; of a larger one, one byte more than that."""
    with open_regular(path) as file:
        pieces: List[bytes] = []
        wanted = limit + 1
        while wanted > 0:
            piece = file.read(min(wanted, READ_BYTES))
            if not piece:
                break
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)
