"""A directory as destination, on another file system or a share: every file is whole under its name, and durable."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors, file_too_large
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.mirror.disk import Disk, make_directories
from pytorch_offline.mirror.generation import sweep
from pytorch_offline.mirror.hashing import read_sha256
from pytorch_offline.mirror.layout import LOCKS, ROOT, STATE_NAME
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.publishing.destination import busy
from pytorch_offline.mirror.publishing.model import Document, Found
from pytorch_offline.mirror.room import MARGIN, free_bytes, largest_file
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytorch_offline.mirror.publishing.model import PublicFile

# Large enough that a share's round trips do not count, small enough for many in memory.
_PIECE = 8 * 1024 * 1024
# FAT keeps times to two seconds; rsync's --modify-window is for the same.
_SAME_TIME_NS = 2_000_000_000


class DirectoryDestination:
    """A directory, made if its parent is there.

    What is on its way lies in ``.state`` beside the tree, where a mirror has such things too: so a web server that
    hides the one hides the other, and what was published can be taken as a mirror.

    Args:
        root: the directory.
        disk: the system calls that change it; tests make them fail.
        patience: how many seconds to wait for another run that changes it; None for as long as it takes.
        say: told in one sentence what is waited for.
    """

    def __init__(
        self,
        root: Path,
        *,
        disk: Disk | None = None,
        patience: float | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.root = root
        self._state = root / STATE_NAME
        self._coming = self._state / "publishing"
        self.disk = disk or Disk()
        self._patience = patience
        self._say = say
        self._mutex = threading.Lock()
        self._names_given = 0
        self._known: set[Path] = set()  # directories that are there
        self._coming_files: list[_Coming] = []

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.root)

    @property
    def address(self) -> str | None:
        """Whoever serves it decides."""
        return None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Take the lock that commands which change a mirror take, where the file system keeps locks."""
        with self.errors():
            make_directories(self.disk, self._state)
            self._refuse_mirrors()
            lock, locked = MirrorLock(self.root, self._state / "lock", work="publish", patience=self._patience), True
            try:
                lock.acquire(self._say)
            except UsageError as error:
                if error.code != "mirror-not-lockable":
                    raise
                self._say(f"the file system of {self.root} keeps no locks: see to it that nobody else changes it")
                locked = False
            try:
                sweep(self.disk, self._coming)
                make_directories(self.disk, self._coming)
                yield
            finally:
                for coming in self._coming_files:
                    coming.close()
                with suppress(OSError):  # the next run does it
                    sweep(self.disk, self._coming)
                if locked:
                    lock.release()

    def _refuse_mirrors(self) -> None:
        """Keep off a mirror that others fetch into: its manifest would be written over."""
        for mark in ("catalogue.sqlite", "admitted.jsonl", "journal.json"):
            if (self._state / mark).exists():
                raise UsageError(
                    "bad-destination",
                    f"{self.root} is a mirror of its own, which publishing would write over",
                    facts={"its own": str(self._state / mark)},
                    hint="publish to an empty directory",
                )

    def list_files(self) -> Mapping[PurePosixPath, Found]:
        """List what lies below ``whl`` and ``locks``; no links are followed out of it."""
        found = {}
        with self.errors():
            for top in (ROOT, LOCKS):
                for directory, _, names in os.walk(self.root / top):
                    for name in names:
                        path = Path(directory) / name
                        with suppress(FileNotFoundError):
                            status = path.stat()
                            place = PurePosixPath(path.relative_to(self.root).as_posix())
                            found[place] = Found(size=status.st_size, modified_ns=status.st_mtime_ns)
        return found

    def read(self, path: PurePosixPath) -> Document | None:
        """Read a small file; its version is its bytes."""
        with self.errors():
            try:
                return Document(body=(self.root / path).read_bytes(), version="")
            except FileNotFoundError:
                return None

    def holds(self, file: PublicFile, found: Found, *, body: bytes | None = None, reread: bool = False) -> bool:
        """Compare bytes, or believe the time that we gave the copy: it got its name only when it was whole."""
        with self.errors():
            if body is not None:
                return (self.root / file.path).read_bytes() == body
            if not reread and _same_time(file.modified_ns, found.modified_ns):
                return True
            return read_sha256(self.root / file.path)[0] == file.sha256

    def expect(self, files: Iterable[PublicFile]) -> None:
        """Ask the file system for room, before the first of many GB is sent.

        Raises:
            UpstreamError: ``disk-full``, ``file-too-large``.
        """
        sizes = [file.size for file in files]
        with self.errors():
            free, longest = free_bytes(self.root), largest_file(self.root)
        facts = {"destination": str(self.root)}
        if longest is not None and max(sizes, default=0) > longest:
            raise file_too_large(self.root, facts)
        if sizes and sum(sizes) + MARGIN > free:
            raise UpstreamError(
                "disk-full",
                f"{self.root} has no room for what is to be sent",
                facts=facts | {"needed": render_size(sum(sizes) + MARGIN), "free": render_size(free)},
                hint="make room there and run the same command again; nothing was sent",
            )

    def piece_size(self, size: int) -> int:
        """Give the one size of pieces."""
        del size
        return _PIECE

    def put(self, file: PublicFile, body: bytes) -> None:
        """Write a file to a temporary name, durably, and rename it."""
        with self.errors():
            temporary = self._temporary_name()
            self.disk.write(temporary, body)
            self.give_name(temporary, file)

    def receive(self, file: PublicFile) -> _Coming:
        """Begin a large file; a run that was cut off is not continued within a file."""
        with self.errors():
            coming = _Coming(self, file, self._temporary_name())
            self._coming_files.append(coming)
            return coming

    def copy(self, there: PurePosixPath, file: PublicFile) -> bool:
        """Give a file a second name, where the file system has such."""
        with self.errors():
            temporary = self._temporary_name()
            if not self.disk.link(self.root / there, temporary):
                return False
            self.give_name(temporary, file, linked=True)
            return True

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, and directories that are empty then."""
        with self.errors():
            self.disk.remove(self.root / path)
            for directory in (self.root / path).parents:
                if not directory.is_dir():
                    continue
                if directory == self.root or any(directory.iterdir()):
                    self.disk.sync_directory(directory)
                    return
                self.disk.remove_directory(directory)
                self._known.discard(directory)

    def sweep(self) -> int:
        """Do nothing: temporary files went when the lock was taken."""
        return 0

    def swap(self, file: PublicFile, body: bytes, *, over: Document | None) -> None:
        """Write a file if it still is what was read; the lock, where there is one, keeps others away meanwhile."""
        now = self.read(file.path)
        if (None if now is None else now.body) != (None if over is None else over.body):
            raise busy(self.name)
        self.put(file, body)

    def give_name(self, temporary: Path, file: PublicFile, *, linked: bool = False) -> None:
        """Give a durable file below a temporary name its own, durably."""
        target = self.root / file.path
        if not linked and file.modified_ns is not None:
            with suppress(OSError):  # a share that keeps its own times is asked for the bytes next time
                os.utime(temporary, ns=(file.modified_ns, file.modified_ns))
        with self._mutex:
            if target.parent not in self._known:
                make_directories(self.disk, target.parent)
                self._known.add(target.parent)
        self.disk.replace(temporary, target)
        if linked:
            self.disk.remove(temporary)  # renaming one name of a file over another one of it does nothing (POSIX)
        self.disk.sync_directory(target.parent)

    def _temporary_name(self) -> Path:
        with self._mutex:
            self._names_given += 1
            return self._coming / f"{os.getpid()}-{self._names_given}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the operating system says into our errors."""
        with disk_errors(self.root, called="destination"):
            yield


class _Coming:
    """A large file, written at its pieces' places."""

    def __init__(self, destination: DirectoryDestination, file: PublicFile, temporary: Path) -> None:
        self._destination = destination
        self._file = file
        self._temporary = temporary
        self._stream = temporary.open("w+b", buffering=0)
        self._lock = threading.Lock()

    def put(self, number: int, offset: int, piece: bytes) -> int:
        """Write a piece."""
        del number
        with self._destination.errors(), self._lock:
            self._stream.seek(offset)
            left = memoryview(piece)
            while left:
                left = left[self._stream.write(left) or 0 :]
        return len(piece)

    def finish(self) -> None:
        """Make it durable and give it its name."""
        with self._destination.errors():
            self._stream.close()
            self._destination.disk.sync(self._temporary)
            self._destination.give_name(self._temporary, self._file)

    def close(self) -> None:
        """Let go of it."""
        self._stream.close()

    def abandon(self) -> None:
        """Remove it."""
        with self._destination.errors():
            self._stream.close()
            self._destination.disk.remove(self._temporary)


def _same_time(first: int | None, second: int | None) -> bool:
    return first is not None and second is not None and abs(first - second) <= _SAME_TIME_NS
