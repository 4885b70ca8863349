"""Bodies: what lies behind an address, in memory or on disk, with what the store says about it."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

FILE_TYPE = "binary/octet-stream"  # S3's default, which upstream's uploads leave as it is
PAGE_TYPE = "text/html"
READ_SIZE = 1 << 20  # bytes


class Body(Protocol):
    """Bytes that can be read from any offset."""

    @property
    def size(self) -> int:
        """The length in bytes."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of all bytes, lower-case hex."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly that part, which must lie inside."""
        ...


@dataclass(frozen=True)
class MemoryBody:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """The hash of all bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """Read a part."""
        return self.data[offset : offset + length]


@dataclass(frozen=True)
class FileBody:
    """A file on disk, such as a real wheel of a few hundred megabytes; hashed once, read in pieces."""

    path: Path

    @cached_property
    def size(self) -> int:
        """The length in bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """The hash of all bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """Read a part."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def read_wheel_metadata(file: BinaryIO) -> bytes:
    """Read METADATA out of a wheel.

    Raises:
        IntegrityError: ``bad-wheel`` if there is no such member, or no zip archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                directory, _, member = name.partition("/")
                if directory.endswith(".dist-info") and member == "METADATA":
                    return archive.read(name)
    except zipfile.BadZipFile as error:
        raise IntegrityError("bad-wheel", f"no zip archive: {error}") from error
    raise IntegrityError("bad-wheel", "the archive has no .dist-info/METADATA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What answers one address: the body and its headers.

    ``etag`` is quoted, as it goes on the wire. ``cache_control`` may be absent, as on most wheels.
    """

    body: Body
    content_type: str
    etag: str
    last_modified: datetime
    cache_control: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that was written for an address, before it gets its headers."""

    text: bytes
    content_type: str = PAGE_TYPE
    cache_control: str | None = None
