"""Fixtures of the crawler's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from tests.crawler.site import Site, quick_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.net import Http


class Clock:
    """A clock that goes on by a day when told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def next_day(self) -> None:
        """Go on to the next day."""
        self.time += timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.fixture
def http() -> Iterator[Http]:
    with quick_http() as client:
        yield client


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "state" / "catalogue.sqlite") as opened:
        yield opened
