"""What pasted texts say of GPUs beyond what the stand-alone probe reads itself.

The probe reads nvidia-smi, the kernel's files and rocminfo (``probe.parse_text``). People also paste the outputs of
tools that it does not run: ``torch.utils.collect_env``, clinfo, deviceQuery, lspci, rocm-smi, amd-smi, xpu-smi,
sycl-ls, conda info, jetson_release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytorch_offline.knowledge.gpus import is_product
from pytorch_offline.target import probe

# collect_env: "Nvidia driver version: 535.104.05". Its "CUDA runtime version" and "CUDA used to build PyTorch" say what
# compiles there and what torch is there already, not what the machine can run.
_COLLECTED_DRIVER = re.compile(r"^Nvidia driver version: ([0-9]{3}\.[0-9.]+)\s*$", re.MULTILINE)
_COLLECTED_GPUS = re.compile(
    r"^GPU models and configuration:[ \t]*([^\n]*(?:\n(?:GPU|  MIG|AMD|Radeon) [^\n]*)*)", re.MULTILINE
)
_NUMBERED_GPU = re.compile(r"^(?:GPU [0-9]+: )?(.+?)[ \t]*$", re.MULTILINE)
_GFX_IN_PARENTHESES = re.compile(r"(.*?) ?\((gfx[0-9a-f]{3,})(?::[^)]*)?\)")
_COLLECTED_NOTHING = {"Could not collect", "No CUDA", "N/A", ""}
_DEVICE_QUERY_NAME = re.compile(r"^Device [0-9]+: \"([^\"\n]+)\"", re.MULTILINE)
_DEVICE_QUERY_CAPABILITY = re.compile(r"CUDA Capability Major/Minor version number: +([0-9]{1,2}\.[0-9])")
_DEVICE_QUERY_CUDA = re.compile(r"CUDA Driver Version / Runtime Version +([0-9]{1,2}\.[0-9]) /")
_CONDA_CUDA = re.compile(r"\b__cuda=([0-9]{1,2}\.[0-9]{1,2})=")
_CLINFO_DEVICE = re.compile(r"^  Device Name +", re.MULTILINE)
_CLINFO_FIELD = re.compile(
    r"^  (Device Vendor|Compute Capability \(NV\)|Device Board Name \(AMD\)) +(\S.*?)[ \t]*$", re.MULTILINE
)
_CLINFO_DRIVER = re.compile(r"^  Driver Version +([0-9]{3}\.[0-9.]+)[ \t]*$", re.MULTILINE)
# "NVIDIA Corporation GP102 [GeForce GTX 1080 Ti] (rev a1)"; AMD's maker has brackets too, the last are the product's.
_LSPCI = re.compile(
    r"(?:VGA compatible controller|3D controller|Display controller)(?: \[[0-9a-f]{4}\])?: "
    r"(NVIDIA|Advanced Micro Devices|Intel)[^\n]*\[([^\]\n:]*[A-Za-z][^\]\n:]*)\]"
)
_LSPCI_ARC = re.compile(r"\b(?:Arc|Data Center GPU|Battlemage|Ponte Vecchio)\b")
_ROCM_SMI = re.compile(
    r"^GPU\[([0-9]+)\]\s*:\s*(Card [Ss]eries|Card [Mm]odel|GFX Version):\s*(\S.*?)\s*$", re.MULTILINE
)
_AMD_SMI = re.compile(r"^ *(MARKET_NAME|TARGET_GRAPHICS_VERSION): (\S.*?)\s*$", re.MULTILINE)
_INTEL_NAME = r"Intel\(R\) (?:Arc|Data Center GPU|Graphics|Iris|UHD|Core)[^|,\n*]*?"
_XPU_SMI = re.compile(rf"Device Name: ({_INTEL_NAME})[ \t]*(?:\||$)", re.MULTILINE)
_SYCL = re.compile(
    r"^\[(?:ext_oneapi_)?(level_zero|opencl):gpu[^\n,]*, (Intel\(R\) [^\n]*?)(?: OpenCL)? [0-9.]+ +(?:NEO +)?\[",
    re.MULTILINE,
)
_COLLECTED_INTEL = re.compile(rf"^\* ({_INTEL_NAME})[ \t]*$", re.MULTILINE)
_L4T = re.compile(  # jetson_release; dpkg-query --show nvidia-l4t-core
    r"\[L4T ([0-9]{2}(?:\.[0-9]+){1,2})\]|^nvidia-l4t-core[ \t]+([0-9]{2}(?:\.[0-9]+){1,2})", re.MULTILINE
)
_SMI_FAILED = re.compile(r"NVIDIA-SMI has failed|Failed to initialize NVML: [^\n]*|No devices were found")
_TEGRA_KERNEL = re.compile(r"^[ \t]*Linux \S+ \S+-tegra\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What one text says: ``nvidia`` in the probe's terms, AMD's and Intel's devices.

    An AMD device without its gfx target is known by name alone. ``tegra`` says that the kernel is Jetson's.
    """

    nvidia: probe.Observation
    amd: tuple[probe.Device, ...] = ()
    intel: tuple[str, ...] = ()
    tegra: bool = False


def parse_gpus(source: str, text: str) -> GpuFacts:
    """Read what one text says of GPUs."""
    seen = probe.parse_text(source, text)
    collected = _collected(text)
    clinfo = _clinfo(text)
    amd = tuple(device for device in seen.devices if device.gfx) or _amd(text)
    amd = amd or tuple(item for item in (*collected, *clinfo) if item.gfx)
    nvidia = tuple(device for device in seen.devices if not device.gfx) or _device_query(text)
    nvidia = nvidia or tuple(item for item in (*collected, *clinfo) if not item.gfx)
    listed = _listed_by_lspci(text)
    nvidia = nvidia or tuple(probe.Device(name) for maker, name in listed if maker == "NVIDIA")
    amd = amd or tuple(probe.Device(name) for maker, name in listed if maker == "Advanced Micro Devices")
    nvidia = nvidia or _bare_products(text)
    driver, cuda, l4t = _COLLECTED_DRIVER.search(text), _DEVICE_QUERY_CUDA.search(text), _L4T.search(text)
    cuda = cuda or _CONDA_CUDA.search(text)
    if driver is None and any(not item.gfx for item in clinfo):
        driver = _CLINFO_DRIVER.search(text)
    cards = tuple(name for maker, name in listed if maker == "Intel" and _LSPCI_ARC.search(name))
    return GpuFacts(
        nvidia=seen._replace(
            driver=seen.driver or (driver[1] if driver else None),
            cuda=seen.cuda or (cuda[1] if cuda else None),
            devices=nvidia,
            tegra=seen.tegra or (l4t[1] or l4t[2] if l4t else None),
        ),
        amd=amd,
        intel=_intel(text) or cards,
        tegra=bool(_TEGRA_KERNEL.search(text)),
    )


def failures(source: str, text: str) -> list[str]:
    """Say where nvidia-smi itself failed, which is no proof that there is no GPU."""
    found = _SMI_FAILED.search(text)
    return [f"nvidia-smi failed in {source} ({found[0]}), so nothing is known of the GPU by it"] if found else []


def _collected(text: str) -> tuple[probe.Device, ...]:
    """Read collect_env's list of GPUs, on one line or on one for each."""
    found = _COLLECTED_GPUS.search(text)
    names = _NUMBERED_GPU.findall(found[1].strip()) if found else []
    return tuple(_named(name) for name in names if name not in _COLLECTED_NOTHING and not name.startswith("  MIG"))


def _named(name: str) -> probe.Device:
    found = _GFX_IN_PARENTHESES.fullmatch(name)
    return probe.Device(found[1] or None, None, found[2]) if found else probe.Device(name)


def _device_query(text: str) -> tuple[probe.Device, ...]:
    names, capabilities = _DEVICE_QUERY_NAME.findall(text), _DEVICE_QUERY_CAPABILITY.findall(text)
    if len(names) != len(capabilities):
        return tuple(probe.Device(name) for name in names)
    return tuple(probe.Device(name, capability) for name, capability in zip(names, capabilities, strict=True))


def _clinfo(text: str) -> tuple[probe.Device, ...]:
    devices = []
    for body in _CLINFO_DEVICE.split(text)[1:]:
        name = body.partition("\n")[0].strip()
        fields = dict(reversed(_CLINFO_FIELD.findall(body)))
        if fields.get("Device Vendor", "").startswith("NVIDIA"):
            devices.append(probe.Device(name, probe.version_or_none(fields.get("Compute Capability (NV)"))))
        elif probe.GFX.match(name):
            devices.append(probe.Device(fields.get("Device Board Name (AMD)"), None, name.split(":")[0]))
    return tuple(devices)


def _listed_by_lspci(text: str) -> list[tuple[str, str]]:
    """List (maker, product) of lspci's graphics cards; PCI's names of mobile chips are brought to nvidia-smi's."""
    mobile = re.compile(r"(RTX [0-9]+(?: Ti)?) Mobile.*")
    return [(maker, mobile.sub(r"\1 Laptop GPU", name)) for maker, name in _LSPCI.findall(text)]


def _bare_products(text: str) -> tuple[probe.Device, ...]:
    """Read lines that are nothing but a product's name, as ``--query-gpu=name --format=csv,noheader`` prints them."""
    lines = [line.strip() for line in text.splitlines()]
    named = [line for line in lines if line.startswith(("NVIDIA ", "Tesla ", "GeForce ", "Quadro "))]
    return tuple(probe.Device(line) for line in named if is_product(line))


def _amd(text: str) -> tuple[probe.Device, ...]:
    """Read rocm-smi's and amd-smi's product names and gfx targets."""
    cards: dict[str, dict[str, str]] = {}
    for index, key, value in _ROCM_SMI.findall(text):
        cards.setdefault(index, {}).setdefault(key.lower(), value)
    devices = [
        probe.Device(card.get("card series") or card.get("card model"), None, _gfx(card.get("gfx version")))
        for card in cards.values()
    ]
    name: str | None = None
    for key, value in _AMD_SMI.findall(text):
        if key == "MARKET_NAME":
            name = value
            devices.append(probe.Device(name))
        elif devices:
            devices[-1] = devices[-1]._replace(gfx=_gfx(value))
    return tuple(devices)


def _gfx(text: str | None) -> str | None:
    found = probe.GFX.match(text) if text else None
    return found.group() if found else None


def _intel(text: str) -> tuple[str, ...]:
    """Read Intel's GPUs: xpu-smi, sycl-ls (each GPU is there twice, by Level Zero and by OpenCL), collect_env."""
    if names := _XPU_SMI.findall(text) or _COLLECTED_INTEL.findall(text):
        return tuple(names)
    listed = _SYCL.findall(text)
    best = [name for kind, name in listed if kind == "level_zero"] or [name for _, name in listed]
    return tuple(re.sub(r"^.*?(?:Level-Zero|OpenCL Graphics|OpenCL HD Graphics)[^,]*, ", "", name) for name in best)
