"""A slice of the campaign of bad requests (``python -m tests.server.bad_requests``), over a server of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.server.bad_requests import (
    FILE,
    MOST_GROWTH,
    PAGE,
    Ground,
    Tally,
    ask_by_chance,
    ask_shapes,
    build,
    fits,
    learn,
    still_serves,
)
from tests.server.processes import ServeProcess
from tests.server.raw_answers import converse, parse_answers
from tests.server.request_shapes import shapes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return build(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def server(ground: Ground) -> Iterator[ServeProcess]:
    with ServeProcess(ground.root) as server:
        learn(server.port, ground)
        yield server


def test_every_shape_gets_an_answer_that_fits(server: ServeProcess, ground: Ground) -> None:
    every = shapes(FILE, PAGE, ground.size)
    traversals = [shape for shape in every if shape.name.startswith("traversal")]
    # Those wait for what the client still has to send, two seconds each; the campaign has them all.
    slow = {"framing: a chunk of zz", "framing: a huge chunk", "framing: a body that does not come"}
    chosen = [
        shape for shape in every if shape.name not in slow and not shape.name.startswith("traversal")
    ] + random.Random(7).sample(traversals, 600)
    tally = Tally()
    ask_shapes(server.port, ground, chosen, tally)
    assert tally.failures == []
    assert tally.requests > 700


def test_what_chance_makes_breaks_nothing(server: ServeProcess, ground: Ground) -> None:
    memory = server.memory()
    tally = Tally()
    ask_by_chance(server.port, ground, 600, random.Random().randrange(10**6), tally)
    assert tally.failures == []
    assert {200, 400, 404, 405} <= set(tally.answers)
    assert still_serves(server.port, ground)
    assert server.memory() - memory < MOST_GROWTH


@pytest.mark.parametrize(
    "name", ["HTTP/1.0 with keep-alive, twice", "100 in a pipeline", "length and chunked", "a header of 20 KiB"]
)
def test_a_request_may_come_in_pieces_of_any_size(server: ServeProcess, ground: Ground, name: str) -> None:
    (shape,) = (one for one in shapes(FILE, PAGE, ground.size) if one.name.removeprefix("framing: ") == name)
    for size in (1, 7, 1000) if len(shape.sent) < 10_000 else (500,):
        received, _ = converse(server.port, shape.sent, pieces=range(size, len(shape.sent), size))
        assert fits(shape, parse_answers(received, shape.sent)), size
