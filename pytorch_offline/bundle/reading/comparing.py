"""Reading the parts of a bundle wherever files of their names lie, until a right one of each was found."""

from typing import Callable, Dict, List, Sequence, Set, Tuple

from pytorch_offline.bundle.format.model import Piece
from pytorch_offline.bundle.reading.hashing_media import Hashed, hash_files
from pytorch_offline.bundle.reading.media import read_stamp
from pytorch_offline.bundle.reading.sources import Source


class ComparedParts:
    """What was read of a bundle's parts.

    Args:
        source: where they lie; it is told of each part that is right.
        told: told of bytes as they are read, by several threads.
        jobs: how many files are read at once.
    """

    def __init__(self, source: Source, told: Callable[[int], None], jobs: int) -> None:
        self._source, self._told, self._jobs = source, told, jobs
        self.right: Set[Piece] = set()
        self.candidates: Dict[Piece, Tuple[str, ...]] = {}
        self.hashed: Dict[str, Hashed] = {}
        self.sizes: Dict[str, int] = {}
        self.bytes_read = 0

    @property
    def wrong(self) -> Tuple[Piece, ...]:
        """The parts of which no right file was found."""
        return tuple(piece for piece in self.candidates if piece not in self.right)

    def read_parts(self, pieces: Sequence[Piece], *, again: bool) -> None:
        """Read, of each part, files of its name and size until one is right; of those in every volume, all."""
        waiting: Dict[Piece, List[str]] = {}
        for piece in pieces:
            if not again and "/" in piece.name and self._source.still_right(piece):
                self.candidates[piece] = self._source.find(piece)
                self.right.add(piece)
                continue
            self.candidates[piece] = self._source.find(piece)
            waiting[piece] = [path for path in self.candidates[piece] if self.size_of(path) == piece.size]
        while any(waiting.values()):
            turn = {paths.pop(0): piece for piece, paths in waiting.items() if paths}
            self.read_files(sorted(turn))
            for path, piece in turn.items():
                if self.is_right(piece, path):
                    self._note(piece, path)
            # Of what lies at the top of every volume each copy is read, for any of them may be the one that is run.
            waiting = {
                piece: paths for piece, paths in waiting.items() if piece not in self.right or "/" not in piece.name
            }

    def is_right(self, piece: Piece, path: str) -> bool:
        """Whether a file that was read holds exactly a part."""
        hashed = self.hashed.get(path)
        return hashed is not None and (hashed.problem, hashed.sha256, hashed.size) == (None, piece.sha256, piece.size)

    def size_of(self, path: str) -> int:
        """Say how long a file is; -1 where it cannot be said."""
        if path not in self.sizes:
            stamp = read_stamp(path)
            self.sizes[path] = -1 if stamp is None else stamp.size
        return self.sizes[path]

    def read_what_explains(self) -> None:
        """Read also files that are as long as some part, but lie under no name or under that of another part."""
        lengths = {piece.size for piece in self.candidates if piece.size}
        wrong = [path for piece in self.wrong for path in self.candidates[piece]]
        self.read_files([path for path in (*wrong, *self._source.strays) if self.size_of(path) in lengths])

    def read_files(self, paths: Sequence[str]) -> None:
        """Hash files, each once."""
        fresh = sorted({path for path in paths if path not in self.hashed})

        def done(hashed: Hashed) -> None:
            self.hashed[hashed.path] = hashed
            self.bytes_read += hashed.size

        hash_files(fresh, done, self._told, self._jobs)

    def _note(self, piece: Piece, path: str) -> None:
        stamp = self.hashed[path].stamp
        if piece not in self.right and stamp is not None:
            self.right.add(piece)
            self._source.note_read(piece, path, stamp)
