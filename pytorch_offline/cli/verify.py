"""``pytorch-offline verify``: re-hash a mirror and name each bad file."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import duration, speed
from pytorch_offline.cli.session import Session, common_options, progress_option, wait_option
from pytorch_offline.crawler.default_index import Reach, configured_http
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import Finding, RepairReport, VerifyReport, repair_mirror, verify_mirror
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterable

EPILOG = """\b
Examples:
  pytorch-offline verify
  pytorch-offline verify --mirror /media/usb/mirror --deep
  pytorch-offline verify --repair
  pytorch-offline verify --older-than 30 --quiet       # every night, from cron
"""


@click.command("verify", epilog=EPILOG)
@common_options
@progress_option
@click.option("--deep", is_flag=True, default=False, help="Also check every wheel's zip and RECORD.")
@click.option("--repair", is_flag=True, default=False, help="Move bad files aside and fetch them again.")
@click.option(
    "--older-than",
    "--watch",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Read only what was last verified so many days ago or earlier; for cron.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=None, help="How many files at once. [default: one per core]"
)
@wait_option
@network_options
@click.pass_context
def command(
    context: click.Context,
    session: Session,
    *,
    deep: bool,
    repair: bool,
    days: float | None,
    jobs: int | None,
    wait: float | None,
    reach: Reach,
) -> None:
    """Read every file of the mirror, compare it with manifest.json, and name each bad one.

    Works on read-only media and on a bundle. Exits with 4 if anything is wrong, and still is after a repair.
    """
    mirror = Mirror(session.mirror, work="verify --repair" if repair else "verify", patience=wait)
    now = partial(datetime.now, UTC)

    def verified(days: float | None) -> VerifyReport:
        age = None if days is None else timedelta(days=days)
        with shown_progress(session) as progress:
            return verify_mirror(mirror, deep=deep, older_than=age, jobs=jobs, progress=progress, now=now)

    first = last = verified(days)
    repaired: RepairReport | None = None
    if repair and first.findings:
        for finding in first.findings:
            session.message(f"repairing {render_finding(finding)}")
        with configured_http(reach=reach) as http, shown_progress(session) as progress:
            repaired = repair_mirror(mirror, first.findings, http, progress=progress, now=now)
        last = verified(days)
    session.result(document(session, first, repaired, last), render(repaired, last))
    if last.findings:
        if not repair:
            command = shlex.join(["pytorch-offline", "verify", "--repair", "--mirror", str(session.mirror)])
            session.message(f"next, where upstream can be reached: {command}")
        context.exit(IntegrityError.exit_code)


def render_finding(finding: Finding) -> str:
    """Say one finding in one line."""
    text = f"{finding.path}: {finding.problem}: {finding.detail}"
    if finding.expected is None or finding.expected in finding.detail:
        return text
    return f"{text} (expected {finding.expected}, found {finding.found})"


def render(repaired: RepairReport | None, last: VerifyReport) -> str:
    """Say the whole result for people: what is bad, what was done about it, and one line that sums up."""
    lines = [f"bad: {render_finding(finding)}" for finding in last.findings]
    if repaired is not None:
        lines += [f"fetched again: {file.path}" for file in repaired.fetched.downloaded]
        lines += [f"moved aside: {path}" for path in repaired.set_aside]
    bad = len({finding.path for finding in last.findings})
    summed = f"{last.files} files, {render_size(last.size)}"
    if last.bytes_per_second is not None:
        lines.append(f"read {render_size(last.bytes_read)} in {duration(last.seconds)}, {speed(last.bytes_per_second)}")
    if last.recent:
        lines.append(f"verified lately, and not read again: {last.recent} of {last.files}")
    lines.append(f"{summed}: {bad} bad" if bad else f"{summed}: all as the manifest says")
    return "\n".join(lines)


def document(
    session: Session, first: VerifyReport, repaired: RepairReport | None, last: VerifyReport
) -> dict[str, Any]:
    """Make the result for programs."""
    result: dict[str, Any] = {
        "mirror": str(session.mirror),
        "ok": not last.findings,
        "files": last.files,
        "bytes": last.size,
        "verified_lately": last.recent,
        "bytes_read": first.bytes_read,
        "seconds": round(first.seconds, 3),
        "bytes_per_second": first.bytes_per_second,
        "recorded": last.recorded,
        "bad": _documents(last.findings),
    }
    if repaired is not None:
        result["repaired"] = {
            "found": _documents(first.findings),
            "downloaded": [str(file.path) for file in repaired.fetched.downloaded],
            "moved_aside": [str(path) for path in repaired.set_aside],
        }
    return result


def _documents(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "path": str(finding.path),
            "problem": finding.problem.value,
            "detail": finding.detail,
            "expected": finding.expected,
            "found": finding.found,
        }
        for finding in findings
    ]
