"""Which bundles were taken before: nobody is led back without being told, however the memory was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.bundle.format.model import Manifest
from pytorch_offline.bundle.reading.memory import (
    BundleMemory,
    check_counter,
    parse_bundle_memory,
    read_bundle_memory,
    render_bundle_memory,
    write_bundle_memory,
)
from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path


def bundle(lineage: str = "a", counter: int = 1, content: str = "0") -> Manifest:
    return Manifest(
        id=content * 64,
        lineage=lineage,
        counter=counter,
        base=None,
        created="2026-08-22T12:00:00Z",
        targets=(),
        tools=(),
        files=(),
    )


def check(memory: BundleMemory, manifest: Manifest, *, allow_older: bool = False) -> str | None:
    return check_counter(memory, manifest, place="here", allow_older=allow_older)


FIRST, SECOND, THIRD = bundle(counter=1, content="1"), bundle(counter=2, content="2"), bundle(counter=3, content="3")


def test_newer_and_equal_bundles_are_taken() -> None:
    memory = BundleMemory().remembering(SECOND)
    assert check(BundleMemory(), FIRST) is None
    assert check(memory, SECOND) is None
    assert check(memory, THIRD) is None


def test_an_older_bundle_is_refused_with_both_counters() -> None:
    with pytest.raises(IntegrityError) as caught:
        check(BundleMemory().remembering(SECOND), FIRST)
    assert caught.value.code == "older-bundle"
    assert caught.value.facts["counter of this bundle"] == 1
    assert caught.value.facts["highest counter taken"] == 2
    assert "--allow-older" in (caught.value.hint or "")


def test_an_older_bundle_that_was_allowed_leaves_the_highest_in_memory() -> None:
    memory = BundleMemory().remembering(THIRD)
    assert check(memory, FIRST, allow_older=True) is None
    after = memory.remembering(FIRST)
    taken = after.taken_of("a")
    assert taken is not None
    assert (taken.id, taken.counter, taken.highest, taken.highest_id) == (FIRST.id, 1, 3, THIRD.id)
    with pytest.raises(IntegrityError, match="older"):
        check(after, SECOND)


def test_other_content_under_the_same_counter_is_a_fork() -> None:
    with pytest.raises(IntegrityError) as caught:
        check(BundleMemory().remembering(SECOND), bundle(counter=2, content="f"))
    assert caught.value.code == "forked-lineage"


def test_another_lineage_is_told_once_and_remembered_beside() -> None:
    memory = BundleMemory().remembering(SECOND)
    other = bundle(lineage="b", counter=1, content="b")
    assert "lineage b" in (check(memory, other) or "")
    after = memory.remembering(other)
    assert check(after, other) is None
    assert [one.lineage for one in after.taken] == ["a", "b"]
    with pytest.raises(IntegrityError):
        check(after, FIRST)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6)), max_size=12))
def test_whatever_was_taken_the_highest_is_never_forgotten(taken: list[tuple[str, int]]) -> None:
    memory = BundleMemory()
    for lineage, counter in taken:
        memory = memory.remembering(bundle(lineage, counter, str(counter)))
    assert parse_bundle_memory(render_bundle_memory(memory), "memory") == memory
    for one in memory.taken:
        counters = [counter for lineage, counter in taken if lineage == one.lineage]
        assert (one.highest, one.counter) == (max(counters), counters[-1])


def test_a_memory_on_disk_is_whole_or_absent(tmp_path: Path) -> None:
    place = tmp_path / "share" / "bundles.json"
    assert read_bundle_memory(place) == BundleMemory()
    memory = BundleMemory().remembering(SECOND)
    write_bundle_memory(place, memory)
    assert read_bundle_memory(place) == memory
    assert [path.name for path in place.parent.iterdir()] == ["bundles.json"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b'{"format": 2, "taken": {}}',
        b'{"format": 1, "taken": []}',
        b'{"format": 1, "taken": {"a": {"id": "x", "counter": 1, "highest": 1, "highest_id": "x"}}}',
        b"\xff",
        b"[" * 100_000,
        json.dumps({"format": 1, "taken": {"a": {"id": "0" * 64, "counter": True, "highest": 1}}}).encode(),
    ],
)
def test_a_damaged_memory_is_never_taken_for_none(tmp_path: Path, damage: bytes) -> None:
    place = tmp_path / "bundles.json"
    place.write_bytes(damage)
    with pytest.raises(IntegrityError) as caught:
        read_bundle_memory(place)
    assert caught.value.code == "bad-bundle-memory"
    assert caught.value.facts["file"] == str(place)
