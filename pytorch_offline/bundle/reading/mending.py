"""Mending damaged parts of a bundle from what is left of it: slices read, stripe after stripe, and rebuilt.

Of a damaged part everything is used that is still right: the slices are checked one by one, so that a flipped bit costs
one slice and not a wheel. Memory stays below one stripe, 50 MB, beside what is rebuilt of it.
"""

import bisect
from itertools import product
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from pytorch_offline.bundle.format.model import Piece
from pytorch_offline.bundle.reading.media import open_regular
from pytorch_offline.bundle.reading.parity import (
    DATA_ROWS,
    ParityMap,
    StreamPart,
    combine_rows,
    row_coefficients,
    slice_checksum,
)
from pytorch_offline.bundle.reading.verification import tell_nobody

# Of a damaged part there may be several copies; where small damaged parts meet in a slice, they are tried together.
_MOST_COPIES = 4
_MOST_TRIALS = 64


class _Segment(NamedTuple):
    """A run of a slice: of which part, from where in it, how many bytes; None for the zeros behind the data."""

    part: Optional[StreamPart]
    offset: int
    size: int


class Mending:
    """A bundle's slices as they lie on its media.

    Args:
        parity: how it is mended.
        sound: for each part that is right, where it lies.
        copies: for each of the others, the files of which some slices may be right.
    """

    def __init__(self, parity: ParityMap, sound: Mapping[Piece, str], copies: Mapping[Piece, Sequence[str]]) -> None:
        self._parity = parity
        self._sound = sound
        self._copies = copies
        self._starts = [part.start for part in parity.parts if part.piece.size]
        self._parts = [part for part in parity.parts if part.piece.size]
        self._bad: Set[int] = set()

    def damaged_parts(self) -> List[StreamPart]:
        """List the parts that are not right, in the stream's order."""
        return [part for part in self._parts if part.piece not in self._sound]

    def find_bad_slices(self, told: Callable[[int], None] = tell_nobody) -> Dict[str, List[int]]:
        """Read what is left of damaged parts; give for each of them, by its name, the numbers of its bad slices.

        Args:
            told: is told bytes that were looked at.
        """
        bad: Dict[str, List[int]] = {}
        known: Dict[int, bool] = {}
        shape = self._parity.shape
        for part in self.damaged_parts():
            slices = shape.slices_of(part.start, part.piece.size)
            for number in slices:
                if number not in known:
                    known[number] = self.read_slice(number) is not None
                    told(shape.slice_size)
            bad[part.piece.name] = [number for number in slices if not known[number]]
        self._bad = {number for number, good in known.items() if not good}
        return bad

    def read_slice(self, number: int) -> Optional[bytes]:
        """Read a slice from whichever copies give it rightly; None if none do."""
        choices: List[Tuple[Optional[bytes], ...]] = []
        for segment in self._segments_of(number):
            read = tuple(self._read_segment(segment))
            if not read:
                return None
            choices.append(read)
        for trial, runs in enumerate(product(*choices)):
            if trial == _MOST_TRIALS:
                break
            data = b"".join(run for run in runs if run is not None)
            if slice_checksum(data) == self._parity.checksums[number]:
                return data
        return None

    def _read_segment(self, segment: _Segment) -> Iterator[bytes]:
        if segment.part is None:
            yield bytes(segment.size)
            return
        piece = segment.part.piece
        paths = (self._sound[piece],) if piece in self._sound else self._copies.get(piece, ())[:_MOST_COPIES]
        seen: List[bytes] = []
        for path in paths:
            data = _read_run(path, segment.offset, segment.size)
            if data is not None and data not in seen:
                seen.append(data)
                yield data

    def _segments_of(self, number: int) -> Iterator[_Segment]:
        size = self._parity.shape.slice_size
        at, end = number * size, (number + 1) * size
        index = max(0, bisect.bisect_right(self._starts, at) - 1)
        while at < end:
            part = self._parts[index] if index < len(self._parts) else None
            stop = part.start + part.piece.size if part is not None else end
            if part is not None and part.start <= at < stop:
                yield _Segment(part, at - part.start, min(end, stop) - at)
                at = min(end, stop)
                index += 1
            elif part is not None and at >= stop:
                index += 1
            else:  # between the last byte of data and the first row of parity
                upto = min(end, part.start) if part is not None else end
                yield _Segment(None, 0, upto - at)
                at = upto

    def rebuild(self, outputs: Mapping[Piece, str], told: Callable[[int], None] = tell_nobody) -> Optional[int]:
        """Write damaged parts anew, after ``find_bad_slices``.

        Args:
            outputs: existing files, by the part that each is to be.
            told: is told bytes that were read.

        Returns:
            None if all is written; else the number of a stripe of which too little can be read by now.
        """
        wanted: Dict[int, Set[int]] = {}
        stripes = self._parity.shape.stripes
        for part in self.damaged_parts():
            if part.piece in outputs:
                for number in self._parity.shape.slices_of(part.start, part.piece.size):
                    wanted.setdefault(number % stripes, set()).add(number)
        for stripe in sorted(wanted):
            if not self._rebuild_stripe(stripe, wanted[stripe], outputs, told):
                return stripe
        return None

    def _rebuild_stripe(
        self,
        stripe: int,
        wanted: Set[int],
        outputs: Mapping[Piece, str],
        told: Callable[[int], None],
    ) -> bool:
        shape = self._parity.shape
        lost: Set[int] = set()
        for number in sorted(wanted):
            data = None if number in self._bad else self.read_slice(number)
            if data is None:
                lost.add(number)
            else:
                self._put(number, data, outputs)
        if not lost:
            return True
        rows: List[int] = []
        slices: List[bytes] = []
        for row in range(DATA_ROWS + shape.parity_rows):
            number = row * shape.stripes + stripe
            if len(rows) == DATA_ROWS or number in lost or number in self._bad:
                continue
            data = self.read_slice(number)
            told(shape.slice_size)
            if data is not None:
                rows.append(row)
                slices.append(data)
        if len(rows) < DATA_ROWS:
            return False
        ordered = sorted(lost)
        rebuilt = combine_rows(slices, row_coefficients(rows, [number // shape.stripes for number in ordered]))
        for number, data in zip(ordered, rebuilt):
            self._put(number, data, outputs)
        return True

    def _put(self, number: int, data: bytes, outputs: Mapping[Piece, str]) -> None:
        at = 0
        for segment in self._segments_of(number):
            if segment.part is not None and segment.part.piece in outputs:
                with open(outputs[segment.part.piece], "r+b") as file:
                    file.seek(segment.offset)
                    file.write(data[at : at + segment.size])
            at += segment.size


def _read_run(path: str, offset: int, size: int) -> Optional[bytes]:
    """Read a run of a file; None where it does not reach so far or cannot be read: then it is as good as lost."""
    runs: List[bytes] = []
    try:
        with open_regular(path) as file:
            file.seek(offset)
            while size:
                run = file.read(size)
                if not run:
                    return None
                runs.append(run)
                size -= len(run)
    except OSError:
        return None
    return b"".join(runs)
