"""``install``: from a mirror directory into an environment, with no network, proven."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from packaging.requirements import InvalidRequirement, Requirement

from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.cli.signals import patience
from pytorch_offline.errors import UsageError
from pytorch_offline.installer.carry_out import carry_out
from pytorch_offline.installer.evidence import Evidence, evidence_document, wheel_document
from pytorch_offline.installer.installer_line import Installer
from pytorch_offline.installer.plan import Plan, Request, plan_installation
from pytorch_offline.installer.prove import EVIDENCE
from pytorch_offline.target.capture import this_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

# A virtual environment with torch has 15,000 files and more; to take them away again takes a slow disk some seconds.
CLEARING_SECONDS = 60.0
CLEARING = "what was begun is taken away again; another Ctrl-C ends at once and leaves it"
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command(name="install")
@click.argument("requirements", metavar="[REQ]...", nargs=-1)
@click.option("--from", "source", type=_DIRECTORY, default=None, help="The mirror directory. [default: --mirror]")
@click.option("--python", type=click.Path(path_type=Path), default=None, help="Install for this interpreter.")
@click.option("--venv", type=_DIRECTORY, default=None, help="Install into this environment; created if missing.")
@click.option(
    "--installer",
    type=click.Choice([installer.value for installer in Installer]),
    default=Installer.PIP.value,
    show_default=True,
    help="What puts the files in place.",
)
@click.option("--target", default=None, metavar="NAME", help="Use the lock of this target; else the one that fits.")
@click.option("--dry-run", is_flag=True, default=False, help="Check everything and show the plan; change nothing.")
@common_options
def command(
    session: Session,
    *,
    requirements: tuple[str, ...],
    source: Path | None,
    python: Path | None,
    venv: Path | None,
    installer: str,
    target: str | None,
    dry_run: bool,
) -> None:
    """Install from a mirror with no network, and prove it.

    Every file is checked against the manifest and the lock before anything is changed; then pip (or uv) runs offline
    with required hashes; then versions, installed files and conflicts are checked, and torch is imported and computes.

    \b
    Into a new virtual environment:     pytorch-offline install --from cache --venv env
    Of another Python:                  pytorch-offline install --from cache --venv env --python python3.10
    Into a conda environment:           pytorch-offline install --from cache --python $CONDA_PREFIX/bin/python
    Only a part of the lock:            pytorch-offline install numpy --from /media/usb --venv env
    """  # noqa: D301  (\b is click's mark for a paragraph that is not wrapped)
    request = Request(
        mirror=source or session.mirror,
        python=python,
        venv=venv,
        requirements=tuple(parse_requirement(text) for text in requirements),
        target=target,
        installer=Installer(installer),
    )
    plan = plan_installation(request, describe=this_machine, say=session.message)
    for misfit in plan.tolerated:
        session.warn(f"target {plan.lock.target} was named, although {misfit}")
    if dry_run:
        session.result(plan_document(plan), render_plan(plan))
        return
    with patience(CLEARING_SECONDS, lambda: session.message(CLEARING)):
        evidence = carry_out(plan, now=lambda: datetime.now(UTC), say=session.message)
    for finding in evidence.warnings:
        session.warn(f"{finding.check}, {finding.subject}: {finding.detail}")
    session.result(evidence_document(evidence), render_summary(evidence))


def parse_requirement(text: str) -> Requirement:
    """Read a requirement of the command line.

    Raises:
        UsageError: ``bad-requirement`` if it is none, or names a place instead of a version.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise UsageError("bad-requirement", f"{text!r} is not a requirement: {str(error).splitlines()[0]}") from error
    if requirement.url is not None:
        raise UsageError("bad-requirement", f"{text!r} names an address; only the mirror's wheels can be installed")
    return requirement


def plan_document(plan: Plan) -> dict[str, Any]:
    """Make the JSON document of a plan."""
    return {
        "dry_run": True,
        "mirror": str(plan.mirror),
        "target": plan.lock.target,
        "destination": {
            "interpreter": str(plan.interpreter),
            "python": str(plan.survey.python),
            "creates": None if plan.creates is None else str(plan.creates),
        },
        "installer": plan.program_name,
        "needed_bytes": plan.needed_bytes,
        "install": [wheel_document(wheel) for wheel in plan.install],
        "keep": [wheel_document(wheel) for wheel in plan.keep],
    }


def render_plan(plan: Plan) -> str:
    """Say what would be done."""
    into = f"{plan.creates} (to be created from {plan.interpreter})" if plan.creates else str(plan.interpreter)
    return "\n".join(
        [
            f"would install into {into} with {plan.program_name}, from the lock of target {plan.lock.target}:",
            *_columns([(wheel.project, str(wheel.name.version), str(wheel.path)) for wheel in plan.install]),
            f"{len(plan.keep)} are there already; {plan.needed_bytes / 1e6:,.1f} MB of disk are needed",
        ]
    )


def render_summary(evidence: Evidence) -> str:
    """Say what was done and proven."""
    lines = [f"{len(evidence.installed)} wheels installed into {evidence.destination.prefix}, target {evidence.target}"]
    lines += _columns([(wheel.project, str(wheel.name.version)) for wheel in evidence.installed])
    if evidence.kept:
        lines.append(f"{len(evidence.kept)} were there already")
    lines.append(f"proven: {evidence.files_checked} installed files hashed again, no new conflict")
    if evidence.torch is not None:
        devices = f", on {', '.join(evidence.torch.devices)}" if evidence.torch.devices else ""
        lines.append(f"torch {evidence.torch.version} imports and computes{devices}")
    lines.append(f"evidence: {evidence.destination.prefix / EVIDENCE}")
    return "\n".join(lines)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(len(rows[0]) if rows else 0)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
