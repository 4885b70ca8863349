"""Whether the rest of a plan fits on the mirror's disk."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

from pytorch_offline.errors import UpstreamError
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

# For what comes with the wheels: metadata, index pages, the manifest. A mirror of hundreds of files needs a few MiB.
MARGIN = 16 * 1024 * 1024


def free_bytes(path: Path) -> int:
    """Ask how many bytes may still be written to the file system of a directory."""
    return shutil.disk_usage(path).free


class Room:
    """Keeps count of the bytes still to come, and compares them with what is free. Safe from many threads.

    Args:
        root: a directory on the disk in question.
        free: asks the disk.
    """

    def __init__(self, root: Path, *, free: Callable[[Path], int] = free_bytes) -> None:
        self._root = root
        self._free = free
        self._lock = threading.Lock()
        self._missing: dict[Hashable, int] = {}

    def expect(self, key: Hashable, missing: int) -> None:
        """Note how many bytes of a file are still to come."""
        with self._lock:
            self._missing[key] = missing

    def learn(self, key: Hashable, missing: int) -> None:
        """Note it, and check at once if that is more than was expected."""
        with self._lock:
            news = missing > self._missing.get(key, 0)
            self._missing[key] = missing
        if news:
            self.check()

    def took(self, key: Hashable, count: int) -> None:
        """Note that ``count`` of the bytes have been written."""
        with self._lock:
            self._missing[key] = max(0, self._missing.get(key, 0) - count)

    def check(self) -> None:
        """Compare.

        Raises:
            UpstreamError: ``disk-full`` if the rest does not fit.
        """
        facts = self.facts()
        missing, free = facts["bytes to come"], facts["bytes free"]
        if missing == 0 or missing + MARGIN <= free:
            return
        raise UpstreamError(
            "disk-full",
            f"{render_size(missing)} are still to come, but the disk that holds {self._root} has only "
            f"{render_size(free)} free",
            facts={"mirror": str(self._root), **facts, "bytes kept in reserve": MARGIN},
            hint=f"make {render_size(missing + MARGIN - free)} of room, or put the mirror elsewhere with --mirror",
        )

    def facts(self) -> dict[str, int]:
        """Say how many bytes are still to come and how many are free, for a message."""
        with self._lock:
            missing = sum(self._missing.values())
        return {"bytes to come": missing, "bytes free": self._free(self._root)}
