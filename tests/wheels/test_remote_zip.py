from __future__ import annotations

import functools
import random
import struct
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.metadata import parse_metadata
from pytorch_offline.wheels.remote_file import ByteRange
from pytorch_offline.wheels.remote_zip import RemoteWheelReader, fetch_metadata_by_ranges
from pytorch_offline.wheels.zip_format import LONGEST_END
from tests.loopback import Answer, Loopback, Request
from tests.wheels.test_archive import zip64_end
from tests.wheels.wheel_builder import DIST_INFO, METADATA, NAME, build, contents, good_wheel, wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REAL_WHEELS = sorted(Path("/opt/wheels").glob("*.whl"))


@functools.cache
def large_wheel(*, metadata_first: bool = False) -> bytes:
    """Give a wheel whose directory and METADATA do not fit into the first answer."""
    noise = random.Random(0).randbytes
    names = {f"demo_pkg/{index:05}-{'x' * 60}.py": noise(10) for index in range(1500)}
    bulk = {"demo_pkg/bulk": noise(300_000), **names}
    return build({**contents(), **bulk} if metadata_first else {**bulk, **contents()})


def bounds(wanted: ByteRange, size: int) -> tuple[int, int]:
    if wanted.start is None:
        return max(0, size - wanted.stop), size
    return wanted.start, wanted.stop


def read(archive: bytes, *, size: int | None = None, step: Callable[[], int] | None = None) -> tuple[bytes, int]:
    """Drive the reader by hand; ``step`` says how many bytes at most to give each time. Returns what it read."""
    reader = RemoteWheelReader(wheel_name(), size=size)
    requests = 0
    while reader.wanted is not None:
        start, stop = bounds(reader.wanted, len(archive))
        assert 0 <= start < stop <= len(archive)
        if step is not None:
            stop = min(stop, start + step())
        reader.feed(start, archive[start:stop], len(archive))
        requests += 1
    assert reader.metadata is not None
    return reader.metadata, requests


# --- the machine, without a network ---


def test_a_small_wheel_takes_one_answer() -> None:
    assert read(good_wheel()) == (METADATA, 1)
    assert read(good_wheel(), size=len(good_wheel())) == (METADATA, 1)


@pytest.mark.parametrize("metadata_first", [True, False])
def test_a_large_wheel_takes_three(metadata_first: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    archive = large_wheel(metadata_first=metadata_first)
    assert len(archive) > 3 * LONGEST_END
    assert read(archive) == (METADATA, 3)
    assert read(archive, size=len(archive)) == (METADATA, 3)


def test_zip64_end_records() -> None:
    assert read(zip64_end(large_wheel())) == (METADATA, 3)


def test_every_step_of_a_small_wheel() -> None:
    archive = good_wheel()
    for step in range(1, len(archive) + 1):
        assert read(archive, size=len(archive), step=lambda: step)[0] == METADATA  # noqa: B023  (used at once)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200_000), min_size=1), st.booleans())
def test_short_answers_of_any_size(steps: list[int], metadata_first: bool) -> None:  # noqa: FBT001
    given_steps = iter(steps)
    archive = large_wheel(metadata_first=metadata_first)
    assert read(archive, step=lambda: next(given_steps, 50_000))[0] == METADATA


def test_the_first_wish_is_a_suffix_unless_the_size_is_known() -> None:
    assert RemoteWheelReader(wheel_name()).wanted == ByteRange(start=None, stop=LONGEST_END)
    assert RemoteWheelReader(wheel_name(), size=10).wanted == ByteRange(start=0, stop=10)
    assert ByteRange(start=None, stop=7).header == "bytes=-7"
    assert ByteRange(start=3, stop=7).header == "bytes=3-6"


def test_another_size_than_expected() -> None:
    with pytest.raises(IntegrityError) as caught:
        RemoteWheelReader(wheel_name(), size=100).feed(0, b"x", 101)
    assert caught.value.code == "size-mismatch"


def replaced(old: bytes, new: bytes) -> bytes:
    archive = good_wheel()
    assert old in archive
    return archive.replace(old, new)


def metadata_entry(archive: bytes) -> int:
    """Find METADATA's entry in the directory."""
    return archive.rindex(f"{DIST_INFO}/METADATA".encode()) - 46


def patched(offset: int, layout: str, value: int) -> bytes:
    archive = bytearray(good_wheel())
    struct.pack_into(layout, archive, metadata_entry(good_wheel()) + offset, value)
    return bytes(archive)


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"<html>no such file</html>", "bad-archive"),
        (good_wheel()[:-1], "bad-archive"),
        (build({name: data for name, data in contents().items() if "METADATA" not in name}), "bad-archive"),
        (replaced(b"demo_pkg-1.0+cpu.dist-info", b"demo_pkg-1.1+cpu.dist-info"), "bad-dist-info"),
        (build({**contents(), "other-1.dist-info/METADATA": b""}), "bad-dist-info"),
        (patched(16, "<L", 12345), "bad-archive"),
        (patched(20, "<L", 2_000_000_000), "bad-archive"),
        (patched(20, "<L", 2000), "bad-archive"),
        (patched(24, "<L", 2_000_000_000), "bad-archive"),
        (patched(42, "<L", 3), "bad-archive"),
        (patched(42, "<L", 2_000_000_000), "bad-archive"),
        (patched(10, "<H", 12), "bad-archive"),
    ],
    ids=[
        "a page",
        "cut",
        "no METADATA",
        "another wheel",
        "two wheels",
        "checksum",
        "huge compressed",
        "past the directory",
        "huge",
        "no header there",
        "outside",
        "compression",
    ],
)
def test_archives_that_are_no_such_wheel(archive: bytes, code: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        read(archive, size=len(archive))
    assert caught.value.code == code


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_ours_or_harmless(data: st.DataObject) -> None:
    archive = bytearray(good_wheel())
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        metadata, _ = read(bytes(archive))
    except IntegrityError:
        return
    assert metadata == METADATA


# --- over HTTP ---


class RangeServer:
    """Answers ranges of one file as RFC 9110 says, and counts the bytes of bodies that it sent."""

    def __init__(self, archive: bytes, etag: str | None = '"one"') -> None:
        self.archive = archive
        self.etag = etag
        self.sent = 0

    def __call__(self, request: Request) -> Answer:
        headers = {"ETag": self.etag} if self.etag else {}
        wanted = request.headers.get("Range", "").removeprefix("bytes=")
        if not wanted or request.headers.get("If-Range", self.etag) != self.etag:
            return Answer(headers=headers, body=self.archive)
        first, _, last = wanted.partition("-")
        start = int(first) if first else max(0, len(self.archive) - int(last))
        body = self.archive[start : int(last) + 1 if first else None]
        if not body:
            return Answer(status=416, headers={**headers, "Content-Range": f"bytes */{len(self.archive)}"})
        self.sent += len(body)
        headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(self.archive)}"
        return Answer(status=206, headers=headers, body=body)


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(retry=RetryPolicy(tries=2), sleep=lambda _: None) as client:
        yield client


def fetch(http: Http, answer: Callable[[Request], Answer], *, size: int | None = None) -> tuple[bytes, list[Request]]:
    with Loopback(answer) as server:
        url = f"{server.url}/whl/cpu/{NAME.replace('+', '%2B')}"
        return fetch_metadata_by_ranges(http, url, wheel_name(), expected_size=size), server.requests


def failure(http: Http, answer: Callable[[Request], Answer], *, size: int | None = None) -> str:
    with pytest.raises((UpstreamError, IntegrityError)) as caught:
        fetch(http, answer, size=size)
    assert isinstance(caught.value, UpstreamError | IntegrityError)
    return caught.value.code


def test_three_requests_and_a_fraction_of_the_bytes(http: Http) -> None:
    server = RangeServer(large_wheel())
    metadata, requests = fetch(http, server)
    assert metadata == METADATA
    assert [request.headers["Range"].startswith("bytes=-") for request in requests] == [True, False, False]
    assert [request.headers.get("If-Range") for request in requests] == [None, '"one"', '"one"']
    assert server.sent < len(server.archive) / 1.5


def test_a_known_size_needs_no_suffix_range(http: Http) -> None:
    server = RangeServer(large_wheel())
    metadata, requests = fetch(http, server, size=len(server.archive))
    assert metadata == METADATA
    assert not any(request.headers["Range"].startswith("bytes=-") for request in requests)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_server_without_strong_validators(http: Http, etag: str | None) -> None:
    metadata, requests = fetch(http, RangeServer(large_wheel(), etag))
    assert metadata == METADATA
    assert not any("If-Range" in request.headers for request in requests)


def test_a_size_that_is_not_the_expected_one(http: Http) -> None:
    assert failure(http, RangeServer(good_wheel()), size=len(good_wheel()) - 1) == "size-mismatch"


def whole(request: Request) -> Answer:
    del request
    return Answer(body=large_wheel())


def endless(request: Request) -> Answer:
    """Promise 100 GB, of which a reader who wants to see the end would read on."""
    del request
    return Answer(headers={"Content-Length": str(100 * 1000**3)}, body=bytes(1000), reset_after=1000)


def endless_chunks(request: Request) -> Answer:
    del request
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    return Answer(headers={"Transfer-Encoding": "chunked"}, body=chunk * 20, reset_after=20 << 20)


def small_whole(request: Request) -> Answer:
    del request
    return Answer(body=good_wheel())


@pytest.mark.parametrize("answer", [whole, endless, endless_chunks, small_whole])
def test_a_server_that_ignores_ranges(http: Http, answer: Callable[[Request], Answer]) -> None:
    assert failure(http, answer) == "ranges-not-served"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "bytes 0-9/*",
        "bytes 0-9/10",
        "bytes 5-4/100",
        "items 0-1/2",
        "bytes 0-99999999/100000000",
        "bytes 1-{0}/{1}",
    ],
)
def test_a_wrong_content_range(http: Http, said: str) -> None:
    archive = good_wheel()
    headers = {"Content-Range": said.format(len(archive), len(archive) + 1)} if said else {}
    assert failure(http, lambda _: Answer(status=206, headers=headers, body=archive)) == "ranges-not-served"


def test_a_suffix_that_is_longer_than_the_file_and_refused(http: Http) -> None:
    server = RangeServer(good_wheel())

    def answer(request: Request) -> Answer:
        if request.headers["Range"].startswith("bytes=-"):
            return Answer(status=416, headers={"Content-Range": f"bytes */{len(server.archive)}"})
        return server(request)

    metadata, requests = fetch(http, answer)
    assert metadata == METADATA
    assert len(requests) == 2


@pytest.mark.parametrize("said", ["", "bytes */0", "bytes */99999999999"])
def test_a_refused_range(http: Http, said: str) -> None:
    answer = Answer(status=416, headers={"Content-Range": said} if said else {})
    assert failure(http, lambda _: answer) == "ranges-not-served"


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_missing_file(http: Http, status: int) -> None:
    assert failure(http, lambda _: Answer(status=status, body=b"no")) == "file-absent"


def test_a_server_in_trouble(http: Http) -> None:
    assert failure(http, lambda _: Answer(status=503)) == "server-error"


def test_a_cut_answer_is_asked_for_again(http: Http) -> None:
    server = RangeServer(large_wheel())
    cuts = iter([10])

    def answer(request: Request) -> Answer:
        right = server(request)
        return Answer(status=206, headers=right.headers, body=right.body, reset_after=next(cuts, None))

    metadata, requests = fetch(http, answer)
    assert metadata == METADATA
    assert len(requests) == 4


def changing(generations: list[RangeServer], after: int) -> Callable[[Request], Answer]:
    """Put the next generation in place after so many requests, and again."""
    asked = count()

    def answer(request: Request) -> Answer:
        generation = min(next(asked) // after, len(generations) - 1)
        return generations[generation](request)

    return answer


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize("etags", [('"one"', '"two"'), ('W/"one"', 'W/"two"'), (None, None)])
def test_a_file_that_changes_once_is_read_again(http: Http, after: int, etags: tuple[str | None, str | None]) -> None:
    new = build(
        {**contents(), "demo_pkg/bulk": random.Random(1).randbytes(500_000), f"{DIST_INFO}/entry_points.txt": b""}
    )
    servers = [RangeServer(large_wheel(), etags[0]), RangeServer(new, etags[1])]
    metadata, _ = fetch(http, changing(servers, after))
    assert metadata == METADATA


def test_a_file_that_goes_on_changing(http: Http) -> None:
    servers = [RangeServer(large_wheel(), f'"{generation}"') for generation in range(20)]
    assert failure(http, changing(servers, 1)) == "changed-while-read"


def test_a_file_on_disk(http: Http, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(large_wheel())
    assert fetch_metadata_by_ranges(http, path.as_uri(), wheel_name()) == METADATA


@pytest.mark.slow
@pytest.mark.parametrize("path", REAL_WHEELS, ids=lambda path: path.name)
def test_a_real_torch_wheel(http: Http, path: Path) -> None:
    name = parse_wheel_name(path.name)
    metadata = fetch_metadata_by_ranges(http, path.as_uri(), name, expected_size=path.stat().st_size)
    assert parse_metadata(metadata).version == name.version
