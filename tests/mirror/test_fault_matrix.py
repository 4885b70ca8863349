"""A slice of the fault matrix: each fault once over one connection and once over many; the rest is run by hand."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import pytest

from tests.mirror.fault_matrix import all_cases, run_all
from tests.mirror.troubles import Case, Duration, Effect


def slice_of_matrix() -> dict[Effect, list[Case]]:
    """Choose cases that do not wait for long, two of each trouble, the same ones in every run."""
    chosen: dict[tuple[str, int], Case] = {}
    for case in sorted(all_cases(), key=lambda case: hashlib.sha256(case.name.encode()).digest()):
        patient = case.trouble.code == "stalled" or case.trouble.name == "silence"
        if not patient or case.duration is Duration.ONCE:
            chosen.setdefault((case.trouble.name, case.connections), case)
    by_effect = defaultdict(list)
    for case in chosen.values():
        by_effect[case.trouble.effect].append(case)
    return by_effect


SLICE = slice_of_matrix()


@pytest.mark.parametrize("effect", SLICE, ids=lambda effect: effect.name.lower())
def test_every_fault_ends_in_the_right_bytes_or_the_right_error(effect: Effect) -> None:
    results = list(run_all(SLICE[effect], at_once=6))
    assert [f"{result.case.name}: {result.problem}" for result in results if result.problem is not None] == []
    assert any(result.struck for result in results)
