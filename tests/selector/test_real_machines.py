"""Machines that people have, described as they would describe them, and the torch that each can run.

What is expected was reasoned from research/selectors.md (section 6) and NVIDIA's, AMD's and PyTorch's documents, not
taken from what came out. The index is every recorded torch wheel, and what the table of releases says of 2.12 to 2.15.
"""

from __future__ import annotations

from dataclasses import replace
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
from tests.selector.recorded import PlacedOffers, described_index

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target
    from tests.selector.memory import MemoryIndex

BACKENDS = [parse_backend(text) for text in known_backends("stable")]


@pytest.fixture(scope="module")
def index(shared: Path) -> MemoryIndex:
    return described_index(shared)


def linux(distribution: str, python: str, **fields: object) -> TargetFlags:
    return TargetFlags(preset=distribution, python_version=python, **fields)  # type: ignore[arg-type]


def nvidia(distribution: str, python: str, driver: str | None, *gpus: str, cuda: str | None = None) -> TargetFlags:
    return linux(distribution, python, driver=driver, cuda=cuda, gpus=gpus)


def arm(glibc: str, python: str, driver: str | None, *gpus: str, cuda: str | None = None) -> TargetFlags:
    return TargetFlags(
        platform="linux_aarch64", glibc=glibc, python_version=python, driver=driver, cuda=cuda, gpus=gpus
    )


def windows(python: str, driver: str, *gpus: str, cuda: str | None = None) -> TargetFlags:
    return TargetFlags(platform="win_amd64", python_version=python, driver=driver, cuda=cuda, gpus=gpus)


def mac(platform: str, python: str) -> TargetFlags:
    return TargetFlags(platform=platform, python_version=python)


def wsl(target: Target) -> Target:
    assert target.accelerator is not None
    return replace(target, accelerator=replace(target.accelerator, driver_system="Windows"))


def choose(index: MemoryIndex, target: Target, requirement: str = "torch") -> Selection:
    request = Request(requirements=(Requirement(requirement),), no_deps=True)
    return select(request, target, PlacedOffers(index, target), BACKENDS)


def told(selection: Selection) -> str:
    (choice,) = selection.choices
    return f"{choice.candidate.version.base_version} {selection.backend}"


MACHINES = [
    # Laptops and desktops with Linux. CUDA 12 needs 525.60.13, CUDA 13 needs 580.
    (nvidia("ubuntu20.04", "3.8", "470.256.02", "GTX 850M"), "2.4.1 cu118"),  # Python 3.8 ends with 2.4
    (nvidia("ubuntu22.04", "3.10", "535.183.01", "GTX 960M"), "2.14.1 cu126"),
    (nvidia("debian12", "3.11", "535.183.01", "GTX 1080 Ti"), "2.14.1 cu126"),
    (nvidia("debian12", "3.11", "525.147.05", "RTX 2060"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "550.120", "RTX 3060 Laptop GPU"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "570.195.03", "RTX 4090"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "RTX 4090"), "2.15.0 cu130"),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "TITAN X (Pascal)"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "GTX TITAN X"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "570.124.06", "RTX 5090"), "2.13.0 cu129"),  # cu126 knows no Blackwell
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "RTX 5090"), "2.15.0 cu130"),
    (nvidia("fedora:41", "3.13", "595.71.05", "RTX 5090"), "2.15.0 cu132"),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "RTX PRO 6000 Blackwell Workstation Edition"), "2.15.0 cu130"),
    # Servers. Kepler ends with the 470 branch, and with cu118.
    (nvidia("ubuntu20.04", "3.8", "470.82.01", "Tesla K80"), "2.4.1 cu118"),
    (nvidia("ubuntu22.04", "3.10", "470.82.01", "Tesla K80"), "2.7.1 cu118"),
    (nvidia("ubuntu22.04", "3.10", "470.82.01", "Tesla P100"), "2.7.1 cu118"),
    (nvidia("rockylinux:8", "3.9", "450.80.02", "V100"), "2.7.1 cu118"),
    (nvidia("ubuntu22.04", "3.10", "580.95.05", "V100"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "570.124.06", "V100", "RTX 5090"), "2.10.0 cu128"),
    # Between 11.0's own driver and the floor of the major; glibc 2.27 takes what was built on CentOS 7.
    (nvidia("ubuntu18.04", "3.6", "450.51.06", "T4"), "1.10.2 cu102"),
    (nvidia("ubuntu20.04", "3.8", "450.80.02", "A100"), "2.4.1 cu118"),
    (nvidia("ubuntu22.04", "3.11", "520.61.05", "H100"), "2.7.1 cu118"),
    (nvidia("ubuntu22.04", "3.12", "535.183.06", "H100"), "2.14.1 cu126"),
    (nvidia("ubuntu24.04", "3.12", "570.124.06", "B200"), "2.13.0 cu129"),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "B300"), "2.15.0 cu130"),  # 10.3 runs the code of 10.0
    # Containers with cuda-compat: data centres on the branches that it accepts; never GeForce.
    (nvidia("ubuntu22.04", "3.12", "470.82.01", "A10", cuda="12.6"), "2.14.1 cu126"),
    (nvidia("ubuntu22.04", "3.12", "535.183.06", "A100", cuda="13.0"), "2.15.0 cu130"),
    (nvidia("ubuntu22.04", "3.12", "470.82.01", "A100", cuda="13.0"), "2.7.1 cu118"),  # 13.0 takes no 470
    (nvidia("ubuntu22.04", "3.12", "545.23.08", "A100", cuda="13.0"), "2.14.1 cu126"),  # nor 545
    (nvidia("ubuntu22.04", "3.10", "470.82.01", "RTX 3090", cuda="12.2"), "2.7.1 cu118"),
    (nvidia("ubuntu22.04", "3.12", "535.183.06", "RTX 4090", cuda="13.0"), "2.14.1 cu126"),
    (nvidia("ubuntu22.04", "3.12", "535.183.06", "RTX A6000", cuda="13.0"), "2.15.0 cu130"),
    (nvidia("ubuntu22.04", "3.12", "580.95.05", "A100", cuda="12.2"), "2.15.0 cu130"),  # error 803 until it is gone
    # aarch64: 8.0 and 9.0 from cu126 on, Blackwell, Thor (11.0) and GB10 (12.1) with CUDA 13.
    (arm("2.35", "3.12", "560.35.05", "GH200"), "2.14.1 cu126"),
    (arm("2.35", "3.12", "580.95.05", "GH200"), "2.15.0 cu130"),
    (arm("2.39", "3.12", "570.124.06", "GB200"), "2.11.0 cu128"),
    (arm("2.39", "3.12", "580.142", "GB10"), "2.15.0 cu130"),
    (arm("2.39", "3.12", "580.00", "Jetson AGX Thor", cuda="13.0"), "2.15.0 cu130"),
    # Windows has floors of its own: 452.39, 528.33, 580; nvidia-smi shows the driver's own CUDA there.
    (windows("3.8", "452.39", "GTX 1650"), "2.4.1 cu118"),
    (windows("3.8", "452.38", "GTX 1650"), "1.10.2 cu102"),
    (windows("3.11", "528.32", "RTX 3060 Laptop GPU"), "2.7.1 cu118"),
    (windows("3.11", "528.33", "RTX 3060 Laptop GPU"), "2.14.1 cu126"),
    (windows("3.11", "560.94", "RTX 4060 Laptop GPU", cuda="12.6"), "2.14.1 cu126"),
    (windows("3.12", "581.42", "RTX 5080", cuda="13.0"), "2.15.0 cu130"),
    (windows("3.12", "581.42", "RTX 5080"), "2.15.0 cu130"),
    (windows("3.12", "595.97", "RTX 5080", cuda="13.2"), "2.15.0 cu132"),
    (windows("3.6", "474.44", "GTX 780"), "1.2.0 cu100"),
    # AMD: the newest ROCm that has code for the chip.
    (linux("ubuntu22.04", "3.10", gfx=("gfx908",)), "2.12.1 rocm7.2"),
    (linux("rockylinux:9", "3.12", gfx=("gfx90a",)), "2.12.1 rocm7.2"),
    (linux("ubuntu24.04", "3.12", gfx=("gfx942",)), "2.12.1 rocm7.2"),
    (linux("ubuntu24.04", "3.12", gfx=("gfx1100",)), "2.12.1 rocm7.2"),
    (linux("ubuntu24.04", "3.12", gfx=("gfx1151",)), "2.12.1 rocm7.2"),
    (linux("ubuntu24.04", "3.12", gfx=("gfx906", "gfx1100")), "2.12.1 rocm7.2"),
    # Intel, on Linux and Windows.
    (linux("ubuntu24.04", "3.13", accelerator="xpu"), "2.13.0 xpu"),
    (TargetFlags(platform="win_amd64", python_version="3.12", accelerator="xpu"), "2.12.0 xpu"),
    # Apple: x86_64 ends with 2.2.2, arm64 before macOS 14 with 2.11.
    (mac("macosx_13_0_x86_64", "3.11"), "2.2.2 cpu"),
    (mac("macosx_10_15_x86_64", "3.8"), "2.2.2 cpu"),
    (mac("macosx_14_0_arm64", "3.13"), "2.15.0 cpu"),
    (mac("macosx_13_0_arm64", "3.12"), "2.11.0 cpu"),
    # No GPU: the C library and the Python decide.
    (TargetFlags(platform="win_arm64", python_version="3.12", accelerator="none"), "2.15.0 cpu"),
    (linux("centos:7", "3.9", accelerator="none"), "2.6.0 cpu"),  # the last that was built there
    (linux("ubuntu18.04", "3.8", accelerator="none"), "2.4.1 cpu"),
    (nvidia("amazonlinux:2", "3.10", "550.54.14", "T4"), "2.6.0 cu124"),
    (linux("debian:13", "3.13", accelerator="none"), "2.15.0 cpu"),
    (linux("rockylinux:8", "3.10", accelerator="none"), "2.14.1 cpu"),  # 2.15 needs Python 3.11
    (linux("rockylinux:8", "3.9", accelerator="none"), "2.8.0 cpu"),
    (linux("ubuntu20.04", "3.7", accelerator="none"), "1.13.1 cpu"),
    (linux("ubuntu18.04", "3.6", accelerator="none"), "1.10.1 cpu"),  # 1.10.2+cpu lies at the root, on no page
]


def named(flags: TargetFlags) -> str:
    parts = (flags.preset or flags.platform, flags.python_version, flags.driver, flags.cuda, *flags.gpus, *flags.gfx)
    return " ".join(part for part in parts if part)


@pytest.mark.parametrize(("flags", "expected"), MACHINES, ids=[named(flags) for flags, _ in MACHINES])
def test_what_a_machine_gets(index: MemoryIndex, flags: TargetFlags, expected: str) -> None:
    assert told(choose(index, with_known_capabilities(build_target(flags)))) == expected


REFUSED = [
    # Tegra parts take only their own code, which official wheels never had.
    (arm("2.27", "3.6", None, "Jetson Nano", cuda="10.2"), ("JetPack",)),
    # No build for aarch64 and Python 3.8 is for CUDA 11, so there is no kernel list to speak of.
    (arm("2.31", "3.8", None, "Jetson AGX Xavier", cuda="11.4"), ("JetPack",)),
    (arm("2.35", "3.10", None, "Orin (nvgpu)", cuda="12.6"), ("8.7", "JetPack", "--backend cpu")),
    (arm("2.39", "3.12", None, "Jetson AGX Orin", cuda="13.0"), ("8.7", "JetPack")),
    # A Turing in an aarch64 cloud: no aarch64 wheel has code for it.
    (arm("2.35", "3.12", "580.95.05", "T4G"), ("T4G (compute capability 7.5)",)),
    (nvidia("ubuntu24.04", "3.12", "580.95.05", "GTX 1080 Ti", "RTX 5090"), ("GTX 1080 Ti",)),
    (linux("ubuntu24.04", "3.12", gfx=("gfx803",)), ("gfx803",)),
    (linux("ubuntu24.04", "3.12", gfx=("gfx1031",)), ("HSA_OVERRIDE_GFX_VERSION=10.3.0",)),
    (TargetFlags(platform="musllinux_1_2_x86_64", python_version="3.11", accelerator="none"), ("musl 1.2", "Debian")),
    (mac("macosx_14_0_x86_64", "3.13"), ("macos",)),
    (windows("3.12", "340.62", "GTX 780"), ("cu118", "452.39")),
]


@pytest.mark.parametrize(("flags", "words"), REFUSED, ids=[named(flags) for flags, _ in REFUSED])
def test_what_a_machine_is_refused_with(index: MemoryIndex, flags: TargetFlags, words: tuple[str, ...]) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        choose(index, with_known_capabilities(build_target(flags)))
    message = f"{caught.value.message} {caught.value.facts} {caught.value.hint}"
    assert all(word.lower() in message.lower() for word in words), message


def test_wsl_has_windows_numbers(index: MemoryIndex) -> None:
    """526.98 is above the floor of CUDA 12 for Linux, and below that for Windows."""
    target = build_target(nvidia("ubuntu22.04", "3.10", "526.98", "RTX 3090"))
    assert told(choose(index, target)) == "2.14.1 cu126"
    assert told(choose(index, wsl(target))) == "2.7.1 cu118"


@pytest.mark.parametrize(
    ("cuda", "expected"), [("12.2", "2.4.0 cu121"), (None, "2.4.0 cu118"), ("11.4", "2.4.0 cu118")]
)
def test_the_seed_machine(index: MemoryIndex, cuda: str | None, expected: str) -> None:
    flags = nvidia("nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04", "3.10.12", "470.82.01", "A100", cuda=cuda)
    assert told(choose(index, build_target(flags), "torch==2.4.0")) == expected
