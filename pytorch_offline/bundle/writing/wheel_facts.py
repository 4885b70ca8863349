"""What the bytes of a mirror's wheel say: METADATA, what it takes on disk, for which GPUs and glibc it was built."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError, PytorchOfflineError
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.wheels.inspection import Inspection, is_worth_inspecting
from pytorch_offline.wheels.metadata import MAX_METADATA, CoreMetadata, parse_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.wheels.filename import WheelName

# The allocation unit of the common file systems (ext4, XFS, NTFS, APFS): a file takes whole ones.
BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFacts:
    """What is known of a wheel; ``metadata`` is None where the bytes are not those that were verified.

    Whoever carries or installs the wheel hashes all of it, and says then what is wrong with it.
    """

    metadata: CoreMetadata | None = None
    installed_bytes: int = 0


def read_wheel_facts(mirror: Path, file: MirrorFile) -> WheelFacts:
    """Read a wheel's METADATA and the sizes of its members; damage leaves facts out, and raises nothing."""
    sizes: dict[str, int] = {}
    body = None
    try:
        with zipfile.ZipFile(mirror / file.path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            sizes = {member.filename: member.file_size for member in members}
            information = min((name for name in sizes if name.endswith(".dist-info/METADATA")), default="")
            if information and archive.getinfo(information).file_size <= MAX_METADATA:
                body = archive.read(information)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, LookupError, ValueError):
        pass
    metadata = _admitted(body, file) or _admitted(_sidecar(mirror / sidecar_of(file.path)), file)
    return WheelFacts(metadata=metadata, installed_bytes=installed_bytes(sizes))


def _sidecar(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_METADATA + 1)
    except OSError:
        return None


def _admitted(body: bytes | None, file: MirrorFile) -> CoreMetadata | None:
    if body is None or hashlib.sha256(body).hexdigest() != file.metadata_sha256:
        return None
    try:
        return parse_metadata(body)
    except IntegrityError:
        return None


def installed_bytes(sizes: Mapping[str, int]) -> int:
    """Estimate what a wheel's members take on disk, in whole blocks; byte code is counted as large as its source."""
    blocks = ((-(-size // BLOCK)) * (2 if name.endswith(".py") else 1) for name, size in sizes.items())
    return sum(blocks) * BLOCK


def inspect_wheel(mirror: Path, path: PurePosixPath, name: WheelName) -> Inspection:
    """Read what a wheel's own libraries say of GPUs and glibc, a few megabytes of them, where no tag says it."""
    if not is_worth_inspecting(name):
        return Inspection()
    from pytorch_offline.net import Http  # noqa: PLC0415  (of most wheels the name says all)
    from pytorch_offline.wheels.remote_inspection import fetch_inspection  # noqa: PLC0415

    try:
        with Http() as http:
            return fetch_inspection(http, (mirror / path).resolve().as_uri(), name)
    except PytorchOfflineError as error:
        return Inspection(unread=error.message)
