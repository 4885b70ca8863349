"""What a far side holds, written into one small file that travels back: ``bundle --since`` carries only the rest.

It names paths, sizes and hashes, and of each lineage the bundle that was taken last: no addresses, no hosts, no dates,
no credentials. One file per line, sorted; a name that ends in ``.gz`` asks for it compressed. Where it arrives,
``writing/told_holdings.py`` reads it.
"""

import gzip
import hashlib
import io
from typing import Iterable, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.canonical_json import render_canonical

HOLDINGS_FORMAT = 1
HOLDINGS_KIND = "holdings"


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
