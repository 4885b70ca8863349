"""What the pages say, read back with other parsers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from pytorch_offline.mirror.layout import PAGE_NAMES
from pytorch_offline.mirror.pages import render_pages, render_project_json
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA

ROWS = (
    TORCH_CPU.row(requires_python=">=3.10", upload_time="2026-01-23T15:10:34+02:00"),
    TORCH_CUDA.row(yanked='broken <b>"badly"</b>'),
    SYMPY.row(yanked="", upload_time="some day"),
)
BASE = "https://mirror.example/somewhere/"


def anchors(page: bytes) -> dict[str, dict[str, Any]]:
    soup = BeautifulSoup(page, "html.parser")
    return {anchor.get_text(): dict(anchor.attrs) for anchor in soup.find_all("a")}


def document(page: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(page)
    return parsed


def test_html_carries_what_the_row_says() -> None:
    pages = render_pages(ROWS)
    torch = anchors(pages[PurePosixPath("whl/torch/index.html")])
    cpu, cuda = torch[TORCH_CPU.path.name], torch[TORCH_CUDA.path.name]
    assert cpu == {
        "href": f"../cpu/torch-1.0%2Bcpu-py3-none-any.whl#sha256={ROWS[0].sha256}",
        "data-requires-python": ">=3.10",
        "data-dist-info-metadata": f"sha256={ROWS[0].metadata_sha256}",
        "data-core-metadata": f"sha256={ROWS[0].metadata_sha256}",
        "data-upload-time": "2026-01-23T13:10:34Z",
    }
    assert cuda["data-yanked"] == 'broken <b>"badly"</b>'
    sympy = anchors(pages[PurePosixPath("whl/sympy/index.html")])[SYMPY.path.name]
    assert sympy["data-yanked"] == ""
    assert "data-upload-time" not in sympy
    assert b"&gt;=3.10" in pages[PurePosixPath("whl/torch/index.html")]


@pytest.mark.parametrize(("spelling", "older_name"), [("sympy", True), ("SymPy", False), (None, False)])
def test_the_older_name_of_core_metadata_stands_only_where_its_readers_can_use_it(
    *, spelling: str | None, older_name: bool
) -> None:
    row = SYMPY.row(spelling=spelling)
    found = anchors(render_pages([row])[PurePosixPath("whl/sympy/index.html")])[SYMPY.path.name]
    assert found["data-core-metadata"] == f"sha256={row.metadata_sha256}"
    assert ("data-dist-info-metadata" in found) == older_name


@dataclass(frozen=True)
class Unmeasured:
    """A file that a gateway offers, of whose size nobody has spoken."""

    path: PurePosixPath = SYMPY.path
    size: None = None
    sha256: None = None
    metadata_sha256: None = None
    spelling: None = None
    requires_python: None = None
    yanked: None = None
    upload_time: None = None


def test_json_promises_sizes_only_where_all_are_known() -> None:
    project = canonicalize_name("sympy")
    page = document(render_project_json(project, PurePosixPath("whl/sympy"), [SYMPY.row(), Unmeasured()]))
    assert page["meta"] == {"api-version": "1.0"}
    assert "versions" not in page
    assert ["size" in file for file in page["files"]] == [True, False]


def test_json_carries_what_the_row_says() -> None:
    pages = render_pages(ROWS)
    torch = document(pages[PurePosixPath("whl/cpu/torch/index.v1+json")])
    assert torch == {
        "meta": {"api-version": "1.1"},
        "name": "torch",
        "versions": ["1.0+cpu"],
        "files": [
            {
                "filename": TORCH_CPU.path.name,
                "url": "../torch-1.0%2Bcpu-py3-none-any.whl",
                "hashes": {"sha256": TORCH_CPU.sha256},
                "size": len(TORCH_CPU.body),
                "core-metadata": {"sha256": ROWS[0].metadata_sha256},
                "yanked": False,
                "requires-python": ">=3.10",
                "upload-time": "2026-01-23T13:10:34Z",
            }
        ],
    }
    [sympy] = document(pages[PurePosixPath("whl/sympy/index.v1+json")])["files"]
    assert sympy["yanked"] is True
    assert "upload-time" not in sympy
    assert "requires-python" not in sympy
    assert document(pages[PurePosixPath("whl/index.v1+json")]) == {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": "sympy"}, {"name": "torch"}],
    }


def test_each_html_page_names_its_api_version_and_every_page_has_both_forms() -> None:
    pages = render_pages(ROWS)
    for path, body in pages.items():
        assert path.name in PAGE_NAMES
        if path.suffix == ".html":
            metas = BeautifulSoup(body, "html.parser").find_all("meta", attrs={"name": "pypi:repository-version"})
            assert [meta["content"] for meta in metas] == ["1.0"]
        if path.name == "index.html":
            assert path.with_name("index.v1+json") in pages


def test_every_link_stays_in_the_tree_and_finds_a_file_or_a_page() -> None:
    pages = render_pages(ROWS)
    there = {str(path) for path in pages} | {str(row.path) for row in ROWS}
    followed = 0
    for path, body in pages.items():
        if path.suffix == ".html":
            hrefs = [(text, attributes["href"]) for text, attributes in anchors(body).items()]
        else:
            files = document(body).get("files", [])
            hrefs = [(file["filename"], file["url"]) for file in files]
        for text, href in hrefs:
            target = urlsplit(urljoin(f"{BASE}{path}", href))
            assert target.geturl().startswith(f"{BASE}whl/")
            found = unquote(target.path).removeprefix("/somewhere/")
            assert (f"{found}index.html" if found.endswith("/") else found) in there
            if not found.endswith("/"):
                assert PurePosixPath(found).name == text
                followed += 1
    assert followed > len(ROWS)


def test_equal_rows_give_equal_bytes_in_any_order() -> None:
    assert list(render_pages(ROWS).items()) == list(render_pages(reversed(ROWS)).items())


def test_lists_come_after_the_pages_that_they_lead_to() -> None:
    order = [str(path) for path in render_pages(ROWS)]
    assert order.index("whl/cpu/torch/index.html") < order.index("whl/cpu/index.html")
    assert order.index("whl/cpu/torch_stable.html") < order.index("whl/index.html")


@given(
    yanked=st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
    requires_python=st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
)
def test_no_text_can_break_a_page(yanked: str | None, requires_python: str | None) -> None:
    row = TORCH_CPU.row(yanked=yanked, requires_python=requires_python)
    pages = render_pages([row])
    found = anchors(pages[PurePosixPath("whl/cpu/torch/index.html")])
    assert list(found) == [TORCH_CPU.path.name]
    assert found[TORCH_CPU.path.name].get("data-yanked") == yanked
    assert found[TORCH_CPU.path.name].get("data-requires-python") == requires_python
    [file] = document(pages[PurePosixPath("whl/cpu/torch/index.v1+json")])["files"]
    assert file.get("requires-python") == requires_python
    assert file["yanked"] == (yanked or yanked is not None)


def test_text_that_utf_8_has_no_bytes_for_does_not_stop_a_page() -> None:
    pages = render_pages([SYMPY.row(yanked="half of \ud83d", requires_python="\udfff")])
    [file] = document(pages[PurePosixPath("whl/sympy/index.v1+json")])["files"]
    assert file["yanked"] == "half of ?"  # its escape would be broken JSON to uv
    assert b'data-yanked="half of &#55357;"' in pages[PurePosixPath("whl/sympy/index.html")]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("2026-01-23T15:10:34Z", "2026-01-23T15:10:34Z"),
        ("2026-01-23T15:10:34.120000Z", "2026-01-23T15:10:34.120000Z"),
        ("2026-01-23 15:10:34", "2026-01-23T15:10:34Z"),
        ("0001-01-01T00:00:00+05:00", None),
        ("0099-01-01T00:00:00Z", "0099-01-01T00:00:00Z"),
        ("yesterday", None),
        ("", None),
    ],
)
def test_upload_times_are_shown_as_the_standard_wants_or_not_at_all(said: str, shown: str | None) -> None:
    pages = render_pages([SYMPY.row(upload_time=said)])
    [file] = document(pages[PurePosixPath("whl/sympy/index.v1+json")])["files"]
    assert file.get("upload-time") == shown
