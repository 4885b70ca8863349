"""What a mirror holds, as it is told across the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.holdings import Holdings
from pytorch_offline.bundle.importing.plan import holdings_of
from pytorch_offline.bundle.reading.exporting import holdings_of_memory
from pytorch_offline.bundle.reading.memory import MEMORY_NAME, read_bundle_memory
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from pytorch_offline.mirror.store import Mirror


def holdings_of_mirror(mirror: Mirror) -> Holdings:
    """Read what a mirror shows its clients, and which bundles it took.

    Raises:
        UsageError: ``no-manifest`` if it holds nothing.
        IntegrityError: ``bad-manifest``, ``bad-bundle-memory``.
        OSError: what the disk said.
    """
    if not mirror.exists:
        raise UsageError("no-manifest", f"{mirror.root} holds no manifest.json", hint="see --mirror")
    memory = read_bundle_memory(mirror.state / MEMORY_NAME)
    return Holdings(bundles=holdings_of_memory(memory), files=holdings_of(mirror.read_published().values()))
