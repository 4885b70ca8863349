"""Which form of a page which client gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror.served_as import HTML, JSON_V1
from pytorch_offline.server.protocol.negotiation import HTML_V1, accepts_gzip, choose_media_type

OFFERED = (HTML, HTML_V1, JSON_V1)
PIP = f"{JSON_V1}, {HTML_V1}; q=0.1, text/html; q=0.01"
UV = f"{JSON_V1}, {HTML_V1};q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, HTML),
        ("", HTML),
        (" , ", HTML),
        ("*/*", HTML),
        (PIP, JSON_V1),
        (UV, JSON_V1),
        (BROWSER, HTML),
        ("text/html", HTML),  # pip to 22.1, and uv for a flat page
        ("text/*", HTML),
        ("application/*", HTML_V1),
        ("application/*;q=0.5, text/html;q=0.4", HTML_V1),
        (JSON_V1, JSON_V1),
        (JSON_V1.upper(), JSON_V1),
        (HTML_V1, HTML_V1),
        ("application/vnd.pypi.simple.latest+json", JSON_V1),
        ("application/vnd.pypi.simple.latest+html, text/html;q=0.5", HTML_V1),
        (f"{JSON_V1}, text/html", HTML),  # equals: what everybody reads
        (f"text/html;q=0.5, {JSON_V1};q=0.6", JSON_V1),
        (f"*/*;q=0.9, {JSON_V1}", JSON_V1),
        (f"*/*, {JSON_V1};q=0.5", HTML),
        ("text/html;q=0, */*", HTML_V1),
        (f"text/html;q=0, {HTML_V1};q=0, */*;q=0.1", JSON_V1),
        ("text/html; charset=utf-8; q=0.5", HTML),
        ("text/html;Q=0.5", HTML),
        (f"{JSON_V1};q=0.001, image/png", JSON_V1),
        ("application/json", None),
        ("image/png", None),
        ("text/html;q=0", None),
        ("*/*;q=0", None),
        ("text/html;q=2", None),
        ("text/html;q=high", None),
        ("text/html;q=0.12345", None),
        ("html", None),
        ("*", None),
    ],
)
def test_the_form_that_is_wanted_most(accept: str | None, chosen: str | None) -> None:
    assert choose_media_type(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        (f"format={JSON_V1}", JSON_V1),
        (f"format={JSON_V1.replace('+', '%2B')}", JSON_V1),
        (f"format={JSON_V1.replace('/', '%2F')}", JSON_V1),
        ("format=application/vnd.pypi.simple.latest+json", JSON_V1),
        (f"format={JSON_V1.replace('+', '%20')}", JSON_V1),  # read as a form's and written again
        ("x=1&format=text/html", HTML),
        ("format=json", None),
        ("format=", None),
        ("x=1", JSON_V1),
        ("", JSON_V1),
    ],
)
def test_an_address_may_name_the_form(query: str, chosen: str | None) -> None:
    assert choose_media_type(PIP, OFFERED, query=query) == chosen


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("br", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("gzip;q=0.5, identity;q=0", True),
        ("gzip;q=x", False),
    ],
)
def test_who_gets_it_compressed(header: str | None, accepted: object) -> None:
    assert accepts_gzip(header) is accepted


WEIGHTS = st.sampled_from(["", ";q=0", ";q=0.1", ";q=0.5", ";q=1", "; q=1.000", ";level=1;q=0.3", ";q=bad"])
NAMES = st.sampled_from([*OFFERED, "text/*", "application/*", "*/*", "image/png", "", "x"])


@given(st.lists(st.tuples(NAMES, WEIGHTS).map("".join), max_size=6).map(", ".join))
def test_a_form_that_is_refused_by_name_is_not_given(accept: str) -> None:
    chosen = choose_media_type(accept, OFFERED)
    named = [item for item in accept.split(", ") if item.split(";")[0] == chosen]
    assert not named or any("q=0" not in item or "q=0." in item for item in named)


@given(st.text())
def test_whatever_a_client_writes_has_an_answer(text: str) -> None:
    assert choose_media_type(text, OFFERED, query=text) in {*OFFERED, None}
    accepts_gzip(text)
