"""What can be asked for: the values that lie at the paths of a site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One form of a page, ready in memory.

    Args:
        content_type: as it is sent, e.g. ``application/vnd.pypi.simple.v1+json``.
        content: the bytes.
        etag: strong and quoted, made from the sha256 of the bytes.
    """

    content_type: str
    content: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the index, in the forms among which a client may choose (PEP 691), the one for everybody first.

    A single form is given to everybody. ``headers`` are sent with every form, and with 304.
    """

    forms: tuple[Body, ...]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the mirror, which leaves from the disk.

    Args:
        path: where it lies.
        size: its bytes, as they were verified.
        etag: strong and quoted, made from the sha256 that was verified.
        content_type: as it is sent.
        immutable: whether the path has these bytes for ever, so that clients need never ask again.
    """

    path: Path
    size: int
    etag: str
    content_type: str
    immutable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Another path on this host has what is asked for; ``location`` is relative to this host."""

    location: str


class GrowingFile(Protocol):
    """A file that is on its way from upstream: its first clients get it while it comes."""

    @property
    def size(self) -> int:
        """How many bytes it will have."""

    @property
    def etag(self) -> str | None:
        """Strong and quoted, where upstream published the sha256; else None, and the file has no ranges."""

    @property
    def content_type(self) -> str:
        """As it is sent."""

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Give the bytes from ``start`` to before ``stop``, waiting for those that have not come yet.

        Raises:
            PytorchOfflineError: the file will not come, or is not what was published. The client's transfer must
                break off then; the last bytes of a file are never given before its hash agreed.
        """


Resource: TypeAlias = Page | StoredFile | Redirect | GrowingFile


class Site(Protocol):
    """Everything that a server has, by path."""

    def find(self, path: str) -> Resource | None:
        """Give what lies at a path, at once.

        Args:
            path: decoded once and free of ``.`` and ``..``, from the host's root: ``/whl/cu126/torch/``.
        """

    async def bring(self, path: str) -> Resource | None:
        """Give what ``find`` has not, after asking upstream for it; None where nobody has it.

        Raises:
            PytorchOfflineError: upstream could not be asked.
        """
