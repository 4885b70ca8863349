from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytorch_offline.installer.machine_facts import DeviceFile, read_machine_facts

if TYPE_CHECKING:
    from pathlib import Path


def put(path: Path, body: str | bytes = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body if isinstance(body, bytes) else body.encode())


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "null", "dri/renderD128", "dri/card0"):
        put(tmp_path / "dev" / name)
    put(tmp_path / "proc/modules", "nvidia_uvm 1 0 - Live 0x0\nnvidia 2 1 nvidia_uvm, Live 0x0\next4 3 1 - Live 0x0\n")
    put(tmp_path / "sys/module/nvidia/version", "570.26\n")
    for number, (vendor, kind) in enumerate([("0x10de", "0x030200"), ("0x10de", "0x068000"), ("0x8086", "0x030000")]):
        put(tmp_path / f"sys/bus/pci/devices/{number}/vendor", f"{vendor}\n")
        put(tmp_path / f"sys/bus/pci/devices/{number}/class", f"{kind}\n")
    put(tmp_path / "sys/firmware/efi/efivars/SecureBoot-8be4", b"\x06\x00\x00\x00\x01")
    put(tmp_path / "proc/cpuinfo", "processor : 0\nflags\t\t: sse2 avx avx2\n\nprocessor : 1\nflags : other\n")
    put(tmp_path / "proc/meminfo", "MemTotal:       16384000 kB\n")
    put(tmp_path / "sys/fs/cgroup/memory.max", "536870912\n")
    put(tmp_path / ".dockerenv")
    compat = tmp_path / "usr/local/cuda/compat"
    put(compat / "libcuda.so.570.26")
    (compat / "libcuda.so.1").symlink_to("libcuda.so.570.26")
    gone = tmp_path / "usr/lib64"
    gone.mkdir(parents=True)
    (gone / "libcuda.so.1").symlink_to("libcuda.so.535")
    variables = {"CUDA_VISIBLE_DEVICES": "0", "SECRET": "x", "HOME": str(tmp_path)}
    facts = read_machine_facts(variables, str(tmp_path))
    assert [one.path for one in facts.devices] == [
        *("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl", "/dev/dri/renderD128")
    ]
    assert facts.has_device("nvidiactl")
    assert (facts.modules, facts.module_version) == (("nvidia", "nvidia_uvm"), "570.26")
    assert (facts.nvidia_cards, facts.nvswitches) == (1, 1)
    assert (facts.secure_boot, facts.container) == (True, "Docker")
    assert facts.cpu_flags == ("sse2", "avx", "avx2")
    assert facts.memory_limit == 536870912
    assert facts.variables == {"CUDA_VISIBLE_DEVICES": "0"}  # of the user's variables only those that tell
    first, second = sorted(facts.libcuda)
    assert first.startswith("/usr/lib64/libcuda.so.1 -> nothing")
    assert second.startswith("/usr/local/cuda/compat/libcuda.so.1 -> ")


def test_an_empty_machine_and_this_one_are_read(tmp_path: Path) -> None:
    empty = read_machine_facts({"container": "podman"}, str(tmp_path))
    assert (empty.devices, empty.modules, empty.secure_boot, empty.cpu_flags) == ((), (), None, ())
    assert (empty.container, empty.home_writable, empty.memory_limit) == ("podman", None, None)
    here = read_machine_facts(os.environ)
    assert here.system
    assert all(isinstance(one, DeviceFile) for one in here.devices)
