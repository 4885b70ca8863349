"""One download whose every turn is chosen: which connection gives its next piece, what goes wrong, when it is killed.

No socket and no thread of a reader: the readers take turns in the thread of the download, and a chooser says whose
turn it is, so that a run can be repeated exactly. The transfer, the plan, the partial file and its sidecar are the
real ones. Run as a script it is a campaign: ``python -m tests.mirror.interleavings 20000``.
"""

from __future__ import annotations

import errno
import hashlib
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror import download, flow, parallel, spans, transfer
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.download import Download, Floor
from pytorch_offline.mirror.flow import Connections, Flow, Meter
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.partial import Interval, PartialFile
from pytorch_offline.mirror.probe import Probe
from pytorch_offline.mirror.readers import Came, Over
from pytorch_offline.mirror.room import Room
from pytorch_offline.mirror.sidecar import parse_partial
from pytorch_offline.mirror.workers import Stop, Stopped
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from pytorch_offline.mirror.readers import Pool
    from pytorch_offline.mirror.sidecar import Partial
    from pytorch_offline.mirror.workers import Abortable
    from pytorch_offline.net import Http, Stream

SIZE = 3000
VERSIONS = tuple(b"PK\x03\x04" + random.Random(seed).randbytes(SIZE - 4) for seed in (1, 2))
NAME = "torch-1.0-py3-none-any.whl"
HOSTS = ("https://one.example", "https://two.example")
# A small file is worth several connections, and small blocks are worth a request.
_SMALL: tuple[tuple[Any, str, object], ...] = (
    (spans, "SHORTEST_BLOCK", 100),
    (spans, "LONGEST_BLOCK", 400),
    (spans, "WORTH_SHARING", 40),
    (download, "WORTH_HELPING", 200),
    (download, "WORTH_SECONDS", 0.0),
    (transfer, "WORTHWHILE", 50),
    (parallel, "WORTHWHILE", 50),
    (flow, "WINDOW", 0.3),
    (parallel, "_LOOK", 0.0),
)
_STATUSES = (429, 503, 500, 403, 404, 408, 416)
# What a download may end with here.
_OURS = frozenset(
    {"unreachable", "transfer-broken", "stalled", "server-error", "file-absent", "encoded-body", "bad-range"}
    | {"hosts-differ", "hash-mismatch", "size-mismatch", "unexpected-status"}
)
# Enough for trouble of every kind, few enough that each case ends; then the hosts are well.
MOST_FAULTS = 25


class Killed(BaseException):
    """The process ends here."""


@dataclass(kw_only=True)
class World:
    """What is outside: hosts, their files, and what goes wrong. ``choose(n)`` says a number below ``n``."""

    choose: Callable[[int], int]
    published: bool
    validators: bool
    deadly: bool = True
    faults: int = 0
    corrupt: bool = False
    tampered: bool = False
    current: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HOSTS, 0))
    seen: Counter[str] = field(default_factory=Counter)

    def healthy(self) -> None:
        """Nothing goes wrong any more."""
        self.faults, self.deadly = MOST_FAULTS, False
        self.current = dict.fromkeys(HOSTS, 0)

    def one_of(self, kinds: tuple[str, ...]) -> str:
        """Choose what goes wrong with an answer; mostly nothing."""
        if self.faults >= MOST_FAULTS or self.choose(3):
            return ""
        self.faults += 1
        kind = kinds[self.choose(len(kinds))]
        self.seen[kind] += bool(kind)
        return kind

    def full(self) -> bool:
        """Say whether the disk is full, now and then."""
        full = self.faults < MOST_FAULTS and self.choose(100) == 99
        self.faults += full
        self.seen["disk full"] += full
        return full

    def perhaps_die(self) -> None:
        """Be killed, now and then."""
        if self.deadly and self.faults < MOST_FAULTS and self.choose(60) == 59:
            self.faults += 1
            self.seen["killed"] += 1
            raise Killed

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Stream]:
        """Answer as a host does that has a bad day."""
        self.seen["requests"] += 1
        if self.seen["requests"] > 2000:
            raise AssertionError("this never ends")
        asked = dict(headers or {})
        kind = self.one_of(
            (
                *("unreachable", "status", "whole", "shift", "elsewhere", "total", "multipart", "short", "coded"),
                *("careless", "break", "break", "stall", "quiet", "surplus", "change", "change", "corrupt"),
            )
        )
        if kind == "unreachable":
            raise UpstreamError("unreachable", "nobody answers")
        yield cast("Stream", self._answer(url, asked, kind))

    def _answer(self, url: str, asked: dict[str, str], kind: str) -> Answer:
        host = url.rpartition("/")[0]
        if kind in {"change", "careless"}:
            self.current[host] = 1 - self.current[host]
        headers = {"ETag": f'"{self.current[host]}"'} if self.validators else {}
        if kind == "status":
            status = _STATUSES[self.choose(len(_STATUSES))]
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                headers["Content-Range"] = f"bytes */{SIZE}"
            return Answer(self, url, status=status, headers=headers, body=b"trouble", ending=None)
        if kind == "coded":
            headers["Content-Encoding"] = "gzip"
        body = VERSIONS[self.current[host]]
        fits = kind == "careless" or asked.get("If-Range") in {None, headers.get("ETag")}
        if "Range" not in asked or kind == "whole" or not fits:
            return self._sent(url, 200, headers, body, kind)
        first, _, last = asked["Range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(SIZE, int(last) + 1 if last else SIZE)
        if kind == "short":
            stop = start + max(1, (stop - start) // 2)
        shift = 1 if kind in {"shift", "elsewhere"} else 0
        headers["Content-Range"] = f"bytes {start + shift}-{stop - 1 + shift}/{SIZE + (7 if kind == 'total' else 0)}"
        if kind == "multipart":
            headers = {"Content-Type": "multipart/byteranges; boundary=x"}
        shift = 1 if kind == "elsewhere" else 0
        return self._sent(url, 206, headers, body[start + shift : stop + shift], kind)

    def _sent(self, url: str, status: int, headers: dict[str, str], body: bytes, kind: str) -> Answer:
        """Send a body, or what becomes of it on its way."""
        if kind == "corrupt" and self.corrupt and len(body) > 8:
            place = 4 + self.choose(len(body) - 4)
            body = body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
            self.tampered = True
        ending = {"break": "transfer-broken", "stall": "stalled"}.get(kind)
        if kind in {"quiet", "surplus"} and status == HTTPStatus.PARTIAL_CONTENT:
            body += b"more than was asked for" if kind == "surplus" else b""  # in chunks: no length is told
        else:
            headers["Content-Length"] = str(len(body))
            ending = "transfer-broken" if kind == "quiet" else ending
        end = self.choose(len(body) + 1) if kind in {"break", "stall", "quiet"} else len(body)
        return Answer(self, url, status=status, headers=headers, body=body[:end], ending=ending)


class Answer:
    """What ``net.Stream`` is, without a socket."""

    def __init__(
        self, world: World, url: str, *, status: int, headers: dict[str, str], body: bytes, ending: str | None
    ) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.length = int(headers["Content-Length"]) if "Content-Length" in headers else None
        self._world = world
        self._body = body
        self._ending = ending
        self._aborted = False

    def iter_chunks(self, size: int = 0) -> Iterator[bytes]:
        """Give the body in pieces of any size."""
        del size
        rest = self._body
        while rest:
            self._world.perhaps_die()
            if self._aborted:
                raise UpstreamError("transfer-broken", "told to stop waiting")
            length = 1 + self._world.choose(150)
            yield rest[:length]
            rest = rest[length:]
        if self._ending is not None:
            raise UpstreamError(self._ending, "it broke off")

    def abort(self) -> None:
        """Give no more."""
        self._aborted = True


class Turns:
    """What ``readers.Readers`` is, but the readers take turns as the chooser says."""

    def __init__(self, pool: Pool) -> None:
        self._world = cast("World", pool)
        self._answers: dict[int, AbstractContextManager[Iterator[bytes]]] = {}
        self._pieces: dict[int, Iterator[bytes]] = {}
        self._reading: set[int] = set()

    def start(self, number: int, answer: AbstractContextManager[Iterator[bytes]]) -> None:
        self._reading.add(number)
        self._answers[number] = answer

    def reached(self, number: int, stream: Abortable) -> bool:
        del stream
        return number in self._reading

    def take(self, seconds: float) -> Came | Over | None:
        del seconds
        self._world.perhaps_die()
        numbers = sorted(self._reading)
        if not numbers:
            return None
        number = numbers[self._world.choose(len(numbers))]
        try:
            if number not in self._pieces:
                self._pieces[number] = self._answers[number].__enter__()
                return None
            piece = next(self._pieces[number], b"")
        except (UpstreamError, Stopped) as error:
            self._leave(number, error)
            return Over(number=number, error=error)
        if piece:
            return Came(number=number, piece=piece)
        self._leave(number, None)
        return Over(number=number, error=None)

    def let_go(self, number: int) -> None:
        if number in self._reading:
            self._reading.discard(number)
            with suppress(UpstreamError, Stopped):
                if number not in self._pieces:
                    self._answers[number].__enter__()  # its thread asks all the same, and finds itself let go
                self._leave(number, None)

    def let_all_go(self) -> None:
        for number in tuple(self._reading):
            self.let_go(number)

    def _leave(self, number: int, error: BaseException | None) -> None:
        self._reading.discard(number)
        answer = self._answers.pop(number)
        entered = self._pieces.pop(number, None) is not None
        if entered or error is None:
            with suppress(UpstreamError, Stopped):
                answer.__exit__(None if error is None else type(error), error, None)


class LosingDisk(Disk):
    """Remembers what was made durable."""

    def __init__(self) -> None:
        self.durable: dict[Path, bytes] = {}

    def sync(self, path: Path) -> None:
        """Make the bytes safe that are there now."""
        self.durable[path] = path.read_bytes()

    def sync_directory(self, path: Path) -> None:
        """Names are safe at once here: ``test_download.py`` loses them too."""


class Prompt(PartialFile):
    """Saves when told to, before it goes on: else no run could be repeated. Its disk is full now and then."""

    world: World

    def _put(self, piece: bytes | bytearray | memoryview) -> None:
        if self.world.full():
            super()._put(piece[: self.world.choose(len(piece) + 1)])
            self._file.truncate(max(self.size, self._end))
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._put(piece)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        super().write(bytes(piece))

    def save_now_and_then(self, partial: Partial) -> None:
        super().save_now_and_then(partial)
        self._saving.finish()


def lose_what_was_not_synced(path: Path, disk: LosingDisk, choose: Callable[[int], int]) -> None:
    """Leave of the bytes that no sync has covered what the chooser says: all, nothing, or every other page."""
    if not path.exists():
        return
    now, safe = path.read_bytes(), disk.durable.get(path, b"")
    kind = choose(3)
    if kind == 0:
        return
    pages = range(0, max(len(now), len(safe)), 64)
    lost = [page for number, page in enumerate(pages) if kind == 1 or number % 2]
    after = bytearray(now)
    for page in lost:
        old = safe[page : page + 64].ljust(64, b"\0")[: max(0, len(now) - page)]
        after[page : page + 64] = old
    path.write_bytes(bytes(after))


def check_what_is_vouched_for(path: Path, world: World, live: bytes) -> int:
    """What the sidecar vouches for is on disk, as it was written, and is of the version that it names."""
    sidecar = path.with_name(path.name + ".json")
    if not sidecar.exists():
        return 0
    partial = parse_partial(sidecar.read_text())
    assert partial is not None, "a sidecar of ours that cannot be read"
    held = path.read_bytes()
    for start, stop in ((0, partial.completed), *partial.ahead):
        assert len(held) >= stop, "vouched for, but the file is shorter"
        assert held[start:stop] == live[start:stop], "vouched for, but not on disk"
        if partial.validator is not None and not world.tampered:
            version = VERSIONS[int(partial.validator.value.strip('"'))]
            assert world.published or held[start:stop] == version[start:stop], "vouched for as what it is not"
    return partial.completed + spans.count(partial.ahead)


def play(choose: Callable[[int], int], directory: Path) -> Counter[str]:
    """Download, killed and begun again as the chooser says, and check that the end is the right one."""
    world = World(choose=choose, published=choose(2) == 0, validators=choose(4) > 0)
    world.corrupt = world.published
    connections = 1 + choose(5)
    two_hosts, learnt = choose(2) == 0, choose(2) == 0
    part, disk = directory / "x.part", LosingDisk()
    interval = Interval(size=1 + choose(600), seconds=1e9)
    urls = tuple(f"{host}/{NAME}" for host in HOSTS[: 2 if two_hosts else 1])
    digest = hashlib.sha256(VERSIONS[0]).hexdigest() if world.published else None
    wanted = WantedFile(
        name=parse_wheel_name(NAME),
        path=PurePosixPath("whl", NAME),
        urls=urls,
        sha256=digest,
        size=SIZE if choose(2) else None,
    )

    def once() -> str:
        return _run(world, wanted, path=part, disk=disk, interval=interval, connections=connections, learnt=learnt)

    with ExitStack() as small:
        for module, name, value in _SMALL:
            small.enter_context(patch.object(module, name, value))
        small.enter_context(patch.object(parallel, "Readers", Turns))
        for run in range(40):
            if run == 12:
                world.healthy()
            outcome = once()
            world.seen[outcome] += 1
            assert outcome != "broken"
            live = part.read_bytes()
            if outcome == "killed":
                lose_what_was_not_synced(part, disk, choose)
            check_what_is_vouched_for(part, world, live)
            if outcome == "complete":
                return world.seen
            if outcome == "failed" and world.faults >= MOST_FAULTS:
                world.healthy()  # a run with nothing wrong mends it, whatever was left
                outcome = once()
                assert outcome == "complete", "nothing is wrong any more, but it fails"
                return world.seen
    raise AssertionError("this never ends")


def _run(
    world: World,
    wanted: WantedFile,
    *,
    path: Path,
    disk: LosingDisk,
    interval: Interval,
    connections: int,
    learnt: bool,
) -> str:
    """Run the download once, in a process of its own as it were."""
    seconds = [0.0]

    def clock() -> float:
        seconds[0] += 0.05
        return seconds[0]

    bound = Flow(connections=Connections(connections), meter=Meter(clock=clock), pool=cast("Pool", world))
    if learnt:
        for host in HOSTS:
            bound.learn(host, Probe(most=connections, wanted=connections, settled=True))
    aside: list[IntegrityError] = []

    def set_aside(error: IntegrityError) -> None:
        aside.append(error)
        path.rename(path.with_suffix(".aside"))

    with Prompt(path, disk=disk, interval=interval, clock=clock) as part:
        part.world = world
        loading = Download(
            wanted,
            part,
            http=cast("Http", world),
            room=Room(path.parent),
            stop=Stop(),
            set_aside=set_aside,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            retry=RetryPolicy(tries=3, first_wait=0.0, longest_wait=0.0),
            flow=bound,
            chance=lambda: 0.0,
            floor=Floor(size=1, seconds=1e12),
            clock=clock,
        )
        try:
            complete = loading.run()
        except Killed:
            return "killed"
        except OSError as error:
            return "full" if error.errno == errno.ENOSPC else "broken"
        except PytorchOfflineError as error:
            return "failed" if error.code in _OURS else "broken"
        held = path.read_bytes()
        assert hashlib.sha256(held).hexdigest() == complete.sha256, "the hash is not that of the bytes"
        assert complete.size == len(held)
        assert held == VERSIONS[0] if world.published else held in VERSIONS, "the bytes are no version of the file"
        open_ones = sum(host.held.total() for host in bound.connections._hosts.values())
        assert open_ones == 0, "a connection was not given back"
        return "complete"


def main() -> None:
    """Play many cases, and say how often what happened."""
    first, cases = int(sys.argv[2]) if len(sys.argv) > 2 else 0, int(sys.argv[1])
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=".") as root:
        for seed in range(first, first + cases):
            directory = Path(root, "case")
            directory.mkdir()
            try:
                total += play(random.Random(seed).randrange, directory)
            except BaseException:
                sys.stderr.write(f"seed {seed}\n")
                raise
            for left in directory.iterdir():
                left.unlink()
            directory.rmdir()
    sys.stdout.write(f"{cases} cases: {dict(total.most_common())}\n")


if __name__ == "__main__":
    main()
