"""``/health`` and ``/metrics``: what they say of a mirror, to whom, and what it costs."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from pytorch_offline.mirror.milestones import Crawled, Imported, Milestones, Reached, Verified
from pytorch_offline.mirror.standing import Drive, Holding, Standing, Status
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.handler import Handler
from pytorch_offline.server.listening.door import addresses, bind
from pytorch_offline.server.listening.limits import Limits
from pytorch_offline.server.monitoring.health import Serving, document_of, health_page, judge
from pytorch_offline.server.monitoring.kept_standing import KeptStanding
from pytorch_offline.server.monitoring.metrics import MOST_DIRECTORIES, Metrics, metrics_page
from pytorch_offline.server.monitoring.tally import KINDS, NO_REQUEST, Tally, kind_of
from pytorch_offline.server.resources import LivePage, Question
from pytorch_offline.server.routed import Routed
from pytorch_offline.server.running import Service, serving
from pytorch_offline.server.tree.following import FollowedMirror
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

NOW = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=30)
WHOLE = Holding(directory="", files=3, projects=2, size=3000)
STANDING = Standing(at=NOW, generation="0123", whole=WHOLE, newest=NOW, oldest=NOW, reached=Reached())
SERVING = Serving(since=NOW, files=3, trouble=None)
IMPORTED = Imported(
    ended=NOW, bundle="0" * 64, lineage="1" * 64, counter=7, created=datetime(2026, 8, 1, 6, tzinfo=UTC), brought=3
)
VERIFIED = Verified(ended=NOW, files=3, read=3, deep=False, findings=0, oldest=NOW)


@dataclass
class UpstreamState:
    newest_success: datetime | None = None
    newest_failure: datetime | None = None
    failure_code: str | None = None
    answers: bool | None = None


@dataclass
class GatewayFigures:
    hits: int = 1
    misses: int = 2
    upstream_bytes: int = 3
    upstream_errors: int = 4
    evictions: int = 5
    evicted_bytes: int = 6
    transfers: int = 7
    upstream: UpstreamState = field(default_factory=UpstreamState)

    @classmethod
    def talkative(cls) -> GatewayFigures:
        return cls(
            upstream=UpstreamState(newest_success=NOW, newest_failure=NOW, failure_code="stalled", answers=False)
        )


@dataclass
class Known:
    current: Standing | None = STANDING
    serving: Serving = SERVING


def codes(standing: Standing | None, served: Serving = SERVING, figures: GatewayFigures | None = None) -> list[str]:
    return [one.code for one in judge(standing, served, figures, stale_after=MONTH).reasons]


# Health


def test_a_mirror_that_is_looked_after_is_well() -> None:
    health = judge(STANDING, SERVING, None, stale_after=MONTH)
    assert (health.status, health.reasons, health.serves) == (Status.OK, (), True)
    assert judge(None, SERVING, None, stale_after=MONTH).status is Status.OK  # not found out yet


def test_age_makes_it_stale_and_it_serves_all_the_same() -> None:
    old = replace(STANDING, newest=NOW - timedelta(days=31))
    health = judge(old, SERVING, None, stale_after=MONTH)
    assert (health.status, health.serves) == (Status.STALE, True)
    assert codes(old) == ["care-old"]


def test_bad_files_make_it_failing_and_it_serves_the_others() -> None:
    bad = replace(STANDING, reached=Reached(verified=replace(VERIFIED, findings=1)))
    health = judge(bad, SERVING, None, stale_after=MONTH)
    assert (health.status, health.serves) == (Status.FAILING, True)


@pytest.mark.parametrize(
    ("standing", "served", "figures", "code", "gives"),
    [
        (STANDING, replace(SERVING, files=0), None, "empty", "no"),
        (STANDING, replace(SERVING, files=0), GatewayFigures(), None, "yes"),
        (replace(STANDING, there=False), SERVING, None, "mirror-gone", "no"),
        (replace(STANDING, there=False), SERVING, GatewayFigures(), "mirror-gone", "no"),
        (STANDING, replace(SERVING, trouble="bad-manifest"), None, "bad-manifest", "yes"),
        (STANDING, replace(SERVING, trouble="mirror-unreadable"), None, "mirror-unreadable", "no"),
    ],
)
def test_only_what_has_nothing_to_give_does_not_serve(
    standing: Standing, served: Serving, figures: GatewayFigures | None, code: str | None, gives: str
) -> None:
    assert codes(standing, served, figures) == ([] if code is None else [code])
    assert judge(standing, served, figures, stale_after=MONTH).serves is (gives == "yes")


def test_a_gateway_says_how_upstream_is() -> None:
    down = GatewayFigures(
        upstream=UpstreamState(newest_success=NOW - MONTH, newest_failure=NOW, failure_code="stalled", answers=False)
    )
    health = judge(STANDING, SERVING, down, stale_after=MONTH)
    assert (health.status, health.serves, codes(STANDING, figures=down)) == (Status.STALE, True, ["upstream-down"])
    upstream = document_of(health, STANDING, SERVING, down, now=NOW)["upstream"]
    assert upstream["answers"] is False
    assert upstream["newest_success"] == {"at": "2026-07-23T12:00:00Z", "age_seconds": 30 * 86400}
    assert upstream["failure_code"] == "stalled"
    assert "upstream" not in document_of(health, STANDING, SERVING, None, now=NOW)


def test_what_is_not_known_is_null() -> None:
    health = judge(None, SERVING, None, stale_after=MONTH)
    assert document_of(health, None, SERVING, None, now=NOW)["mirror"] is None
    bare = replace(STANDING, newest=None, oldest=None)
    mirror = document_of(health, bare, SERVING, None, now=NOW)["mirror"]
    unknown = {name for name, value in mirror.items() if value is None}
    assert unknown == {
        "crawl", "pages_read", "verification", "sound_verification", "oldest_verified_file", "newest_verified_file",
        "published", "import", "disk", "drift",
    }  # fmt: skip


@given(st.integers(-10, 10**9))
def test_an_age_is_never_negative(seconds: int) -> None:
    bare = replace(STANDING, reached=Reached(published=NOW))
    health = judge(bare, SERVING, None, stale_after=MONTH)
    mirror = document_of(health, bare, SERVING, None, now=NOW + timedelta(seconds=seconds))["mirror"]
    assert mirror["published"]["age_seconds"] == max(0, seconds)


def test_the_bundle_that_was_taken_last_is_told() -> None:
    taken = replace(STANDING, reached=Reached(imported=IMPORTED))
    health = judge(taken, SERVING, None, stale_after=MONTH)
    told = document_of(health, taken, SERVING, None, now=NOW + timedelta(hours=1))["mirror"]["import"]
    assert (told["counter"], told["age_seconds"], told["created"]) == (7, 3600, "2026-08-01T06:00:00Z")


def answered(page: LivePage, accept: str = "*/*") -> tuple[int, str, str, str]:
    headers = {"Accept": accept}
    answer = page.answer(Question(path="/", query="", field=headers.get, origin="http://mirror:8080", now=NOW))
    return answer.status, answer.cache_control, answer.body.content_type, answer.body.content.decode()


def test_the_page_is_json_that_nobody_keeps() -> None:
    status, cache, content_type, body = answered(health_page(Known(), stale_after=MONTH))
    assert (status, cache, content_type) == (200, "no-store", "application/json")
    assert json.loads(body)["status"] == "ok"
    gone = Known(current=replace(STANDING, there=False))
    assert answered(health_page(gone, stale_after=MONTH))[0] == 503


# Metrics


FULL = Known(
    current=replace(
        STANDING,
        holdings=(replace(WHOLE, directory="cu126"), replace(WHOLE, directory=".")),
        reached=Reached(
            crawled=(Crawled(upstream='http://host/"\\\n', ended=NOW, pages=1, whole=True),),
            verified=VERIFIED,
            sound=VERIFIED,
            published=NOW,
            imported=IMPORTED,
        ),
        drive=Drive(total=10, free=4),
        drift=(),
    )
)


def metrics(known: Known, figures: GatewayFigures | None = None, tally: Tally | None = None) -> LivePage:
    return metrics_page(Metrics(tally=tally or Tally(), kept=known, figures=figures, stale_after=MONTH))


def samples(families: Iterable[Metric]) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def test_prometheus_reads_it_in_both_formats() -> None:
    tally = Tally()
    tally.answers["wheel", 200] = 3
    page = metrics(FULL, GatewayFigures(), tally)
    _, cache, content_type, text = answered(page)
    assert (cache, content_type.partition(";")[0]) == ("no-store", "text/plain")
    found = samples(parse_text(text))
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, _, content_type, text = answered(page, accept)
    assert content_type.partition(";")[0] == "application/openmetrics-text"
    ours = {key: value for key, value in found.items() if key[0].startswith("pytorch_offline_")}
    assert ours == {
        key: one
        for key, one in samples(parse_openmetrics(text)).items()  # type: ignore[no-untyped-call]
        if key in ours
    }
    assert ours["pytorch_offline_http_responses_total", ("wheel", "200")] == 3
    assert ours["pytorch_offline_mirror_bytes", ("cu126",)] == 3000
    assert ours["pytorch_offline_mirror_crawl_timestamp_seconds", ('http://host/"\\\n',)] == NOW.timestamp()
    assert ours["pytorch_offline_gateway_upstream_bytes_total", ()] == 3
    assert ours["pytorch_offline_status", ("ok",)] == 1
    assert ours["pytorch_offline_disk_free_bytes", ()] == 4
    assert ("process_resident_memory_bytes", ()) in found


def test_what_is_not_known_has_no_sample() -> None:
    for known in (Known(current=None), Known()):
        names = {name for name, _ in samples(parse_text(answered(metrics(known))[3]))}
        assert not names & {
            "pytorch_offline_mirror_verification_timestamp_seconds",
            "pytorch_offline_disk_free_bytes",
            "pytorch_offline_mirror_drifted_files",
            "pytorch_offline_gateway_hits_total",
        }
        assert "pytorch_offline_status" in names


def test_a_tree_of_countless_directories_is_one_sample() -> None:
    many = tuple(replace(WHOLE, directory=f"cu{number}") for number in range(MOST_DIRECTORIES + 1))
    found = samples(parse_text(answered(metrics(Known(current=replace(STANDING, holdings=many))))[3]))
    assert [key for key in found if key[0] == "pytorch_offline_mirror_files"] == [
        ("pytorch_offline_mirror_files", ("",))
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's own tool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    text = answered(metrics(FULL, GatewayFigures()))[3]
    ended = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@given(st.text() | st.from_regex(r"/(whl|simple|locks)/[^?]*(\.whl|\.metadata|/)?(\?.*)?"))
def test_whatever_is_asked_for_is_of_a_known_kind(target: str) -> None:
    assert kind_of(target) in KINDS


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/whl/cu126/torch-1.0%2Bcu126-py3-none-any.whl", "wheel"),
        ("/whl/torch-1.0.whl?x=/health", "wheel"),
        ("/whl/torch-1.0.whl.metadata", "metadata"),
        ("/whl/cu126/torch/", "page"),
        ("/simple/torch/?format=application/json", "page"),
        ("/locks/pylock.node.toml", "lock"),
        ("/manifest.json", "manifest"),
        ("/", "own"),
        ("/metrics", "own"),
        ("/assets/page.css", "own"),
        ("/wp-login.php", "other"),
        ("*", "other"),
    ],
)
def test_kinds_of_targets(target: str, kind: str) -> None:
    assert kind_of(target) == kind


# Served


class Watched:
    """A mirror, served with its own pages, and what is counted."""

    def __init__(self, root: Path) -> None:
        self.tally = Tally()
        self.mirror = FollowedMirror(root, tell=lambda _: None)
        self.mirror.load()
        self.kept = KeptStanding(root, self.mirror)
        routes = {
            "/health": health_page(self.kept, stale_after=MONTH),
            "/metrics": metrics_page(Metrics(tally=self.tally, kept=self.kept, stale_after=MONTH)),
        }
        self.listeners = bind("127.0.0.1", 0)
        ((_, self.port),) = addresses(self.listeners)
        self.service = Service(
            handler=Handler(Routed(self.mirror, routes), complain=lambda _: None),
            listeners=self.listeners,
            limits=Limits(),
            grace=1.0,
            say=lambda _: None,
            tally=self.tally,
        )

    async def ask(self, request: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{request}\r\nHost: mirror\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY):
            wheel.admit(mirror)
        mirror.publish(now=lambda: NOW)
    return mirror.root


def test_a_server_says_how_it_is_and_counts_what_it_gives(root: Path) -> None:
    async def talk() -> None:
        watched = Watched(root)
        async with serving(watched.service):
            await watched.kept.renew()
            status, body = await watched.ask("GET /health HTTP/1.1")
            assert status == 200
            assert str(root) not in body.decode()
            document: dict[str, Any] = json.loads(body)
            assert document["mirror"]["files"] == document["serving"]["files"] == 3
            wheel = f"/{TORCH_CPU.path}".replace("+", "%2B")
            assert (await watched.ask(f"GET {wheel} HTTP/1.1"))[1] == TORCH_CPU.body
            assert (await watched.ask(f"HEAD {wheel} HTTP/1.1"))[1] == b""
            assert (await watched.ask(f"GET {wheel} HTTP/1.1\r\nRange: bytes=0-9"))[1] == TORCH_CPU.body[:10]
            assert (await watched.ask("GET /whl/nothing HTTP/1.1"))[0] == 404
            assert (await watched.ask("what is this"))[0] == 400
            status, body = await watched.ask("GET /metrics HTTP/1.1")
            assert status == 200
            assert str(root) not in body.decode()
            found = samples(parse_text(body.decode()))
            name = "pytorch_offline_http_responses_total"
            assert {key[1]: value for key, value in found.items() if key[0] == name and key[1][0] == "wheel"} == {
                ("wheel", "200"): 2,
                ("wheel", "206"): 1,
            }
            assert found[name, ("page", "404")] == 1
            assert sum(value for key, value in found.items() if key[0] == name and key[1][1] == "400") == 1
            assert found["pytorch_offline_http_sent_bytes_total", ("wheel",)] == len(TORCH_CPU.body) + 10
            assert found["pytorch_offline_http_connections", ()] == 1
            assert found["pytorch_offline_http_responses_cut_total", ()] == 0
            assert {key[0] for key in watched.tally.answers} <= {*KINDS, NO_REQUEST}

    asyncio.run(talk())


def test_a_client_that_leaves_is_counted(root: Path) -> None:
    large = craft_wheel("whl/cpu/big-1.0-py3-none-any.whl", further={"big/data": _noise(8 << 20)})
    mirror = Mirror(root)
    with mirror.lock():
        large.admit(mirror)
        mirror.publish(now=lambda: NOW)

    async def talk() -> None:
        watched = Watched(root)
        async with serving(watched.service):
            with socket.create_connection(("127.0.0.1", watched.port)) as leaving:
                leaving.sendall(f"GET /{large.path} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode())
                await asyncio.to_thread(leaving.recv, 1000)
            until = time.monotonic() + 10
            while not watched.tally.cut and time.monotonic() < until:  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.01)
            assert watched.tally.cut == 1
            assert 0 < watched.tally.sent["wheel"] < len(large.body)

    asyncio.run(talk())


def test_what_happens_to_the_mirror_is_noticed(root: Path) -> None:
    async def talk() -> None:
        watched = Watched(root)
        assert watched.kept.current is None
        follower = asyncio.create_task(watched.kept.follow())
        while (first := watched.kept.current) is None:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.01)
        follower.cancel()
        before = watched.kept.serving
        Milestones(root / ".state").note_verification(VERIFIED)
        Mirror(root).remove([SYMPY.path], now=lambda: NOW)
        watched.mirror.load()
        await watched.kept.renew()
        standing, after = watched.kept.current, watched.kept.serving
        assert standing is not None
        assert (standing.whole.files, standing.reached.sound) == (2, VERIFIED)
        assert (before.files, after.files) == (3, 2)
        assert after.since >= before.since
        assert standing.generation != first.generation
        shutil.rmtree(root)
        await watched.kept.renew()
        health = judge(watched.kept.current, watched.kept.serving, None, stale_after=MONTH)
        assert (health.reasons[-1].code, health.serves) == ("mirror-gone", False)
        for listener in watched.listeners:
            listener.close()

    asyncio.run(talk())


def _noise(size: int) -> bytes:
    """Bytes that deflate cannot make fewer."""
    return random.Random(0).randbytes(size)
