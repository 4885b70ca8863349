"""Where NVIDIA's cuda-compat package may raise the CUDA that a kernel driver offers: the tables, read into values.

Sources: NVIDIA, CUDA compatibility, "forward compatibility"; research/selectors.md, section 6, rule 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedBranches:
    """The kernel driver's branches (470 is every 470.x) that cuda-compat of one CUDA version works on.

    ``likely`` are those of which the sources are not sure.
    """

    known: frozenset[int]
    likely: frozenset[int]

    @property
    def all(self) -> tuple[int, ...]:
        """All of them, oldest first."""
        return tuple(sorted(self.known | self.likely))


@cache
def accepted_branches(cuda: Version) -> AcceptedBranches | None:
    """Say which driver branches cuda-compat of this CUDA (major.minor) accepts; None if the table does not know."""
    for row in read_table("cuda_forward_compat"):
        if Version(row["cuda"]) == cuda:
            branches = row["accepted_kernel_driver_branches"].split(";")
            return AcceptedBranches(
                known=frozenset(int(one) for one in branches if not one.endswith("?")),
                likely=frozenset(int(one[:-1]) for one in branches if one.endswith("?")),
            )
    return None


@cache
def compat_versions() -> tuple[Version, ...]:
    """Name the CUDA versions (major.minor) whose cuda-compat the table knows, oldest first."""
    return tuple(sorted(Version(row["cuda"]) for row in read_table("cuda_forward_compat")))
