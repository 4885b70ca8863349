from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.byte_ranges import ContentRange, complete_length, parse_content_range, parse_unsatisfied_range


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("bytes 0-0/17", ContentRange(first=0, last=0, total=17)),
        (" BYTES 5-16/* ", ContentRange(first=5, last=16, total=None)),
        ("bytes 5-4/17", None),
        ("bytes */17", None),
        ("bytes 0-0", None),
        ("items 0-0/17", None),
        ("bytes 0-٣/17", None),
        ("bytes 0-0/" + "9" * 19, None),
    ],
)
def test_content_range(said: str, meant: ContentRange | None) -> None:
    assert parse_content_range({"Content-Range": said}) == meant


@pytest.mark.parametrize(("said", "meant"), [("bytes */17", 17), ("bytes 0-0/17", None), ("", None)])
def test_unsatisfied_range(said: str, meant: int | None) -> None:
    assert parse_unsatisfied_range({"Content-Range": said}) == meant


@pytest.mark.parametrize(
    ("status", "headers", "length"),
    [
        (200, {"Content-Length": "17"}, 17),
        (200, {"Content-Length": "-1"}, None),
        (200, {}, None),
        (206, {"Content-Range": "bytes 0-0/17", "Content-Length": "1"}, 17),
        (206, {"Content-Range": "bytes 0-0/*", "Content-Length": "1"}, None),
        (206, {"Content-Length": "1"}, None),
        (404, {"Content-Length": "17"}, None),
    ],
)
def test_complete_length(status: int, headers: dict[str, str], length: int | None) -> None:
    assert complete_length(status, headers) == length


@given(st.text(), st.sampled_from([200, 206, 416]))
def test_no_header_breaks_the_readers(text: str, status: int) -> None:
    headers = {"Content-Range": text, "Content-Length": text}
    parse_content_range(headers)
    parse_unsatisfied_range(headers)
    complete_length(status, headers)
