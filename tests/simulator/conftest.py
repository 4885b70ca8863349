"""A simulator for the tests that only read from it, a client, and the wheel of those that have one of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

# The one wheel of each simulator that faults are added to.
NAME = "demo-1.0-py3-none-any.whl"
PATH = f"/whl/cpu/{NAME}"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(era="2026-08") as running:
        yield running


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def url(simulator: Simulator) -> str:
    return simulator.root_url + PATH


@pytest.fixture
def body(simulator: Simulator) -> bytes:
    offer = simulator.spec.find(PATH)
    assert offer is not None
    whole = simulator.spec.body(offer)
    return whole.read(0, whole.size)
