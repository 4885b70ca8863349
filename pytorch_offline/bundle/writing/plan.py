"""What a bundle will hold, step by step, from values to values.

Files are chosen (``Contents``), numbered (``numbering.py``), and drafted as a manifest; a delta leaves some with its
base (``leave_with_base``); what is made from the manifest itself, the installer and the reports, is added last
(``add_root_files``). Packing into volumes and parity change the rows of files on that way, and add some.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import is_content
from pytorch_offline.bundle.format.model import BundleFile, Manifest
from pytorch_offline.bundle.writing.driver_facts import make_driver_facts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pytorch_offline.bundle.format.model import TargetLock, Tool
    from pytorch_offline.bundle.writing.numbering import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a bundle is made of: its values, and for each file's path where its bytes lie now."""

    targets: tuple[TargetLock, ...]
    tools: tuple[Tool, ...]
    files: tuple[BundleFile, ...]
    places: Mapping[str, Path]


def draft_manifest(contents: Contents, number: Number) -> Manifest:
    """Draft the manifest of a whole bundle in one directory."""
    return Manifest(
        id=number.id,
        lineage=number.lineage,
        counter=number.counter,
        base=None,
        created=number.created,
        targets=contents.targets,
        tools=contents.tools,
        files=sorted_files(contents.files),
        drivers=make_driver_facts(),
    )


def leave_with_base(manifest: Manifest, base: str, held: Collection[str]) -> Manifest:
    """Make a delta: wheels and tools whose sha256 the far side holds stay with the base. Locks are always carried."""
    files = tuple(
        file._replace(
            carried=not (file.sha256 in held and is_content(file.path) and not file.path.startswith("locks/"))
        )
        for file in manifest.files
    )
    return manifest._replace(base=base, files=files)


def add_root_files(manifest: Manifest, bodies: Mapping[str, bytes]) -> Manifest:
    """Add rows for files that are made here, and are no part of what the bundle is."""
    rows = tuple(
        BundleFile(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest()) for path, body in bodies.items()
    )
    return manifest._replace(files=sorted_files((*manifest.files, *rows)))


def sorted_files(files: Collection[BundleFile]) -> tuple[BundleFile, ...]:
    """Sort rows as a manifest has them."""
    return tuple(sorted(files, key=lambda file: file.path))
