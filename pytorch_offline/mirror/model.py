"""The mirror's values: what is wanted in it, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from pytorch_offline.wheels.filename import WheelName


class HashOrigin(StrEnum):
    """Where a file's sha256 came from."""

    PUBLISHED = "published"  # the index said it, and the bytes agree
    COMPUTED = "computed"  # nothing was published: our own computation, trust on first use


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """A wheel to be fetched into the mirror.

    Args:
        name: the file name and what it states.
        path: where it goes below the mirror's directory, e.g. ``whl/cu121/torch-….whl``.
        urls: where to get it, best first; all must serve the same bytes.
        sha256: the published hash, None where the index has none.
        one_of: hashes of which the bytes must have one, where ``sha256`` is not known; empty admits any.
        size: the published size in bytes, None where unknown.
        requires_python: from the page or METADATA, as text.
        yanked: PEP 592's reason; None if not yanked.
        upload_time: ISO 8601, as the index said it.
    """

    name: WheelName
    path: PurePosixPath
    urls: tuple[str, ...]
    sha256: str | None = None
    one_of: frozenset[str] = frozenset()
    size: int | None = None
    requires_python: str | None = None
    yanked: str | None = None
    upload_time: str | None = None


class Listed(Protocol):
    """What an index page says of a file, whether the mirror holds it or a gateway would fetch it.

    ``sha256`` and ``size`` are None where nobody has said them. Of every file that is listed the METADATA can be had;
    ``metadata_sha256`` is None where nobody knows its hash yet. The others are as in ``MirrorFile``.
    """

    @property
    def path(self) -> PurePosixPath:
        """Where it lies below the mirror's directory."""

    @property
    def size(self) -> int | None:
        """Its bytes."""

    @property
    def sha256(self) -> str | None:
        """Lower-case hex."""

    @property
    def metadata_sha256(self) -> str | None:
        """Likewise, of its METADATA."""

    @property
    def spelling(self) -> str | None:
        """The project's name as its METADATA has it."""

    @property
    def requires_python(self) -> str | None:
        """As text."""

    @property
    def yanked(self) -> str | None:
        """The reason."""

    @property
    def upload_time(self) -> str | None:
        """ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorFile:
    """A verified wheel that the mirror holds: one row of ``manifest.json``.

    ``metadata_sha256`` is the hash of the wheel's own METADATA, which lies beside it as ``<file>.metadata``.
    ``spelling`` is the project's name as that METADATA has it, None in rows of before this was noted.
    ``verified_at`` is ISO 8601 in UTC, the last time that the bytes were read and agreed with ``sha256``.
    """

    path: PurePosixPath
    size: int
    sha256: str
    hash_origin: HashOrigin
    origin: str
    metadata_sha256: str
    requires_python: str | None
    yanked: str | None
    upload_time: str | None
    verified_at: str
    spelling: str | None = None
