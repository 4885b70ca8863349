"""The table of drivers: which CUDA they cover or run, and which torch that gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.cuda_driver import (
    FIRST_MAJOR_WITH_MINOR_COMPATIBILITY,
    CudaDriverTable,
    read_cuda_driver_table,
)
from pytorch_offline.matrix.releases import render_releases
from pytorch_offline.matrix.view import Section
from pytorch_offline.selector.rules.drivers import BackendVerdict, Runs, judge_backends
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Target
from pytorch_offline.wheels.backend import Backend, BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.version import Version

    from pytorch_offline.matrix.builds import Build

SYSTEMS = ("Linux", "Windows")
NOTES = (
    (
        'A driver "covers" the CUDA whose toolkit it came with, and those before; one that only "runs" it does so by '
        "minor-version compatibility (from CUDA 11 on): some of the newest features may be missing."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverRow:
    """One CUDA.

    ``covering`` maps a system to the driver of the toolkit's first release, ``least`` to the least driver that runs
    builds for it; None where NVIDIA names none. ``builds`` are torch's, newest first; ``verdict`` is that of the driver
    asked about.
    """

    backend: Backend
    covering: dict[str, str | None]
    least: dict[str, str | None]
    builds: tuple[Build, ...]
    verdict: BackendVerdict | None


def driver_rows(builds: Sequence[Build], driver: Version | None, system: str) -> tuple[DriverRow, ...]:
    """Make a row for each CUDA toolkit that NVIDIA's table or a build has, newest first."""
    tables = {name: read_cuda_driver_table(name) for name in SYSTEMS}
    cudas = {cuda for table in tables.values() for cuda in table.toolkit}
    cudas |= {one.backend.version for one in builds if _is_cuda(one.backend) and one.backend and one.backend.version}
    rows = []
    for cuda in sorted(cudas, reverse=True):
        backend = Backend(BackendKind.CUDA, cuda)
        rows.append(
            DriverRow(
                backend=backend,
                covering={name: _spelt(table.toolkit.get(cuda)) for name, table in tables.items()},
                least={name: _spelt(least_driver(cuda, table)) for name, table in tables.items()},
                builds=tuple(build for build in builds if build.backend == backend),
                verdict=None if driver is None else judge_driver(driver, system, [backend])[0],
            )
        )
    return tuple(rows)


def _is_cuda(backend: Backend | None) -> bool:
    return backend is not None and backend.kind is BackendKind.CUDA


def least_driver(cuda: Version, table: CudaDriverTable) -> Version | None:
    """Give the least driver that runs builds for a CUDA: its major's floor from 11 on, the toolkit's own before."""
    if cuda.major >= FIRST_MAJOR_WITH_MINOR_COMPATIBILITY:
        return table.minor_compatibility.get(cuda.major)
    return table.toolkit.get(cuda)


def judge_driver(driver: Version, system: str, backends: Iterable[Backend]) -> tuple[BackendVerdict, ...]:
    """Judge backends for a machine of which nothing but its driver and system is known."""
    accelerator = Accelerator(kind=AcceleratorKind.CUDA, driver=driver)
    machine = Target(name="driver", marker_environment={"platform_system": system}, tags=(), accelerator=accelerator)
    return judge_backends(machine, backends)


def driver_section(rows: Sequence[DriverRow], marks: Mapping[Version, str]) -> Section:
    """Show the rows: the driver that covers each CUDA, the least that runs it, and torch's releases for it."""
    verdicts = any(row.verdict is not None for row in rows)
    header = ["CUDA", *(f"{system} {what}" for system in SYSTEMS for what in ("covers", "runs"))]
    shown = [row for row in rows if row.builds or row.verdict is None]
    return Section(
        header=(*header, *(["this one"] if verdicts else []), "torch"),
        rows=tuple(
            (
                str(row.backend.version),
                *(drivers[system] or "-" for system in SYSTEMS for drivers in (row.covering, row.least)),
                *([_answer(row.verdict)] if verdicts else []),
                render_releases(row.builds, marks) or "-",
            )
            for row in shown
        ),
        widths=(5, 10, 10, 8, 8, *([8] if verdicts else [])),
    )


def _answer(verdict: BackendVerdict | None) -> str:
    if isinstance(verdict, Runs):
        return "covers" if verdict.native else "runs"
    return "no"


def record_of_driver(row: DriverRow) -> dict[str, object]:
    """Give a row for programs."""
    verdict = row.verdict
    newest = max((build.release for build in row.builds), default=None)
    record: dict[str, object] = {"cuda": str(row.backend.version), "backend": str(row.backend)}
    for system in SYSTEMS:
        record[f"{system.lower()}_driver_covering"] = row.covering[system]
        record[f"{system.lower()}_driver_least"] = row.least[system]
    record["newest_torch"] = None if newest is None else str(newest)
    record["torch"] = [str(release) for release in sorted({build.release for build in row.builds}, reverse=True)]
    if verdict is not None:
        record["runs"] = isinstance(verdict, Runs)
        record["native"] = isinstance(verdict, Runs) and verdict.native
        record["why"] = verdict.detail
    return record


def best_for_driver(rows: Iterable[DriverRow]) -> DriverRow | None:
    """Pick the row that ``select`` would: the newest torch, then natively covered, then the highest CUDA."""
    running = [row for row in rows if row.builds and isinstance(row.verdict, Runs)]

    def merit(row: DriverRow) -> tuple[object, ...]:
        native = isinstance(row.verdict, Runs) and row.verdict.native
        return max(build.release for build in row.builds), native, row.backend.order

    return max(running, key=merit, default=None)


def _spelt(driver: Version | None) -> str | None:
    """Spell a driver as NVIDIA does: 450.80.02."""
    return None if driver is None else Accelerator(kind=AcceleratorKind.CUDA, driver=driver).driver_text


def render_best(row: DriverRow | None) -> str:
    """Say what ``select`` would take."""
    if row is None:
        return "none; builds for the CPU run everywhere."
    release = max(build.release for build in row.builds)
    how = "covers" if isinstance(row.verdict, Runs) and row.verdict.native else "runs by minor-version compatibility"
    return f"{release} with {row.backend}, which it {how}."
