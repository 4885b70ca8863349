"""The last usable release per GPU and backend: the newest torch with native code for every device named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.architectures import ArchitectureList, cubins_that_run_on, find_kernels
from pytorch_offline.knowledge.cuda_driver import read_cuda_driver_table
from pytorch_offline.knowledge.gpu_driver import driver_branches
from pytorch_offline.matrix.builds import Build, Origin
from pytorch_offline.matrix.drivers import SYSTEMS, least_driver
from pytorch_offline.matrix.pythons import python_order, render_pythons
from pytorch_offline.matrix.releases import TABLED
from pytorch_offline.matrix.view import Section
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import Backend, BackendKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytorch_offline.knowledge.architectures import ComputeCapability

NOTES = (
    (
        '"Newer builds" of the same backend have native code for other compute capabilities only; what '
        "builds have is the table's word, unless `select` has read it out of the wheels before (--json tells)."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A GPU that is asked about: what it is called, and its compute capability."""

    name: str
    compute_capability: ComputeCapability


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUsable:
    """What is left for the GPUs of one backend on one platform.

    Args:
        last: the newest build with code for every GPU; None if there never was one.
        first: the oldest such build; None with ``last``.
        newest: the newest build there is.
        newest_kernels: what that has code for; None if that is not known.
        measured: whether what ``last`` has code for was read out of a wheel of it, not out of the table.
        unknown: builds newer than ``last`` of which it is not known what they have code for.
    """

    backend: Backend
    platform: str
    last: Build | None
    first: Build | None
    newest: Build
    newest_kernels: ArchitectureList | None
    measured: bool
    unknown: tuple[Build, ...]


def last_usable(
    builds: Sequence[Build],
    capabilities: Sequence[ComputeCapability],
    measured: Callable[[Build], ArchitectureList | None],
) -> tuple[LastUsable, ...]:
    """Find the last usable build for each CUDA backend and platform, the newest release first.

    ``measured`` gives what was read out of a build's own wheels; it beats the table.
    """
    groups: dict[tuple[Backend, str], list[Build]] = {}
    for build in builds:
        if build.backend is not None and build.backend.kind is BackendKind.CUDA:
            groups.setdefault((build.backend, build.platform), []).append(build)
    found = [_last(*key, group, capabilities, measured) for key, group in groups.items()]
    return tuple(sorted(found, key=_merit, reverse=True))


def _merit(row: LastUsable) -> tuple[object, ...]:
    return row.last is not None, (row.last or row.newest).version, row.backend.order, row.platform


def _last(
    backend: Backend,
    platform: str,
    builds: Iterable[Build],
    capabilities: Sequence[ComputeCapability],
    measured: Callable[[Build], ArchitectureList | None],
) -> LastUsable:
    ordered = sorted(builds, key=lambda build: build.version, reverse=True)
    own = {build: measured(build) for build in ordered}
    kernels = {build: own[build] or _tabled(build) for build in ordered}
    usable = [build for build in ordered if _serves(kernels[build], capabilities)]
    newer = ordered[: ordered.index(usable[0])] if usable else ordered
    return LastUsable(
        backend=backend,
        platform=platform,
        last=usable[0] if usable else None,
        first=usable[-1] if usable else None,
        newest=ordered[0],
        newest_kernels=kernels[ordered[0]],
        measured=bool(usable) and own[usable[0]] is not None,
        unknown=tuple(build for build in newer if kernels[build] is None),
    )


def _tabled(build: Build) -> ArchitectureList | None:
    row = find_kernels(build.version, build.platform, str(build.backend))
    if row is None:
        return None
    return ArchitectureList(cubins=row.cubins, specific=frozenset(), ptx=row.ptx, gfx=frozenset())


def _serves(kernels: ArchitectureList | None, capabilities: Sequence[ComputeCapability]) -> bool:
    return kernels is not None and all(
        kernels.cubins & cubins_that_run_on(capability) or capability in kernels.specific for capability in capabilities
    )


def gpu_section(rows: Sequence[LastUsable]) -> Section:
    """Show the rows that have something, newest first."""
    return Section(
        header=("backend", "platform", "last torch", "Python", "driver from", "newer builds"),
        rows=tuple(
            (
                str(row.backend),
                row.platform,
                f"{row.last.version}{TABLED if row.last.origin is Origin.TABLE else ''}",
                render_pythons(row.last.pythons),
                driver_floor(row.backend, row.platform) or "-",
                _newer(row),
            )
            for row in rows
            if row.last is not None
        ),
        widths=(7, 13, 12, 12, 11),
    )


def _newer(row: LastUsable) -> str:
    if row.last == row.newest:
        return "none"
    if row.newest_kernels is None:
        return f"not known of {row.newest.version}"
    return f"{row.newest.version}: {_listed(row.newest_kernels.cubins)}"


def _listed(cubins: Iterable[ComputeCapability]) -> str:
    return " ".join(f"{major}.{minor}" for major, minor in sorted(cubins))


def driver_floor(backend: Backend, platform: str) -> str | None:
    """Give the least driver that runs a CUDA backend's builds on a platform, as NVIDIA spells it."""
    if backend.version is None:
        return None
    floor = least_driver(backend.version, read_cuda_driver_table(SYSTEMS[platform.startswith("win")]))
    return None if floor is None else Accelerator(kind=AcceleratorKind.CUDA, driver=floor).driver_text


def record_of_last(row: LastUsable, gpus: Sequence[Chip]) -> dict[str, object]:
    """Give a row for programs."""
    return {
        "gpus": [gpu.name for gpu in gpus],
        "compute_capabilities": [spelt(gpu.compute_capability) for gpu in gpus],
        "backend": str(row.backend),
        "platform": row.platform,
        "last_torch": None if row.last is None else str(row.last.version),
        "first_torch": None if row.first is None else str(row.first.version),
        "pythons": [] if row.last is None else sorted(row.last.pythons, key=python_order),
        "origin": None if row.last is None else row.last.origin.value,
        "listed": None if row.last is None else row.last.listed,
        "driver_least": driver_floor(row.backend, row.platform),
        "newest_torch": str(row.newest.version),
        "newest_has_code_for": None
        if row.newest_kernels is None
        else [spelt(one) for one in sorted(row.newest_kernels.cubins)],
        "known_by": None if row.last is None else "wheel" if row.measured else "table",
        "not_known": [str(build.version) for build in row.unknown],
    }


def spelt(capability: ComputeCapability) -> str:
    """Write a compute capability: ``8.6``."""
    return "{}.{}".format(*capability)


def overall(rows: Sequence[LastUsable], gpus: Sequence[Chip]) -> str:
    """Say in one sentence what the newest usable torch is."""
    capabilities = [spelt(gpu.compute_capability) for gpu in gpus]
    names = " + ".join(
        gpu.name if capability in gpu.name else f"{gpu.name} ({capability})"
        for gpu, capability in zip(gpus, capabilities, strict=True)
    )
    last = next((row.last for row in rows if row.last is not None), None)
    if last is None:
        return f"{names}: no build of torch has native code for it"
    best = [row for row in rows if row.last is not None and row.last.version == last.version]
    backends = ", ".join(dict.fromkeys(str(row.backend) for row in best))
    return f"{names}: the last usable torch is {last.version}, with {backends}"


def branch_notes(gpus: Iterable[Chip]) -> list[str]:
    """Say which driver branches know these chips."""
    notes = []
    for gpu in gpus:
        branches = driver_branches(gpu.compute_capability)
        if branches.first is not None:
            notes.append(f"{gpu.name} needs a driver of branch {branches.first} or later, whatever the CUDA.")
        if branches.last is not None:
            notes.append(f"Driver branch {branches.last} is the last that knows {gpu.name}.")
    return notes
