"""A small mirror, and the writing of bundles of it, for tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.writing.gathering import BundleWishes, gather
from pytorch_offline.bundle.writing.write import BundleReport, write_bundle
from pytorch_offline.mirror.progress import Silent
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
PIP = pure("pip", "24.0", "Requires-Python: >=3.7")


def small_mirror(root: Path, *, torch_version: str = "2.4.0+cpu", pip: bool = True) -> Path:
    """Write a mirror with two targets, ``node`` and ``other``, and a pip for both."""
    filelock = pure("filelock", "3.13")
    own_torch = torch(torch_version, tags="cp310-cp310-manylinux_2_28_x86_64")
    return write_mirror(
        root,
        {"node": [own_torch, filelock], "other": [filelock]},
        target=linux_target("3.10.12"),
        beside=[PIP] if pip else [],
    )


def wished(mirror: Path, out: Path, **wishes: Any) -> BundleReport:  # noqa: ANN401  (any field of BundleWishes)
    """Write a bundle as the command does, with no network."""
    asked = BundleWishes(mirror=mirror, out=out, **{"sbom": False, **wishes})
    contents, _ = gather(asked, lambda *_: None)
    return write_bundle(asked, contents, now=lambda: NOW, progress=Silent())


def tree(root: Path) -> dict[str, str]:
    """Give the sha256 of every file below a directory."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
