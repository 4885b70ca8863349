"""The mirror that ``serving.py`` lets everybody serve: one large wheel, and pages of 2 MB and of 10 KB."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from benchmarks.download import MB, make_wheel
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.mirror.pages import render_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIANT = "cu126"
INDEX = PurePosixPath("whl", VARIANT)
LARGE, BIG_PAGE, SMALL_PAGE = "large", "torch", "torchvision"
LARGE_WHEEL = "large-1.0-py3-none-any.whl"
# Rows of about 430 bytes: upstream's own page of torch had 2,855 links and 0.8 MB (without most hashes of ours) on
# 2026-02-11, its nightly one 3.1 MB; a small project has some two dozen files.
_ROWS = {BIG_PAGE: 4700, SMALL_PAGE: 22}
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "win_amd64", "macosx_11_0_arm64")
_PYTHONS = ("cp39", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t")


def make_tree(root: Path, size: int) -> None:
    """Write the mirror; each wheel is there with its sidecar, is what its row says, and all but one are tiny.

    Args:
        root: an empty directory.
        size: of the large wheel, in MB.
    """
    directory = root / INDEX
    directory.mkdir(parents=True)
    large = INDEX / LARGE_WHEEL
    metadata = b"Metadata-Version: 2.1\nName: large\nVersion: 1.0\n"
    sha256 = make_wheel(root / large, size * MB)
    rows = [_row(large, (root / large).stat().st_size, sha256, metadata)]
    (root / sidecar_of(large)).write_bytes(metadata)
    for project, number in _ROWS.items():
        for name in _names(project, number):
            path = INDEX / name
            version = name.split("-")[1]
            body = f"{project} {name}\n".encode()  # who serves it does not look inside
            metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode()
            (root / path).write_bytes(body)
            (root / sidecar_of(path)).write_bytes(metadata)
            rows.append(_row(path, len(body), hashlib.sha256(body).hexdigest(), metadata))
    for page, text in render_pages(rows).items():
        (root / page).parent.mkdir(parents=True, exist_ok=True)
        (root / page).write_bytes(text)
    (root / "manifest.json").write_bytes(render_manifest(rows))


def _names(project: str, number: int) -> Iterator[str]:
    for index in range(number):
        release, build = divmod(index, len(_PLATFORMS) * len(_PYTHONS))
        platform, python = divmod(build, len(_PYTHONS))
        minor, patch = divmod(release, 8)
        abi = _PYTHONS[python]
        yield f"{project}-2.{minor}.{patch}+{VARIANT}-{abi.rstrip('t')}-{abi}-{_PLATFORMS[platform]}.whl"


def _row(path: PurePosixPath, size: int, sha256: str, metadata: bytes) -> MirrorFile:
    return MirrorFile(
        path=path,
        size=size,
        sha256=sha256,
        hash_origin=HashOrigin.PUBLISHED,
        origin=f"https://upstream.example/{path}",
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        requires_python=">=3.9",
        yanked=None,
        upload_time=None,
        verified_at=datetime.now(UTC).isoformat(),
    )
