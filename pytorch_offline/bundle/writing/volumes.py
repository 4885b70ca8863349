"""Packs a bundle into volumes: which file, or which run of a file's bytes, goes into which volume.

A volume is a directory that fits its medium with all that the medium's file system takes for itself. Whole files where
they fit, first-fit decreasing; a file that no volume holds is cut into runs that fill volumes, and its rest is packed
like a file. The names of parts are made of what every medium keeps (docs/adr/0025). All of it follows from the files
and the limit alone, so the same bundle is packed the same way again.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.model import BundleFile, Piece
from pytorch_offline.bundle.reading.labels import LABEL_NAME, render_label, volume_name
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.hashing import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest

# FAT32 counts a file's bytes in 32 bits (Microsoft FAT specification 1.03).
LARGEST_PIECE = 2**32 - 1
# What exFAT takes by default for each file, as Windows and mkfs.exfat format it; the other file systems take less.
_CLUSTERS = ((256 << 20, 4 << 10), (32 << 30, 32 << 10))
_LARGEST_CLUSTER = 128 << 10
# FAT32 keeps two tables with four bytes for each cluster. They weigh the most where clusters are smallest: mkfs.fat
# takes 512 bytes up to 260 MiB, and from there to 8 GiB it takes 4 KiB, as Windows does.
_FAT_BYTES_PER_CLUSTER, _SMALL_FAT, _SMALL_FAT_CLUSTER, _FAT_CLUSTER = 8, 260 << 20, 512, 4 << 10
# A partition begins at 1 MiB, exFAT's clusters at 2 MiB of it; ISO 9660 with extensions, and the 150 sectors that
# xorriso adds to the end, are below. Media of less than 48 MiB are formatted without.
_FIXED_BYTES, _FIXED_SHARE = 3 << 20, 16
# Six entries of 32 bytes hold a name of 64 letters on FAT; Joliet and Rock Ridge together take no more.
_ENTRY_BYTES = 6 * 32 + 256
_DIRECTORIES = 3
# Who needs more has taken kB for GB.
_MOST_VOLUMES = 9999
_HEX_LENGTH = 40
_SHORT_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPiece:
    """A run of a file's bytes with its place.

    Args:
        file: whose bytes.
        number: of the run, from 1.
        count: of all runs of the file.
        offset: of its first byte in the file.
        size: bytes.
        volume: from 1.
    """

    file: BundleFile
    number: int
    count: int
    offset: int
    size: int
    volume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A file below the directory that a bundle is written to, and where its bytes come from.

    Args:
        file: its path there, e.g. ``volume-001/data/…``, size and sha256.
        of: the path of the bundle's file.
        offset: of its first byte in that file.
        is_run: whether that file has other bytes too.
    """

    file: BundleFile
    of: str
    offset: int = 0
    is_run: bool = False


def cluster_bytes(limit: int) -> int:
    """Say in which steps a file takes room on a medium of that size, on the least thrifty of its usual file systems."""
    return next((cluster for largest, cluster in _CLUSTERS if limit <= largest), _LARGEST_CLUSTER)


def room_in_volume(limit: int, tops: Iterable[int]) -> int:
    """Say how many bytes of parts a volume holds, in whole clusters.

    Args:
        limit: the size of the medium.
        tops: the sizes of the files that every volume carries.

    Raises:
        UsageError: ``volume-too-small`` if that is nothing.
    """
    cluster = cluster_bytes(limit)
    fat_cluster = _SMALL_FAT_CLUSTER if limit <= _SMALL_FAT else _FAT_CLUSTER
    tables = limit // fat_cluster * _FAT_BYTES_PER_CLUSTER + min(_FIXED_BYTES, limit // _FIXED_SHARE)
    carried = sum(_taken(size, cluster) for size in tops) + _DIRECTORIES * cluster
    room = (limit - tables - carried) // cluster * cluster
    if room < cluster + _ENTRY_BYTES:
        raise UsageError(
            "volume-too-small",
            f"a volume of {limit:,} bytes has no room beside what each carries",
            facts={"each carries": f"{carried:,} bytes", "its file system takes": f"{tables:,} bytes"},
            hint="name a larger --volume-size; `cd` is 700 MB",
        )
    return room


def plan_volumes(files: Sequence[BundleFile], *, limit: int, room: int, first: int = 1) -> tuple[PlannedPiece, ...]:
    """Decide which bytes go into which volume; the same bytes in two files go once, and both name them.

    Args:
        files: what is packed, without what every volume carries.
        limit: the size of the medium.
        room: of ``room_in_volume``.
        first: the number of the first volume.

    Raises:
        UsageError: ``volume-too-small`` if there would be more volumes than anybody carries.
    """
    cluster = cluster_bytes(limit)
    longest = min(room - _ENTRY_BYTES, LARGEST_PIECE) // cluster * cluster or cluster
    packed: dict[str, list[PlannedPiece]] = {}
    runs = [run for file in _distinct(files) for run in _cut(file, longest)]
    runs.sort(key=lambda run: (-run.size, run.file.path, run.number))
    free: list[int] = []
    for run in runs:
        taken = _taken(run.size, cluster)
        index = next((index for index, left in enumerate(free) if taken <= left), len(free))
        if index == len(free):
            if index == _MOST_VOLUMES:
                raise UsageError(
                    "volume-too-small",
                    f"the bundle needs more than {_MOST_VOLUMES} volumes of {limit:,} bytes",
                    hint="name a larger --volume-size",
                )
            free.append(room)
        free[index] -= taken
        placed = PlannedPiece(
            file=run.file, number=run.number, count=run.count, offset=run.offset, size=run.size, volume=first + index
        )
        packed.setdefault(_bytes_of(run.file), []).append(placed)
    return tuple(
        PlannedPiece(file=file, number=run.number, count=run.count, offset=run.offset, size=run.size, volume=run.volume)
        for file in files
        for run in sorted(packed[_bytes_of(file)], key=lambda run: run.number)
    )


def split_files(plan: Iterable[PlannedPiece]) -> dict[str, tuple[int, ...]]:
    """Give the sizes of the runs, in order, of each file that is cut."""
    found: dict[str, list[int]] = {}
    for run in plan:
        if run.count > 1:
            found.setdefault(run.file.path, []).append(run.size)
    return {path: tuple(sizes) for path, sizes in found.items()}


def with_pieces(
    files: Iterable[BundleFile], plan: Sequence[PlannedPiece], digests: Mapping[str, Sequence[str]]
) -> tuple[BundleFile, ...]:
    """Write the plan into the files' rows.

    Args:
        files: rows without pieces; those that the plan does not have stay as they are.
        plan: for them.
        digests: sha256 of each run of the files that are cut.
    """
    pieces: dict[str, list[Piece]] = {}
    for run in plan:
        whole = run.count == 1
        sha256 = run.file.sha256 if whole else digests[run.file.path][run.number - 1]
        piece = Piece(volume=run.volume, name=_name_of(run), size=run.size, sha256=sha256)
        pieces.setdefault(run.file.path, []).append(piece)
    return tuple(file._replace(pieces=tuple(pieces.get(file.path, ()))) for file in files)


def lay_out(manifest: Manifest) -> tuple[Laid, ...]:
    """List every file below the bundle's directory whose bytes the manifest names, each once, volume after volume."""
    found: dict[str, Laid] = {}
    for file in manifest.files:
        if not file.carried:
            continue
        if manifest.volume_size is None:
            found[file.path] = Laid(file=file, of=file.path)
        elif not file.pieces:
            for top in tops_of(manifest):
                row = BundleFile(path=top + file.path, size=file.size, sha256=file.sha256)
                found[row.path] = Laid(file=row, of=file.path)
        offsets = [0, *accumulate(piece.size for piece in file.pieces)]
        for piece, offset in zip(file.pieces, offsets, strict=False):
            row = BundleFile(path=f"{volume_name(piece.volume)}/{piece.name}", size=piece.size, sha256=piece.sha256)
            found.setdefault(row.path, Laid(file=row, of=file.path, offset=offset, is_run=len(file.pieces) > 1))
    if manifest.volume_size is None:
        return tuple(found.values())
    # volume-1000 comes after volume-999
    return tuple(found[path] for path in sorted(found, key=lambda path: (len(path.split("/", 1)[0]), path)))


def tops_of(manifest: Manifest) -> tuple[str, ...]:
    """Name the directories that hold a manifest, with a ``/`` behind; of a bundle in one directory, an empty one."""
    if manifest.volume_size is None:
        return ("",)
    return tuple(f"{volume_name(number)}/" for number in range(1, manifest.volumes + 1))


def labels_of(manifest: Manifest) -> dict[str, bytes]:
    """Make the label of each volume, by its path."""
    if manifest.volume_size is None:
        return {}
    return {top + LABEL_NAME: render_label(manifest, number) for number, top in enumerate(tops_of(manifest), start=1)}


def hash_runs(
    path: Path, sizes: Sequence[int], sha256: str, *, advanced: Callable[[int], None] = lambda _: None
) -> tuple[str, ...] | str:
    """Hash the runs of a file that is cut; say what is wrong with it if it is not the file that it should be."""
    whole, digests = hashlib.sha256(), []
    buffer = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            for size in sizes:
                digest, left = hashlib.sha256(), size
                while left:
                    count = file.readinto(buffer[: min(left, len(buffer))])
                    if not count:
                        return f"has {sum(sizes) - left} bytes or fewer instead of {sum(sizes)}"
                    digest.update(buffer[:count])
                    whole.update(buffer[:count])
                    advanced(count)
                    left -= count
                digests.append(digest.hexdigest())
            if file.read(1):
                return f"has more than {sum(sizes)} bytes"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return tuple(digests) if whole.hexdigest() == sha256 else f"has sha256 {whole.hexdigest()} instead of {sha256}"


def _name_of(run: PlannedPiece) -> str:
    """Name a part: hexadecimal digits of its file's sha256, and which run it is or what kind of file.

    40 digits and a suffix are at most 51 letters: below the 64 of Joliet, lower-case, and without what gateways mangle.
    """
    digits = run.file.sha256[:_HEX_LENGTH]
    if run.count > 1:
        return f"data/{digits}.{run.number}of{run.count}"
    found = _SHORT_SUFFIX.search(run.file.path, run.file.path.rfind("."))
    return f"data/{digits}{found[0] if found else '.part'}"


def _bytes_of(file: BundleFile) -> str:
    """Say what two files with the same bytes have in common; parity is packed before its sha256 is known."""
    return f"{file.size} {file.sha256}" if file.sha256 else file.path


def _distinct(files: Iterable[BundleFile]) -> list[BundleFile]:
    return list({_bytes_of(file): file for file in sorted(files, key=lambda file: file.path, reverse=True)}.values())


def _cut(file: BundleFile, longest: int) -> list[PlannedPiece]:
    count = max(1, math.ceil(file.size / longest))
    return [
        PlannedPiece(
            file=file,
            number=number + 1,
            count=count,
            offset=number * longest,
            size=min(longest, file.size - number * longest),
            volume=0,
        )
        for number in range(count)
    ]


def _taken(size: int, cluster: int) -> int:
    """Say how much room a file takes: whole clusters, and its entry in a directory."""
    return math.ceil(size / cluster) * cluster + _ENTRY_BYTES
