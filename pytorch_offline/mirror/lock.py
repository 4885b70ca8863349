"""The lock of a mirror: one process at a time changes it, and whoever waits hears for whom.

The operating system holds the lock (``flock``, or its like on Windows) and lets go of it when the process ends, however
it ends. What stands in the file is for people and decides nothing: a process number means something else in another
container, and a host's name may be that of several.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytorch_offline.errors import UsageError
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAUSE = 0.1
# Whoever has just got the lock writes its name at once; so long a waiting one gives it before it speaks.
_GRACE = 0.5
_MAX_LENGTH = 4096
# What a file system says that keeps no locks: NFS without its lock service, some FUSE file systems over object stores.
_CANNOT_LOCK = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who changes a mirror: what it does, which process, on which host, since when (ISO 8601 in UTC)."""

    work: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.work}, process {self.pid} on {self.host}, since {self.since}"


def render_holder(holder: Holder) -> bytes:
    """Write a holder down."""
    return json.dumps(asdict(holder)).encode()


def parse_holder(text: bytes) -> Holder | None:
    """Read a holder; None for anything else, such as the half of one."""
    try:
        row = json.loads(text)
        return Holder(work=str(row["work"]), pid=int(row["pid"]), host=str(row["host"]), since=str(row["since"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class MirrorLock:
    """The lock of the mirror at ``root``; ``path`` is its file. May be taken and let go by different threads.

    Args:
        root: for messages.
        path: the lock's file, in a directory that is there when the lock is taken.
        work: what this process does with the mirror, for whoever has to wait for it.
        patience: how many seconds to wait for another process; None for as long as it takes.
    """

    def __init__(self, root: Path, path: Path, *, work: str, patience: float | None = None) -> None:
        self._root = root
        self._path = path
        self._work = work
        self._patience = patience
        # Its stand-in for file systems without locks would judge by process numbers whether a lock is stale.
        self._lock = FileLock(path, thread_local=False, fallback_to_soft=False)

    def acquire(self, waiting: Callable[[str], None], *, wait: bool = True) -> None:
        """Take the lock.

        Args:
            waiting: told in one sentence who has to be waited for, once for each of them.
            wait: whether to wait at all.

        Raises:
            UsageError: ``mirror-busy`` if another process has it and does not let go in time; ``mirror-not-lockable``.
            OSError: what the disk said.
        """
        patience = self._patience if wait else 0.0
        began = time.monotonic()
        told: set[str] = set()
        while not self._took():
            waited = time.monotonic() - began
            holder = self._read()
            if patience is not None and waited >= patience:
                facts = {"mirror": str(self._root)} | ({} if holder is None else {"changed by": str(holder)})
                hint = "try again when it has ended; without --wait the command would wait for that"
                raise UsageError("mirror-busy", f"another run is changing {self._root}", facts=facts, hint=hint)
            who = "" if holder is None else f" ({holder})"
            if who not in told and (who or (waited >= _GRACE and not told)):
                told.add(who)
                waiting(f"another run is changing {self._root}{who}; waiting for it to end")
            time.sleep(_PAUSE if patience is None else min(_PAUSE, max(0.0, patience - waited)))
        self._write()

    def release(self) -> None:
        """Let go."""
        with suppress(OSError):
            os.truncate(self._path, 0)
        self._lock.release()

    def _took(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in _CANNOT_LOCK:
                raise
            raise UsageError(
                "mirror-not-lockable",
                f"the file system of {self._path.parent} keeps no locks, without which two runs could spoil the mirror",
                facts={"file": str(self._path), "reason": error.strerror or str(error)},
                hint=f"put the private directory on a local disk: a symbolic link will do for {self._path.parent}",
            ) from error
        return True

    def _write(self) -> None:
        """Say who we are, where that can be said: a full disk must not keep anybody from anything."""
        holder = Holder(
            work=self._work,
            pid=os.getpid(),
            host=socket.gethostname(),
            since=spell_moment(datetime.now(UTC)),
        )
        with suppress(OSError), self._path.open("r+b") as file:
            file.truncate()
            file.write(render_holder(holder))

    def _read(self) -> Holder | None:
        try:
            with self._path.open("rb") as file:
                return parse_holder(file.read(_MAX_LENGTH))
        except OSError:  # Windows lets nobody read what is locked
            return None
