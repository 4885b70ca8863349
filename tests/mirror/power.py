"""A disk of which only what was synced survives, and one whose fsync fails as Linux's does.

Two ways of losing power, between which every file system lies. *Early*: names are as they were at that moment, and
bytes are those that were synced, with zeros where others had been written since. *Late*: only names that were in a
directory when it was synced are there, each with the bytes that were synced. ``python -m tests.mirror.power`` cuts
the power at every step of a fetch, over one connection and over many; the suite cuts it at some.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from pytorch_offline.mirror import download, flow, spans
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.partial import Interval
from pytorch_offline.mirror.sidecar import parse_partial
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.wheels import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHEELS = (
    sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 300_000),
    sized_wheel("whl/sympy-1.2-py3-none-any.whl", 20_000, seed=1),
)
OFTEN = Interval(size=1, seconds=0.0)


class PowerLost(BaseException):
    """The machine is off: nothing after this happens, and no handler may tidy up."""


class SteppingDisk(Disk):
    """Counts its steps, and calls ``before`` with the number, the kind and the path of each."""

    def __init__(self, before: Callable[[int, str, Path], None] = lambda *_: None) -> None:
        self.steps = 0
        self.kinds: Counter[str] = Counter()
        self._before = before
        self._counting = threading.RLock()

    def _step(self, kind: str, path: Path) -> None:
        with self._counting:
            self.steps += 1
            self.kinds[kind] += 1
            self._before(self.steps, kind, path)

    def write(self, path: Path, body: bytes) -> None:
        """Write, then sync: the two may be cut apart."""
        path.write_bytes(body)
        self._step("write", path)
        self.synced(path)

    def append(self, path: Path, body: bytes) -> None:
        """Append, then sync."""
        with path.open("ab") as file:
            file.write(body)
        self._step("append", path)
        self.synced(path)

    def sync(self, path: Path) -> None:
        """Sync what others wrote."""
        self._step("sync", path)
        self.synced(path)

    def sync_directory(self, path: Path) -> None:
        """Sync names."""
        self._step("sync directory", path)
        self.synced_directory(path)

    def make_directory(self, path: Path) -> None:
        """Make a directory."""
        self._step("make directory", path)
        super().make_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        """Rename."""
        self._step("replace", target)
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> bool:
        """Link."""
        self._step("link", target)
        return super().link(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        self._step("remove", path)
        super().remove(path)

    def remove_directory(self, path: Path) -> None:
        """Remove a directory."""
        self._step("remove directory", path)
        super().remove_directory(path)

    def synced(self, path: Path) -> None:
        """Note that a file's bytes are safe."""

    def synced_directory(self, path: Path) -> None:
        """Note that a directory's names are safe."""


class VolatileDisk(SteppingDisk):
    """Loses the power before step ``fatal``; ``early`` and ``late`` are then what is found when it is back."""

    def __init__(self, root: Path, fatal: int) -> None:
        super().__init__(self._lose)
        self.early: dict[str, bytes] = {}
        self.late: dict[str, bytes] = {}
        self.lost = False
        self._root = root
        self._fatal = fatal
        self._bytes: dict[int, bytes] = {}  # by inode, as synced
        self._names: dict[Path, dict[str, int | None]] = {}  # by directory, as synced; None for a directory
        self._held = ExitStack()  # every inode that is spoken of stays open, so that no other file gets its number

    def close(self) -> None:
        """Let the inodes go."""
        self._held.close()

    def synced(self, path: Path) -> None:
        """Note that a file's bytes are safe."""
        with self._counting:
            self._bytes[self._inode(path)] = path.read_bytes()

    def synced_directory(self, path: Path) -> None:
        """Note that a directory's names are safe."""
        with self._counting:
            self._names[path] = {
                entry.name: None if entry.is_dir() else self._inode(Path(entry.path)) for entry in os.scandir(path)
            }

    def _inode(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY)
        self._held.callback(os.close, descriptor)
        return os.fstat(descriptor).st_ino

    def _lose(self, step: int, kind: str, path: Path) -> None:
        del kind, path
        if step == self._fatal:
            self.lost = True
            self.early = dict(self._found_early())
            self.late = dict(self._found_late(self._root))
        if self.lost:
            raise PowerLost

    def _found_early(self) -> Iterator[tuple[str, bytes]]:
        for path in self._root.rglob("*"):
            if path.is_file():
                safe, size = self._bytes.get(path.stat().st_ino, b""), path.stat().st_size
                yield path.relative_to(self._root).as_posix(), safe[:size].ljust(size, b"\0")

    def _found_late(self, directory: Path) -> Iterator[tuple[str, bytes]]:
        for name, inode in self._names.get(directory, {}).items():
            path = directory / name
            if inode is None:
                yield from self._found_late(path)
            else:
                yield path.relative_to(self._root).as_posix(), self._bytes.get(inode, b"")


class FailingDisk(SteppingDisk):
    """One step of a kind fails, and what it should have made safe is gone, as after a failed fsync on Linux.

    It is the first for which ``when`` holds, of its number among its kind and its path.

    The pages are marked clean then, so that the next fsync succeeds without them (the PostgreSQL people's "fsyncgate");
    reading may give the new bytes for a while yet. ``forget`` lets them go, as happens when memory is wanted.
    """

    def __init__(self, kind: str, when: Callable[[int, Path], bool], code: int = errno.EIO) -> None:
        super().__init__(self._fail)
        self.failed_at: Path | None = None
        self._kind = kind
        self._when = when
        self._code = code
        self._safe: dict[Path, bytes] = {}

    def synced(self, path: Path) -> None:
        """Note that a file's bytes are safe: but not those that a failed fsync has dropped."""
        if path != self.failed_at:
            self._safe[path] = path.read_bytes()

    def forget(self) -> None:
        """Put zeros where bytes were that no fsync ever brought to the disk."""
        if self.failed_at is not None and self.failed_at.is_file():
            size = self.failed_at.stat().st_size
            self.failed_at.write_bytes(self._safe.get(self.failed_at, b"")[:size].ljust(size, b"\0"))

    def _fail(self, step: int, kind: str, path: Path) -> None:
        del step
        if self.failed_at is None and kind == self._kind and self._when(self.kinds[kind], path):
            self.failed_at = path
            raise OSError(self._code, os.strerror(self._code), str(path))


def bring(root: Path, server: Loopback, *, disk: Disk | None = None, connections: int = 1) -> int:
    """Fetch the wheels into a mirror, saving as often as can be; say how many bytes came."""
    wanted = [wheel.wanted(urls=(server.url(f"/{wheel.path}"),)) for wheel in WHEELS]
    retry = RetryPolicy(tries=4, first_wait=0.001, longest_wait=0.002)
    with Http(timeouts=Timeouts(connect=5.0, read=5.0)) as http:
        report = fetch_files(
            Mirror(root, disk=disk),
            wanted,
            http,
            retry=retry,
            now=now,
            jobs=1 if connections == 1 else 4,
            interval=OFTEN,
            connections=connections,
        )
    return report.bytes_downloaded


def serve(server: Loopback, *, connections: int) -> None:
    """Serve the wheels, with breaks and a restart; slowly where more connections should be called."""
    for wheel in WHEELS:
        server.put(f"/{wheel.path}", wheel.body)
    path = f"/{WHEELS[0].path}"
    server.faults[path].clear()
    server.always.clear()
    if connections > 1:
        server.always[path] = Fault(bytes_per_second=2_000_000)
    else:
        server.fail(path, Fault(truncate_at=90_000), Fault(truncate_at=90_000, ignore_range=True))
        server.fail(path, Fault(truncate_at=90_000))


def many_connections() -> ExitStack:
    """Make files of this size worth several connections."""
    stack = ExitStack()
    for module, name, value in (
        (spans, "SHORTEST_BLOCK", 1 << 16),
        (spans, "LONGEST_BLOCK", 1 << 16),
        (spans, "WORTH_SHARING", 1 << 15),
        (download, "WORTH_HELPING", 1 << 16),
        (flow, "WINDOW", 0.01),
    ):
        stack.enter_context(mock.patch.object(module, name, value))
    return stack


def problems(root: Path) -> list[str]:
    """Say what is wrong with what was found after a power cut."""
    found = []
    by_hash = {wheel.sha256: wheel for wheel in WHEELS}
    for wheel in WHEELS:
        place = root / wheel.path
        if place.exists() and place.read_bytes() != wheel.body:
            found.append(f"{wheel.path} is bad, and shows")
    for sidecar in root.glob(".state/partial/*.part.json"):
        part = sidecar.with_suffix("")
        partial = parse_partial(sidecar.read_text())
        if partial is None or not part.exists() or part.stat().st_size < partial.end:
            continue  # nobody believes it
        body = part.read_bytes()
        for start, stop in ((0, partial.completed), *partial.ahead):
            if body[start:stop] != by_hash[part.stem].body[start:stop]:
                found.append(f"a sidecar vouches for bytes {start}-{stop} that are not there")
    return found


def leftovers(root: Path) -> set[str]:
    """Say what a mirror's private directory holds beside what stays: the lock, and sums of admitted files' blocks."""
    state = root / ".state"
    found = {path.relative_to(state).as_posix() for path in state.rglob("*")}
    return {
        path for path in found - {"lock", "partial", "temporary"} if path.split("/")[0] not in {"blocks", "milestones"}
    }


def lay_out(files: dict[str, bytes], root: Path) -> None:
    """Make a tree of files."""
    for name, body in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def left_by_cut(disk: VolatileDisk, work: Callable[[], object], scratch: Path) -> dict[str, Path]:
    """Work until the power is cut, and lay out what may be on the disk then, by name; nothing if it never was cut."""
    try:
        work()
    except PowerLost:
        pass
    finally:
        disk.close()
    if not disk.lost:
        return {}
    left = {"early": disk.early, "late": disk.late}
    for name, files in left.items():
        (scratch / name).mkdir()
        lay_out(files, scratch / name)
    return {name: scratch / name for name in left}


def cut(root: Path, server: Loopback, *, fatal: int, connections: int) -> tuple[bool, list[str]]:
    """Cut the power at one step, and let the next run finish; say whether it was reached, and what went wrong."""
    serve(server, connections=connections)
    disk = VolatileDisk(root / "mirror", fatal)
    after = left_by_cut(disk, lambda: bring(root / "mirror", server, disk=disk, connections=connections), root)
    wrong = []
    for name, found in after.items():
        wrong += [f"step {fatal}, names {name}: {problem}" for problem in problems(found)]
        server.faults[f"/{WHEELS[0].path}"].clear()
        server.always.clear()
        bring(found, server)
        wrong += [f"step {fatal}, names {name}, next run: {problem}" for problem in problems(found)]
        if any(not (found / wheel.path).exists() for wheel in WHEELS):
            wrong.append(f"step {fatal}, names {name}: the next run did not finish")
    return disk.lost, wrong


def main() -> int:
    """Cut the power at every step; 1 if anything went wrong."""
    wrong: list[str] = []
    with Loopback() as server, mock.patch.object(os, "fsync", return_value=None), many_connections():
        for connections in (1, 16):
            cuts, reached = 0, True
            while reached:
                with tempfile.TemporaryDirectory(prefix="power-") as scratch:
                    reached, found = cut(Path(scratch), server, fatal=cuts + 1, connections=connections)
                cuts += reached
                wrong += found
            sys.stdout.write(f"{connections} connections: {cuts} cuts, two ways each; wrong: {wrong}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
