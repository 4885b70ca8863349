"""What can be asked for: the values that lie at the paths of a site."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pytorch_offline.mirror.served_as import REVALIDATED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One form of a page, ready in memory.

    Args:
        content_type: as it is sent, e.g. ``application/vnd.pypi.simple.v1+json``.
        content: the bytes.
        etag: strong and quoted, made from the sha256 of the bytes.
        gzipped: the same, compressed, for clients that accept it; None where it saves nothing.
    """

    content_type: str
    content: bytes
    etag: str
    gzipped: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the index, in the forms among which a client may choose (PEP 691), the one for everybody first.

    A page of one form has nothing to choose and is given whatever the client accepts, as a file would be.

    Args:
        forms: the same in each media type.
        modified: when it may last have changed.
        headers: sent beside the others with every form, and with 304.
    """

    forms: tuple[Body, ...]
    modified: datetime | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the mirror, which leaves from the disk.

    Args:
        path: where it lies; its last component is never followed if it is a link.
        size: its bytes, as they were verified; None where only their hash is known: such a file is small, and is
            hashed whenever it is sent.
        sha256: as it was verified, in hex; the strong entity tag is made from it. None for a file that may change,
            whose tag is made from what is read.
        content_type: as it is sent.
        immutable: whether the path has these bytes for ever, so that clients need never ask again.
    """

    path: Path
    size: int | None
    sha256: str | None
    content_type: str
    immutable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Another path on this host has what is asked for; ``location`` is that path, decoded, from the host's root."""

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

    def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Give the bytes from ``start`` to before ``stop``, waiting for those that have not come yet.

        Raises:
            PytorchOfflineError: the file will not come, or is not what was published. The client's transfer must
                break off then; the last bytes of a file are never given before its hash agreed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a page that is made for each request may depend on.

    Args:
        path: as ``Site.find`` was asked for it.
        query: what follows ``?``, as it came.
        field: gives a header of the request by name, several of one name joined by commas; None if there is none.
        origin: how the client addressed this server, ``http://mirror:8080``.
        now: the moment of the request, in UTC.
    """

    path: str
    query: str
    field: Callable[[str], str | None]
    origin: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was made for one question.

    Args:
        body: the bytes; conditions and ranges of the request are judged against it.
        status: 200, or e.g. 503 of a ``/health`` that is not well.
        vary: the headers of the request that decided about it, e.g. ``Accept-Language``.
        cache_control: how long it may be kept.
        headers: sent beside the others, and with 304: ``Content-Language``, ``Content-Security-Policy``.
    """

    body: Body
    status: HTTPStatus = HTTPStatus.OK
    vary: tuple[str, ...] = ()
    cache_control: str = REVALIDATED
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePage:
    """A page that is made when it is asked for, in a few milliseconds and without waiting for anything."""

    answer: Callable[[Question], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrenderedPage:
    """A page that is not in memory; ``render`` makes it, in tenths of a second, and may run in any thread."""

    render: Callable[[], Page]


Resource: TypeAlias = Page | UnrenderedPage | LivePage | StoredFile | GrowingFile | Redirect


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
