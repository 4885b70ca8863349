"""What a gateway decides, without a network: paths, rows, which saying counts, what of a coming file may be given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.model import IndexFile, Link, Observation
from pytorch_offline.server.gateway.arrival import HELD_BACK, LAST, Standing
from pytorch_offline.server.gateway.asked import AskedPage, AskedWheel, parse_asked, upstream_page
from pytorch_offline.server.gateway.finding import Indexes, said_of
from pytorch_offline.server.gateway.rows import held_in, list_page, merged, offered, wanted
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.mirror.wheels import craft_wheel

UPSTREAM = "https://index.example/whl"
DEMO = craft_wheel("whl/cu126/demo-1.0-py3-none-any.whl")
ROOT_DEMO = craft_wheel("whl/demo-1.0-py3-none-any.whl", content="other")


def link(path: str, **facts: object) -> Link:
    name = path.rpartition("/")[2]
    made = Link(filename=name, url=f"https://index.example{path.replace('+', '%2B')}", path=path)
    return replace(made, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "asked", "upstream"),
    [
        ("/whl/", AskedPage(directory=PurePosixPath("whl")), f"{UPSTREAM}/"),
        ("/whl/cu126/torch/", AskedPage(directory=PurePosixPath("whl/cu126/torch")), f"{UPSTREAM}/cu126/torch/"),
        (
            "/whl/nightly/cu126/torch/index.html",
            AskedPage(directory=PurePosixPath("whl/nightly/cu126/torch"), form="index.html"),
            f"{UPSTREAM}/nightly/cu126/torch/",
        ),
        (
            "/whl/cpu/torch_stable.html",
            AskedPage(directory=PurePosixPath("whl/cpu"), flat="torch_stable.html"),
            f"{UPSTREAM}/cpu/torch_stable.html",
        ),
        ("/simple/numpy/", AskedPage(directory=PurePosixPath("simple/numpy")), f"{UPSTREAM}/numpy/"),
    ],
)
def test_a_page_is_upstreams_page_of_that_path(path: str, asked: AskedPage, upstream: str) -> None:
    assert parse_asked(path) == asked
    assert upstream_page(UPSTREAM, asked) == upstream
    assert upstream_page(f"{UPSTREAM}/", asked) == upstream


def test_a_wheel_is_asked_for_where_the_tree_has_it_and_nowhere_else() -> None:
    place = PurePosixPath("whl/cu126/torch-2.7.0+cu126-cp311-cp311-linux_x86_64.whl")
    assert parse_asked(f"/{place}") == AskedWheel(path=place)
    assert parse_asked(f"/{place}.metadata") == AskedWheel(path=place, metadata=True)
    for path in (
        f"/{place.parent}/sub/{place.name}",
        "/whl/cu126/torch/",
        "/whl/cu126/no-wheel.txt",
        "/etc/passwd",
        f"/simple/{place.name}",
        "/whl/a b/torch/",
        "/whl/.state/x/",
        "/whl/a/b/c/d/e/f/",
        "/simple/torch_stable.html",
        "",
        "/",
    ):
        assert not isinstance(parse_asked(path), AskedWheel)


@given(st.lists(st.sampled_from(["whl", "..", ".", "", "simple", "cu126", "a%2f", "x.whl", "\0", "torch"]), max_size=7))
def test_no_path_leads_out_of_upstreams_index(parts: list[str]) -> None:
    asked = parse_asked("/" + "/".join(parts))
    if isinstance(asked, AskedPage):
        url = upstream_page(UPSTREAM, asked)
        assert url.startswith(f"{UPSTREAM}/")
        assert ".." not in url
        assert "//" not in url.removeprefix("https://")


def test_what_is_held_goes_before_what_upstream_says_of_the_same_place() -> None:
    held = DEMO.row()
    again = offered(link(f"/{DEMO.path}", sha256="0" * 64), from_upstream=True)
    assert merged(PurePosixPath("whl/cu126"), [again], [held]) == (held,)
    assert merged(PurePosixPath("whl/cu126"), [], [held]) == (held,)
    yanked = offered(link(f"/{DEMO.path}", sha256=DEMO.sha256, yanked="broken"), from_upstream=True)
    (row,) = merged(PurePosixPath("whl/cu126"), [yanked], [held])
    assert (row.yanked, row.sha256) == ("broken", DEMO.sha256)


def test_below_a_variant_each_name_is_listed_once_and_in_a_channel_each_place() -> None:
    own = offered(link(f"/{DEMO.path}"), from_upstream=True)
    root = ROOT_DEMO.row()
    assert merged(PurePosixPath("whl/cu126"), [own], [root]) == (own,)
    assert len(merged(PurePosixPath("whl"), [own], [root])) == 2


def test_an_index_lists_what_is_held_of_it() -> None:
    nightly = craft_wheel("whl/nightly/cu126/demo-2.0-py3-none-any.whl").row()
    files = [DEMO.row(), ROOT_DEMO.row(), nightly]

    def paths(directory: str) -> set[PurePosixPath]:
        return {file.path for file in held_in(PurePosixPath(directory), files)}

    assert paths("whl/cu126") == {DEMO.path, ROOT_DEMO.path}
    assert paths("whl/cpu") == {ROOT_DEMO.path}
    assert paths("whl") == {DEMO.path, ROOT_DEMO.path}
    assert paths("whl/nightly") == {nightly.path, ROOT_DEMO.path}
    assert paths("simple") == {file.path for file in files}
    listed = list_page(PurePosixPath("whl"), ["Torch", "demo"], [parse_wheel_name(nightly.path.name).project])
    assert listed.projects == ("demo", "torch")


def saying(made: Link, *, page: str, ended: str | None = None, since: str = "2026-01-01") -> Observation:
    return Observation(page_url=page, link=made, first_seen=since, last_seen=since, ended=ended)


def test_the_best_word_on_a_wheel_counts() -> None:
    path = f"/{DEMO.path}"
    page = f"{UPSTREAM}/cu126/demo/"
    flat = saying(link(path), page=f"{UPSTREAM}/cu126/torch_stable.html", since="2026-03-01")
    old = saying(link(path, sha256="1" * 64), page=page, ended="2026-02-01")
    now = saying(link(path, sha256="2" * 64), page=page, since="2026-02-01")
    elsewhere = saying(link(path, sha256="3" * 64), page="https://other.example/whl/cu126/demo/", since="2026-05-01")
    indexes = Indexes(upstream=UPSTREAM)

    def found(*sayings: Observation) -> str | None:
        file = said_of(DEMO.path, sayings, indexes)
        return None if file is None else file.link.sha256

    assert found(flat, old, now, elsewhere) == "2" * 64
    assert found(old) == "1" * 64  # a lock may name what is listed no more
    assert found(saying(link(path), page=page, ended="2026-02-01")) is None  # nothing would vouch for it
    assert found(elsewhere) is None


def test_a_password_goes_to_the_index_that_it_is_for() -> None:
    indexes = Indexes(upstream="https://me:secret@index.example/whl")
    file = said_of(DEMO.path, [saying(link(f"/{DEMO.path}", sha256="2" * 64), page=f"{UPSTREAM}/cu126/demo/")], indexes)
    assert file is not None
    assert wanted(file, root=indexes.upstream).urls[0] == f"https://me:secret@index.example/{DEMO.path}"


def test_an_index_with_a_password_is_known_by_its_pages_with_the_password_too() -> None:
    indexes = Indexes(upstream="https://me:secret@index.example/whl")
    assert indexes.root_of("https://me:secret@index.example/whl/cu126/demo/") == indexes.upstream
    assert indexes.root_of("https://index.example/whl/cu126/demo/") == indexes.upstream
    assert indexes.root_of("https://me:secret@other.example/whl/cu126/demo/") is None


def test_the_default_index_serves_everything_but_torchs_family() -> None:
    indexes = Indexes(upstream=UPSTREAM, default_index="https://default.example/simple")
    torch = PurePosixPath("whl/torch-2.4.0-py3-none-any.whl")
    numpy = PurePosixPath("whl/numpy-2.4.0-py3-none-any.whl")
    assert list(indexes.pages_that_may_list(torch)) == [f"{UPSTREAM}/torch/"]
    assert list(indexes.pages_that_may_list(numpy)) == [f"{UPSTREAM}/numpy/", "https://default.example/simple/numpy/"]
    other = IndexFile(
        name=parse_wheel_name(numpy.name),
        link=link(f"/packages/cpu/{numpy.name}"),
        page_url="https://default.example/simple/numpy/",
    )
    assert wanted(other, root=indexes.root_of(other.page_url)).path == numpy


SIZES = st.integers(min_value=0, max_value=4 * HELD_BACK)


@given(SIZES, SIZES, st.integers(0, 10_000))
def test_the_last_bytes_wait_for_the_gate(length: int, position: int, beats: int) -> None:
    position = min(position, length)
    here = Standing(position=position, length=length)
    assert here.given_up_to(beats) <= max(0, length - LAST)
    assert here.given_up_to(beats) <= position
    assert Standing(position=length, length=length, proved=True).given_up_to() == length
    if position < length:
        assert here.given_up_to(beats) == here.given_up_to()  # who waits for upstream is given nothing to wait with
    assert Standing(position=position, length=None).given_up_to(beats) == 0


@given(st.lists(st.integers(0, 100), max_size=20))
def test_bytes_that_are_given_up_make_another_attempt(positions: list[int]) -> None:
    standing = Standing()
    falls = 0
    for before, after in zip([0, *positions], positions, strict=False):
        falls += after < before
        standing = standing.watched(after, 100)
    assert standing.attempt == falls
