"""Judge an installation by what was seen of it: values in, findings out.

Four witnesses: the versions in the destination against the lock; every installed file against its RECORD and against
the RECORD of the wheel whose hash was checked; the installer's own ``check``, before and after; and torch itself, which
is imported and computes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.backend import BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.installer.destination import Distribution
    from pytorch_offline.installer.lock import LockedWheel
    from pytorch_offline.installer.preflight import WheelContents
    from pytorch_offline.target.model import Accelerator
    from pytorch_offline.wheels.backend import Backend

# What torch_proof.py multiplies: [[1, 2], [3, 4]] with itself.
EXPECTED_PRODUCT = [[7.0, 10.0], [15.0, 22.0]]
# A broken RECORD can name every file of torch; the first few tell the story, the number tells the rest.
MAX_FILES_NAMED = 5


class Check(StrEnum):
    """The witnesses."""

    VERSIONS = "versions"
    FILES = "files"
    CONFLICTS = "conflicts"
    TORCH = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be: a failure, or only a warning."""

    check: Check
    subject: str
    detail: str
    fails: bool = True


def judge_versions(
    wheels: Iterable[LockedWheel], distributions: Mapping[NormalizedName, Distribution]
) -> tuple[Finding, ...]:
    """Compare the installed versions with the lock, exactly: ``2.4.0+cpu`` is not ``2.4.0``."""
    findings = []
    for wheel in wheels:
        installed = distributions.get(wheel.project)
        if installed is None or not is_version(installed.version, wheel.name.version):
            detail = f"is {installed.version if installed else 'not installed'}, the lock says {wheel.name.version}"
            findings.append(Finding(check=Check.VERSIONS, subject=wheel.project, detail=detail))
    return tuple(findings)


def is_version(text: str, version: Version) -> bool:
    """Whether an installed version, as its metadata spells it, is this very version."""
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def judge_files(
    project: NormalizedName, distribution: Distribution, contents: WheelContents, *, kept: bool
) -> tuple[Finding, ...]:
    """Compare a distribution's installed files with its RECORD and with the wheel's.

    Args:
        project: its name.
        distribution: what was found, with the hashes on disk.
        contents: what the verified wheel holds.
        kept: it was there before in this very version and was left alone; what cannot be proven is then only told.
    """
    problems = [f"{path}: {detail}" for path, detail in distribution.problems]
    on_disk = distribution.record or {}
    named = {path for path, _ in distribution.problems}
    for path, expected in contents.record.items():
        found = on_disk.get(path)
        if found is None and path not in named:
            problems.append(f"{path}: is in the wheel and not in the installed RECORD")
        elif found is not None and found != expected and found.partition("=")[0] == expected.partition("=")[0]:
            problems.append(f"{path}: has {found}, the wheel has {expected}")
    if not problems:
        return ()
    more = f" (and {len(problems) - MAX_FILES_NAMED} more)" if len(problems) > MAX_FILES_NAMED else ""
    detail = "; ".join(problems[:MAX_FILES_NAMED]) + more
    if kept:
        detail = f"was there before in the locked version and was left alone: {detail}"
    return (Finding(check=Check.FILES, subject=project, detail=detail, fails=not kept),)


def judge_conflicts(before: Sequence[str], after: Sequence[str]) -> tuple[Finding, ...]:
    """Tell the conflicts that the installation brought from those that were there before."""
    known = set(before)
    return tuple(
        Finding(
            check=Check.CONFLICTS,
            subject="there before" if line in known else "new",
            detail=line,
            fails=line not in known,
        )
        for line in after
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchReport:
    """What torch said of itself; see ``torch_proof.py``. ``product`` is None where it did not come to that."""

    version: str
    product: object
    cuda: str | None = None
    cuda_available: bool = False
    devices: tuple[str, ...] = ()
    cuda_product: object = None
    cuda_error: str | None = None


def parse_torch_report(text: str) -> TorchReport | None:
    """Read the last line that ``torch_proof.py`` printed (libraries may print before it); None if it is no report."""
    lines = text.strip().splitlines()
    try:
        document: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return TorchReport(
            version=document["version"],
            product=document["product"],
            cuda=document.get("cuda"),
            cuda_available=document.get("cuda_available", False),
            devices=tuple(document.get("devices", ())),
            cuda_product=document.get("cuda_product"),
            cuda_error=document.get("cuda_error"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def judge_torch(
    report: TorchReport,
    locked: Version,
    backend: Backend | None,
    accelerator: Accelerator | None,
    *,
    driver_tolerated: bool,
) -> tuple[Finding, ...]:
    """Compare what torch says and computes with the lock and with the machine.

    A wheel without a local version may be built for CUDA and say so (the default index's Linux builds report
    ``2.4.0+cu121``), so then only the public versions are compared. No GPU in sight is a failure only where there is a
    driver to use and the user did not ask for a build that the driver is too old for.
    """
    findings = []
    if not _says(report.version, locked):
        detail = f"torch.__version__ is {report.version}, the lock says {locked}"
        findings.append(Finding(check=Check.TORCH, subject="version", detail=detail))
    if report.product != EXPECTED_PRODUCT:
        detail = f"a matrix product came out as {report.product}, not {EXPECTED_PRODUCT}"
        findings.append(Finding(check=Check.TORCH, subject="product", detail=detail))
    if backend is not None and backend.kind is BackendKind.CUDA:
        has_driver = accelerator is not None and accelerator.kind is AcceleratorKind.CUDA
        findings.extend(_judge_cuda(report, fails=has_driver and not driver_tolerated, has_driver=has_driver))
    return tuple(findings)


def _says(text: str, locked: Version) -> bool:
    try:
        said = Version(text)
    except InvalidVersion:
        return False
    return said == locked or (locked.local is None and Version(said.public) == locked)


def _judge_cuda(report: TorchReport, *, fails: bool, has_driver: bool) -> Iterable[Finding]:
    if report.cuda is None:
        yield Finding(check=Check.TORCH, subject="cuda", detail="the lock is for CUDA, this torch was not built for it")
    elif not report.cuda_available:
        cause = f": {report.cuda_error}" if report.cuda_error else ""
        where = "though this machine has an NVIDIA device" if has_driver else "on a machine without an NVIDIA driver"
        yield Finding(check=Check.TORCH, subject="cuda", detail=f"CUDA is not available {where}{cause}", fails=fails)
    elif report.cuda_product != EXPECTED_PRODUCT:
        detail = report.cuda_error or f"a matrix product came out as {report.cuda_product}"
        yield Finding(
            check=Check.TORCH, subject="cuda", detail=f"on {', '.join(report.devices)}: {detail}", fails=fails
        )
