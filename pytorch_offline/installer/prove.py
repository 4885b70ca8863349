"""Gather what ``proof.py`` judges: look at the destination, ask for conflicts, let torch compute; leave evidence."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UnsatisfiableError
from pytorch_offline.installer.destination import last_line, read_survey, run
from pytorch_offline.installer.evidence import Evidence, render_evidence
from pytorch_offline.installer.fitness import Rule
from pytorch_offline.installer.installer_line import Pip, clean_environment, pip_check_arguments, uv_check_arguments
from pytorch_offline.installer.proof import (
    Check,
    Finding,
    TorchReport,
    judge_conflicts,
    judge_files,
    judge_torch,
    judge_versions,
    parse_torch_report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from pytorch_offline.installer.lock import LockedWheel
    from pytorch_offline.installer.plan import Plan

    Say = Callable[[str], None]

TORCH_PROOF = Path(__file__).with_name("torch_proof.py")
# Where the evidence is left below the environment's prefix.
EVIDENCE = Path("share", "pytorch-offline", "evidence.json")


@contextmanager
def _work_directory(prefix: Path) -> Iterator[Path]:
    """Give an empty directory in the destination: nothing goes to the system's temporary one, which may be tiny.

    A destination that cannot be written serves as it is; what runs there then writes nothing.
    """
    place = prefix / EVIDENCE.parent
    with ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            work = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="work-", dir=place, ignore_cleanup_errors=True)
            )
        except OSError:
            yield prefix
        else:
            yield Path(work)


def list_conflicts(plan: Plan, interpreter: Path, prefix: Path) -> tuple[str, ...]:
    """Ask the installer's own ``check`` for conflicts, one line each; ``prefix`` is the interpreter's."""
    with _work_directory(prefix) as work:
        if isinstance(plan.program, Pip):
            command = (*plan.program.command(str(interpreter)), *pip_check_arguments())
        else:
            command = (str(plan.program), *uv_check_arguments(python=str(interpreter), cache=work / "cache"))
        completed = run(command, clean_environment(os.environ, temporary=work), directory=work)
    if completed.returncode == 0:
        return ()
    notices = ("WARNING", "DEPRECATION", "Using Python", "Checked ", "Found ")
    return tuple(line for line in completed.stdout.splitlines() if line.strip() and not line.startswith(notices))


def prove(
    plan: Plan, interpreter: Path, conflicts_before: Sequence[str] | None, *, now: Callable[[], datetime], say: Say
) -> Evidence:
    """Prove an installation and leave the evidence in the environment.

    Args:
        plan: what was carried out.
        interpreter: the destination's.
        conflicts_before: what ``check`` said before the installation; None if nothing had to be installed.
        now: the clock.
        say: takes a line about what is going on.

    Raises:
        IntegrityError: ``proof-failed`` if versions or bytes are not the locked ones.
        UnsatisfiableError: ``proof-failed`` if they are, and yet they conflict or do not work.
    """
    say("proving: versions, every installed file, conflicts" + (", torch" if _locked_torch(plan) else ""))
    survey = read_survey(interpreter, clean_environment(os.environ), hashed=[wheel.project for wheel in plan.wheels])
    findings = [*judge_versions(plan.wheels, survey.distributions)]
    files_checked = 0
    for wheel in plan.wheels:
        distribution = survey.distributions.get(wheel.project)
        if distribution is not None:
            files_checked += len(distribution.record or {})
            contents = plan.contents[wheel.project]
            findings += judge_files(wheel.project, distribution, contents, kept=wheel in plan.keep)
    conflicts = list_conflicts(plan, interpreter, survey.prefix)
    findings += judge_conflicts(conflicts if conflicts_before is None else conflicts_before, conflicts)
    report, torch_findings = _try_torch(plan, interpreter, survey.prefix)
    evidence = Evidence(
        at=now(),
        mirror=plan.mirror.absolute(),
        target=plan.lock.target,
        destination=survey,
        installer=plan.program_name if plan.install else None,
        installed=plan.install,
        kept=plan.keep,
        files_checked=files_checked,
        torch=report,
        findings=(*findings, *torch_findings),
    )
    _leave_evidence(evidence, say)
    if evidence.failures:
        raise _proof_error(evidence)
    return evidence


def _locked_torch(plan: Plan) -> LockedWheel | None:
    return next((wheel for wheel in plan.wheels if wheel.project == "torch"), None)


def _try_torch(plan: Plan, interpreter: Path, prefix: Path) -> tuple[TorchReport | None, tuple[Finding, ...]]:
    """Import torch in the destination and let it compute, where it is part of the lock."""
    torch = _locked_torch(plan)
    if torch is None:
        return None, ()
    with _work_directory(prefix) as work:
        command = (str(interpreter), "-I", str(TORCH_PROOF))
        completed = run(command, clean_environment(os.environ, temporary=work), directory=work)
    report = parse_torch_report(completed.stdout)
    if completed.returncode != 0 or report is None:
        how = f"killed by signal {-completed.returncode}: " if completed.returncode < 0 else ""
        detail = how + last_line(completed.stdout)
        return None, (Finding(check=Check.TORCH, subject="import", detail=detail),)
    driver_tolerated = any(misfit.rule is Rule.DRIVER for misfit in plan.tolerated)
    findings = judge_torch(
        report, torch.name.version, plan.lock.backend, plan.target.accelerator, driver_tolerated=driver_tolerated
    )
    return report, findings


def _leave_evidence(evidence: Evidence, say: Say) -> None:
    path = evidence.destination.prefix / EVIDENCE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_evidence(evidence), encoding="utf-8")
    except OSError as error:
        say(f"the evidence could not be left in the environment: {error}")


def _proof_error(evidence: Evidence) -> PytorchOfflineError:
    failures = evidence.failures
    of_bytes = any(
        finding.check in {Check.VERSIONS, Check.FILES} or finding.subject == "version" for finding in failures
    )
    family = IntegrityError if of_bytes else UnsatisfiableError
    facts = {
        f"{finding.check} {number}, {finding.subject}": finding.detail for number, finding in enumerate(failures, 1)
    }
    return family(
        "proof-failed",
        f"the wheels are in place in {evidence.destination.prefix}, but the proof failed",
        facts={**facts, "evidence": str(evidence.destination.prefix / EVIDENCE)},
    )
