"""One recorded upstream, and one warm catalogue, for all questions of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.simulator.server import Simulator
from tests.oracles.differences import Shelf
from tests.oracles.questions import Desk
from tests.oracles.recorded import recorded_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def desk(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("oracle") / "catalogue.sqlite"
    with Simulator(recorded_spec(shared)) as upstream, Catalogue.open(place) as catalogue:
        yield Desk(upstream=upstream, shelf=Shelf(upstream.spec), catalogue=catalogue)
