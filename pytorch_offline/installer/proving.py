"""Prove what is in an environment: ask its interpreter, let torch compute, look at the machine, judge, tell.

The rules are in ``proof.py`` and ``diagnosis.py``; here are the effects.
"""

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.bundle.reading.bases import open_with_base
from pytorch_offline.bundle.reading.lasting_files import ENVIRONMENT_FOLDER, write_whole
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.installer.accelerator_fit import judge_backend, kind_of_backend, system_of
from pytorch_offline.installer.causes_loading import KNOWN_CAUSES
from pytorch_offline.installer.conflicts import pip_that_judges
from pytorch_offline.installer.destination import ask_destination, read_survey
from pytorch_offline.installer.diagnosis import Diagnosis, Seen, diagnose
from pytorch_offline.installer.evidence import (
    EVIDENCE_SUFFIXES,
    Evidence,
    Stopwatch,
    evidence_path,
    render_evidence_json,
)
from pytorch_offline.installer.evidence_page import render_evidence_html, render_evidence_text
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.machine_facts import MachineFacts, read_machine_facts
from pytorch_offline.installer.model import Context, Finding, Plan, Survey
from pytorch_offline.installer.proof import judge_change, judge_files, judge_torch, judge_versions
from pytorch_offline.installer.record_files import (
    hash_as_in_record,
    keeping_their_place,
    read_installed_record,
    record_of_wheel,
)
from pytorch_offline.installer.surroundings import portable_path
from pytorch_offline.installer.torch_report import TORCH_SECONDS, TorchReport, run_trial


def list_broken(interpreter: str, context: Context, pip: Optional[str] = None) -> Optional[Tuple[str, ...]]:
    """Ask an environment for its conflicts, one sentence each; None where nobody there can judge them.

    Args:
        interpreter: the destination's.
        context: the surroundings.
        pip: a pip wheel whose rules are used where the environment has no pip of its own.
    """
    asked: Dict[str, Any] = {"versions": {}, "pip": None if pip is None else portable_path(pip)}
    try:
        answer = ask_destination(interpreter, ["conflicts", json.dumps(asked)], context)
    except UsageError:
        return None
    if "unjudged" in answer:
        return None
    return tuple(
        f"{project} requires {wanted}, and {found or 'nothing'} is there" for project, wanted, found in answer["before"]
    )


def conflicts_before(plan: Plan, context: Context) -> Optional[Tuple[str, ...]]:
    """Ask for the conflicts that are there before a plan is carried out; None where nothing will change."""
    if plan.destination.creates is not None:
        return ()
    if not plan.install:
        return None
    return list_broken(plan.destination.interpreter, context, pip_that_judges(plan.survey))


def hash_installed(
    wheels: Sequence[LockedWheel], survey: Survey, source: Source, *, again: bool
) -> Tuple[HashedWheel, ...]:
    """Hash the installed files of wheels where they lie, by their RECORD.

    Args:
        wheels: those that were not staged in this run.
        survey: the environment.
        source: where the verified wheels lie, whose RECORD is compared with.
        again: hash the files; else their RECORD is believed, because they were compared with it a moment ago.
    """
    found = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for wheel in wheels:
            held = survey.distributions.get(wheel.project)
            if held is None:
                continue
            expected, problems = expected_files(wheel, source)
            site = os.path.dirname(held.information)
            try:
                recorded = read_installed_record(held.information)
            except (OSError, ValueError) as error:
                told = (*problems, ("RECORD", f"cannot be read: {error}"))
                found.append(HashedWheel(wheel.project, wheel.version, site, {}, told, {}))
                continue
            places = {path: os.path.join(site, *path.split("/")) for path in recorded}
            on_disk: Dict[str, str] = dict(recorded)
            if again:
                algorithms = [one.partition("=")[0] for one in recorded.values()]
                hashes = dict(zip(places, pool.map(hash_as_in_record, places.values(), algorithms)))
                on_disk = {path: one for path, one in hashes.items() if one is not None}
                problems += tuple((path, "cannot be read") for path, one in hashes.items() if one is None)
                problems += tuple(
                    (path, f"RECORD says {recorded[path]}, the file has {one}")
                    for path, one in on_disk.items()
                    if recorded[path] != one
                )
            size = sum(installed_size(place) for place in places.values())
            found.append(HashedWheel(wheel.project, wheel.version, site, on_disk, problems, expected, size))
    return tuple(found)


def expected_files(wheel: LockedWheel, source: Source) -> Tuple[Mapping[str, str], Tuple[Tuple[str, str], ...]]:
    """Read what a verified wheel's RECORD says of the files that keep their place; what cannot be read is a problem."""
    try:
        with open_with_base(source, wheel.path) as stream:
            record = record_of_wheel(stream)
    except UsageError:
        return {}, ()  # a delta whose base is not here; the finding says so
    except (OSError, IntegrityError) as error:
        return {}, ((wheel.path, f"cannot be read in the bundle: {error}"),)
    return keeping_their_place(record), ()


def installed_size(place: str) -> int:
    """Return a file's size, 0 if it is not there."""
    try:
        return os.stat(place).st_size
    except OSError:
        return 0


def prove(
    plan: Plan,
    source: Source,
    interpreter: str,
    context: Context,
    *,
    staged: Sequence[HashedWheel] = (),
    broken_before: Optional[Tuple[str, ...]] = (),
    watch: Optional[Stopwatch] = None,
    installing: bool = True,
    seconds: float = TORCH_SECONDS,
) -> Evidence:
    """Prove what a plan put in place, or what is there already.

    Args:
        plan: what was carried out; with ``installing`` false, what should be there.
        source: the bundle.
        interpreter: the destination's.
        context: the surroundings.
        staged: the hashes of what was put in place in this run.
        broken_before: the conflicts before anything was changed; None where they could not be judged.
        watch: measures the steps.
        installing: whether something was put in place.
        seconds: how long torch may take.
    """
    watch = watch or Stopwatch(context.now())
    survey = read_survey(interpreter, context)
    known = {one.project for one in staged}
    others = [wheel for wheel in plan.wheels if wheel.project not in known]
    context.say("proving: versions, installed files, conflicts" + (", torch" if locked_torch(plan) else ""))
    hashed = (*staged, *hash_installed(others, survey, source, again=not installing))
    watch.lap("files", context.now())
    findings: List[Finding] = [*judge_versions(plan.wheels, survey.distributions)]
    kept = {wheel.project for wheel in plan.keep}
    if not installing:  # what conda put there has no RECORD, and nobody can prove its files
        kept = {name for name in kept if name in survey.distributions and not survey.distributions[name].record}
    for one in hashed:
        findings.extend(judge_files(one, kept=one.project in kept))
    facts = read_machine_facts(context.environment)
    report: Optional[TorchReport] = None
    diagnoses: Tuple[Diagnosis, ...] = ()
    torch = locked_torch(plan)
    with ThreadPoolExecutor(1) as beside:  # both wait for an interpreter that starts
        asked = beside.submit(list_broken, interpreter, context, pip_that_judges(survey))
        if torch is not None:
            report = try_in_destination(plan, survey, interpreter, context, seconds)
        broken = asked.result()
    findings.extend(judge_change(broken if not installing else broken_before, broken))
    watch.lap("conflicts, torch", context.now())
    if torch is not None and report is not None:
        diagnoses = diagnose(seen_here(plan, survey, report, facts), KNOWN_CAUSES)
        findings.extend(with_remedies(judge_trial(report, torch, plan, survey), diagnoses))
    return Evidence(
        at=context.now(),
        installing=installing,
        plan=plan._replace(survey=survey),
        interpreter=interpreter,
        prefix=survey.prefix,
        hashed=tuple(sorted(hashed, key=lambda one: one.project)),
        kept=tuple(sorted(kept)),
        conflicts_judged=broken is not None,
        facts=facts,
        torch=report,
        findings=tuple(findings),
        diagnoses=diagnoses,
        timings=tuple(watch.steps),
    )


def judge_trial(report: TorchReport, torch: LockedWheel, plan: Plan, survey: Survey) -> Tuple[Finding, ...]:
    """Judge what torch did by the lock, by the machine, and by what the user overruled."""
    kind = str((survey.machine.get("accelerator") or {}).get("kind"))
    return judge_torch(
        report,
        torch.version,
        plan.lock.backend,
        has_device=kind == kind_of_backend(plan.lock.backend),
        tolerated=any(misfit.rule in ("driver", "device") for misfit in plan.tolerated),
    )


def locked_torch(plan: Plan) -> Optional[LockedWheel]:
    """Find torch among a plan's wheels."""
    return next((wheel for wheel in plan.wheels if wheel.project == "torch"), None)


def try_in_destination(plan: Plan, survey: Survey, interpreter: str, context: Context, seconds: float) -> TorchReport:
    """Run the trial in the destination, with a directory of its own for whatever wants to write."""
    projects = [wheel.project for wheel in plan.wheels if wheel.project in ("numpy", "torchvision", "torchaudio")]
    with trial_directory(survey.prefix) as work:
        return run_trial(
            interpreter,
            projects,
            context.program_text(),
            environment=context.environment,
            work=work,
            now=context.now,
            seconds=seconds,
        )


@contextmanager
def trial_directory(prefix: str) -> Iterator[str]:
    """Give an empty directory in the destination; where nothing can be written, a place that is there."""
    place = os.path.join(prefix, ENVIRONMENT_FOLDER)
    try:
        os.makedirs(place, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix="trial-", dir=place)
    except OSError:
        yield prefix
        return
    try:
        yield work.name
    finally:
        with suppress(OSError):  # a process that hangs in the kernel may hold it; it is empty but for caches
            work.cleanup()


def seen_here(plan: Plan, survey: Survey, report: TorchReport, facts: MachineFacts) -> Seen:
    """Gather what the rules look at."""
    accelerator, system = survey.machine.get("accelerator"), system_of(survey.machine)
    drivers, lock = plan.manifest.drivers, plan.lock
    runnable = [
        str(other.backend)
        for other in plan.manifest.targets
        if other.backend not in (None, lock.backend)
        and other.python == lock.python
        and judge_backend(other.backend, other.cuda, accelerator, system, drivers).runs
    ]
    return Seen(
        report=report,
        facts=facts,
        machine=survey.machine,
        backend=lock.backend,
        need=lock.cuda,
        fit=judge_backend(lock.backend, lock.cuda, accelerator, system, drivers),
        conda=survey.conda_packages,
        shadows=tuple(
            f"{one.project or 'start-up code'} {one.version} in {one.place} ({one.cause})" for one in survey.shadows
        ),
        runnable=tuple(sorted(set(runnable))),
    )


def with_remedies(findings: Sequence[Finding], diagnoses: Sequence[Diagnosis]) -> Tuple[Finding, ...]:
    """Give each finding about torch the remedy of the most telling cause."""
    telling = [one for one in diagnoses if not one.note]
    if not telling:
        return tuple(findings)
    return tuple(finding._replace(hint=finding.hint or telling[0].remedy) for finding in findings)


def leave_evidence(evidence: Evidence, context: Context, *, standing: bool = True) -> Optional[str]:
    """Leave the evidence in the environment, if it is there, and where the user asked for it.

    Returns the path of the JSON document, None where nothing could be written; that is told, and no failure: what was
    proven is proven.

    Args:
        evidence: the evidence.
        context: the surroundings.
        standing: whether the environment is still there.
    """
    proven = not evidence.failures
    texts = (render_evidence_json(evidence), render_evidence_html(evidence), render_evidence_text(evidence))
    beginnings = [evidence_path(evidence.prefix, proven=proven)] if standing else []
    asked = evidence.plan.request.evidence
    if asked is not None:
        beginnings.insert(0, asked[:-5] if asked.endswith(".json") else asked)
    left: Optional[str] = None
    for beginning in beginnings:
        try:
            os.makedirs(os.path.dirname(os.path.abspath(beginning)), exist_ok=True)
            for suffix, text in zip(EVIDENCE_SUFFIXES, texts):
                write_whole(beginning + suffix, text.encode("utf-8"))
        except OSError as error:
            context.warn(f"the evidence could not be left at {beginning}.json: {error.strerror or error}")
            continue
        left = left or beginning + ".json"
    return left
