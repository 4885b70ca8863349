"""Describe the machine that runs this file as a target of pytorch-offline, and print it as JSON.

This one file is all there is: standard library, Python 3.6 or newer, no installation, no network::

    python3 probe.py -o gpu-node.json

Carry the JSON to the connected machine and hand it over with ``--target gpu-node.json``.

Theory of operation: everything that can be known of an accelerator is first a *text* (of nvidia-smi, of a file below
/proc, of rocminfo), and each text is read by ``parse_text``, whichever machine it came from and whoever pasted it.
The functions above the line "effects" take values and give values; pytorch-offline imports them, so that a
captured target and a described one follow one set of rules. The tag lists equal those of ``packaging.tags.sys_tags``
(packaging 26.3, where native ``linux_*`` tags come before ``manylinux``); the marker values those of
``packaging.markers.default_environment``. What cannot be found out is ``null``; nothing is guessed.
"""
# The file runs on Python 3.6: no future annotations, no new spellings of types, of subprocess.run or of formatting.
# ruff: noqa: UP006, UP022, UP035, UP045
# Its numbers are those of formats (ELF, versions), each explained beside it.
# ruff: noqa: PLR2004

import json
import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

FORMAT = 1
COMMAND_TIMEOUT_S = 30  # nvidia-smi without persistence mode takes seconds per GPU on large hosts


# ---------------------------------------------------------------------------------------------------------------
# Tags: pure functions. Ordered, best first.
# ---------------------------------------------------------------------------------------------------------------

# The perennial tags that were manylinux's first names (PEP 600, "Legacy manylinux tags").
LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
# Architectures for which manylinux tags exist without a look at the executable (packaging 26.3, _manylinux.py).
MANYLINUX_ARCHITECTURES = ("x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "loongarch64", "riscv64")
MAC_FORMATS = {
    "arm64": ("arm64", "universal2"),
    "x86_64": ("x86_64", "intel", "fat64", "fat3", "universal2", "universal"),
}


def cpython_abis(
    version: Tuple[int, int], *, free_threaded: bool = False, debug: bool = False, pymalloc: bool = True
) -> List[str]:
    """Name the ABIs that a CPython loads, its own first; a debug build since 3.8 also loads release modules."""
    own = "cp{}{}".format(*version) + ("t" if free_threaded else "")
    if version < (3, 8):
        return [own + ("d" if debug else "") + ("m" if pymalloc else "")]
    return [own + "d", own] if debug else [own]


def cpython_tags(version: Tuple[int, int], abis: Sequence[str], platforms: Sequence[str]) -> List[str]:
    """List all tags of a CPython: its ABIs, the stable ABI (``abi3t`` where free-threaded, PEP 803), pure Python."""
    own = "cp{}{}".format(*version)
    free_threaded = bool(abis) and "t" in abis[0][len(own) :]
    stable = "abi3t" if free_threaded else "abi3"
    pairs = [(own, abi) for abi in abis] + [(own, stable), (own, "none")]
    pairs += [(f"cp{version[0]}{minor}", stable) for minor in range(version[1] - 1, 1, -1)]
    tags = [f"{name}-{abi}-{item}" for name, abi in pairs for item in platforms]
    return tags + compatible_tags(version, own, platforms)


def generic_tags(
    version: Tuple[int, int], interpreter: str, alias: Optional[str], abis: Sequence[str], platforms: Sequence[str]
) -> List[str]:
    """List all tags of another implementation; ``alias`` is PyPy's ``pp3``, none for others."""
    tags = [f"{interpreter}-{abi}-{item}" for abi in [*abis, "none"] for item in platforms]
    return tags + compatible_tags(version, alias, platforms)


def compatible_tags(version: Tuple[int, int], interpreter: Optional[str], platforms: Sequence[str]) -> List[str]:
    """List the tags of wheels that need no ABI: with a platform, then without."""
    major, minor = version
    pythons = [f"py{major}{minor}", f"py{major}"]
    pythons += [f"py{major}{older}" for older in range(minor - 1, -1, -1)]
    tags = [f"{python}-none-{item}" for python in pythons for item in platforms]
    if interpreter:
        tags.append(interpreter + "-none-any")
    return tags + [python + "-none-any" for python in pythons]


def linux_platforms(
    architectures: Sequence[str],
    glibc: Optional[Tuple[int, int]] = None,
    musl: Optional[Tuple[int, int]] = None,
    allows: Callable[[int, int, str], bool] = lambda major, minor, arch: True,  # noqa: ARG005
) -> List[str]:
    """List a Linux's platform tags: native, then manylinux from the glibc downwards, or musllinux.

    ``allows`` is the veto of a distributor's ``_manylinux`` module (PEP 600, "Package installers"). The ladder ends
    at 2.17, on x86 at 2.5 (PEP 600, PEP 513). There is no glibc 3 yet whose ladder would have to be known.
    """
    tags = ["linux_" + arch for arch in architectures]
    lowest = 5 if {"x86_64", "i686"} & set(architectures) else 17
    for arch in architectures:
        for minor in range(glibc[1] if glibc else -1, lowest - 1, -1):
            if allows(2, minor, arch):
                tags.append(f"manylinux_2_{minor}_{arch}")
                if (2, minor) in LEGACY_MANYLINUX:
                    tags.append(f"{LEGACY_MANYLINUX[2, minor]}_{arch}")
    for arch in architectures:
        if musl:
            tags += [f"musllinux_{musl[0]}_{minor}_{arch}" for minor in range(musl[1], -1, -1)]
    return tags


def mac_platforms(version: Tuple[int, int], arch: str) -> List[str]:
    """List a macOS's platform tags; since macOS 11 only the major number counts."""
    major, minor = version
    formats = MAC_FORMATS.get(arch, (arch,))
    tags = [f"macosx_{newer}_0_{item}" for newer in range(major, 10, -1) for item in formats]
    # Before 11 there were no arm64 files, but a universal2 file may name the release that its x86_64 half needs.
    older = formats if arch == "x86_64" else ("universal2",)
    for ten in range(16 if major > 10 else minor, 3, -1):
        tags += [f"macosx_10_{ten}_{item}" for item in older]
    return tags


def abi_of_suffix(suffix: str) -> List[str]:
    """Read the ABI of an implementation other than CPython out of its EXT_SUFFIX, e.g. ``pypy310_pp73``."""
    parts = suffix.split(".")
    if len(parts) < 3 or not parts[1]:
        return []
    words = parts[1].split("-")
    count = {"pypy": 2, "graa": 3}.get(parts[1][:4], len(words))
    return [normalised("-".join(words[:count]))]


def normalised(text: str) -> str:
    """Spell a platform or ABI as a tag does."""
    return text.replace(".", "_").replace("-", "_").replace(" ", "_")


# ---------------------------------------------------------------------------------------------------------------
# Texts: pure functions. Every shape was seen in public threads and logs.
# ---------------------------------------------------------------------------------------------------------------


class Device(NamedTuple):
    """One accelerator device: NVIDIA's have a compute capability, AMD's a gfx target."""

    name: Optional[str]
    compute_capability: Optional[str] = None
    gfx: Optional[str] = None


class Observation(NamedTuple):
    """What one text says; ``None`` where it says nothing.

    ``driver`` is the kernel driver (under WSL: Windows' driver, and ``wsl`` is true), ``cuda`` the user-mode CUDA
    version; neither is ever derived from the other. ``tegra`` is the release of Jetson's Linux (L4T).
    """

    source: str
    driver: Optional[str] = None
    cuda: Optional[str] = None
    devices: Tuple[Device, ...] = ()
    wsl: bool = False
    tegra: Optional[str] = None


VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*")
# "NVIDIA-SMI 535.183.06   Driver Version: 535.183.06   CUDA Version: 12.2"; since R610 "KMD Version" and
# "CUDA UMD Version"; before R410 no CUDA at all.
SMI_HEADER = re.compile(r"NVIDIA-SMI\s+(\S+)\s+(?:Driver|KMD) Version:\s*(\S+)(?:\s+CUDA (?:UMD )?Version:\s*(\S+))?")
SMI_TOOL = re.compile(r"^[ \t]*NVIDIA-SMI version\s*:\s*(\S+)", re.MULTILINE)
# The two columns after a device's name: persistence or driver model, then the bus address (N/A on Jetson).
SMI_ROW = re.compile(
    r"^[ \t]*[|\u2502]\s+[0-9]+\s+(\S.*?)\s+(?:On|Off|N/A|ERR!|WDDM|TCC|MCDM)\s*[|\u2502]\s+"
    r"(?:[0-9A-Fa-f]+:[0-9A-Fa-f]+:|N/A\s)",
    re.MULTILINE,
)
SMI_LIST = re.compile(r"^[ \t]*GPU [0-9]+: (\S.*?) \(UUID: ", re.MULTILINE)
# "DRIVER version      : 590.48.01" of --version, "Driver Version        : 535.183.06" of -q. NVIDIA pads before the
# colon; "Driver version: 6.3.6" is rocm-smi's.
KEYED = re.compile(r"^[ \t]*(driver|kmd|cuda|cuda umd) version[ \t]+:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
XML_KEYED = re.compile(r"<(driver|kmd|cuda|cuda_umd)_version>\s*([^<\s]*)[^<]*<")
XML_NAME = re.compile(r"<product_name>\s*([^<]*?)\s*<")
LOG_NAME = re.compile(r"^[ \t]*Product Name[ \t]*:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
PROC_GPU = re.compile(r"^Model:[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
# Fields are separated by two spaces; the version is the second.
NVRM = re.compile(r"^NVRM version: (NVIDIA .*?)  ([0-9]+(?:\.[0-9]+)+)(?=\s|$)", re.MULTILINE)
QUERY_FIELDS = {"name", "driver_version", "compute_cap"}
TITLE = re.compile(r"[a-z_.]+")
BARE_DRIVER = re.compile(r"\s*([0-9]{3}\.[0-9]{2,3}(?:\.[0-9]{1,2})?)\s*")
BARE_ROW = re.compile(
    r"^([^,|:]*[A-Za-z][^|:]*?), ([0-9]{3}\.[0-9]{2,3}(?:\.[0-9]{1,2})?)(?:, ([0-9]{1,2}\.[0-9]))?\s*$"
)
TEGRA = re.compile(r"^# R([0-9]{1,4}) \(release\), REVISION: ([0-9.]+)", re.MULTILINE)
JETSON_MODEL = re.compile(r"^(NVIDIA )?(Jetson [^\x00\n]*?)(?: Developer Kit.*)?\x00?$", re.MULTILINE)
MUSL = re.compile(r"^musl libc(?: \((\S+)\))?\s*\nVersion ([0-9]+\.[0-9]+)", re.MULTILINE)
ROCM_AGENT = re.compile(r"^Agent [0-9]+\s*$", re.MULTILINE)
GFX = re.compile(r"gfx[0-9a-f]{3,}")
KFD = re.compile(r"^gfx_target_version ([0-9]{1,9})\b", re.MULTILINE)
WINDOWS_DRIVER = re.compile(r"[0-9]{3}\.[0-9]{2}")
# Tegra's drivers have numbers of their own (34.1.1, 540.4.0), whose last part has one digit; others write two.
TEGRA_DRIVER = re.compile(r"[0-9]{1,2}\..*|[0-9]+\.[0-9]+\.[0-9]")
FIRST_COMMON_TEGRA = 38  # from L4T R38 on, Jetson takes the drivers of every other aarch64 machine


def version_or_none(text: Optional[str]) -> Optional[str]:
    """Read a version; ``N/A``, ``ERR!``, ``Not Found``, ``Deprecated, see ...`` say that there is none."""
    return text if text and VERSION.fullmatch(text) else None


def nvidia_device(name: Optional[str], compute_capability: Optional[str] = None) -> Device:
    """Make an NVIDIA device; nvidia-smi says ``[N/A]`` and the like where it knows nothing."""
    return Device(name, version_or_none(compute_capability))


def parse_query(text: str) -> Tuple[Optional[str], Tuple[Device, ...]]:
    """Read ``nvidia-smi --query-gpu=... --format=csv``, with or without its header, columns in any order.

    A name may hold commas: the columns before it count from the left, those after it from the right. Old drivers
    answer ``Field "compute_cap" is not a valid field to query.``, which is no row.
    """
    columns: List[str] = []
    driver: Optional[str] = None
    devices: List[Device] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(", ")]
        titles = [cell.split(" [")[0].replace("gpu_name", "name") for cell in cells]
        if QUERY_FIELDS & set(titles) and all(TITLE.fullmatch(title) for title in titles):
            columns = titles
            continue
        bare = BARE_ROW.match(line) if len(cells) > 1 else None
        if columns and len(cells) >= len(columns) and line.strip():
            at = columns.index("name") if "name" in columns else 0
            after = len(columns) - at - 1
            cells[at : len(cells) - after] = [", ".join(cells[at : len(cells) - after])]
            row = dict(zip(columns, cells))  # noqa: B905  (zip takes no strict= before 3.10)
        elif bare and not columns:
            row = {"name": bare.group(1), "driver_version": bare.group(2), "compute_cap": bare.group(3) or ""}
        else:
            columns = []
            continue
        driver = version_or_none(row.get("driver_version")) or driver
        if "name" in row or "compute_cap" in row:
            devices.append(nvidia_device(row.get("name"), row.get("compute_cap")))
    return driver, tuple(devices)


def parse_rocm(text: str) -> Tuple[Device, ...]:
    """Read rocminfo, rocm_agent_enumerator or KFD's node properties; CPU agents are no devices."""
    devices = []
    for agent in ROCM_AGENT.split(text)[1:]:
        # Reversed, so that the agent's own name wins over those of the ISAs below it.
        lines = re.findall(r"^[ \t]+(Name|Marketing Name|Device Type):[ \t]+(\S.*?)[ \t]*$", agent, re.MULTILINE)
        fields = dict(reversed(lines))
        gfx = GFX.match(fields.get("Name", ""))
        if fields.get("Device Type") == "GPU" and gfx:
            devices.append(Device(fields.get("Marketing Name"), None, gfx.group()))
    if not devices:
        lines = [line.strip().split(":")[0] for line in text.splitlines()]
        devices = [Device(None, None, line) for line in lines if GFX.fullmatch(line) and line != "gfx000"]
    if not devices:
        # 90010 is 9.0.10, which is spelt gfx90a: the last two parts are hexadecimal digits.
        numbers = [int(number) for number in KFD.findall(text)]
        spelt = [f"gfx{n // 10000}{n // 100 % 100:x}{n % 100:x}" for n in numbers if n]
        devices = [Device(None, None, gfx) for gfx in spelt]
    return tuple(devices)


def parse_devices(text: str) -> Tuple[Device, ...]:
    """Read NVIDIA device names from whichever shapes are in the text, the most complete shape first."""
    names = XML_NAME.findall(text) or SMI_LIST.findall(text)
    if not names and "NVSMI LOG" in text:
        names = LOG_NAME.findall(text)
    if not names and "GPU UUID" in text:
        names = PROC_GPU.findall(text)
    names = names or SMI_ROW.findall(text) or [match.group(2) for match in JETSON_MODEL.finditer(text)]
    return tuple(nvidia_device(name) for name in names)


def parse_text(source: str, text: str) -> Observation:
    """Read everything that is known to be readable out of one text, which may hold the output of several commands."""
    tool = driver = cuda = None
    header = SMI_HEADER.search(text)
    if header:
        tool, driver, cuda = (version_or_none(item) for item in header.groups())
        if driver and tool and header.end(2) == len(text) and tool != driver and tool.startswith(driver):
            driver = None  # the text was cut within the number
    else:
        found = SMI_TOOL.search(text)
        tool = version_or_none(found.group(1)) if found else None
        keyed = {}  # type: Dict[str, str]
        for key, value in KEYED.findall(text) + XML_KEYED.findall(text):
            if version_or_none(value):
                keyed.setdefault(key.lower().replace("_", " "), value)
        driver = keyed.get("kmd") or keyed.get("driver")
        cuda = keyed.get("cuda umd") or keyed.get("cuda")
    queried, devices = parse_query(text)
    nvrm = NVRM.search(text)
    bare = BARE_DRIVER.fullmatch(text)
    driver = (nvrm.group(2) if nvrm else None) or driver or queried or (bare.group(1) if bare else None)
    tegra = TEGRA.search(text)
    return Observation(
        source=source,
        driver=driver,
        cuda=cuda,
        devices=devices or parse_devices(text) or parse_rocm(text),
        # The Linux tool beside Windows' driver: two numbers, the second of Windows' two-part kind.
        wsl=bool(tool and driver and tool != driver and WINDOWS_DRIVER.fullmatch(driver)),
        tegra="{}.{}".format(*tegra.groups()) if tegra else None,
    )


def completeness(devices: Sequence[Device]) -> Tuple[int, int, int]:
    """Rank descriptions of the same devices: known capability or gfx, then known names, then names not cut short."""
    known = [bool(device.compute_capability or device.gfx) for device in devices]
    whole = [bool(device.name) and not str(device.name).endswith("...") for device in devices]
    return int(bool(known) and all(known)), int(bool(whole) and all(whole)), len(devices)


def merge_accelerator(observations: Sequence[Observation]) -> Tuple[Optional[Dict[str, Any]], Dict[str, str]]:
    """Merge what several texts say of the accelerator: the value for the target file and how each fact was learnt.

    The first text that knows a fact wins, so order them from the most to the least trustworthy. ``None`` if no text
    speaks of an accelerator.
    """
    learnt = {}  # type: Dict[str, str]
    driver = next((item for item in observations if item.driver), None)
    cuda = next((item for item in observations if item.cuda), None)
    tegra = next((item for item in observations if item.tegra), None)
    described = [item for item in observations if item.devices]
    nvidia = bool(driver or cuda or tegra or any(not item.devices[0].gfx for item in described))
    described = [item for item in described if bool(item.devices[0].gfx) is not nvidia]
    best = max(described, key=lambda item: completeness(item.devices)) if described else None
    if not nvidia and not best:
        return None, learnt
    kind = "cuda" if nvidia else "rocm"
    accelerator = {"kind": kind, "driver": None, "cuda": None, "devices": []}  # type: Dict[str, Any]
    old_tegra = tegra is not None and int(str(tegra.tegra).split(".")[0]) < FIRST_COMMON_TEGRA
    if driver and not old_tegra and not TEGRA_DRIVER.fullmatch(str(driver.driver)):
        accelerator["driver"], learnt["accelerator.driver"] = driver.driver, driver.source
        if any(item.wsl for item in observations):
            accelerator["driver_system"] = "Windows"
    if cuda:
        accelerator["cuda"], learnt["accelerator.cuda"] = cuda.cuda, cuda.source
    if tegra and nvidia:
        accelerator["l4t"], learnt["accelerator.l4t"] = tegra.tegra, tegra.source
    if best:
        accelerator["devices"] = [
            {key: value for key, value in device._asdict().items() if value or (key != "gfx" and nvidia)}
            for device in best.devices
        ]
        learnt["accelerator.devices"] = best.source
    learnt["accelerator.kind"] = (best or driver or cuda or tegra or observations[0]).source
    return accelerator, learnt


# ---------------------------------------------------------------------------------------------------------------
# Effects: this interpreter, this machine.
# ---------------------------------------------------------------------------------------------------------------


def read_markers() -> Dict[str, str]:
    """Read the eleven marker values, as the specification of dependency specifiers defines them."""
    implementation = sys.implementation.version
    version = f"{implementation.major}.{implementation.minor}.{implementation.micro}"
    if implementation.releaselevel != "final":
        version += implementation.releaselevel[0] + str(implementation.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": version,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


class Elf(NamedTuple):
    """What an executable's ELF header says: class (1 is 32 bit), byte order, machine, flags, program interpreter."""

    bits: int
    order: int
    machine: int
    flags: int
    interpreter: str


def read_elf(path: str) -> Optional[Elf]:
    """Read the header of the interpreter's own executable; ``None`` if it is no ELF file."""
    try:
        with Path(path).open("rb") as file:
            ident = file.read(16)
            if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
                return None
            sign = "<" if ident[5] == 1 else ">"
            wide = ident[4] == 2
            head = struct.Struct(sign + ("HHIQQQIHHH" if wide else "HHIIIIIHHH"))
            part = struct.Struct(sign + ("IIQQQQQQ" if wide else "IIIIIIII"))
            fields = head.unpack(file.read(head.size))
            name = ""
            for index in range(fields[9]):
                file.seek(fields[4] + fields[8] * index)
                entry = part.unpack(file.read(part.size))
                if entry[0] == 3:  # (PT_INTERP)
                    file.seek(entry[2 if wide else 1])
                    name = os.fsdecode(file.read(entry[5 if wide else 4])).strip("\0")
                    break
            return Elf(ident[4], ident[5], fields[1], fields[6], name)
    except (OSError, TypeError, ValueError, struct.error):
        return None


def read_glibc() -> Optional[Tuple[int, int]]:
    """Ask the C library that this process runs on for its version; ``None`` if it is not glibc."""
    text = None  # type: Optional[str]
    try:
        text = str(os.confstr("CS_GNU_LIBC_VERSION")).rsplit(None, 1)[1]
    except (AttributeError, OSError, ValueError, IndexError):
        import ctypes  # noqa: PLC0415  (what pytorch-offline imports of this file needs none of it)

        try:
            function = ctypes.CDLL(None).gnu_get_libc_version
            function.restype = ctypes.c_char_p
            text = function().decode("ascii")
        except (AttributeError, OSError, TypeError):
            return None
    match = re.match(r"([0-9]+)\.([0-9]+)", text or "")
    return (int(match.group(1)), int(match.group(2))) if match else None


def read_musl(elf: Optional[Elf]) -> Optional[Tuple[int, int]]:
    """Ask the musl loader that starts this interpreter for its version; ``None`` if it is not musl."""
    if elf is None or "musl" not in elf.interpreter:
        return None
    match = MUSL.search(run_command([elf.interpreter], errors=True))
    if not match:
        return None
    major, minor = match.group(2).split(".")
    return int(major), int(minor)


def manylinux_veto() -> Callable[[int, int, str], bool]:
    """Ask the distributor's ``_manylinux`` module, where there is one, which manylinux tags it allows."""
    try:
        module = __import__("_manylinux")
    except ImportError:
        return lambda major, minor, arch: True  # noqa: ARG005

    def allows(major: int, minor: int, arch: str) -> bool:
        if hasattr(module, "manylinux_compatible"):
            answer = module.manylinux_compatible(major, minor, arch)
            return True if answer is None else bool(answer)
        legacy = LEGACY_MANYLINUX.get((major, minor), "no such") + "_compatible"
        return bool(getattr(module, legacy, True))

    return allows


def read_platforms() -> Tuple[List[str], Optional[Tuple[str, str]]]:
    """List this machine's platform tags, and its C library if it is one that tags speak of."""
    native = normalised(sysconfig.get_platform())
    narrow = struct.calcsize("P") == 4
    if platform.system() == "Darwin":
        return mac_platforms(read_macos(), platform.mac_ver()[2]), None
    if not native.startswith("linux_"):
        return [native], None
    arch = native.split("_", 1)[1]
    if narrow:
        arch = {"x86_64": "i686", "aarch64": "armv8l"}.get(arch, arch)
    architectures = ["armv8l", "armv7l"] if arch == "armv8l" else [arch]
    elf, glibc = read_elf(sys.executable), read_glibc()
    musl = read_musl(elf)
    libc = ("glibc", glibc) if glibc else ("musl", musl) if musl else None
    if "armv7l" in architectures:  # hard-float EABI 5, little-endian (the arm ELF ABI's e_flags)
        fits = bool(elf) and elf is not None and elf[:3] == (1, 1, 40) and elf.flags & 0xFF000400 == 0x05000400
    elif arch == "i686":
        fits = elf is not None and elf[:3] == (1, 1, 3)
    else:
        fits = arch in MANYLINUX_ARCHITECTURES
    tags = linux_platforms(architectures, glibc if fits else None, musl, manylinux_veto())
    return tags, (libc[0], "{}.{}".format(*libc[1])) if libc and libc[1] else None


def read_macos() -> Tuple[int, int]:
    """Read the version of macOS; a Python built with an old SDK is told 10.16 unless it asks in a clean process."""
    text = platform.mac_ver()[0]
    if text.startswith("10.16"):
        question = "import platform; print(platform.mac_ver()[0])"
        environment = {"SYSTEM_VERSION_COMPAT": "0"}
        text = run_command([sys.executable, "-sS", "-c", question], environment=environment).strip() or text
    numbers = [int(part) for part in text.split(".")[:2]]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def read_tags(platforms: Sequence[str]) -> List[str]:
    """List the tags that this interpreter installs, best first."""
    version = (sys.version_info[0], sys.version_info[1])
    name = sys.implementation.name
    if name == "cpython":
        debug = sysconfig.get_config_var("Py_DEBUG")
        if debug is None:  # Windows does not set it
            debug = hasattr(sys, "gettotalrefcount") or "_d.pyd" in _extension_suffixes()
        pymalloc = sysconfig.get_config_var("WITH_PYMALLOC")
        free_threaded = version >= (3, 13) and bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
        abis = cpython_abis(
            version, free_threaded=free_threaded, debug=bool(debug), pymalloc=pymalloc is None or bool(pymalloc)
        )
        tags = cpython_tags(version, abis, platforms)
    else:
        short = {"pypy": "pp", "ironpython": "ip", "jython": "jy"}.get(name, name)
        digits = sysconfig.get_config_var("py_version_nodot") or "{}{}".format(*version)
        abis = abi_of_suffix(str(sysconfig.get_config_var("EXT_SUFFIX") or ""))
        tags = generic_tags(version, short + str(digits), "pp3" if short == "pp" else None, abis, platforms)
    return [tag.lower() for tag in tags]


def read_pip() -> Optional[str]:
    """Read the version of the interpreter's own pip: an old one takes fewer tags than the interpreter does."""
    try:
        import pip  # noqa: PLC0415  (the machine may have none)

        return version_or_none(str(pip.__version__))
    except Exception:  # noqa: BLE001  (a broken pip is as good as none, and may fail in any way)
        return None


def _extension_suffixes() -> Iterable[str]:
    from importlib.machinery import EXTENSION_SUFFIXES  # noqa: PLC0415  (needed on debug builds for Windows alone)

    return EXTENSION_SUFFIXES


def run_command(command: Sequence[str], *, errors: bool = False, environment: Optional[Dict[str, str]] = None) -> str:
    """Run a command and return what it prints, on standard error if ``errors``; empty if it cannot be run."""
    try:
        done = subprocess.run(
            list(command),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=COMMAND_TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stderr if errors else done.stdout).decode("utf-8", "replace")


def read_file(path: Path) -> str:
    """Read a small file; empty if it is not there."""
    try:
        return decoded(path.read_bytes())
    except OSError:
        return ""


def decoded(body: bytes) -> str:
    """Decode a text, also one that Windows PowerShell wrote (UTF-16 with a byte order mark)."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    return body.decode("utf-8-sig", "replace")


def entries(folder: str) -> List[Path]:
    """List a folder's entries, sorted; none if it is not there."""
    try:
        return sorted(Path(folder).iterdir())
    except OSError:
        return []


def find_nvidia_smi() -> Optional[str]:
    """Find nvidia-smi: on the PATH, where WSL keeps it, where Windows keeps it."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/lib/wsl/lib"]
    folders += [os.environ.get("SYSTEMROOT", "C:\\Windows") + "\\System32"]
    folders += [os.environ.get("PROGRAMFILES", "C:\\Program Files") + "\\NVIDIA Corporation\\NVSMI"]
    # Not Path.is_file: that raises where a folder of PATH may not be looked into.
    names = [Path(folder) / name for folder in folders for name in ("nvidia-smi", "nvidia-smi.exe")]
    is_file = os.path.isfile
    return next((str(name) for name in names if is_file(str(name)) and os.access(str(name), os.X_OK)), None)


def observe_nvidia() -> List[Observation]:
    """Read every NVIDIA fact that this machine shows, the kernel's own word first."""
    files = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version", "/etc/nv_tegra_release")
    observed = [parse_text(path, read_file(Path(path))) for path in files]
    smi = find_nvidia_smi()
    if smi:
        query = [smi, "--query-gpu=name,driver_version,compute_cap", "--format=csv"]
        answer = parse_text("nvidia-smi --query-gpu", run_command(query))
        if not answer.devices:  # drivers before R510 or so do not know compute_cap
            query[1] = "--query-gpu=name,driver_version"
            answer = parse_text("nvidia-smi --query-gpu", run_command(query))
        observed += [answer, parse_text("nvidia-smi", run_command([smi]))]
    observed.append(observe_libcuda())
    cards = [read_file(folder / "information") for folder in entries("/proc/driver/nvidia/gpus")]
    observed.append(parse_text("/proc/driver/nvidia/gpus", "".join(cards)))
    observed.append(parse_text("/proc/device-tree/model", read_file(Path("/proc/device-tree/model"))))
    return observed


def observe_libcuda() -> Observation:
    """Ask the CUDA driver library itself, which needs no tool and counts a cuda-compat package in."""
    import ctypes  # noqa: PLC0415  (as above)

    silent = Observation("libcuda")
    library = None
    for name in ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    if library is None:
        return silent
    number, count = ctypes.c_int(), ctypes.c_int()
    try:
        if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
            return silent
        cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
        if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return silent  # e.g. error 803 or 804: this libcuda cannot work with this driver or GPU
        devices = []
        for index in range(count.value):
            name_buffer, device = ctypes.create_string_buffer(256), ctypes.c_int()
            major, minor = ctypes.c_int(), ctypes.c_int()
            library.cuDeviceGet(ctypes.byref(device), index)
            library.cuDeviceGetName(name_buffer, len(name_buffer), device)
            library.cuDeviceGetAttribute(
                ctypes.byref(major), 75, device
            )  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
            library.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)  # ..._MINOR
            capability = f"{major.value}.{minor.value}"
            devices.append(nvidia_device(name_buffer.value.decode("utf-8", "replace"), capability))
    except AttributeError:
        return silent
    return silent._replace(cuda=cuda, devices=tuple(devices))


def observe_amd() -> List[Observation]:
    """Read the AMD compute devices that the kernel or ROCm's tools show."""
    nodes = [read_file(folder / "properties") for folder in entries("/sys/class/kfd/kfd/topology/nodes")]
    observed = [parse_text("/sys/class/kfd", "".join(nodes))]
    if observed[0].devices:
        commands = (["rocminfo"], ["/opt/rocm/bin/rocminfo"])
        observed += [parse_text("rocminfo", run_command(command)) for command in commands]
    return observed


def has_nvidia_card() -> bool:
    """Whether the PCI bus shows an NVIDIA display device, which without a driver is all that can be seen."""
    cards = [(read_file(at / "vendor").strip(), read_file(at / "class")) for at in entries("/sys/bus/pci/devices")]
    return any(vendor == "0x10de" and kind.startswith("0x03") for vendor, kind in cards)


def observe_accelerator(texts: Sequence[Observation]) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """Describe this machine's accelerator; what the user's own texts say comes first."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return {"kind": "mps"}, {"accelerator.kind": "platform"}
    accelerator, learnt = merge_accelerator(list(texts) + observe_nvidia())
    if accelerator is None:
        accelerator, learnt = merge_accelerator(observe_amd())
    if accelerator is None and has_nvidia_card():
        accelerator, learnt = {"kind": "cuda", "driver": None, "cuda": None, "devices": []}, {"accelerator.kind": "PCI"}
    if accelerator is None:
        return {"kind": "none"}, {"accelerator.kind": "neither driver, tool nor device of NVIDIA or AMD was found"}
    if "microsoft" in platform.release().lower() and accelerator["kind"] == "cuda" and accelerator["driver"]:
        accelerator["driver_system"] = "Windows"
    return accelerator, learnt


def describe(name: Optional[str] = None, texts: Sequence[Observation] = ()) -> Dict[str, Any]:
    """Describe this machine as the value of a target file."""
    markers = read_markers()
    platforms, libc = read_platforms()
    tags = read_tags(platforms)
    accelerator, learnt = observe_accelerator(texts)
    learnt.update({"marker_environment": "the interpreter", "compatible_tags": "the interpreter"})
    if libc:
        learnt["libc"] = "the interpreter"
    first = tags[0].split("-")
    conda = {"python_from": "conda"} if (Path(sys.prefix) / "conda-meta").is_dir() else {}
    return {
        "format": FORMAT,
        "name": name or f"{platforms[0]}-{first[1]}",
        "marker_environment": markers,
        "compatible_tags": list(dict.fromkeys(tags)),
        "libc": {"name": libc[0], "version": libc[1]} if libc else None,
        "pip": read_pip(),
        **conda,
        "accelerator": accelerator,
        "learnt_from": dict(sorted(learnt.items())),
    }


def write_file(path: Path, body: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        if partial.exists():
            partial.unlink()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Print or write the description of this machine."""
    import argparse  # noqa: PLC0415  (as above)

    parser = argparse.ArgumentParser(description="Describe this machine as a target of pytorch-offline.")
    parser.add_argument("-o", "--output", metavar="FILE", help="write here instead of standard output")
    parser.add_argument(
        "--from-text",
        metavar="FILE",
        nargs="+",
        default=[],
        help="outputs of nvidia-smi and the like from this same machine, where this Python cannot run them; - is stdin",
    )
    options = parser.parse_args(arguments)
    texts = []
    name = None  # type: Optional[str]
    try:
        for path in options.from_text:
            if path == "-":
                texts.append(parse_text("standard input", decoded(sys.stdin.buffer.read())))
            else:
                texts.append(parse_text(path, decoded(Path(path).read_bytes())))
        if options.output:
            name = Path(options.output).stem
        body = json.dumps(describe(name, texts), indent=2) + "\n"
        if options.output:
            write_file(Path(options.output), body.encode("ascii"))
        else:
            sys.stdout.write(body)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
