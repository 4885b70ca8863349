"""Look at the mirror's bytes before anything is installed: every hash, what each wheel will take on disk.

Nothing here writes. Every needed file is read once in full; pip reads it a second time and requires the same hash, so a
change in between is caught too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.hashing import read_sha256
from pytorch_offline.wheels.archive import MAX_RECORD
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.installer.lock import Lock, LockedWheel
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.wheels.metadata import CoreMetadata

# The allocation unit of the common file systems (ext4, XFS, NTFS, APFS): a file takes whole ones.
BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelContents:
    """What a verified wheel holds.

    ``record`` maps each path that will lie in site-packages to its hash as RECORD writes it (``sha256=…``), without
    the ``.data`` members, which installers move and may rewrite. ``installed_bytes`` is what it takes on disk, with
    byte code.
    """

    record: Mapping[str, str]
    installed_bytes: int


def read_metadata_of(
    mirror: Path, lock: Lock, manifest: Mapping[PurePosixPath, MirrorFile]
) -> dict[NormalizedName, CoreMetadata]:
    """Read METADATA out of those of a lock's wheels that have the manifest's; the hash check names the others."""
    found = {}
    for wheel in lock.wheels:
        entry = manifest.get(wheel.path)
        if entry is None:
            continue
        try:
            metadata = _read_member(mirror / wheel.path, "METADATA")
            if hashlib.sha256(metadata).hexdigest() == entry.metadata_sha256:
                found[wheel.project] = parse_metadata(metadata)
        except IntegrityError:
            continue
    return found


def read_wheel_metadata(path: Path) -> CoreMetadata:
    """Read METADATA out of a wheel.

    Raises:
        IntegrityError: ``bad-wheel`` if it cannot be read, is no zip, or has no METADATA; ``bad-metadata``.
    """
    return parse_metadata(_read_member(path, "METADATA"))


def _read_member(path: Path, name: str) -> bytes:
    """Read a member of a wheel's ``.dist-info`` directory.

    Raises:
        IntegrityError: ``bad-wheel``.
    """
    with _opened(path) as archive:
        tops = {member.split("/", 1)[0] for member in archive.namelist()}
        information = min((top for top in tops if top.endswith(".dist-info")), default=".dist-info")
        member = archive.getinfo(f"{information}/{name}")
        if member.file_size > MAX_RECORD:
            raise IntegrityError("bad-wheel", f"{path} cannot be read: {name} has {member.file_size} bytes")
        return archive.read(member)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a wheel whose bytes may have rotted: what ``zipfile`` makes of that has many names.

    Raises:
        IntegrityError: ``bad-wheel``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, LookupError, ValueError) as error:
        raise IntegrityError("bad-wheel", f"{path} cannot be read: {error!r}") from error


def check_files(
    mirror: Path, wheels: Sequence[LockedWheel], manifest: Mapping[PurePosixPath, MirrorFile]
) -> dict[NormalizedName, WheelContents]:
    """Compare size and sha256 of each wheel with manifest and lock, and read what it holds.

    Raises:
        IntegrityError: ``bad-files`` naming every bad file with what is wrong with it.
    """
    bad: dict[str, str] = {}
    contents = {}
    for wheel in wheels:
        problem = _problem(mirror, wheel, manifest.get(wheel.path))
        if problem is not None:
            bad[str(wheel.path)] = problem
            continue
        try:
            contents[wheel.project] = _read_contents(mirror / wheel.path)
        except IntegrityError as error:
            bad[str(wheel.path)] = f"is no wheel: {error.message}"
    if bad:
        raise IntegrityError(
            "bad-files",
            f"{len(bad)} of {len(wheels)} files that are needed are not as they were fetched; nothing was changed",
            facts=bad,
            hint="copy these files again from the connected machine (`pytorch-offline verify` checks the rest)",
        )
    return contents


def _problem(mirror: Path, wheel: LockedWheel, entry: MirrorFile | None) -> str | None:
    """Say what is wrong with one file, None if it agrees with both the manifest and the lock."""
    if entry is None:
        return "is not in manifest.json"
    if entry.sha256 != wheel.sha256 or wheel.size not in (None, entry.size):
        lock, manifest = (wheel.sha256, wheel.size), (entry.sha256, entry.size)
        return f"lock and manifest disagree: sha256 and size are {lock} and {manifest}"
    return file_problem(mirror / wheel.path, size=entry.size, sha256=entry.sha256)


def file_problem(path: Path, *, size: int, sha256: str) -> str | None:
    """Say what is wrong with a file that should have this size and sha256, None if nothing is."""
    try:
        found = path.stat().st_size
        if found != size:
            return f"has {found} bytes instead of {size}"
        digest, _ = read_sha256(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error}"
    return None if digest == sha256 else f"has sha256 {digest} instead of {sha256}"


def _read_contents(path: Path) -> WheelContents:
    with _opened(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist() if not member.is_dir()}
        record = _read_member(path, "RECORD").decode()
    return WheelContents(record=parse_record(record), installed_bytes=installed_bytes(sizes))


def parse_record(text: str) -> dict[str, str]:
    """Read the hashes of a wheel's RECORD, for the members that are installed under their own name.

    INSTALLER, REQUESTED and RECORD itself are the installer's to write.
    """
    own = (".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/RECORD")
    rows = [row for row in csv.reader(io.StringIO(text)) if len(row) > 1 and "=" in row[1]]
    return {
        row[0]: row[1].rstrip("=")
        for row in rows
        if not row[0].split("/", 1)[0].endswith(".data") and not row[0].endswith(own)
    }


def installed_bytes(sizes: Mapping[str, int]) -> int:
    """Estimate what a wheel's members take on disk, in whole blocks; byte code is counted as large as its source."""
    blocks = ((-(-size // BLOCK)) * (2 if name.endswith(".py") else 1) for name, size in sizes.items())
    return sum(blocks) * BLOCK


def total_bytes(contents: Iterable[WheelContents]) -> int:
    """Sum what wheels take on disk."""
    return sum(content.installed_bytes for content in contents)
