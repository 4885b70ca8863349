"""Machines as their owners describe them, through the command line, over the recorded pages of 2026-03-15.

What is expected was derived from research/selectors.md (section 6) and the tables of facts; where a recorded directory
ends early, it is the newest that is recorded: cu118 ends with torch 2.4.1 there, cpu with 2.7.0, rocm6.4 with 2.9.1,
the CUDA 12 and 13 builds with 2.10.0; of cu102 and older only cu100, cu90 and cu75 were kept.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import run
from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from pathlib import Path

RECORDED_ON = "2026-03-15"
BEGINNINGS = {
    "LINUX": "--preset ubuntu22.04 --python-version 3.10",
    "LINUX38": "--preset ubuntu22.04 --python-version 3.8",
    "WINDOWS": "--platform win_amd64 --python-version 3.10",
    "WINDOWS38": "--platform win_amd64 --python-version 3.8",
    "X86": "--platform linux_x86_64",
    "ARM": "--platform linux_aarch64 --glibc 2.35 --python-version 3.10",
}

# Requirement, machine, and torch's version; or the exit code, and a word of the refusal.
MACHINES = [
    # User-mode CUDA: cuda-compat by class and branch; a driver that is not known; numbers that contradict.
    ("torch==2.4.0", 'LINUX --driver 470.82.01 --cuda 12.2 --gpu "A100"', "2.4.0+cu121"),
    ("torch==2.4.0", 'LINUX --driver 470.82.01 --cuda 12.2 --gpu "GeForce RTX 3090"', "2.4.0+cu118"),
    ("torch==2.4.0", 'LINUX --driver 470.82.01 --cuda 11.4 --gpu "A100"', "2.4.0+cu118"),
    ("torch", 'LINUX --driver 470.82.01 --cuda 12.6 --gpu "A10"', "2.10.0+cu126"),
    ("torch", 'LINUX --driver 545.23.08 --cuda 12.8 --gpu "A100"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 555.42.06 --cuda 13.0 --gpu "A100"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 535.183.06 --cuda 13.0 --gpu "A100"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 550.54.14 --cuda 13.0 --gpu "H100"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 570.124.06 --cuda 13.0 --gpu "T4"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 570.124.06 --cuda 13.0 --gpu "GeForce RTX 4090"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 470.82.01 --cuda 13.0 --gpu "A100"', "2.4.1+cu118"),
    ("torch", 'LINUX --driver 580.95.05 --cuda 12.4 --gpu "A100"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 418.226.00 --cuda 11.8 --gpu "V100"', "exit 5"),
    ("torch", 'LINUX --driver 535.183.06 --cuda 12.2 --gpu "A100"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 535.183.06 --cuda 13.0 --gpu "RTX A6000"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 535.183.06 --cuda 13.0 --gpu "TITAN RTX"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 550.54.14 --cuda 12.8 --gpu "L4"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 550.54.14 --cuda 12.8 --gpu "L40S"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 535.183.06 --cuda 13.0 --gpu A100 --gpu "GeForce RTX 4090"', "2.10.0+cu129"),
    ("torch", "WINDOWS --driver 528.33 --cuda 13.0 --gpu A100", "2.10.0+cu128"),
    ("torch", "LINUX --cuda 12.4 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --cuda 13.0 --gpu A100", "2.10.0+cu130"),
    ("torch", "LINUX --cuda 11.8 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --cuda 11.4 --gpu A100", "2.4.1+cu118"),
    ("torch==2.4.0", "LINUX --cuda 12.2 --gpu A100", "2.4.0+cu121"),
    # A requirement narrows what there is; then the newest, what the driver covers, what it can run.
    ("torch==2.4.0", 'LINUX --driver 470.82.01 --gpu "A100"', "2.4.0+cu118"),
    ("torch==2.4.0", "LINUX --driver 550.54.14 --gpu A100", "2.4.0+cu124"),
    ("torch==2.4.0", "LINUX --driver 550.54.13 --gpu A100", "2.4.0+cu121"),
    ("torch==2.4.0", "LINUX --driver 530.30.02 --gpu A100", "2.4.0+cu121"),
    ("torch==2.4.0", "LINUX --driver 525.60.12 --gpu A100", "2.4.0+cu118"),
    ("torch==2.6.0", "LINUX --driver 560.28.03 --gpu A100", "2.6.0+cu126"),
    ("torch==2.6.0", "LINUX --driver 560.28.02 --gpu A100", "2.6.0+cu124"),
    ("torch==1.13.1", "LINUX --driver 515.43.04 --gpu A100", "1.13.1+cu117"),
    ("torch==1.13.1", "LINUX --driver 510.39.01 --gpu A100", "1.13.1+cu116"),
    ("torch==1.13.1", "LINUX --driver 510.39.00 --gpu A100", "1.13.1+cu117"),
    ("torch==1.11.0", "LINUX --driver 495.29.05 --gpu A100", "1.11.0+cu115"),
    ("torch==1.11.0", "LINUX --driver 495.29.04 --gpu A100", "1.11.0+cu113"),
    ("torch==1.11.0", "LINUX --driver 465.19.00 --gpu A100", "1.11.0+cu115"),
    ("torch==2.7.0", "LINUX --driver 450.80.01 --gpu A100", "exit 5"),
    ("torch==2.6.0", 'LINUX --driver 595.71.05 --gpu "RTX 5090"', "exit 5"),
    ("torch==1.13.1", 'LINUX --driver 580.95.05 --gpu "H100"', "exit 5"),
    ("torch==1.13.1", 'LINUX --driver 580.95.05 --gpu "L40S"', "1.13.1+cu117"),
    ("torch==1.10.2", "--platform win_amd64 --python-version 3.9 --accelerator none", "1.10.2+cpu"),
    ("torch==1.10.2", '--platform win_amd64 --python-version 3.9 --driver 560.94 --gpu "RTX 3060"', "1.10.2+cu113"),
    ("torch==1.12.1", 'LINUX --driver 580.95.05 --gpu "A100"', "1.12.1+cu116"),
    ("torch==1.7.1", 'LINUX38 --driver 580.95.05 --gpu "A100"', "1.7.1+cu110"),
    ("torch==1.8.1", 'LINUX38 --driver 580.95.05 --gpu "RTX 3090"', "1.8.1+cu111"),
    ("torch==2.4.0+cu121", 'LINUX --driver 470.82.01 --gpu "RTX 3090"', "exit 5"),
    ("torch==2.4.0+cpu", 'LINUX --driver 535.183.06 --gpu "A100"', "2.4.0+cpu"),
    ("torch==2.9.*", 'LINUX --driver 580.95.05 --gpu "GTX 1080"', "2.9.1+cu126"),
    ("torch==99", 'LINUX --driver 580.95.05 --gpu "A100"', "exit 5"),
    ("torch===2.4.0+cu118", 'LINUX --driver 535.183.06 --gpu "A100"', "2.4.0+cu118"),
    # The driver: toolkit drivers, and the floors of the majors, on both sides.
    ("torch", "LINUX --driver 580.65.06 --gpu A100", "2.10.0+cu130"),
    ("torch", "LINUX --driver 580.00 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --driver 579.99 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --driver 575.51.03 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --driver 575.51.02 --gpu A100", "2.10.0+cu128"),
    ("torch", "LINUX --driver 570.25 --gpu A100", "2.10.0+cu126"),
    ("torch", "LINUX --driver 560.28.03 --gpu A100", "2.10.0+cu126"),
    ("torch", "LINUX --driver 560.28.02 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --driver 545.23.06 --gpu A100", "2.10.0+cu129"),
    ("torch", "LINUX --driver 525.60.12 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --driver 520.61.05 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --driver 520.61.04 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --driver 450.80.02 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --driver 595.45.04 --gpu A100", "2.10.0+cu130"),
    ("torch", "LINUX --driver 610.43.02 --gpu A100", "2.10.0+cu130"),
    ("torch", "LINUX38 --driver 450.80.01 --gpu A100", "1.7.1+cu110"),
    ("torch", "LINUX38 --driver 450.51.05 --gpu A100", "1.7.1+cu110"),
    ("torch", "LINUX38 --driver 450.80.02 --gpu A100", "2.4.1+cu118"),
    ("torch", "LINUX --driver N/A --gpu A100", "exit 2"),
    # Windows has driver numbers of its own.
    ("torch", 'WINDOWS --driver 580.88 --gpu "GeForce RTX 3060"', "2.10.0+cu130"),
    ("torch", 'WINDOWS --driver 580.00 --gpu "GeForce RTX 3060"', "2.10.0+cu130"),
    ("torch", 'WINDOWS --driver 570.65 --gpu "GeForce RTX 3060"', "2.10.0+cu128"),
    ("torch", 'WINDOWS --driver 570.64 --gpu "GeForce RTX 3060"', "2.10.0+cu126"),
    ("torch", 'WINDOWS --driver 560.76 --gpu "GeForce RTX 3060"', "2.10.0+cu126"),
    ("torch", 'WINDOWS --driver 560.75 --gpu "GeForce RTX 3060"', "2.10.0+cu128"),
    ("torch", 'WINDOWS --driver 528.32 --gpu "GeForce RTX 3060"', "2.4.1+cu118"),
    ("torch", 'WINDOWS --driver 527.41 --gpu "GeForce RTX 3060"', "2.4.1+cu118"),
    ("torch", 'WINDOWS --driver 452.39 --gpu "GeForce RTX 3060"', "2.4.1+cu118"),
    ("torch", 'WINDOWS --driver 452.38 --gpu "GeForce RTX 3060"', "exit 5"),
    ("torch==2.4.0", 'WINDOWS --driver 551.61 --gpu "GeForce RTX 3060"', "2.4.0+cu124"),
    ("torch==2.4.0", 'WINDOWS --driver 551.60 --gpu "GeForce RTX 3060"', "2.4.0+cu121"),
    ("torch==2.8.0", 'WINDOWS --driver 576.01 --gpu "GeForce RTX 3060"', "2.8.0+cu128"),
    # Devices: every one has to be served.
    ("torch", "LINUX --accelerator cuda", "exit 2"),
    ("torch", "LINUX --driver 580.95.05", "2.10.0+cu130"),
    ("torch", "LINUX", "2.7.0+cpu"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "NVIDIA A100-SXM4-40GB MIG 1g.5gb"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GRID V100D-8Q"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "NVIDIA A100-PCI..."', "exit 2"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "NVIDIA H100 80GB HBM3"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "Tesla T4"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GRID P40-24Q"', "2.10.0+cu126"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GeForce GTX 108..."', "exit 2"),
    ("torch", 'LINUX --driver 470.82.01 --gpu "Tesla K80" --gpu "Tesla V100"', "2.4.1+cu118"),
    ("torch", 'LINUX --driver 525.60.13 --gpu "Tesla K80"', "2.4.1+cu118"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GTX 1080 Ti" --gpu "RTX 5090"', "exit 5"),
    ("torch", 'LINUX --driver 525.60.12 --gpu "GTX 750 Ti"', "2.4.1+cu118"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "Tesla V100"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 535.183.06 --gpu "V100" --gpu "H100"', "2.10.0+cu129"),
    ("torch", 'LINUX --driver 570.124.06 --gpu "V100" --gpu "RTX 5090"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GTX 1080 Ti" --gpu "T4"', "2.10.0+cu126"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "T4" --gpu "T4"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 565.57.01 --gpu "RTX 5090"', "exit 5 driver 570"),
    ("torch", 'LINUX --driver 570.124.06 --gpu "RTX 5090"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 570.124.06 --gpu "B200"', "2.10.0+cu128"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "B300"', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 550.54.14 --gpu "RTX 2080 Ti" --gpu "Tesla P40" --gpu "A100"', "2.10.0+cu126"),
    ("torch", 'LINUX --driver 470.82.01 --gpu "K80" --gpu "A100"', "2.4.1+cu118"),
    ("torch", "--platform win_amd64 --python-version 3.10", "2.7.0+cpu"),
    # Devices by compute capability; one that no toolkit knows is refused.
    ("torch", "LINUX --driver 580.95.05 --compute-capability 8.6", "2.10.0+cu130"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 12.0", "2.10.0+cu130"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 13.0", "exit 5"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 3.7", "2.4.1+cu118"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 7.0", "2.10.0+cu129"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 3.5", "exit 5"),
    ("torch", "LINUX --driver 580.95.05 --compute-capability 8.7", "exit 5"),
    # aarch64: servers, Thor and GB10; a Jetson before Thor runs no code but its own.
    ("torch", 'ARM --driver 550.54.14 --gpu "GH200"', "2.10.0+cu129"),
    ("torch", 'ARM --driver 580.00 --gpu "Jetson AGX Thor"', "2.10.0+cu130"),
    ("torch", 'ARM --driver 580.95.05 --gpu "T4G"', "exit 5"),
    ("torch", 'ARM --driver 580.95.05 --gpu "A100"', "2.10.0+cu130"),
    ("torch==2.5.1", 'ARM --driver 550.54.14 --gpu "GH200"', "2.5.1"),
    ("torch==2.3.0", 'ARM --driver 550.54.14 --gpu "GH200"', "exit 5"),
    ("torch", 'ARM --driver 580.95.05 --gpu "GB300"', "2.10.0+cu130"),
    ("torch", 'ARM --cuda 12.6 --gpu "Orin (nvgpu)"', "exit 5 JetPack"),
    ("torch", 'ARM --gpu "Jetson Nano"', "exit 5 JetPack"),
    ("torch", 'ARM --cuda 11.4 --gpu "Jetson AGX Xavier"', "exit 5 JetPack"),
    ("torch", 'ARM --gpu "Jetson TX2"', "exit 5 JetPack"),
    ("torch", 'ARM --cuda 12.6 --gpu "Orin (nvgpu)" --backend cpu', "2.7.0+cpu"),
    ("torch", "ARM --accelerator none", "2.7.0+cpu"),
    ("torch==2.4.0", "ARM --accelerator none", "2.4.0"),
    # AMD: the newest ROCm recorded that has code for every chip.
    ("torch", "LINUX --gfx gfx90a", "2.9.1+rocm6.4"),
    ("torch", "LINUX --gfx gfx942", "2.9.1+rocm6.4"),
    ("torch", "LINUX --gfx gfx908", "2.9.1+rocm6.4"),
    ("torch", "LINUX --gfx gfx1201", "2.9.1+rocm6.4"),
    ("torch", "LINUX --gfx gfx1151", "exit 5 gfx1151"),
    ("torch", "LINUX --gfx gfx1031", "exit 5 HSA_OVERRIDE"),
    ("torch", "LINUX --gfx gfx90a --gfx gfx1100", "2.9.1+rocm6.4"),
    ("torch==2.5.1", "LINUX --gfx gfx1200", "exit 5"),
    ("torch==2.3.0", "LINUX --gfx gfx1100", "2.3.0+rocm6.0"),
    ("torch", "WINDOWS --gfx gfx1100", "exit 5"),
    ("torch", "LINUX --gfx gfx90a:sramecc+:xnack-", "2.9.1+rocm6.4"),
    ("torch", "ARM --gfx gfx90a", "exit 5"),
    # Apple, and Windows on arm64.
    ("torch", "--platform macosx_14_0_arm64 --python-version 3.12", "2.7.0"),
    ("torch", "--platform macosx_10_9_x86_64 --python-version 3.8", "2.2.2"),
    ("torch", "--platform macosx_13_0_x86_64 --python-version 3.12", "2.2.2"),
    ("torch", "--platform macosx_14_0_arm64 --python-version 3.14", "exit 5"),
    ("torch", "--platform macosx_14_0_arm64 --python-version 3.15", "exit 5"),
    ("torch", "--platform win_arm64 --python-version 3.12", "2.7.0+cpu"),
    ("torch", "--platform win_arm64 --python-version 3.10", "exit 5"),
    ("torch", "--platform macosx_12_0_arm64 --python-version 3.9", "2.7.0"),
    ("torch==1.10.2", "--platform macosx_12_0_x86_64 --python-version 3.9", "1.10.2"),
    ("torch", "--platform macosx_14_0_arm64 --python-version 3.12 --backend cu126", "exit 5"),
    # The C library and the Python decide.
    (
        "torch==1.10.2",
        "X86 --glibc 2.31 --python-version 3.9 --driver 455.32 --gpu A100",
        "1.10.2+cu111",
    ),
    ("torch", "X86 --glibc 2.12 --python-version 3.6 --accelerator none", "0.3.1"),
    ("torch", "X86 --glibc 2.16 --python-version 3.9 --accelerator none", "exit 5 glibc"),
    ("torch", "X86 --glibc 2.27 --python-version 3.10 --accelerator none", "2.6.0+cpu"),
    ("torch", "X86 --glibc 2.31 --python-version 3.10 --accelerator none", "2.7.0+cpu"),
    ("torch", "X86 --glibc 2.27 --python-version 3.13 --accelerator none", "2.6.0+cpu"),
    ("torch", "X86 --glibc 2.26 --python-version 3.10 --driver 550.54.14 --gpu T4", "2.6.0+cu124"),
    ("torch", "X86 --glibc 2.27 --python-version 3.10 --driver 525.60.12 --gpu T4", "2.4.1+cu118"),
    ("torch", "X86 --glibc 2.27 --python-version 3.10 --driver 450.80.02 --gpu T4", "2.4.1+cu118"),
    ("torch>=2.7", "X86 --glibc 2.27 --python-version 3.10 --accelerator none", "exit 5"),
    ("torch", "--platform musllinux_1_2_x86_64 --python-version 3.10 --accelerator none", "exit 5 musl"),
    ("torch", "--preset alpine --python-version 3.12 --accelerator none", "exit 5 musl"),
    ("torch", "--preset rhel:8 --python-version 3.12 --accelerator none", "2.7.0+cpu"),
    ("torch", "--preset ubuntu:26.04 --python-version 3.14 --accelerator none", "exit 5"),
    ("torch", "X86 --glibc 2.35 --python-version 3.6 --accelerator none", "1.10.2+cpu"),
    ("torch", "X86 --glibc 2.35 --python-version 3.8 --accelerator none", "2.4.1+cpu"),
    ("torch", "X86 --glibc 2.35 --python-version 3.14 --accelerator none", "exit 5"),
    ("torch", "X86 --glibc 2.35 --python-version 3.15 --accelerator none", "exit 5"),
    (
        "torch",
        "X86 --glibc 2.35 --python-version 3.14 --free-threaded --accelerator none",
        "exit 5",
    ),
    ("torch", "X86 --glibc 2.35 --python-version 3.7 --abi cp37m --accelerator none", "1.13.1+cpu"),
    ("torch==2.5.1", "X86 --glibc 2.35 --python-version 3.8 --accelerator none", "exit 5"),
    ("torch==2.5.0", "X86 --glibc 2.35 --python-version 3.13 --accelerator none", "2.5.0+cpu"),
    ("torch==2.6.0", "X86 --glibc 2.35 --python-version 3.14 --accelerator none", "exit 5"),
    # A forced backend is taken, with a warning where it cannot run.
    ("torch", 'LINUX --driver 470.82.01 --gpu "GeForce RTX 3090" --backend cu130', "2.10.0+cu130"),
    ("torch", 'LINUX --driver 580.95.05 --gpu "GTX 1080" --backend cu130', "2.10.0+cu130"),
]


@pytest.fixture(scope="module")
def catalogue(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Read the recorded pages of torch once; the options that choose from them without a network."""
    mirror = tmp_path_factory.mktemp("mirror")
    with Simulator.replaying(shared / "upstream", at=RECORDED_ON) as simulator:
        options = ["--upstream", simulator.url, "--mirror", str(mirror)]
        assert run(["crawl", "--project", "torch", *options]) == 0
    return [*options, "--offline", "--no-default-index", "--no-deps", "--json"]


@pytest.mark.parametrize(("requirement", "machine", "expected"), MACHINES, ids=[" ".join(row[:2]) for row in MACHINES])
def test_what_a_machine_gets(
    catalogue: list[str], capsys: pytest.CaptureFixture[str], requirement: str, machine: str, expected: str
) -> None:
    first, *rest = shlex.split(machine)
    flags = [*shlex.split(BEGINNINGS.get(first, first)), *rest]
    code = run(["select", requirement, *flags, *catalogue])
    said = capsys.readouterr().out
    if expected.startswith("exit"):
        _, wanted, *words = expected.split(" ", 2)
        assert code == int(wanted), said
        assert all(word.lower() in said.lower() for word in words)
    else:
        assert code == 0, said
        document = json.loads(said)
        assert [file["version"] for file in document["files"]] == [expected]


@pytest.mark.parametrize(
    ("machine", "backend"),
    [
        ('--driver 470.82.01 --gpu "GeForce RTX 3090"', "cu130"),
        ('--driver 580.95.05 --gpu "GTX 1080"', "cu130"),
        ("", "cu126"),
    ],
)
def test_a_forced_backend_that_cannot_run_is_warned_of(
    catalogue: list[str], capsys: pytest.CaptureFixture[str], machine: str, backend: str
) -> None:
    flags = shlex.split(f"{BEGINNINGS['LINUX']} {machine} --backend {backend}")
    assert run(["select", "torch", *flags, *catalogue]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["backend"] == backend
    assert document["warnings"]
