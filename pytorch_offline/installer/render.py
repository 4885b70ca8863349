"""What an installation says: a plan and errors as text for people and as documents for scripts."""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile, LockedWheel
from pytorch_offline.bundle.reading.findings import say_bytes
from pytorch_offline.bundle.reading.signature import signature_document
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.installer.model import Finding, Plan
from pytorch_offline.installer.surroundings import portable_path


def plan_document(plan: Plan) -> Dict[str, Any]:
    """Make the JSON document of a plan."""
    files = {file.path: file for file in plan.manifest.files}
    creates = plan.destination.creates
    return {
        "dry_run": True,
        "from": [portable_path(place) for place in plan.request.places],
        "bundle": plan.manifest.id,
        "signature": None if plan.signer is None else signature_document(plan.signer),
        "target": plan.lock.target,
        "chosen": plan.chosen or None,
        "destination": {
            "interpreter": portable_path(plan.destination.interpreter),
            "python": plan.survey.python,
            "creates": None if creates is None else portable_path(creates),
            "chosen_by": plan.destination.chosen,
        },
        "installer": None if plan.program is None else str(plan.program),
        "needed_bytes": plan.needed_bytes,
        "install": [wheel_row(wheel, files) for wheel in plan.install],
        "keep": [wheel_row(wheel, files) for wheel in plan.keep],
        "warnings": [finding_row(finding) for finding in plan.findings],
    }


def wheel_row(wheel: LockedWheel, files: Mapping[str, BundleFile]) -> Dict[str, Any]:
    """Make the JSON document of a wheel."""
    return {
        "project": wheel.project,
        "version": wheel.version,
        "filename": wheel.path.rsplit("/", 1)[-1],
        "path": wheel.path,
        "sha256": files[wheel.path].sha256,
        "size": files[wheel.path].size,
    }


def finding_row(finding: Finding) -> Dict[str, Any]:
    """Make the JSON document of a finding."""
    return {
        "check": finding.check,
        "subject": finding.subject,
        "detail": finding.detail,
        "fails": finding.fails,
        "hint": finding.hint or None,
    }


def render_plan(plan: Plan) -> str:
    """Say what would be done."""
    creates = plan.destination.creates
    into = f"{creates} (to be created from {plan.destination.interpreter})" if creates else plan.survey.prefix
    if not plan.install:
        lines = [f"nothing is to be installed into {into}: the lock of target {plan.lock.target} is there"]
    else:
        lines = [f"would install into {into} with {plan.program}, from the lock of target {plan.lock.target}:"]
    lines += in_columns([(wheel.project, wheel.version, wheel.path) for wheel in plan.install])
    lines.append(f"{len(plan.keep)} are there already; {say_bytes(plan.needed_bytes)} of disk are needed")
    return "\n".join(lines)


def render_warning(finding: Finding) -> str:
    """Say a warning in one line."""
    text = f"{finding.subject} {finding.detail}" if finding.subject else finding.detail
    return text + (f"; {finding.hint}" if finding.hint else "")


def in_columns(rows: Sequence[Tuple[str, ...]]) -> List[str]:
    """Lay rows out in columns, indented."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def render_failure(error: PytorchOfflineError) -> str:
    """Say an error as every command of the package does: one sentence, what was seen, what to do."""
    lines = [f"error: {error.message}"]
    for name, value in error.facts.items():
        lines += [f"  {name}: {one}" for one in (value if isinstance(value, list) else [value])]
    for heading, sentences in error.sections.items():
        lines.append(f"{heading}:")
        lines += [f"  - {sentence}" for sentence in sentences]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return "\n".join(lines)


def failure_document(error: PytorchOfflineError) -> Dict[str, Any]:
    """Make the JSON document of an error, as every command of the package does."""
    said: Dict[str, Any] = {
        "family": error.family,
        "code": error.code,
        "message": error.message,
        "facts": error.facts,
        "hint": error.hint,
    }
    said.update(error.data)
    return {"error": said}
