"""What all downloads of a run share: connections of a host, bytes per second."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.mirror.flow import WINDOW, Connections, Flow, Gauge, Meter
from pytorch_offline.mirror.readers import Pool
from pytorch_offline.mirror.workers import Stop

HOST = "https://one.example"


def test_a_file_that_has_fewer_connections_goes_before_one_that_has_more() -> None:
    connections = Connections(4)
    with connections.first(HOST, "a", Stop()):
        connections.want(HOST, "a", 4)
        assert connections.take(HOST, "a")
        with connections.first(HOST, "b", Stop()):
            connections.want(HOST, "b", 4)
            assert not connections.take(HOST, "a"), "b has one, and wants another"
            assert connections.take(HOST, "b")
            assert not connections.take(HOST, "b"), "all are taken"
            connections.release(HOST, "a")
            assert not connections.take(HOST, "b")
            assert connections.take(HOST, "a")
            connections.release(HOST, "b")
            connections.want(HOST, "b", 1)
            assert connections.take(HOST, "a"), "nobody else wants it"


def test_hosts_do_not_share() -> None:
    connections = Connections(1)
    with ExitStack() as held:
        held.enter_context(connections.first(HOST, "a", Stop()))
        held.enter_context(connections.first("https://two.example", "a", Stop()))
        assert not connections.take(HOST, "a")


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0.0, 3.0)), min_size=1), st.integers(1000, 10**9))
def test_a_meter_lets_no_more_through_than_its_rate_and_one_second(pieces: list[tuple[int, float]], limit: int) -> None:
    seconds = [0.0]
    meter = Meter(limit, clock=lambda: seconds[0])
    idle = 0.0
    for size, pause in pieces:
        seconds[0] += meter.took(size) + pause
        idle += pause
    busy = seconds[0] - idle
    total = sum(size for size, _ in pieces)
    assert meter.total == total
    assert total <= limit * seconds[0] + pieces[-1][0] + limit * 1e-6 * len(pieces)
    assert busy * limit <= total + 1, "no longer than it takes"


def test_a_gauge_speaks_once_in_a_window() -> None:
    seconds = [0.0]
    meter = Meter(clock=lambda: seconds[0])
    gauge = Gauge(meter, clock=lambda: seconds[0])
    meter.took(100)
    assert gauge.rate() is None
    seconds[0] = 2 * WINDOW
    assert gauge.rate() == 100 / (2 * WINDOW)
    assert gauge.rate() is None


def test_files_of_a_host_take_up_what_another_one_learns_meanwhile() -> None:
    flow = Flow(connections=Connections(16), meter=Meter(), pool=Pool())
    one = other = flow.probe(HOST)
    other = flow.measured(HOST, other, 20.0)
    for _ in range(2):
        one = flow.measured(HOST, one, 20.0)
    assert one.wanted == 4
    assert flow.measured(HOST, other, 20.0) == one
    assert flow.probe(HOST) == one
    assert flow.measured(HOST, other.refused(), 20.0).wanted == 1
    assert flow.probe(HOST).wanted == 1
    flow.learn(HOST, one)
    assert flow.probe(HOST).wanted == 1, "a judgement stands"
