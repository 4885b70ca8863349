"""The rules of the simulation behind docs/scale.md, against what can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fair_sharing import READ_TIMEOUT_S, RETRIES_AFTER_S, Client, Flows, Server, share, simulate
from benchmarks.scale import Fleet, at_once, in_waves, mirrors_for, spread

CLIENT = Client(network=100.0, requests=0, thinking=1.0, size=1000.0, unpacking=7.0)
SERVER = Server(network=500.0, requests=10.0)
PATIENCE = READ_TIMEOUT_S * (1 + len(RETRIES_AFTER_S)) + sum(RETRIES_AFTER_S)

_CAPACITIES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0.1, 1000), min_size=1)
_FLOWS = st.lists(
    st.builds(
        Flows,
        number=st.integers(0, 50),
        most=st.floats(0.1, 1000),
        uses=st.frozensets(st.sampled_from(["a", "b", "c"])),
    ),
    max_size=6,
)


@given(_FLOWS, _CAPACITIES)
def test_nobody_could_have_more_without_somebody_having_less_who_has_no_more(
    flows: list[Flows], capacities: dict[str, float]
) -> None:
    rates = share(flows, capacities)
    used = {
        name: sum(rate * one.number for rate, one in zip(rates, flows, strict=True) if name in one.uses)
        for name in capacities
    }
    for name, capacity in capacities.items():
        assert used[name] <= capacity * (1 + 1e-6)
    for rate, one in zip(rates, flows, strict=True):
        if one.number == 0:
            continue
        assert rate <= one.most * (1 + 1e-6)
        bottlenecks = [
            name
            for name in one.uses & capacities.keys()
            if used[name] >= capacities[name] * (1 - 1e-6)
            and all(
                other <= rate * (1 + 1e-6)
                for other, its in zip(rates, flows, strict=True)
                if its.number and name in its.uses
            )
        ]
        assert bottlenecks or rate >= one.most * (1 - 1e-6)


def test_equal_clients_share_a_link_alike() -> None:
    for number in (1, 5, 6, 40):
        outcome = simulate(SERVER, [(0.0, CLIENT)] * number)
        each = min(CLIENT.network, SERVER.network / number)
        assert outcome.loaded == pytest.approx([CLIENT.size / each] * number)
        assert outcome.finished == pytest.approx([CLIENT.size / each + CLIENT.unpacking] * number)
        assert outcome.slowest == pytest.approx(each)
        assert not outcome.starves


def test_who_comes_later_takes_a_part_of_what_is_left() -> None:
    alone = Server(network=100.0, requests=10.0)
    # The first has 300 of its 1,000 when the second comes; they share until it is done, at 3 + 700 / 50.
    outcome = simulate(alone, [(0.0, CLIENT), (3.0, CLIENT)])
    assert outcome.loaded == pytest.approx([17.0, 20.0])


def test_what_slow_clients_leave_goes_to_the_fast_ones() -> None:
    slow = replace(CLIENT, network=10.0)
    outcome = simulate(Server(network=100.0, requests=10.0), [(0.0, slow)] * 4 + [(0.0, CLIENT)] * 3)
    assert outcome.loaded == pytest.approx([50.0] * 3 + [100.0] * 4)


def test_the_smallest_of_the_capacities_is_the_limit() -> None:
    wide = Server(network=500.0, processor=500.0, disk=500.0, requests=10.0)
    for server in (replace(wide, network=50.0), replace(wide, processor=50.0), replace(wide, disk=50.0)):
        assert simulate(server, [(0.0, CLIENT)] * 5).loaded == pytest.approx([100.0] * 5)


def test_pages_come_as_fast_as_they_are_asked_for_or_as_the_server_gives_them() -> None:
    asking = replace(CLIENT, requests=20, thinking=0.5)
    assert simulate(SERVER, [(0.0, asking)]).loaded == pytest.approx([20 * 0.5 + 10])
    # 20 clients ask 40 times a second for what is given 10 times a second.
    assert simulate(SERVER, [(0.0, asking)] * 20).loaded == pytest.approx([20 * 20 / 10 + 1000 / 25] * 20)


def test_who_is_not_let_in_gives_up_when_its_retries_are_used_up() -> None:
    long = replace(CLIENT, size=CLIENT.network * (PATIENCE + 10))
    outcome = simulate(replace(SERVER, connections=3), [(0.0, long)] * 5)
    assert (len(outcome.finished), outcome.gave_up) == (3, 2)
    assert outcome.retries == 2 * (1 + len(RETRIES_AFTER_S))
    # Ended a little sooner, both are let in.
    shorter = replace(long, size=CLIENT.network * (PATIENCE - 10))
    assert simulate(replace(SERVER, connections=3), [(0.0, shorter)] * 5).gave_up == 0


def test_who_is_told_to_come_again_does_so_five_times() -> None:
    for seconds, gave_up in ((4.9 * len(RETRIES_AFTER_S), 0), (5.1 * len(RETRIES_AFTER_S), 1)):
        client = replace(CLIENT, size=CLIENT.network * seconds)
        outcome = simulate(replace(SERVER, connections=1, retry_after=5.0), [(0.0, client)] * 2)
        assert (outcome.gave_up, outcome.retries) == (gave_up, len(RETRIES_AFTER_S) + gave_up)


def test_who_waits_is_let_in_in_the_order_of_coming() -> None:
    server = replace(SERVER, connections=2)
    clients = [(0.0, CLIENT), (0.0, replace(CLIENT, size=500.0)), (1.0, CLIENT), (2.0, CLIENT)]
    assert simulate(server, clients).loaded == pytest.approx([5.0, 10.0, 15.0, 20.0])


def test_less_than_a_byte_in_the_time_of_a_read_is_starving() -> None:
    assert simulate(Server(network=1.0, requests=10.0), [(0.0, replace(CLIENT, size=0.01))] * 16).starves
    assert not simulate(Server(network=1.1, requests=10.0), [(0.0, replace(CLIENT, size=0.01))] * 16).starves


def test_an_answer_that_takes_longer_than_a_read_may_is_starving() -> None:
    asking = replace(CLIENT, requests=2, thinking=0.1)
    for number, starves in ((149, False), (151, True)):  # ten answers a second
        outcome = simulate(SERVER, [(0.0, asking)] * number)
        assert outcome.longest_answer == pytest.approx(number / 10)
        assert outcome.starves == starves


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=40), st.floats(1, 1e4))
def test_the_link_gives_all_that_it_has_while_somebody_waits(starts: list[float], network: float) -> None:
    client = replace(CLIENT, network=math.inf, unpacking=0.0)
    outcome = simulate(Server(network=network, requests=1.0), [(start, client) for start in starts])
    assert len(outcome.loaded) == len(starts)
    free = 0.0
    for start in sorted(starts):
        free = max(free, start) + client.size / network
    assert outcome.loaded[-1] == pytest.approx(free, rel=1e-6)


def test_mirrors_take_equal_parts() -> None:
    one, four = (Fleet(server=SERVER, client=CLIENT, mirrors=number) for number in (1, 4))
    assert four.run(at_once(40)).finished == pytest.approx(one.run(at_once(10)).finished * 4)


def test_as_few_mirrors_as_do_it() -> None:
    # 40 machines take 1,000 each; a mirror gives 500 a second, and unpacking takes 7.
    assert mirrors_for(CLIENT, SERVER, 40, 27.0 + 1e-6) == 4
    assert mirrors_for(CLIENT, SERVER, 40, 26.9) == 5
    assert mirrors_for(CLIENT, SERVER, 40, 16.9) is None


def test_waves_and_spreads_begin_when_they_say() -> None:
    assert in_waves(5, 2, 10.0) == [0.0, 0.0, 10.0, 10.0, 20.0]
    assert spread(100, 60.0) == spread(100, 60.0)
    assert all(0 <= start <= 60 for start in spread(100, 60.0))
