"""Fetching from a server that misbehaves: the same bytes in the end, or the right error, and never a bad file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.download import Floor
from pytorch_offline.mirror.fetch import FetchReport, fetch_files
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.wheels import now, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.mirror.model import WantedFile

WHEEL = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 300_000)
OTHER = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 300_000, seed=1)  # the same name, other bytes
PATH = f"/{WHEEL.path}"
SIZE = len(WHEEL.body)
QUICK = RetryPolicy(tries=4, first_wait=0.01, longest_wait=0.02)


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: nobody cuts the power during these tests."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        server.put(PATH, WHEEL.body)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(timeouts=Timeouts(connect=2.0, read=0.3)) as http:
        yield http


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror")


def fetch(mirror: Mirror, http: Http, *wanted: WantedFile, retry: RetryPolicy = QUICK) -> FetchReport:
    return fetch_files(mirror, wanted, http, retry=retry, now=now)


def nothing_shows(mirror: Mirror) -> bool:
    """Whether clients see no wheel, and no page that names one."""
    return not any(b".whl" in path.encode() or b".whl" in body for path, body in tree(mirror.root).items())


RECOVERABLE = {
    "reset before a byte": [Fault(reset_at=0)],
    "reset after a byte": [Fault(reset_at=1)],
    "reset within the magic": [Fault(reset_at=3)],
    "reset in the middle": [Fault(reset_at=SIZE // 2)],
    "reset before the last byte": [Fault(reset_at=SIZE - 1)],
    "reset after the last byte": [Fault(reset_at=SIZE)],
    "reset three times": [Fault(reset_at=SIZE // 5)] * 3,
    "cut at once": [Fault(truncate_at=0)],
    "cut in the middle": [Fault(truncate_at=SIZE // 2)],
    "cut again and again": [Fault(truncate_at=70_000)] * 4,
    "cut in the middle of chunks": [Fault(chunked=True, truncate_at=SIZE // 2)],
    "chunked, whole": [Fault(chunked=True)],
    "stalls at once": [Fault(stall_at=0)],
    "stalls in the middle": [Fault(stall_at=SIZE // 2)],
    "busy": [Fault(status=503)],
    "busy, says when to return": [Fault(status=503, retry_after="0")],
    "too many requests": [Fault(status=429, retry_after="0")],
    "internal error, in the middle too": [Fault(status=500), Fault(truncate_at=SIZE // 2), Fault(status=502)],
    "200 instead of 206": [Fault(truncate_at=SIZE // 2), Fault(ignore_range=True)],
    "wrong Content-Range": [Fault(truncate_at=SIZE // 2), Fault(range_shift=1)],
    "wrong Content-Range, backwards": [Fault(truncate_at=SIZE // 2), Fault(range_shift=-1)],
    "wrong bytes after a resume": [Fault(truncate_at=SIZE // 2), Fault(corrupt_at=1000)],
    "wrong bytes before a resume": [Fault(truncate_at=SIZE // 2, corrupt_at=1000)],
    "Content-Length too large": [Fault(length_lie=10)],
    "changed and changed back": [
        Fault(truncate_at=SIZE // 2),
        Fault(changed_to=OTHER.body, truncate_at=9),
        Fault(changed_to=WHEEL.body),
    ],
}


@pytest.mark.parametrize("name", RECOVERABLE)
def test_a_passing_fault_costs_nothing_but_time(name: str, server: Loopback, http: Http, mirror: Mirror) -> None:
    server.fail(PATH, *RECOVERABLE[name])
    wanted = WHEEL.wanted(urls=(server.url(PATH),), size=None)
    report = fetch(mirror, http, wanted)
    assert [row.sha256 for row in report.downloaded] == [WHEEL.sha256]
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
    assert not any(server.faults[PATH]), "a fault did not happen"
    assert not list(mirror.partial.iterdir())


def test_most_of_a_broken_transfer_is_not_fetched_again(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.fail(PATH, Fault(truncate_at=100_000), Fault(truncate_at=100_000))
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert SIZE <= report.bytes_downloaded < SIZE + 100_000
    assert [request.status for request in server.requests] == [200, 206, 206]
    assert all(request.if_range for request in server.requests[1:])


LASTING: dict[str, tuple[Fault, str, int]] = {
    "wrong bytes": (Fault(corrupt_at=SIZE // 2), "hash-mismatch", 4),
    "wrong bytes at the end": (Fault(corrupt_at=SIZE - 1), "hash-mismatch", 4),
    "wrong first byte": (Fault(corrupt_at=0), "not-a-wheel-body", 3),
    "another file": (Fault(changed_to=OTHER.body), "hash-mismatch", 4),
    "a challenge page": (Fault(challenge=True), "not-a-wheel-body", 3),
    "busy for ever": (Fault(status=503), "server-error", 3),
    "absent": (Fault(status=404), "file-absent", 3),
    "denied": (Fault(status=403), "file-absent", 3),
    "wants a password": (Fault(status=401), "unexpected-status", 3),
    "resets": (Fault(reset_at=10), "transfer-broken", 3),
    "stalls": (Fault(stall_at=10), "stalled", 3),
    "gzip": (Fault(gzipped=True), "encoded-body", 3),
    "gzip in name alone": (Fault(called="gzip"), "encoded-body", 3),
    "Content-Length too small": (Fault(length_lie=-10), "hash-mismatch", 4),
    "too much": (Fault(chunked=True, chunked_surplus=10), "hash-mismatch", 4),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_is_one_clear_error_and_shows_no_file(
    name: str, server: Loopback, http: Http, mirror: Mirror
) -> None:
    server.always[PATH], code, exit_code = LASTING[name]
    with pytest.raises(PytorchOfflineError) as caught:
        fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),), size=None))
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert nothing_shows(mirror)
    # The server recovers, and so does the next run.
    server.always.clear()
    server.put(PATH, WHEEL.body)
    assert len(fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),))).downloaded) == 1
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body


SIZED: dict[str, Fault] = {
    "Content-Length too small": Fault(length_lie=-10),
    "Content-Length too large": Fault(length_lie=10),
    "too much": Fault(chunked=True, chunked_surplus=10),
    "another file": Fault(changed_to=OTHER.body + b"x"),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_published_size_is_held_against_the_server(name: str, server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[PATH] = SIZED[name]
    with pytest.raises(IntegrityError) as caught:
        fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert caught.value.code == "size-mismatch"
    assert nothing_shows(mirror)


def test_wrong_bytes_are_told_with_both_hashes_and_kept_apart(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.put(PATH, OTHER.body)
    with pytest.raises(IntegrityError) as caught:
        fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),), size=None, upload_time="2026-02-03T04:05:06Z"))
    facts = caught.value.facts
    assert facts["published"] == WHEEL.sha256
    assert facts["actual"] == hashlib.sha256(OTHER.body).hexdigest()
    assert facts["url"] == server.url(PATH)
    assert facts["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert facts["upload-time"] == "2026-02-03T04:05:06Z"
    assert facts["found at"] == "2026-08-22T12:00:00Z"
    kept = [path.read_bytes() for path in mirror.rejected.iterdir() if path.suffix != ".json"]
    assert kept == [OTHER.body]
    assert len(server.requests) == 2, "one for the length, one for the file: wrong bytes of one answer are wrong"


def test_a_resumed_file_that_is_wrong_is_fetched_once_more_from_nothing(
    server: Loopback, http: Http, mirror: Mirror
) -> None:
    server.fail(PATH, Fault(truncate_at=100_000), Fault(corrupt_at=0))
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert [request.range for request in server.requests] == [None, "bytes=100000-", None]
    assert len(report.downloaded) == 1
    assert not mirror.rejected.exists()


def test_a_file_that_changes_under_way_is_never_a_mixture(server: Loopback, http: Http, mirror: Mirror) -> None:
    """Without a published hash, only the validator can tell; what comes is wholly new."""
    server.fail(PATH, Fault(truncate_at=200_000), Fault(changed_to=OTHER.body))
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),), sha256=None, size=None))
    assert [row.sha256 for row in report.downloaded] == [OTHER.sha256]
    assert [request.status for request in server.requests] == [206, 200, 200]


@pytest.mark.parametrize("name", ["absent", "a challenge page", "wrong bytes", "gzip"])
def test_another_address_helps(name: str, server: Loopback, http: Http, mirror: Mirror) -> None:
    with Loopback() as second:
        second.put(PATH, WHEEL.body)
        server.always[PATH] = LASTING[name][0]
        report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH), second.url(PATH))))
        assert report.downloaded[0].origin == second.url(PATH)


def test_another_host_continues_what_one_began(server: Loopback, http: Http, mirror: Mirror) -> None:
    with Loopback() as second:
        second.put(PATH, WHEEL.body)
        second.files[PATH].etag = '"of the second host"'
        server.fail(PATH, Fault(truncate_at=200_000))
        server.always[PATH] = Fault(status=503)
        report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH), second.url(PATH))))
        assert report.bytes_downloaded == SIZE
        assert [(request.range, request.if_range) for request in second.requests] == [("bytes=200000-", None)]


def test_a_trickle_counts_as_a_fault(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[PATH] = Fault(bytes_per_second=5_000)
    floor = Floor(size=20_000, seconds=0.2)
    with pytest.raises(UpstreamError) as caught:
        fetch_files(mirror, [WHEEL.wanted(urls=(server.url(PATH),))], http, retry=QUICK, now=now, floor=floor)
    assert caught.value.code == "stalled"
    with Loopback() as second:
        second.put(PATH, WHEEL.body)
        second.always[PATH] = Fault(bytes_per_second=2_000_000)
        wanted = WHEEL.wanted(urls=(server.url(PATH), second.url(PATH)))
        report = fetch_files(mirror, [wanted], http, retry=QUICK, now=now, floor=floor)
        assert report.downloaded[0].origin == second.url(PATH)
        assert report.bytes_downloaded < SIZE + 20_000


def test_a_host_that_nobody_answers_for_is_unreachable(http: Http, mirror: Mirror) -> None:
    with Loopback() as gone:
        url = gone.url(PATH)
    with pytest.raises(UpstreamError) as caught:
        fetch(mirror, http, WHEEL.wanted(urls=(url,)))
    assert caught.value.code == "unreachable"


def test_a_slow_server_is_no_fault(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[PATH] = Fault(bytes_per_second=1_000_000)
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert report.bytes_downloaded == SIZE
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "damage", ["shorter", "other bytes", "no sidecar", "broken sidecar", "sidecar of another file"]
)
def test_damage_to_what_an_earlier_run_left_is_survived(
    damage: str, server: Loopback, http: Http, mirror: Mirror
) -> None:
    server.fail(PATH, Fault(truncate_at=150_000), *[Fault(status=500)] * QUICK.tries)
    wanted = WHEEL.wanted(urls=(server.url(PATH),))
    with pytest.raises(UpstreamError):
        fetch(mirror, http, wanted)
    (part,) = mirror.partial.glob("*.part")
    (sidecar,) = mirror.partial.glob("*.json")
    assert json.loads(sidecar.read_text())["completed"] == part.stat().st_size == 150_000
    if damage == "shorter":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "other bytes":
        part.write_bytes(bytes(150_000))
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage == "broken sidecar":
        sidecar.write_bytes(b"\xff{")
    else:
        sidecar.write_text(sidecar.read_text().replace(WHEEL.sha256, OTHER.sha256))
    fetch(mirror, http, wanted)
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body


def test_bytes_beyond_what_was_vouched_for_are_cut_off(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.fail(PATH, Fault(truncate_at=150_000), *[Fault(status=500)] * QUICK.tries)
    wanted = WHEEL.wanted(urls=(server.url(PATH),))
    with pytest.raises(UpstreamError):
        fetch(mirror, http, wanted)
    (part,) = mirror.partial.glob("*.part")
    with part.open("ab") as file:
        file.write(b"never vouched for")
    report = fetch(mirror, http, wanted)
    assert report.bytes_downloaded == SIZE - 150_000
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
