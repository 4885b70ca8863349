"""What mends a bundle's damaged parts: Reed-Solomon parity over the bytes that it carries (docs/adr/0022).

The carried bytes, part after part, are one stream. It is cut into 100 rows of equal length, the last filled up with
zeros, and N rows of parity are added to them: N %. Byte ``i`` of all rows is one codeword, of which any 100 bytes give
the others. Rows are cut into slices, each with a checksum, so that damage is located: slice ``i`` of all rows is a
stripe, and a stripe is mended as long as no more than N of its slices are bad. As a row is a hundredth of the stream
in one run, whatever is lost in one run (a scratch, a file, a volume) takes equally much from every stripe.

A codeword is the values of a polynomial of degree below 100 over GF(2^8) at the points 0, 1, a, a^2, …, where a is a
root of x^8+x^4+x^3+x^2+1: this is the code that the library zfec computes, which writes it. Here it is read: Lagrange's
formula gives each lost value from any 100 known ones, with no matrix to invert.
"""

from hashlib import sha256
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from pytorch_offline.bundle.format.model import Manifest, Piece
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY
from pytorch_offline.errors import IntegrityError

# A hundred rows make a row of parity one per cent, and a run that is lost costs a stripe one slice per hundredth.
DATA_ROWS = 100
# The field has 256 points, so that many rows a stripe can have.
MOST_PARITY_ROWS = 100
# Damage comes in sectors and files: smaller slices would lengthen the manifest and mend no more. Larger ones would
# cost memory: a stripe is mended with 100 of them at hand.
SMALLEST_SLICE = 64 << 10
LARGEST_SLICE = 512 << 10
FEWEST_STRIPES = 32
# 96 bits tell damage; forgery is excluded by the sha256 of the part, which is compared afterwards.
CHECKSUM_BYTES = 12
PARITY_CODE = "reed-solomon-gf256-11d"
PARITY_PREFIX = COPIES_DIRECTORY + "/"
# Of longer lists nobody chooses.
_MOST_TO_CHOOSE_FROM = 60
# What is multiplied at once should stay in the processor's cache.
_MULTIPLIED_AT_ONCE = 64 << 10


class ParityShape(NamedTuple):
    """How a stream is cut.

    Args:
        total: the bytes of the stream.
        parity_rows: rows of parity beside the 100 rows of data.
        stripes: slices in a row.
        slice_size: bytes.
    """

    total: int
    parity_rows: int
    stripes: int
    slice_size: int

    @property
    def row_size(self) -> int:
        """The bytes of each row, and so of each parity file."""
        return self.stripes * self.slice_size

    def slices_of(self, start: int, size: int) -> range:
        """Number the slices that a run of the stream touches; slice ``n`` is of row ``n // stripes``."""
        return range(start // self.slice_size, (start + size - 1) // self.slice_size + 1) if size else range(0)


class StreamPart(NamedTuple):
    """A part of a bundle and where its bytes lie in the stream, which goes on with the parity rows behind the data.

    Args:
        piece: the part, as it lies on a medium.
        path: of the file that it belongs to.
        start: of its first byte in the stream.
    """

    piece: Piece
    path: str
    start: int


class ParityMap(NamedTuple):
    """All that is needed to mend a bundle.

    Args:
        shape: how the stream is cut.
        checksums: of every slice, by its number, data first.
        parts: all of the stream, in order, parity last.
    """

    shape: ParityShape
    checksums: Tuple[bytes, ...]
    parts: Tuple[StreamPart, ...]


def parity_shape(total: int, percent: int) -> ParityShape:
    """Say how a stream of ``total`` bytes is cut where ``percent`` of it are added."""
    row = max(1, -(-total // DATA_ROWS))
    stripes = max(1, min(FEWEST_STRIPES, row // SMALLEST_SLICE), -(-row // LARGEST_SLICE))
    return ParityShape(total, percent, stripes, -(-row // stripes))


def slice_checksum(data: bytes) -> bytes:
    """Name the content of a slice, shortly."""
    return sha256(data).digest()[:CHECKSUM_BYTES]


def carried_stream(manifest: Manifest) -> List[Tuple[str, Piece]]:
    """List the parts that parity is computed over, in the stream's order, each with the path of its file.

    In one directory these are the carried files as the manifest has them; in volumes, what lies in one volume follows
    each other, so that a lost volume is one run; bytes that two files have in common lie there once. What every volume
    carries anyway needs no parity.
    """
    parts: Dict[Piece, str] = {}
    for file in manifest.files:
        if not file.carried or file.path.startswith(PARITY_PREFIX):
            continue
        for piece in file.pieces:
            parts.setdefault(piece, file.path)
        if manifest.volume_size is None:
            parts[file.whole] = file.path
    return sorted(((path, piece) for piece, path in parts.items()), key=_volume_of_part)


def _volume_of_part(part: Tuple[str, Piece]) -> int:
    return part[1].volume


def describe_parity(shape: ParityShape, rows: Sequence[str], checksums: Sequence[bytes]) -> Dict[str, Any]:
    """Write down what ``parity_map`` reads: the value of ``Manifest.parity``.

    Args:
        shape: how the stream is cut.
        rows: the paths of the parity files, in order.
        checksums: of every slice, by its number.
    """
    return {
        "code": PARITY_CODE,
        "data_rows": DATA_ROWS,
        "total": shape.total,
        "stripes": shape.stripes,
        "slice_size": shape.slice_size,
        "rows": list(rows),
        "checksums": [
            b"".join(checksums[at : at + shape.stripes]).hex() for at in range(0, len(checksums), shape.stripes)
        ],
    }


def parity_map(manifest: Manifest) -> ParityMap:
    """Read from a manifest how its bundle is mended.

    Raises:
        IntegrityError: code ``parity-unreadable`` where it has none, or of a kind that is not known, or one that
            does not fit to its files.
    """
    try:
        return _read_map(manifest, manifest.parity or {})
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise IntegrityError(
            "parity-unreadable",
            "The manifest says nothing that damaged parts could be mended with.",
            facts={"reason": "it has no parity" if manifest.parity is None else str(problem)},
        ) from problem


def _read_map(manifest: Manifest, described: Mapping[str, Any]) -> ParityMap:
    if described["code"] != PARITY_CODE or described["data_rows"] != DATA_ROWS:
        raise ValueError("a code that is not known: {}".format(described["code"]))
    rows = list(described["rows"])
    shape = ParityShape(
        _parity_count(described["total"]),
        len(rows),
        _parity_count(described["stripes"]),
        _parity_count(described["slice_size"]),
    )
    lines = [bytes.fromhex(line) for line in described["checksums"]]
    if not 1 <= len(rows) <= MOST_PARITY_ROWS or len(lines) != DATA_ROWS + len(rows):
        raise ValueError(f"{len(rows)} rows of parity, {len(lines)} of checksums")
    if any(len(line) != shape.stripes * CHECKSUM_BYTES for line in lines):
        raise ValueError("rows of checksums of other lengths")
    checksums = [
        line[at : at + CHECKSUM_BYTES]
        for line in lines
        for at in range(0, shape.stripes * CHECKSUM_BYTES, CHECKSUM_BYTES)
    ]
    return ParityMap(shape, tuple(checksums), tuple(_number_parts(manifest, shape, rows)))


def _parity_count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 60:
        raise ValueError(f"not a count: {value!r}")
    return value


def _number_parts(manifest: Manifest, shape: ParityShape, rows: Sequence[str]) -> List[StreamPart]:
    """Give every part its place in the stream; the parity rows begin where the zeros behind the data end."""
    parts = []
    at = 0
    for path, piece in carried_stream(manifest):
        parts.append(StreamPart(piece, path, at))
        at += piece.size
    if at != shape.total or at > DATA_ROWS * shape.row_size:
        raise ValueError(f"parity over {shape.total} bytes of {at}")
    at = DATA_ROWS * shape.row_size
    for path in rows:
        row = manifest.file_at(path)
        if row.size != shape.row_size:
            raise ValueError(f"{path} of {row.size} bytes instead of {shape.row_size}")
        for piece in row.own_pieces:
            parts.append(StreamPart(piece, path, at))
            at += piece.size
    return parts


def slices_lost_at_worst(shape: ParityShape, size: int) -> int:
    """Say of how many slices a run of ``size`` bytes of the stream robs a stripe, wherever it begins."""
    return min(DATA_ROWS, -(-((size + 2 * shape.slice_size - 2) // shape.slice_size) // shape.stripes)) if size else 0


def _powers_of_the_root() -> Tuple[List[int], List[int]]:
    powers, logarithms, value = [], [0] * 256, 1
    for exponent in range(255):
        powers.append(value)
        logarithms[value] = exponent
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return powers, logarithms


_POWERS, _LOGARITHMS = _powers_of_the_root()
_DOUBLED = bytes(value << 1 & 0xFF ^ (0x1D if value & 0x80 else 0) for value in range(256))


def _field_point(row: int) -> int:
    return _POWERS[row - 1] if row else 0


def row_coefficients(known: Sequence[int], wanted: Sequence[int]) -> List[List[int]]:
    """Say what each known row is multiplied with so that their sum is a wanted row.

    Args:
        known: the numbers of 100 rows (as many as the code has data rows), data or parity.
        wanted: the numbers of others.

    Returns:
        For each wanted row a coefficient for each known one, by Lagrange: the product over the other known points
        ``l`` of ``(w - l) / (i - l)``. In this field subtraction is XOR, and products are sums of logarithms.
    """
    points = [_field_point(row) for row in known]
    weights = [sum(_LOGARITHMS[i ^ l] for l in points if l != i) for i in points]  # noqa: E741 - Lagrange's letters
    found = []
    for row in wanted:
        point = _field_point(row)
        numerator = sum(_LOGARITHMS[point ^ l] for l in points)  # noqa: E741 - Lagrange's letters
        found.append(
            [_POWERS[(numerator - _LOGARITHMS[point ^ i] - weight) % 255] for i, weight in zip(points, weights)]
        )
    return found


def combine_rows(slices: Sequence[bytes], coefficients: Sequence[Sequence[int]]) -> List[bytes]:
    """Multiply slices with coefficients and add them up, once for each row of coefficients.

    Python's integers are the fastest adder in GF(2^8) that the standard library has: XOR of bytes by the ten thousand.
    A coefficient is eight bits, so slices are added into eight sums, one a bit, and only these are multiplied.
    """
    size = len(slices[0])
    found = [bytearray() for _ in coefficients]
    for start in range(0, size, _MULTIPLIED_AT_ONCE):
        numbers = [int.from_bytes(data[start : start + _MULTIPLIED_AT_ONCE], "little") for data in slices]
        length = min(_MULTIPLIED_AT_ONCE, size - start)
        for sums_to, row in zip(found, coefficients):
            sums_to.extend(_sum_products(numbers, row, length).to_bytes(length, "little"))
    return [bytes(row) for row in found]


def _sum_products(numbers: Sequence[int], coefficients: Sequence[int], length: int) -> int:
    sums = [0] * 8
    for number, coefficient in zip(numbers, coefficients):
        for bit in range(8):
            if coefficient >> bit & 1:
                sums[bit] ^= number
    total = sums[7]
    for bit in range(6, -1, -1):
        doubled = total.to_bytes(length, "little").translate(_DOUBLED)
        total = int.from_bytes(doubled, "little") ^ sums[bit]
    return total


class ToBring(NamedTuple):
    """What must be brought again where parity does not suffice.

    Args:
        chosen: parts that suffice, few if not always fewest; the rest is mended with them.
        instead_of: every part of which some may stand for others.
        any_of_them: how many of these suffice, whichever they are.
    """

    chosen: Tuple[str, ...]
    instead_of: Tuple[str, ...]
    any_of_them: int


def parts_to_bring(bad_slices: Mapping[str, Sequence[int]], shape: ParityShape) -> ToBring:
    """Say which of the bad parts suffice, brought again, for the rest to be mended.

    Args:
        bad_slices: for each bad part, by name, the numbers of its slices that are bad; parts may share one.
        shape: how the stream is cut.
    """
    lost = _LostSlices(shape)
    for slices in bad_slices.values():
        lost.lose(slices)
    beyond = set(lost.beyond)
    mattering = {
        name: [number for number in slices if number % shape.stripes in beyond] for name, slices in bad_slices.items()
    }
    concerned = [name for name, slices in mattering.items() if slices]
    chosen: List[str] = []
    for name in sorted(concerned, key=lambda name: -len(mattering[name])):
        if lost.beyond:
            lost.bring(bad_slices[name])
            chosen.append(name)
    for name in sorted(chosen, key=lambda name: len(mattering[name])):  # what later ones made needless
        lost.lose(bad_slices[name])
        if lost.beyond:
            lost.bring(bad_slices[name])
        else:
            chosen.remove(name)
    tallies = [_by_stripe(mattering[name], shape) for name in concerned]
    enough = len(concerned)
    if enough <= _MOST_TO_CHOOSE_FROM:
        enough = next((count for count in range(enough) if _any_suffice(tallies, count, shape)), enough)
    return ToBring(tuple(name for name in bad_slices if name in chosen), tuple(concerned), enough)


class _LostSlices:
    """Slices that are lost, each as often as parts miss it, and the stripes that have too many of them."""

    def __init__(self, shape: ParityShape) -> None:
        self._shape = shape
        self._times: Dict[int, int] = {}
        self._in_stripe = [0] * shape.stripes
        self.beyond: Set[int] = set()

    def lose(self, slices: Sequence[int]) -> None:
        for number in slices:
            self._times[number] = self._times.get(number, 0) + 1
            if self._times[number] == 1:
                self._count(number % self._shape.stripes, 1)

    def bring(self, slices: Sequence[int]) -> None:
        for number in slices:
            self._times[number] -= 1
            if self._times[number] == 0:
                self._count(number % self._shape.stripes, -1)

    def _count(self, stripe: int, change: int) -> None:
        self._in_stripe[stripe] += change
        if self._in_stripe[stripe] > self._shape.parity_rows:
            self.beyond.add(stripe)
        else:
            self.beyond.discard(stripe)


def _by_stripe(slices: Sequence[int], shape: ParityShape) -> Dict[int, int]:
    tally: Dict[int, int] = {}
    for number in slices:
        tally[number % shape.stripes] = tally.get(number % shape.stripes, 0) + 1
    return tally


def _any_suffice(tallies: Sequence[Mapping[int, int]], count: int, shape: ParityShape) -> bool:
    """Whether any so many of the parts suffice: at worst those stay away that a stripe lacks most."""
    for stripe in range(shape.stripes):
        lacking = sorted(tally.get(stripe, 0) for tally in tallies)
        if sum(lacking[count:]) > shape.parity_rows:
            return False
    return True
