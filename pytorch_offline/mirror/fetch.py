"""Brings many files into a mirror, several at once."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.addresses import host_of, redacted
from pytorch_offline.byte_ranges import complete_length
from pytorch_offline.disk_errors import disk_errors, is_of_whole_disk
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.download import Download, Floor
from pytorch_offline.mirror.flow import CONNECTIONS, Connections, Flow, Meter
from pytorch_offline.mirror.partial import SIDECAR_SUFFIX, Interval, PartialFile, new_of
from pytorch_offline.mirror.progress import Doing, Outcome, Progress, Silent, Stage
from pytorch_offline.mirror.readers import Pool
from pytorch_offline.mirror.room import Room, free_bytes
from pytorch_offline.mirror.transfer import PATIENCE
from pytorch_offline.mirror.witness import Witness
from pytorch_offline.mirror.workers import Stop, Stopped, for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytorch_offline.crawler.drift_log import DriftLog
    from pytorch_offline.mirror.model import MirrorFile, WantedFile
    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.net import Http
    from pytorch_offline.retries import RetryPolicy

# Enough to keep a line busy through the ends and beginnings of files, few enough to be a polite client.
JOBS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What one host gave: files that it gave the last bytes of, and the bytes of these that came in this run."""

    host: str
    files: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What a fetch did: rows of the files that it brought, and of those that were there already.

    Bringing took ``seconds``; ``troubles`` is how often something went wrong and was tried again, ``turned`` how many
    files came from another host than the one that was asked first.
    """

    downloaded: tuple[MirrorFile, ...]
    already: tuple[MirrorFile, ...]
    bytes_downloaded: int
    seconds: float = field(default=0.0, compare=False)
    given: tuple[Given, ...] = field(default=(), compare=False)
    troubles: int = 0
    turned: int = 0

    @property
    def bytes_per_second(self) -> int | None:
        """How quickly all of it came, checks included; None if nothing did."""
        return round(self.bytes_downloaded / self.seconds) if self.bytes_downloaded and self.seconds > 0 else None


def fetch_files(
    mirror: Mirror,
    wanted: Sequence[WantedFile],
    http: Http,
    *,
    jobs: int = JOBS,
    progress: Progress | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    retry: RetryPolicy = PATIENCE,
    interval: Interval | None = None,
    floor: Floor | None = None,
    connections: int = CONNECTIONS,
    limit_rate: int | None = None,
    free: Callable[[Path], int] = free_bytes,
    log: DriftLog | None = None,
    failed: Callable[[PurePosixPath, PytorchOfflineError], None] | None = None,
) -> FetchReport:
    """Bring files into a mirror and publish its pages; what is there already is not asked for.

    One file's failure does not stop the others; the worst of the failures is raised once they are done and published.
    A disk that is full or fails stops all of them, and so does an interrupt, within a second. In each case the next
    call continues where this one stopped.

    Args:
        mirror: where to. Its lock is held meanwhile.
        wanted: the files.
        http: the network.
        jobs: how many files at once.
        progress: told what happens, from several threads.
        now: the time, in UTC.
        retry: how many tries in a row may bring nothing, and the waits between them.
        interval: how much of a file a kill may cost.
        floor: what is too slow a server.
        connections: how many to one host, of all files together.
        limit_rate: how many bytes per second, of all connections together.
        free: how many bytes a directory's disk has free.
        log: told what hosts gave, and asked what is known of a file whose bytes are wrong.
        failed: told of each file that could not be brought, in place of raising the worst.

    Raises:
        UpstreamError: as ``Download.run``, or ``disk-full`` before anything was downloaded.
        IntegrityError: as ``Download.run`` and ``Mirror.admit``.
        UsageError: ``mirror-not-writable``.
    """
    teller = progress or Silent()
    if log is not None:
        log.rest()
    with mirror.lock(waiting=teller.say), disk_errors(mirror.root):
        fetch = _Fetch(
            mirror,
            http,
            progress=teller,
            now=now,
            retry=retry,
            interval=interval,
            floor=floor,
            flow=Flow(connections=Connections(max(1, connections)), meter=Meter(limit_rate), pool=Pool()),
            room=Room(mirror.root, staging=mirror.partial, jobs=jobs, free=free),
            log=log,
        )
        fetch.take_stock(wanted)
        started = time.monotonic()
        if fetch.missing:
            try:
                fetch.bring(max(1, min(jobs, connections)))
            finally:
                fetch.flow_ended()
        seconds = time.monotonic() - started
        try:
            mirror.publish(now=now)
        except UpstreamError:
            if not fetch.failures:  # else it is the same full disk, and the pages are as old as before
                raise
    if failed is not None:
        for path, error in sorted(fetch.failures, key=lambda failure: failure[0]):
            failed(path, error)
    elif fetch.failures:
        raise _worst(fetch.failures)
    return FetchReport(
        downloaded=tuple(sorted(fetch.downloaded, key=lambda file: file.path)),
        already=tuple(sorted(fetch.already, key=lambda file: file.path)),
        bytes_downloaded=fetch.bytes_downloaded,
        seconds=seconds,
        given=tuple(fetch.given[host] for host in sorted(fetch.given)),
        troubles=fetch.troubles,
        turned=fetch.turned,
    )


class _Fetch:
    """One call of ``fetch_files``: what it has to do and what came of it."""

    def __init__(
        self,
        mirror: Mirror,
        http: Http,
        *,
        progress: Progress,
        now: Callable[[], datetime],
        retry: RetryPolicy,
        interval: Interval | None,
        floor: Floor | None,
        flow: Flow,
        room: Room,
        log: DriftLog | None,
    ) -> None:
        self.missing: dict[PurePosixPath, WantedFile] = {}
        self.already: list[MirrorFile] = []
        self.downloaded: list[MirrorFile] = []
        self.failures: list[tuple[PurePosixPath, PytorchOfflineError]] = []
        self.bytes_downloaded = 0
        self.given: dict[str, Given] = {}
        self.troubles = 0
        self.turned = 0
        self._mirror = mirror
        self._http = http
        self._progress = progress
        self._now = now
        self._retry = retry
        self._interval = interval
        self._floor = floor
        self._flow = flow
        self._room = room
        self._witness = Witness(log, say=progress.say, now=now)
        self._stop = Stop()
        self._lock = threading.Lock()
        self._lengths: dict[PurePosixPath, int] = {}

    def take_stock(self, wanted: Sequence[WantedFile]) -> None:
        """Find what is here already; the rest is missing."""
        listed = self._mirror.read_files()
        here = {file.path: listed[file.path].size for file in wanted if file.path in listed}
        if here:
            self._progress.plan({str(path): size for path, size in here.items()}, stage=Stage.STOCK)
        for file in wanted:
            other = self.missing.get(file.path)
            try:
                if other is not None:
                    _check_same(other, file)
                elif (held := self._take_stock_of(file, here.get(file.path))) is not None:
                    self.already.append(held)
                elif not file.urls:
                    error = UpstreamError("no-address", f"nothing says where {file.path} can be had")
                    self.failures.append((file.path, error))
                else:
                    self.missing[file.path] = file
            except IntegrityError as error:
                if error.code == "path-conflict" and file.urls and "held sha256" in error.facts:
                    resting = str(error.facts["held sha256"])
                    self._witness.explain(file.urls[0], error, published=file.sha256, other=resting, called="held")
                self.failures.append((file.path, error))

    def _take_stock_of(self, file: WantedFile, size: int | None) -> MirrorFile | None:
        if size is None:
            return self._mirror.adopt(file, now=self._now)
        name, position = str(file.path), 0

        def advanced(count: int) -> None:
            nonlocal position
            position += count
            self._progress.advance(name, position, size)

        self._progress.begin(name, size, 0)
        self._progress.doing(name, Doing.HASHING)
        try:
            return self._mirror.adopt(file, now=self._now, advanced=advanced)
        finally:
            self._progress.end(name)

    def bring(self, jobs: int) -> None:
        """Download and admit what is missing, the biggest first, after a look at the room on disk."""
        files = list(self.missing.values())
        self._lengths = {file.path: file.size for file in files if file.size is not None}
        unknown = [file for file in files if file.size is None]
        # Next to no bytes: what this takes is round trips, and its connections are used again.
        for_each(unknown, self._ask_length, jobs=self._flow.connections.limit, stop=self._stop)
        self._look_at_room(files)
        # Files of the same bytes share one partial file: one thread sees to all of them.
        groups: dict[Path, list[WantedFile]] = {}
        for file in sorted(files, key=lambda file: self._lengths.get(file.path, 0), reverse=True):
            groups.setdefault(self._part_of(file), []).append(file)
        self._progress.plan(
            {str(group[0].path): self._lengths.get(group[0].path) for group in groups.values()},
            already=len(self.already),
            already_size=sum(file.size for file in self.already),
        )
        for_each(list(groups.values()), self._bring_group, jobs=jobs, stop=self._stop)

    def flow_ended(self) -> None:
        """Let the helpers' threads end."""
        self._flow.pool.close()

    def _look_at_room(self, files: Sequence[WantedFile]) -> None:
        """See whether the plan fits on the disk, and say what is not known of it."""
        counted = set()
        for file in files:
            part = self._part_of(file)
            if part not in counted:  # the same bytes under two names come once
                counted.add(part)
                size = self._lengths.get(file.path, 0)
                place = (self._mirror.root / file.path).parent
                self._room.expect(file.path, max(0, size - _size_of(part)), size=size, place=place)
        unknown = sum(file.path not in self._lengths for file in files)
        if unknown:
            several, they = ("1 file", "it comes") if unknown == 1 else (f"{unknown} files", "they come")
            self._progress.say(f"the size of {several} will be known only when {they}")
        self._room.check()

    def _ask_length(self, file: WantedFile) -> None:
        """Learn how long a file is that the index says no size of; who cannot be asked says it with the file."""
        for url in self._flow.hosts.in_order(file.urls):
            try:
                with self._http.stream(url, headers={"Range": "bytes=0-0"}) as stream, self._stop.reaching(stream):
                    length = complete_length(stream.status, stream.headers)
            except UpstreamError as error:
                self._flow.hosts.failed(url, error.code)
                continue
            if length is not None:
                with self._lock:
                    self._lengths[file.path] = length
                return

    def _bring_group(self, files: list[WantedFile]) -> None:
        for number, file in enumerate(files):
            try:
                with disk_errors(self._mirror.root):
                    twin = self._mirror.adopt(file, now=self._now) if number > 0 else None
                    row = twin or self._bring(file)
            except PytorchOfflineError as error:
                with self._lock:
                    self.failures.append((file.path, error))
                if is_of_whole_disk(error):
                    if error.code == "disk-full":
                        error.facts |= self._room.facts() | error.facts
                    self._stop.set()
                    return
                self._room.ended(file.path)
            else:
                self._room.ended(file.path)
                with self._lock:
                    self.downloaded.append(row)

    def _bring(self, file: WantedFile) -> MirrorFile:
        path = self._part_of(file)
        place = PurePosixPath(path.relative_to(self._mirror.root).as_posix())
        outcome = Outcome.FAILED
        try:
            with PartialFile(path, interval=self._interval, disk=self._mirror.disk) as part:
                download = Download(
                    file,
                    part,
                    http=self._http,
                    room=self._room,
                    stop=self._stop,
                    set_aside=lambda error: self._witness.set_aside(self._mirror, file, place, error),
                    now=self._now,
                    progress=self._progress,
                    retry=self._retry,
                    floor=self._floor,
                    flow=self._flow,
                )
                try:
                    came = download.run()
                finally:
                    with self._lock:
                        self.bytes_downloaded += download.bytes_received
                        self.troubles += download.troubles
            self._witness.note(came.url, came.sha256, came.size, came.seen)
            self._progress.doing(str(file.path), Doing.CHECKING)
            try:
                row = self._mirror.admit(
                    path, file, size=came.size, sha256=came.sha256, origin_url=came.url, now=self._now
                )
            finally:
                if not path.exists():  # admitted, or rejected: in either case there is nothing left to continue
                    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
                    for left in (sidecar, new_of(sidecar)):
                        self._mirror.disk.remove(left)
            self._count(file, came.url, download.bytes_received)
            outcome = Outcome.DONE
        except Stopped:
            outcome = Outcome.STOPPED
            raise
        finally:
            self._progress.end(str(file.path), outcome)
        return row

    def _count(self, file: WantedFile, url: str, size: int) -> None:
        host = host_of(url)
        with self._lock:
            before = self.given.get(host, Given(host=host, files=0, size=0))
            self.given[host] = Given(host=host, files=before.files + 1, size=before.size + size)
            self.turned += host != host_of(file.urls[0])

    def _part_of(self, file: WantedFile) -> Path:
        return part_of(self._mirror, file)


def part_of(mirror: Mirror, file: WantedFile) -> Path:
    """Say where the bytes of a file go while it comes; files of the same bytes share the place."""
    key = file.sha256 or hashlib.sha256(str(file.path).encode()).hexdigest()
    return mirror.partial / f"{key}.part"


def _size_of(path: Path) -> int:
    """Say how much room a file takes: one that came in blocks may have holes."""
    try:
        found = path.stat()
        return min(found.st_size, getattr(found, "st_blocks", 1 << 60) * 512)
    except FileNotFoundError:
        return 0


def _check_same(one: WantedFile, other: WantedFile) -> None:
    if one.sha256 is None or other.sha256 is None or one.sha256 == other.sha256:
        return
    raise IntegrityError(
        "path-conflict",
        f"two different files are wanted as {one.path}",
        facts={"one": one.sha256, "other": other.sha256, "urls": [redacted(url) for url in (*one.urls, *other.urls)]},
    )


def _worst(failures: Sequence[tuple[PurePosixPath, PytorchOfflineError]]) -> PytorchOfflineError:
    """Pick the error to raise: the disk, then wrong bytes, then the network; the others become its facts."""
    worst = max((error for _, error in failures), key=lambda error: (is_of_whole_disk(error), error.exit_code))
    if len(failures) > 1:
        in_order = sorted(failures, key=lambda failure: failure[0])
        worst.facts["failed files"] = [f"{path}: {error.message} ({error.code})" for path, error in in_order]
    return worst
