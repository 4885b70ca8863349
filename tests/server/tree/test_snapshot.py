"""One generation of a mirror: what lies at which path, and which pages are in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytorch_offline.mirror.pages import render_pages
from pytorch_offline.server.resources import Page, Redirect, StoredFile, UnrenderedPage
from pytorch_offline.server.tree.rendered import RenderedPages, make_body, render_page
from pytorch_offline.server.tree.snapshot import Snapshot
from pytorch_offline.server.tree.whole_indexes import plan_simple_index
from tests.mirror.wheels import craft_wheel

ROOT = Path("mirror")
THEN, NOW = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
PATHS = (
    "whl/cpu/torch-2.9.0+cpu-py3-none-any.whl",
    "whl/cu126/torch-2.9.0+cu126-py3-none-any.whl",
    "whl/nightly/cu126/torch-2.10.0.dev20261101+cu126-py3-none-any.whl",
    "whl/test/torch-2.9.0-py3-none-any.whl",
    "whl/torch-2.9.0-py3-none-any.whl",
    "whl/typing_extensions-4.15.0-py3-none-any.whl",
)
ROWS = tuple(craft_wheel(path).row() for path in PATHS)


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot(ROOT, ROWS, modified=NOW)


def page_at(snapshot: Snapshot, path: str) -> Page:
    found = snapshot.find(path)
    page = found.render() if isinstance(found, UnrenderedPage) else found
    assert isinstance(page, Page)
    return page


def test_every_page_of_the_tree_is_there_byte_for_byte(snapshot: Snapshot) -> None:
    for path, body in render_pages(ROWS).items():
        (form,) = page_at(snapshot, f"/{path}").forms
        assert form.content == body
        if path.name.startswith("index."):
            assert body in {form.content for form in page_at(snapshot, f"/{path.parent}/").forms}


def test_every_file_and_its_metadata_are_there(snapshot: Snapshot) -> None:
    for row in ROWS:
        wheel, metadata = snapshot.find(f"/{row.path}"), snapshot.find(f"/{row.path}.metadata")
        assert isinstance(wheel, StoredFile)
        assert isinstance(metadata, StoredFile)
        assert (wheel.path, wheel.size, wheel.sha256) == (ROOT / row.path, row.size, row.sha256)
        assert (metadata.path, metadata.size) == (ROOT / f"{row.path}.metadata", None)
        assert metadata.sha256 == row.metadata_sha256


def test_a_file_is_where_upstream_has_it_too(snapshot: Snapshot) -> None:
    found = snapshot.find("/whl/cu126/vllm/torch-2.9.0+cu126-py3-none-any.whl")
    assert isinstance(found, StoredFile)
    assert found.path == ROOT / PATHS[1]


@pytest.mark.parametrize("suffix", ["", ".metadata"])
def test_a_wheel_of_the_channel_is_found_from_a_variant_unless_variants_differ(snapshot: Snapshot, suffix: str) -> None:
    anywhere = f"typing_extensions-4.15.0-py3-none-any.whl{suffix}"
    assert snapshot.find(f"/whl/cu118/{anywhere}") == Redirect(location=f"/whl/{anywhere}")
    assert snapshot.find(f"/whl/nightly/cu118/{anywhere}") is None
    assert snapshot.find(f"/whl/cu118/{anywhere}/") is None
    assert snapshot.find(f"/whl/cu118/torch-2.9.0-py3-none-any.whl{suffix}") is None


def test_the_plain_index_lists_each_file_name_once_the_stable_channel_first() -> None:
    pages = {str(page.directory): page for page in plan_simple_index(ROWS) if hasattr(page, "directory")}
    assert set(pages) == {"simple", "simple/torch", "simple/typing-extensions"}
    html = render_page(pages["simple/torch"], None).forms[0].content.decode()
    assert html.count(">torch-2.9.0-py3-none-any.whl<") == 1
    assert "../../whl/torch-2.9.0-py3-none-any.whl#" in html
    assert html.count("<a ") == 4
    document = json.loads(render_page(pages["simple"], None).forms[-1].content)
    assert [project["name"] for project in document["projects"]] == ["torch", "typing-extensions"]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/whl", "/whl/"),
        ("/whl/cu126", "/whl/cu126/"),
        ("/whl/cu126/torch", "/whl/cu126/torch/"),
        ("/whl/cu126/Torch", "/whl/cu126/torch/"),
        ("/whl/Typing_Extensions/", "/whl/typing-extensions/"),
        ("/whl/nightly/cu126/typing..extensions/", "/whl/nightly/cu126/typing-extensions/"),
        ("/simple/TYPING-.-EXTENSIONS", "/simple/typing-extensions/"),
    ],
)
def test_names_lead_to_pages(snapshot: Snapshot, path: str, location: str) -> None:
    assert snapshot.find(path) == Redirect(location=location)


@pytest.mark.parametrize(
    "path", ["/", "/whl/rocm6.4/", "/whl/cu126/numpy/", "/whl/torch/torch-2.9.0-py3-none-any.whl/", "/whl/.metadata"]
)
def test_nothing_else_is_there(snapshot: Snapshot, path: str) -> None:
    assert snapshot.find(path) is None


def test_an_empty_mirror_has_an_empty_index() -> None:
    assert b"<a " not in page_at(Snapshot(ROOT), "/whl/").forms[0].content
    assert b"<a " not in page_at(Snapshot(ROOT), "/simple/").forms[0].content


def test_a_page_that_stays_the_same_is_taken_over_with_its_date() -> None:
    before = Snapshot(ROOT, ROWS, modified=THEN)
    for render in before.renderings():
        render()
    after = Snapshot(
        ROOT, (*ROWS, craft_wheel("whl/cpu/torch-2.9.1+cpu-py3-none-any.whl").row()), modified=NOW, previous=before
    )
    same, changed = "/whl/cu126/torch/", "/whl/cpu/torch/"
    assert after.find(same) is before.find(same)
    assert isinstance(after.find(changed), UnrenderedPage)
    assert (page_at(after, same).modified, page_at(after, changed).modified) == (THEN, NOW)


def test_memory_holds_what_was_asked_for_last() -> None:
    plans = {f"/{plan.directory}/": plan for plan in plan_simple_index(ROWS) if hasattr(plan, "directory")}
    first, second, third = plans
    pages = RenderedPages(limit=1, modified=None)
    for path in (first, second):
        pages.render(path, plans[path])
    assert pages.get(first) is None
    assert pages.get(second) is pages.render(second, plans[second])  # not rendered again
    assert pages.is_full
    pages.render(third, plans[third])
    assert pages.get(second) is None


def test_forms_of_one_page_have_tags_of_their_own() -> None:
    tags = [form.etag for form in page_at(Snapshot(ROOT, ROWS), "/whl/torch/").forms]
    assert len(set(tags)) == 3
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


def test_what_compression_does_not_help_is_not_kept_twice() -> None:
    assert make_body("x/y", b"a" * 5000).gzipped is not None
    assert make_body("x/y", b"a" * 500).gzipped is None
