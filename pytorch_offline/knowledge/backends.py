"""The directories that upstream has ever kept builds in.

A fixed list and not what the root page shows: that page lists directories as if they were projects, leaves most of them
out, and once lost a third of its entries for a day (research/upstream-index.md, sections 2 and 7). ``torch_first`` and
``torch_last`` are the releases recorded in the directory, not a promise about later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pytorch_offline.knowledge.table import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendDirectory:
    """One directory: its name, and the backend it spells; None for the special builds, which are no backend."""

    directory: str
    backend: str | None
    channels: frozenset[str]


@cache
def backend_directories() -> tuple[BackendDirectory, ...]:
    """Every directory ever seen, oldest toolkit first within each kind."""
    return tuple(
        BackendDirectory(
            directory=row["directory"],
            backend=row["backend"] or None,
            channels=frozenset(row["channels"].split(";")),
        )
        for row in read_table("backends")
    )


@cache
def known_backends(channel: str) -> tuple[str, ...]:
    """The backends that have been seen in a channel (``stable``, ``test``, ``nightly``), spelt as directories.

    Release candidates are built for what the next release will have, so ``test`` has the stable ones too.
    """
    channels = {channel, "stable"} if channel == "test" else {channel}
    return tuple(row.backend for row in backend_directories() if row.backend is not None and row.channels & channels)
