"""What pasted texts say of a system and its interpreter: libc, distribution, architecture, macOS, Windows, Python.

Each shape is a pattern of its own, so several outputs may stand in one file in any order. A fact that a text does not
say stays ``None``; what only looks like a fact (the glibc in ``platform.platform()``, conda's own Python while another
environment is active) is left alone, each for the reason beside its pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytorch_offline.target import probe

# Of /etc/os-release, and of /etc/lsb-release with its prefix.
_OS_RELEASE = re.compile(
    r"^[ \t]*(ID|VERSION_ID|NAME|PRETTY_NAME|PLATFORM_ID|UBUNTU_CODENAME|DISTRIB_DESCRIPTION)=[\"']?([^\"'\n]*)",
    re.MULTILINE,
)
# lsb_release -a, hostnamectl, collect_env's "OS: Ubuntu 22.04.3 LTS (x86_64)", conda's and hardware tools' like.
_DESCRIBED = re.compile(
    r"^[ \t]*(?:Description|Operating System|OS|操作系统|描述)[ \t]*[:\uff1a][ \t]*(\S.*?)[ \t]*$", re.MULTILINE
)
# /etc/redhat-release and its like; /etc/issue, which ends with "\n \l".
_RELEASE_FILE = re.compile(
    r"^((?:Red Hat|CentOS|Rocky|AlmaLinux|Oracle|Fedora|Amazon|Anolis|Kylin|openEuler|uos|Scientific|TencentOS)"
    r"[^\n]*? release [^\n]+|(?:Ubuntu [0-9.]+|Debian GNU/Linux [0-9]+)[^\n\\]*) *(?:\\n \\l)?$",
    re.MULTILINE,
)
# ldd --version has one first line in every language, then a copyright in the user's.
LDD = re.compile(r"^[ \t]*ldd [(\uff08][^)\uff09\n]*[)\uff09] ?([0-9]+\.[0-9]+)", re.MULTILINE)
_GETCONF = re.compile(r"^[ \t]*glibc ([0-9]+\.[0-9]+)\s*$", re.MULTILINE)
_LIBC_ITSELF = re.compile(r"^GNU C Library .*release version ([0-9]+\.[0-9]+)", re.MULTILINE)
_LIBC_VER = re.compile(r"\('glibc', '([0-9]+\.[0-9]+)'\)")
_LIBC_PACKAGE = re.compile(  # rpm -q glibc, dpkg -l libc6
    r"^(?:glibc-|ii +libc6(?::\w+)? +)([0-9]+\.[0-9]+)\S*?(?:\.(x86_64|aarch64))?(?:\s|$)", re.MULTILINE
)
_CONDA_GLIBC = re.compile(r"\b__glibc=([0-9]+\.[0-9]+)=")
_COLLECTED_LIBC = re.compile(r"^Libc version: glibc-([0-9]+\.[0-9]+)\s*$", re.MULTILINE)
_FIRST_TRUE_LIBC_VER = (3, 8)  # before, platform.libc_ver() reads symbol versions out of the interpreter (bpo-35389)

_PYTHON_NUMBER = r"3\.[0-9]{1,2}\.[0-9]{1,3}(?:(?:a|b|rc)[0-9]+)?"
PYTHON = re.compile(rf"^[ \t]*(?:>>> *)?Python ({_PYTHON_NUMBER})(?![0-9])([^\n]*)", re.MULTILINE)
_KEYED_PYTHON = re.compile(
    rf"^[ \t]*(?:Python version|sys\.version)[ \t]*:[ \t]*({_PYTHON_NUMBER}|3\.[0-9]{{1,2}})(?![0-9.])([^\n]*)",
    re.MULTILINE,
)
_CONDA_LIST = re.compile(rf"^python +({_PYTHON_NUMBER}) +(\S*)", re.MULTILINE)
_PIP = re.compile(r"\bpip ([0-9][0-9a-z.]*) from \S.* \(python (3\.[0-9]{1,2})\)")
_CONDA_PYTHON = re.compile(rf"^ *python version : ({_PYTHON_NUMBER})\.final", re.MULTILINE)
_CONDA_ACTIVE = re.compile(r"^ *active environment : (\S+)", re.MULTILINE)
_CONDA = re.compile(
    r"^ *conda version : |^# packages in environment at |\| packaged by (?:conda-forge|Anaconda)", re.MULTILINE
)
_PYPY = re.compile(r"^\[PyPy ", re.MULTILINE)

_LINUX_MACHINES = "x86_64|aarch64|arm64|ppc64le|s390x|riscv64|loongarch64|armv7l"
_UNAME = re.compile(rf"^[ \t]*Linux \S+ (\S+) [^\n]*?\b({_LINUX_MACHINES})\b[^\n]*$", re.MULTILINE)
_BARE_MACHINE = re.compile(rf"^[ \t]*({_LINUX_MACHINES}|AMD64|ARM64)[ \t]*$", re.MULTILINE)
_KEYED_MACHINE = re.compile(  # lscpu, hostnamectl, Windows' set
    r"^[ \t]*(?:Architecture|架构|体系结构|PROCESSOR_ARCHITECTURE)[ \t]*[:\uff1a=][ \t]*"
    r"(x86[-_]64|aarch64|arm64|AMD64|ARM64)[ \t]*$",
    re.MULTILINE,
)
_COLLECTED_MACHINE = re.compile(
    r"^(?:Python platform: Linux-\S*?-|OS: .*\()(x86_64|aarch64)(?:-with\S*|\))\s*$", re.MULTILINE
)
_CONDA_PLATFORM = re.compile(r"^ *platform : (linux|osx|win)-(64|aarch64|arm64)\b", re.MULTILINE)
_WINDOWS = re.compile(
    r"Microsoft Windows (?:\[[^\]\n]*10\.0\.|1[01]|Server)|^ *(?:Python platform: )?Windows-1[01]-", re.MULTILINE
)
_WINDOWS_TYPE = re.compile(r"\b(x64|ARM64)-based PC\b", re.IGNORECASE)
_WINDOWS_MACHINE = re.compile(r"^[ \t]*(?:PROCESSOR_ARCHITECTURE[ \t]*=[ \t]*)?(?:AMD64|ARM64)[ \t]*$", re.MULTILINE)
_DRIVER_MODEL = re.compile(r"[|\u2502]\s+[0-9]+\s+\S.*?\s(?:WDDM|TCC|MCDM)\s*[|\u2502]")
_DARWIN = re.compile(r"^[ \t]*Darwin \S+ ([0-9]+)\.\S+ Darwin Kernel Version .*?(arm64|x86_64)\s*$", re.MULTILINE)
_MACOS = re.compile(
    r"^[ \t]*(?:ProductVersion:|System Version: macOS|OS: macOS|Python platform: macOS-)[ \t]*([0-9]{2}(?:\.[0-9]+)?)",
    re.MULTILINE,
)
_MAC_CHIP = re.compile(
    r"^[ \t]*(?:Chip|Chipset Model|Processor Name|芯片|处理器名称)[:\uff1a][ \t]*(Apple|.*Intel)", re.MULTILINE
)
_MAC_PLATFORM = re.compile(r"^(?:Python platform|OS): macOS[- ][0-9.]+[- (]+(arm64|x86_64)", re.MULTILINE)
_NVRM = re.compile(r"^NVRM version: NVIDIA .*?\b(x86_64|aarch64)\b", re.MULTILINE)
_NVCC = re.compile(r"^Cuda compilation tools, release ([0-9.]+)", re.MULTILINE)

_MACHINES = {"x86-64": "x86_64", "amd64": "x86_64", "x64": "x86_64", "64": "x86_64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFacts:
    """What one text says; ``None`` where it says nothing.

    ``python`` is a full version or, where only that is said, ``3.10``; ``pip`` the version of its pip. ``system`` is as
    ``platform.system()`` spells it, ``machine`` as wheel tags of Linux do (``arm64`` on macOS), ``libc`` the name and
    version, ``macos`` the version; ``distributions`` are the names to look the distribution up by, the surest first.
    ``nvcc`` is shown to people and never used: it says what compiles there, not what runs.
    """

    source: str
    python: str | None = None
    free_threaded: bool = False
    pypy: bool = False
    conda: bool = False
    pip: str | None = None
    system: str | None = None
    machine: str | None = None
    libc: tuple[str, str] | None = None
    distributions: tuple[str, ...] = ()
    macos: str | None = None
    wsl: bool = False
    nvcc: str | None = None


def parse_system(source: str, text: str) -> SystemFacts:
    """Read what one text says of system and interpreter."""
    python, free_threaded = _python(text)
    pip = _PIP.search(text)
    macos = _macos(text)
    libc = _libc(text, python)
    distributions = _distributions(text)
    uname = _UNAME.search(text)
    nvcc = _NVCC.search(text)
    conda_platform = _CONDA_PLATFORM.search(text)
    system = {"linux": "Linux", "osx": "Darwin", "win": "Windows"}[conda_platform[1]] if conda_platform else None
    if uname or libc or distributions:
        system = "Linux"
    elif macos or _MAC_CHIP.search(text):
        system = "Darwin"
    elif any(pattern.search(text) for pattern in (_WINDOWS, _WINDOWS_TYPE, _WINDOWS_MACHINE, _DRIVER_MODEL)):
        system = "Windows"
    return SystemFacts(
        source=source,
        python=python or (pip[2] if pip else None),
        free_threaded=free_threaded,
        pypy=bool(_PYPY.search(text)),
        conda=bool(_CONDA.search(text)),
        pip=pip[1] if pip else None,
        system=system,
        machine=_machine(text),
        libc=libc,
        distributions=distributions,
        macos=macos,
        wsl=bool(uname and "microsoft" in uname[1].lower()),
        nvcc=nvcc[1].rstrip(".") if nvcc else None,
    )


def _python(text: str) -> tuple[str | None, bool]:
    """Read the interpreter's version and whether it is a free-threaded build."""
    for pattern in (PYTHON, _KEYED_PYTHON, _CONDA_LIST):
        if found := pattern.search(text):
            # "3.13.0 experimental free-threading build (main, …)"; conda's build string "h…_1_cp313t".
            return found[1], "free-threading" in found[2] or bool(re.search(r"_cp3[0-9]+t\b", found[2]))
    conda, active = _CONDA_PYTHON.search(text), _CONDA_ACTIVE.search(text)
    # conda info shows the Python that conda itself runs on, which is that of the base environment.
    if conda and active and active[1] in {"base", "None"}:
        return conda[1], False
    return None, False


def _libc(text: str, python: str | None) -> tuple[str, str] | None:
    for pattern in (LDD, _GETCONF, _LIBC_ITSELF, _LIBC_PACKAGE, _CONDA_GLIBC):
        if found := pattern.search(text):
            return "glibc", found[1]
    if musl := probe.MUSL.search(text):
        return "musl", musl.group(2)
    version = tuple(int(part) for part in python.split(".")[:2]) if python else None
    if version is not None and version >= _FIRST_TRUE_LIBC_VER:
        for pattern in (_COLLECTED_LIBC, _LIBC_VER):
            if found := pattern.search(text):
                return "glibc", found[1]
    return None


def _distributions(text: str) -> tuple[str, ...]:
    """List the names by which the distribution may be known, the surest first."""
    release = {key: value.strip() for key, value in reversed(_OS_RELEASE.findall(text))}
    names = []
    if "ID" in release and release.get("NAME") != "Kylin":  # Kylin's desktop edition has another C library
        names.append(f"{release['ID']}:{release.get('VERSION_ID', '')}")
    names += [release[key] for key in ("PRETTY_NAME", "DISTRIB_DESCRIPTION", "UBUNTU_CODENAME") if key in release]
    if rebuild := re.fullmatch(r"platform:(el[0-9]+)", release.get("PLATFORM_ID", "")):
        names.append(rebuild[1])  # what modules are built for: an unknown rebuild of Enterprise Linux
    described = [item for item in _DESCRIBED.findall(text) if "Windows" not in item and "macOS" not in item]
    found = [name.strip() for name in [*names, *described, *_RELEASE_FILE.findall(text)]]
    return tuple(dict.fromkeys(name for name in found if name.strip(":")))


def _machine(text: str) -> str | None:
    """Read the architecture as Linux's tags spell it; macOS's ``arm64`` stays."""
    uname, musl, package = _UNAME.search(text), probe.MUSL.search(text), _LIBC_PACKAGE.search(text)
    conda = _CONDA_PLATFORM.search(text)
    chip = _MAC_CHIP.search(text)
    found = [uname[2] if uname else None]
    found += [match[1] for pattern in (_KEYED_MACHINE, _COLLECTED_MACHINE, _NVRM) if (match := pattern.search(text))]
    found += [musl[1] if musl else None, package[2] if package else None, conda[2] if conda else None]
    found += [match[2] for match in [_DARWIN.search(text)] if match]
    found += [match[1] for pattern in (_MAC_PLATFORM, _WINDOWS_TYPE, _BARE_MACHINE) if (match := pattern.search(text))]
    found.append(("arm64" if chip[1] == "Apple" else "x86_64") if chip else None)
    said = next((item for item in found if item), None)
    return _MACHINES.get(said.lower(), said.lower()) if said else None


def _macos(text: str) -> str | None:
    if found := _MACOS.search(text):
        return found[1]
    # Darwin 20 is macOS 11, 24 is 15; from 25 on macOS counts years (26). Since 11 only the major number matters.
    darwin = _DARWIN.search(text)
    major = int(darwin[1]) if darwin and len(darwin[1]) == 2 else 0  # noqa: PLR2004  (two digits)
    if major < 20:  # noqa: PLR2004  (macOS 10, whose minor number would have to be known)
        return None
    return f"{major - 9 if major < 25 else major + 1}.0"  # noqa: PLR2004  (see above)
