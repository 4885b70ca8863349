"""A file on its way: its bytes on disk, the sidecar that vouches for them, its hash taken as it comes.

Theory of operation. The thread that reads the network writes each piece and hands it to a second thread for hashing:
hashlib lets other threads run, so that a free core hides the cost (measured 1.8 times as fast as fetching and then
hashing). A third thread makes the bytes durable now and then, and only afterwards writes the sidecar that claims them.
Whatever moment a run is killed at, the sidecar speaks of bytes that are there; what came after them is cut off by the
next run. The state of the hash is not kept: the next run reads what it has.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass, replace
from functools import partial as bound
from io import FileIO
from queue import Queue
from typing import TYPE_CHECKING, Self

from pytorch_offline.mirror.disk import Disk, make_directories, write_atomically
from pytorch_offline.mirror.hashing import CHUNK
from pytorch_offline.mirror.sidecar import Partial, parse_partial, render_partial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDECAR_SUFFIX = ".json"
# Pieces of at most 1 MiB that may wait for the hash: enough to bridge a hiccup, little enough to keep memory flat.
_HASH_BACKLOG = 8
# From here on savings come as the bytes or the seconds double, up to the interval.
_FIRST = 1 << 20
_FIRST_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How much work a power cut or a kill may cost: bytes, or seconds on a slow line, between two savings.

    64 MiB is a tenth of a second of a fast disk's time, so that saving does not show in the transfer's. The first
    bytes that come are saved at once, and then whenever they, or the seconds, have doubled: who is cut off again and
    again keeps half of what came each time.
    """

    size: int = 64 * 1024 * 1024
    seconds: float = 5.0


def new_of(sidecar: Path) -> Path:
    """Name the sidecar that is about to take the place of another; a failure or a kill may leave it."""
    return sidecar.with_name(f"{sidecar.name}.new")


class PartialFile:
    """The bytes of one file, below a mirror's ``.state/partial``. One thread at a time may use it.

    Args:
        path: where the bytes lie; the sidecar has the same name with ``.json`` added.
        interval: how often to save.
        disk: the system calls; tests make them fail.
        clock: seconds, from any origin, that never go back.

    Every method may raise the ``OSError`` of the disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: Interval | None = None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.size = 0
        self._sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
        self._interval = interval or Interval()
        self._disk = disk or Disk()
        self._clock = clock
        self._hash = hashlib.sha256()
        self._stopping = threading.Event()
        self._unsaved = 0
        self._saved = 0  # since it was opened
        self._end = 0  # of what was placed beyond the first gap
        self._saved_at = self._opened_at = clock()
        make_directories(self._disk, path.parent)
        self._file = _open(path, "r+b" if path.exists() else "w+b")
        self._hashing = _Worker(f"hash {path.name}", backlog=_HASH_BACKLOG)
        self._saving = _Worker(f"save {path.name}", backlog=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, finishing a saving that has begun; the bytes and the sidecar stay."""
        self._stopping.set()
        self._hashing.stop()
        self._saving.stop()
        self._file.close()

    @property
    def unsaved(self) -> int:
        """How many bytes no sidecar vouches for yet."""
        return self._unsaved

    def resume(self) -> Partial | None:
        """Find what an earlier run vouched for; None where there is nothing that can be trusted."""
        try:
            partial = parse_partial(self._sidecar.read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        if partial is None or os.fstat(self._file.fileno()).st_size < partial.end:
            return None
        return partial

    def keep(self, size: int, end: int = 0) -> None:
        """Go on after the first ``size`` bytes of an earlier run; what lies after them and after ``end`` is dropped."""
        self._end = end
        self._file.truncate(max(size, end))
        self._file.seek(size)
        self.size, self._unsaved = size, 0
        self._hash = hashlib.sha256()
        self._hashing.do(bound(self._hash_span, 0, size))

    def empty(self) -> None:
        """Start from nothing. The sidecar goes first, durably: it must never vouch for other bytes than it saw."""
        self._saving.finish()
        self._hashing.finish()
        if self._sidecar.exists():
            self._disk.remove(self._sidecar)
            self._disk.sync_directory(self._sidecar.parent)
        self._file.truncate(0)
        self._file.seek(0)
        self.size = self._saved = self._unsaved = self._end = 0
        self._hash = hashlib.sha256()

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append a piece."""
        self._put(piece)
        self.size += len(piece)
        self._unsaved += len(piece)
        self._hashing.do(bound(self._hash.update, piece))

    def place(self, position: int, piece: bytes | bytearray | memoryview, size: int) -> None:
        """Write a piece anywhere; with it, the first ``size`` bytes are there.

        What it joins to the start is read back to be hashed, while the system still has it in memory.
        """
        if position == self.size:
            self.write(piece)
        else:
            self._file.seek(position)
            self._put(piece)
            self._file.seek(self.size)
            self._end = max(self._end, position + len(piece))
            self._unsaved += len(piece)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Note that the first ``size`` bytes are there: what follows was placed before."""
        if size > self.size:
            self._hashing.do(bound(self._hash_span, self.size, size))
            self.size = size
            self._file.seek(size)

    def save_now_and_then(self, partial: Partial) -> None:
        """Save in the background, as far as ``size``, if enough has come since and the last saving is over."""
        size = min(self._interval.size, max(self._saved, _FIRST)) if self._saved else 1
        seconds = min(self._interval.seconds, max(self._saved_at - self._opened_at, _FIRST_SECONDS))
        due = self.unsaved >= size or self._clock() - self._saved_at >= seconds
        if due and self._saving.idle and self.unsaved:
            self._begin_saving(partial)

    def save(self, partial: Partial) -> None:
        """Save before returning, as far as ``size``."""
        self._saving.finish()
        if self.unsaved:
            self._begin_saving(partial)
            self._saving.finish()

    def vouch(self, partial: Partial) -> None:
        """Write the sidecar of bytes that were put here by others."""
        self._saving.finish()
        self._save(partial)

    def sha256(self) -> str:
        """Give the hash of all bytes, lower-case hex, as soon as it is known.

        No saving is under way then: whoever asks is about to move the bytes elsewhere.
        """
        self._saving.finish()
        self._hashing.finish()
        return self._hash.hexdigest()

    def forget(self) -> None:
        """Remove the sidecar, once the bytes have gone elsewhere."""
        self._saving.finish()
        self._disk.remove(self._sidecar)

    def reopen(self) -> None:
        """Begin a new, empty file, after the old one was moved away."""
        self.forget()
        self._file.close()
        self._file = _open(self.path, "w+b")
        self.empty()

    def _put(self, piece: bytes | bytearray | memoryview) -> None:
        """Write a piece where the file stands."""
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            # A full disk most likely: give back what does not count, so that the sidecar still finds room.
            self._file.truncate(max(self.size, self._end))
            raise

    def _begin_saving(self, partial: Partial) -> None:
        self._saved, self._unsaved, self._saved_at = self._saved + self._unsaved, 0, self._clock()
        self._saving.do(bound(self._save, replace(partial, completed=self.size)))

    def _save(self, partial: Partial) -> None:
        self._disk.sync(self.path)
        body = render_partial(partial).encode()
        write_atomically(self._disk, self._sidecar, body, temporary=new_of(self._sidecar))

    def _hash_span(self, start: int, stop: int) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop and not self._stopping.is_set():
                piece = file.read(min(CHUNK, stop - start))
                if not piece:
                    raise OSError(f"{self.path} became shorter while it was read")
                self._hash.update(piece)
                start += len(piece)


class _Worker:
    """A thread that does jobs in order; what one of them raises comes out of the next call."""

    def __init__(self, name: str, *, backlog: int) -> None:
        self._jobs: Queue[Callable[[], None] | None] = Queue(backlog)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether all jobs are done."""
        return self._jobs.unfinished_tasks == 0

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job, waiting for room."""
        self._raise()
        self._jobs.put(job)

    def finish(self) -> None:
        """Wait until all jobs are done."""
        self._jobs.join()
        self._raise()

    def stop(self) -> None:
        """Do what is queued, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._failure is None:
                    job()
            except BaseException as error:  # noqa: BLE001  (raised again in the thread that gives the jobs)
                self._failure = error
            finally:
                self._jobs.task_done()


def _open(path: Path, mode: str) -> FileIO:
    """Open a file for writing without a buffer of our own: what ``write`` took, a kill cannot take back."""
    return FileIO(path, mode)
