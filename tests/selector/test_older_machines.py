"""Older releases on the machines of their days, over every recorded torch wheel.

What is expected was derived by hand from cuda_driver.csv, gpu_arch.csv and torch_cuda.csv.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.backends import known_backends
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.recorded import PlacedOffers, recorded_index

if TYPE_CHECKING:
    from pathlib import Path

    from tests.selector.memory import MemoryIndex

BACKENDS = [parse_backend(text) for text in known_backends("stable")]


@pytest.fixture(scope="module")
def index(shared: Path) -> MemoryIndex:
    return recorded_index(shared)


def nvidia(distribution: str, python: str, driver: str, *gpus: str) -> TargetFlags:
    return TargetFlags(preset=distribution, python_version=python, driver=driver, gpus=gpus)


def windows(python: str, driver: str, *gpus: str) -> TargetFlags:
    return TargetFlags(platform="win_amd64", python_version=python, driver=driver, gpus=gpus)


def arm(
    python: str, driver: str | None = None, gpus: tuple[str, ...] = (), accelerator: str | None = None
) -> TargetFlags:
    return TargetFlags(
        platform="linux_aarch64",
        glibc="2.31",
        python_version=python,
        driver=driver,
        gpus=gpus,
        accelerator=accelerator,
    )


# Requirement, machine, release and backend; None where nothing serves it.
MACHINES = [
    ("torch", nvidia("ubuntu20.04", "3.7", "418.39", "Tesla K40"), "1.3.0 cu101"),
    ("torch", nvidia("ubuntu20.04", "3.7", "418.38", "Tesla K40"), "1.3.0 cu100"),
    ("torch==1.0.1", nvidia("ubuntu20.04", "3.7", "410.48", "Tesla K40"), "1.0.1 cu100"),
    ("torch==1.0.1", nvidia("ubuntu20.04", "3.7", "410.47", "Tesla K40"), "1.0.1 cu90"),
    ("torch==1.0.1", nvidia("ubuntu20.04", "3.7", "384.80", "Tesla K40"), "1.0.1 cu80"),
    ("torch==1.0.1", nvidia("ubuntu20.04", "3.7", "375.26", "Tesla K40"), "1.0.1 cu80"),
    ("torch==1.0.1", nvidia("ubuntu20.04", "3.7", "367.47", "Tesla K40"), None),
    ("torch", nvidia("ubuntu20.04", "3.6", "367.48", "Tesla K40"), "1.0.1 cu80"),
    ("torch", nvidia("ubuntu20.04", "3.6", "352.31", "GTX 980"), "0.3.0 cu75"),
    ("torch==0.4.0", nvidia("ubuntu20.04", "3.6", "390.46", "Tesla V100"), "0.4.0 cu91"),
    ("torch==0.4.0", nvidia("ubuntu20.04", "3.6", "390.45", "Tesla V100"), "0.4.0 cu90"),
    ("torch==1.2.0", nvidia("ubuntu20.04", "3.7", "396.26", "Tesla V100"), "1.2.0 cu92"),
    ("torch==1.4.0", nvidia("ubuntu20.04", "3.7", "440.33.01", "Tesla V100"), "1.4.0 cu101"),
    ("torch==1.5.0", nvidia("ubuntu20.04", "3.8", "440.33.01", "Tesla V100"), "1.5.0 cu102"),
    ("torch==1.5.0", nvidia("ubuntu20.04", "3.8", "440.32", "Tesla V100"), "1.5.0 cu101"),
    ("torch==1.7.1", nvidia("ubuntu20.04", "3.9", "450.51.05", "A100"), "1.7.1 cu110"),
    ("torch==1.10.2", nvidia("ubuntu20.04", "3.9", "455.23", "A100"), "1.10.2 cu111"),
    ("torch==1.10.2", nvidia("ubuntu20.04", "3.9", "465.19.01", "RTX 3090"), "1.10.2 cu113"),
    ("torch==1.10.2", nvidia("ubuntu20.04", "3.9", "440.33.01", "V100"), "1.10.2 cu102"),
    ("torch==1.10.2", TargetFlags(preset="ubuntu20.04", python_version="3.9", accelerator="none"), "1.10.2 cpu"),
    (
        "torch==1.10.2",
        arm("3.9", accelerator="none"),
        "1.10.2 cpu",
    ),
    (
        "torch==1.10.2",
        arm("3.9", driver="470.82.01", gpus=("A100",)),
        None,
    ),
    ("torch==1.10.2", TargetFlags(platform="macosx_11_0_arm64", python_version="3.9"), "1.10.2 cpu"),
    ("torch==1.10.2", TargetFlags(platform="win_amd64", python_version="3.9", accelerator="none"), "1.10.2 cpu"),
    ("torch==1.10.2", windows("3.9", "471.11", "RTX 3060"), "1.10.2 cu113"),
    ("torch==1.8.0", windows("3.8", "460.82", "RTX 3060"), "1.8.0 cu111"),
    ("torch", windows("3.6", "441.22", "GTX 1060"), "1.10.2 cu102"),
    ("torch", windows("3.6", "441.21", "GTX 1060"), "1.8.1 cu101"),
    ("torch", windows("3.6", "418.95", "GTX 1060"), "1.5.1 cu92"),
    ("torch", windows("3.6", "398.26", "GTX 1060"), "1.5.1 cu92"),
    ("torch", windows("3.6", "385.54", "GTX 1060"), "1.1.0 cu90"),
    ("torch", windows("3.6", "376.51", "GTX 1060"), "1.0.1 cu80"),
    ("torch", windows("3.6", "369.29", "GTX 1060"), None),
    ("torch", nvidia("ubuntu20.04", "3.8", "470.256.02", "Tesla K80", "Tesla P100"), "2.4.1 cu118"),
    ("torch==1.13.1", nvidia("ubuntu20.04", "3.10", "515.65.01", "Tesla K80"), "1.13.1 cu117"),
    ("torch==2.1.0", nvidia("ubuntu20.04", "3.10", "580.95.05", "Tesla K80"), "2.1.0 cu118"),
    ("torch==2.1.0", nvidia("ubuntu20.04", "3.10", "580.95.05", "Tesla P100"), "2.1.0 cu121"),
    ("torch==2.5.1", nvidia("ubuntu20.04", "3.10", "580.95.05", "GTX 970"), "2.5.1 cu124"),
    ("torch==2.8.0", nvidia("ubuntu20.04", "3.10", "580.95.05", "V100"), "2.8.0 cu129"),
    ("torch==2.7.1", nvidia("ubuntu20.04", "3.10", "580.95.05", "V100"), "2.7.1 cu126"),
    ("torch==2.11.0", nvidia("ubuntu20.04", "3.10", "580.95.05", "V100"), "2.11.0 cu126"),
    ("torch==2.11.0", nvidia("ubuntu20.04", "3.10", "580.95.05", "T4"), "2.11.0 cu130"),
    ("torch", TargetFlags(preset="centos:7", python_version="3.9", accelerator="xpu"), None),
    ("torch==2.1.0", TargetFlags(preset="ubuntu22.04", python_version="3.10", gfx=("gfx90a",)), "2.1.0 rocm5.6"),
    ("torch==1.8.1", TargetFlags(preset="ubuntu20.04", python_version="3.8", gfx=("gfx906",)), "1.8.1 rocm4.0.1"),
    ("torch==2.10.0", TargetFlags(preset="ubuntu22.04", python_version="3.10", gfx=("gfx950",)), "2.10.0 rocm7.1"),
    ("torch==2.9.1", TargetFlags(preset="ubuntu22.04", python_version="3.10", gfx=("gfx950",)), None),
    ("torch", TargetFlags(platform="macosx_12_0_arm64", python_version="3.8"), "2.4.1 cpu"),
]


@pytest.mark.parametrize(("requirement", "flags", "expected"), MACHINES)
def test_what_an_older_machine_gets(
    index: MemoryIndex, requirement: str, flags: TargetFlags, expected: str | None
) -> None:
    target = with_known_capabilities(build_target(flags))
    request = Request(requirements=(Requirement(requirement),), no_deps=True)
    try:
        selection = select(request, target, PlacedOffers(index, target), BACKENDS)
    except UnsatisfiableError:
        assert expected is None
    else:
        (choice,) = selection.choices
        assert f"{choice.candidate.version.base_version} {selection.backend}" == expected
