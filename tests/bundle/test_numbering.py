from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.bundle.writing.numbering import (
    Given,
    Number,
    declared_date,
    number_bundle,
    parse_given,
    render_given,
    seconds_of,
)
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.crafted_manifests import bundle_file

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=3)


def number(before: Given, content: str, now: datetime = NOW, **more: object) -> tuple[Number, Given]:
    return number_bundle(before, (), (bundle_file(f"whl/{content}.whl"),), now=now, **more)  # type: ignore[arg-type]


def test_new_content_gets_the_next_number_and_the_same_content_its_old_one() -> None:
    first, memory = number(Given(), "a")
    second, memory = number(memory, "b", LATER)
    again, after = number(memory, "a", LATER)
    assert (first.counter, second.counter) == (1, 2)
    assert again == first
    assert after == memory
    assert second.created == "2026-11-24T12:00:00Z"
    assert first.lineage == second.lineage


def test_equal_mirrors_begin_equal_lineages() -> None:
    assert number(Given(), "a")[0] == number(Given(), "a")[0]
    assert number(Given(), "a")[0].lineage != number(Given(), "b")[0].lineage


def test_a_declared_date_counts_whatever_the_clock_says_and_whatever_was_remembered() -> None:
    declared = datetime(2020, 1, 1, tzinfo=UTC)
    first, memory = number(Given(), "a")
    again, _ = number(memory, "a", LATER, declared=declared)
    assert again.created == "2020-01-01T00:00:00Z"
    assert (again.id, again.counter) == (first.id, first.counter)


def test_new_content_comes_after_what_the_far_side_has_seen() -> None:
    found, memory = number(Given(), "a", floor=7)
    assert found.counter == 8
    assert number(memory, "b")[0].counter == 9


@given(st.lists(st.sampled_from("abcde"), max_size=12))
def test_counters_only_grow_and_what_is_remembered_is_read_again(contents: list[str]) -> None:
    memory, seen = Given(), dict[str, int]()
    for content in contents:
        found, memory = number(memory, content)
        assert found.counter == seen.setdefault(content, max(seen.values(), default=0) + 1)
        assert parse_given(render_given(memory), source="here") == memory


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":1}',
        b'{"format":2,"lineage":"' + b"0" * 64 + b'","bundles":[]}',
        b'{"format":1,"lineage":"x","bundles":[]}',
        b'{"format":1,"lineage":null,"bundles":[{"id":"x","counter":1,"created":"2026-01-01T00:00:00Z"}]}',
        b'{"format":1,"lineage":"%s","bundles":[{"id":"%s","counter":0,"created":"2026-01-01T00:00:00Z"}]}'
        % (b"0" * 64, b"0" * 64),
        b'{"format":1,"lineage":"%s","bundles":[{"id":"%s","counter":1,"created":"soon"}]}' % (b"0" * 64, b"0" * 64),
    ],
)
def test_a_damaged_memory_is_refused_since_a_guessed_counter_could_go_back(body: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_given(body, source="state/bundles.json")
    assert caught.value.code == "bad-bundle-memory"


def test_the_declared_date_is_read_from_the_environment() -> None:
    assert declared_date({}) is None
    assert declared_date({"SOURCE_DATE_EPOCH": "0"}) == datetime(1970, 1, 1, tzinfo=UTC)
    for text in ("yesterday", "1e9", "9" * 30, "-1"):
        with pytest.raises(UsageError) as caught:
            declared_date({"SOURCE_DATE_EPOCH": text})
        assert caught.value.code == "bad-date"


def test_a_date_is_given_to_files_in_seconds() -> None:
    assert seconds_of("1970-01-02T00:00:00Z") == 86400
