"""The campaign of bad requests: ``python -m tests.server.bad_requests [N] [--seed S] [--nginx]``.

A real ``serve`` in a process of its own gets every shape of ``request_shapes``, then N (10,000) requests that chance
made, each over a bare socket. After each: no 5xx, an answer that HTTP knows, within seconds, the right bytes by their
ETag, nothing of what is private. In the end the server's memory and open files are what they were, it says nothing that
looks like a fault of its own, and it still serves. ``--nginx`` asks nginx the shapes, too, and names the differences.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.mirror.store import Mirror
from tests.mirror.loopback import sized_wheel
from tests.mirror.wheels import craft_wheel
from tests.server.processes import NGINX, NginxProcess, ServeProcess
from tests.server.raw_answers import Answer, BadAnswerError, asks_for_heads, check_bytes, converse, parse_answers
from tests.server.request_shapes import SECRET, Shape, shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILE = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
PAGE = "/whl/cu121/torch/"
_JSON = "application/vnd.pypi.simple.v1+json"
TARGETS = (
    *(FILE, FILE.replace("%2B", "+"), f"{FILE}.metadata", "/whl/sympy-1.3-py3-none-any.whl", "/manifest.json"),
    *(PAGE, PAGE[:-1], f"{PAGE}index.html", "/whl/", "/whl/sympy/", "/whl/cu121/", "/simple/", "/simple/torch/"),
    *("/", "/health", "/metrics", "/locks/pylock.node.toml", "/nowhere/"),
)
# What a request by chance may be answered. A 5xx would be a fault, but for what no server has: a method, a version.
POSSIBLE = frozenset({200, 206, 301, 304, 400, 404, 405, 406, 408, 411, 412, 413, 414, 416, 417, 431, 501, 505})
# The interpreter's own memory breathes by some megabytes.
MOST_GROWTH = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A mirror to be attacked: its files' bytes by their ETag, and a wheel of it."""

    root: Path
    known: dict[str, bytes]
    size: int


def build(directory: Path) -> Ground:
    """Make a mirror with everything around it that must not be had from it."""
    root = directory / "mirror"
    mirror = Mirror(root)
    torch = sized_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl", 200_000)
    for wheel in (torch, *(craft_wheel(f"whl/sympy-1.{minor}-py3-none-any.whl") for minor in range(8))):
        wheel.admit(mirror)
    mirror.write_locks({"pylock.node.toml": b"lock-version = '1.0'\n"})
    mirror.publish()
    known = {f'"{hashlib.sha256(data).hexdigest()}"': data for data in map(Path.read_bytes, _files(root))}
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    for place in (root / ".state/secret", root / ".htpasswd", root / "secret", root / "whl/cu121/secret"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(SECRET)
    (root / "whl/link.whl").symlink_to(secret)
    (root / "whl/cu121/link-1.0-py3-none-any.whl").symlink_to(secret)
    (root / "whl/linked").symlink_to(directory)
    return Ground(root=root, known=known, size=(root / FILE[1:].replace("%2B", "+")).stat().st_size)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and ".state" not in path.parts)


@dataclass(slots=True)
class Tally:
    """What came of it."""

    requests: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    silent: int = 0
    resets: int = 0
    failures: list[str] = field(default_factory=list)


def ask(port: int, ground: Ground, sent: bytes, tally: Tally, *, pieces: tuple[int, ...] = ()) -> list[Answer] | None:
    """Send bytes, check what holds for every answer, and count it; None where that failed."""
    tally.requests += 1
    try:
        received, reset = converse(port, sent, pieces=pieces)
        tally.resets += reset
        answers = checked(ground, sent, received, reset=reset)
    except (BadAnswerError, TimeoutError, OSError) as error:
        tally.failures.append(f"{type(error).__name__} {error} for {sent[:300]!r}{'…' if len(sent) > 300 else ''}")
        return None
    tally.answers.update(answer.status for answer in answers)
    tally.silent += not answers
    return answers


def checked(ground: Ground, sent: bytes, received: bytes, *, reset: bool) -> list[Answer]:
    """Read answers and check what holds for each of them.

    Raises:
        BadAnswerError: it does not hold.
    """
    if SECRET in received:
        raise BadAnswerError("what is private was served")
    try:
        answers = parse_answers(received, sent)
    except BadAnswerError:
        if not reset:
            raise
        answers = []  # a part of an answer was lost with the connection, which the client sees
    for answer in answers:
        check_bytes(answer, ground.known, headless=asks_for_heads(sent))
        location = answer.headers.get("location", "")
        if "://" in location or location.startswith("//"):
            raise BadAnswerError(f"leads elsewhere: {location}")
    return answers


def ask_shapes(port: int, ground: Ground, chosen: Iterable[Shape], tally: Tally) -> None:
    """Ask what stands in the table, and compare the answers with it."""
    for shape in chosen:
        answers = ask(port, ground, shape.sent, tally)
        if answers is None:
            tally.failures[-1] = f"{shape.name}: {tally.failures[-1]}"
        elif not fits(shape, answers):
            got = [answer.status for answer in answers]
            tally.failures.append(f"{shape.name}: {got[:12]} instead of {[sorted(one) for one in shape.statuses][:12]}")


def fits(shape: Shape, answers: list[Answer]) -> bool:
    """Say whether these are right answers of a shape."""
    return len(answers) == len(shape.statuses) and all(
        answer.status in right for answer, right in zip(answers, shape.statuses, strict=True)
    )


class Chance:
    """Makes requests: sound ones of every kind, one in two then damaged as a bad line or a bad mind would.

    Args:
        seed: the same one makes the same requests.
        ground: whose files are asked for.
    """

    def __init__(self, seed: int, ground: Ground) -> None:
        self._random = random.Random(seed)
        self._ground = ground
        self._etags = [f'"{sha256}"' for sha256 in ground.known]
        self._targets = [
            FILE,
            FILE.replace("%2B", "+"),
            FILE + ".metadata",
            PAGE,
            "/whl/",
            "/whl/sympy/",
            "/simple/",
            "/",
        ]
        self._targets += [
            "/simple/torch/",
            "/manifest.json",
            "/locks/pylock.node.toml",
            "/nowhere/",
            PAGE[:-1],
            "/health",
        ]
        self._targets += ["/whl/sympy-1.3-py3-none-any.whl", "/whl/cu121/torch/index.html", "/metrics", "/whl/cu121/"]

    def request(self) -> tuple[bytes, tuple[int, ...]]:
        """Make one, and the places where it is cut into several writes."""
        chance = self._random
        sent = self._sound()
        if chance.random() < 0.1 and not sent.startswith(b"HEAD"):  # whose answers have no content
            sent = b"".join([sent, *(self._sound(method="GET") for _ in range(chance.randrange(1, 6)))])
        if chance.random() < 0.5:
            sent = self._damaged(sent)
        cuts = chance.randrange(1, 6) if chance.random() < 0.2 and len(sent) > 10 else 0
        return sent, tuple(sorted(chance.sample(range(1, len(sent)), cuts)) if cuts else ())

    def _sound(self, method: str | None = None) -> bytes:
        chance = self._random
        method = method or chance.choices(["GET", "HEAD", "POST", "OPTIONS", "DELETE"], [12, 3, 1, 1, 1])[0]
        target = chance.choice(TARGETS)
        if chance.random() < 0.15:
            target = "".join(f"%{ord(one):02x}" if one != "/" and chance.random() < 0.3 else one for one in target)
        if chance.random() < 0.1:
            target += "?" + chance.choice(
                ["format=html", f"format={_JSON}", "format=x", "a=b&c", "%", "format=html&format=x"]
            )
        lines = [f"{method} {target} {chance.choices(['HTTP/1.1', 'HTTP/1.0'], [9, 1])[0]}", "Host: mirror"]
        lines += [make() for make in self._fields() if chance.random() < 0.2]
        return "\r\n".join([*lines, "", ""]).encode("utf-8")

    def _fields(self) -> list[Callable[[], str]]:
        chance = self._random
        return [
            lambda: f"Range: bytes={','.join(self._range() for _ in range(chance.choice([1, 1, 1, 2, 3, 40])))}",
            lambda: f"If-None-Match: {self._tag()}",
            lambda: f"If-Match: {self._tag()}",
            lambda: f"If-Range: {self._tag()}",
            lambda: f"If-Modified-Since: {self._date()}",
            lambda: f"If-Unmodified-Since: {self._date()}",
            lambda: (
                f"Accept: {chance.choice([_JSON, 'text/html', '*/*', 'text/html;q=0.1, ' + _JSON, 'x/y', '*/*;q=0'])}"
            ),
            lambda: (
                f"Accept-Encoding: {chance.choice(['gzip', 'identity', 'br', '*', 'gzip;q=0', 'identity;q=0', ''])}"
            ),
            lambda: f"Connection: {chance.choice(['close', 'keep-alive', 'upgrade', 'close, x', ''])}",
            lambda: f"Accept-Language: {chance.choice(['zh-CN', 'en', 'x' * 300, ';q=', '*'])}",
            lambda: f"X-{chance.randrange(100)}: {'y' * chance.choice([0, 1, 100, 9000])}",
            lambda: f"Authorization: {chance.choice(['Basic eDp5', 'Basic', 'Bearer x', 'Basic ====', '=='])}",
        ]

    def _range(self) -> str:
        numbers = [0, 1, 5, self._ground.size - 1, self._ground.size, self._ground.size + 1, 10**30]
        first, last = (str(self._random.choice(numbers)) for _ in range(2))
        return self._random.choice(
            [f"{first}-{last}", f"{first}-", f"-{last}", f"{first}", "-", " ", f"{first}-{last}x"]
        )

    def _tag(self) -> str:
        tag = self._random.choice([*self._etags, '"x"', "x", "*", '"', '""', 'W/""', ","])
        return self._random.choice([tag, tag, f"W/{tag}", f'"a", {tag}', f"{tag},{tag}"])

    def _date(self) -> str:
        return self._random.choice(
            [
                "Sat, 21 Nov 2026 17:00:00 GMT",
                "Thu, 01 Jan 1970 00:00:00 GMT",
                "yesterday",
                "",
                "Fri, 31 Dec 99999 23:59:59 GMT",
            ]
        )

    def _damaged(self, sent: bytes) -> bytes:
        chance = self._random
        data = bytearray(sent)
        for _ in range(chance.choice([1, 1, 2, 3, 10])):
            at = chance.randrange(len(data) + 1)
            odd = chance.choice(
                [b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"%", b"/../", b"\xff", b"\x7f", b"\x80", b"#", b"?"]
            )
            match chance.randrange(7):
                case 0:
                    data[at:at] = odd * chance.choice([1, 1, 2, 50])
                case 1:
                    del data[at : at + chance.choice([1, 2, 10])]
                case 2 if data:
                    data[at % len(data)] = chance.randrange(256)
                case 3:
                    data[at : at + 4] = data[at : at + 4] * chance.choice([2, 3, 400])
                case 4:
                    data = data[: max(at, 1)]
                case 5:
                    data[at:at] = chance.choice(
                        [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n"]
                    )
                case _:
                    data[at:at] = chance.randbytes(chance.choice([1, 8, 64]))
            if not data:
                data = bytearray(b"G")
        return bytes(data)


def learn(port: int, ground: Ground) -> None:
    """Take note of the pages that are not on the disk, in each of their forms, each checked by its ETag."""
    for target in TARGETS:
        for accept, coding in product((_JSON, "text/html"), ("identity", "gzip")):
            sent = f"GET {target} HTTP/1.0\r\nAccept: {accept}\r\nAccept-Encoding: {coding}\r\n\r\n".encode()
            (answer,) = parse_answers(converse(port, sent)[0], sent)
            check_bytes(answer, ground.known, headless=False)
            if answer.status == 200 and "etag" in answer.headers:
                ground.known[answer.headers["etag"]] = answer.body


def ask_by_chance(port: int, ground: Ground, count: int, seed: int, tally: Tally) -> None:
    """Ask what chance makes."""
    chance = Chance(seed, ground)
    for _ in range(count):
        sent, pieces = chance.request()
        before = len(tally.failures)
        answers = ask(port, ground, sent, tally, pieces=pieces)
        strange = {answer.status for answer in answers or ()} - POSSIBLE
        if strange:
            tally.failures.append(f"{sorted(strange)} for {sent[:600]!r}")
        if len(tally.failures) > before:
            tally.failures[-1] += f" in pieces {pieces}"


def still_serves(port: int, ground: Ground) -> bool:
    """Say whether a client gets a file as ever."""
    sent = f"GET {FILE} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n".encode()
    (answer,) = parse_answers(converse(port, sent)[0], sent)
    return answer.status == 200 and answer.headers["etag"] in ground.known


def differences(ground: Ground, directory: Path, table: list[Shape]) -> list[str]:
    """Name the shapes that nginx answers otherwise than the table has it."""
    told = []
    with NginxProcess(ground.root, directory) as nginx:
        for shape in table:
            try:
                received, reset = converse(nginx.port, shape.sent, seconds=3)
                got = [answer.status for answer in parse_answers(received, shape.sent)]
                leak = SECRET in received
            except (BadAnswerError, TimeoutError, OSError) as error:
                told.append(f"{shape.name}: {type(error).__name__} {str(error)[:80]}")
                continue
            expected = [sorted(one) for one in shape.statuses]
            same = len(got) == len(expected) and all(one in right for one, right in zip(got, expected, strict=True))
            if not same or leak:
                marks = f"{' RESET' if reset else ''}{' PRIVATE' if leak else ''}"
                told.append(f"{shape.name}: {got[:6]}{marks}; ours {expected[:6]}")
    return told


def main() -> int:
    """Run the campaign and print its figures."""
    options = argparse.ArgumentParser()
    options.add_argument("count", nargs="?", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--nginx", action="store_true")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        ground = build(Path(temporary))
        table = shapes(FILE, PAGE, ground.size)
        if asked.nginx and NGINX is not None:
            for line in differences(ground, Path(temporary), table):
                print("nginx:", line)
        with ServeProcess(ground.root) as server:
            tally = Tally()
            learn(server.port, ground)
            ask_shapes(server.port, ground, table[:200], tally)  # so that everything is imported and warm
            memory, files = server.memory(), server.open_files()
            begun = time.monotonic()
            ask_shapes(server.port, ground, table, tally)
            print(f"shapes: {len(table)} in {time.monotonic() - begun:.0f} s")
            begun = time.monotonic()
            ask_by_chance(server.port, ground, asked.count, asked.seed, tally)
            print(f"by chance: {asked.count} in {time.monotonic() - begun:.0f} s, seed {asked.seed}")
            time.sleep(3)  # lingering connections end
            growth = server.memory() - memory
            if growth > MOST_GROWTH:
                tally.failures.append(f"memory grew by {growth}")
            if server.open_files() > files + 2:
                tally.failures.append(f"{server.open_files()} open files instead of {files}")
            if not still_serves(server.port, ground):
                tally.failures.append("it does not serve any more")
            print(f"requests: {tally.requests}; without an answer: {tally.silent}; resets: {tally.resets}")
            print("answers:", ", ".join(f"{status}: {count}" for status, count in sorted(tally.answers.items())))
            now, peak = server.memory() / 2**20, server.peak_memory() / 2**20
            print(f"memory: {memory / 2**20:.1f} → {now:.1f} MiB, peak {peak:.1f} MiB")
            print(f"open files: {files} → {server.open_files()}; CPU {server.cpu_seconds():.1f} s")
            code = server.stop()
            said = [line for line in server.said if not line.startswith("pip install")]
            print(f"exit code {code}; said: {len(said)} lines {said[:5]}")
    for failure in tally.failures[:40]:
        print("FAILED", failure)
    print(f"failures: {len(tally.failures)}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
