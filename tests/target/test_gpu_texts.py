"""What tools beside nvidia-smi print of GPUs, each shape read without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.target.gpu_texts import parse_gpus
from pytorch_offline.target.probe import Device

COLLECTED = """PyTorch version: 2.1.0+cu121
CUDA used to build PyTorch: 12.1
CUDA runtime version: 11.8.89
GPU models and configuration: {gpus}
Nvidia driver version: {driver}
cuDNN version: Could not collect
Intel GPU models onboard:
{intel}

CPU:
Architecture:                    x86_64
"""
CLINFO = """Number of platforms                               1
  Platform Name                                   NVIDIA CUDA
  Device Name                                     NVIDIA GeForce RTX 3090
  Device Vendor                                   NVIDIA Corporation
  Driver Version                                  535.104.05
  Device Type                                     GPU
  Compute Capability (NV)                         8.6
"""
CLINFO_AMD = """  Device Name                                     gfx90a:sramecc+:xnack-
  Device Vendor                                   Advanced Micro Devices, Inc.
  Driver Version                                  3590.0 (HSA1.1,LC)
  Device Type                                     GPU
  Device Board Name (AMD)                         AMD Instinct MI210
"""
DEVICE_QUERY = """Detected 1 CUDA Capable device(s)

Device 0: "Orin"
  CUDA Driver Version / Runtime Version          11.4 / 11.4
  CUDA Capability Major/Minor version number:    8.7
"""
ROCM_SMI = """========================= ROCm System Management Interface =========================
GPU[0]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX
GPU[0]\t\t: Card Model: \t\t0x744c
GPU[0]\t\t: GFX Version: \t\tgfx1100
GPU[1]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX
GPU[1]\t\t: GFX Version: \t\tgfx1100
Driver version: 6.3.6
"""
OLD_ROCM_SMI = "GPU[0] : Card series: Instinct MI50\nGPU[0] : Card model: 0x66a1\nDriver version: 5.18.13\n"
AMD_SMI = """GPU: 0
    ASIC:
        MARKET_NAME: AMD Instinct MI300X
        VENDOR_ID: 0x1002
        TARGET_GRAPHICS_VERSION: gfx942
"""
XPU_SMI = """+-----------+--------------------------------------------------------------------------------------+
| Device ID | Device Information                                                                   |
+-----------+--------------------------------------------------------------------------------------+
| 0         | Device Name: Intel(R) Data Center GPU Max 1100                                       |
|           | Vendor Name: Intel(R) Corporation                                                    |
+-----------+--------------------------------------------------------------------------------------+
| 1         | Device Name: Intel(R) Arc(TM) Pro B60 Graphics                                       |
"""
SYCL = """[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Xeon(R) Gold 6430 OpenCL 3.0 (Build 0) [2024.18.7]
[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Arc(TM) A770 Graphics OpenCL 3.0 NEO  [24.22.29735]
[level_zero:gpu][level_zero:0] Intel(R) Level-Zero, Intel(R) Arc(TM) A770 Graphics 1.3 [1.3.29735]
"""
OLD_SYCL = "[ext_oneapi_level_zero:gpu:0] Intel(R) Level-Zero, Intel(R) Arc(TM) A770 Graphics 1.3 [1.3.26241]\n"
SYCL_OPENCL = (
    "[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Arc(TM) A380 Graphics OpenCL 3.0 NEO  [24.22]\n"
)
MIG = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
"""


def collected(gpus: str, driver: str = "535.104.05", intel: str = "N/A") -> str:
    return COLLECTED.format(gpus=gpus, driver=driver, intel=intel)


@pytest.mark.parametrize(
    ("text", "driver", "cuda", "devices"),
    [
        (collected("\nGPU 0: NVIDIA A100-SXM4-80GB\nGPU 1: NVIDIA A100-SXM4-80GB\n"), "535.104.05", None,
         [("NVIDIA A100-SXM4-80GB", None)] * 2),
        (collected("GPU 0: GeForce RTX 2080 Ti", "440.33.01"), "440.33.01", None, [("GeForce RTX 2080 Ti", None)]),
        (collected("No CUDA", "No CUDA"), None, None, []),
        (collected("Could not collect", "Could not collect"), None, None, []),
        (CLINFO, "535.104.05", None, [("NVIDIA GeForce RTX 3090", "8.6")]),
        (DEVICE_QUERY, None, "11.4", [("Orin", "8.7")]),
        ("                          __cuda=12.2=0\n", None, "12.2", []),
        ("01:00.0 VGA compatible controller: NVIDIA Corporation GP102 [GeForce GTX 1080 Ti] (rev a1)\n", None, None,
         [("GeForce GTX 1080 Ti", None)]),
        ("3b:00.0 3D controller [0302]: NVIDIA Corporation GA100 [A100 PCIe 40GB] [10de:20f1] (rev a1)\n", None, None,
         [("A100 PCIe 40GB", None)]),
        ("01:00.0 VGA compatible controller: NVIDIA Corporation GA104M [GeForce RTX 3070 Mobile / Max-Q] (rev a1)\n",
         None, None, [("GeForce RTX 3070 Laptop GPU", None)]),
        ("NVIDIA A100-SXM4-80GB\nNVIDIA A100-SXM4-80GB\n", None, None, [("NVIDIA A100-SXM4-80GB", None)] * 2),
        ("NVIDIA driver problems\n", None, None, []),
        (MIG, None, None, [("NVIDIA A100-SXM4-40GB", None)]),
    ],
)  # fmt: skip
def test_nvidia(text: str, driver: str | None, cuda: str | None, devices: list[tuple[str, str | None]]) -> None:
    seen = parse_gpus("text", text)
    assert (seen.nvidia.driver, seen.nvidia.cuda) == (driver, cuda)
    assert seen.nvidia.devices == tuple(Device(*device) for device in devices)
    assert (seen.amd, seen.intel) == ((), ())


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        (ROCM_SMI, [("AMD Radeon RX 7900 XTX", "gfx1100")] * 2),
        (OLD_ROCM_SMI, [("Instinct MI50", None)]),
        (AMD_SMI, [("AMD Instinct MI300X", "gfx942")]),
        (CLINFO_AMD, [("AMD Instinct MI210", "gfx90a")]),
        (collected("AMD Instinct MI250X (gfx90a:sramecc+:xnack-)", "N/A"), [("AMD Instinct MI250X", "gfx90a")]),
        ("03:00.0 Display controller: Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 [Radeon RX 7900 XT] (rev c8)\n",
         [("Radeon RX 7900 XT", None)]),
    ],
)  # fmt: skip
def test_amd(text: str, devices: list[tuple[str, str | None]]) -> None:
    seen = parse_gpus("text", text)
    assert seen.amd == tuple(Device(name, None, gfx) for name, gfx in devices)
    assert (seen.nvidia.driver, seen.nvidia.devices) == (None, ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (XPU_SMI, ["Intel(R) Data Center GPU Max 1100", "Intel(R) Arc(TM) Pro B60 Graphics"]),
        (SYCL, ["Intel(R) Arc(TM) A770 Graphics"]),
        (OLD_SYCL, ["Intel(R) Arc(TM) A770 Graphics"]),
        (SYCL_OPENCL, ["Intel(R) Arc(TM) A380 Graphics"]),
        (collected("No CUDA", "No CUDA", "* Intel(R) Data Center GPU Max 1550"), ["Intel(R) Data Center GPU Max 1550"]),
        ("03:00.0 VGA compatible controller: Intel Corporation DG2 [Arc A770] (rev 08)\n", ["Arc A770"]),
        ("00:02.0 VGA compatible controller: Intel Corporation AlderLake-S GT1 [UHD Graphics 770] (rev 0c)\n", []),
    ],
)
def test_intel(text: str, names: list[str]) -> None:
    seen = parse_gpus("text", text)
    assert list(seen.intel) == names
    assert (seen.nvidia.driver, seen.nvidia.devices, seen.amd) == (None, (), ())


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("Model: NVIDIA Jetson AGX Orin Developer Kit - Jetpack 5.1.1 [L4T 35.3.1]\n", "35.3.1"),
        ("nvidia-l4t-core\t36.4.3-20250107174145\n", "36.4.3"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: Sat\n", "32.7.1"),
    ],
)
def test_jetson(text: str, release: str) -> None:
    assert parse_gpus("text", text).nvidia.tegra == release


def test_a_jetsons_kernel_is_noticed() -> None:
    assert parse_gpus("text", "Linux orin 5.15.136-tegra #1 SMP PREEMPT aarch64 aarch64 aarch64 GNU/Linux\n").tegra


SAMPLES = (COLLECTED, CLINFO, CLINFO_AMD, DEVICE_QUERY, ROCM_SMI, AMD_SMI, XPU_SMI, SYCL, MIG)
PIECES = [line for text in SAMPLES for line in text.splitlines()]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=12).map("\n".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_gpus("text", text)
