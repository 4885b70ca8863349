"""Which GPUs a torch build has native code for: the tables of measured and scripted builds, read into values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

# NVIDIA's (major, minor), e.g. (8, 6).
ComputeCapability = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """A range of torch releases, built for some backends on one platform: the cubins inside."""

    first: Version
    last: Version
    platform: str
    backends: frozenset[str]
    cubins: frozenset[ComputeCapability]


def parse_compute_capability(text: str) -> ComputeCapability:
    """Read ``8.6``."""
    major, _, minor = text.strip().partition(".")
    return int(major), int(minor)


def _parse_capabilities(text: str) -> frozenset[ComputeCapability]:
    return frozenset(parse_compute_capability(part) for part in text.split(";") if part.strip())


@cache
def _read_kernels() -> tuple[Kernels, ...]:
    return tuple(
        Kernels(
            first=Version(row["torch_min"]),
            last=Version(row["torch_max"]),
            platform=row["platform"],
            backends=frozenset(row["variants"].split(";")),
            cubins=_parse_capabilities(row["cubin_cc"]),
        )
        for row in read_table("gpu_arch")
    )


def find_cubins(release: Version, platform: str, backend: str) -> frozenset[ComputeCapability] | None:
    """Say for which compute capabilities a torch build has cubins; None if the table does not know the build.

    ``platform`` is ``linux_x86_64``, ``linux_aarch64`` or ``win_amd64``; ``release`` has no local version.
    """
    for row in _read_kernels():
        if row.platform == platform and backend in row.backends and row.first <= release <= row.last:
            return row.cubins
    return None


@cache
def _read_runs() -> dict[ComputeCapability, frozenset[ComputeCapability]]:
    return {
        parse_compute_capability(row["device_cc"]): _parse_capabilities(row["cubins_that_run"])
        for row in read_table("cc_runs")
    }


def cubins_that_run_on(device: ComputeCapability) -> frozenset[ComputeCapability]:
    """Say which cubins a device runs: those of its own major up to its minor, and Tegra parts only their own.

    A device that the table does not know yet is taken to follow the rule (CUDA programming guide, binary
    compatibility).
    """
    known = _read_runs().get(device)
    return known if known is not None else frozenset((device[0], minor) for minor in range(device[1] + 1))


@cache
def find_gfx_targets(backend: str) -> frozenset[str] | None:
    """Say for which AMD targets (``gfx90a``) a ROCm backend's wheels are built; None if the table does not know."""
    for row in read_table("rocm_arch"):
        if row["variant"] == backend and row["gfx"]:
            return frozenset(row["gfx"].split(";"))
    return None
