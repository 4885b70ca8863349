"""A gateway before the simulator: pages rewritten, wheels on first request, and what goes wrong upstream."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.crawler.anchors import parse_anchors
from pytorch_offline.mirror.admission import check_wheel
from pytorch_offline.server.gateway.arrival import HELD_BACK
from pytorch_offline.simulator.faults import Challenge, IgnoreRange, Reset, Stall, Status, WrongBytes
from pytorch_offline.simulator.http_faults import Silent
from pytorch_offline.simulator.server import Simulator
from tests.mirror.loopback import sized_wheel
from tests.mirror.wheels import craft_wheel
from tests.server.gateways import Gateway, asked_for, hurry, offering
from tests.server.serving import Heard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = craft_wheel("whl/cpu/demo-1.0-py3-none-any.whl", requires=("other>=1",))
LARGE = sized_wheel("whl/cpu/large-1.0-py3-none-any.whl", 1_500_000)
HALF = 1_000_000
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_upstream_that_is_asked_with_a_password_has_its_files_in_their_places(tmp_path: Path) -> None:
    with offering(SMALL) as upstream:
        root = upstream.url.replace("://", "://me:secret@")
        with Gateway(tmp_path / "mirror", root) as gateway:
            assert b'href="../demo-1.0' in gateway.get("/whl/cpu/demo/").body
            assert gateway.get(f"/{SMALL.path}").body == SMALL.body
    assert list(gateway.held.read_files()) == [SMALL.path]


def test_a_wheel_is_found_from_a_directory_below_its_own(tmp_path: Path) -> None:
    with offering(SMALL) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        below = f"/whl/cpu/demo/{SMALL.path.name}"
        assert gateway.get(below).headers["location"] == f"../{SMALL.path.name}"
        assert gateway.get(f"{below}.metadata").headers["location"] == f"../{SMALL.path.name}.metadata"
        assert gateway.get(f"/elsewhere/{SMALL.path.name}").status == 404
        assert gateway.get("/whl/cpu/no-wheel.whl").status == 404
        assert gateway.get(f"/{SMALL.path}").body == SMALL.body


def test_pages_lead_nowhere_outside_and_say_what_upstream_says(tmp_path: Path) -> None:
    with Simulator() as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        for path in (
            "/whl/cpu/torch/",
            "/whl/cpu/numpy/",
            "/whl/torch/",
            "/simple/torch/",
            "/whl/cpu/torch_stable.html",
        ):
            heard = gateway.get(path)
            assert heard.status == 200
            hrefs = [anchor.href for anchor in parse_anchors(heard.body).anchors]
            assert hrefs
            assert all("//" not in href and not href.startswith("/") for href in hrefs)
        page = json.loads(gateway.get("/whl/cpu/torch/", Accept=JSON).body)
        row = page["files"][-1]
        assert len(row["hashes"]["sha256"]) == len(row["core-metadata"]["sha256"]) == 64
        assert "torch" in gateway.get("/whl/cpu/").body.decode()
        assert gateway.get("/whl/cpu/nonesuch/").status == 404
        assert gateway.ask("/whl/cpu").headers["location"] == "cpu/"


def test_many_clients_cost_one_request(tmp_path: Path) -> None:
    with offering(SMALL) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        pages = gateway.get_many("/whl/cpu/demo/", 40)
        assert {heard.status for heard in pages if isinstance(heard, Heard)} == {200}
        assert upstream.requests.paths() == ["/whl/cpu/demo/"]
        wheels = gateway.get_many(f"/{SMALL.path}", 40)
        assert {heard.body for heard in wheels if isinstance(heard, Heard)} == {SMALL.body}
        assert len(wheels) == sum(isinstance(heard, Heard) for heard in wheels)
        assert len(asked_for(upstream, f"/{SMALL.path}")) == 1
        assert gateway.site.figures.misses == 1
        sidecars = gateway.get_many(f"/{SMALL.path}.metadata", 10)
        assert {heard.body for heard in sidecars if isinstance(heard, Heard)} == {SMALL.metadata}
        eventually(lambda: SMALL.path in gateway.held.read_published())
        row = gateway.held.read_published()[SMALL.path]
        assert (row.sha256, row.hash_origin.value) == (SMALL.sha256, "published")


def test_the_first_client_gets_the_wheel_while_it_comes(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        upstream.faults.add(f"/{LARGE.path}", Stall(offset=HALF, seconds=1.5))
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.request("GET", f"/{LARGE.path}")
        response = connection.getresponse()
        assert response.getheader("ETag") == f'"{LARGE.sha256}"'
        first = response.read(HALF // 2)
        assert gateway.held.read_files() == {}
        # Meanwhile a second client asks for a part that has not come, and a third for the head alone.
        part = gateway.get(f"/{LARGE.path}", Range="bytes=1200000-1200009")
        assert (part.status, part.body) == (206, LARGE.body[1200000:1200010])
        parts = gateway.get(f"/{LARGE.path}", Range="bytes=0-9,1300000-1300009")
        assert parts.status == 206
        assert LARGE.body[:10] in parts.body
        assert LARGE.body[1300000:1300010] in parts.body
        assert first + response.read() == LARGE.body
        connection.close()
        head = gateway.ask(f"/{LARGE.path}", method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(LARGE.body)))
        assert len(asked_for(upstream, f"/{LARGE.path}")) == 1


def test_wrong_bytes_break_every_transfer_and_admit_nothing(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        upstream.faults.add(f"/{LARGE.path}", WrongBytes(positions=(700_000,)), times=None)
        upstream.faults.add(f"/{LARGE.path}", Stall(offset=HALF, seconds=0.3), times=1)
        heard = gateway.get_many(f"/{LARGE.path}", 12)
        assert not [one for one in heard if isinstance(one, Heard) and one.status == 200]
        assert [one for one in heard if isinstance(one, http.client.IncompleteRead)]
        for one in heard:
            if isinstance(one, http.client.IncompleteRead):
                assert len(one.partial) <= len(LARGE.body) - 65_557
        rejected = gateway.mirror_root / ".state" / "rejected"
        eventually(lambda: any(rejected.glob("*.json")))
        assert "published" in next(rejected.glob("*.json")).read_text()
        assert gateway.held.read_files() == {}
        assert not (gateway.mirror_root / LARGE.path).exists()
        eventually(lambda: gateway.get(f"/{LARGE.path}").status == 502)
        assert len(asked_for(upstream, f"/{LARGE.path}")) <= 2  # nobody's second try costs another download


def test_a_wheel_with_the_right_hash_that_is_no_sound_wheel_is_never_given_whole(tmp_path: Path) -> None:
    bad = craft_wheel(
        "whl/cpu/bad-1.0-py3-none-any.whl",
        content="# " + "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(9000)),
        wrong_record_for="__init__.py",
    )
    with offering(bad, metadata_sidecar=False) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        with pytest.raises(http.client.IncompleteRead) as cut:
            gateway.get(f"/{bad.path}")
        assert len(cut.value.partial) <= len(bad.body) - 65_557
        assert gateway.held.read_files() == {}


def test_a_transfer_that_begins_again_ends_those_of_clients(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        upstream.faults.add(f"/{LARGE.path}", Reset(offset=HALF))
        upstream.faults.add(f"/{LARGE.path}", IgnoreRange(), times=None)
        with pytest.raises(http.client.IncompleteRead):
            gateway.get(f"/{LARGE.path}")
        eventually(lambda: LARGE.path in gateway.held.read_files())
        assert gateway.get(f"/{LARGE.path}").body == LARGE.body


def test_a_cut_line_is_continued_without_the_clients_knowing(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        upstream.faults.add(f"/{LARGE.path}", Reset(offset=HALF))
        assert gateway.get(f"/{LARGE.path}").body == LARGE.body
        assert [given is not None for given in asked_for(upstream, f"/{LARGE.path}")] == [False, True]


def test_who_waits_for_the_gate_is_given_a_little_and_never_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()

    def slow_gate(*arguments: Any, **options: Any) -> object:  # noqa: ANN401  (passed on)
        assert opened.wait(30)
        return check_wheel(*arguments, **options)

    monkeypatch.setattr("pytorch_offline.mirror.store.check_wheel", slow_gate)
    monkeypatch.setattr("pytorch_offline.server.gateway.arrival._BEAT_SECONDS", 0.02)
    before = len(LARGE.body) - HELD_BACK
    with (
        offering(LARGE) as upstream,
        Gateway(tmp_path / "mirror", upstream.url) as gateway,
        closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as client,
    ):
        client.request("GET", f"/{LARGE.path}")
        response = client.getresponse()
        assert response.read(before + 3000) == LARGE.body[: before + 3000]
        opened.set()
        assert response.read() == LARGE.body[before + 3000 :]


def test_an_upstream_that_says_nothing_keeps_nobody_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_offline.server.gateway.readings.PATIENCE_CACHED", 0.2)
    monkeypatch.setattr("pytorch_offline.server.gateway.readings.PATIENCE", 0.6)
    with offering(SMALL, LARGE) as upstream:
        with Gateway(tmp_path / "mirror", upstream.url) as gateway:
            assert gateway.get("/whl/cpu/demo/").status == 200
        upstream.faults.add("/whl/*", Silent(seconds=3), times=None)
        with Gateway(tmp_path / "mirror", upstream.url, later=timedelta(hours=1)) as gateway:
            page = gateway.get("/whl/cpu/demo/")
            assert (page.status, page.headers["cache-status"]) == (200, "pytorch-offline; hit; detail=not-in-time")
            assert gateway.get("/whl/cpu/large/").status == 504
            upstream.faults.clear()
            eventually(lambda: gateway.get("/whl/cpu/large/").status == 200)  # the asking went on
            eventually(lambda: "cache-status" not in gateway.get("/whl/cpu/demo/").headers)


def test_a_client_that_leaves_does_not_stop_the_download(tmp_path: Path) -> None:
    with offering(LARGE) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        upstream.faults.add(f"/{LARGE.path}", Stall(offset=HALF, seconds=0.5))
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.request("GET", f"/{LARGE.path}")
        connection.getresponse().read(1000)
        connection.close()
        eventually(lambda: LARGE.path in gateway.held.read_files())


def test_upstream_down_what_is_cached_is_served_with_its_age(tmp_path: Path) -> None:
    with offering(SMALL, LARGE) as upstream:
        with Gateway(tmp_path / "mirror", upstream.url) as gateway:
            assert gateway.get("/whl/cpu/").status == 200
            assert gateway.get("/whl/cpu/demo/").status == 200
            assert gateway.get(f"/{SMALL.path}").body == SMALL.body
            assert gateway.get("/whl/cpu/demo/").headers["age"] in {"0", "1"}
        address = upstream.url
    with Gateway(tmp_path / "mirror", address, later=timedelta(hours=1)) as gateway:  # nobody listens there any more
        page = gateway.get("/whl/cpu/demo/")
        assert (page.status, page.headers["cache-status"]) == (200, "pytorch-offline; hit; detail=unreachable")
        assert SMALL.path.name in page.body.decode()
        assert int(page.headers["age"]) >= 3600
        assert gateway.get(f"/{SMALL.path}").body == SMALL.body
        assert gateway.get(f"/{SMALL.path}.metadata").body == SMALL.metadata
        assert gateway.get("/whl/cpu/large/").status == 504
        assert gateway.get(f"/{LARGE.path}").status == 504
        assert len([text for text in gateway.said if "cannot be asked" in text]) == 1
        assert gateway.site.figures.upstream.answers is False


def test_a_page_that_is_none_takes_nothing_away(tmp_path: Path) -> None:
    with offering(SMALL) as upstream:
        with Gateway(tmp_path / "mirror", upstream.url) as gateway:
            assert gateway.get("/whl/cpu/demo/").status == 200
        upstream.faults.add("/whl/*", Challenge(), times=None)
        with Gateway(tmp_path / "mirror", upstream.url, later=timedelta(hours=1)) as gateway:
            page = gateway.get("/whl/cpu/demo/")
            told = "pytorch-offline; hit; detail=not-an-index-page"
            assert (page.status, page.headers["cache-status"]) == (200, told)
            upstream.faults.clear()
            upstream.faults.add("/whl/*", Status(code=503), times=None)
            assert gateway.get("/whl/cpu/demo/").status == 200


def test_what_is_held_stays_listed_when_upstream_drops_it(tmp_path: Path) -> None:
    with offering(SMALL) as upstream:
        with Gateway(tmp_path / "mirror", upstream.url) as gateway:
            gateway.get("/whl/cpu/demo/")
            assert gateway.get(f"/{SMALL.path}").status == 200
            upstream.spec.remove(f"/{SMALL.path}")
            page = gateway.get("/whl/cpu/demo/")
            assert SMALL.path.name in page.body.decode()
        with Gateway(tmp_path / "mirror", upstream.url, later=timedelta(hours=1)) as gateway:
            assert SMALL.path.name in gateway.get("/whl/cpu/demo/").body.decode()
            assert gateway.get(f"/{SMALL.path}").body == SMALL.body


@pytest.mark.parametrize("how", ["sidecar", "ranges", "wheel"])
def test_metadata_comes_by_the_cheapest_way(tmp_path: Path, how: str) -> None:
    with (
        offering(LARGE, metadata_sidecar=how == "sidecar") as upstream,
        Gateway(tmp_path / "mirror", upstream.url) as gateway,
    ):
        if how == "wheel":
            upstream.faults.add(f"/{LARGE.path}", IgnoreRange(), times=None)
        assert gateway.get(f"/{LARGE.path}.metadata").body == LARGE.metadata
        asked = [request.path for request in upstream.requests if request.path.startswith(f"/{LARGE.path}")]
        assert (f"/{LARGE.path}.metadata" in asked) == (how == "sidecar")
        assert (PurePosixPath(LARGE.path) in gateway.held.read_files()) == (how == "wheel")
        before = len(upstream.requests)
        assert gateway.get(f"/{LARGE.path}.metadata").body == LARGE.metadata
        assert len(upstream.requests) == before


def test_a_nightly_without_a_hash_is_trusted_on_first_use(tmp_path: Path) -> None:
    nightly = sized_wheel("whl/nightly/cpu/large-2.0.dev20260801-py3-none-any.whl", 600_000)
    with offering(nightly, hash_listed=False) as upstream, Gateway(tmp_path / "mirror", upstream.url) as gateway:
        assert "#sha256" not in gateway.get("/whl/nightly/cpu/large/").body.decode()
        heard = gateway.get(f"/{nightly.path}")
        assert heard.body == nightly.body
        eventually(lambda: nightly.path in gateway.held.read_files())
        assert gateway.held.read_files()[nightly.path].hash_origin.value == "computed"
        eventually(lambda: f"#sha256={nightly.sha256}" in gateway.get("/whl/nightly/cpu/large/").body.decode())


def test_a_gateway_may_be_the_upstream_of_another(tmp_path: Path) -> None:
    with (
        offering(LARGE) as upstream,
        Gateway(tmp_path / "first", upstream.url) as first,
        Gateway(tmp_path / "second", f"{first.url}/whl") as second,
    ):
        assert LARGE.path.name in second.get("/whl/cpu/large/").body.decode()
        assert second.get(f"/{LARGE.path}.metadata").body == LARGE.metadata
        assert second.get(f"/{LARGE.path}").body == LARGE.body
        assert len(asked_for(upstream, f"/{LARGE.path}")) == 1


def test_everything_but_the_family_comes_from_the_default_index(tmp_path: Path) -> None:
    with offering(craft_wheel("whl/cpu/torch-2.4.0+cpu-py3-none-any.whl")) as upstream:
        upstream.spec.add_default("other-3.0-py3-none-any.whl")
        with Gateway(tmp_path / "mirror", upstream.url, default_index=f"{upstream.second_url}/simple/") as gateway:
            assert b"../../whl/other-3.0-py3-none-any.whl" in gateway.get("/simple/other/").body
            # Also where upstream has no page of it, so that pytorch.org's own command needs no second index.
            assert b"../../other-3.0-py3-none-any.whl" in gateway.get("/whl/cpu/other/").body
            assert gateway.get("/whl/other-3.0-py3-none-any.whl").status == 200
            assert gateway.get("/simple/torch/").status == 200
            asked = len([path for path in upstream.requests.paths() if path.startswith("/simple/")])
            assert gateway.get("/whl/cpu/torchaudio/").status == 404  # the family is upstream's alone
            assert gateway.get("/whl/cu118/").status == 404  # no project
            assert len([path for path in upstream.requests.paths() if path.startswith("/simple/")]) == asked
