"""What the far side holds already, as ``bundle --since`` is told it, and what a delta saves by that.

It is told by the file that ``install.py --export-manifest`` or ``import --export-manifest`` wrote there; by the
``manifest.json`` of the bundle that went there last; or by that of a mirror, which is known by what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.canonical_json import parse_strict_json
from pytorch_offline.bundle.format.holdings import HeldBundle, HeldFile, Holdings, is_wheel_path
from pytorch_offline.bundle.format.manifest import BUNDLE_KIND, MANIFEST_NAME, parse_manifest
from pytorch_offline.bundle.writing.plan import leave_with_base
from pytorch_offline.bundle.writing.told_holdings import (
    HOLDINGS_LARGEST,
    is_holdings,
    parse_holdings,
    uncompress_holdings,
)
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.manifest import parse_manifest as parse_mirror_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a delta leaves with its base, and whether it brings anything.

    Args:
        base: the id of what it is laid upon.
        files: how many wheels and tools it leaves out.
        size: their bytes.
        is_empty: whether the far side has all wheels already.
    """

    base: str
    files: int
    size: int
    is_empty: bool


def read_since(path: Path) -> Holdings:
    """Read what the far side holds, from a file or from the directory of a bundle or a mirror.

    Raises:
        UsageError: ``bad-since`` if the file is nothing of the kind; ``unknown-holdings-format``,
            ``unknown-manifest-format``.
        IntegrityError: ``bad-holdings``, ``bad-manifest``.
        UpstreamError: ``disk-failed``.
    """
    place = path / MANIFEST_NAME if path.is_dir() else path
    with disk_errors(place, called="file"):
        try:
            with place.open("rb") as file:
                body = file.read(HOLDINGS_LARGEST + 1)
        except FileNotFoundError:
            raise UsageError("bad-since", f"--since {path}: there is no such file") from None
    return parse_since(body, name=str(path))


def parse_since(body: bytes, *, name: str) -> Holdings:
    """Read what the far side holds; ``name`` is the file's, for messages.

    Raises:
        UsageError: as ``read_since``.
        IntegrityError: likewise.
    """
    plain = uncompress_holdings(body)
    if len(plain) > HOLDINGS_LARGEST:
        raise UsageError("bad-since", f"--since {name} is larger than any file that says what a far side holds")
    try:
        document = parse_strict_json(plain)
    except ValueError as error:
        raise _not_since(name, str(error)[:200]) from error
    if is_holdings(document):
        return parse_holdings(document)
    if not isinstance(document, dict):
        raise _not_since(name, "it is not an object")
    if document.get("kind") == BUNDLE_KIND:
        return holdings_of_bundle(parse_manifest(plain))
    if "files" not in document:
        raise _not_since(name, "it lists no files")
    rows = parse_mirror_manifest(plain)
    return Holdings(bundles=(), files=tuple(HeldFile(str(row.path), row.size, row.sha256) for row in rows))


def holdings_of_bundle(manifest: Manifest) -> Holdings:
    """Say what whoever took a bundle holds: all of it, and what it left with its base."""
    bundle = HeldBundle(lineage=manifest.lineage, id=manifest.id, counter=manifest.counter, highest=manifest.counter)
    files = tuple(HeldFile(file.path, file.size, file.sha256) for file in manifest.files if file.path != MANIFEST_NAME)
    return Holdings(bundles=(bundle,), files=files)


def make_delta(manifest: Manifest, held: Holdings | None) -> tuple[Manifest, Saving | None]:
    """Leave out of a bundle what the far side holds, and say what that saves; all of it is for who holds nothing."""
    if held is None:
        return manifest, None
    base = held.base_for(manifest.lineage)
    delta = leave_with_base(manifest, base, {file.sha256 for file in held.files})
    left = [file for file in delta.files if not file.carried]
    return delta, Saving(
        base=base,
        files=len(left),
        size=sum({file.sha256: file.size for file in left}.values()),
        is_empty=not any(file.carried and is_wheel_path(file.path) for file in delta.files),
    )


def counter_floor(held: Holdings | None) -> int:
    """Give the highest counter that the far side took: what it shall take now must not be below."""
    return max((bundle.highest for bundle in held.bundles), default=0) if held is not None else 0


def _not_since(name: str, reason: str) -> UsageError:
    return UsageError(
        "bad-since",
        f"--since {name} does not say what the far side holds",
        facts={"reason": reason},
        hint="name the file that `install.py --export-manifest FILE` wrote there, or the manifest.json of the bundle "
        "that was taken there last",
    )
