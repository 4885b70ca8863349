"""Which GPUs a torch build has native code for: its own list, or the tables, read into values.

``gpu_arch.csv`` has what builds have by measurement or by the build scripts; ``toolkit_architectures.csv`` what a
CUDA toolkit can compile for at all, which bounds the builds that nobody has described yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable

# NVIDIA's (major, minor), e.g. (8, 6).
ComputeCapability = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """A range of torch releases, built for some backends on one platform: the cubins and the PTX inside."""

    first: Version
    last: Version
    platform: str
    backends: frozenset[str]
    cubins: frozenset[ComputeCapability]
    ptx: frozenset[ComputeCapability]
    certainty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureList:
    """A wheel's own list, as ``torch.cuda.get_arch_list()`` prints it, read into values.

    Args:
        cubins: native code for these (``sm_86``), which runs on later minors of the same major too.
        specific: native code for these alone (``sm_90a``).
        ptx: intermediate code from these on (``compute_90``), compiled by the driver at run time.
        gfx: AMD's targets.
    """

    cubins: frozenset[ComputeCapability]
    specific: frozenset[ComputeCapability]
    ptx: frozenset[ComputeCapability]
    gfx: frozenset[str]


_ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>[0-9]+)(?P<minor>[0-9])(?P<suffix>[a-z]?)")


def parse_architectures(texts: Iterable[str]) -> ArchitectureList:
    """Read ``sm_70``, ``sm_90a``, ``compute_90``, ``gfx942``; what is spelt otherwise stands for no known device.

    Code of a family (``sm_100f``) runs on the later minors of its major as plain code does (CUDA programming guide,
    family-specific features); PTX of the specific kinds cannot be compiled for anything else, so it is left out.
    """
    found: dict[str, set[ComputeCapability]] = {"sm": set(), "sma": set(), "compute": set()}
    for text in texts:
        match = _ARCHITECTURE.fullmatch(text)
        if match is not None:
            suffix = "" if match["suffix"] == "f" else match["suffix"]
            found.setdefault(match["kind"] + suffix, set()).add((int(match["major"]), int(match["minor"])))
    return ArchitectureList(
        cubins=frozenset(found["sm"]),
        specific=frozenset(found["sma"]),
        ptx=frozenset(found["compute"]),
        gfx=frozenset(text.partition(":")[0] for text in texts if text.startswith("gfx")),
    )


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
            ptx=_parse_capabilities(row["ptx_cc"]),
            certainty=row["certainty"],
        )
        for row in read_table("gpu_arch")
    )


def find_kernels(version: Version, platform: str, backend: str) -> Kernels | None:
    """Find what the table says of a torch build; None if it does not know the build.

    ``platform`` is ``linux_x86_64``, ``linux_aarch64`` or ``win_amd64``. Post-releases, candidates and nightlies are
    looked up as the release that they belong to: the build scripts are the same.
    """
    release = Version(version.base_version)
    for row in _read_kernels():
        if row.platform == platform and backend in row.backends and row.first <= release <= row.last:
            return row
    return None


@cache
def in_toolkit_table(device: ComputeCapability) -> bool:
    """Whether the table of toolkits knows any code that runs on a device; of a chip that is newer it knows none."""
    return any(
        parse_compute_capability(row["cc"]) in cubins_that_run_on(device) for row in read_table("toolkit_architectures")
    )


@cache
def compilable(cuda: Version) -> frozenset[ComputeCapability]:
    """Say what a CUDA toolkit (major.minor) can compile native code for: CUDA 13 for nothing below 7.5."""
    return frozenset(
        parse_compute_capability(row["cc"])
        for row in read_table("toolkit_architectures")
        if Version(row["first_cuda"]) <= cuda and (not row["last_cuda"] or cuda <= Version(row["last_cuda"]))
    )


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


def is_tegra(device: ComputeCapability) -> bool:
    """Whether this is a part of Jetson that runs no other part's code: 5.3, 6.2, 7.2, 8.7 (``cc_runs.csv``)."""
    return device[1] > 0 and cubins_that_run_on(device) == {device}


@cache
def find_gfx_targets(backend: str) -> frozenset[str] | None:
    """Say for which AMD targets (``gfx90a``) a ROCm backend's wheels are built; None if the table does not know."""
    for row in read_table("rocm_arch"):
        if row["variant"] == backend and row["gfx"]:
            return frozenset(row["gfx"].split(";"))
    return None
