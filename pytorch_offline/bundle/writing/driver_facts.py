"""The tables of drivers that travel with a bundle, made from ``knowledge/``."""

from __future__ import annotations

from pytorch_offline.bundle.format.driver_facts import (
    ChipBranches,
    CompatBranches,
    DriverFacts,
    LeastDriver,
    product_key,
    sounds_like_consumer,
)
from pytorch_offline.knowledge.cuda_driver import CudaDriverTable, read_cuda_driver_table
from pytorch_offline.knowledge.forward_compat import accepted_branches, compat_versions
from pytorch_offline.knowledge.gpu_driver import driver_branches, known_chips
from pytorch_offline.knowledge.gpus import classes_of, read_gpus
from pytorch_offline.selector.rules.forward_compat import NEVER_COMPAT
from pytorch_offline.target.model import spell_driver


def make_driver_facts() -> DriverFacts:
    """Make the tables as values: sorted, so that the same knowledge gives the same bytes."""
    tables = {system: read_cuda_driver_table(system) for system in ("Linux", "Windows")}
    compat = []
    for cuda in compat_versions():
        branches = accepted_branches(cuda)
        if branches is not None:
            known, likely = tuple(sorted(branches.known)), tuple(sorted(branches.likely))
            compat.append(CompatBranches(cuda=str(cuda), known=known, likely=likely))
    return DriverFacts(
        toolkits={system: _toolkits(table) for system, table in tables.items()},
        floors={
            system: tuple(
                LeastDriver(cuda=str(major), driver=spell_driver(driver))
                for major, driver in sorted(table.minor_compatibility.items())
            )
            for system, table in tables.items()
        },
        compat=tuple(compat),
        chips=tuple(
            ChipBranches(capability=f"{chip[0]}.{chip[1]}", first=branches.first, last=branches.last)
            for chip in known_chips()
            for branches in (driver_branches(chip),)
        ),
        exceptions=tuple(sorted(_exceptions())),
    )


def _exceptions() -> set[str]:
    """Name the products that their brand misleads about: TITAN V is a workstation's, RTX A500 a laptop's."""
    names = set()
    for gpu in read_gpus():
        classes = classes_of(gpu.name, gpu.compute_capability)
        if classes and (classes <= NEVER_COMPAT) is not sounds_like_consumer(gpu.name):
            names.add(product_key(gpu.name))
    return names


def _toolkits(table: CudaDriverTable) -> tuple[LeastDriver, ...]:
    return tuple(
        LeastDriver(cuda=str(cuda), driver=spell_driver(driver)) for cuda, driver in sorted(table.toolkit.items())
    )
