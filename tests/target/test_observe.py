"""What the probe does with a machine's tools and files, each played by a file of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.target import probe

if TYPE_CHECKING:
    from pathlib import Path

TABLE = "| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 12.2     |"
FAKE_CUDA = """
#include <string.h>
int cuDriverGetVersion(int *version) { *version = 12020; return 0; }
int cuInit(unsigned flags) { return FAILS; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device ? "NVIDIA T4" : "NVIDIA A100", size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? (device ? 7 : 8) : (device ? 5 : 0);
    return 0;
}
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which nothing is found, and a folder on its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(probe, "read_file", lambda path: files(path, {}))
    monkeypatch.setattr(probe, "entries", lambda _: [])
    monkeypatch.setattr(probe, "observe_libcuda", lambda: probe.Observation("libcuda"))
    monkeypatch.setattr(probe.platform, "release", lambda: "6.1.0")  # type: ignore[attr-defined]
    return tmp_path


def files(path: Path, contents: dict[str, str]) -> str:
    return contents.get(str(path), "")


def tool(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def observed() -> dict[str, Any]:
    return probe.observe_accelerator([])[0]


def test_a_machine_with_nothing_has_no_accelerator(bare: Path) -> None:
    assert bare.is_dir()
    assert observed() == {"kind": "none"}


def test_an_nvidia_card_without_a_driver_is_one_of_unknown_driver(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = bare / "0000:3b:00.0"
    monkeypatch.setattr(probe, "entries", lambda folder: [card] if folder == "/sys/bus/pci/devices" else [])
    contents = {str(card / "vendor"): "0x10de\n", str(card / "class"): "0x030200\n"}
    monkeypatch.setattr(probe, "read_file", lambda path: files(path, contents))
    assert observed() == {"kind": "cuda", "driver": None, "cuda": None, "devices": []}
    contents[str(card / "class")] = "0x040300\n"  # the card's sound device alone
    assert observed() == {"kind": "none"}


def test_nvidia_smi_is_asked_for_capabilities(bare: Path) -> None:
    body = f"""case "$1" in
        --query-gpu=name,driver_version,compute_cap)
            echo "name, driver_version, compute_cap"; echo "NVIDIA L4, 470.82.01, 8.9" ;;
        "") echo "{TABLE}" ;;
    esac"""
    tool(bare, "nvidia-smi", body)
    assert observed() == {
        "kind": "cuda",
        "driver": "470.82.01",
        "cuda": "12.2",
        "devices": [{"name": "NVIDIA L4", "compute_capability": "8.9"}],
    }


def test_an_old_nvidia_smi_is_asked_again_without(bare: Path) -> None:
    tool(bare, "nvidia-smi", f"""case "$1" in
        --query-gpu=name,driver_version) echo "name, driver_version"; echo "Tesla K80, 470.82.01" ;;
        --query-gpu=*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2 ;;
        "") echo "{TABLE}" ;;
    esac""")  # fmt: skip
    assert observed()["devices"] == [{"name": "Tesla K80", "compute_capability": None}]


def test_a_tool_that_fails_says_nothing(bare: Path) -> None:
    tool(bare, "nvidia-smi", 'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the driver."; exit 9')
    assert observed() == {"kind": "none"}


def test_a_tool_that_hangs_is_left_alone(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "COMMAND_TIMEOUT_S", 0.05)
    tool(bare, "nvidia-smi", "exec /bin/sleep 5")
    assert observed() == {"kind": "none"}


def test_the_kernels_files_are_enough(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n",
        str(bare / "0" / "information"): "Model: \t\t NVIDIA A100-SXM4-80GB\nGPU UUID: \t GPU-ad2367dd\n",
    }
    monkeypatch.setattr(probe, "read_file", lambda path: files(path, contents))
    monkeypatch.setattr(probe, "entries", lambda folder: [bare / "0"] if "nvidia/gpus" in folder else [])
    assert observed() == {
        "kind": "cuda",
        "driver": "535.104.05",
        "cuda": None,
        "devices": [{"name": "NVIDIA A100-SXM4-80GB", "compute_capability": None}],
    }


def test_under_wsl_the_driver_is_windows_own(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        probe.platform,  # type: ignore[attr-defined]
        "release",
        lambda: "5.15.167.4-microsoft-standard-WSL2",
    )
    tool(bare, "nvidia-smi", 'echo "NVIDIA L4, 560.94, 8.9"')
    assert (observed()["driver"], observed()["driver_system"]) == ("560.94", "Windows")


def test_amd_by_the_kernel_and_by_its_tool(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {str(bare / "0" / "properties"): "gfx_target_version 0\n",
                str(bare / "1" / "properties"): "gfx_target_version 90010\n"}  # fmt: skip
    monkeypatch.setattr(probe, "read_file", lambda path: files(path, contents))
    monkeypatch.setattr(probe, "entries", lambda folder: [bare / "0", bare / "1"] if "/kfd/" in folder else [])
    assert observed()["devices"] == [{"gfx": "gfx90a"}]
    tool(
        bare,
        "rocminfo",
        """printf 'Agent 1\\n  Name:   gfx90a\\n  Marketing Name:   AMD Instinct MI210\\n'
        printf '  Device Type:   GPU\\n'""",
    )
    assert observed()["kind"] == "rocm"
    assert observed()["devices"] == [{"name": "AMD Instinct MI210", "gfx": "gfx90a"}]


def test_a_mac_with_arm64_has_mps(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bare.is_dir()
    monkeypatch.setattr(probe.platform, "system", lambda: "Darwin")  # type: ignore[attr-defined]
    monkeypatch.setattr(probe.platform, "machine", lambda: "arm64")  # type: ignore[attr-defined]
    assert observed() == {"kind": "mps"}


def test_the_users_texts_go_before_what_is_found(bare: Path) -> None:
    tool(bare, "nvidia-smi", f'[ "$1" ] || echo "{TABLE}"')
    own = probe.parse_text("mine.txt", "DRIVER version : 580.95.05\n")
    accelerator, learnt = probe.observe_accelerator([own])
    assert (accelerator["driver"], accelerator["cuda"]) == ("580.95.05", "12.2")
    assert (learnt["accelerator.driver"], learnt["accelerator.cuda"]) == ("mine.txt", "nvidia-smi")


def test_musl_is_asked_of_the_loader_that_starts_python(tmp_path: Path) -> None:
    loader = tmp_path / "ld-musl-x86_64.so.1"
    tool(tmp_path, loader.name, "printf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2; exit 1")
    assert probe.read_musl(probe.Elf(2, 1, 62, 0, str(loader))) == (1, 2)
    assert probe.read_musl(probe.Elf(2, 1, 62, 0, "/lib64/ld-linux-x86-64.so.2")) is None
    assert probe.read_musl(probe.Elf(2, 1, 62, 0, str(tmp_path / "missing-musl.so"))) is None
    assert probe.read_musl(None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of this Linux")
def test_glibc_is_asked_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = probe.read_glibc()

    def unsupported(_: str) -> str:
        raise ValueError

    monkeypatch.setattr(os, "confstr", unsupported)
    assert probe.read_glibc() == by_name


def test_a_python_with_an_old_sdk_asks_macos_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.platform, "mac_ver", lambda: ("10.16", ("", "", ""), "x86_64"))  # type: ignore[attr-defined]
    asked: list[Any] = []

    def answer(command: object, *, environment: object) -> str:
        asked.append((command, environment))
        return "13.4\n"

    monkeypatch.setattr(probe, "run_command", answer)
    assert probe.read_macos() == (13, 4)
    assert asked[0][1] == {"SYSTEM_VERSION_COMPAT": "0"}
    monkeypatch.setattr(probe.platform, "mac_ver", lambda: ("14", ("", "", ""), "arm64"))  # type: ignore[attr-defined]
    assert probe.read_macos() == (14, 0)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a library that plays libcuda")
@pytest.mark.parametrize("fails", [0, 804])
def test_libcuda_is_asked_without_any_tool(tmp_path: Path, fails: int) -> None:
    (tmp_path / "cuda.c").write_text(FAKE_CUDA.replace("FAILS", str(fails)), encoding="utf-8")
    build: list[str | Path] = ["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "cuda.c"]
    subprocess.run(build, check=True, capture_output=True)
    source = "from pytorch_offline.target import probe; print(repr(probe.observe_libcuda()))"
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, check=True, capture_output=True, text=True)
    expected = probe.Observation("libcuda")
    if not fails:
        found = (probe.Device("NVIDIA A100", "8.0"), probe.Device("NVIDIA T4", "7.5"))
        expected = expected._replace(cuda="12.2", devices=found)
    assert done.stdout.strip() == repr(expected)
