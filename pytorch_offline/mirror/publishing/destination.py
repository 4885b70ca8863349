"""The port: what a publication needs of the place where it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.publishing.model import Document, Found, PublicFile


class Receiving(Protocol):
    """One large file on its way, in pieces that several threads bring in any order; nobody sees it before its end."""

    def put(self, number: int, offset: int, piece: bytes) -> int:
        """Take piece ``number``, counted from 0, which begins at ``offset``.

        Returns:
            How many bytes had to be sent: 0 where an earlier run had brought this piece.
        """

    def finish(self) -> None:
        """Give the file its name: all of it is there and its hash agreed."""

    def abandon(self) -> None:
        """Forget the file: its bytes are not what they should be."""


class Destination(Protocol):
    """A place for a public tree. Safe from many threads; every change is whole or not at all.

    All methods raise ``UpstreamError`` for what the place or the way there does, after having been patient, and
    ``UsageError`` for what it does not admit.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def address(self) -> str | None:
        """The http address at which readers find the tree, without ``/`` at its end; None where that is not known."""

    def changing(self) -> AbstractContextManager[None]:
        """Be the one that changes it, as far as the place can see to that."""

    def list_files(self) -> Mapping[PurePosixPath, Found]:
        """List what lies below ``whl`` and ``locks``."""

    def read(self, path: PurePosixPath) -> Document | None:
        """Read a small file, None if there is none."""

    def holds(self, file: PublicFile, found: Found, *, body: bytes | None = None, reread: bool = False) -> bool:
        """Say whether what was found, which has the right size, is the file.

        Args:
            file: what it should be.
            found: what the listing says of it.
            body: its bytes, where they are at hand.
            reread: whether to read it there, and believe nothing that is written down beside it.
        """

    def expect(self, files: Iterable[PublicFile]) -> None:
        """See beforehand whether files that will be sent fit, as far as that can be known."""

    def piece_size(self, size: int) -> int:
        """Say in pieces of how many bytes a file of this size is sent; one of no more goes by ``put``."""

    def put(self, file: PublicFile, body: bytes) -> None:
        """Write a small file."""

    def receive(self, file: PublicFile) -> Receiving:
        """Begin, or continue, a large file."""

    def copy(self, there: PurePosixPath, file: PublicFile) -> bool:
        """Give bytes that are there a second name; False where the place cannot."""

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file that may be gone already."""

    def sweep(self) -> int:
        """Clean away what earlier runs left unfinished and this one has not continued; count it."""

    def swap(self, file: PublicFile, body: bytes, *, over: Document | None) -> None:
        """Write a small file only if it still is what was read; None for not there.

        Raises:
            UsageError: ``destination-busy`` if somebody else wrote it meanwhile.
        """


def busy(name: str) -> UsageError:
    """Say that somebody else published meanwhile."""
    return UsageError(
        "destination-busy",
        f"another run has published to {name} meanwhile",
        facts={"destination": name},
        hint="run the same command again when the other one has ended: its pages may name other files than yours",
    )
