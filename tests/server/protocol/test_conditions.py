"""Conditional requests, by table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.server.protocol.conditions import Verdict, judge_conditions, range_applies

ETAG = '"abc"'
MODIFIED = datetime(2026, 11, 21, 17, 0, 0, tzinfo=UTC)
SAME, EARLIER, LATER = (f"Sat, 21 Nov 2026 {time} GMT" for time in ("17:00:00", "16:59:59", "17:00:01"))
HERE, OTHER = ETAG, '"other"'
GO, SAME_AS_YOURS, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, GO),
        ({"If-None-Match": HERE}, SAME_AS_YOURS),
        ({"If-None-Match": f"W/{HERE}"}, SAME_AS_YOURS),  # weak comparison
        ({"If-None-Match": f'{OTHER}, W/"x, y" , {HERE}'}, SAME_AS_YOURS),
        ({"If-None-Match": "*"}, SAME_AS_YOURS),
        ({"If-None-Match": OTHER}, GO),
        ({"If-None-Match": "abc"}, GO),  # unquoted is none
        ({"If-None-Match": '"ABC"'}, GO),
        ({"If-None-Match": ""}, GO),
        ({"If-None-Match": OTHER, "If-Modified-Since": LATER}, GO),  # the tag decides, the date is not read
        ({"If-None-Match": HERE, "If-Modified-Since": EARLIER}, SAME_AS_YOURS),
        ({"If-Modified-Since": SAME}, SAME_AS_YOURS),
        ({"If-Modified-Since": LATER}, SAME_AS_YOURS),
        ({"If-Modified-Since": EARLIER}, GO),
        ({"If-Modified-Since": "Saturday, 21-Nov-26 17:00:00 GMT"}, SAME_AS_YOURS),
        ({"If-Modified-Since": "Sat Nov 21 17:00:00 2026"}, SAME_AS_YOURS),
        ({"If-Modified-Since": "yesterday"}, GO),
        ({"If-Modified-Since": f"{SAME}, {SAME}"}, GO),  # sent twice it is no date
        ({"If-Match": HERE}, GO),
        ({"If-Match": "*"}, GO),
        ({"If-Match": f"W/{HERE}"}, FAILED),  # strong comparison
        ({"If-Match": f"{OTHER}, {HERE}"}, GO),
        ({"If-Match": OTHER}, FAILED),
        ({"If-Match": OTHER, "If-None-Match": HERE}, FAILED),
        ({"If-Match": HERE, "If-None-Match": HERE}, SAME_AS_YOURS),
        ({"If-Match": HERE, "If-Unmodified-Since": EARLIER}, GO),
        ({"If-Unmodified-Since": EARLIER}, FAILED),
        ({"If-Unmodified-Since": SAME}, GO),
        ({"If-Unmodified-Since": "never"}, GO),
        ({"If-Unmodified-Since": SAME, "If-Modified-Since": SAME}, SAME_AS_YOURS),
    ],
)
def test_conditions(headers: dict[str, str], verdict: Verdict) -> None:
    assert judge_conditions(headers.get, etag=ETAG, modified=MODIFIED) is verdict


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"If-None-Match": HERE}, GO),
        ({"If-Modified-Since": LATER}, GO),
        ({"If-Unmodified-Since": EARLIER}, GO),
        ({"If-Match": HERE}, FAILED),
        ({"If-Match": "*"}, GO),
        ({"If-None-Match": "*"}, SAME_AS_YOURS),
    ],
)
def test_what_is_not_known_is_not_the_same(headers: dict[str, str], verdict: Verdict) -> None:
    assert judge_conditions(headers.get, etag=None, modified=None) is verdict


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        (HERE, True),
        (f" {HERE} ", True),
        (f"W/{HERE}", False),
        (OTHER, False),
        (f"{OTHER}, {HERE}", False),  # it is one tag, not a list
        (SAME, True),
        (EARLIER, False),
        (LATER, False),
        ("abc", False),
        ("", False),
    ],
)
def test_a_range_is_of_the_same_file(if_range: str | None, applies: object) -> None:
    assert range_applies(if_range, etag=ETAG, modified=MODIFIED) is applies


@given(
    st.text(), st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"])
)
def test_whatever_a_client_writes_is_judged(text: str, name: str) -> None:
    judge_conditions({name: text}.get, etag=ETAG, modified=MODIFIED)
    range_applies(text, etag=ETAG, modified=MODIFIED)
