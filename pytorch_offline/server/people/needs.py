"""What a build needs from the machine, as far as names and tables say: driver, C library, macOS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.cuda_driver import read_cuda_driver_table
from pytorch_offline.knowledge.glibc_need import find_glibc_need
from pytorch_offline.matrix.builds import platforms_of
from pytorch_offline.matrix.drivers import least_driver
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import Backend, BackendKind, is_backend, parse_backend
from pytorch_offline.wheels.filename import parse_wheel_tail, split_wheel_name
from pytorch_offline.wheels.manylinux import promised_glibc

if TYPE_CHECKING:
    from packaging.version import Version

    from pytorch_offline.server.people.offers import Offer

_MACOS = re.compile(r"macosx_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_")


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaNeed:
    """What a CUDA build needs: a driver, and so what ``nvidia-smi`` shows as "CUDA Version" at least.

    ``cuda`` is the newest CUDA that the least driver covers; ``native`` is the build's own, from which on nothing is
    left to minor-version compatibility.
    """

    driver: str
    cuda: Version
    native: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an offer needs; None for what it does not need or nobody knows.

    ``kind`` is what its backend is for; None where that is not known.
    """

    kind: BackendKind | None
    nvidia: NvidiaNeed | None
    glibc: str | None
    macos: str | None


def needs_of(offer: Offer) -> Needs:
    """Say what an offer needs from the machine."""
    backend = _backend(offer)
    tags = parse_wheel_tail(split_wheel_name(offer.file.path.name)[1])
    return Needs(
        kind=None if backend is None else backend.kind,
        nvidia=_nvidia(backend, offer.system),
        glibc=_glibc(offer, {tag.platform for tag in tags}) if offer.system.startswith("linux") else None,
        macos=_macos({tag.platform for tag in tags}) if offer.system.startswith("macosx") else None,
    )


def _backend(offer: Offer) -> Backend | None:
    if is_backend(offer.backend):
        return parse_backend(offer.backend)
    if platforms_of(offer.name) == {"any"}:
        return None
    return backend_of(offer.name, offer.file.path.as_posix(), indexed_by_backend=False)


def _nvidia(backend: Backend | None, system: str) -> NvidiaNeed | None:
    if backend is None or backend.kind is not BackendKind.CUDA or backend.version is None:
        return None
    table = read_cuda_driver_table("Windows" if system.startswith("win") else "Linux")
    least = least_driver(backend.version, table)
    if least is None:
        return None
    spelt = Accelerator(kind=AcceleratorKind.CUDA, driver=least).driver_text or str(least)
    return NvidiaNeed(driver=spelt, cuda=table.shipped_with(least) or backend.version, native=backend.version)


def _glibc(offer: Offer, platforms: set[str]) -> str | None:
    """Take what the tags promise; where they promise nothing, what was measured."""
    promised = [found for platform in platforms if (found := promised_glibc(platform)) is not None]
    table = find_glibc_need(offer.name.project, offer.name.version, platforms, offer.backend)
    need = table.need if table is not None else min(promised, default=None)
    return None if need is None else f"{need[0]}.{need[1]}"


def _macos(platforms: set[str]) -> str | None:
    found = [_MACOS.match(platform) for platform in platforms]
    versions = [(int(match["major"]), int(match["minor"])) for match in found if match]
    return "{}.{}".format(*min(versions)) if versions else None
