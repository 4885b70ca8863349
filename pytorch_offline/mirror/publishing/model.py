"""The values of a publication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from pytorch_offline.errors import PytorchOfflineError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFile:
    """What should lie at the destination.

    Args:
        path: below the destination, as below the mirror.
        size: its bytes.
        sha256: of its bytes.
        modified_ns: when the mirror's own copy was last changed, in nanoseconds since 1970; None for what is rendered.
    """

    path: PurePosixPath
    size: int
    sha256: str
    modified_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a listing of the destination says of one file.

    Args:
        size: its bytes.
        modified_ns: when it was last changed, where the destination keeps the time that it was given.
        etag: the store's own name for these bytes, unquoted; of what was sent in one piece often the MD5.
    """

    size: int
    modified_ns: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A small file whose bytes are at hand, at the version that the destination gives it."""

    body: bytes
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A file that could not be published, and why."""

    path: PurePosixPath
    error: PytorchOfflineError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a publication came to, or with ``planned`` would come to. Paths are in the order in which they went.

    Args:
        planned: whether nothing was changed.
        sent: files whose bytes went there.
        copied: files that the destination had under another name, and copied or linked itself.
        present: how many files were there already.
        pages: index pages, locks and the manifest that were written.
        held_back: pages and locks that were not switched, because something that they name is not there.
        removed: what was removed from the destination.
        surplus: what looks like ours there and the mirror no longer has; stays unless removal is asked for.
        failures: files that could not be published.
        bytes_sent: how many bytes went over.
        bytes_continued: how many bytes of the files sent an earlier run, cut off, had brought.
        uploads_aborted: unfinished uploads of earlier runs that were cleaned away.
        seconds: how long the files took.
    """

    planned: bool
    sent: tuple[PurePosixPath, ...]
    copied: tuple[PurePosixPath, ...]
    present: int
    pages: tuple[PurePosixPath, ...]
    held_back: tuple[PurePosixPath, ...]
    removed: tuple[PurePosixPath, ...]
    surplus: tuple[PurePosixPath, ...]
    failures: tuple[Failed, ...]
    bytes_sent: int
    bytes_continued: int
    uploads_aborted: int
    seconds: float

    @property
    def bytes_per_second(self) -> float | None:
        """How fast the files went; None where nothing did."""
        return self.bytes_sent / self.seconds if self.bytes_sent and self.seconds > 0 else None
