"""Files of the mirror on their way: each read once, in pieces that whoever is free sends.

One thread at a time reads the next piece of the next file, in order, and takes the hash as it goes; then it sends the
piece while another reads on. So a disk is read in sequence, every thread always has something to send, one large file
uses all of them, and no more than one piece for each thread is in memory.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_error, is_of_whole_disk
from pytorch_offline.errors import IntegrityError, PytorchOfflineError
from pytorch_offline.mirror.progress import Doing, Outcome
from pytorch_offline.mirror.publishing.model import Failed
from pytorch_offline.mirror.workers import Stop, for_each

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.publishing.destination import Destination, Receiving
    from pytorch_offline.mirror.publishing.model import PublicFile


@dataclass(slots=True, kw_only=True)
class Sent:
    """What became of the files of one ``send_files``; the counts are of bytes."""

    files: list[PublicFile]
    failures: list[Failed]
    bytes_sent: int = 0
    bytes_continued: int = 0


def send_files(
    files: Iterable[PublicFile], root: Path, destination: Destination, *, jobs: int, stop: Stop, progress: Progress
) -> Sent:
    """Send files of the mirror at ``root``; one that is not what it should be is left out, and the others go on.

    Raises:
        UpstreamError: the destination failed, or the disk that holds the mirror.
        UsageError: what the destination does not admit.
    """
    feed = _Feed(files, root, destination, progress)
    try:
        for_each(range(jobs), lambda _: feed.work(stop), jobs=jobs, stop=stop)
    finally:
        feed.close()
    return feed.sent


class _Sending:
    """One file under way. What is read of it belongs to whoever has the feed's turn; the rest to its lock's holder."""

    def __init__(self, file: PublicFile, stream: BinaryIO, receiving: Receiving | None, piece_size: int) -> None:
        self.file = file
        self.receiving = receiving  # None for a file of one piece
        self._stream = stream
        self._piece_size = piece_size
        self._digest = hashlib.sha256()
        self.read = 0
        self.pieces = 0
        self.whole = False  # everything was read
        self.lock = threading.Lock()
        self.taken = 0  # pieces that are through
        self.position = 0
        self.done = False

    def next_piece(self) -> bytes:
        piece = self._stream.read(min(self._piece_size, self.file.size - self.read))
        self._digest.update(piece)
        self.read += len(piece)
        self.pieces += 1
        self.whole = self.read >= self.file.size or not piece
        return piece

    @property
    def sound(self) -> bool:
        return self.read == self.file.size and self._digest.hexdigest() == self.file.sha256

    def damage(self, root: Path) -> IntegrityError:
        facts = {"file": str(self.file.path), "expected sha256": self.file.sha256, "mirror": str(root)}
        if self.read != self.file.size:
            facts |= {"expected size": str(self.file.size), "found size": str(self.read)}
        else:
            facts["found sha256"] = self._digest.hexdigest()
        return IntegrityError(
            "hash-mismatch",
            f"{self.file.path} is damaged in the mirror, and was not published",
            facts=facts,
            hint="pytorch-offline verify --repair fetches what is bad of it again",
        )

    def close(self) -> None:
        self._stream.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    of: _Sending
    number: int
    offset: int
    body: bytes


class _Feed:
    """Gives out pieces of files, and ends files."""

    def __init__(self, files: Iterable[PublicFile], root: Path, destination: Destination, progress: Progress) -> None:
        self.sent = Sent(files=[], failures=[])
        self._waiting = deque(files)
        self._root = root
        self._destination = destination
        self._progress = progress
        self._turn = threading.Lock()  # to read
        self._counts = threading.Lock()
        self._current: _Sending | None = None

    def work(self, stop: Stop) -> None:
        """Send what is there to be sent, until nothing is left."""
        while self._step():
            stop.check()

    def close(self) -> None:
        """Let go of the file that was being read."""
        if self._current is not None:
            self._current.close()

    def _step(self) -> bool:
        piece = self._take()
        if piece is None:
            return False
        self._send(piece)
        return True  # and the piece is let go of before the next one is read

    def _take(self) -> _Piece | None:
        with self._turn:
            while True:
                if self._current is None and not self._open_next():
                    return None
                sending = self._current
                assert sending is not None  # noqa: S101  (just opened)
                offset, number = sending.read, sending.pieces
                try:
                    body = sending.next_piece()
                except OSError as error:
                    self._unreadable(sending.file, error)
                    sending.whole, sending.done = True, True
                    self._leave(sending)
                    continue
                if sending.whole:
                    self._leave(sending)
                return _Piece(of=sending, number=number, offset=offset, body=body)

    def _leave(self, sending: _Sending) -> None:
        sending.close()
        self._current = None

    def _open_next(self) -> bool:
        while self._waiting:
            file = self._waiting.popleft()
            self._progress.begin(str(file.path), file.size, 0)
            try:
                stream = (self._root / file.path).open("rb")  # buffered: a raw read may give less than was asked for
            except OSError as error:
                self._unreadable(file, error)
                continue
            self._progress.doing(str(file.path), Doing.SENDING)
            size = self._destination.piece_size(file.size)
            receiving = None if file.size <= size else self._destination.receive(file)
            self._current = _Sending(file, stream, receiving, size)
            return True
        return False

    def _unreadable(self, file: PublicFile, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            gone = f"{file.path} has gone from the mirror meanwhile"
            hint = "run the same command again: what the mirror has published since then follows"
            self._fail(file, IntegrityError("not-in-mirror", gone, facts={"mirror": str(self._root)}, hint=hint))
            return
        problem = disk_error(error, self._root)
        problem.__cause__ = error
        if is_of_whole_disk(problem):
            raise problem
        self._fail(file, problem)

    def _send(self, piece: _Piece) -> None:
        sending, file = piece.of, piece.of.file
        if sending.receiving is None:
            if sending.sound:
                self._destination.put(file, piece.body)
            self._through(piece, len(piece.body) if sending.sound else 0)
        else:
            sent = sending.receiving.put(piece.number, piece.offset, piece.body) if piece.body else 0
            self._through(piece, sent)

    def _through(self, piece: _Piece, sent: int) -> None:
        """Count a piece; whoever brought the last one ends the file."""
        sending = piece.of
        with self._counts:
            self.sent.bytes_sent += sent
            if sending.receiving is not None:
                self.sent.bytes_continued += len(piece.body) - sent
        with sending.lock:
            sending.taken += 1
            sending.position += len(piece.body)
            self._progress.advance(str(sending.file.path), sending.position, sending.file.size)
            last = sending.whole and sending.taken == sending.pieces and not sending.done
            sending.done |= last
        if last:
            self._end(sending)

    def _end(self, sending: _Sending) -> None:
        if not sending.sound:
            if sending.receiving is not None:
                sending.receiving.abandon()
            self._fail(sending.file, sending.damage(self._root))
            return
        if sending.receiving is not None:
            sending.receiving.finish()
        with self._counts:
            self.sent.files.append(sending.file)
        self._progress.end(str(sending.file.path))

    def _fail(self, file: PublicFile, error: PytorchOfflineError) -> None:
        with self._counts:
            self.sent.failures.append(Failed(path=file.path, error=error))
        self._progress.end(str(file.path), Outcome.FAILED)
