"""Plan what could be changed when nothing fits: other requests and other targets, the smallest change first.

Planning alone: nothing here knows whether a change would help. ``nearest.py`` tries them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.cuda_driver import FIRST_MAJOR_WITH_MINOR_COMPATIBILITY, read_cuda_driver_table
from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.knowledge.glibc import read_distributions
from pytorch_offline.knowledge.gpu_driver import driver_branches
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.backend import CPU
from pytorch_offline.wheels.manylinux import promised_glibc
from pytorch_offline.wheels.pip_tags import taken_since
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from packaging.tags import Tag
    from packaging.utils import NormalizedName

    from pytorch_offline.errors import UnsatisfiableError
    from pytorch_offline.selector.model import Rejection, Request
    from pytorch_offline.target.model import Accelerator, Device, Target


class Kind(IntEnum):
    """What a proposal changes, the least change first: how a request is put, then the machine, then its GPU unused."""

    NAME = 0
    BUILD = 1
    BACKEND = 2
    PRE = 3
    YANKED = 4
    CONSTRAINT = 5
    REQUIREMENT = 6
    OLDER = 7
    NEWER = 8
    WITHOUT = 9
    PIP = 10
    DRIVER = 11
    PYTHON = 12
    DEVICE = 13
    CPU = 14
    GLIBC = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One change to try.

    ``change`` says it in words; ``flags`` are the options that make it on the command line, besides the requirements.
    Of several that change the same thing, ``kind`` and ``about``, one is enough.
    """

    kind: Kind
    change: str
    request: Request
    target: Target
    flags: tuple[str, ...] = ()
    about: str = ""


# Python 3.6 is the oldest that a target can have; the newest that any recorded wheel names is 3.15.
_PYTHON_MINORS = range(6, 16)
_INTERPRETER = re.compile(r"cp3([0-9]+)")
# Of the C libraries in use (knowledge/glibc.csv), those that distributions of the last ten years have.
_GLIBC_MINORS = (17, 26, 28, 31, 34, 35, 39, 41)
# The glibc of the oldest distributions that are still kept up (RHEL 8, Debian 10); older ones are not recommended.
_OLDEST_KEPT = 28
# How many releases of a distribution an offer names.
_NAMED_DISTRIBUTIONS = 2
# Ubuntu's releases between those with long support.
_SHORT_LIVED = re.compile(r"ubuntu:([0-9][13579]|[0-9]+\.10)")
_WELL_KNOWN = ("debian", "ubuntu", "rockylinux", "rhel", "amazonlinux")


def proposals(request: Request, target: Target, refusal: UnsatisfiableError) -> Iterator[Proposal]:
    """Propose changes one at a time, the least first; those of one kind in the order in which to try them."""
    yield from _of_the_request(request, target, refusal)
    rejected = refusal.rejected if isinstance(refusal, NothingFitsError) else ()
    for move in _of_the_target(target, rejected):
        yield Proposal(kind=move.kind, change=move.change, request=request, target=move.target, flags=move.flags)


def wider_proposals(request: Request, target: Target, refusal: UnsatisfiableError) -> Iterator[Proposal]:
    """Propose two changes at once, for when no single one helped: any version, and a change of the machine."""
    free = loosened(request)
    if free == request:
        return
    text = spoken(free)
    yield Proposal(kind=Kind.REQUIREMENT, change=f"any version of {text}", request=free, target=target)
    if request.backend is not None:
        auto = replace(free, backend=None)
        yield Proposal(kind=Kind.BACKEND, change=f"any version of {text}, --backend auto", request=auto, target=target)
    rejected = (*refusal.rejected, *refusal.beyond) if isinstance(refusal, NothingFitsError) else ()
    for move in _of_the_target(target, rejected):
        change = f"{move.change} and any version of {text}"
        yield Proposal(kind=move.kind, change=change, request=free, target=move.target, flags=move.flags)
    if _has_gpu(target) and request.backend != CPU:
        yield _cpu(free, target)


def spoken(request: Request) -> str:
    """Write the roots as they are given on a command line."""
    return " ".join(_quoted(one) for one in request.requirements)


def _quoted(requirement: Requirement) -> str:
    text = str(requirement)
    return f"'{text}'" if re.search(r"[<>;\s*!\[]", text) else text


def loosened(request: Request, *, but: NormalizedName | None = None) -> Request:
    """Drop the bounds of all roots and constraints, but for those of one project."""
    return replace(
        request,
        requirements=tuple(
            one if canonicalize_name(one.name) == but else rebound(one, "") for one in request.requirements
        ),
        constraints=tuple(one for one in request.constraints if canonicalize_name(one.name) == but),
    )


def rebound(requirement: Requirement, specifier: str) -> Requirement:
    """Give a requirement other bounds; its extras and marker stay."""
    changed = Requirement(str(requirement))
    changed.specifier = SpecifierSet(specifier)
    return changed


# Changes of what is asked for.


def _of_the_request(request: Request, target: Target, refusal: UnsatisfiableError) -> Iterator[Proposal]:
    lacking = refusal.project if isinstance(refusal, NothingFitsError) else None
    if refusal.code == "project-not-found" and lacking is not None and lacking not in family_projects():
        yield from _other_names(request, target, lacking)
    yield from _other_builds(request, target)
    yield from _withheld(request, target, refusal.rejected if isinstance(refusal, NothingFitsError) else ())
    for bound in request.constraints:
        others = tuple(one for one in request.constraints if one is not bound)
        without = replace(request, constraints=others)
        change = f"without constraint {bound}"
        yield Proposal(kind=Kind.CONSTRAINT, change=change, request=without, target=target, about=str(bound))
    yield from _loosenings(request, target, lacking)
    if isinstance(refusal, NothingFitsError) and lacking is not None:
        yield from _other_versions(request, target, lacking, refusal.fitting)
    yield from _removals(request, target)
    if _has_gpu(target) and request.backend != CPU:
        yield _cpu(request, target)


def _other_builds(request: Request, target: Target) -> Iterator[Proposal]:
    """Leave open for which backend the wheels were built."""
    bare = replace(request, requirements=tuple(_without_label(one) for one in request.requirements))
    if bare != request:
        yield Proposal(kind=Kind.BUILD, change=f"{spoken(bare)}, the build left open", request=bare, target=target)
    if request.backend is not None:
        auto = replace(bare, backend=None)
        yield Proposal(kind=Kind.BACKEND, change="--backend auto", request=auto, target=target)


def _withheld(request: Request, target: Target, rejected: Sequence[Rejection]) -> Iterator[Proposal]:
    """Admit what is there, but not given unasked: pre-releases, and what its publisher yanked."""
    if not request.pre:
        pre = replace(request, pre=True)
        yield Proposal(kind=Kind.PRE, change="pre-releases admitted", request=pre, target=target, flags=("--pre",))
    for rejection in rejected:
        if rejection.reason == Reason.YANKED and rejection.file is not None:
            version = rejection.file.name.version.public
            pinned = _with_bounds(request, rejection.project, f"=={version}")
            change = f"{rejection.project} {version}, though {rejection.detail.partition(';')[0]}"
            yield Proposal(kind=Kind.YANKED, change=change, request=pinned, target=target)


def _other_names(request: Request, target: Target, unknown: NormalizedName) -> Iterator[Proposal]:
    """Propose the family's projects whose name is nearly what was written."""
    for name in get_close_matches(unknown, sorted(family_projects() - {unknown}), n=1):
        requirements = tuple(
            Requirement(re.sub(r"^[A-Za-z0-9._-]+", name, str(one))) if canonicalize_name(one.name) == unknown else one
            for one in request.requirements
        )
        renamed = replace(request, requirements=tuple(dict.fromkeys(requirements)))
        if renamed.requirements != request.requirements:
            change = f"{name} instead of {unknown}"
            yield Proposal(kind=Kind.NAME, change=change, request=renamed, target=target, about=name)


def _loosenings(request: Request, target: Target, lacking: NormalizedName | None) -> Iterator[Proposal]:
    """Loosen one root at a time, the last named first: what comes first in a command is what matters most.

    The project that lacks a wheel is left to ``_other_versions``, which stays nearer to what was asked for.
    """
    if len(request.requirements) == 1:
        return
    for one in reversed(request.requirements):
        if not one.specifier or canonicalize_name(one.name) == lacking:
            continue
        requirements = tuple(rebound(root, "") if root is one else root for root in request.requirements)
        loose = replace(request, requirements=requirements)
        change, about = f"{one.name} without {one.specifier}", canonicalize_name(one.name)
        yield Proposal(kind=Kind.REQUIREMENT, change=change, request=loose, target=target, about=about)


def _removals(request: Request, target: Target) -> Iterator[Proposal]:
    """Leave out one root at a time, the last named first."""
    for one in reversed(request.requirements) if len(request.requirements) > 1 else ():
        fewer = replace(request, requirements=tuple(root for root in request.requirements if root is not one))
        change, about = f"without {one}", canonicalize_name(one.name)
        yield Proposal(kind=Kind.WITHOUT, change=change, request=fewer, target=target, about=about)


def _other_versions(
    request: Request, target: Target, project: NormalizedName, fitting: Sequence[Version]
) -> Iterator[Proposal]:
    """Propose the newest version below what was asked for and the oldest above, companions free to follow."""
    bounds = [one for one in request.requirements if canonicalize_name(one.name) == project and one.specifier]
    named = sorted(version for one in bounds for text in one.specifier if (version := _read(text.version)) is not None)
    if not named:
        return
    # A version's builds differ in nothing that a requirement without a local label names.
    releases = {release_of(version) for version in fitting}
    finals = {version for version in releases if not version.is_prerelease} or releases
    for kind, version, beyond in (
        (Kind.OLDER, max((one for one in finals if one < named[0]), default=None), f"<{named[0].public}"),
        (Kind.NEWER, min((one for one in finals if one > named[-1]), default=None), f">{named[-1].public}"),
    ):
        specifiers = [beyond] if version is None else [f"=={version}", beyond]
        near = [_with_bounds(request, project, specifier) for specifier in specifiers]
        for other in dict.fromkeys((*near, *(loosened(one, but=project) for one in near))):
            yield Proposal(kind=kind, change=spoken(other), request=other, target=target)


def _with_bounds(request: Request, project: NormalizedName, specifier: str) -> Request:
    """Replace all bounds on one project; a project that no root names gets a constraint."""
    is_root = any(canonicalize_name(one.name) == project for one in request.requirements)
    others = tuple(one for one in request.constraints if canonicalize_name(one.name) != project)
    return replace(
        request,
        requirements=tuple(
            rebound(one, specifier) if canonicalize_name(one.name) == project else one for one in request.requirements
        ),
        constraints=others if is_root else (*others, Requirement(f"{project}{specifier}")),
    )


def _without_label(requirement: Requirement) -> Requirement:
    specifier = ",".join(re.sub(r"\+.*", "", str(one)) for one in requirement.specifier)
    return requirement if specifier == str(requirement.specifier) else rebound(requirement, specifier)


def _read(version: str) -> Version | None:
    try:
        return release_of(Version(version.removesuffix(".*")))
    except InvalidVersion:  # the arbitrary text of `===`
        return None


def _has_gpu(target: Target) -> bool:
    kinds = {AcceleratorKind.CUDA, AcceleratorKind.ROCM, AcceleratorKind.XPU}
    return target.accelerator is not None and target.accelerator.kind in kinds


def _cpu(request: Request, target: Target) -> Proposal:
    bare = replace(request, requirements=tuple(_without_label(one) for one in request.requirements), backend=CPU)
    return Proposal(kind=Kind.CPU, change="--backend cpu", request=bare, target=target, flags=("--backend", "cpu"))


# Changes of the machine.


class _Move(NamedTuple):
    """A change of the machine, whatever is asked of it."""

    kind: Kind
    change: str
    target: Target
    flags: tuple[str, ...] = ()


def _of_the_target(target: Target, rejected: Sequence[Rejection]) -> Iterator[_Move]:
    yield from _other_pips(target, rejected)
    if target.accelerator is not None:
        yield from _newer_drivers(target, target.accelerator)
        yield from _fewer_devices(target, target.accelerator)
    yield from _other_pythons(target, rejected)
    yield from _newer_glibcs(target, rejected)


def _other_pips(target: Target, rejected: Sequence[Rejection]) -> Iterator[_Move]:
    own = frozenset(target.tags)
    tags = {tag for one in rejected if one.reason == Reason.PIP_TOO_OLD for tag in _tags(one) if tag in own}
    for pip in sorted({since for tag in tags if (since := taken_since(tag)) is not None}):
        yield _Move(Kind.PIP, f"pip {pip} or later on the target", replace(target, pip=pip))


def _newer_drivers(target: Target, accelerator: Accelerator) -> Iterator[_Move]:
    """Propose the least drivers that admit more CUDA versions, lowest first; what the table calls a floor."""
    if accelerator.kind is not AcceleratorKind.CUDA or (accelerator.driver is accelerator.cuda is None):
        return
    table = read_cuda_driver_table(accelerator.driver_system or target.system)
    old = (least for cuda, least in table.toolkit.items() if cuda.major < FIRST_MAJOR_WITH_MINOR_COMPATIBILITY)
    chips = (driver_branches(one.compute_capability).first for one in accelerator.devices if one.compute_capability)
    floors = {*old, *table.minor_compatibility.values(), *(Version(str(first)) for first in chips if first)}
    if accelerator.driver is None:  # its user-mode CUDA is known instead, and runs all of its own major
        major = accelerator.cuda.major if accelerator.cuda is not None else 0
        floors = {least for cuda, least in table.minor_compatibility.items() if cuda > major}
    for floor in sorted(floors):
        if accelerator.driver is None or floor > accelerator.driver:
            # The driver brings the user-mode CUDA with it.
            newer = replace(accelerator, driver=floor, cuda=None)
            change = f"driver {newer.driver_text} or later"
            flags = ("--driver", newer.driver_text or "")
            yield _Move(Kind.DRIVER, change, replace(target, accelerator=newer), flags)


def _fewer_devices(target: Target, accelerator: Accelerator) -> Iterator[_Move]:
    kinds: dict[tuple[object, ...], list[Device]] = {}
    for device in accelerator.devices:
        kinds.setdefault((device.compute_capability, device.gfx), []).append(device)
    if len(kinds) < 2:  # noqa: PLR2004  (the machine is not mixed)
        return
    for hidden in sorted(kinds.values(), key=len):
        kept = tuple(device for device in accelerator.devices if device not in hidden)
        names = ", ".join(dict.fromkeys(_name(device) for device in hidden))
        flags = tuple(part for device in kept for part in _device_flags(device))
        fewer = replace(target, accelerator=replace(accelerator, devices=kept))
        yield _Move(Kind.DEVICE, f"without the {names} (hide it with CUDA_VISIBLE_DEVICES)", fewer, flags)


def _name(device: Device) -> str:
    if device.name:
        return device.name
    if device.compute_capability is not None:
        return "GPU of compute capability {}.{}".format(*device.compute_capability)
    return device.gfx or "GPU that is not known"


def _device_flags(device: Device) -> tuple[str, ...]:
    if device.name:
        return ("--gpu", device.name)
    if device.compute_capability is not None:
        return ("--compute-capability", "{}.{}".format(*device.compute_capability))
    return ("--gfx", device.gfx) if device.gfx else ()


def _other_pythons(target: Target, rejected: Sequence[Rejection]) -> Iterator[_Move]:
    """Propose the Pythons that wheels were rejected for, nearest first; a newer one before an older one as near."""
    if target.marker_environment["implementation_name"] != "cpython":
        return
    platforms = frozenset(tag.platform for tag in target.tags)
    built = {
        int(match[1])
        for one in rejected
        for tag in _tags(one)
        if (match := _INTERPRETER.fullmatch(tag.interpreter)) and tag.platform in platforms
    }
    by_page = any(one.reason == Reason.REQUIRES_PYTHON for one in rejected)
    own = target.python_full_version.minor
    offered = [minor for minor in _PYTHON_MINORS if minor != own and (by_page or minor in built)]
    for minor in sorted(offered, key=lambda one: (abs(one - own), -one)):
        changed = _built(target, TargetFlags(python_version=f"3.{minor}"))
        if changed is not None:
            yield _Move(Kind.PYTHON, f"Python 3.{minor}", changed, ("--python-version", f"3.{minor}"))


def _newer_glibcs(target: Target, rejected: Sequence[Rejection]) -> Iterator[_Move]:
    if target.libc is None or target.system != "Linux":
        return
    # Who leaves musl takes an image of today.
    own = target.libc.version[1] if target.libc.name == "glibc" else _OLDEST_KEPT - 1
    minors = {
        least[1]
        for one in rejected
        for tag in _tags(one)
        if tag.platform.endswith(f"_{target.machine}") and (least := promised_glibc(tag.platform)) is not None
    }
    if any(one.reason == Reason.GLIBC for one in rejected):
        minors |= set(_GLIBC_MINORS)
    for minor in sorted(minor for minor in minors if minor > own):
        changed = _built(target, TargetFlags(glibc=f"2.{minor}"))
        if changed is not None:
            images = _distributions(minor)
            instead = "" if target.libc.name == "glibc" else f" instead of {target.libc.name}"
            change = f"glibc 2.{minor} or later{instead}{f' ({images})' if images else ''}"
            yield _Move(Kind.GLIBC, change, changed, ("--glibc", f"2.{minor}"))


def _distributions(minor: int) -> str:
    """Name well-known distributions that have this glibc, or the next above."""
    known = [(one.glibc, one.name) for one in read_distributions() if one.glibc is not None and one.certain]
    able = sorted(
        (glibc, _WELL_KNOWN.index(family), name)
        for glibc, name in known
        if glibc >= (2, max(minor, _OLDEST_KEPT))
        and (family := name.partition(":")[0]) in _WELL_KNOWN
        and not _SHORT_LIVED.match(name)
    )
    families: dict[int, str] = {}
    for _, position, name in able:
        families.setdefault(position, name)
    return ", ".join([families[position] for position in sorted(families)][:_NAMED_DISTRIBUTIONS])


def _built(target: Target, flags: TargetFlags) -> Target | None:
    """Change a fact of the target; None where it cannot be changed by itself."""
    try:
        return build_target(flags, target)
    except UsageError:
        return None


def _tags(rejection: Rejection) -> frozenset[Tag]:
    return rejection.file.name.tags if rejection.file is not None else frozenset()
