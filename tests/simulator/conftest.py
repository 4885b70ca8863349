"""A simulator for the tests that only read from it, and a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(era="2026-08") as running:
        yield running


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session
