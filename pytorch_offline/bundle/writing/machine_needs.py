"""What a lock's wheels ask of the machine: a pip that takes their names, a glibc, a driver, a device."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.bundle.format.model import CudaNeed
from pytorch_offline.knowledge.architectures import find_kernels
from pytorch_offline.knowledge.cuda_driver import FIRST_MAJOR_WITH_MINOR_COMPATIBILITY, read_cuda_driver_table
from pytorch_offline.knowledge.glibc_need import find_glibc_need
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import BackendKind
from pytorch_offline.wheels.manylinux import promised_glibc, promises_nothing
from pytorch_offline.wheels.pip_tags import taken_since

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from packaging.tags import Tag

    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.inspection import Inspection

# Every pip that is still about takes such files.
ANY_PIP = "0"
_ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>[0-9]+)(?P<minor>[0-9])(?P<suffix>[a-z]?)")
_MACHINES = ("x86_64", "aarch64")


def tags_in_use(name: WheelName, target: Target) -> frozenset[Tag]:
    """Give those tags of a wheel by which the target takes it; all of them where it takes none."""
    return name.tags & frozenset(target.tags) or name.tags


def oldest_pip(names: Iterable[WheelName], target: Target) -> str:
    """Say from which pip on every one of some wheels is taken on the target."""
    first = Version(ANY_PIP)
    for name in names:
        since = [taken_since(tag) or Version(ANY_PIP) for tag in tags_in_use(name, target)]
        first = max(first, min(since))
    return str(first)


def lowest_glibc(
    wheels: Iterable[tuple[WheelName, PurePosixPath]],
    target: Target,
    inspections: Mapping[PurePosixPath, Inspection],
) -> str | None:
    """Say on which glibc all of some wheels load; None where none is needed or known.

    What a tag promises counts; where it promises nothing, what the libraries themselves say, else the table.
    """
    if target.system != "Linux" or (target.libc is not None and target.libc.name != "glibc"):
        return None
    found = []
    for name, path in wheels:
        platforms = {tag.platform for tag in tags_in_use(name, target)}
        if all(promises_nothing(platform) for platform in platforms):
            need = inspections[path].glibc if path in inspections else None
            row = find_glibc_need(name.project, name.version, {tag.platform for tag in name.tags}, path.parent.name)
            need = need or (row.need if row is not None else None)
        else:
            promised = [promised_glibc(platform) for platform in platforms if not promises_nothing(platform)]
            need = min((one for one in promised if one is not None), default=None)
        if need is not None:
            found.append(need)
    return "{}.{}".format(*max(found)) if found else None


def cuda_need(
    backend: Backend | None, torch: WheelName, target: Target, inspection: Inspection | None
) -> CudaNeed | None:
    """Say what a CUDA build of torch asks of a driver and a device; None for every other build.

    What it has code for is known from its own list, else from the table of measured and scripted builds; what is not
    known stays empty.
    """
    if backend is None or backend.kind is not BackendKind.CUDA or backend.version is None:
        return None
    accelerator = target.accelerator
    system = (accelerator.driver_system if accelerator is not None else None) or target.system
    table = read_cuda_driver_table(system)
    by_minor = backend.version.major >= FIRST_MAJOR_WITH_MINOR_COMPATIBILITY
    own = None if inspection is None else inspection.architectures
    capabilities, ptx = _of_own_list(own) if own else _of_table(torch, backend)
    return CudaNeed(
        cuda=str(backend.version),
        toolkit_driver=_spelt_driver(table.toolkit.get(backend.version)),
        minor_floor=_spelt_driver(table.minor_compatibility.get(backend.version.major)) if by_minor else None,
        capabilities=capabilities,
        ptx=ptx,
    )


def _spelt_driver(driver: Version | None) -> str | None:
    return Accelerator(kind=AcceleratorKind.CUDA, driver=driver).driver_text


def _of_own_list(architectures: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Spell ``sm_90`` as 9.0, ``sm_90a`` as 9.0a; PTX of the specific kinds can be compiled for nothing else."""
    matches = [match for text in architectures if (match := _ARCHITECTURE.fullmatch(text)) is not None]
    native = [match for match in matches if match["kind"] == "sm"]
    ptx = [
        (int(match["major"]), int(match["minor"])) for match in matches if match not in native and not match["suffix"]
    ]
    native.sort(key=lambda match: (int(match["major"]), int(match["minor"]), match["suffix"]))
    spelt = tuple(f"{match['major']}.{match['minor']}{match['suffix']}" for match in native)
    return spelt, "{}.{}".format(*max(ptx)) if ptx else None


def _of_table(torch: WheelName, backend: Backend) -> tuple[tuple[str, ...], str | None]:
    platform = _platform_of(torch)
    kernels = None if platform is None else find_kernels(torch.version, platform, str(backend))
    if kernels is None:
        return (), None
    spelt = tuple(f"{major}.{minor}" for major, minor in sorted(kernels.cubins))
    return spelt, "{}.{}".format(*max(kernels.ptx)) if kernels.ptx else None


def _platform_of(name: WheelName) -> str | None:
    """Name a wheel's platform as the table of kernels does."""
    platforms = {tag.platform for tag in name.tags}
    if "win_amd64" in platforms:
        return "win_amd64"
    linux = [platform for platform in platforms if "linux" in platform]
    return next((f"linux_{machine}" for machine in _MACHINES for one in linux if one.endswith(machine)), None)
