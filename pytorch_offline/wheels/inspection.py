"""What a wheel's own libraries say that its file name and METADATA do not: which members tell it, and the values.

The members that count for glibc were found by measuring: of 93 default-index wheels of torch (1.0.0 to 2.15.0, x86_64
and aarch64), every shared library was read, and in none did another one need a later glibc than those named here. On
x86_64 it is the bundled ``libgomp`` that needs the most up to 2.6.0 (2.17), and ``libtorch_cpu`` with
``libtorch_python`` from 2.7.0 on (2.28); ``import torch`` loads them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.wheels.manylinux import promises_nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.zip_format import Member

# Counts the changes by which reading the same wheel again would tell something else; what was kept is read again then.
INSPECTION_VERSION = 1

# Measured: no wheel of 1.0.0 to 1.5.1 has the text, every CUDA build of 1.6.0 and later has it.
FIRST_WITH_ARCH_LIST = Version("1.6.0")

_TORCH_PYTHON = ("torch/lib/libtorch_python.so", "torch/lib/torch_python.dll")
# Every build for NVIDIA or AMD since 1.0 has one of these, no other build has.
_GPU_LIBRARY = re.compile(r"torch/lib/(?:lib)?c10_(?:cuda|hip)\.(?:so|dll)")
_TORCH_LIBRARIES = re.compile(
    r"torch/lib/lib(?:c10|torch|torch_cpu|torch_python|caffe2|(?:gomp|gfortran|cudart)(?:-[0-9a-f]+)?)\.so(?:\.[0-9.]+)?"
    r"|torch\.libs/lib[^/]+\.so(?:\.[0-9.]+)?"
)
_LIBRARY = re.compile(r".+\.so(?:\.[0-9.]+)?")
# A wheel with more libraries is judged by its largest ones: torchvision has 12, scipy 110.
_MOST_LIBRARIES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Facts read out of a wheel; each is None where it was not learnt.

    Args:
        architectures: the GPU architectures that torch was built for, spelt and ordered as
            ``torch.cuda.get_arch_list()`` prints them (``sm_70``, ``sm_90a``, ``compute_90``, ``gfx942``); empty for a
            build of torch without CUDA or ROCm. Other projects do not say theirs: None.
        glibc: the highest ``GLIBC_2.x`` symbol version that the wheel's own libraries need, as (2, x). It is only read
            where no tag promises one (``linux_x86_64``; ``manylinux1_x86_64``, whose promise is not kept): else None.
        unread: in words, why a fact was not learnt that wheels of this kind have; None if nothing is missing.
    """

    architectures: tuple[str, ...] | None = None
    glibc: tuple[int, int] | None = None
    unread: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionPlan:
    """Which members of a wheel to read.

    Args:
        torch_python: the library that holds the arch list; None if there is none, or none in it.
        has_gpu_code: whether this is a build of torch for NVIDIA or AMD; None for other projects.
        libraries: those whose need of glibc counts, ``torch_python`` among them.
    """

    torch_python: Member | None
    has_gpu_code: bool | None
    libraries: tuple[Member, ...]


def is_worth_inspecting(name: WheelName) -> bool:
    """Whether reading a wheel tells something that its name does not: its GPUs if it is torch, else its glibc."""
    if name.project == "torch":
        return any("linux" in tag.platform or tag.platform.startswith("win") for tag in name.tags)
    return all(promises_nothing(tag.platform) for tag in name.tags)


def plan_inspection(name: WheelName, members: Sequence[Member]) -> InspectionPlan:
    """Say which members of a wheel to read for the facts that it holds."""
    for_glibc = all(promises_nothing(tag.platform) for tag in name.tags)
    if name.project != "torch":
        libraries = [member for member in members if _LIBRARY.fullmatch(member.name)]
        libraries.sort(key=lambda member: member.size, reverse=True)
        return InspectionPlan(
            torch_python=None, has_gpu_code=None, libraries=tuple(libraries[:_MOST_LIBRARIES]) if for_glibc else ()
        )
    release = Version(name.version.base_version)
    has_gpu_code = any(_GPU_LIBRARY.fullmatch(member.name) for member in members)
    torch_python = next((member for member in members if member.name in _TORCH_PYTHON), None)
    return InspectionPlan(
        torch_python=torch_python if has_gpu_code and release >= FIRST_WITH_ARCH_LIST else None,
        has_gpu_code=has_gpu_code if torch_python is not None else None,
        libraries=tuple(member for member in members if _TORCH_LIBRARIES.fullmatch(member.name)) if for_glibc else (),
    )
