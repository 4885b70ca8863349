"""A file over several connections, from a server on loopback: the right bytes, whatever happens to any of them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.mirror import download, flow, spans, transfer
from pytorch_offline.mirror.fetch import FetchReport, fetch_files
from pytorch_offline.mirror.probe import Probe
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import Fault, Loopback, sized_wheel
from tests.mirror.wheels import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.mirror.model import WantedFile

WHEEL = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 1_000_000)
OTHER = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 1_000_000, seed=1)
PATH = f"/{WHEEL.path}"
SIZE = len(WHEEL.body)
QUICK = RetryPolicy(tries=4, first_wait=0.01, longest_wait=0.02)
SLOW = 4_000_000  # bytes per second and connection: a third of a second over one

# What makes a small file worth several connections.
SMALL = {
    "spans.SHORTEST_BLOCK": 64 * 1024,
    "spans.LONGEST_BLOCK": 128 * 1024,
    "spans.WORTH_SHARING": 32 * 1024,
    "download.WORTH_HELPING": 64 * 1024,
    "download.WORTH_SECONDS": 0.0,
    "transfer.WORTH_HELPING": 64 * 1024,
    "flow.WINDOW": 0.02,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        module, _, constant = name.partition(".")
        modules = {"spans": spans, "download": download, "transfer": transfer, "flow": flow}
        monkeypatch.setattr(modules[module], constant, value)
    monkeypatch.setattr(flow, "Probe", lambda most: Probe(most=most, wanted=min(4, most)))
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        server.put(PATH, WHEEL.body)
        server.always[PATH] = Fault(bytes_per_second=SLOW)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(timeouts=Timeouts(connect=30.0, read=30.0)) as http:
        yield http


@pytest.fixture
def hasty() -> Iterator[Http]:
    """For servers that fall silent; a slow machine's may seem to."""
    with Http(timeouts=Timeouts(connect=2.0, read=0.3)) as http:
        yield http


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror")


def fetch(mirror: Mirror, http: Http, wanted: WantedFile, connections: int = 4) -> FetchReport:
    return fetch_files(mirror, [wanted], http, retry=QUICK, now=now, connections=connections)


def ranges(server: Loopback) -> list[str]:
    return [one.range for one in server.requests if one.range is not None and not one.range.endswith("-")]


def test_a_slow_connection_gets_help_and_no_byte_comes_twice(server: Loopback, http: Http, mirror: Mirror) -> None:
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
    assert report.bytes_downloaded == SIZE
    assert len(ranges(server)) > 2
    assert all(one.if_range for one in server.requests if one.range)
    assert not list(mirror.partial.iterdir())


def test_one_connection_is_one_request(server: Loopback, http: Http, mirror: Mirror) -> None:
    fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)), connections=1)
    assert [one.range for one in server.requests] == [None]


def test_a_server_without_ranges_costs_no_byte_twice(server: Loopback, http: Http, mirror: Mirror) -> None:
    server.always[PATH] = Fault(ignore_range=True, bytes_per_second=SLOW)
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert report.bytes_downloaded == SIZE
    assert len(ranges(server)) <= 3  # all that were asked before the first answer said so


@pytest.mark.parametrize("status", [403, 416, 429, 503])
def test_a_server_that_wants_one_connection_gets_one(status: int, server: Loopback, http: Http, mirror: Mirror) -> None:
    server.of_parts[PATH].extend([Fault(status=status, retry_after="30")] * 100)
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),)))
    assert report.bytes_downloaded == SIZE
    assert len(ranges(server)) <= 6, "halving goes from four to one in two steps, and one more asks"


FAULTS = {
    "cut": Fault(truncate_at=20_000, bytes_per_second=SLOW),
    "reset": Fault(reset_at=20_000, bytes_per_second=SLOW),
    "silent": Fault(stall_at=20_000),
    "busy": Fault(status=503),
    "gone": Fault(status=404),
    "a page": Fault(challenge=True),
    "the whole": Fault(ignore_range=True, bytes_per_second=SLOW),
    "another part": Fault(range_shift=1),
    "coded": Fault(gzipped=True),
    "wrong bytes": Fault(corrupt_at=100, bytes_per_second=SLOW),
    "too little": Fault(length_lie=-10, bytes_per_second=SLOW),
    "too much": Fault(length_lie=10, bytes_per_second=SLOW),
    "changed": Fault(changed_to=OTHER.body, truncate_at=9),
}


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("name", FAULTS)
def test_what_happens_to_a_helper_costs_nothing_but_time(
    name: str, after: int, server: Loopback, hasty: Http, mirror: Mirror
) -> None:
    steady = Fault(bytes_per_second=SLOW)
    server.of_parts[PATH].extend([*[steady] * (after - 1), FAULTS[name], FAULTS[name], steady])
    if name == "changed":
        server.of_parts[PATH][after] = Fault(changed_to=WHEEL.body, bytes_per_second=SLOW)
        server.fail(PATH, None, Fault(changed_to=WHEEL.body, bytes_per_second=SLOW))
    report = fetch(mirror, hasty, WHEEL.wanted(urls=(server.url(PATH),)))
    assert [row.sha256 for row in report.downloaded] == [WHEEL.sha256]
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
    assert not list(mirror.partial.iterdir())


def test_without_a_published_hash_a_changed_file_is_never_a_mixture(
    server: Loopback, http: Http, mirror: Mirror
) -> None:
    server.of_parts[PATH].extend(
        [Fault(bytes_per_second=SLOW)] * 2 + [Fault(changed_to=OTHER.body, bytes_per_second=SLOW)]
    )
    fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH),), sha256=None, size=None))
    assert (mirror.root / WHEEL.path).read_bytes() in {OTHER.body, WHEEL.body}


@pytest.fixture
def sibling() -> Iterator[Loopback]:
    with Loopback() as server:
        server.put(PATH, WHEEL.body)
        yield server


def dying(server: Loopback) -> None:
    """Let a host give a beginning and two parts in part, and then nothing any more."""
    steady = Fault(truncate_at=30_000, bytes_per_second=SLOW)
    server.fail(PATH, Fault(truncate_at=300_000, bytes_per_second=SLOW))
    server.of_parts[PATH].extend([steady, steady])
    server.always[PATH] = Fault(status=503)


def test_another_host_goes_on_with_the_parts_of_the_first_under_one_published_hash(
    server: Loopback, sibling: Loopback, http: Http, mirror: Mirror
) -> None:
    dying(server)
    report = fetch(mirror, http, WHEEL.wanted(urls=(server.url(PATH), sibling.url(PATH))))
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
    assert report.bytes_downloaded == SIZE
    assert len(ranges(server)) >= 2
    assert all(one.range for one in sibling.requests)


def test_parts_of_two_hosts_are_not_joined_without_a_published_hash(
    server: Loopback, sibling: Loopback, http: Http, mirror: Mirror
) -> None:
    dying(server)
    wanted = WHEEL.wanted(urls=(server.url(PATH), sibling.url(PATH)), sha256=None, size=None)
    report = fetch(mirror, http, wanted)
    assert (mirror.root / WHEEL.path).read_bytes() == WHEEL.body
    assert report.bytes_downloaded > SIZE, "what the first host gave is void"
    assert sibling.requests[0].range is None


def test_large_files_share_the_connections_of_a_host(server: Loopback, http: Http, mirror: Mirror) -> None:
    wheels = [sized_wheel(f"whl/cpu/torch-{n}.0+cpu-py3-none-any.whl", 1_000_000, seed=n) for n in (2, 3, 4)]
    for wheel in wheels:
        server.put(f"/{wheel.path}", wheel.body)
        server.always[f"/{wheel.path}"] = Fault(bytes_per_second=SLOW)
    wanted = [wheel.wanted(urls=(server.url(f"/{wheel.path}"),)) for wheel in wheels]
    fetch_files(mirror, wanted, http, retry=QUICK, now=now, jobs=3, connections=6)
    for wheel in wheels:
        assert (mirror.root / wheel.path).read_bytes() == wheel.body
        parts = [one for one in server.requests if one.path == f"/{wheel.path}" and one.range]
        assert len(parts) > 1, "one file had all connections"


def test_the_rate_is_held_over_all_connections(server: Loopback, http: Http, mirror: Mirror) -> None:
    began = time.monotonic()
    wanted = WHEEL.wanted(urls=(server.url(PATH),))
    fetch_files(mirror, [wanted], http, retry=QUICK, now=now, connections=4, limit_rate=2_000_000)
    assert time.monotonic() - began >= 0.9 * (SIZE - 200_000) / 2_000_000


PROGRAM = """
import json, sys
from pathlib import Path, PurePosixPath
from pytorch_offline.mirror import download, flow, spans, transfer
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.partial import Interval
from pytorch_offline.mirror.probe import Probe
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

root, url, path, sha256, small = sys.argv[1:]
for name, value in json.loads(small).items():
    module, _, constant = name.partition(".")
    setattr({"spans": spans, "download": download, "transfer": transfer, "flow": flow}[module], constant, value)
flow.Probe = lambda most: Probe(most=most, wanted=min(4, most))
place = PurePosixPath(path)
wanted = WantedFile(name=parse_wheel_name(place.name), path=place, urls=(url,), sha256=sha256)
with Http() as http:
    report = fetch_files(
        Mirror(Path(root)), [wanted], http, connections=4, interval=Interval(size=100_000, seconds=0.05)
    )
print(report.bytes_downloaded)
"""
KILLS = 5


def test_killed_at_any_moment_what_was_safe_is_not_asked_for_again(server: Loopback, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    command = [sys.executable, "-c", PROGRAM, str(root), server.url(PATH), str(WHEEL.path), WHEEL.sha256]
    seen_ahead = 0
    for _ in range(KILLS):
        server.always[PATH] = Fault(bytes_per_second=150_000)
        before = len(server.requests)
        with subprocess.Popen(
            [*command, json.dumps(SMALL)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            deadline = time.monotonic() + 60
            while len(server.requests) < before + 1 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.6))
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate(timeout=60)
        assert process.returncode in {0, -signal.SIGKILL}, errors
        assert not (root / WHEEL.path).exists() or (root / WHEEL.path).read_bytes() == WHEEL.body
        safe = saved(root)
        seen_ahead += any(count for count in safe[1:])
    server.always.clear()
    safe = saved(root)
    held = (root / WHEEL.path).exists()
    done = subprocess.run([*command, json.dumps(SMALL)], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == (0 if held else SIZE - sum(safe))
    assert (root / WHEEL.path).read_bytes() == WHEEL.body
    assert not list((root / ".state/partial").glob("*"))
    assert seen_ahead or held


def test_an_interrupt_ends_many_silent_connections_and_the_next_run_goes_on(server: Loopback, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    command = [sys.executable, "-c", PROGRAM, str(root), server.url(PATH), str(WHEEL.path), WHEEL.sha256]
    server.fail(PATH, Fault(bytes_per_second=500_000))
    server.of_parts[PATH].extend([Fault(stall_at=20_000, stall_seconds=60.0)] * 3)
    with subprocess.Popen([*command, json.dumps(SMALL)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(saved(root)[1:]) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=15)  # a read would have waited for thirty seconds
    assert b"KeyboardInterrupt" in errors
    server.always.clear()
    server.of_parts.clear()
    safe = saved(root)
    assert len(safe) > 1
    done = subprocess.run([*command, json.dumps(SMALL)], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == SIZE - sum(safe)
    assert (root / WHEEL.path).read_bytes() == WHEEL.body


def saved(root: Path) -> list[int]:
    """What the sidecar vouches for: the prefix, then each span."""
    for sidecar in (root / ".state/partial").glob("*.part.json"):
        document = json.loads(sidecar.read_text())
        return [document["completed"], *(stop - start for start, stop in document["ahead"])]
    return [0]
