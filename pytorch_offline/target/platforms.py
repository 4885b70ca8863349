"""Platforms: operating system, architecture and C library, as one value made from a flag's text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.target import probe
from pytorch_offline.target.model import Libc

if TYPE_CHECKING:
    from collections.abc import Mapping

# Linux architectures as tags spell them: those with manylinux tags (PEP 600) and the two 32-bit ones that CPython is
# commonly built for.
_LINUX_ARCHITECTURES = (*probe.MANYLINUX_ARCHITECTURES, "i686", "armv7l")
_LINUX = re.compile(
    r"(?:linux|manylinux_2_(?P<glibc>[0-9]{1,2})|(?P<legacy>manylinux(?:1|2010|2014))"
    r"|musllinux_(?P<musl>[0-9]{1,2}_[0-9]{1,2}))_(?P<arch>[a-z0-9_]+)"
)
_MACOS = re.compile(r"macosx_(?P<major>[0-9]{1,2})_(?P<minor>[0-9]{1,2})_(?P<arch>arm64|x86_64)")
# Tag to platform.machine(): Windows spells its architectures in capitals.
_WINDOWS = {"win_amd64": "AMD64", "win_arm64": "ARM64", "win32": "x86"}
# What people call the platforms that most machines have; an error names what is probably meant.
_COMMON_NAMES = {
    **dict.fromkeys(("linux", "linux64", "x86_64", "amd64", "x64", "linux_amd64", "linux_x64"), "linux_x86_64"),
    **dict.fromkeys(("aarch64", "arm64", "linux_arm64", "linux_aarch"), "linux_aarch64"),
    **dict.fromkeys(("windows", "win", "win64", "win_x86_64", "win_x64", "windows_amd64"), "win_amd64"),
    **dict.fromkeys(("windows_arm64", "win_aarch64"), "win_arm64"),
    **dict.fromkeys(("macos", "mac", "darwin", "osx", "macosx", "macos_arm64", "macosx_arm64"), "macosx_14_0_arm64"),
}
_LEGACY_GLIBC = {name: version for version, name in probe.LEGACY_MANYLINUX.items()}
EXAMPLES = "linux_x86_64, linux_aarch64, manylinux_2_28_x86_64, win_amd64, win_arm64, macosx_14_0_arm64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform.

    ``system`` is as ``platform.system()`` spells it, ``machine`` as ``platform.machine()``, ``arch`` as tags do.
    ``macos`` is the (major, minor) of macOS.
    """

    system: str
    machine: str
    arch: str
    libc: Libc | None = None
    macos: tuple[int, int] | None = None

    @property
    def short_name(self) -> str:
        """The platform in a target's name: ``linux_x86_64``, ``win_amd64``, ``macosx_14_0_arm64``."""
        if self.macos is not None:
            return f"macosx_{self.macos[0]}_{self.macos[1]}_{self.arch}"
        return f"linux_{self.arch}" if self.system == "Linux" else self.arch

    def tags(self) -> tuple[str, ...]:
        """List the platform tags, best first.

        Raises:
            UsageError: ``glibc-not-given`` if this is a Linux of unknown C library.
        """
        if self.macos is not None:
            return tuple(probe.mac_platforms(self.macos, self.arch))
        if self.system == "Windows":
            return (self.arch,)
        if self.libc is None:
            raise UsageError(
                "glibc-not-given",
                f"the C library of {self.short_name} is not known, and wheels depend on it",
                hint="say it with --glibc (e.g. --glibc 2.35; `ldd --version` tells) or --preset (e.g. --preset "
                "ubuntu22.04), or ask for a lowest one with --platform manylinux_2_28_" + self.arch,
            )
        version = self.libc.version
        if self.libc.name == "musl":
            return tuple(probe.linux_platforms([self.arch], musl=version))
        return tuple(probe.linux_platforms([self.arch], glibc=version))

    def markers(self) -> Mapping[str, str]:
        """Give the marker values that the platform decides; release and version are not known of a described one."""
        os_name, sys_platform = {
            "Linux": ("posix", "linux"),
            "Darwin": ("posix", "darwin"),
            "Windows": ("nt", "win32"),
        }[self.system]
        return {
            "os_name": os_name,
            "sys_platform": sys_platform,
            "platform_machine": self.machine,
            "platform_system": self.system,
            "platform_release": "",
            "platform_version": "",
        }


def _meant(plain: str) -> str:
    meant = _COMMON_NAMES.get(plain)
    return f"did you mean {meant}? " if meant else ""


def parse_platform(text: str) -> Platform:
    """Read a platform: ``linux_x86_64``, ``manylinux_2_28_aarch64``, ``win_amd64``, ``macosx_14_0_arm64`` ….

    Raises:
        UsageError: ``unknown-platform`` if the text names none that we can describe.
    """
    plain = text.strip().lower().replace("-", "_").replace(".", "_")
    if plain in _WINDOWS:
        return Platform(system="Windows", machine=_WINDOWS[plain], arch=plain)
    if mac := _MACOS.fullmatch(plain):
        version, arch = (int(mac["major"]), int(mac["minor"])), mac["arch"]
        if version >= ((11, 0) if arch == "arm64" else (10, 4)):
            return Platform(system="Darwin", machine=arch, arch=arch, macos=version)
    linux = _LINUX.fullmatch(plain)
    if linux is None or linux["arch"] not in _LINUX_ARCHITECTURES:
        hint = f"{_meant(plain)}platforms are spelt {EXAMPLES}"
        raise UsageError("unknown-platform", f"{text!r} is not a platform", hint=hint)
    platform = Platform(system="Linux", machine=linux["arch"], arch=linux["arch"])
    if linux["musl"]:
        major, minor = map(int, linux["musl"].split("_"))
        return replace(platform, libc=Libc(name="musl", version=(major, minor)))
    if linux["legacy"]:
        return replace(platform, libc=Libc(name="glibc", version=_LEGACY_GLIBC[linux["legacy"]]))
    if linux["glibc"]:
        return replace(platform, libc=Libc(name="glibc", version=(2, int(linux["glibc"]))))
    return platform
