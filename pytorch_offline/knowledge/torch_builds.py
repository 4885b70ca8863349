"""Which builds of torch exist: the release table, read into values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# On the default index the wheels for aarch64 are CPU builds before this release: none of 1.8.0 to 2.10.0 has a CUDA
# library, 2.11.0 and later have (measured 2026-11-21).
FIRST_WITH_CUDA_ON_AARCH64 = Version("2.11.0")


def find_default_backend(release: Version, platforms: Iterable[str]) -> str | None:
    """Say which build the Linux wheel of a release on a plain index is, which has no local version: ``cu126``, ``cpu``.

    ``platforms`` are those of its tags. None where the table does not say.
    """
    if all(platform.endswith("_aarch64") for platform in platforms) and release < FIRST_WITH_CUDA_ON_AARCH64:
        return "cpu"
    return default_backends().get(release.public)


@cache
def default_backends() -> dict[str, str]:
    """Map a torch release to the CUDA, e.g. ``cu126``, of its x86_64 wheel on a plain index, without a local version.

    Releases whose default is not one CUDA (``lts``, ``-``) are left out.
    """
    rows = read_table("torch_cuda")
    return {row["torch"]: row["default_without_index"] for row in rows if row["default_without_index"].startswith("cu")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of torch and what it was built for, as far as the table is sure (``cu129?`` is left out).

    ``backends`` maps a platform (``linux_x86_64``, ``linux_aarch64``, ``win_amd64``) to CUDA, ROCm and XPU builds,
    spelt as directories; builds for the CPU are not in the table. ``pythons`` are the same for all of them.
    """

    release: Version
    backends: Mapping[str, tuple[str, ...]]
    pythons: frozenset[str]


@cache
def read_releases() -> tuple[Release, ...]:
    """Read the table of releases, oldest first."""
    return tuple(_release(row) for row in read_table("torch_cuda"))


def _release(row: dict[str, str]) -> Release:
    linux, windows = _sure(row["linux_x86_64_cuda"]), _sure(row["windows_cuda"])
    xpu = _sure(row["xpu"])
    backends = {
        "linux_x86_64": (*linux, *(f"rocm{version}" for version in _sure(row["linux_rocm"]))),
        "linux_aarch64": _sure(row["linux_aarch64_cuda"]),
        "win_amd64": windows,
    }
    for platform, system in (("linux_x86_64", "linux"), ("win_amd64", "windows")):
        if system in xpu:
            backends[platform] = (*backends[platform], "xpu")
    return Release(release=Version(row["torch"]), backends=backends, pythons=frozenset(_sure(row["pythons"])))


def _sure(cell: str) -> tuple[str, ...]:
    """Split a cell; entries with a doubt (``cu129?``, ``3.15(exp)``, ``windows (prototype)``) are left out."""
    return tuple(part for part in map(str.strip, cell.split(";")) if part and not re.search(r"[?()]", part))
