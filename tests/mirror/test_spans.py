"""Which bytes are in hand and who fetches which: the plan of a file that comes over several connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror.probe import FAST, Probe
from pytorch_offline.mirror.spans import MIB, SHORTEST_BLOCK, WORTH_SHARING, Plan, count, joined


def test_spans_that_touch_are_one() -> None:
    assert joined([(5, 7), (0, 2), (2, 5), (9, 9)]) == ((0, 7),)
    assert count(joined([(0, 2), (1, 4), (6, 7)])) == 5


def test_blocks_are_lent_in_order_after_the_stream() -> None:
    plan = Plan(length=100 * MIB).streamed(0).lent(1, 4)
    assert plan.leases[0].stop == plan.leases[1].position
    plan = plan.lent(2, 4)
    assert plan.leases[2].position == plan.leases[1].stop


def test_what_meets_the_prefix_joins_it() -> None:
    plan = Plan(length=100 * MIB).streamed(0).lent(1, 4)
    start = plan.leases[1].position
    plan = plan.came(1, 10)
    assert plan.ahead == ((start, start + 10),)
    plan = plan.came(0, start)
    assert (plan.prefix, plan.ahead) == (start + 10, ())


def test_what_was_cut_off_goes_back_to_who_has_asked_for_it() -> None:
    plan = Plan(length=100 * MIB).streamed(0)
    cut = plan.lent(1, 4).lent(2, 4)
    assert cut.leases[0].room < plan.leases[0].room
    assert cut.extended(0) == cut
    assert cut.returned(1).extended(0).leases[0].stop == cut.leases[2].position
    assert cut.returned(1).returned(2).extended(0) == plan


def test_the_end_is_shared() -> None:
    whole = Plan(length=SHORTEST_BLOCK).lent(0, 2).lent(1, 2)
    assert whole.leases[0].stop == whole.leases[1].position == SHORTEST_BLOCK // 2
    small = Plan(length=2 * WORTH_SHARING - 1).lent(0, 1)
    assert small.lent(1, 2) is small


def probed(*rates: float, most: int = 16) -> Probe:
    probe = Probe(most=most)
    for rate in rates:
        probe = probe.measured(rate)
    return probe


def test_a_probe_stops_where_more_connections_bring_nothing() -> None:
    up = (20.0, 20.0, 80.0)
    assert probed(20.0, 20.0).wanted == 4
    assert probed(*up).wanted == 16
    assert probed(*up, 82.0, 82.0, 82.0, 82.0).wanted == 16
    assert probed(*up, 82.0, 82.0, 82.0, 82.0, 82.0).wanted == 4
    assert probed(*up, 82.0, 82.0, 82.0, 82.0, 82.0, 500.0).wanted == 4
    assert probed(*up, 320.0, 320.0).settled
    assert probed(*up, most=6).wanted == 6


def test_a_hiccup_takes_no_connection_away() -> None:
    assert probed(20.0, 20.0, 80.0, 80.0, 10.0, 10.0, 320.0, 320.0).wanted == 16


def test_who_has_the_lines_speed_stays_at_one_connection() -> None:
    assert probed(100.0, 100.0, *[101.0] * 5).wanted == 1
    assert probed(FAST, FAST, FAST).wanted == 1


def test_what_many_files_bring_together_makes_none_of_them_fast() -> None:
    probe = Probe(most=16)
    for _ in range(2):
        probe = probe.measured(FAST, each=FAST / 13)
    assert probe.wanted == 4
    assert Probe(most=16).measured(FAST, each=FAST).settled


def test_a_growing_step_that_is_clearly_worth_it_is_not_waited_for() -> None:
    assert probed(20.0, 20.0, 40.0).wanted == 16
    assert probed(20.0, 20.0, 39.0).wanted == 4


def test_a_connection_that_still_grows_is_not_judged_but_not_for_ever() -> None:
    assert probed(10.0, 20.0, 40.0, 80.0).wanted == 1
    assert probed(10.0, 20.0, 40.0, 80.0, 160.0).wanted == 4


def test_a_host_that_slows_down_is_probed_again() -> None:
    assert probed(100.0, 100.0, *[101.0] * 5, *[40.0] * 5, 40.0, 40.0).wanted == 4
    assert probed(100.0, 100.0, *[101.0] * 5, *[40.0] * 4, 100.0, *[40.0] * 4, 100.0, 40.0).wanted == 1, "a busy disk"


def test_a_refusal_halves_and_lasts() -> None:
    probe = probed(20.0, 20.0, 80.0, 80.0).refused()
    assert (probe.wanted, probe.measured(1.0).measured(1.0).measured(1.0).wanted) == (8, 8)
    assert probe.alone().wanted == 1


@given(data=st.data(), size=st.integers(1, 200 * MIB), number=st.integers(1, 6))
def test_any_order_of_anything_lends_every_byte_once_until_all_are_in_hand(
    data: st.DataObject, size: int, number: int
) -> None:
    """Connections borrow, bring, give back and are cut in any order; nothing is lent twice, nothing is lost."""
    plan, fetched = Plan(length=size).streamed(0), 0
    for turn in range(400):
        one = data.draw(st.integers(0, number - 1)) if turn < 60 else turn % number
        if one not in plan.leases:
            plan = plan.lent(one, number)
        elif (room := plan.leases[one].room) == 0 or (turn < 60 and data.draw(st.integers(0, 4)) == 0):
            plan = plan.returned(one)
        else:
            piece = data.draw(st.integers(1, room)) if turn < 60 else room
            before = plan.in_hand
            plan = plan.came(one, piece)
            assert plan.in_hand == before + piece, "a byte came twice"
            fetched += piece
        busy = sorted((lease.position, lease.stop) for lease in plan.leases.values() if lease.position < lease.stop)
        taken = [(0, plan.prefix), *plan.ahead, *busy]
        assert count(joined(taken)) == sum(stop - start for start, stop in taken), "lent twice"
        assert all(start > plan.prefix for start, _ in plan.ahead)
        if plan.whole:
            break
    assert plan.whole
    assert fetched == size
