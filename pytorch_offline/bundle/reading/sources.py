"""Where a bundle's bytes lie: a plain directory, volumes in any order and mix, a delta beside its base, a mirror.

Everything is found by name: of a volume's parts by the name alone, in whichever directory they were put; of a plain
bundle's files by their path, under whichever directory. Whether the bytes are right is for ``verification.py`` to say,
which tells the source which of several copies is (``note_read``).
"""

import io
import os
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from pytorch_offline.bundle.format.manifest import MANIFEST_NAME, ROTATIONS_NAME, SIGNATURE_NAME
from pytorch_offline.bundle.format.model import BundleFile, Manifest, Piece
from pytorch_offline.bundle.reading.labels import LABEL_NAME
from pytorch_offline.bundle.reading.media import (
    READ_BYTES,
    FileStamp,
    Met,
    open_regular,
    read_regular,
    read_stamp,
    walk_media,
)
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY, MEDIA_DIRECTORIES, fold_name, fold_path
from pytorch_offline.bundle.reading.ssh_signature import MAX_SIGNATURE_BYTES
from pytorch_offline.errors import IntegrityError

# A label has ten lines.
MAX_LABEL_BYTES = 64 * 1024
# So many strays are named; of more, nobody reads the list.
MAX_STRAYS = 10000
_VOLUME_DIRECTORY = "data/"


class Root(NamedTuple):
    """A directory at whose top a bundle's own files lie: a bundle, or one volume of it.

    Args:
        directory: its absolute path.
        manifest: ``sound``, ``damaged``, ``differs`` (of the same content, with other bytes) or ``missing``.
    """

    directory: str
    manifest: str


class Location(NamedTuple):
    """Where the bytes of a file are.

    Args:
        file: the file.
        pieces: its runs of bytes, in order.
        paths: for each piece, the files that have its name, the likeliest first.
    """

    file: BundleFile
    pieces: Tuple[Piece, ...]
    paths: Tuple[Tuple[str, ...], ...]

    @property
    def missing(self) -> Tuple[Piece, ...]:
        """The pieces that lie nowhere."""
        return tuple(piece for piece, paths in zip(self.pieces, self.paths) if not paths)


class Source:
    """A bundle as it lies in the directories that were given.

    Args:
        directories: absolute paths without links.
        manifest: what should be there.
        manifest_bytes: as they were read and may be signed; empty for a manifest that was made on the spot.
        bases: the manifests of bundles that lie there too, and that a delta refers to.
        roots: the directories that hold the manifest.
    """

    def __init__(
        self,
        directories: Sequence[str],
        manifest: Manifest,
        manifest_bytes: bytes = b"",
        bases: Sequence[Manifest] = (),
        roots: Sequence[Root] = (),
    ) -> None:
        self.directories = tuple(directories)
        self.manifest = manifest
        self.manifest_bytes = manifest_bytes
        self.roots = tuple(roots)
        self._files = {file.path: file for file in manifest.files}
        self._in_bases: Dict[str, Tuple[Piece, ...]] = {}
        for base in bases:
            for file in base.files:
                if file.carried:
                    self._in_bases.setdefault(file.sha256, file.own_pieces)
        self._read: Dict[Piece, Tuple[str, FileStamp]] = {}
        self._met: Dict[str, List[Tuple[Tuple[str, ...], str]]] = {}
        self._strays: Set[str] = set()
        self._refused: List[Met] = []
        self._look_around()

    @property
    def strays(self) -> Tuple[str, ...]:
        """Paths of files in a bundle's own directories that the manifest does not name, sorted."""
        return tuple(sorted(self._strays)[:MAX_STRAYS])

    @property
    def refused(self) -> Tuple[Met, ...]:
        """Links that lead out, special files, directories that cannot be read; those with a name that is wanted."""
        return tuple(self._refused)

    @property
    def signatures(self) -> Tuple[bytes, ...]:
        """The distinct signatures that lie beside the manifest, that of the first directory first."""
        found: List[bytes] = []
        for path in self.copies_of(SIGNATURE_NAME):
            try:
                signature = read_regular(path, MAX_SIGNATURE_BYTES)
            except OSError:
                continue
            if signature not in found and len(signature) <= MAX_SIGNATURE_BYTES:
                found.append(signature)
        return tuple(found)

    def beside_manifest(self, name: str) -> Tuple[str, ...]:
        """Give the paths of all files of a name at the top of the bundle or of its volumes."""
        tops = {root.directory for root in self.roots}
        return tuple(path for _, path in self._met.get(fold_name(name), ()) if os.path.dirname(path) in tops)

    def copies_of(self, name: str) -> Tuple[str, ...]:
        """Give the same, and then the copies that a bundle with parity keeps."""
        tops = {root.directory for root in self.roots}
        met = [path for _, path in self._met.get(fold_name(name), ())]
        return self.beside_manifest(name) + tuple(path for path in met if _kept_below(path) in tops)

    def kept_copy(self, top: str, name: str) -> Optional[str]:
        """Give the copy of a file that a bundle with parity keeps below a top; None where there is none."""
        return next((path for path in self.copies_of(name) if _kept_below(path) == top), None)

    def pieces_of(self, file: BundleFile) -> Tuple[Piece, ...]:
        """Give the runs of bytes that make a file: of one that lies whole under its path, one of that name."""
        if not file.carried and file.sha256 in self._in_bases:
            return self._in_bases[file.sha256]
        return file.own_pieces

    def find(self, piece: Piece) -> Tuple[str, ...]:
        """Give the paths of files with the name of a piece: the one that was read and is right; else by likeness.

        Of what lies at the top of every volume it gives all copies, that one first.
        """
        right = (self._read[piece][0],) if piece in self._read else ()
        wanted = fold_path(piece.name)
        if len(wanted) == 1:
            copies = self.beside_manifest(piece.name) if self.roots else self._named(piece.name, wanted)
            return right + tuple(path for path in copies if path not in right)
        if right:
            return right
        return self._named(piece.name, wanted[-1:] if piece.name.startswith(_VOLUME_DIRECTORY) else wanted)

    def _named(self, name: str, wanted: Tuple[str, ...]) -> Tuple[str, ...]:
        found = [path for folded, path in self._met.get(wanted[-1], ()) if folded[-len(wanted) :] == wanted]
        exactly = os.sep + name.replace("/", os.sep)
        return tuple(sorted(found, key=lambda path: not path.endswith(exactly)))  # else as the directories were given

    def note_read(self, piece: Piece, path: str, stamp: FileStamp) -> None:
        """Note that the bytes of a piece were read there, from a file with that stamp, and are right."""
        self._read[piece] = (path, stamp)

    def still_right(self, piece: Piece) -> bool:
        """Whether a piece was read, was right, and lies in a file that nobody can have changed since."""
        if piece not in self._read:
            return False
        path, stamp = self._read[piece]
        if read_stamp(path) == stamp:
            return True
        del self._read[piece]
        return False

    def locate(self, file: BundleFile) -> Location:
        """Say where a file's bytes are, and which are missing."""
        pieces = self.pieces_of(file)
        return Location(file, pieces, tuple(self.find(piece) for piece in pieces))

    def file_named(self, path: str) -> BundleFile:
        """Find a file of the bundle by its path.

        Raises:
            KeyError: if the manifest names none.
        """
        return self._files[path]

    def whole(self, path: str) -> Optional[str]:
        """Give the path where a file of the bundle lies whole; None where it lies in pieces or nowhere."""
        location = self.locate(self.file_named(path))
        return location.paths[0][0] if len(location.pieces) == 1 and location.paths[0] else None

    def open_file(self, path: str) -> BinaryIO:
        """Open a file of the bundle, wherever its bytes lie, to be read from any place of it.

        Raises:
            IntegrityError: ``part-missing`` if bytes of it are not there, ``part-changed`` if their number is another.
        """
        return io.BufferedReader(_JoinedFile(self, self.file_named(path)), READ_BYTES)

    def read_file(self, path: str) -> Iterator[bytes]:
        """Read a file of the bundle from its beginning, in large runs of bytes; raises as ``open_file`` does."""
        with _JoinedFile(self, self.file_named(path)) as file:
            while True:
                run = file.read(READ_BYTES)
                if not run:
                    return
                yield run

    def _look_around(self) -> None:
        pieces = [piece for file in self.manifest.files for piece in self.pieces_of(file)]
        wanted = {fold_path(piece.name)[-1] for piece in pieces}
        wanted.update(fold_name(name) for name in (MANIFEST_NAME, SIGNATURE_NAME, ROTATIONS_NAME, LABEL_NAME))
        expected = {fold_path(piece.name) for piece in pieces}
        tops_own = [path for path in expected if len(path) == 1]
        tops_own += [(fold_name(name),) for name in (MANIFEST_NAME, SIGNATURE_NAME, ROTATIONS_NAME)]
        expected.update((COPIES_DIRECTORY, *path) for path in tops_own)
        tops = {root.directory for root in self.roots}
        seen: Set[str] = set()
        for directory in self.directories:
            above = tuple(fold_name(name) for name in directory.split(os.sep) if name)
            for met in walk_media(directory, self.directories):
                folded, place = fold_name(met.name), os.path.join(directory, *met.folders)
                if met.path in seen:
                    continue
                if folded in wanted:
                    seen.add(met.path)
                if met.kind != "file":
                    if folded in wanted or met.kind == "unreadable":
                        self._refused.append(met)
                    continue
                if folded in wanted:
                    folders = (*above, *(fold_name(name) for name in met.folders), folded)
                    self._met.setdefault(folded, []).append((folders, met.path))
                below = tuple(fold_name(name) for name in _below_a_top(place, tops))
                if below and below[0] in MEDIA_DIRECTORIES and (*below, folded) not in expected:
                    self._strays.add(os.path.join(place, met.name))
        self.roots += tuple(self._tops_without_manifest())

    def _tops_without_manifest(self) -> Iterator[Root]:
        """Find volumes whose manifest is gone: their label says whose they are."""
        tops = {root.directory for root in self.roots}
        for _, path in self._met.get(fold_name(LABEL_NAME), ()):
            top = os.path.dirname(path)
            if self.roots and top not in tops and self.manifest.id.encode("ascii") in _read_label(path):
                yield Root(top, "missing")


def _read_label(path: str) -> bytes:
    try:
        return read_regular(path, MAX_LABEL_BYTES)
    except OSError:
        return b""


def _kept_below(path: str) -> Optional[str]:
    """Give the directory whose copies lie where a file lies; None where there are none."""
    directory, name = os.path.split(os.path.dirname(path))
    return directory if fold_name(name) == COPIES_DIRECTORY else None


def _below_a_top(place: str, tops: Set[str]) -> Tuple[str, ...]:
    """Give the names from the nearest top of a bundle down to a directory; none where it is below no top."""
    below: Tuple[str, ...] = ()
    while place not in tops:
        place, name = os.path.split(place)
        if not name:
            return ()
        below = (name, *below)
    return below


class _JoinedFile(io.RawIOBase):
    """The bytes of a file that lies in pieces, as one file that can be read and sought; checked for length alone."""

    def __init__(self, source: Source, file: BundleFile) -> None:
        super().__init__()
        location = source.locate(file)
        if location.missing:
            raise IntegrityError(
                "part-missing",
                f"{file.path} is not all there",
                facts={"missing": ", ".join(piece.name for piece in location.missing)},
            )
        self._path, self._size, self._at = file.path, file.size, 0
        self._parts = [(piece.size, paths[0]) for piece, paths in zip(location.pieces, location.paths)]
        self._open: Optional[Tuple[int, BinaryIO]] = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer's type has no name in Python 3.6
        start = 0
        for number, (size, path) in enumerate(self._parts):
            if start <= self._at < start + size:
                part = self._part(number, path)
                part.seek(self._at - start)
                view = memoryview(buffer)[: start + size - self._at]
                count = part.readinto(view)  # type: ignore[attr-defined]
                if not count:
                    raise IntegrityError("part-changed", f"{self._path} is shorter than it was", facts={"part": path})
                self._at += count
                return int(count)
            start += size
        return 0

    def _part(self, number: int, path: str) -> BinaryIO:
        if self._open is None or self._open[0] != number:
            self._close_part()
            try:
                self._open = (number, open_regular(path))
            except OSError as error:
                raise IntegrityError(
                    "part-missing", f"{self._path} cannot be read", facts={"part": path, "reason": str(error)}
                ) from error
        return self._open[1]

    def _close_part(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> None:
        self._close_part()
        super().close()
