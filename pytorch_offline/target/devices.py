"""Devices: what their names say where the machine itself did not."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.gpus import capability_of
from pytorch_offline.target.model import AcceleratorKind

if TYPE_CHECKING:
    from pytorch_offline.target.model import Target


def with_known_capabilities(target: Target) -> Target:
    """Fill in the compute capabilities that old drivers do not report, by product name, and say so in ``learnt_from``.

    A name that the table does not know leaves the capability unknown.
    """
    accelerator = target.accelerator
    if accelerator is None or accelerator.kind is not AcceleratorKind.CUDA:
        return target
    devices = list(accelerator.devices)
    learnt = dict(target.learnt_from)
    for index, device in enumerate(devices):
        if device.compute_capability is None and device.name and (capability := capability_of(device.name)):
            devices[index] = replace(device, compute_capability=capability)
            learnt[f"accelerator.devices[{index}].compute_capability"] = "the table of GPUs, by name"
    if tuple(devices) == accelerator.devices:
        return target
    return replace(
        target, accelerator=replace(accelerator, devices=tuple(devices)), learnt_from=MappingProxyType(learnt)
    )
