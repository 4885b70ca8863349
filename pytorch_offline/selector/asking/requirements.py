"""Read one requirement as users write them, on the command line and in requirements files.

What cannot be honoured is an error that names it, never ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.addresses import redacted_text
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.direct_wheels import is_address, parse_direct_wheel
from pytorch_offline.wheels.metadata import MAX_LINE

if TYPE_CHECKING:
    from packaging.utils import NormalizedName

    from pytorch_offline.selector.asking.requirement_files import RequirementLine
    from pytorch_offline.selector.model import DirectWheel

# What PyTorch is called elsewhere: by people, and by conda. On the default index these names are other people's.
_OTHER_NAMES = {
    "pytorch": "PyTorch's wheels are called torch: write torch",
    "pytorch-cuda": "that is conda's; say --driver (or --backend cu121), and torch's build is chosen by it",
    "pytorch-cpu": "that is conda's; write torch and --backend cpu",
    "pytorch-gpu": "that is conda's; write torch and say --driver",
    "torch-gpu": "write torch and say --driver; the CUDA build is chosen by it",
    "cudatoolkit": "that is conda's; torch's wheels bring the CUDA libraries that they need",
}
_CONDAS_CUDA = frozenset({"pytorch-cuda", "cudatoolkit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing that is asked for.

    Args:
        requirement: what is asked; for a wheel by address, its project pinned to its version.
        wheel: the very wheel, where an address asks for it.
        sha256s: the hashes of which the file must have one; empty if nothing is said.
        hashed: whether ``--hash`` says them, not the address alone.
        constraint: whether it only bounds a project that is needed anyway.
        where: the place that asks, for messages.
    """

    requirement: Requirement
    where: str
    wheel: DirectWheel | None = None
    sha256s: frozenset[str] = frozenset()
    hashed: bool = False
    constraint: bool = False

    @property
    def project(self) -> NormalizedName:
        """The project, normalised."""
        return canonicalize_name(self.requirement.name)


def parse_ask(line: RequirementLine) -> Ask:
    """Read a line of a requirements file.

    Raises:
        UsageError: as ``parse_requirement`` and ``parse_direct_wheel``; ``bad-hash`` if none of the line's hashes is a
            sha256, which alone is compared here; ``bad-constraint`` for one with extras.
    """
    where = str(line.place)
    if len(line.text) > MAX_LINE:
        raise UsageError(
            "bad-requirement",
            f"{where}: {redacted_text(line.text)[:40]!r} … goes on for {len(line.text)} characters",
            hint=f"nothing that is asked for needs more than {MAX_LINE}",
        )
    requirement, wheel = parse_requirement(line.text, where)
    sha256s = frozenset(text.removeprefix("sha256:") for text in line.hashes if text.startswith("sha256:"))
    if line.hashes and not sha256s:
        raise UsageError(
            "bad-hash",
            f"{where}: only sha256 is compared here, and none of the hashes is one",
            hint="add --hash=sha256:…; `pip hash` and `uv export` write it",
        )
    if wheel is not None and wheel.sha256 is not None:
        sha256s |= {wheel.sha256}  # pip adds the address's hash to the allowed ones
    if line.constraint and requirement.extras:
        raise UsageError("bad-constraint", f"{where}: a constraint can have no extras, as {line.text!r} has")
    return Ask(
        requirement=requirement,
        wheel=wheel,
        sha256s=sha256s,
        hashed=bool(line.hashes),
        constraint=line.constraint,
        where=where,
    )


def parse_requirement(text: str, where: str) -> tuple[Requirement, DirectWheel | None]:
    """Read one requirement (PEP 508), a URL or a path of a wheel.

    Raises:
        UsageError: ``bad-requirement`` with the text and where it stood; what ``parse_direct_wheel`` says.
    """
    if is_address(text):
        return _parse_address(text, where)
    try:
        requirement = Requirement(text.rstrip().removesuffix(";"))  # pip takes an empty marker
    except (InvalidRequirement, RecursionError) as error:  # a marker may nest without end
        _check_name(text, where)  # conda's way to name a version (=) is no reason to keep what is wrong beside it
        detail = str(error).splitlines()[0]
        raise UsageError(
            "bad-requirement",
            f"{where}: {redacted_text(text)!r} is not a requirement ({redacted_text(detail)})",
            hint=_meant(text),
        ) from error
    _check_name(text, where)
    if requirement.url is None:
        return requirement, None
    wheel = parse_direct_wheel(requirement.url, where)
    if wheel.name.project != canonicalize_name(requirement.name):
        raise UsageError(
            "bad-requirement",
            f"{where}: {wheel.name.filename} is of {wheel.name.project}, not {requirement.name}",
        )
    return _pinned(wheel, sorted(requirement.extras), requirement.marker), wheel


def _check_name(text: str, where: str) -> None:
    """Refuse what PyTorch is called elsewhere; of conda's CUDA say which backend it stands for."""
    found = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:={1,2}\s*(\d+)\.(\d+))?", text)
    name = "" if found is None else canonicalize_name(found[1])
    if found is None or (meant := _OTHER_NAMES.get(name)) is None:
        return
    if name in _CONDAS_CUDA and found[2]:
        forced = f"--backend cu{found[2]}{found[3]}"
        meant = f"that is conda's: leave it out and say --driver, and torch's build is chosen by it; {forced} forces it"
    raise UsageError("wrong-name", f"{where}: {text!r} is not what the project is called here", hint=meant)


def _parse_address(text: str, where: str) -> tuple[Requirement, DirectWheel]:
    """Read a bare URL, whose marker stands behind ``; ``, or a path, whose marker stands behind ``;``."""
    address, mark, condition = text.partition("; " if "://" in text else ";")
    address, extras = address.strip(), []
    if "://" not in address and (found := re.fullmatch(r"(.+)\[([^\]]*)\]", address)):
        address, extras = found[1], [extra.strip() for extra in found[2].split(",") if extra.strip()]
    try:
        marker = Marker(condition) if mark and condition.strip() else None
        wheel = parse_direct_wheel(address, where)
        return _pinned(wheel, extras, marker), wheel
    except (InvalidMarker, InvalidRequirement, RecursionError) as error:
        raise UsageError("bad-requirement", f"{where}: {redacted_text(text)!r} is not a requirement") from error


def _pinned(wheel: DirectWheel, extras: list[str], marker: Marker | None) -> Requirement:
    condition = "" if marker is None else f" ; {marker}"
    return Requirement(f"{wheel.name.project}[{','.join(extras)}]=={wheel.name.version}{condition}")


def _meant(text: str) -> str:
    """Guess what a text that is no requirement was meant to be."""
    one = re.fullmatch(r"([A-Za-z0-9._-]+)=([0-9A-Za-z.+]+)", text)
    if one is not None:
        return f"a version is written with two signs: '{one[1]}=={one[2]}'"
    typed = re.fullmatch(r"([A-Za-z0-9._-]+[=<>~!]=?[0-9.]*)([Ool])([0-9.Ool]*)", text)
    if typed is not None:
        meant = re.sub("[Oo]", "0", f"{typed[2]}{typed[3]}").replace("l", "1")
        return f"is a letter meant as a figure? '{typed[1]}{meant}'"
    if re.fullmatch(r"[A-Za-z0-9._-]+(?:[ ,;]+[A-Za-z0-9._-]+)+", text):
        return f"write several projects as several arguments: {' '.join(re.split(r'[ ,;]+', text))}"
    return "write a project with an optional version, e.g. 'torch==2.4.0' or 'torchvision>=0.19,<0.20'"
