"""Which branches of NVIDIA's driver know a chip: new chips need a new one, and old chips are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.architectures import parse_compute_capability
from pytorch_offline.knowledge.table import read_table

if TYPE_CHECKING:
    from pytorch_offline.knowledge.architectures import ComputeCapability


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverBranches:
    """The first and the last branch (``470``) for a chip; None where the table does not say."""

    first: int | None
    last: int | None


@cache
def _read_branches() -> dict[ComputeCapability, DriverBranches]:
    return {
        parse_compute_capability(row["compute_capability"]): DriverBranches(
            first=int(row["first_branch"]) if row["first_branch"] else None,
            last=int(row["last_branch"]) if row["last_branch"] else None,
        )
        for row in read_table("gpu_driver")
    }


def driver_branches(device: ComputeCapability) -> DriverBranches:
    """Say which driver branches know a chip, as far as the table does."""
    return _read_branches().get(device, DriverBranches(first=None, last=None))


def known_chips() -> tuple[ComputeCapability, ...]:
    """Name the chips that the table speaks of, oldest first."""
    return tuple(sorted(_read_branches()))
