"""Which index serves which project, and where METADATA comes from, against the faithful upstream."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.selector.indexes.offers import IndexOffers
from pytorch_offline.selector.indexes.upstreams import find_upstreams
from pytorch_offline.selector.model import Source
from pytorch_offline.simulator.faults import IgnoreRange, WrongBytes
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.wheels.backend import CPU, parse_backend
from tests.selector.machines import SEED, machine, nvidia

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytorch_offline.crawler.model import Link
    from pytorch_offline.selector.model import Candidate
    from pytorch_offline.target.model import Target

CU121 = parse_backend("cu121")
LINUX = machine(accelerator=nvidia("560.28.03"))
# A port that nobody listens on: 9 is "discard" (RFC 863), which no machine runs any more.
NOBODY = "http://127.0.0.1:9/whl"


@contextmanager
def offers_of(
    simulator: Simulator, scratch: Path, target: Target = LINUX, *, default_index: bool = True, offline: bool = False
) -> Iterator[IndexOffers]:
    index = simulator.default_index_url if default_index else None
    with Http(retry=RetryPolicy(tries=1, connect_tries=1)) as http, Catalogue.open(scratch / "c.sqlite") as catalogue:
        reader = IndexReader(http, catalogue, offline=offline)
        upstreams, _ = find_upstreams([simulator.url], target, reader=reader, channel="stable", default_index=index)
        with IndexOffers(
            target,
            upstreams=upstreams,
            default_index=index,
            reader=reader,
            http=http,
            catalogue=catalogue,
            scratch=scratch / "scratch",
            offline=offline,
        ) as offers:
            yield offers


@pytest.fixture
def spec() -> Spec:
    spec = Spec()
    spec.add_wheel("cu121", "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl", requires=["filelock"])
    spec.add_wheel("", "filelock-1.0-py3-none-any.whl", requires=[])
    spec.add_default("filelock-3.0-py3-none-any.whl")
    spec.add_default("torch-9.9-cp310-cp310-manylinux_2_17_x86_64.whl")
    return spec


def filenames(offers: IndexOffers, project: str) -> set[str]:
    return {one.file.link.filename for one in offers.offer(canonicalize_name(project), [CU121]).candidates}


def the_torch(offers: IndexOffers) -> Candidate:
    (candidate,) = offers.offer(canonicalize_name("torch"), [CU121]).candidates
    return candidate


def test_family_comes_from_upstream_and_the_rest_from_the_default_index(spec: Spec, tmp_path: Path) -> None:
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        assert filenames(offers, "torch") == {"torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"}
        assert the_torch(offers).source is Source.UPSTREAM
        assert filenames(offers, "filelock") == {"filelock-3.0-py3-none-any.whl"}


def test_without_default_index_upstreams_copies_serve(spec: Spec, tmp_path: Path) -> None:
    # Before link pages (2025-12) upstream listed its own copies of third-party wheels.
    with (
        Simulator(spec, era="2025-01") as simulator,
        offers_of(simulator, tmp_path, default_index=False) as offers,
    ):
        assert filenames(offers, "filelock") == {"filelock-1.0-py3-none-any.whl"}


def test_upstreams_copy_serves_where_the_default_index_has_nothing_that_fits(spec: Spec, tmp_path: Path) -> None:
    spec.add_default("markupsafe-3.0-cp313-cp313-win_amd64.whl")
    spec.add_wheel("", "MarkupSafe-2.0-cp310-cp310-manylinux_2_17_x86_64.whl", requires=[])
    with Simulator(spec, era="2025-01") as simulator, offers_of(simulator, tmp_path) as offers:
        assert filenames(offers, "markupsafe") == {"MarkupSafe-2.0-cp310-cp310-manylinux_2_17_x86_64.whl"}
        reasons = {one.reason for one in offers.offer(canonicalize_name("markupsafe"), [CU121]).rejected}
        assert reasons == {"wheel-tags"}


def test_family_project_that_upstream_lacks_is_missing(spec: Spec, tmp_path: Path) -> None:
    spec.add_default("torchvision-0.19.0-cp310-cp310-manylinux_2_17_x86_64.whl")
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        assert not offers.offer(canonicalize_name("torchvision"), [CU121]).known


@pytest.mark.parametrize(
    ("platform", "accelerated"), [("macosx_14_0_arm64", False), ("win_amd64", False)], ids=["macos", "windows-cpu"]
)
def test_default_index_stands_in_for_a_silent_upstream(
    spec: Spec, tmp_path: Path, platform: str, *, accelerated: bool
) -> None:
    target = machine(platform, accelerator=nvidia("560.94") if accelerated else None)
    with (
        Simulator(spec) as simulator,
        Http(retry=RetryPolicy(connect_tries=1)) as http,
        Catalogue.open(tmp_path / "c.sqlite") as catalogue,
    ):
        reader = IndexReader(http, catalogue)
        index = simulator.default_index_url
        upstreams, warnings = find_upstreams([NOBODY], target, reader=reader, channel="stable", default_index=index)
        assert upstreams == ()
        assert any("did not answer" in warning for warning in warnings)
        assert any("default index" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("target", "channel", "default_index"),
    [
        (LINUX, "stable", True),
        (machine(), "stable", True),
        (machine("win_amd64", accelerator=nvidia("560.94")), "stable", True),
        (machine("macosx_14_0_arm64"), "nightly", True),
        (machine("macosx_14_0_arm64"), "stable", False),
    ],
    ids=["linux-cuda", "linux-cpu", "windows-cuda", "nightly", "no-default-index"],
)
def test_a_silent_upstream_is_an_error_elsewhere(
    tmp_path: Path, target: Target, channel: str, *, default_index: bool
) -> None:
    index = "http://127.0.0.1:9/simple" if default_index else None
    with Http(retry=RetryPolicy(connect_tries=1)) as http, Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        reader = IndexReader(http, catalogue)
        with pytest.raises(UpstreamError) as caught:
            find_upstreams([NOBODY], target, reader=reader, channel=channel, default_index=index)
    assert caught.value.code == "unreachable"


def test_second_upstream_serves_when_the_first_is_silent(spec: Spec, tmp_path: Path) -> None:
    with (
        Simulator(spec) as simulator,
        Http(retry=RetryPolicy(connect_tries=1)) as http,
        Catalogue.open(tmp_path / "c.sqlite") as catalogue,
    ):
        reader = IndexReader(http, catalogue)
        urls = [NOBODY, simulator.url]
        upstreams, warnings = find_upstreams(urls, SEED, reader=reader, channel="stable", default_index=None)
        assert [upstream.root for upstream in upstreams] == [f"{simulator.url}/"]
    assert len(warnings) == 1


def test_sidecar_is_used_and_remembered(spec: Spec, tmp_path: Path) -> None:
    with Simulator(spec) as simulator:
        with offers_of(simulator, tmp_path) as offers:
            assert [str(one) for one in offers.metadata(the_torch(offers)).requires_dist] == ["filelock"]
        assert any(path.endswith(".metadata") for path in simulator.requests.paths())
        assert not [path for path in simulator.requests.paths() if path.endswith(".whl")]
        simulator.requests.clear()
        with offers_of(simulator, tmp_path) as offers:
            assert offers.metadata(the_torch(offers)).requires_dist
        assert not [path for path in simulator.requests.paths() if ".whl" in path]


@pytest.mark.parametrize("sidecar", [False, b"Metadata-Version: 2.1\nName: torch\nVersion: 2.4.0+cu121\nX: changed\n"])
def test_without_a_true_sidecar_ranges_are_read(spec: Spec, tmp_path: Path, sidecar: bool | bytes) -> None:  # noqa: FBT001
    name = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    spec.add_wheel("cu121", name, requires=["sympy"], metadata_sidecar=sidecar, padding=200_000)
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        assert [str(one) for one in offers.metadata(the_torch(offers)).requires_dist] == ["sympy"]
        asked = [request for request in simulator.requests if request.path.endswith(".whl")]
        assert asked
        assert all(request.status == 206 for request in asked)


def test_server_that_ignores_ranges_gives_the_whole_wheel(spec: Spec, tmp_path: Path) -> None:
    name = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    spec.add_wheel("cu121", name, requires=["sympy"], metadata_sidecar=False, padding=200_000)
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        simulator.faults.add("*.whl", IgnoreRange(), times=None)
        assert [str(one) for one in offers.metadata(the_torch(offers)).requires_dist] == ["sympy"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_wrong_bytes_of_a_whole_wheel_are_not_believed(spec: Spec, tmp_path: Path) -> None:
    name = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    spec.add_wheel("cu121", name, requires=["sympy"], metadata_sidecar=False, padding=200_000)
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        simulator.faults.add("*.whl", IgnoreRange(), times=None)
        simulator.faults.add("*.whl", WrongBytes(positions=(100_000,)), times=None)
        with pytest.raises(IntegrityError) as caught:
            offers.metadata(the_torch(offers))
    assert caught.value.code == "hash-mismatch"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_offline_knows_what_was_read_and_nothing_else(spec: Spec, tmp_path: Path) -> None:
    with Simulator(spec) as simulator:
        with offers_of(simulator, tmp_path) as offers:
            the_torch(offers)
        with offers_of(simulator, tmp_path, offline=True) as offers, pytest.raises(UpstreamError) as caught:
            offers.metadata(the_torch(offers))
        assert caught.value.code == "not-in-catalogue"


def test_offline_with_an_empty_catalogue_says_so(spec: Spec, tmp_path: Path) -> None:
    with (
        Simulator(spec) as simulator,
        pytest.raises(UpstreamError) as caught,
        offers_of(simulator, tmp_path, offline=True),
    ):
        pass
    assert caught.value.code == "not-in-catalogue"


def test_cpu_page_serves_macos(tmp_path: Path) -> None:
    spec = Spec()
    spec.add_wheel("cpu", "torch-2.4.0-cp310-none-macosx_11_0_arm64.whl", requires=[])
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path, machine("macosx_14_0_arm64")) as offers:
        (candidate,) = offers.offer(canonicalize_name("torch"), [CPU]).candidates
        assert candidate.backend == CPU


def test_reading_ahead_changes_no_answer_and_asks_nothing_twice(spec: Spec, tmp_path: Path) -> None:
    spec.add_default("networkx-3.0-py3-none-any.whl")
    wanted = {canonicalize_name(name): SpecifierSet() for name in ("filelock", "networkx", "no-such-thing")}
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        offers.read_ahead(wanted, CU121)
        read = len(simulator.requests)
        assert filenames(offers, "filelock") == {"filelock-3.0-py3-none-any.whl"}
        assert not offers.offer(canonicalize_name("no-such-thing"), [CU121]).known
        (candidate,) = offers.offer(canonicalize_name("networkx"), [CU121]).candidates
        assert offers.metadata(candidate).name == "networkx"
        assert len(simulator.requests) == read


def test_what_does_not_fit_is_read_when_it_is_asked_about_and_by_version(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("2.3.0", "2.4.0", "2.5.0"):
        spec.add_wheel("cu121", f"torch-{version}+cu121-cp39-cp39-win_amd64.whl", requires=[])
    read: list[str] = []
    numbered = Catalogue.numbered_links

    def spied(catalogue: Catalogue, numbers: Sequence[int]) -> tuple[Link, ...]:
        links = numbered(catalogue, numbers)
        read.extend(link.filename for link in links)
        return links

    monkeypatch.setattr(Catalogue, "numbered_links", spied)
    with Simulator(spec) as simulator, offers_of(simulator, tmp_path) as offers:
        read.clear()  # to recognise this upstream, where its wheels lie was looked at
        offer = offers.offer(canonicalize_name("torch"), [CU121])
        assert offer.known
        assert read == [the_torch(offers).file.link.filename]
        read.clear()
        (newer,) = offer.rejected.of_versions(lambda version: version > Version("2.4.0+cu121"))
        assert newer.file is not None
        assert read == [newer.file.link.filename] == ["torch-2.5.0+cu121-cp39-cp39-win_amd64.whl"]
        everything = [str(one.file.name.version) for one in offer.rejected if one.file is not None]
        assert everything == ["2.3.0+cu121", "2.4.0+cu121", "2.5.0+cu121"]
