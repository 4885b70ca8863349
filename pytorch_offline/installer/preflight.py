"""What must be right before anything is changed: every problem is found first, and all are told together.

Each rule takes what the survey saw and what the plan wants, and gives findings; one looks at conda's records.
"""

import os
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import PytorchOfflineError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.model import Destination, Distribution, Finding, Survey, version_numbers
from pytorch_offline.installer.survey import CONDA_RECORDS, may_write_to

# The oldest Python whose standard library the travelling code is written for.
OLDEST_PYTHON = (3, 6)
# A record of conda's lists its package's files: of the largest, some megabytes.
LONGEST_CONDA_RECORD = 64 * 1024 * 1024


def judge_destination(
    survey: Survey, destination: Destination, install: Sequence[LockedWheel], *, needed: int, free: int
) -> Tuple[Finding, ...]:
    """Judge a destination for what is to be put there.

    Args:
        survey: what it is and holds; of the base where the environment is still to be created.
        destination: where it is.
        install: the wheels to put in place.
        needed: bytes that will be written.
        free: bytes that are free in its file system.
    """
    found: List[Finding] = []
    if version_numbers(survey.python)[:2] < OLDEST_PYTHON:
        found.append(Finding("python", survey.executable, f"is Python {survey.python}; 3.6 is the oldest that works"))
    if destination.creates is not None:
        if not survey.makes_environments:
            found.append(
                Finding(
                    "environment",
                    survey.executable,
                    "has no venv module, so no environment can be made from it",
                    hint="name another base: --python EXE --venv DIR (Debian: the package python3-venv has it)",
                )
            )
        if not may_write_to(Path(destination.creates)):
            found.append(Finding("writable", destination.creates, "cannot be written to by this user"))
    else:
        found += _judge_ownership(survey)
        if install:
            found += _judge_replacing(survey, install)
            found += _judge_shadows(survey, install)
    if needed > free:
        place = destination.creates or survey.paths["purelib"]
        found.append(Finding("space", place, f"needs {needed:,} bytes, {free:,} are free"))
    return tuple(found)


def _judge_ownership(survey: Survey) -> Iterator[Finding]:
    """Judge whose environment it is."""
    if survey.externally_managed is not None:
        yield Finding(
            "externally-managed",
            survey.executable,
            f"belongs to the operating system's package manager (PEP 668: {survey.externally_managed})",
            hint="install into an environment of its own: --venv DIR",
        )
    if not survey.writable:
        yield Finding("writable", survey.paths["purelib"], "cannot be written to by this user", hint="use --venv DIR")
    if survey.conda_base:
        yield Finding(
            "conda",
            survey.prefix,
            "is conda's base environment: what breaks here breaks conda itself",
            fails=False,
            hint="an environment of its own is safer: conda create -n NAME python, then --prefix its directory",
        )


def _judge_replacing(survey: Survey, install: Sequence[LockedWheel]) -> Iterator[Finding]:
    """Judge the distributions that would be replaced: whether they can be taken away, and whose they are."""
    for wheel in install:
        old = survey.distributions.get(wheel.project)
        if old is None or not is_in_environment(old, survey):
            continue
        owner = conda_owner(survey, old)
        if owner is not None:
            yield Finding(
                "conda",
                wheel.project,
                f"{old.version} here is conda's ({owner}); {wheel.version} would be put over its files,"
                " and conda would not know",
                fails=not old.record,
                hint=f"take it away first (conda remove --force {owner}), or use another environment",
            )
        elif not old.record:
            yield Finding(
                "replaceable",
                wheel.project,
                f"{old.version} here has no RECORD of its files ({os.path.basename(old.information)}),"
                f" so it cannot be replaced by {wheel.version}",
                hint="take it away with what put it there, or install into an environment of its own: --venv DIR",
            )


def is_in_environment(distribution: Distribution, survey: Survey) -> bool:
    """Whether a distribution lies where this environment's own do, and not in one that it only sees."""
    place = os.path.realpath(os.path.dirname(distribution.information))
    return place in {os.path.realpath(survey.paths[name]) for name in ("purelib", "platlib")}


def conda_owner(survey: Survey, distribution: Distribution) -> Optional[str]:
    """Name the conda package that a distribution belongs to, which may be spelt otherwise: pytorch has torch."""
    if not survey.conda:
        return None
    if distribution.installer == "conda" or not distribution.installer:
        records = os.path.join(survey.prefix, CONDA_RECORDS)
        needle = (os.path.basename(distribution.information) + '"').encode("utf-8")
        inside = (os.path.basename(distribution.information) + "/").encode("utf-8")
        for name in sorted(os.listdir(records)):
            if name.endswith(".json"):
                with open(os.path.join(records, name), "rb") as file:
                    body = file.read(LONGEST_CONDA_RECORD)
                if inside in body or needle in body:
                    return name.rsplit("-", 2)[0]
    return distribution.name if distribution.installer == "conda" else None


def _judge_shadows(survey: Survey, install: Sequence[LockedWheel]) -> Iterator[Finding]:
    """Name what a normal run of this Python would import instead of what is installed."""
    versions = {wheel.project: wheel.version for wheel in install}
    own = {os.path.realpath(survey.paths[name]) for name in ("purelib", "platlib")}
    for shadow in survey.shadows:
        if os.path.realpath(shadow.place) in own:
            continue
        if not shadow.project:
            detail = f"{shadow.place} changes every run of this Python ({shadow.cause})"
            yield Finding("shadow", shadow.version, detail, fails=False, hint=_how_to_clear(shadow.cause))
        elif shadow.project in versions and shadow.version != versions[shadow.project]:
            what = f"{shadow.project} {shadow.version}".strip()
            detail = (
                f"{what} in {shadow.place} ({shadow.cause}) is found before the {versions[shadow.project]} installed"
            )
            yield Finding("shadow", shadow.project, detail, fails=False, hint=_how_to_clear(shadow.cause))


def _how_to_clear(cause: str) -> str:
    if cause == "PYTHONPATH":
        return "unset PYTHONPATH before torch is used"
    return "set PYTHONNOUSERSITE=1 before torch is used, or take it away there"


def preflight_error(findings: Sequence[Finding]) -> Optional[PytorchOfflineError]:
    """Make one error of everything that keeps the installation from being done; None if nothing does."""
    failing = [finding for finding in findings if finding.fails]
    if not failing:
        return None
    checks = {finding.check for finding in failing}
    facts = {f"{finding.check}, {finding.subject}": finding.detail for finding in failing}
    hint = "; ".join(dict.fromkeys(finding.hint for finding in failing if finding.hint)) or None
    if len(failing) == 1:
        said = f"{failing[0].subject} {failing[0].detail}; nothing was changed"
    else:
        said = f"{len(failing)} things are in the way; nothing was changed"
    if checks == {"space"}:
        return UpstreamError("disk-full", said, facts=facts, hint=hint)
    if checks == {"externally-managed"}:
        return UsageError("externally-managed", said, facts=facts, hint=hint)
    if checks == {"writable"}:
        return UsageError("not-writable", said, facts=facts, hint=hint)
    if checks == {"python"}:
        return UsageError("bad-interpreter", said, facts=facts, hint=hint)
    if checks == {"environment"}:
        return UnsatisfiableError("no-virtual-environment", said, facts=facts, hint=hint)
    if checks == {"conflicts"}:
        return UnsatisfiableError("would-conflict", said, facts=facts, hint=hint)
    if checks <= {"conda", "replaceable"}:
        return UsageError("not-replaceable", said, facts=facts, hint=hint)
    return UsageError("not-ready", said, facts=facts, hint=hint)
