"""What a far side holds, written into one small file that travels back: ``bundle --since`` carries only the rest.

It names paths, sizes and hashes, and of each lineage the bundle that was taken last: no addresses, no hosts, no dates,
no credentials. One file per line, sorted; a name that ends in ``.gz`` asks for it compressed.
"""

import gzip
import hashlib
import io
import re
import zlib
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.canonical_json import render_canonical
from pytorch_offline.errors import IntegrityError, UsageError

HOLDINGS_FORMAT = 1
HOLDINGS_KIND = "holdings"
# A mirror of 50,000 files takes 8 MiB; whatever is larger by far was not written by us.
HOLDINGS_LARGEST = 64 * 1024 * 1024
_HOLDINGS_SHA256 = re.compile("[0-9a-f]{64}")
_GZIP_MAGIC = b"\x1f\x8b"


class HeldFile(NamedTuple):
    """A file that is there: its path as in a mirror, its bytes, their sha256 in lower-case hex."""

    path: str
    size: int
    sha256: str


class HeldBundle(NamedTuple):
    """The bundle of one lineage that was taken last, and the highest counter that ever came."""

    lineage: str
    id: str
    counter: int
    highest: int


class Holdings(NamedTuple):
    """What a far side holds.

    Args:
        bundles: one for each lineage that bundles came from, sorted.
        files: all files, sorted by path.
    """

    bundles: Tuple[HeldBundle, ...]
    files: Tuple[HeldFile, ...]

    def bundle_of(self, lineage: str) -> Optional[HeldBundle]:
        """Give the bundle of a lineage that was taken last; None where none ever was."""
        for bundle in self.bundles:
            if bundle.lineage == lineage:
                return bundle
        return None

    def base_for(self, lineage: str) -> str:
        """Name what a delta of this lineage is laid upon: the bundle taken last, else the wheels themselves."""
        bundle = self.bundle_of(lineage)
        return holdings_id(self.files) if bundle is None else bundle.id


def holdings_id(files: Iterable[HeldFile]) -> str:
    """Name a set of wheels by what they are: sha256 over path, size and hash of each, sorted."""
    rows = sorted([file.path, file.size, file.sha256] for file in files if is_wheel_path(file.path))
    return hashlib.sha256(render_canonical({"kind": HOLDINGS_KIND, "files": rows}).encode("ascii")).hexdigest()


def is_wheel_path(path: str) -> bool:
    """Whether a path is that of a wheel of a mirror, which is what bundles are compared by."""
    return path.startswith("whl/") and path.endswith(".whl")


def render_holdings(holdings: Holdings) -> bytes:
    """Write holdings down; equal holdings give equal bytes."""
    rows = [[file.path, file.size, file.sha256] for file in holdings.files]
    bundles = [list(bundle) for bundle in holdings.bundles]
    checksum = hashlib.sha256(render_canonical({"bundles": bundles, "files": rows}).encode("ascii")).hexdigest()
    head = {"format": HOLDINGS_FORMAT, "kind": HOLDINGS_KIND, "checksum": checksum, "bundles": bundles}
    lines = ",\n".join(render_canonical(row) for row in rows)
    return f'{render_canonical(head)[:-1]},"files": [\n{lines}\n]}}\n'.encode("ascii")


def compress_holdings(body: bytes) -> bytes:
    """Compress rendered holdings; equal bytes give equal bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(body)
    return packed.getvalue()


def uncompress_holdings(body: bytes) -> bytes:
    """Give what was compressed, or the same bytes where they never were.

    Raises:
        IntegrityError: ``bad-holdings`` where it is damaged, or grows beyond all bounds.
    """
    if not body.startswith(_GZIP_MAGIC):
        return body
    inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = inflating.decompress(body, HOLDINGS_LARGEST + 1)
    except zlib.error as error:
        raise _bad_holdings(f"it is damaged: {error}") from error
    if len(plain) > HOLDINGS_LARGEST:
        raise _bad_holdings("it is larger than any that this program writes")
    if not inflating.eof:
        raise _bad_holdings("it is cut off")
    return plain


def is_holdings(document: object) -> bool:
    """Say whether a decoded JSON document calls itself holdings."""
    return isinstance(document, dict) and document.get("kind") == HOLDINGS_KIND


def parse_holdings(document: object) -> Holdings:
    """Read holdings from a decoded JSON document.

    Raises:
        UsageError: ``unknown-holdings-format`` where a later version wrote it.
        IntegrityError: ``bad-holdings`` where it is damaged or none.
    """
    if not isinstance(document, dict) or not is_holdings(document):
        raise _bad_holdings("it is no such file")
    given = document.get("format")
    if isinstance(given, int) and not isinstance(given, bool) and given > HOLDINGS_FORMAT:
        raise UsageError(
            "unknown-holdings-format",
            f"the file is of format {given}, this version reads format {HOLDINGS_FORMAT}",
            hint="use the version of pytorch-offline that wrote it, or a later one",
        )
    rows, bundles = document.get("files"), document.get("bundles")
    if given != HOLDINGS_FORMAT or not isinstance(rows, list) or not isinstance(bundles, list):
        raise _bad_holdings("a key of it is missing or wrong")
    line = render_canonical({"bundles": bundles, "files": rows})
    if hashlib.sha256(line.encode("ascii")).hexdigest() != document.get("checksum"):
        raise _bad_holdings("its checksum does not match what it says")
    return Holdings(
        bundles=tuple(_held_bundle(row) for row in bundles), files=tuple(sorted(_held_file(row) for row in rows))
    )


def _held_file(row: object) -> HeldFile:
    if not isinstance(row, list) or [type(value) for value in row] != [str, int, str] or row[1] < 0:
        raise _bad_holdings("one of its files is described wrongly")
    if _HOLDINGS_SHA256.fullmatch(row[2]) is None:
        raise _bad_holdings("a hash in it is none")
    return HeldFile(row[0], row[1], row[2])


def _held_bundle(row: object) -> HeldBundle:
    if not isinstance(row, list) or [type(value) for value in row] != [str, str, int, int]:
        raise _bad_holdings("one of its bundles is described wrongly")
    return HeldBundle(row[0], row[1], row[2], row[3])


def _bad_holdings(problem: str) -> IntegrityError:
    return IntegrityError(
        "bad-holdings",
        f"the file that says what the far side holds cannot be trusted: {problem}",
        hint="bring it again, or write it anew on the far side: python3 install.py --export-manifest FILE",
    )


def holdings_by_sha256(holdings: Holdings) -> Dict[str, List[HeldFile]]:
    """Sort held files by what they are: the same bytes may lie under several paths."""
    found: Dict[str, List[HeldFile]] = {}
    for file in holdings.files:
        found.setdefault(file.sha256, []).append(file)
    return found
