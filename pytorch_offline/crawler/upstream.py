"""An upstream: what kind of index it is, and where its pages are.

Three layouts: a directory per backend with project pages in it (download.pytorch.org/whl and its mirrors), one plain
simple index (PEP 503 or 691), and flat pages that link to wheels (find-links pages, directory listings). A mirror may
serve a flat listing per backend (``…/pytorch-wheels/cu121/``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.knowledge import backends as knowledge
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.utils import NormalizedName


DEFAULT_UPSTREAM = "https://download.pytorch.org/whl"
# Upstream's channels and their directories below the base.
CHANNELS = {"stable": "", "test": "test/", "nightly": "nightly/"}


class Layout(StrEnum):
    """How an index is laid out."""

    BACKENDS = "backends"
    SIMPLE = "simple"
    FLAT = "flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An index to read.

    Args:
        root: the channel's address with its trailing slash, or the address of a flat page.
        layout: how the index is laid out.
        channel: ``stable``, ``test`` or ``nightly``.
        by_backend: whether there is a directory per backend: always with BACKENDS, maybe with FLAT.
        backends: all that may have pages here: those ever seen, and what the root page shows beside them.
    """

    root: str
    layout: Layout
    channel: str = "stable"
    by_backend: bool = False
    backends: tuple[Backend, ...] = ()

    def list_url(self, backend: Backend | None = None) -> str:
        """Give the address of the page that lists the projects of a backend, or of the root."""
        return f"{self.root}{backend}/" if backend is not None and self.by_backend else self.root

    def project_url(self, project: NormalizedName, backend: Backend | None = None) -> str:
        """Give the address of the page that lists a project's files, for a backend or (None) for all together."""
        listing = self.list_url(backend)
        return listing if self.layout is Layout.FLAT else f"{listing}{project}/"


def known_backends(channel: str = "stable", shown: Iterable[str] = ()) -> tuple[Backend, ...]:
    """Give the backends that have ever been seen in a channel, and those among the names that a root page shows."""
    names = (*knowledge.known_backends(channel), *shown)
    return tuple(sorted({parse_backend(name) for name in names if is_backend(name)}, key=lambda each: each.order))
