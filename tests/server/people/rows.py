"""Rows of a manifest by name, and the mirrors that the tests of the page hold."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from pytorch_offline.mirror.model import HashOrigin, MirrorFile


def row(path: str, *, size: int = 1000, yanked: str | None = None, upload_time: str | None = None) -> MirrorFile:
    return MirrorFile(
        path=PurePosixPath(path),
        size=size,
        sha256=hashlib.sha256(path.encode()).hexdigest(),
        hash_origin=HashOrigin.PUBLISHED,
        origin=f"https://upstream.example/{path}",
        metadata_sha256="0" * 64,
        requires_python=None,
        yanked=yanked,
        upload_time=upload_time,
        verified_at="2026-08-22T12:00:00Z",
    )


def torch(version: str, python: str, backend: str, platform: str = "linux_x86_64") -> MirrorFile:
    return row(f"whl/{backend}/torch-{version}+{backend}-{python}-{python}-{platform}.whl")


def companion(project: str, version: str, python: str, backend: str, platform: str = "linux_x86_64") -> MirrorFile:
    return row(f"whl/{backend}/{project}-{version}+{backend}-{python}-{python}-{platform}.whl")


# What a site has after some years: two releases, CUDA of two ages, Windows for one of them, and a Mac.
HELD = (
    torch("2.9.0", "cp312", "cu130", "manylinux_2_28_x86_64"),
    torch("2.9.0", "cp313", "cu130", "manylinux_2_28_x86_64"),
    torch("2.9.0", "cp314", "cu130", "manylinux_2_28_x86_64"),
    torch("2.9.0", "cp312", "cpu", "win_amd64"),
    torch("2.4.0", "cp310", "cu121"),
    torch("2.4.0", "cp312", "cu121"),
    torch("2.4.0", "cp310", "cu121", "win_amd64"),
    row("whl/cpu/torch-2.9.0-cp312-none-macosx_11_0_arm64.whl"),
    companion("torchvision", "0.24.0", "cp312", "cu130", "manylinux_2_28_x86_64"),
    companion("torchvision", "0.24.0", "cp313", "cu130", "manylinux_2_28_x86_64"),
    companion("torchaudio", "2.9.0", "cp313", "cu130", "manylinux_2_28_x86_64"),
    companion("torchvision", "0.19.0", "cp310", "cu121"),
    companion("torchvision", "0.18.0", "cp310", "cu121"),
    row("whl/filelock-3.16.1-py3-none-any.whl"),
)
