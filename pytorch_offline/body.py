"""The body of an answer, read in large pieces.

Theory of operation. What a piece costs after it was read (rules, locks, the queue to the hash) is the same for 16 KiB
as for 1 MiB, and TLS gives 16 KiB at a time. So a piece is gathered, as long as more comes and a moment has not passed;
what came before a break is given before the break is told.

urllib3 and http.client make two objects of every read. A body that is neither chunked nor encoded is read past them,
straight from the socket, all but its last byte: that one is theirs, so that they see that the body is over and keep the
connection for the next request. Over TLS this saves a fifth of the processor time.
"""

from __future__ import annotations

import http.client
import select
import threading
import time
from io import DEFAULT_BUFFER_SIZE
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3.response import HTTPResponse

# How long to gather a piece: at 10 MB/s it is 200 kB then, and costs a thousandth of a core.
GATHERING_SECONDS = 0.02


class Body:
    """What is still to come of one answer, for one thread to read; any thread may abort it.

    ``gathering`` is for how many seconds a piece may wait to become full.
    """

    def __init__(self, raw: HTTPResponse, *, gathering: float = GATHERING_SECONDS) -> None:
        self._raw = raw
        self._gathering = gathering
        self._aborted = threading.Event()
        self._plain = _plain(raw)
        self._direct = False  # whether reads go to the socket itself
        self._comes: Callable[[float], bool] = lambda _: False
        self._over = False

    def pieces(self, size: int) -> Iterator[bytearray]:
        """Give the body in pieces of at most ``size`` bytes.

        Raises:
            OSError, urllib3's HTTPError: the body broke off or was aborted.
        """
        while not self._over:
            piece = bytearray(size)
            filled, trouble = self._fill(piece)
            if filled:
                yield piece if filled == size else piece[:filled]
            if trouble is not None:
                raise trouble

    def abort(self) -> None:
        """Make the reading thread stop waiting, and take nothing more of what is here."""
        self._aborted.set()
        self._raw.shutdown()

    def _fill(self, piece: bytearray) -> tuple[int, Exception | None]:
        """Fill a piece from its start; say how far, and what went wrong."""
        filled, deadline = 0, None
        with memoryview(piece) as buffer:
            while filled < len(buffer):
                count, trouble = self._read_into(buffer[filled:])
                if trouble is not None:
                    return filled, trouble
                if count == 0:
                    self._over = True
                    break
                filled += count
                now = time.monotonic()
                deadline = deadline or now + self._gathering
                if not self._ending and (now >= deadline or not self._comes(deadline - now)):
                    break
        return filled, None

    @property
    def _ending(self) -> bool:
        """Whether there is nothing to wait for: no more than a last byte, which may be here, inside TLS, unseen."""
        return self._direct and self._plain is not None and (self._plain.length or 0) <= 1

    def _read_into(self, buffer: memoryview) -> tuple[int, Exception | None]:
        """Read what one system call gives, 0 at the end; or say what went wrong."""
        count, trouble = 0, None
        try:
            count = self._read_once(buffer)
        except Exception as error:  # noqa: BLE001  (a socket that is torn away raises anything)
            trouble = error
        if self._aborted.is_set():
            # A TLS socket that was shut down has forgotten its keys, and what it gives from then on is ciphertext.
            return 0, ConnectionAbortedError("it was aborted")
        if trouble is not None and not isinstance(trouble, OSError | HTTPError):
            raise trouble
        return count, trouble

    def _read_once(self, buffer: memoryview) -> int:
        plain = self._plain
        if self._direct and plain is not None and plain.length is not None and plain.length > 1:
            count = plain.fp.raw.readinto(buffer[: plain.length - 1]) or 0
            plain.length -= count
            self._raw.length_remaining = plain.length
            return count
        data = self._raw.read1(len(buffer), decode_content=True)
        buffer[: len(data)] = data
        if not self._direct and plain is not None and plain.length and len(buffer) >= DEFAULT_BUFFER_SIZE:
            # What had come with the head, and lay in the buffer between the socket and us, is taken.
            self._direct, self._comes = True, _watch(plain.fp.fileno())
        return len(data)


def _plain(raw: HTTPResponse) -> http.client.HTTPResponse | None:
    """Give the answer below urllib3's, if its body can be read from there."""
    answer = getattr(raw, "_original_response", None)
    if (
        isinstance(answer, http.client.HTTPResponse)
        and not answer.chunked
        and answer.length is not None
        and answer.length == raw.length_remaining
        and raw.headers.get("Content-Encoding", "identity").lower() == "identity"
    ):
        return answer
    return None


def _watch(descriptor: int) -> Callable[[float], bool]:
    """Give what says whether there is anything to read within so many seconds."""
    if not hasattr(select, "poll"):  # Windows
        return lambda seconds: bool(select.select([descriptor], [], [], seconds)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda seconds: bool(poll.poll(seconds * 1000))
