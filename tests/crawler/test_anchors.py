from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler import anchors
from pytorch_offline.crawler.anchors import (
    Anchors,
    anchors_by_beautifulsoup,
    anchors_by_html_parser,
    anchors_by_selectolax,
    parse_anchors,
)
from tests.crawler.recorded import recorded_pages, restored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARSERS = [anchors_by_selectolax, anchors_by_html_parser, anchors_by_beautifulsoup]


@pytest.fixture(params=PARSERS)
def parse(request: pytest.FixtureRequest) -> Callable[[str], Anchors]:
    if request.param is anchors_by_selectolax:
        pytest.importorskip("selectolax")
    chosen: Callable[[str], Anchors] = request.param
    return chosen


def test_attributes_are_unescaped_and_may_be_bare_or_in_any_order(parse: Callable[[str], Anchors]) -> None:
    found = parse(
        '<html><head><base href="/b/"><base href="/no/"></head><body><h1>x</h1>'
        '<A data-yanked HREF="x.whl#sha256=1" data-requires-python="&gt;=3.10,&lt;4" Data-Foo=\'a"b\' href="y">'
        "x&amp;<b>y</b></A><a name=here>no link</a></body></html>"
    )
    (anchor,) = found.anchors
    assert anchor.attributes == {
        "data-yanked": "",
        "href": "x.whl#sha256=1",
        "data-requires-python": ">=3.10,<4",
        "data-foo": 'a"b',
    }
    assert anchor.text == "x&y"
    assert found.base == "/b/"


def test_what_stands_in_scripts_and_comments_is_no_link(parse: Callable[[str], Anchors]) -> None:
    found = parse(
        '<html><body><a href="a.whl">a.whl</a><br/>\n<script>(function(){var a="<a href=\'b.whl\'>b</a>";})()'
        '</script></html>\n<!--TIMESTAMP 1 <a href="c.whl">c</a>-->'
    )
    assert [anchor.href for anchor in found.anchors] == ["a.whl"]


def test_an_anchor_ends_where_the_next_begins(parse: Callable[[str], Anchors]) -> None:
    found = parse('<pre><a href="a/">a/<a href="b/">b/</a></pre>')
    assert [(anchor.href, anchor.text) for anchor in found.anchors if anchor.text.startswith("b")] == [("b/", "b/")]
    assert [anchor.href for anchor in found.anchors] == ["a/", "b/"]


@pytest.mark.parametrize(
    "broken",
    [
        "<a href=cpu/x-1.whl</a><br>\n<a href=cpu/y-1.whl</a><br>\n",
        '<a href="cpu/x-1.whl</a><br>\n<a href="cpu/y-1.whl</a><br>\n',
        '<a href="cpu/x-1.whl</a><br/>\n<a href="cpu/y-1.whl</a><br/>\n<a href="cpu/z-1.whl">z</a>',
    ],
)
def test_unclosed_attributes_are_mended(broken: str) -> None:
    hrefs = [anchor.href for anchor in parse_anchors(broken.encode()).anchors]
    assert hrefs[:2] == ["cpu/x-1.whl", "cpu/y-1.whl"]
    assert "<" not in "".join(hrefs)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "gb18030"])
def test_other_encodings_are_found_out(encoding: str) -> None:
    page = '<html><head><meta charset="gb18030"></head><body>镜像站目录<a href="x-1.whl">x-1.whl</a></body></html>'
    if encoding == "utf-16":
        page = page.replace('<meta charset="gb18030">', "")
    assert [anchor.href for anchor in parse_anchors(page.encode(encoding)).anchors] == ["x-1.whl"]


def test_without_the_fast_extra_the_standard_library_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"<a href=cpu/x-1.whl</a><br>\n<a href='y-1.whl' data-yanked>y</a>"
    expected = [anchor.href for anchor in parse_anchors(page).anchors]
    monkeypatch.setattr(anchors, "LexborHTMLParser", None)
    monkeypatch.setattr(anchors, "anchors_by_selectolax", None)
    assert [anchor.href for anchor in parse_anchors(page).anchors] == expected == ["cpu/x-1.whl", "y-1.whl"]


def test_the_quick_parsers_agree_on_every_recorded_page(shared: Path) -> None:
    pytest.importorskip("selectolax")
    pages = recorded_pages(shared)
    for row in pages:
        text = restored(shared, row).decode()
        assert anchors_by_selectolax(text) == anchors_by_html_parser(text), row["file"]
    assert len(pages) > 300


@pytest.mark.slow
def test_beautifulsoup_agrees_on_every_recorded_page(shared: Path) -> None:
    for row in recorded_pages(shared):
        text = restored(shared, row).decode()
        assert anchors_by_html_parser(text) == anchors_by_beautifulsoup(text), row["file"]


NAME = st.text("abcxyz-_.0129", min_size=1, max_size=12)
VALUE = st.text("abcxyz-_.0129<>='&; +%é", max_size=20)


@given(st.lists(st.tuples(VALUE, st.dictionaries(NAME.map(lambda n: "data-" + n.strip(".")), VALUE, max_size=3), NAME)))
def test_all_parsers_agree_on_well_formed_anchors(links: list[tuple[str, dict[str, str], str]]) -> None:
    pytest.importorskip("selectolax")

    def escaped(value: str) -> str:
        return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")

    lines = [
        f'<a href="{escaped(href)}"'
        + "".join(f' {name}="{escaped(value)}"' for name, value in said.items())
        + f">{text}</a><br/>"
        for href, said, text in links
    ]
    page = "<!DOCTYPE html>\n<html>\n<body>\n" + "\n".join(lines) + "\n</body>\n</html>"
    expected = [({"href": href, **said}, text) for href, said, text in links]
    for parse in PARSERS:
        assert [(dict(anchor.attributes), anchor.text) for anchor in parse(page).anchors] == expected
