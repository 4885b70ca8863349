"""Range headers, by table and against a plain reading of each range alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.server.protocol.ranges import MAX_RANGES, Span, parse_ranges

FIFTEEN = 10**15


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=0-100", [(0, 100)]),
        (f"bytes=99-{'9' * 40}", [(99, 100)]),
        ("bytes=5-", [(5, 100)]),
        ("bytes=-1", [(99, 100)]),
        ("bytes=-500", [(0, 100)]),
        (f"bytes=-{'9' * 5000}", [(0, 100)]),
        (f"bytes={'0' * 5000}7-9", [(7, 10)]),
        ("BYTES=1-2", [(1, 3)]),
        ("bytes= 1-2 ,\t5-6", [(1, 3), (5, 7)]),
        ("bytes=,1-2,,5-6,", [(1, 3), (5, 7)]),
        ("bytes=50-60,1-2", [(50, 61), (1, 3)]),  # as asked for
        ("bytes=50-60,1-2,2-5", [(1, 6), (50, 61)]),  # joined
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=0-0,-1", [(0, 1), (99, 100)]),
        ("bytes=200-300,1-2", [(1, 3)]),
        ("bytes=-0,1-2", [(1, 3)]),
    ],
)
def test_ranges_that_are_given(text: str, spans: list[tuple[int, int]]) -> None:
    assert parse_ranges(text, 100) == tuple(Span(start=start, stop=stop) for start, stop in spans)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=2-1",
        "bytes=1-2,5-4",
        "bytes=1-2,x",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=0x1-2",
        "bytes=1.0-2",
        "bytes=\u0661-\u0662",
        "bytes: 0-1",
        "items=0-1",
        "bytes=0-1, bytes=2-3",
        "byte=0-1",
    ],
)
def test_what_makes_no_sense_is_ignored(text: str) -> None:
    assert parse_ranges(text, 100) is None


@pytest.mark.parametrize(
    "text", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={'9' * 5000}-", "bytes=500-600,-0"]
)
def test_what_does_not_exist_is_unsatisfiable(text: str) -> None:
    assert parse_ranges(text, 100) == ()


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_nothing_has_no_ranges(text: str) -> None:
    assert parse_ranges(text, 0) == ()


def test_absurdly_many_are_refused() -> None:
    assert len(parse_ranges("bytes=" + ",".join(f"{at * 2}-{at * 2}" for at in range(MAX_RANGES)), 10_000) or ()) == 32
    assert parse_ranges("bytes=" + "0-,1-," * MAX_RANGES, 10_000) == ()


SPEC = st.one_of(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda ends: f"{min(ends)}-{max(ends)}"),
    st.integers(0, 60).map(lambda first: f"{first}-"),
    st.integers(0, 60).map(lambda length: f"-{length}"),
)


def plainly(spec: str, size: int) -> set[int]:
    first, _, last = spec.partition("-")
    if not first:
        return set(range(size)[max(0, size - int(last)) :])
    return set(range(size)) & set(range(int(first), int(last) + 1 if last else size))


@given(st.lists(SPEC, min_size=1, max_size=8), st.integers(0, 50))
def test_the_bytes_are_those_of_each_range_alone_and_none_comes_twice(specs: list[str], size: int) -> None:
    spans = parse_ranges("bytes=" + ",".join(specs), size)
    assert spans is not None
    given_bytes = [at for span in spans for at in range(span.start, span.stop)]
    assert len(given_bytes) == len(set(given_bytes))
    assert set(given_bytes) == set().union(*(plainly(spec, size) for spec in specs))


@given(
    st.text(max_size=60) | st.text("bytes=0123456789-, \t", max_size=60).map("bytes={}".format), st.integers(0, FIFTEEN)
)
def test_whatever_is_asked_for_lies_within(text: str, size: int) -> None:
    for span in parse_ranges(text, size) or ():
        assert 0 <= span.start < span.stop <= size
