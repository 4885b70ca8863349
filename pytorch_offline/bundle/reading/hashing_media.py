"""Many files hashed at once: as many as there are cores, but from a disc or a spinning disk one after another.

The hash frees the interpreter's lock, so that threads are as quick as processes. A device that turns is quickest when
one reader goes through it; but much that calls itself rotational does not turn (virtual disks), and what is in the page
cache is on no device. So such a device begins with one reader and gets more as soon as it is quicker than anything
that turns.
"""

import hashlib
import os
import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from pytorch_offline.bundle.reading.media import READ_BYTES, FileStamp, open_regular, stamp_of

# Disks with two heads give about 520 MB/s; a Blu-ray drive 72 MB/s.
_QUICKER_THAN_TURNING = 600e6
# Speed is judged after so many bytes, which no drive's own memory holds.
_JUDGED_AFTER = 512 << 20


class Hashed(NamedTuple):
    """What reading a file gave; ``problem`` in the operating system's words where it could not be read to its end."""

    path: str
    sha256: str
    size: int
    stamp: Optional[FileStamp]
    problem: Optional[str]


def hash_file(path: str, told: Callable[[int], None], buffer: memoryview) -> Hashed:
    """Hash a file from end to end; its length is what was read, never what its directory says."""
    digest, size, stamp = hashlib.sha256(), 0, None
    try:
        with open_regular(path) as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while True:
                count: int = file.readinto(buffer)
                if not count:
                    break
                digest.update(buffer[:count])
                size += count
                told(count)
    except OSError as error:
        return Hashed(path, "", size, None, error.strerror or str(error))
    return Hashed(path, digest.hexdigest(), size, stamp, None)


def hash_files(paths: Sequence[str], done: Callable[[Hashed], None], told: Callable[[int], None], jobs: int) -> None:
    """Hash files, the largest first; ``done`` hears of each, one at a time, ``told`` of bytes as they are read.

    An exception of either ends the reading and is raised here.
    """
    queues = _by_device(paths)
    lock = threading.Condition()
    failures: List[BaseException] = []
    threads: List[threading.Thread] = []

    def work() -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        while True:
            with lock:
                queue = _next_queue(queues, lock)
                if queue is None or failures:
                    return
                path = queue.paths.pop(0)
                queue.readers += 1
            count = 0
            try:
                hashed = hash_file(path, told, buffer)
                count = hashed.size
                with lock:
                    done(hashed)
            except BaseException as error:  # noqa: BLE001 - raised where all threads have ended
                with lock:
                    failures.append(error)
            with lock:
                queue.took(count)
                queue.readers -= 1
                lock.notify_all()

    for _ in range(max(1, min(jobs, len(paths)))):
        thread = threading.Thread(target=work, daemon=True)
        threads.append(thread)
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class _Queue:
    """The files on one device that wait, and how many may be read at once."""

    def __init__(self, *, turns: bool) -> None:
        self.paths: List[str] = []
        self.readers = 0
        self._turns = turns
        self._bytes = 0
        self._began = time.monotonic()

    def free(self) -> bool:
        return bool(self.paths) and not (self._turns and self.readers)

    def took(self, count: int) -> None:
        self._bytes += count
        if self._turns and self._bytes >= _JUDGED_AFTER:
            self._turns = self._bytes / max(time.monotonic() - self._began, 1e-9) < _QUICKER_THAN_TURNING


def _next_queue(queues: Sequence[_Queue], lock: threading.Condition) -> Optional[_Queue]:
    while any(queue.paths for queue in queues):
        for queue in queues:
            if queue.free():
                return queue
        lock.wait()
    return None


def _by_device(paths: Sequence[str]) -> List[_Queue]:
    queues: Dict[int, _Queue] = {}
    sizes: Dict[str, int] = {}
    for path in paths:
        try:
            found = os.lstat(path)
        except OSError:
            found = os.lstat(os.sep)
        sizes[path] = found.st_size
        if found.st_dev not in queues:
            queues[found.st_dev] = _Queue(turns=_turns(found.st_dev))
        queues[found.st_dev].paths.append(path)
    for queue in queues.values():
        queue.paths.sort(key=lambda path: (-sizes[path], path))
    return list(queues.values())


def _turns(device: int) -> bool:
    """Whether Linux calls a device, or the one that it is a partition of, rotational."""
    if not hasattr(os, "major"):
        return False
    place = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    for name in ("queue/rotational", "../queue/rotational"):
        try:
            with open(os.path.join(place, name), encoding="ascii") as file:
                return file.read(1) == "1"
        except OSError:
            continue
    return False
