"""Brings wheels for many clients: one download for each, however many wait, and its admission to the mirror.

Downloads lie in a directory of their own below ``.state``, because the mirror's lock is not held meanwhile: a ``fetch``
may bring the same file at the same time. The lock is taken to admit a wheel. Where another command has it, the gate is
passed without it, so that clients need not wait, and the wheel gets its name once the lock is free.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.admission import check_bytes, check_wheel
from pytorch_offline.mirror.disk import make_directories
from pytorch_offline.mirror.download import Download
from pytorch_offline.mirror.flow import CONNECTIONS, Connections, Flow, Meter
from pytorch_offline.mirror.partial import SIDECAR_SUFFIX, PartialFile, new_of
from pytorch_offline.mirror.readers import Pool
from pytorch_offline.mirror.room import Room, free_bytes
from pytorch_offline.mirror.transfer import PATIENCE
from pytorch_offline.mirror.workers import Stop, Stopped
from pytorch_offline.server.gateway.arrival import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.mirror.model import MirrorFile, WantedFile
    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.mirror.transfer import Complete
    from pytorch_offline.mirror.witness import Witness
    from pytorch_offline.net import Http
    from pytorch_offline.retries import RetryPolicy
    from pytorch_offline.server.gateway.figures import Figures
    from pytorch_offline.server.gateway.threads import Threads

# A closure is some twenty wheels of which two or three are large; more at once would only divide the same line.
JOBS = 8
# Requests for more wheels than this are refused for the moment: somebody walks through the whole index.
_MOST_WAITING = 200
# What could not be had is not asked for again for so many seconds: wrong bytes are wrong for everybody, and costly.
_REST: tuple[tuple[type[PytorchOfflineError], float], ...] = ((IntegrityError, 60.0), (UpstreamError, 5.0))
_LOOK = 0.2
# How long a wheel waits for the mirror's lock before its clients are served without it.
LOCK_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class _Job:
    """One file on its way, and all the places where it is wanted; ``closed`` once no further place can be added."""

    arrival: Arrival
    part: Path
    files: list[WantedFile]
    closed: bool = False
    rows: list[MirrorFile] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class Fetcher:
    """Brings wheels into a mirror. Its methods are for the event loop; downloads run in threads.

    Args:
        mirror: where to; its patience for the lock should be ``LOCK_SECONDS``.
        directory: where downloads lie, below the mirror's ``.state``; nobody else uses it.
        http: the network.
        threads: to download in.
        witness: notes what hosts gave.
        figures: what is counted.
        has_bytes: whether the mirror holds a file of some sha256, under whatever name.
        make_room: told of a full disk and the bytes that are wanted; says whether there may be room now.
        held: told, in the loop, of each wheel that came.
        say: told in one sentence what administrators should know.
        now: the time, in UTC.
        limit_rate: bytes per second, of all downloads together.
        jobs: how many files at once.
        retry: patience with upstream.
        free: asks a disk for its bytes.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        mirror: Mirror,
        *,
        directory: Path,
        http: Http,
        threads: Threads,
        witness: Witness,
        figures: Figures,
        has_bytes: Callable[[str], bool],
        make_room: Callable[[int], bool],
        held: Callable[[MirrorFile], None],
        say: Callable[[str], None],
        now: Callable[[], datetime],
        limit_rate: int | None = None,
        jobs: int = JOBS,
        retry: RetryPolicy = PATIENCE,
        free: Callable[[Path], int] = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mirror = mirror
        self._directory = directory
        self._http = http
        self._threads = threads
        self._witness = witness
        self._figures = figures
        self._has_bytes = has_bytes
        self._make_room = make_room
        self._held = held
        self._say = say
        self._now = now
        self._retry = retry
        self._flow = Flow(connections=Connections(CONNECTIONS), meter=Meter(limit_rate), pool=Pool())
        self._room = Room(mirror.root, staging=directory, jobs=jobs, free=free)
        self._slots = threading.BoundedSemaphore(jobs)
        self._line = threading.Lock()
        self._stop = Stop()
        self._lock = threading.Lock()
        self._clock = clock
        self._refused: dict[PurePosixPath, tuple[float, PytorchOfflineError]] = {}
        self._jobs: dict[Path, _Job] = {}
        self._by_path: dict[PurePosixPath, _Job] = {}

    def find(self, path: PurePosixPath) -> Arrival | None:
        """Give a wheel that is on its way."""
        job = self._by_path.get(path)
        return None if job is None else job.arrival

    @property
    def paths(self) -> frozenset[PurePosixPath]:
        """The places of all wheels on their way."""
        return frozenset(self._by_path)

    def begin(self, file: WantedFile) -> Arrival:
        """Bring a wheel, unless it is on its way already.

        Raises:
            PytorchOfflineError: why it could not be brought a moment ago; ``too-many-transfers``.
        """
        self._check_refused(file.path)
        part = self._directory / f"{file.sha256 or hashlib.sha256(str(file.path).encode()).hexdigest()}.part"
        with self._lock:
            job = self._jobs.get(part)
            if job is not None:
                if not job.closed and file.path not in self._by_path:  # the same bytes in another place
                    job.files.append(file)
                    self._by_path[file.path] = job
                return job.arrival
            if len(self._jobs) >= _MOST_WAITING:
                raise UpstreamError("too-many-transfers", f"{_MOST_WAITING} wheels are on their way already")
            etag = None if file.sha256 is None else f'"{file.sha256}"'
            job = _Job(arrival=Arrival(part, etag=etag, threads=self._threads), part=part, files=[file])
            self._jobs[part] = self._by_path[file.path] = job
        self._figures.misses += 1
        running = self._threads.run(partial(self._run, job))
        running.add_done_callback(lambda _: self._ended(job))
        return job.arrival

    def _check_refused(self, path: PurePosixPath) -> None:
        until, error = self._refused.get(path, (0.0, None))
        if error is not None and self._clock() < until:
            raise error
        self._refused.pop(path, None)

    def _ended(self, job: _Job) -> None:
        """Let the site have what came, and forget the job: in one step of the loop, so that nobody finds neither."""
        for row in job.rows:
            self._held(row)
        self._jobs.pop(job.part, None)
        for one in job.files:
            self._by_path.pop(one.path, None)
        error = job.arrival.standing.error
        if error is not None and not self._stop.is_set:
            rest = next((seconds for family, seconds in _REST if isinstance(error, family)), 0.0)
            while len(self._refused) >= _MOST_WAITING:
                del self._refused[next(iter(self._refused))]
            self._refused[job.files[0].path] = (self._clock() + rest, error)

    async def close(self, seconds: float) -> None:
        """Stop all downloads, keeping what came; wait no longer than that."""
        self._stop.set()
        with self._lock:
            jobs = list(self._jobs.values())

        def wait() -> None:
            for job in jobs:
                job.done.wait(seconds)

        await asyncio.wait({self._threads.run(wait)}, timeout=seconds)
        self._flow.pool.close()

    # In a download's thread.

    def _run(self, job: _Job) -> None:
        file = job.files[0]
        try:
            with disk_errors(self._mirror.root):
                self._bring(job, file)
        except Stopped:
            job.arrival.failed(UpstreamError("gateway-ended", "the gateway is being stopped"))
        except PytorchOfflineError as error:
            self._figures.upstream_errors += 1
            self._say(f"{file.path} was not brought: {error.message} ({error.code})")
            job.arrival.failed(error)
        except BaseException as error:
            job.arrival.failed(UpstreamError("gateway-failed", f"{file.path.name} could not be brought: {error}"))
            raise
        finally:
            self._room.ended(file.path)
            job.done.set()

    @contextmanager
    def _turn(self, job: _Job) -> Iterator[None]:
        """Wait for a turn. What nobody waits for any more by then is not begun; what is begun comes to its end."""
        waited = False
        while not self._slots.acquire(timeout=_LOOK):
            self._stop.check()
            waited = True
        self._figures.transfers += 1
        try:
            if waited and job.arrival.followers == 0:
                raise UpstreamError("nobody-waits", "nobody waits for it any more")
            yield
        finally:
            self._figures.transfers -= 1
            self._slots.release()

    def _bring(self, job: _Job, file: WantedFile) -> None:
        row = self._linked(file) or self._brought(job, file)
        job.arrival.arrived(self._mirror.root / row.path, row.size)
        job.rows.append(row)
        with self._lock:
            job.closed = True  # whoever comes for another place now gets these bytes all the same
        for other in job.files[1:]:
            try:
                twin = self._mirror.adopt(other, now=self._now)
            except PytorchOfflineError as error:
                self._say(f"{other.path} was not linked: {error.message} ({error.code})")
            else:
                job.rows += [] if twin is None else [twin]

    def _linked(self, file: WantedFile) -> MirrorFile | None:
        """Give bytes that the mirror holds under another path a second name."""
        if file.sha256 is None or self._line.locked() or not self._has_bytes(file.sha256):
            return None
        with suppress(UsageError):  # the mirror is being changed: then it has to come
            return self._mirror.adopt(file, now=self._now)
        return None

    def _brought(self, job: _Job, file: WantedFile) -> MirrorFile:
        try:
            with self._turn(job):
                came = self._come(job, file)
                row = None if self._line.locked() else self._admitted(job, file, came)
                if row is None:
                    check_bytes(file, size=came.size, sha256=came.sha256)
                    check_wheel(job.part, file.name)
                    job.arrival.proved(came.size)
            if row is None:  # while other wheels come
                with self._in_line():
                    while (row := self._admitted(job, file, came)) is None:
                        self._stop.check()
        finally:
            if not job.part.exists():  # admitted, or rejected
                sidecar = job.part.with_name(job.part.name + SIDECAR_SUFFIX)
                for left in (sidecar, new_of(sidecar)):
                    self._mirror.disk.remove(left)
        return row

    def _come(self, job: _Job, file: WantedFile) -> Complete:
        make_directories(self._mirror.disk, self._directory)
        place = (self._mirror.root / file.path).parent
        self._room.expect(file.path, file.size or 0, size=file.size or 0, place=place)
        try:
            came = self._download(job, file)
        except UpstreamError as error:
            lacking = error.facts.get("bytes missing", job.arrival.standing.length or file.size or 0)
            if error.code != "disk-full" or not isinstance(lacking, int) or not self._make_room(lacking):
                raise
            came = self._download(job, file)
        self._room.ended(file.path)
        self._witness.note(came.url, came.sha256, came.size, came.seen)
        return came

    def _admitted(self, job: _Job, file: WantedFile, came: Complete) -> MirrorFile | None:
        """Let a wheel through the gate, and give it its name; None where another command changes the mirror."""
        try:
            return self._mirror.admit(
                job.part, file, size=came.size, sha256=came.sha256, origin_url=came.url, now=self._now
            )
        except UsageError as error:
            if error.code != "mirror-busy":
                raise
            return None

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """Be the one that waits for the mirror's lock; whoever comes meanwhile does not even try."""
        while not self._line.acquire(timeout=_LOOK):
            self._stop.check()
        try:
            yield
        finally:
            self._line.release()

    def _download(self, job: _Job, file: WantedFile) -> Complete:
        place = PurePosixPath(job.part.relative_to(self._mirror.root).as_posix())
        with PartialFile(job.part, disk=self._mirror.disk) as part:
            download = Download(
                file,
                part,
                http=self._http,
                room=self._room,
                stop=self._stop,
                set_aside=lambda error: self._witness.set_aside(self._mirror, file, place, error),
                now=self._now,
                retry=self._retry,
                flow=self._flow,
                watched=job.arrival.watched,
            )
            try:
                return download.run()
            finally:
                self._figures.upstream_bytes += download.bytes_received
