"""The search against a brute-force one, on small random indexes; and what it says when there is no closure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.resolving import search
from pytorch_offline.selector.resolving.deciding_order import PATIENCE, DecidingOrder
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import CPU
from tests.selector.machines import machine
from tests.selector.memory import MemoryIndex

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from pytorch_offline.selector.model import Selection

TARGET = machine()
# project → version → requirements
Universe = dict[str, dict[str, list[str]]]

NAMES = ["a", "b", "c", "d", "e"]
OPERATORS = ["==", ">=", "<=", "!=", ">", "<"]
requirements = st.builds(
    lambda name, bound: name + bound,
    st.sampled_from(NAMES),
    st.one_of(
        st.just(""), st.builds(lambda sign, number: f"{sign}{number}", st.sampled_from(OPERATORS), st.integers(1, 4))
    ),
)
universes = st.fixed_dictionaries(
    {
        name: st.dictionaries(st.integers(1, 4).map(str), st.lists(requirements, max_size=3), min_size=1, max_size=4)
        for name in NAMES
    }
)


def index_of(universe: Universe, shuffled: random.Random | None = None) -> MemoryIndex:
    rows = [(f"{name}-{version}", needs) for name, versions in universe.items() for version, needs in versions.items()]
    if shuffled is not None:
        shuffled.shuffle(rows)
    index = MemoryIndex()
    for wheel, needs in rows:
        index.add(f"{wheel}-py3-none-any.whl", needs, default_index=True)
    return index


def resolved(universe: Universe, roots: Sequence[str], shuffled: random.Random | None = None) -> Selection:
    request = Request(requirements=tuple(map(Requirement, roots)))
    return select(request, TARGET, index_of(universe, shuffled).offers_for(TARGET), [CPU])


def answer(universe: Universe, roots: Sequence[str], shuffled: random.Random | None = None) -> dict[str, str] | None:
    try:
        return versions(resolved(universe, roots, shuffled))
    except UnsatisfiableError:
        return None


def versions(selection: Selection) -> dict[str, str]:
    return {choice.candidate.project: str(choice.candidate.version) for choice in selection.choices}


def is_possible(universe: Universe, waiting: Sequence[str], chosen: Mapping[str, str]) -> bool:
    """Search blindly."""
    if not waiting:
        return True
    need, *rest = waiting
    requirement = Requirement(need)
    if requirement.name in chosen:
        return requirement.specifier.contains(chosen[requirement.name]) and is_possible(universe, rest, chosen)
    return any(
        requirement.specifier.contains(version)
        and is_possible(universe, [*rest, *needs], {**chosen, requirement.name: version})
        for version, needs in universe[requirement.name].items()
    )


def satisfies(chosen: Mapping[str, str], needs: Iterable[str]) -> bool:
    return all(one.name in chosen and one.specifier.contains(chosen[one.name]) for one in map(Requirement, needs))


@settings(max_examples=60, deadline=None)
@given(universes, st.lists(requirements, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_closure_is_found_exactly_if_there_is_one(universe: Universe, roots: list[str], rows: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MAX_ROUNDS", 3000)  # "too-deep" if it were not enough
        found = answer(universe, roots)
    assert (found is not None) == is_possible(universe, roots, {})
    assert found == answer(universe, roots, rows)  # in whatever order the pages list them
    if found is not None:
        assert satisfies(found, roots)
        assert all(satisfies(found, universe[name][version]) for name, version in found.items())


@settings(max_examples=60, deadline=None)
@given(universes, st.lists(requirements, min_size=1, max_size=3))
def test_a_chain_is_a_proof(universe: Universe, roots: list[str]) -> None:
    """Whatever a chain leaves out may be thought away, and there is still no closure."""
    try:
        resolved(universe, roots)
    except UnsatisfiableError as error:
        chain = error.data.get("chain")
    else:
        return
    if not isinstance(chain, list):
        return  # told another way: a project without any wheel, or a contradiction that takes guessing
    asked = [text for step in chain if step["project"] is None for text in step["requires"]]
    assert set(asked) <= {str(Requirement(root)) for root in roots}
    kept: Universe = {name: {version: [] for version in rows} for name, rows in universe.items()}
    for step in chain:
        if step["project"] is not None:
            told = SpecifierSet(" ,".join(f"!={one}" for one in step["versions"]))
            for version, needs in universe[step["project"]].items():
                if not told.contains(version):
                    texts = {part for text in step["requires"] for part in text.split(" and ")}
                    kept[step["project"]][version] += [one for one in needs if str(Requirement(one)) in texts]
    assert not is_possible(kept, asked, {})


def facts(universe: Universe, *roots: str, constraints: Sequence[str] = ()) -> list[object]:
    request = Request(
        requirements=tuple(map(Requirement, roots)), constraints=tuple(Requirement(one) for one in constraints)
    )
    with pytest.raises(UnsatisfiableError) as caught:
        select(request, TARGET, index_of(universe).offers_for(TARGET), [CPU])
    return list(caught.value.facts.values())


def test_a_chain_goes_from_the_roots_to_both_sides_and_leaves_out_what_does_not_matter() -> None:
    universe: Universe = {
        "vision": {"0.19.0": ["tensor==2.4.0", "numpy"]},
        "tensor": {"2.4.0": ["numpy"], "2.5.0": ["numpy"]},
        "numpy": {"1": [], "2": []},
        "other": {"1": ["numpy"]},
    }
    assert facts(universe, "other", "vision==0.19.0", "tensor==2.5.0") == [
        "you asked for vision==0.19.0",
        "vision 0.19.0 requires tensor==2.4.0",
        "you asked for tensor==2.5.0",
    ]


def test_a_chain_names_both_branches_in_the_same_order_in_every_run() -> None:
    # Python orders sets of texts anew in each process: of eight pairs, some would come out the other way round.
    for number in range(8):
        first, second = f"first{number}", f"second{number}"
        universe: Universe = {
            "root": {"1": [f"{second}==1", f"{first}==1"]},
            first: {"1": ["tensor==1"]},
            second: {"1": ["tensor==2"]},
            "tensor": {"1": [], "2": []},
        }
        assert facts(universe, "root") == [
            "you asked for root",
            f"root 1 requires {first}==1",
            f"{first} 1 requires tensor==1",
            f"root 1 requires {second}==1",
            f"{second} 1 requires tensor==2",
        ]


def test_a_chain_speaks_of_versions_together() -> None:
    universe: Universe = {
        "model": {"1": ["speed"]},
        "speed": {str(number): ["tensor>=2.0"] for number in range(1, 5)},
        "exact": {str(number): [f"tensor=={number}"] for number in range(1, 5)},
        "tensor": {str(number): [] for number in range(1, 9)},
    }
    assert facts(universe, "model", "tensor<2") == [
        "you asked for model",
        "model 1 requires speed",
        "every speed that fits (4 to 1) requires tensor>=2.0",
        "you asked for tensor<2",
    ]
    assert facts(universe, "exact", "tensor>7") == [
        "you asked for exact",
        "every exact that fits (4 to 1) has a bound on tensor: "  # noqa: ISC004  (one line)
        "4 requires tensor==4, 3 requires tensor==3, … 4 versions in all",
        "you asked for tensor>7",
    ]
    assert facts(universe, "model", constraints=["tensor<2"]) == [
        "you asked for model",
        "model 1 requires speed",
        "every speed that fits (4 to 1) requires tensor>=2.0",
        "you allow only tensor<2",
    ]


def test_two_that_keep_conflicting_change_places() -> None:
    """The shape of boto3 and awscli: every release pins the same third project to its own release."""
    days = [str(number) for number in range(1, 41)]
    universe: Universe = {
        "early": {day: [f"core=={day}"] for day in days},
        "late": {day: [f"core=={day}"] for day in days[:20]},
        "core": {day: [] for day in days},
    }
    index = index_of(universe)
    offers = index.offers_for(TARGET)
    request = Request(requirements=(Requirement("early"), Requirement("late")))
    assert versions(select(request, TARGET, offers, [CPU])) == {"early": "20", "late": "20", "core": "20"}
    assert len(set(offers.metadata_read)) < 2 * len(days)


def test_the_order_changes_after_some_patience_and_once_only() -> None:
    order = DecidingOrder(lambda project: 1 if project == "c" else 0)
    one, two, last = map(canonicalize_name, "abc")
    assert [order.meet(one, [two]) for _ in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    assert order.rank(one) < order.rank(two)
    assert not any(order.meet(one, [two]) for _ in range(2 * PATIENCE))
    assert not any(order.meet(two, [one]) for _ in range(2 * PATIENCE)), "that would turn it back again"
    assert not any(order.meet(last, [two]) for _ in range(2 * PATIENCE)), "a group never comes before another"
