"""Targets that the selector's tests choose for."""

from __future__ import annotations

from packaging.version import Version

from pytorch_offline.target.markers import marker_environment
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Target
from pytorch_offline.target.platforms import parse_platform
from pytorch_offline.target.tags import cpython_target_tags


def machine(
    platform: str = "manylinux_2_35_x86_64", python: str = "3.10.12", accelerator: Accelerator | None = None
) -> Target:
    described = parse_platform(platform)
    major, minor = (int(part) for part in python.split(".")[:2])
    return Target(
        name="test-machine",
        marker_environment=marker_environment(python, described.markers()),
        tags=cpython_target_tags((major, minor), None, described.tags()),
        libc=described.libc,
        accelerator=accelerator,
    )


def nvidia(driver: str | None = None, cuda: str | None = None) -> Accelerator:
    return Accelerator(
        kind=AcceleratorKind.CUDA,
        driver=None if driver is None else Version(driver),
        cuda=None if cuda is None else Version(cuda),
    )


# Python 3.10.12, Ubuntu 22.04, an A100 with driver 470.82.01, in a container whose cuda-compat reports CUDA 12.2.
SEED = machine(accelerator=nvidia("470.82.01", "12.2"))
SEED_WITHOUT_COMPAT = machine(accelerator=nvidia("470.82.01"))
