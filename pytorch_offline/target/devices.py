"""Devices: what their names say where the machine itself did not."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.gpus import capability_of
from pytorch_offline.target.model import AcceleratorKind, Device

if TYPE_CHECKING:
    from pytorch_offline.target.model import Target


_ORIN = Device(name="Jetson Orin", compute_capability=(8, 7))
_ORIN_L4T = 36  # JetPack 6 runs on the Orin series alone (NVIDIA, JetPack 6 release notes)


def with_known_capabilities(target: Target) -> Target:
    """Fill in the devices' compute capabilities that a name, or Jetson's release, decides; ``learnt_from`` says so.

    Old drivers do not report them. A name that the table does not know leaves the capability unknown.
    """
    accelerator = target.accelerator
    if accelerator is None or accelerator.kind is not AcceleratorKind.CUDA:
        return target
    devices = list(accelerator.devices)
    learnt = dict(target.learnt_from)
    if not devices and accelerator.l4t is not None and accelerator.l4t.major == _ORIN_L4T:
        devices = [_ORIN]
        learnt["accelerator.devices"] = f"L4T R{_ORIN_L4T}, which runs on Orin alone"
    for index, device in enumerate(devices):
        if device.compute_capability is None and device.name and (capability := capability_of(device.name)):
            devices[index] = replace(device, compute_capability=capability)
            learnt[f"accelerator.devices[{index}].compute_capability"] = "the table of GPUs, by name"
    if tuple(devices) == accelerator.devices:
        return target
    return replace(
        target, accelerator=replace(accelerator, devices=tuple(devices)), learnt_from=MappingProxyType(learnt)
    )
