"""Every call that changes a mirror's disk fails once, or from there on, with every errno; the next run finishes.

``python -m tests.mirror.failing_disk`` goes through all of it and counts; the suite takes a slice.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror import partial
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.partial import Interval
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import find_unlisted, verify_pages
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Loopback, sized_wheel
from tests.mirror.wheels import now, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import HasFileno

WHEELS = (
    sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 60_000),
    sized_wheel("whl/cpu/torchvision-0.9+cpu-py3-none-any.whl", 30_000, seed=1),
    sized_wheel("whl/sympy-1.2-py3-none-any.whl", 10_000, seed=2),
)
# What each errno becomes, and with which exit code.
MEANINGS = {
    errno.ENOSPC: ("disk-full", 3),
    errno.EDQUOT: ("disk-full", 3),
    errno.EFBIG: ("file-too-large", 3),
    errno.EIO: ("disk-failed", 3),
    errno.EROFS: ("mirror-not-writable", 2),
    errno.EACCES: ("mirror-not-writable", 2),
}
DONE, NOT_REACHED = "done all the same", "not reached"
_QUICK = RetryPolicy(tries=2, first_wait=0.01, longest_wait=0.02)
_OFTEN = Interval(size=20_000, seconds=1e9)


def refusal(number: int) -> Callable[[Path], OSError]:
    """Make what the system says with an errno."""
    return lambda path: OSError(number, os.strerror(number), str(path))


class FailingDisk(Disk):
    """Fails at the call of a number, counted from 1 (0: never), and ``for_good`` at every later one too.

    Half of what it was to write is there then. Nothing is ever synced: nobody cuts the power.
    """

    def __init__(
        self,
        step: int = 0,
        failure: Callable[[Path], BaseException] = OSError,
        *,
        for_good: bool = True,
    ) -> None:
        self.steps = 0
        self.failed = 0
        self.failure = failure
        self._step = step
        self._for_good = for_good
        self._lock = threading.Lock()

    def fails(self) -> bool:
        with self._lock:
            self.steps += 1
            failing = self.steps >= self._step > 0 if self._for_good else self.steps == self._step
            self.failed += failing
            return failing

    def _next(self, path: Path) -> None:
        if self.fails():
            raise self.failure(path)

    def write(self, path: Path, body: bytes) -> None:
        if self.fails():
            path.write_bytes(body[: len(body) // 2])
            raise self.failure(path)
        path.write_bytes(body)

    def append(self, path: Path, body: bytes) -> None:
        failing = self.fails()
        with path.open("ab") as file:
            file.write(body[: len(body) // 2] if failing else body)
        if failing:
            raise self.failure(path)

    def sync(self, path: Path) -> None:
        self._next(path)

    def sync_directory(self, path: Path) -> None:
        self._next(path)

    def make_directory(self, path: Path) -> None:
        self._next(path)
        super().make_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        self._next(target)
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> bool:
        self._next(target)
        return super().link(source, target)

    def remove(self, path: Path) -> None:
        self._next(path)
        super().remove(path)

    def remove_directory(self, path: Path) -> None:
        self._next(path)
        super().remove_directory(path)


@contextmanager
def bytes_through(disk: FailingDisk) -> Iterator[None]:
    """Let the bytes of partial files pass the same counter: a failing write takes half of what it was given."""

    class File(io.FileIO):
        def write(self, piece: Any) -> int:  # noqa: ANN401  (whatever has bytes)
            view = memoryview(piece)
            if disk.fails():
                super().write(view[: len(view) // 2])
                raise disk.failure(Path(str(self.name)))
            return super().write(view)

    before = partial._open
    partial._open = File  # type: ignore[assignment]
    try:
        yield
    finally:
        partial._open = before


def serve() -> Loopback:
    server = Loopback()
    for wheel in WHEELS:
        server.put(f"/{wheel.path}", wheel.body)
    return server


def fetch(server: Loopback, root: Path, disk: Disk) -> int:
    wanted = [wheel.wanted(urls=(server.url(f"/{wheel.path}"),)) for wheel in WHEELS]
    with Http() as http:
        report = fetch_files(Mirror(root, disk=disk), wanted, http, jobs=1, now=now, retry=_QUICK, interval=_OFTEN)
    return report.bytes_downloaded


def whole(server: Loopback, root: Path) -> tuple[int, dict[str, bytes]]:
    """Count the calls of a fetch on a sound disk, and give the tree that it ends with."""
    disk = FailingDisk()
    with bytes_through(disk):
        fetch(server, root, disk)
    return disk.steps, tree(root)


def check(server: Loopback, root: Path, step: int, number: int, expected: dict[str, bytes], *, for_good: bool) -> str:
    """Let one call fail and run again; say how the first run ended."""
    disk = FailingDisk(step, refusal(number), for_good=for_good)
    try:
        with bytes_through(disk):
            fetch(server, root, disk)
    except PytorchOfflineError as error:
        outcome, exit_code = error.code, error.exit_code
    else:
        outcome, exit_code = DONE, 0
    assert (outcome, exit_code) in {MEANINGS[number], (DONE, 0)}
    if not disk.failed:
        return NOT_REACHED
    _check_what_clients_see(root)
    again = fetch(server, root, FailingDisk())
    assert again <= sum(len(wheel.body) for wheel in WHEELS)
    assert tree(root) == expected
    left = {path.relative_to(root / ".state").as_posix() for path in (root / ".state").rglob("*")}
    noted = {f"blocks/{wheel.sha256}.json" for wheel in WHEELS}
    assert left <= {"lock", "partial", "temporary", "blocks", "milestones", "milestones/publication.json", *noted}, left
    return outcome


def _check_what_clients_see(root: Path) -> None:
    seen, bodies = tree(root), {str(wheel.path): wheel.body for wheel in WHEELS}
    for path, body in seen.items():
        if path.endswith(".whl"):
            assert body == bodies[path]
            assert str(sidecar_of(WHEELS[0].path.parent / path)).rpartition("/")[2] in {Path(one).name for one in seen}
    mirror = Mirror(root)
    assert set(map(str, mirror.read_files())) == {path for path in seen if path.endswith(".whl")}
    assert verify_pages(root, mirror.read_published(), mirror.read_files) == []
    assert find_unlisted(root, mirror.read_announced) == []


def _no_sync(fd: int | HasFileno) -> None:
    del fd


def main() -> None:
    """Go through all of it."""
    outcomes: Counter[tuple[str, bool, str]] = Counter()
    failures = []
    os.fsync = _no_sync  # the disk is spared: nobody cuts the power
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory, serve() as server:
        steps, expected = whole(server, Path(directory) / "whole")
        for step in range(1, steps + 1):
            for number in MEANINGS:
                for for_good in (False, True):
                    root = Path(directory) / f"{step}-{number}-{for_good}"
                    try:
                        outcome = check(server, root, step, number, expected, for_good=for_good)
                    except BaseException as error:
                        if isinstance(error, KeyboardInterrupt):
                            raise
                        failures.append((step, errno.errorcode[number], for_good, repr(error)[:300]))
                        outcome = "FAILED"
                    outcomes[errno.errorcode[number], for_good, outcome] += 1
    lines = [f"{steps} calls, {sum(outcomes.values())} cases, {len(failures)} failures"]
    lines += [
        " ".join(map(str, row)) for row in (*((*key, count) for key, count in sorted(outcomes.items())), *failures)
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
