"""Upstream's two hosts: whatever happens to one of them, the other gives the same files."""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.siblings import learn_index, sibling_addresses
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.download import Floor
from pytorch_offline.mirror.fetch import FetchReport, fetch_files
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.faults import Challenge, Fault, Reset, Slow, Stall, Status, Truncate, WrongBytes
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.e2e.tool import run_json, run_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINUX = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--accelerator", "none")
TORCH = "torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl"
PATH = f"/whl/cpu/{TORCH}"


@pytest.fixture
def upstream() -> Iterator[Simulator]:
    spec = Spec()
    spec.add_wheel("cpu", TORCH, padding=400_000)
    with Simulator(spec) as simulator:
        yield simulator


def body(upstream: Simulator) -> bytes:
    (offer,) = upstream.spec.offers()
    content = upstream.spec.body(offer)
    return content.read(0, content.size)


def command(upstream: Simulator) -> tuple[str, ...]:
    return ("fetch", "torch", *LINUX, "--upstream", upstream.url, "--no-default-index", "--no-deps")


@pytest.mark.parametrize(
    "fault",
    [Status(code=403), Status(code=404), Status(code=500), Challenge(), Reset(), WrongBytes(positions=(200_000,))],
    ids=repr,
)
@pytest.mark.parametrize("host", Host)
def test_one_host_is_out_and_nobody_notices(upstream: Simulator, tmp_path: Path, host: Host, fault: Fault) -> None:
    rule = upstream.faults.add("*.whl", fault, times=None, host=host)
    fetched = run_json(*command(upstream), cwd=tmp_path)
    assert fetched["downloaded"] == [f"whl/cpu/{TORCH}"]
    assert (tmp_path / "cache" / "whl" / "cpu" / TORCH).read_bytes() == body(upstream)
    # The page links torch on the second host.
    assert rule.hits > 0 or host is Host.FIRST


@pytest.mark.parametrize("fault", [Status(code=503), Status(code=404), Reset(), Challenge()], ids=repr)
def test_choosing_reads_metadata_where_it_is_to_be_had(tmp_path: Path, fault: Fault) -> None:
    """The host that the pages link is out altogether, and nothing is known yet."""
    spec = Spec()
    spec.add_wheel("cpu", TORCH, requires=())
    with Simulator(spec) as upstream:
        everything = upstream.faults.add("/whl/*", fault, times=None, method=None, host=Host.SECOND)
        words = ("fetch", "torch", *LINUX, "--upstream", upstream.url, "--no-default-index")
        run_tool(*words, "--mirror", tmp_path / "mirror", cwd=tmp_path)
        assert (tmp_path / "mirror" / "whl" / "cpu" / TORCH).read_bytes() == body(upstream)
    assert 0 < everything.hits <= 8, "a host that is out of order is not asked again and again"


def test_many_files_do_not_each_wait_for_a_host_that_is_out(tmp_path: Path) -> None:
    spec = Spec()
    names = [TORCH.replace("2.4.0", f"2.{minor}.0") for minor in range(12)]
    for name in names:
        spec.add_wheel("cpu", name)
    with Simulator(spec) as upstream:
        rule = upstream.faults.add("*", Status(code=503), times=None, host=Host.SECOND)
        files = []
        for name in names:
            path = f"/whl/cpu/{name}".replace("+", "%2B")
            offer = next(offer for offer in spec.offers() if offer.filename == name)
            content = spec.body(offer)
            files.append(
                WantedFile(
                    name=parse_wheel_name(name),
                    path=PurePosixPath(f"whl/cpu/{name}"),
                    urls=(f"{upstream.second_url}{path}", f"{upstream.root_url}{path}"),
                    sha256=hashlib.sha256(content.read(0, content.size)).hexdigest(),
                    size=content.size,
                )
            )
        with Http() as http:
            report = fetch_files(Mirror(tmp_path), files, http, jobs=2, now=lambda: datetime.now(UTC))
    assert len(report.downloaded) == len(names)
    assert rule.hits <= 2, "one try of each job at most"


def test_both_hosts_are_out_and_one_comes_back(upstream: Simulator, tmp_path: Path) -> None:
    upstream.faults.add("*.whl", Status(code=404), times=None)
    lost = run_tool(*command(upstream), cwd=tmp_path, expect=3)
    assert TORCH.replace("+", "%2B") in lost.stderr
    upstream.faults.clear()
    upstream.faults.add("*.whl", Status(code=404), times=None, host=Host.SECOND)
    run_tool(*command(upstream), cwd=tmp_path)
    run_tool("verify", "--deep", cwd=tmp_path)


def fetch(upstream: Simulator, root: Path, link: str, *, sha256: str | None, floor: Floor | None = None) -> FetchReport:
    """Fetch torch as ``fetch`` would, with less patience than a user has."""
    index = learn_index(upstream.url, [f"{upstream.second_url}{PATH}"])
    wanted = WantedFile(
        name=parse_wheel_name(TORCH),
        path=PurePosixPath(f"whl/cpu/{TORCH}"),
        urls=sibling_addresses(link, published=sha256 is not None, indexes=[index]),
        sha256=sha256,
    )
    with Http(timeouts=Timeouts(connect=2, read=0.3)) as http:
        return fetch_files(
            Mirror(root),
            [wanted],
            http,
            retry=RetryPolicy(tries=3, first_wait=0.01, longest_wait=0.02),
            now=lambda: datetime.now(UTC),
            floor=floor,
        )


@pytest.mark.parametrize(
    "fault", [Stall(offset=100_000), Stall(), Slow(bytes_per_second=20_000), Truncate(offset=0)], ids=repr
)
@pytest.mark.parametrize("host", Host)
def test_a_host_that_falls_silent_is_left_for_the_other(
    upstream: Simulator, tmp_path: Path, host: Host, fault: Fault
) -> None:
    upstream.faults.add("*.whl", fault, times=None, host=host)
    roots = {Host.FIRST: upstream.root_url, Host.SECOND: upstream.second_url}
    good = next(root for other, root in roots.items() if other is not host)
    content = body(upstream)
    digest = hashlib.sha256(content).hexdigest()
    link = f"{roots[host]}{PATH}".replace("+", "%2B")
    report = fetch(upstream, tmp_path, link, sha256=digest, floor=Floor(size=50_000, seconds=0.3))
    assert report.downloaded[0].origin == f"{good}{PATH}".replace("+", "%2B")
    assert (tmp_path / "whl" / "cpu" / TORCH).read_bytes() == content
    assert report.bytes_downloaded <= len(content) + 50_000, "what one host had given was asked of the other again"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_refuses_or_knows_no_tls_is_left_for_the_other(
    upstream: Simulator, tmp_path: Path, scheme: str
) -> None:
    """A closed port, and TLS that fails, on the host that the page names."""
    content = body(upstream)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    broken = f"http://127.0.0.1:{closed}" if scheme == "http" else upstream.second_url.replace("http:", "https:")
    link = f"{broken}{PATH}".replace("+", "%2B")
    good = f"{upstream.root_url}{PATH}".replace("+", "%2B")
    wanted = WantedFile(
        name=parse_wheel_name(TORCH),
        path=PurePosixPath(f"whl/cpu/{TORCH}"),
        urls=(link, good),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with Http(timeouts=Timeouts(connect=2, read=2)) as http:
        report = fetch_files(Mirror(tmp_path), [wanted], http, now=lambda: datetime.now(UTC))
    assert report.downloaded[0].origin == good


def test_without_a_published_hash_the_other_host_gives_the_whole_file_anew(upstream: Simulator, tmp_path: Path) -> None:
    content = body(upstream)
    upstream.faults.add("*.whl", Truncate(offset=100_000), times=None, host=Host.SECOND)
    upstream.faults.add("*.whl", Status(code=503), times=None, skip=2, host=Host.SECOND)
    link = f"{upstream.second_url}{PATH}".replace("+", "%2B")
    report = fetch(upstream, tmp_path, link, sha256=None)
    assert (tmp_path / "whl" / "cpu" / TORCH).read_bytes() == content
    assert report.bytes_downloaded == 100_000 + len(content)
    (first,) = [one for one in upstream.requests if one.host is Host.FIRST]
    assert "range" not in first.headers


def test_wrong_bytes_at_both_hosts_are_wrong(upstream: Simulator, tmp_path: Path) -> None:
    digest = hashlib.sha256(body(upstream)).hexdigest()
    upstream.faults.add("*.whl", WrongBytes(positions=(200_000,)), times=None)
    with pytest.raises(IntegrityError) as caught:
        fetch(upstream, tmp_path, f"{upstream.second_url}{PATH}".replace("+", "%2B"), sha256=digest)
    assert caught.value.code == "hash-mismatch"
    assert not (tmp_path / "whl" / "cpu" / TORCH).exists()
