"""Which NVIDIA driver runs which CUDA: the table of NVIDIA's release notes, read into values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table

# From this major on a driver runs every toolkit of its own major above one floor (NVIDIA, CUDA compatibility,
# "minor version compatibility"); before, each toolkit has its own driver. Source: cuda_driver.csv, minor-compat rows.
FIRST_MAJOR_WITH_MINOR_COMPATIBILITY = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDriverTable:
    """Least drivers for one operating system.

    ``toolkit`` maps a CUDA version (major.minor) to the driver of its first release, which covers it natively;
    ``minor_compatibility`` maps a CUDA major to the floor above which every toolkit of that major runs.
    """

    toolkit: dict[Version, Version]
    minor_compatibility: dict[int, Version]


@cache
def read_cuda_driver_table(system: str) -> CudaDriverTable:
    """Read the table for ``platform_system`` ``Windows``, or Linux for every other.

    NVIDIA lists no Windows driver with the 13.x toolkits (the display driver is no longer bundled): there the floor
    of the major stands for each toolkit.
    """
    column = "windows_min_driver" if system == "Windows" else "linux_min_driver"
    toolkit: dict[Version, Version] = {}
    floors: dict[int, Version] = {}
    rows = read_table("cuda_driver")
    for row in rows:
        if row["kind"] == "minor-compat" and row[column]:
            floors[int(row["cuda"])] = Version(row[column])
    for row in rows:
        if row["kind"] != "toolkit" or row["update"] == "RC":
            continue
        cuda = Version(row["cuda"])
        least = Version(row[column]) if row[column] else floors.get(cuda.major)
        if least is not None:
            toolkit[cuda] = min(least, toolkit.get(cuda, least))
    return CudaDriverTable(toolkit=toolkit, minor_compatibility=floors)
