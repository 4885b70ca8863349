"""What the page tells of what is held, kept ready: made in a thread of its own, never while somebody waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import LOCKS, sidecar_of
from pytorch_offline.server.people.installs import is_unknown_companion, torch_need
from pytorch_offline.server.people.page import Holdings, take_stock
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from packaging.specifiers import SpecifierSet

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.server.tree.snapshot import Snapshot

# How often it is looked whether another generation is served.
_LOOK_SECONDS = 1.0


class KeptHoldings:
    """What a mirror holds, as the page tells it; made anew for each generation.

    Args:
        root: the mirror's directory.
        snapshot: gives the generation that is served; another object for each.
    """

    def __init__(self, root: Path, snapshot: Callable[[], Snapshot]) -> None:
        self._root = root
        self._snapshot = snapshot
        self._of: Snapshot | None = None
        self._holdings = take_stock((), ())

    @property
    def current(self) -> Holdings:
        """What was held a moment ago."""
        return self._holdings

    def refresh(self) -> None:
        """Take stock, if another generation is served by now."""
        snapshot = self._snapshot()
        if snapshot is not self._of:
            needs = {file.path: need for file in snapshot.files.values() if (need := self._need(file)) is not None}
            self._holdings = take_stock(snapshot.files.values(), self._locks(), needs)
            self._of = snapshot

    async def follow(self) -> None:
        """Refresh, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._snapshot() is not self._of:
                await asyncio.to_thread(self.refresh)

    def _locks(self) -> list[str]:
        try:
            return [path.name for path in (self._root / LOCKS).iterdir()]
        except OSError:
            return []

    def _need(self, file: MirrorFile) -> SpecifierSet | None:
        """Read which torch a companion needs that the tables do not know; None for all other files."""
        if not is_unknown_companion(file):
            return None
        try:
            return torch_need(parse_metadata((self._root / sidecar_of(file.path)).read_bytes()))
        except (OSError, PytorchOfflineError):
            return None  # what is wrong with it is verification's to say
