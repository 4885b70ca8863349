"""``pytorch-offline verify``: re-hash a mirror, or a bundle, and name each bad file."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.help_sections import SectionedCommand
from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import duration, speed
from pytorch_offline.cli.rates import rate_option
from pytorch_offline.cli.session import Session, common_options, progress_option, wait_option
from pytorch_offline.cli.verify_bundle import is_bundle, verify_bundle
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.default_index import Reach, configured_http
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from pytorch_offline.mirror.findings import Problem, explained
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.refetching import locks_again
from pytorch_offline.mirror.repair import repair_mirror
from pytorch_offline.mirror.scrub import Pace
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verified_by, verify_mirror
from pytorch_offline.net import Http
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.findings import Finding
    from pytorch_offline.mirror.repair import RepairReport
    from pytorch_offline.mirror.verify import VerifyReport

EPILOG = """\b
Examples:
  pytorch-offline verify
  pytorch-offline verify --mirror /media/usb/mirror --deep
  pytorch-offline verify /media/cd1 /media/cd2 /home/me/volume-003
  pytorch-offline verify --repair
  pytorch-offline verify --repair --from http://other-mirror.lan/ --from /media/usb/mirror
  pytorch-offline verify --watch 30 --for 120 --limit-rate 200M --quiet       # every night, from cron
"""


@click.command("verify", cls=SectionedCommand, epilog=EPILOG)
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...", type=click.Path(path_type=Path))
@common_options
@progress_option
@click.option("--deep", is_flag=True, default=False, help="Also check every wheel's zip and RECORD.")
@click.option("--repair", is_flag=True, default=False, help="Move bad files aside and fetch what is bad of them again.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="DIR|URL",
    help="With --repair: another mirror, to be asked before upstream; repeatable.",
)
@click.option("--offline", is_flag=True, default=False, help="With --repair: use directories given by --from alone.")
@click.option(
    "--older-than",
    "older_than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Read only what was last verified so many days ago or earlier.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Read each file once in so many days, never all of them in one night; for cron.",
)
@click.option(
    "--for",
    "minutes",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    help="Begin no file after so long; what was verified longest ago goes first.",
)
@rate_option("Read, and with --repair fetch, so many bytes per second in all: 200M.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="How many files at once.  [default: one per core]"
)
@click.option(
    "--allowed-signers",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of a bundle: insist on a signature by these, as ssh-keygen reads it.",
)
@wait_option
@network_options
@click.pass_context
def command(
    context: click.Context,
    session: Session,
    *,
    bundles: tuple[Path, ...],
    deep: bool,
    repair: bool,
    sources: tuple[str, ...],
    offline: bool,
    older_than: float | None,
    watch: float | None,
    minutes: float | None,
    limit_rate: int | None,
    jobs: int | None,
    allowed_signers: Path | None,
    wait: float | None,
    reach: Reach,
) -> None:
    """Read every file of the mirror, compare it with manifest.json, and name each bad one.

    With BUNDLE, the directory of a bundle or those of its volumes, in any order: what is wrong there, and what must be
    brought again. Works on read-only media. A repair asks for the bad parts of a file alone. Exits with 4 if anything
    is wrong, and still is after a repair.
    """
    of_mirrors = {
        "--repair": repair,
        "--from": bool(sources),
        "--offline": offline,
        "--older-than": older_than is not None,
        "--watch": watch is not None,
        "--for": minutes is not None,
        "--limit-rate": limit_rate is not None,
    }
    given = [option for option, used in of_mirrors.items() if used]
    if bundles or is_bundle(session.mirror):
        _refuse_with_bundle([option for option in given if option != "--repair"])
        places = bundles or (session.mirror,)
        context.exit(verify_bundle(session, places, deep=deep, jobs=jobs, signers=allowed_signers, repair=repair))
    if allowed_signers is not None:
        raise UsageError("contradiction", "--allowed-signers is for bundles: a mirror is not signed")
    _refuse_contradictions(given)
    mirror = Mirror(session.mirror, work="verify --repair" if repair else "verify", patience=wait)
    now = partial(datetime.now, UTC)
    days = older_than if watch is None else watch
    pace = Pace(jobs=jobs or os.cpu_count() or 1, rate=limit_rate, seconds=None if minutes is None else minutes * 60)

    def verified(only: Collection[PurePosixPath] | None = None) -> VerifyReport:
        with shown_progress(session) as progress:
            return verify_mirror(
                mirror,
                deep=deep,
                older_than=None if days is None else timedelta(days=days),
                spread=watch is not None,
                only=only,
                pace=pace,
                progress=progress,
                now=now,
            )

    with ExitStack() as stack:
        first = last = verified()
        log = None
        if first.findings:
            with suppress(PytorchOfflineError):  # without a catalogue nothing more is known
                catalogue = stack.enter_context(Catalogue.open(session.mirror / STATE_NAME / CATALOGUE_NAME))
                log = DriftLog(catalogue, now=now)
            first = last = _explained(mirror, first, log)
        repaired: RepairReport | None = None
        if repair and first.findings:
            for finding in first.findings:
                session.message(f"repairing {render_finding(finding)[0]}")
            http = stack.enter_context(Http() if offline else configured_http(reach=reach))
            with shown_progress(session) as progress:
                repaired = repair_mirror(
                    mirror,
                    first.findings,
                    http,
                    sources=[_address(source) for source in sources],
                    online=not offline,
                    limit_rate=limit_rate,
                    log=log,
                    progress=progress,
                    now=now,
                )
            last = _explained(mirror, verified(only={finding.path for finding in first.findings}), log)
    mirror.milestones.note_verification(verified_by(first, last, deep=deep, ended=now()))
    # cron mails whatever is printed: nothing is, with --quiet, about a mirror that is sound
    silent = session.verbosity < 0 and not first.findings
    session.result(document(session, first, repaired, last), "" if silent else render(first, repaired, last))
    if last.findings:
        locks = {finding.path for finding in last.findings if finding.problem is Problem.LOCK}
        commands = locks_again(session.mirror, locks)  # a repair knows nothing of what they should say
        if not repair and locks != {finding.path for finding in last.findings}:
            commands.insert(0, shlex.join(["pytorch-offline", "verify", "--repair", "--mirror", str(session.mirror)]))
        for command_line in commands:
            session.message(f"next, where upstream can be reached: {command_line}")
        context.exit(IntegrityError.exit_code)


def _refuse_contradictions(options: Collection[str]) -> None:
    if {"--from", "--offline"} & set(options) and "--repair" not in options:
        raise UsageError("contradiction", "--from and --offline say how to --repair, which is not asked for")
    if {"--watch", "--older-than"} <= set(options):
        raise UsageError("contradiction", "--watch and --older-than exclude each other")


def _refuse_with_bundle(options: Sequence[str]) -> None:
    if options:
        raise UsageError(
            "contradiction",
            f"{options[0]} is for mirrors: a bundle is read as a whole, and has no upstream",
            hint="--repair, without a place to fetch from, mends what the bundle's own parity can",
        )


def _explained(mirror: Mirror, report: VerifyReport, log: DriftLog | None) -> VerifyReport:
    """Add what the catalogue knows, as far as it can be read."""
    if log is not None:
        with suppress(PytorchOfflineError):
            return replace(report, findings=explained(report.findings, mirror.read_files(), log))
    return report


def _address(source: str) -> str:
    """Give the address of another mirror: a directory has one too."""
    return source if "://" in source else Path(source).resolve().as_uri()


def render_finding(finding: Finding) -> list[str]:
    """Say one finding in one line, and in further ones what else is known."""
    text = f"{finding.path}: {finding.problem}: {finding.detail}"
    if finding.expected is not None and finding.expected not in finding.detail:
        text = f"{text} (expected {finding.expected}, found {finding.found})"
    return [text, *_render_facts(finding.facts.items())]


def render(first: VerifyReport, repaired: RepairReport | None, last: VerifyReport) -> str:
    """Say the whole result for people: what is bad, what was done about it, and one line that sums up."""
    lines = []
    for finding in last.findings:
        said = render_finding(finding)
        lines += [f"bad: {said[0]}", *said[1:]]
    if repaired is not None:
        lines += _render_repair(repaired)
    if first.bytes_per_second is not None:
        lines.append(
            f"read {render_size(first.bytes_read)} in {duration(first.seconds)}, {speed(first.bytes_per_second)}"
        )
    if first.recent:
        lines.append(f"verified lately, and not read again: {first.recent} of {first.files}")
    if first.postponed:
        lines.append(f"due, but there was no time: {first.postponed} of {first.files}; the next run begins with them")
    bad = len({finding.path for finding in last.findings})
    summed = f"{last.files} files, {render_size(last.size)}"
    lines.append(f"{summed}: {bad} bad" if bad else f"{summed}: all as the manifest says")
    return "\n".join(lines)


def _render_repair(repaired: RepairReport) -> Iterator[str]:
    for file in repaired.fetched.downloaded:
        needed = repaired.needed.get(file.path, file.size)
        part = "" if needed >= file.size else f", {render_size(needed)} of {render_size(file.size)}"
        yield f"fetched again: {file.path}{part}"
    yield from (f"linked again: {file.path}" for file in repaired.fetched.already)
    yield from (f"moved aside: {path}" for path in repaired.set_aside)
    for path, error in repaired.failures:
        needed = repaired.needed.get(path, 0)
        yield f"not repaired: {path}: {error.message}" + (f"; {render_size(needed)} are needed" if needed else "")
        yield from _render_facts(error.facts.items())


def _render_facts(facts: Iterable[tuple[str, object]]) -> Iterator[str]:
    for name, value in facts:
        for said in value if isinstance(value, list) else [value]:
            yield f"  {name}: {said}"


def document(
    session: Session, first: VerifyReport, repaired: RepairReport | None, last: VerifyReport
) -> dict[str, Any]:
    """Make the result for programs."""
    result: dict[str, Any] = {
        "mirror": str(session.mirror),
        "ok": not last.findings,
        "files": last.files,
        "bytes": last.size,
        "verified_lately": first.recent,
        "postponed": first.postponed,
        "oldest_verification": last.oldest,
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
            "bytes_downloaded": repaired.fetched.bytes_downloaded,
            "bytes_needed": {str(path): size for path, size in repaired.needed.items()},
            "moved_aside": [str(path) for path in repaired.set_aside],
            "failed": [
                {"path": str(path), "code": error.code, "message": error.message, "facts": error.facts}
                for path, error in repaired.failures
            ],
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
            "facts": dict(finding.facts),
        }
        for finding in findings
    ]
