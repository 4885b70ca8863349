"""Every shape that nvidia-smi, the kernel and ROCm's tools were seen to print, read without a GPU."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.target import probe
from pytorch_offline.target.probe import Device, Observation, merge_accelerator, parse_text


def smi(header: str, *rows: str) -> str:
    """Draw nvidia-smi's table as drivers since R530 do."""
    line = "+" + "-" * 87 + "+"
    usage = "| N/A   26C    P0   139W / 700W |  0MiB / 81559MiB |  0%  Default |"
    body = "".join(f"|   {index}  {row} |\n{usage}\n" for index, row in enumerate(rows))
    return f"Thu Sep 11 20:22:19 2025       \n{line}\n| {header}     |\n|{'-' * 64}+\n{body}{line}\n"


def facts(text: str) -> tuple[str | None, str | None, bool]:
    seen = parse_text("text", text)
    return seen.driver, seen.cuda, seen.wsl


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("NVIDIA-SMI 535.183.06   Driver Version: 535.183.06   CUDA Version: 12.2", ("535.183.06", "12.2", False)),
        ("NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 12.6", ("470.82.01", "12.6", False)),
        ("NVIDIA-SMI 560.35.02    Driver Version: 560.94       CUDA Version: 12.6", ("560.94", "12.6", True)),
        ("NVIDIA-SMI 545.46       Driver Version: 546.80       CUDA Version: ERR!", ("546.80", None, True)),
        ("NVIDIA-SMI 517.48       Driver Version: 517.48       CUDA Version: 11.7", ("517.48", "11.7", False)),
        ("NVIDIA-SMI 540.2.0      Driver Version: N/A          CUDA Version: 12.2", (None, "12.2", False)),
        ("NVIDIA-SMI 610.43.02    KMD Version: 610.43.02       CUDA UMD Version: 13.3", ("610.43.02", "13.3", False)),
        ("NVIDIA-SMI 527.27       Driver Version: 527.27       CUDA Version: N/A", ("527.27", None, False)),
        ("NVIDIA-SMI 384.81                 Driver Version: 384.81              ", ("384.81", None, False)),
        ("NVIDIA-SMI 331.62     Driver Version: 331.62         ", ("331.62", None, False)),
    ],
)
def test_the_tables_header(header: str, expected: tuple[str | None, str | None, bool]) -> None:
    assert facts(smi(header)) == expected
    indented = "\n".join(f"  {line}" for line in smi(header).splitlines())
    assert facts(indented.replace("\n", "\r\n")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            (
                "NVIDIA-SMI version  : 590.48.01\nNVML version        : 590.48\n"
                "DRIVER version      : 590.48.01\nCUDA Version        : 13.1\n"
            ),
            ("590.48.01", "13.1", False),
        ),
        (
            (
                "NVIDIA-SMI version  : 610.62\nNVML version        : 610.62\n"
                'DRIVER version      : Deprecated, see "KMD version" instead\nKMD version         : 610.62\n'
                'CUDA version        : Deprecated, see "CUDA UMD version" instead\nCUDA UMD version    : 13.3\n'
            ),
            ("610.62", "13.3", False),
        ),
        (
            (
                "NVIDIA-SMI version  : 580.82.07\nNVML version        : 580.95\n"
                "DRIVER version      : 581.42\nCUDA Version        : 13.0\n"
            ),
            ("581.42", "13.0", True),
        ),
    ],
)
def test_the_versions_command(text: str, expected: tuple[str, str, bool]) -> None:
    assert facts(text) == expected


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("NVIDIA A100-PCIE-40GB          On  | 00000000:3B:00.0 Off |                    0", "NVIDIA A100-PCIE-40GB"),
        ("NVIDIA A100-PCI...  On   | 00000000:3B:00.0 Off |                    0", "NVIDIA A100-PCI..."),
        ("GeForce GTX 108...  Off  | 00000000:01:00.0  On |                  N/A", "GeForce GTX 108..."),
        ("NVIDIA GeForce RTX 5070 ...    Off |   00000000:02:00.0  On |          N/A", "NVIDIA GeForce RTX 5070 ..."),
        ("GeForce GTX 680     Off  | 0000:03:00.0     N/A |                  N/A", "GeForce GTX 680"),
        ("NVIDIA GeForce ... WDDM  | 00000000:0A:00.0  On |                  N/A", "NVIDIA GeForce ..."),
        ("Tesla V100-SXM2-16GB     TCC   | 00000000:0A:00.0  On |            N/A", "Tesla V100-SXM2-16GB"),
        ("Orin (nvgpu)                  N/A  | N/A              N/A |                  N/A", "Orin (nvgpu)"),
        ("NVIDIA TITAN X (Pascal)        ERR! | 00000000:0A:00.0  On |           N/A", "NVIDIA TITAN X (Pascal)"),
    ],
)
def test_the_tables_device_rows(row: str, name: str) -> None:
    header = "NVIDIA-SMI 535.183.06   Driver Version: 535.183.06   CUDA Version: 12.2"
    assert parse_text("text", smi(header, row, row)).devices == (Device(name), Device(name))


@pytest.mark.parametrize(
    ("text", "driver", "devices"),
    [
        (
            "name, driver_version, compute_cap\nNVIDIA GeForce RTX 4090, 570.195.03, 8.9\nNVIDIA GB10, 580.142, 12.1\n",
            "580.142",
            [("NVIDIA GeForce RTX 4090", "8.9"), ("NVIDIA GB10", "12.1")],
        ),
        ("NVIDIA GeForce RTX 5070 Ti, 591.86, 12.0", "591.86", [("NVIDIA GeForce RTX 5070 Ti", "12.0")]),
        ("name, driver_version\nTesla K80, 470.82.01\n", "470.82.01", [("Tesla K80", None)]),
        ("Tesla K80, 470.82.01\n", "470.82.01", [("Tesla K80", None)]),
        ("index, name, compute_cap\n0, NVIDIA A100, PCIe, 8.0\n", None, [("NVIDIA A100, PCIe", "8.0")]),
        (
            "driver_version, name, memory.total [MiB], compute_cap\n535.104.05, NVIDIA L4, 23034 MiB, 8.9\n",
            "535.104.05",
            [("NVIDIA L4", "8.9")],
        ),
        (
            "name, driver_version, compute_cap\nGRID A100D-80C, [N/A], [Not Supported]\n",
            None,
            [("GRID A100D-80C", None)],
        ),
        ('Field "compute_cap" is not a valid field to query.\n', None, []),
        ("name, compute_cap\nNVIDIA H100 80GB HBM3, 9.0\n", None, [("NVIDIA H100 80GB HBM3", "9.0")]),
        ("name\nNVIDIA A100-SXM4-80GB\n\n", None, [("NVIDIA A100-SXM4-80GB", None)]),
        ("compute_cap\n8.0\n8.0\n", None, [(None, "8.0"), (None, "8.0")]),
        ("driver_version\n535.104.05\n", "535.104.05", []),
        ("gpu_name, driver_version\nTesla T4, 470.82.01\n", "470.82.01", [("Tesla T4", None)]),
    ],
)
def test_the_query(text: str, driver: str | None, devices: list[tuple[str, str | None]]) -> None:
    seen = parse_text("text", text)
    assert seen.driver == driver
    assert seen.devices == tuple(Device(*device) for device in devices)


XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
\t<timestamp>Thu Sep 11 20:22:19 2025</timestamp>
\t<driver_version>{driver}</driver_version>
\t<cuda_version>{cuda}</cuda_version>{more}
\t<attached_gpus>1</attached_gpus>
\t<gpu id="00000000:3B:00.0">
\t\t<product_name>NVIDIA H100 80GB HBM3</product_name>
\t\t<product_brand>NVIDIA</product_brand>
\t\t<product_architecture>Hopper</product_architecture>
\t</gpu>
</nvidia_smi_log>
"""


@pytest.mark.parametrize(
    ("cuda", "more", "expected"),
    [
        ("12.8", "", "12.8"),
        ("N/A", "", None),
        ("Not Found", "", None),
        ("Deprecated", "\n\t<cuda_umd_version>13.1</cuda_umd_version>", "13.1"),
    ],
)
def test_the_xml_log(cuda: str, more: str, expected: str | None) -> None:
    seen = parse_text("text", XML.format(driver="570.195.03", cuda=cuda, more=more))
    assert (seen.driver, seen.cuda, seen.devices) == ("570.195.03", expected, (Device("NVIDIA H100 80GB HBM3"),))


def test_the_plain_log() -> None:
    text = (
        "==============NVSMI LOG==============\n\nTimestamp                                 : Thu Feb  3 2022\n"
        "Driver Version                            : 510.06\nCUDA Version                              : 11.6\n\n"
        "Attached GPUs                             : 1\nGPU 00000000:01:00.0\n"
        "    Product Name                          : NVIDIA GeForce GTX 1650 Ti with Max-Q Design\n"
        "    Product Brand                         : GeForce\n"
    )
    seen = parse_text("text", text)
    assert (seen.driver, seen.cuda) == ("510.06", "11.6")
    assert seen.devices == (Device("NVIDIA GeForce GTX 1650 Ti with Max-Q Design"),)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  375.74  Wed Jun 14 01:39:39 PDT 2017\nGCC version:\n",
            "375.74",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.142  Release Build  (dvs-builder@host)\n",
            "580.142",
        ),
        ("NVRM version: NVIDIA UNIX Kernel Module for aarch64  34.1.1  Release Build  (buildbrain@m)\n", "34.1.1"),
        ("535.104.05\n", "535.104.05"),
        ("2.35\n", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", None),
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.86\n", None),
        ("No devices were found\n", None),
    ],
)
def test_the_kernels_files(text: str, driver: str | None) -> None:
    assert parse_text("text", text).driver == driver


def test_what_is_not_a_gpus_is_not_taken_for_it() -> None:
    lscpu = "Architecture: x86_64\nModel:                           85\nModel name: Intel(R) Xeon(R)\nProduct Name: X\n"
    assert parse_text("text", lscpu) == Observation("text")


def test_the_drivers_files_on_each_card() -> None:
    text = "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 142\nGPU UUID: \t GPU-ad2367dd\n"
    assert parse_text("text", text * 2).devices == (Device("NVIDIA A100-SXM4-80GB"),) * 2


def test_the_list_command_has_whole_names() -> None:
    table = smi("NVIDIA-SMI 470.82.01  Driver Version: 470.82.01  CUDA Version: 11.4",
                "NVIDIA A100-PCI...  On   | 00000000:3B:00.0 Off |      0")  # fmt: skip
    listed = "GPU 0: NVIDIA A100-PCIE-40GB (UUID: GPU-ad2367dd-a40e-6b86-6fc3-c44a2cc92c7e)\n"
    for order in ([table, listed], [listed, table]):
        accelerator, learnt = merge_accelerator([parse_text(str(at), text) for at, text in enumerate(order)])
        assert accelerator is not None
        assert accelerator["devices"] == [{"name": "NVIDIA A100-PCIE-40GB", "compute_capability": None}]
        assert learnt["accelerator.devices"] == str(order.index(listed))


@pytest.mark.parametrize(
    ("texts", "driver", "cuda"),
    [
        # Orin: nvidia-smi's own idea of a driver is Tegra's, which no table of desktop drivers knows.
        ([smi("NVIDIA-SMI 540.4.0  Driver Version: 540.4.0  CUDA Version: 12.6",
              "Orin (nvgpu)                  N/A  | N/A              N/A |  N/A")], None, "12.6"),
        (["# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: Thu\n"], None, None),
        (["NVRM version: NVIDIA UNIX Kernel Module for aarch64  34.1.1  Release Build  (b@m)\n"], None, None),
        (["# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic\n",
          "NVIDIA-SMI 580.00.00   Driver Version: 580.00.00   CUDA Version: 13.0"], "580.00.00", "13.0"),
        (["# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref\n",
          "NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2"], None, "12.2"),
    ],
)  # fmt: skip
def test_jetson(texts: list[str], driver: str | None, cuda: str | None) -> None:
    accelerator, _ = merge_accelerator([parse_text("text", text) for text in texts])
    assert accelerator is not None
    assert (accelerator["kind"], accelerator["driver"], accelerator["cuda"]) == ("cuda", driver, cuda)


def test_a_jetsons_model() -> None:
    seen = parse_text("/proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    assert seen.devices == (Device("Jetson AGX Orin"),)


ROCMINFO = """ROCk module is loaded
=====================
HSA Agents
==========
*******
Agent 1
*******
  Name:                    AMD EPYC 7763 64-Core Processor
  Uuid:                    CPU-XX
  Marketing Name:          AMD EPYC 7763 64-Core Processor
  Device Type:             CPU
*******
Agent 2
*******
  Name:                    gfx90a:sramecc+:xnack-
  Uuid:                    GPU-124d13ccd7b050e5
  Marketing Name:          AMD Instinct MI250X/MI250
  Device Type:             GPU
  ISA Info:
    ISA 1
      Name:                    amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-
*** Done ***
"""


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        (ROCMINFO, [Device("AMD Instinct MI250X/MI250", None, "gfx90a")]),
        ("gfx000\ngfx1100\ngfx1100\n", [Device(None, None, "gfx1100")] * 2),
        ("gfx000\n", []),
        ("cpu_cores_count 64\ngfx_target_version 0\n", []),
        (
            "gfx_target_version 0\ngfx_target_version 90010\ngfx_target_version 110001\ngfx_target_version 90402\n",
            [Device(None, None, "gfx90a"), Device(None, None, "gfx1101"), Device(None, None, "gfx942")],
        ),
    ],
)
def test_amd(text: str, devices: list[Device]) -> None:
    assert list(parse_text("text", text).devices) == devices
    accelerator, learnt = merge_accelerator([parse_text("text", text)])
    if devices:
        assert accelerator is not None
        assert accelerator["kind"] == "rocm"
        assert [device["gfx"] for device in accelerator["devices"]] == [device.gfx for device in devices]
    else:
        assert (accelerator, learnt) == (None, {})


def test_nothing_is_derived_from_anything_else() -> None:
    accelerator, learnt = merge_accelerator([parse_text("nvcc", "Cuda compilation tools, release 12.2, V12.2.140\n")])
    assert (accelerator, learnt) == (None, {})
    only_cuda: Any = merge_accelerator([parse_text("a", "CUDA Version        : 12.2\n")])[0]
    assert (only_cuda["driver"], only_cuda["cuda"]) == (None, "12.2")
    only_driver: Any = merge_accelerator([parse_text("a", "DRIVER version      : 535.104.05\n")])[0]
    assert (only_driver["driver"], only_driver["cuda"]) == ("535.104.05", None)


def test_the_kernels_word_goes_before_the_tools() -> None:
    texts = {
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed\n",
        "nvidia-smi": smi("NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2"),
    }
    accelerator, learnt = merge_accelerator([parse_text(source, text) for source, text in texts.items()])
    assert accelerator is not None
    assert (accelerator["driver"], accelerator["cuda"]) == ("470.82.01", "12.2")
    assert learnt["accelerator.driver"] == "/proc/driver/nvidia/version"
    assert learnt["accelerator.cuda"] == "nvidia-smi"


def test_an_nvidia_device_goes_before_an_amd_one() -> None:
    seen = [parse_text("rocm", "gfx1100\n"), parse_text("smi", "NVIDIA L4, 535.104.05, 8.9\n")]
    accelerator, _ = merge_accelerator(seen)
    assert accelerator is not None
    assert accelerator["kind"] == "cuda"
    assert accelerator["devices"] == [{"name": "NVIDIA L4", "compute_capability": "8.9"}]


PIECES = [
    *smi("NVIDIA-SMI 1.2 Driver Version: 3.4 CUDA Version: 5.6").splitlines(),
    *XML.splitlines(),
    *ROCMINFO.splitlines(),
    *("name, driver_version, compute_cap", "a, b", ", , ,", "ID=", "GPU 0: x"),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=12).map("\n".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    seen = parse_text("text", text)
    merge_accelerator([seen])
    assert all(value is None or probe.VERSION.fullmatch(value) for value in (seen.driver, seen.cuda))


def test_windows_powershell_writes_utf_16() -> None:
    assert probe.decoded("\ufeffname".encode("utf-16-le")) == "name"
    assert probe.decoded("\ufeffname".encode("utf-16-be")) == "name"
    assert probe.decoded("\ufeffname".encode()) == "name"
    assert probe.decoded(b"\xff\xff") == "\ufffd\ufffd"
