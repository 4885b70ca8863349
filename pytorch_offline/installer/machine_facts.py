"""What a machine shows of its GPUs beside what the probe reads: device files, kernel modules, variables, tools' words.

These are the facts that tell why torch sees no GPU; ``diagnosis.py`` judges the value alone. Paths are below ``root``,
so that a test can make a machine out of a directory.
"""

import os
import platform
import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.installer.surroundings import first_text_of
from pytorch_offline.target.probe import find_nvidia_smi, run_command

# Variables that decide which devices and which libraries a process sees.
TELLING_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_HOME", "CUDA_PATH"),
    *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HSA_OVERRIDE_GFX_VERSION"),
    *("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR", "LD_LIBRARY_PATH", "LD_PRELOAD", "CONDA_PREFIX"),
    *("PYTHONPATH", "PYTHONHOME", "OMP_NUM_THREADS", "SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"),
)
TELLING_MODULES = frozenset(
    ("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nouveau", "amdgpu", "amdkfd", "i915", "xe", "nvgpu")
)
# Files of /dev that processes compute through.
DEVICE_NAMES = re.compile(r"(?:nvidia\d+|nvidiactl|nvidia-uvm|nvidia-uvm-tools|kfd|dxg|nvmap|nvhost-gpu)$")
MAX_TEXT = 4000
# Files of the kernel have no size that could be asked for; what is looked for stands on their first pages.
LONGEST_FACTS = 65536
NVIDIA_VENDOR = "0x10de"
BRIDGE_CLASS = "0x0680"  # NVSwitches are bridges of class "other"
LIBRARY_FOLDERS = (
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"),
    *("/usr/local/nvidia/lib64", "/usr/local/cuda/compat", "/usr/local/cuda/lib64", "/usr/lib/wsl/lib"),
)


class DeviceFile(NamedTuple):
    """A file below /dev, and whether this user may read and write it."""

    path: str
    usable: bool


class MachineFacts(NamedTuple):
    """What was seen; what could not be read is empty or None.

    Args:
        system: ``platform.system()``.
        kernel: ``platform.release()``.
        devices: the files of /dev that GPUs are used through.
        modules: kernel modules of GPUs that are loaded.
        module_version: of the nvidia module that is loaded.
        nvidia_cards: how many NVIDIA display devices the PCI bus shows.
        nvswitches: how many NVSwitches it shows.
        container: in what kind of container this runs; empty if in none that is known.
        wsl: whether this is the Windows subsystem for Linux.
        secure_boot: whether the firmware says so; None where it does not say.
        variables: those that were set, by name.
        libcuda: each libcuda.so.1 in reach, with the file it is in the end.
        nvidia_smi: what ``nvidia-smi`` printed, its beginning; None where there is none.
        nvidia_list: what ``nvidia-smi -L`` printed.
        cpu_flags: of the first processor.
        shared_memory: bytes of /dev/shm.
        memory_limit: bytes that this process may have, by the machine or its control group.
        home_writable: whether the home directory can be written.
    """

    system: str = "Linux"
    kernel: str = ""
    devices: Tuple[DeviceFile, ...] = ()
    modules: Tuple[str, ...] = ()
    module_version: Optional[str] = None
    nvidia_cards: int = 0
    nvswitches: int = 0
    container: str = ""
    wsl: bool = False
    secure_boot: Optional[bool] = None
    variables: Mapping[str, str] = {}
    libcuda: Tuple[str, ...] = ()
    nvidia_smi: Optional[str] = None
    nvidia_list: str = ""
    cpu_flags: Tuple[str, ...] = ()
    shared_memory: Optional[int] = None
    memory_limit: Optional[int] = None
    home_writable: Optional[bool] = None

    def has_device(self, name: str) -> bool:
        """Whether a file of /dev is there."""
        return any(one.path == f"/dev/{name}" for one in self.devices)


def read_machine_facts(environment: Mapping[str, str], root: str = "/") -> MachineFacts:
    """Look at the machine that runs this."""
    top = Path(root)
    cards = read_pci(top)
    smi = find_nvidia_smi() if root == "/" else None
    return MachineFacts(
        system=platform.system(),
        kernel=platform.release(),
        devices=read_device_files(top),
        modules=read_modules(top),
        module_version=read_small(top / "sys/module/nvidia/version").strip() or None,
        nvidia_cards=sum(1 for vendor, kind in cards if vendor == NVIDIA_VENDOR and kind.startswith("0x03")),
        nvswitches=sum(1 for vendor, kind in cards if vendor == NVIDIA_VENDOR and kind.startswith(BRIDGE_CLASS)),
        container=find_container(top, environment),
        wsl="microsoft" in platform.release().lower() or (top / "dev/dxg").exists(),
        secure_boot=read_secure_boot(top),
        variables={name: environment[name][:MAX_TEXT] for name in TELLING_VARIABLES if name in environment},
        libcuda=find_libcuda(top, environment),
        nvidia_smi=run_command([smi])[:MAX_TEXT] or run_command([smi], errors=True)[:MAX_TEXT] if smi else None,
        nvidia_list=run_command([smi, "-L"])[:MAX_TEXT] if smi else "",
        cpu_flags=read_cpu_flags(top),
        shared_memory=size_of_file_system(top / "dev/shm"),
        memory_limit=read_memory_limit(top),
        home_writable=is_home_writable(environment),
    )


def read_small(path: Path) -> str:
    """Read the beginning of a small text file; empty if it cannot be read."""
    return first_text_of(path, LONGEST_FACTS)


def list_folder(path: Path) -> List[Path]:
    """List a folder, sorted; nothing if it cannot be read."""
    try:
        return sorted(path.iterdir())
    except OSError:
        return []


def read_device_files(top: Path) -> Tuple[DeviceFile, ...]:
    """List the files of /dev that GPUs are used through."""
    found = [one for one in list_folder(top / "dev") if DEVICE_NAMES.match(one.name)]
    found += [one for one in list_folder(top / "dev/dri") if one.name.startswith("renderD")]
    return tuple(
        DeviceFile("/" + one.relative_to(top).as_posix(), os.access(str(one), os.R_OK | os.W_OK)) for one in found
    )


def read_modules(top: Path) -> Tuple[str, ...]:
    """Name the kernel modules of GPUs that are loaded."""
    listed = {line.split(" ", 1)[0] for line in read_small(top / "proc/modules").splitlines()}
    return tuple(sorted(listed & TELLING_MODULES))


def read_pci(top: Path) -> List[Tuple[str, str]]:
    """List vendor and class of each device on the PCI bus."""
    places = list_folder(top / "sys/bus/pci/devices")
    return [(read_small(at / "vendor").strip(), read_small(at / "class").strip()) for at in places]


def find_container(top: Path, environment: Mapping[str, str]) -> str:
    """Name the kind of container that this runs in, by the marks that each leaves."""
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "Kubernetes"
    if (top / ".dockerenv").exists():
        return "Docker"
    if (top / "run/.containerenv").exists():
        return "Podman"
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        return "Apptainer"
    match = re.search(r"docker|kubepods|containerd|libpod|lxc", read_small(top / "proc/1/cgroup"))
    return match.group() if match else environment.get("container", "")[:40]


def read_secure_boot(top: Path) -> Optional[bool]:
    """Read the firmware's SecureBoot variable: four bytes of attributes, and one that is 1 where it is on."""
    for one in list_folder(top / "sys/firmware/efi/efivars"):
        if one.name.startswith("SecureBoot-"):
            try:
                body = one.read_bytes()
            except OSError:
                return None
            return body[-1] == 1 if body else None
    return None


def find_libcuda(top: Path, environment: Mapping[str, str]) -> Tuple[str, ...]:
    """Find each libcuda.so.1 in reach, in the order in which it is looked for, as ``path -> file``."""
    folders = [folder for folder in environment.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")]
    found: Dict[str, str] = {}
    for folder in [*folders, *LIBRARY_FOLDERS]:
        place = top / folder.lstrip("/") / "libcuda.so.1"
        if os.path.lexists(str(place)):
            shown = "/" + place.relative_to(top).as_posix()
            real = os.path.realpath(str(place))
            found.setdefault(real, f"{shown} -> {real}" if Path(real).exists() else f"{shown} -> nothing")
    return tuple(found.values())[:20]


def read_cpu_flags(top: Path) -> Tuple[str, ...]:
    """Read what the first processor can do: ``avx2``; empty where the system does not say."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", read_small(top / "proc/cpuinfo"), re.MULTILINE)
    return tuple(match.group(1).split()) if match else ()


def size_of_file_system(path: Path) -> Optional[int]:
    """Return the size of the file system that a path is on."""
    try:
        found = os.statvfs(str(path))
    except (OSError, AttributeError):
        return None
    return found.f_frsize * found.f_blocks


def read_memory_limit(top: Path) -> Optional[int]:
    """Return the bytes of memory that this process may have: the machine's, or its control group's if less."""
    match = re.search(r"^MemTotal:\s*([0-9]+) kB", read_small(top / "proc/meminfo"), re.MULTILINE)
    limits = [int(match.group(1)) * 1024] if match else []
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = read_small(top / name).strip()
        if text.isdigit():
            limits.append(int(text))
    return min(limits) if limits else None


def is_home_writable(environment: Mapping[str, str]) -> Optional[bool]:
    """Whether the home directory can be written; None without one."""
    home = environment.get("HOME")
    return os.access(home, os.W_OK | os.X_OK) if home else None
