"""Does a torch build have native code for every device of the target, and how is that known?

No torch wheel since 2.8 carries PTX that a newer device could compile, so a device needs a cubin of its own kind or the
build is of no use there: "no kernel image is available" is what a GTX 1080 Ti says to a CUDA 13 build, however new its
driver is (research/selectors.md, sections 5 and 6, rule 3). PTX of older builds is not counted on either: cuBLAS and
cuDNN beside it have none (docs/adr/0006).

What a build has is known from its own list, which beats all else; or from the table of measured and scripted builds; or
it is bounded by what its toolkit can compile. What is not known, of the build or of the device, forbids nothing, but
for the parts of Jetson: those run no code but their own, which official builds never had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.knowledge.architectures import (
    compilable,
    cubins_that_run_on,
    find_gfx_targets,
    find_kernels,
    in_toolkit_table,
    is_tegra,
    parse_architectures,
)
from pytorch_offline.selector.model import EvidenceSource, KernelEvidence
from pytorch_offline.wheels.backend import BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.knowledge.architectures import ArchitectureList, ComputeCapability
    from pytorch_offline.target.model import Device, Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.filename import WheelName

JETSON_ADVICE = (
    "official wheels have no code for this Jetson; take those that NVIDIA builds for JetPack "
    "(docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform), or --backend cpu"
)


def is_in_question(name: WheelName, backend: Backend | None, target: Target) -> bool:
    """Whether it matters for which GPUs a wheel was built: torch, built for the kind of GPU that the target has."""
    if name.project != "torch" or backend is None or target.accelerator is None:
        return False
    devices = target.accelerator.devices
    if backend.kind is BackendKind.CUDA:
        return any(device.compute_capability is not None for device in devices)
    return backend.kind is BackendKind.ROCM and any(device.gfx is not None for device in devices)


def evidence_by_wheel(architectures: tuple[str, ...]) -> KernelEvidence:
    """What the wheel's own list says."""
    return KernelEvidence(
        architectures=architectures, source=EvidenceSource.WHEEL, remark="its own list, read from the wheel"
    )


def evidence_by_table(name: WheelName, backend: Backend, remark: str = "") -> KernelEvidence | None:
    """What the tables say, None if they know nothing; ``remark`` says why the wheel itself was not asked."""
    behind = f"; {remark}" if remark else ""
    if backend.kind is BackendKind.ROCM:
        targets = find_gfx_targets(str(backend))
        if targets is None:
            return None
        return KernelEvidence(
            architectures=tuple(sorted(targets)),
            source=EvidenceSource.TABLE,
            remark=f"the table (rocm_arch.csv{behind})",
        )
    platform = _platform(name)
    row = None if platform is None else find_kernels(name.version, platform, str(backend))
    if row is not None:
        ptx = tuple(_spelt("compute", one) for one in sorted(row.ptx))
        return KernelEvidence(
            architectures=(*(_spelt("sm", one) for one in sorted(row.cubins)), *ptx),
            source=EvidenceSource.TABLE,
            remark=f"the table (gpu_arch.csv, certainty {row.certainty}{behind})",
        )
    if backend.version is None:
        return None
    return KernelEvidence(
        architectures=tuple(_spelt("sm", one) for one in sorted(compilable(backend.version))),
        source=EvidenceSource.TOOLKIT,
        remark=f"what CUDA {backend.version} can compile for (no table knows the build{behind})",
    )


def unserved_device(evidence: KernelEvidence, backend: Backend, target: Target) -> str | None:
    """Say for which device of the target a build has no native code, and what it has; None if none is known to lack it.

    All devices must be served: torch fails on the one that is not as soon as it is used.
    """
    found = parse_architectures(evidence.architectures)
    for device in () if target.accelerator is None else target.accelerator.devices:
        lacks = (
            _lacks_cubin(found, evidence.source, device)
            if backend.kind is BackendKind.CUDA
            else device.gfx is not None and device.gfx not in found.gfx
        )
        if lacks:
            has = f"has {', '.join(evidence.architectures) or 'none'}"
            if evidence.source is EvidenceSource.TOOLKIT:
                has = f"can have {', '.join(evidence.architectures)} at most"
            return f"no kernels for {_called(device)}: it {has}, by {evidence.remark}{_beside(found, device)}"
    return None


def describe_served(evidence: KernelEvidence, backend: Backend, target: Target) -> str:
    """Say in words which kernels serve the target's devices, and how that is known."""
    found = parse_architectures(evidence.architectures)
    devices = () if target.accelerator is None else target.accelerator.devices
    served: dict[str, None] = {}
    for device in devices:
        if backend.kind is BackendKind.CUDA and device.compute_capability is not None:
            own = found.cubins & cubins_that_run_on(device.compute_capability) | (
                found.specific & {device.compute_capability}
            )
            by = _spelt("sm", max(own)) if own else "kernels"
            served[f"{by} for {_called(device)}"] = None
        elif device.gfx is not None:
            served[f"kernels for {_called(device)}"] = None
    return f"{', '.join(served)}, by {evidence.remark}"


def _lacks_cubin(found: ArchitectureList, source: EvidenceSource, device: Device) -> bool:
    capability = device.compute_capability
    if capability is None:
        return False
    if source is EvidenceSource.TOOLKIT:
        if is_tegra(capability):
            return True
        if not in_toolkit_table(capability):
            return False
    return not found.cubins & cubins_that_run_on(capability) and capability not in found.specific


def _beside(found: ArchitectureList, device: Device) -> str:
    """What else is to be said of a device that is not served."""
    capability = device.compute_capability
    if capability is None:
        return _override(device)
    if is_tegra(capability):
        return "; this part of Jetson runs no code but its own"
    older = [ptx for ptx in found.ptx if ptx <= capability]
    if older:
        return f"; its PTX ({_spelt('compute', max(older))}) is not counted on, the libraries beside it have none"
    return ""


# Chips that run another one's code though AMD does not support it; HSA_OVERRIDE_GFX_VERSION is ROCm's own variable.
_STAND_INS = {"gfx103": ("gfx1030", "10.3.0"), "gfx110": ("gfx1100", "11.0.0")}


def _override(device: Device) -> str:
    gfx, version = _STAND_INS.get((device.gfx or "")[:6], ("", ""))
    if not gfx or device.gfx == gfx:
        return ""
    return f"; many run it with HSA_OVERRIDE_GFX_VERSION={version}, as {gfx}, which AMD does not support"


def _platform(name: WheelName) -> str | None:
    platforms = {tag.platform for tag in name.tags}
    if "win_amd64" in platforms:
        return "win_amd64"
    for arch in ("x86_64", "aarch64"):
        if any("linux" in platform and platform.endswith(arch) for platform in platforms):
            return f"linux_{arch}"
    return None


def _called(device: Device) -> str:
    kind = device.gfx or "compute capability {}.{}".format(*device.compute_capability or (0, 0))
    return f"{device.name} ({kind})" if device.name else kind


def _spelt(kind: str, capability: ComputeCapability) -> str:
    return f"{kind}_{capability[0]}{capability[1]}"


def jetson_advice(target: Target) -> str | None:
    """Say what serves a Jetson whose part official builds never had code for; None for every other machine."""
    tegra = target.accelerator is not None and target.accelerator.is_older_jetson
    return JETSON_ADVICE if tegra else None


def unknown_devices(target: Target) -> Iterable[str]:
    """Name the devices of which it is not known what code they run."""
    if target.accelerator is None:
        return ()
    return tuple(
        device.name or f"device {number}"
        for number, device in enumerate(target.accelerator.devices)
        if device.compute_capability is None and device.gfx is None
    )
