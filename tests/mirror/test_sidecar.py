"""The sidecar of a partial download: one form, and a reader that trusts nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror.sidecar import parse_partial, render_partial
from tests.mirror.test_transfer import kept


def test_a_sidecar_survives_writing_and_reading() -> None:
    for partial in (kept(), kept(sha256=None, length=None, validator=None)):
        assert parse_partial(render_partial(partial)) == partial


@pytest.mark.parametrize(
    "change",
    [
        ('"format": 1', '"format": 2'),
        ('"completed": 30', '"completed": -1'),
        ('"completed": 30', '"completed": 0'),
        ('"completed": 30', '"completed": true'),
        ('"completed": 30', '"completed": 30.0'),
        ('"completed": 30', '"completed": 101'),
        ('"length": 100', '"length": "100"'),
        ('"url_path": "', '"other": "'),
        ('"value": ', '"worth": '),
        ("{", "["),
        ("}", ""),
    ],
)
def test_a_damaged_sidecar_is_none(change: tuple[str, str]) -> None:
    text = render_partial(kept())
    assert change[0] in text
    assert parse_partial(text.replace(*change, 1)) is None


@given(st.text())
def test_no_text_breaks_the_sidecar_reader(text: str) -> None:
    assert parse_partial(text) is None
