"""A host that is out of order is asked last, for a while; what one request has learnt, the others need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.hosts import Hosts, at_one_of
from pytorch_offline.errors import UpstreamError
from pytorch_offline.net import Http

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO, THREE = "https://one.example/a", "https://two.example/a", "https://three.example/a"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_host_in_trouble_is_asked_last_until_its_rest_is_over() -> None:
    clock = Clock()
    hosts = Hosts(clock=clock)
    hosts.failed(ONE, "unreachable")
    assert hosts.in_order((ONE, TWO)) == (TWO, ONE)
    assert hosts.in_order(("https://one.example/b", TWO)) == (TWO, "https://one.example/b")
    assert hosts.in_order((ONE,)) == (ONE,)
    clock.now += 59
    hosts.failed(ONE, "unreachable")  # another download met the same trouble: that is no second failure
    clock.now += 2
    assert hosts.in_order((ONE, TWO)) == (ONE, TWO), "it has its chance again"
    hosts.failed(ONE, "stalled")
    clock.now += 119
    assert hosts.in_order((ONE, TWO)) == (TWO, ONE), "the second rest is twice as long"
    hosts.gave(ONE)
    assert hosts.in_order((ONE, TWO)) == (ONE, TWO)


@pytest.mark.parametrize("code", ["file-absent", "not-a-wheel-body", "bad-range", "encoded-body", "transfer-broken"])
def test_what_is_a_files_trouble_is_not_its_hosts(code: str) -> None:
    hosts = Hosts()
    hosts.failed(ONE, code)
    assert hosts.in_order((ONE, TWO)) == (ONE, TWO)


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from([ONE, TWO, THREE]),
        st.sampled_from(["unreachable", "stalled", "file-absent", "gave"]),
        st.floats(0, 900),
    )
)


@given(_EVENTS, st.lists(st.sampled_from([ONE, TWO, THREE]), unique=True))
def test_no_host_is_lost_and_every_rest_ends(events: list[tuple[str, str, float]], urls: list[str]) -> None:
    clock = Clock()
    hosts = Hosts(clock=clock)
    for url, event, seconds in events:
        clock.now += seconds
        hosts.gave(url) if event == "gave" else hosts.failed(url, event)
        assert sorted(hosts.in_order(urls)) == sorted(urls)
    clock.now += 601
    assert hosts.in_order(urls) == tuple(urls)


def asking(answers: dict[str, list[str]], asked: list[str]) -> Callable[[Http, str], str]:
    """Answer with what each address has left: ``ok``, or an error's code."""

    def ask(_: Http, url: str) -> str:
        asked.append(url)
        answer = answers[url].pop(0)
        if answer == "ok":
            return url
        raise UpstreamError(answer, f"{url}: {answer}")

    return ask


@pytest.mark.parametrize(
    ("answers", "came", "asked"),
    [
        ({ONE: ["ok"]}, ONE, [ONE]),
        ({ONE: ["unreachable"], TWO: ["ok"]}, TWO, [ONE, TWO]),
        ({ONE: ["file-absent"], TWO: ["ok"]}, TWO, [ONE, TWO]),
        ({ONE: ["server-error", "ok"], TWO: ["file-absent"]}, ONE, [ONE, TWO, ONE]),
        ({ONE: ["tls-error"], TWO: ["stalled", "ok"]}, TWO, [ONE, TWO, TWO]),
    ],
)
def test_one_of_several_addresses(answers: dict[str, list[str]], came: str, asked: list[str]) -> None:
    heard: list[str] = []
    with Http() as http:
        assert at_one_of(tuple(answers), http, Hosts(), asking(answers, heard)) == came
    assert heard == asked


def test_if_nobody_gives_it_the_first_address_is_told() -> None:
    heard: list[str] = []
    hosts = Hosts()
    with Http() as http:
        with pytest.raises(UpstreamError) as caught:
            at_one_of((ONE, TWO), http, hosts, asking({ONE: ["file-absent"], TWO: ["unreachable"] * 2}, heard))
        assert caught.value.code == "file-absent"
        assert heard == [ONE, TWO, TWO]
        heard.clear()
        assert at_one_of((TWO, ONE), http, hosts, asking({ONE: ["ok"], TWO: []}, heard)) == ONE
    assert heard == [ONE], "who was unreachable just now is not asked first"
