"""Out of a wheel that stays where it is: end record, central directory, members, by HTTP ranges.

``RemoteWheelReader`` and ``RemoteListingReader`` are state machines without network: they say which bytes they want and
are fed what came; the loops around them ask a ``RemoteFile``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.dist_info import find_dist_info
from pytorch_offline.wheels.metadata import MAX_METADATA
from pytorch_offline.wheels.remote_file import ByteRange, ChangedError, RemoteFile, changed_while_read
from pytorch_offline.wheels.zip_format import (
    LOCAL_HEADER_SIZE,
    LONGEST_END,
    disagreement,
    find_directory,
    inflate,
    local_header_span,
    malformed,
    parse_directory,
    parse_local_header,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from pytorch_offline.net import Http
    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.zip_format import Directory, Member

_Read = TypeVar("_Read")
# One request is hoped to do for a small member: its own header's extra fields are rarely longer.
_EXTRA_ROOM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a wheel holds: its size in bytes, its directory, and the members that this lists."""

    size: int
    directory: Directory
    members: tuple[Member, ...]


class _RangeReader(ABC, Generic[_Read]):
    """Reads something from a wheel of which only pieces are fetched.

    Feed it what ``wanted`` names until that is ``None``; then ``result`` is there. It may be fed less than it wanted,
    from the same start, and asks for the rest.

    Args:
        wheel: the file's name; its ``.dist-info`` directory must agree.
        size: the file's size in bytes where it is known, else learnt from the first answer.
    """

    def __init__(self, wheel: WheelName, *, size: int | None = None) -> None:
        self.result: _Read | None = None
        self._wheel = wheel
        self._size = size
        self._pieces: list[tuple[int, bytes]] = []
        self._steps = self._read(size)
        self.wanted: ByteRange | None = next(self._steps)

    def feed(self, start: int, data: bytes, size: int) -> None:
        """Take bytes that came: where in the file they begin, and how large the file is by the same answer.

        Raises:
            IntegrityError: ``bad-archive`` or ``bad-dist-info`` if the file is no such wheel; ``size-mismatch`` if it
                has another size than was known.
        """
        if self._size is not None and self._size != size:
            raise IntegrityError(
                "size-mismatch",
                f"{self._wheel.filename} has {size} bytes where {self._size} were expected",
                facts={"expected": self._size, "found": size},
            )
        self._size = size
        self._pieces.append((start, data))
        try:
            self.wanted = self._steps.send(size)
        except StopIteration as stop:
            self.wanted = None
            self.result = stop.value

    @abstractmethod
    def _read(self, size: int | None) -> Generator[ByteRange, int, _Read]:
        """Read what is to be read; each ``yield`` asks for bytes."""

    def _listing(self, size: int | None) -> Generator[ByteRange, int, Listing]:
        """Go from the end record to the directory."""
        if size is None:
            size = yield ByteRange(start=None, stop=LONGEST_END)
        tail = yield from self._bytes(max(0, size - LONGEST_END), size)
        directory = find_directory(tail, size)
        listing = yield from self._bytes(directory.offset, directory.offset + directory.size)
        return Listing(size=size, directory=directory, members=parse_directory(listing, directory))

    def _bytes(self, start: int, stop: int) -> Generator[ByteRange, int, bytes]:
        """Give these bytes of the file, asking for the ones that have not come yet."""
        data = bytearray()
        while (at := start + len(data)) < stop:
            for begin, piece in self._pieces:
                if begin <= at < begin + len(piece):
                    data += piece[at - begin : stop - begin]
                    break
            else:
                yield ByteRange(start=at, stop=min([stop, *(begin for begin, _ in self._pieces if begin > at)]))
        return bytes(data)


class RemoteListingReader(_RangeReader[Listing]):
    """Reads which members a wheel has, and where."""

    def _read(self, size: int | None) -> Generator[ByteRange, int, Listing]:
        return self._listing(size)


class RemoteWheelReader(_RangeReader[bytes]):
    """Reads METADATA."""

    @property
    def metadata(self) -> bytes | None:
        """The bytes of METADATA, once they are there."""
        return self.result

    def _read(self, size: int | None) -> Generator[ByteRange, int, bytes]:
        listing = yield from self._listing(size)
        directory, members = listing.directory, listing.members
        name = f"{find_dist_info([member.name for member in members], self._wheel)}/METADATA"
        candidates = [member for member in members if member.name == name]
        if len(candidates) != 1:
            raise malformed(f"it has {len(candidates)} members {name}")
        member = candidates[0]
        if max(member.size, member.compressed_size) > MAX_METADATA:
            raise malformed(f"its METADATA of {member.size} bytes is not read")
        if member.offset + LOCAL_HEADER_SIZE > directory.offset:
            raise malformed(f"member {name!r} lies outside of it")
        hoped = member.offset + LOCAL_HEADER_SIZE + len(member.raw_name) + _EXTRA_ROOM + member.compressed_size
        start = yield from self._bytes(member.offset, min(hoped, directory.offset))
        span = local_header_span(start)
        stop = member.offset + span + member.compressed_size
        if stop > directory.offset:
            raise malformed(f"member {name!r} reaches into the directory")
        data = yield from self._bytes(member.offset, stop)
        if (detail := disagreement(member, parse_local_header(data[:span]))) is not None:
            raise malformed(f"member {name!r}: {detail}")
        return b"".join(inflate(member, [data[span:]]))


def fetch_metadata_by_ranges(http: Http, url: str, name: WheelName, *, expected_size: int | None = None) -> bytes:
    """Read METADATA out of the wheel at a URL, without downloading the wheel.

    Raises:
        UpstreamError: ``ranges-not-served`` if the server ignores ranges or answers them wrongly; ``file-absent`` for
            any other status; ``changed-while-read`` if the file changed, and changed again at the second try; what
            ``Http.get`` raises.
        IntegrityError: ``bad-archive``, ``bad-dist-info`` or ``size-mismatch`` if the file is no such wheel.
    """
    try:
        return _read_once(http, url, name, expected_size)
    except ChangedError:
        # A new generation was put there in the middle; it will hardly happen twice.
        try:
            return _read_once(http, url, name, expected_size)
        except ChangedError as change:
            raise changed_while_read(url, change) from change


def _read_once(http: Http, url: str, name: WheelName, expected_size: int | None) -> bytes:
    return _finish(RemoteFile(http, url), RemoteWheelReader(name, size=expected_size))


def fetch_listing(file: RemoteFile, name: WheelName, *, expected_size: int | None = None) -> Listing:
    """Read which members a wheel has, and where.

    Raises:
        UpstreamError: as ``fetch_metadata_by_ranges``, but the file may not change even once.
        IntegrityError: ``bad-archive`` or ``size-mismatch``.
    """
    try:
        return _finish(file, RemoteListingReader(name, size=expected_size))
    except ChangedError as change:
        raise changed_while_read(file.url, change) from change


def fetch_member(file: RemoteFile, listing: Listing, member: Member, windows: Iterable[int]) -> Iterator[bytes]:
    """Read a member from its beginning on, inflated as it comes; whoever has enough of it asks for no more.

    ``windows`` says, without end, how many compressed bytes to ask for at a time.

    Raises:
        UpstreamError: as ``fetch_listing``.
        IntegrityError: ``bad-archive`` if the member is not what the directory says.
    """
    sizes = iter(windows)
    try:
        hoped = LOCAL_HEADER_SIZE + len(member.raw_name) + _EXTRA_ROOM + member.compressed_size
        stop = min(member.offset + min(next(sizes), hoped), listing.directory.offset)
        start = b"".join(_pieces(file, member.offset, stop))
        span = local_header_span(start)
        if (detail := disagreement(member, parse_local_header(start[:span]))) is not None:
            raise malformed(f"member {member.name!r}: {detail}")
        end = member.offset + span + member.compressed_size
        if end > listing.directory.offset:
            raise malformed(f"member {member.name!r} reaches into the directory")

        def compressed() -> Iterator[bytes]:
            yield start[span : span + member.compressed_size]
            at = member.offset + len(start)
            while at < end:
                following = min(at + next(sizes), end)
                yield from _pieces(file, at, following)
                at = following

        yield from inflate(member, compressed())
    except ChangedError as change:
        raise changed_while_read(file.url, change) from change


def _pieces(file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
    """Give these bytes of a file, in as many pieces as the server makes of them."""
    while start < stop:
        start, data, _ = file.fetch(ByteRange(start=start, stop=stop))
        yield data
        start += len(data)


def _finish(file: RemoteFile, reader: _RangeReader[_Read]) -> _Read:
    while reader.wanted is not None:
        reader.feed(*file.fetch(reader.wanted))
    assert reader.result is not None  # noqa: S101  (that is what nothing wanted means)
    return reader.result
