"""Recorded pages as of a day that a test moves on: one upstream at one address, while time goes by."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytorch_offline.simulator.replay import ReplayedSite, read_recording

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.simulator.answers import Host
    from pytorch_offline.simulator.bodies import Resource


class Days:
    """A site for ``Simulator``; set ``day``, e.g. ``2025-01-30``."""

    def __init__(self, recorded: Path) -> None:
        self.day = "latest"
        self._recorded = recorded
        self._at = cache(self._read)

    def _read(self, day: str) -> ReplayedSite:
        return read_recording(self._recorded, at=day)

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up."""
        return self._at(self.day).find(host, path, accept=accept)

    def replace(self, path: str, body: bytes) -> None:
        """Put other bytes under a wheel's address, on the day that is set."""
        self._at(self.day).replace(path, body)
