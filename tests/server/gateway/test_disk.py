"""A gateway and its mirror on disk: other commands beside it, kills, room."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.simulator.faults import Stall
from tests.mirror.loopback import sized_wheel
from tests.mirror.wheels import craft_wheel
from tests.server.gateway.test_gateway import HALF, LARGE, SMALL, eventually
from tests.server.gateways import Gateway, asked_for, host_and_port, hurry, offering

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

THIRD = sized_wheel("whl/cpu/third-1.0-py3-none-any.whl", 1_000_000, seed=3)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def started(mirror: Path, upstream: str) -> tuple[subprocess.Popen[str], str]:
    """Start the real command; give it and its address."""
    command = [sys.executable, "-m", "pytorch_offline", "serve", "--mirror", str(mirror), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_OFFLINE_")}
    process = subprocess.Popen(
        [*command, "--upstream", upstream, "--no-default-index", "--retries", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    return process, found[0]


def test_killed_at_any_moment_nothing_unproved_is_visible_and_the_next_one_goes_on(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    with offering(LARGE) as upstream:
        upstream.faults.add(f"/{LARGE.path}", Stall(offset=HALF, seconds=30))
        process, url = started(mirror, upstream.url)
        with process, closing(http.client.HTTPConnection(*host_and_port(url), timeout=30)) as client:
            client.request("GET", f"/{LARGE.path}")
            assert len(client.getresponse().read(HALF // 2)) == HALF // 2
            eventually(lambda: any((mirror / ".state" / "gateway").glob("*.part.json")))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        assert not list(mirror.glob("whl/**/*.whl"))
        upstream.requests.clear()
        process, url = started(mirror, upstream.url)
        with process, closing(http.client.HTTPConnection(*host_and_port(url), timeout=30)) as client:
            client.request("GET", f"/{LARGE.path}")
            assert client.getresponse().read() == LARGE.body
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        (resumed,) = asked_for(upstream, f"/{LARGE.path}")
        assert resumed is not None
        assert int(resumed.removeprefix("bytes=").partition("-")[0]) > 0
    assert (mirror / LARGE.path).read_bytes() == LARGE.body
    assert LARGE.path.name in (mirror / "whl" / "cpu" / "large" / "index.html").read_text()  # published at the end


def test_another_command_that_holds_the_lock_keeps_no_client_waiting(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        other: AbstractContextManager[None] = gateway.held.lock()
        with other:
            assert gateway.get(f"/{LARGE.path}").body == LARGE.body
            assert gateway.get(f"/{LARGE.path}").body == LARGE.body  # out of what came, which has no name yet
            assert not (gateway.mirror_root / LARGE.path).exists()
        eventually(lambda: LARGE.path in gateway.held.read_published())
        assert gateway.get(f"/{LARGE.path}").body == LARGE.body
        assert len(asked_for(upstream, f"/{LARGE.path}")) == 1


def test_wheels_go_on_coming_while_many_wait_for_the_lock(tmp_path: Path) -> None:
    wheels = [craft_wheel(f"whl/cpu/many{number}-1.0-py3-none-any.whl") for number in range(12)]
    with offering(*wheels) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        with gateway.held.lock():
            for wheel in wheels:
                assert gateway.get(f"/{wheel.path}").body == wheel.body
        eventually(lambda: set(gateway.held.read_published()) == {wheel.path for wheel in wheels})


def test_a_mirror_has_one_gateway(tmp_path: Path) -> None:
    with offering(SMALL) as upstream, Gateway(tmp_path / "mirror", upstream.url):
        second = Gateway(tmp_path / "mirror", upstream.url).site
        with pytest.raises(UsageError, match="another gateway") as error:
            asyncio.run(second.__aenter__())
    assert error.value.code == "gateway-busy"


def test_what_is_asked_for_least_goes_and_what_a_lock_names_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_offline.server.gateway.site._IN_USE_SECONDS", 0.0)
    pinned = craft_wheel("whl/cpu/pinned-1.0-py3-none-any.whl")
    with (
        offering(LARGE, THIRD, pinned) as upstream,
        Gateway(tmp_path / "mirror", upstream.url, max_size=2_000_000) as gateway,
    ):
        assert gateway.get(f"/{pinned.path}").status == 200
        eventually(lambda: pinned.path in gateway.held.read_published())
        lock = f"pinned==1.0 --hash=sha256:{pinned.sha256}\n"
        gateway.held.write_locks({"requirements.node.txt": lock.encode()})
        assert gateway.get(f"/{LARGE.path}").status == 200
        eventually(lambda: LARGE.path in gateway.held.read_published())
        time.sleep(1.1)  # uses are noted by the second
        assert gateway.get(f"/{THIRD.path}").status == 200
        eventually(lambda: set(gateway.held.read_published()) == {THIRD.path, pinned.path})
        eventually(lambda: gateway.site.figures.evictions == 1)
        assert not (gateway.mirror_root / LARGE.path).exists()
        assert gateway.get(f"/{LARGE.path}").body == LARGE.body  # and can be had again


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_said_and_the_gateway_goes_on(small_disk: Path) -> None:
    with offering(LARGE, SMALL) as upstream, Gateway(small_disk / "mirror", upstream.url) as gateway:
        filler = small_disk / "filler"
        filler.write_bytes(bytes(3_000_000))  # what is left is less than the reserve for pages and the wheel
        assert gateway.get("/whl/cpu/large/").status == 200
        heard = gateway.get(f"/{LARGE.path}")
        assert heard.status == 503
        assert b"free" in heard.body
        filler.unlink()
        eventually(lambda: gateway.get(f"/{LARGE.path}").status in {200, 503})
        assert gateway.get("/whl/cpu/large/").status == 200


def test_a_full_disk_is_made_room_on_where_a_size_was_given(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_offline.server.gateway.site._IN_USE_SECONDS", 0.0)
    with (
        offering(LARGE, THIRD) as upstream,
        Gateway(small_disk / "mirror", upstream.url, max_size=10_000_000) as gateway,
    ):
        assert gateway.get(f"/{LARGE.path}").status == 200
        eventually(lambda: LARGE.path in gateway.held.read_published())
        free = os.statvfs(small_disk)
        reserve = 16 * 1024 * 1024
        (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - reserve - 500_000))
        assert gateway.get(f"/{THIRD.path}").body == THIRD.body
        assert LARGE.path not in gateway.held.read_files()
        assert gateway.site.figures.evictions == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system that cannot be written")
def test_a_gateway_says_that_its_mirror_cannot_be_written(tmp_path: Path) -> None:
    place = tmp_path / "read-only"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this place lets nobody mount anything")
    try:
        with pytest.raises(UsageError, match="cannot be written") as caught:
            asyncio.run(entered(Gateway(place / "mirror", "http://127.0.0.1:9/whl")))
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert caught.value.code == "mirror-not-writable"


async def entered(gateway: Gateway) -> None:
    async with gateway.site:
        pass
