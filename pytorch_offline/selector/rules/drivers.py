"""Which backends a target's accelerator can run, and how well: a verdict with a reason for each.

The rules are research/selectors.md section 6, numbers 1 and 2: a CUDA build runs if the driver is at or above the floor
of the build's CUDA major (minor-version compatibility; from CUDA 11 on), or at or above the toolkit's own driver before
that; or if the user-mode CUDA that the machine reports is of that major and counts (``forward_compat``). It is covered
*natively* if the driver came with that toolkit or a later one, or the user-mode CUDA is not below it. Between floor and
toolkit driver some features fail, PTX compiled at run time above all, so the detail says so.

For AMD nothing is decided by the kernel driver: ROCm's user-space libraries are in the wheel, and AMD promises that
they work with kernel drivers of a year before and after, which no table here could sharpen. Intel's driver likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.cuda_driver import (
    FIRST_MAJOR_WITH_MINOR_COMPATIBILITY,
    driver_branch,
    read_cuda_driver_table,
)
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.knowledge.gpu_driver import driver_branches
from pytorch_offline.selector.model import Rejection
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.forward_compat import judge_user_mode
from pytorch_offline.target.model import Accelerator, AcceleratorKind, spell_driver
from pytorch_offline.wheels.backend import Backend, BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.version import Version

    from pytorch_offline.knowledge.architectures import ComputeCapability
    from pytorch_offline.target.model import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The target can run this backend; ``native`` if nothing has to be bridged by compatibility modes."""

    backend: Backend
    native: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotRun:
    """The target cannot run this backend, by its accelerator, its driver or its device."""

    backend: Backend
    reason: Reason
    detail: str

    @property
    def rejection(self) -> Rejection:
        """The rejection of all of torch's builds for it, whose pages need not be read for that."""
        return Rejection(project=TORCH, file=None, backend=self.backend, reason=self.reason, detail=self.detail)


BackendVerdict = Runs | CannotRun

_KIND_SERVED_BY = {
    AcceleratorKind.NONE: BackendKind.CPU,
    AcceleratorKind.MPS: BackendKind.CPU,  # macOS wheels carry Metal support and lie among the CPU builds
    AcceleratorKind.CUDA: BackendKind.CUDA,
    AcceleratorKind.ROCM: BackendKind.ROCM,
    AcceleratorKind.XPU: BackendKind.XPU,
}

_MADE_FOR = {BackendKind.CUDA: "NVIDIA GPUs", BackendKind.ROCM: "AMD GPUs", BackendKind.XPU: "Intel GPUs"}
_OWNED = {
    AcceleratorKind.NONE: "no GPU",
    AcceleratorKind.MPS: "Apple's GPU",
    AcceleratorKind.CUDA: "an NVIDIA GPU",
    AcceleratorKind.ROCM: "an AMD GPU",
    AcceleratorKind.XPU: "an Intel GPU",
}


def judge_backends(target: Target, backends: Iterable[Backend]) -> tuple[BackendVerdict, ...]:
    """Judge each backend for the target, in the order given.

    A target without a known accelerator is served by CPU builds; nothing is guessed about a GPU.

    Raises:
        UsageError: ``unknown-driver`` if the target has an NVIDIA device, but neither its driver nor its user-mode
            CUDA is known.
    """
    accelerator = target.accelerator
    kind = AcceleratorKind.NONE if accelerator is None else accelerator.kind
    if accelerator is not None and kind is AcceleratorKind.CUDA and accelerator.driver is accelerator.cuda is None:
        if accelerator.is_older_jetson:
            return tuple(_judge_for_jetson(backend, accelerator) for backend in backends)
        raise UsageError(
            "unknown-driver",
            f"target {target.name} has an NVIDIA device, but neither its driver nor its CUDA version is known",
            hint="give --driver (the first number that nvidia-smi prints), --cuda, or force a build with --backend",
        )
    return tuple(_judge(backend, kind, accelerator, target.system) for backend in backends)


def _judge(backend: Backend, kind: AcceleratorKind, accelerator: Accelerator | None, system: str) -> BackendVerdict:
    if backend.kind is not _KIND_SERVED_BY[kind]:
        if backend.kind is BackendKind.CPU:
            detail = "cpu would leave the target's GPU unused; --backend cpu chooses it all the same"
            return CannotRun(backend=backend, reason=Reason.ACCELERATOR, detail=detail)
        owner = "no GPU that is known" if accelerator is None else _OWNED[kind]
        detail = f"{backend} is for {_MADE_FOR[backend.kind]}; the target has {owner}"
        return CannotRun(backend=backend, reason=Reason.ACCELERATOR, detail=detail)
    if backend.kind is BackendKind.CPU:
        detail = "macOS builds lie among those for the CPU" if system == "Darwin" else "cpu builds run everywhere"
        return Runs(backend=backend, native=True, detail=detail)
    if backend.kind is not BackendKind.CUDA or accelerator is None or backend.version is None:
        return Runs(backend=backend, native=True, detail=f"{backend} is for {_MADE_FOR[backend.kind]}")
    return _judge_cuda(backend, backend.version, accelerator, accelerator.driver_system or system)


def _judge_for_jetson(backend: Backend, accelerator: Accelerator) -> BackendVerdict:
    """Refuse every CUDA build for a Jetson of which no driver is known: official ones have no code for its GPU."""
    if backend.kind is not BackendKind.CUDA:
        return _judge(backend, accelerator.kind, accelerator, "Linux")
    detail = f"{backend} is built for servers; the GPU of a Jetson before L4T R38 runs no code but its own"
    return CannotRun(backend=backend, reason=Reason.GPU_ARCHITECTURE, detail=detail)


def _judge_cuda(backend: Backend, cuda: Version, accelerator: Accelerator, system: str) -> BackendVerdict:
    table = read_cuda_driver_table(system)
    driver, user_mode = accelerator.driver, judge_user_mode(accelerator, system)
    counts = user_mode.cuda
    has = f"driver {accelerator.driver_text}" if driver is not None else f"user-mode CUDA {counts}"
    raised = f" ({user_mode.raised})" if user_mode.raised else ""
    if (unknown := _needs_newer_branch(accelerator)) is not None:
        return CannotRun(
            backend=backend, reason=Reason.DRIVER, detail=f"{backend} needs {unknown}; the target has {has}"
        )
    if counts is not None and counts >= cuda:
        return Runs(backend=backend, native=True, detail=f"user-mode CUDA {counts} covers {backend}{raised}")
    own = table.toolkit.get(cuda)
    if driver is not None and own is not None and driver >= own:
        return Runs(backend=backend, native=True, detail=f"{has} covers {backend} (needs {spell_driver(own)})")
    lacks = f"{has} ({user_mode.briefly})" if user_mode.refused else has
    if cuda.major < FIRST_MAJOR_WITH_MINOR_COMPATIBILITY:
        needs = f"driver {spell_driver(own)} or later" if own is not None else "a driver that the table does not know"
        return CannotRun(
            backend=backend, reason=Reason.DRIVER, detail=f"{backend} needs {needs}; the target has {lacks}"
        )
    floor = table.minor_compatibility.get(cuda.major)
    caveat = f"; code compiled at run time, PTX, needs driver {spell_driver(own)}" if own is not None else ""
    if counts is not None and counts.major >= cuda.major:
        detail = f"user-mode CUDA {counts} runs {backend} by minor-version compatibility{raised}{caveat}"
        return Runs(backend=backend, native=False, detail=detail)
    if driver is not None and floor is not None and driver >= floor:
        detail = f"{has} runs {backend} by minor-version compatibility (floor {spell_driver(floor)}){caveat}"
        return Runs(backend=backend, native=False, detail=detail)
    needs = f"driver {spell_driver(floor)} or later" if floor is not None else "a driver that the table does not know"
    return CannotRun(backend=backend, reason=Reason.DRIVER, detail=f"{backend} needs {needs}; the target has {lacks}")


def _needs_newer_branch(accelerator: Accelerator) -> str | None:
    """Say which driver knows the newest chip of the target at all; None if its own does, or if that is not known."""
    if accelerator.driver is None:
        return None
    found = {name: driver_branches(chip).first for name, chip in _named_chips(accelerator)}
    device, first = max(found.items(), key=lambda one: one[1] or 0, default=("", None))
    if first is None or driver_branch(accelerator.driver) >= first:
        return None
    return f"driver {first} or later to know {device} at all"


def driver_warnings(target: Target) -> tuple[str, ...]:
    """Say what is wrong with the driver's facts: a user-mode CUDA that does not count, a GPU that it left behind."""
    accelerator = target.accelerator
    if accelerator is None or accelerator.kind is not AcceleratorKind.CUDA:
        return ()
    user_mode = judge_user_mode(accelerator, accelerator.driver_system or target.system)
    told = [f"{user_mode.refused}; the driver alone decides; {user_mode.advice}"] if user_mode.refused else []
    for name, chip in _named_chips(accelerator):
        last = driver_branches(chip).last
        if accelerator.driver is not None and last is not None and driver_branch(accelerator.driver) > last:
            told.append(
                f"driver {accelerator.driver_text} does not drive {name} any more: {last} was the last branch "
                "that did; check what the machine has"
            )
    return tuple(told)


def _named_chips(accelerator: Accelerator) -> list[tuple[str, ComputeCapability]]:
    """Name the devices whose chip is known, with their compute capabilities."""
    return [
        (one.name or "compute capability {}.{}".format(*one.compute_capability), one.compute_capability)
        for one in accelerator.devices
        if one.compute_capability is not None
    ]


def verdict_for_forced(target: Target, backend: Backend) -> BackendVerdict:
    """Judge a backend that the user forces: CPU builds run everywhere, and an unknown driver is a reason, no error."""
    if backend.kind is BackendKind.CPU:
        return Runs(backend=backend, native=True, detail="cpu builds run everywhere")
    try:
        return judge_backends(target, [backend])[0]
    except UsageError as error:
        return CannotRun(backend=backend, reason=Reason.DRIVER, detail=error.message)
