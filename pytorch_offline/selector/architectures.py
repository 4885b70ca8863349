"""Does a torch build have native code for every device of the target?

No torch wheel since 2.8 carries PTX that a newer device could compile, so a device needs a cubin of its own kind or the
build is of no use there: "no kernel image is available" is what a GTX 1080 Ti says to a CUDA 13 build, however new its
driver is (research/selectors.md, sections 5 and 6, rule 3). What is not known, of the build or of the device, forbids
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.knowledge.architectures import cubins_that_run_on, find_cubins, find_gfx_targets
from pytorch_offline.wheels.backend import BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.target.model import Device, Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.filename import WheelName


def unserved_device(name: WheelName, backend: Backend | None, target: Target) -> str | None:
    """Say for which device a torch wheel has no native code, and what it has; None if no device is known to lack it."""
    if name.project != "torch" or backend is None or target.accelerator is None:
        return None
    for device in target.accelerator.devices:
        reason = (
            _cuda_reason(name, backend, device) if backend.kind is BackendKind.CUDA else _rocm_reason(backend, device)
        )
        if reason is not None:
            return reason
    return None


def _cuda_reason(name: WheelName, backend: Backend, device: Device) -> str | None:
    platform = _platform(name)
    if device.compute_capability is None or platform is None:
        return None
    cubins = find_cubins(name.version.__replace__(local=None), platform, str(backend))
    if cubins is None or cubins & cubins_that_run_on(device.compute_capability):
        return None
    capability = "{}.{}".format(*device.compute_capability)
    return f"no kernels for {_called(device, f'compute capability {capability}')}: it has {_listed(cubins)}"


def _rocm_reason(backend: Backend, device: Device) -> str | None:
    built = find_gfx_targets(str(backend))
    if device.gfx is None or built is None or device.gfx in built:
        return None
    return f"no kernels for {_called(device, device.gfx)}: it has {', '.join(sorted(built))}"


def _platform(name: WheelName) -> str | None:
    platforms = {tag.platform for tag in name.tags}
    if "win_amd64" in platforms:
        return "win_amd64"
    for arch in ("x86_64", "aarch64"):
        if any("linux" in platform and platform.endswith(arch) for platform in platforms):
            return f"linux_{arch}"
    return None


def _called(device: Device, kind: str) -> str:
    return f"{device.name} ({kind})" if device.name else kind


def _listed(cubins: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in sorted(cubins))
