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

    def covered_by(self, driver: Version) -> Version | None:
        """The newest CUDA whose toolkit came with this driver or an older one."""
        return max((cuda for cuda, least in self.toolkit.items() if least <= driver), default=None)

    def shipped_with(self, driver: Version) -> Version | None:
        """The newest CUDA that belongs to the driver's branch or an older one: what the driver itself may report.

        A driver can be a little older than the first one that NVIDIA names for the toolkit of its own branch:
        Windows 526.98 reports CUDA 12.0, for which the release notes say 527.41.
        """
        branch = driver_branch(driver)
        return max((cuda for cuda, least in self.toolkit.items() if driver_branch(least) <= branch), default=None)


def driver_branch(driver: Version) -> int:
    """Name a driver's branch: 535 for 535.104.05, and for Windows' 537.13, which is built from R535 as well.

    Branches are multiples of five since R440; Windows counts on within a branch (NVIDIA's release notes name both).
    """
    return driver.major - driver.major % 5


@cache
def read_cuda_driver_table(system: str) -> CudaDriverTable:
    """Read the table for ``platform_system`` ``Windows``, or Linux for every other.

    NVIDIA lists no Windows driver with the 13.x toolkits (the display driver is no longer bundled): there the branch
    of the Linux driver stands for each toolkit, since both systems' drivers are built from the same branches.
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
        least = Version(row[column] or str(driver_branch(Version(row["linux_min_driver"]))))
        toolkit[cuda] = min(least, toolkit.get(cuda, least))
    return CudaDriverTable(toolkit=toolkit, minor_compatibility=floors)
