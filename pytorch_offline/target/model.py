"""The target: everything that is known about the machine to serve, as one value.

A target is made by a preset, by flags, by a file, or by the stand-alone probe; never by a default that looks at the
machine that runs this code. An unknown fact is ``None`` and stays so: whoever needs it asks for it by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.tags import Tag

# The eleven variables of https://packaging.python.org/specifications/dependency-specifiers/#environment-markers.
MARKER_VARIABLES = (
    "implementation_name",
    "implementation_version",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_full_version",
    "python_version",
    "sys_platform",
)
# Jetson's own parts: TK1, Nano and TX1, TX2, Xavier, Orin (NVIDIA's list of GPUs and their compute capability).
TEGRA_CAPABILITIES = frozenset({(3, 2), (5, 3), (6, 2), (7, 2), (8, 7)})
FIRST_SBSA_L4T = 38


class AcceleratorKind(StrEnum):
    """What kind of accelerator a machine has."""

    NONE = "none"
    CUDA = "cuda"
    ROCM = "rocm"
    XPU = "xpu"
    MPS = "mps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator device.

    ``compute_capability`` is NVIDIA's (major, minor), e.g. (8, 0); ``gfx`` is AMD's target, e.g. ``gfx90a``.
    """

    name: str | None = None
    compute_capability: tuple[int, int] | None = None
    gfx: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A machine's accelerator.

    ``driver`` is the kernel driver's version; ``cuda`` the user-mode CUDA version that ``nvidia-smi`` reports, which
    is above the driver's own where a cuda-compat package is at work (NVIDIA, CUDA compatibility, forward
    compatibility). Either may be unknown, and neither is ever derived from the other. ``driver_system`` names the
    system whose driver numbers ``driver`` follows where that is not the target's own: ``Windows`` under WSL. ``l4t`` is
    the release of Jetson's Linux (Linux for Tegra) where the machine is a Jetson, of which the major number may be all
    that is known.
    """

    kind: AcceleratorKind
    driver: Version | None = None
    cuda: Version | None = None
    devices: tuple[Device, ...] = ()
    driver_system: str | None = None
    l4t: Version | None = None

    @property
    def is_older_jetson(self) -> bool:
        """Whether this is a Jetson from before L4T R38: an integrated GPU with a driver and a libcuda of its own.

        Common aarch64 CUDA builds are for servers (SBSA) and have neither code nor a driver for it; from R38 (Thor) on
        Jetson is served as they are.
        """
        by_release = self.l4t is not None and self.l4t.major < FIRST_SBSA_L4T
        return by_release or any(device.compute_capability in TEGRA_CAPABILITIES for device in self.devices)

    @property
    def driver_text(self) -> str | None:
        """The driver's version as its maker spells it; AMD's numbers are not padded."""
        if self.driver is None:
            return None
        return spell_driver(self.driver) if self.kind is AcceleratorKind.CUDA else str(self.driver)


def spell_driver(driver: Version) -> str:
    """Spell a driver's version as NVIDIA does: ``535.104.05``, where ``Version`` alone would say 535.104.5."""
    if driver.base_version != str(driver):
        return str(driver)
    major, *rest = driver.release
    return ".".join([str(major), *(f"{part:02d}" for part in rest)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Libc:
    """The C library: ``name`` is ``glibc`` or ``musl``, ``version`` its (major, minor)."""

    name: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} {self.version[0]}.{self.version[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A machine to serve.

    ``tags`` is ordered, best first, without repetition. ``marker_environment`` has all of ``MARKER_VARIABLES``;
    ``platform_release`` and ``platform_version`` may be empty strings where nothing is known of them. ``learnt_from``
    says for each fact (dotted key, e.g. ``accelerator.driver``) how it was learnt. ``pip`` is the version of the pip
    that will install there, None if it is not known: an old pip takes fewer tags than the interpreter.
    """

    name: str
    marker_environment: Mapping[str, str]
    tags: tuple[Tag, ...]
    libc: Libc | None = None
    pip: Version | None = None
    accelerator: Accelerator | None = None
    python_from: str | None = None
    learnt_from: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def python_full_version(self) -> Version:
        """The target's full Python version, which Requires-Python is compared with.

        A Python built between releases says ``3.13.0+``, which is repaired as ``packaging`` does for markers.
        """
        text = self.marker_environment["python_full_version"]
        return Version(f"{text}local" if text.endswith("+") else text)

    @property
    def system(self) -> str:
        """The target's operating system as ``platform_system`` spells it: ``Linux``, ``Windows``, ``Darwin``."""
        return self.marker_environment["platform_system"]

    @property
    def machine(self) -> str:
        """The target's architecture as ``platform_machine`` spells it, e.g. ``x86_64``, ``aarch64``, ``AMD64``."""
        return self.marker_environment["platform_machine"]
