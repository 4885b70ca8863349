"""An installation from its first step to its last, in one order: what is cheap and harmless comes first.

Open the bundle → whose signature → survey the destination → is the bundle older than one taken here → choose the lock →
preflight → check every file → stage → switch → prove → leave evidence. Nothing of the destination is changed before
every file was checked; from the switch on, whatever fails puts back what was there.
"""

import os
from pathlib import Path
from typing import Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.bases import open_with_base, require_base
from pytorch_offline.bundle.reading.findings import finding_document, render_bundle_finding, say_bytes
from pytorch_offline.bundle.reading.memory import refuse_older, remember_bundle
from pytorch_offline.bundle.reading.opening import media_beside, media_of_program, open_source
from pytorch_offline.bundle.reading.pins import PinPlaces, pins_after, pins_of_prefix, write_pins
from pytorch_offline.bundle.reading.signature import SignatureStatus, describe_signature
from pytorch_offline.bundle.reading.signed_source import judge_source
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import Verification, verify_source
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from pytorch_offline.installer.damaged_media import (
    damaged_but_mendable,
    mend_what_is_needed,
    repair_media,
    require_mendable,
)
from pytorch_offline.installer.destination import find_destination, read_survey
from pytorch_offline.installer.evidence import Evidence, Stopwatch, proof_error
from pytorch_offline.installer.exporting import export_manifest, holds_mirror
from pytorch_offline.installer.model import Context, Destination, Plan, Request, Survey
from pytorch_offline.installer.outcome import Outcome, proven_outcome, render_findings
from pytorch_offline.installer.plan import choose_wheels, files_needed, plan_installation
from pytorch_offline.installer.proving import conflicts_before, leave_evidence, prove
from pytorch_offline.installer.render import plan_document, render_plan, render_warning
from pytorch_offline.installer.staging import stage
from pytorch_offline.installer.switching import switch_in
from pytorch_offline.installer.workplace import workplace
from pytorch_offline.installer.workshop import left_unfinished, put_right

# Of a slow medium it is told how far the reading is.
SECONDS_BETWEEN_LINES = 5.0


def open_bundle(request: Request) -> Source:
    """Open the bundle that lies in the directories of a request, and beside them.

    Raises:
        UsageError: ``no-bundle``.
        IntegrityError: of a bundle that is damaged, unfinished or mixed.
    """
    beside = media_beside if request.places_named else media_of_program
    places = [place for named in request.places for place in beside(named)]
    return open_source(list(dict.fromkeys(places)), deep=request.places_named)


def carry_out(request: Request, context: Context, source: Optional[Source] = None) -> Outcome:
    """Do what is asked for.

    Args:
        request: what the user asks for.
        context: the surroundings.
        source: where the files lie, if it is no bundle that has to be opened first.

    Raises:
        PytorchOfflineError: of each step, see there.
    """
    if request.export_manifest is not None and (source is not None or holds_mirror(request.places)):
        return Outcome(*export_manifest(request.places, None, request.export_manifest))
    if source is None:
        source = open_bundle(request)
    if request.export_manifest is not None:
        return Outcome(*export_manifest(request.places, source, request.export_manifest))
    if request.repair or request.repair_into is not None:
        judge_signature(request, context, source, None)
        return Outcome(*repair_media(source, request.repair_into, context))
    if request.verify_only:
        judge_signature(request, context, source, None)
        return verified_outcome(source, check_files(source, None, context, mended=False))
    if request.prove_only:
        return prove_what_is_there(request, context, source)
    plan = prepare(request, context, source)
    if request.dry_run:
        return Outcome(plan_document(plan), render_plan(plan))
    return install(request, context, source, plan)


def install(request: Request, context: Context, source: Source, plan: Plan) -> Outcome:
    """Carry a plan out and prove it; whatever fails puts back what was there."""
    watch = Stopwatch(context.now())
    before = conflicts_before(plan, context)
    failed: Optional[Evidence] = None
    try:
        with workplace(plan, context) as work:
            mend_what_is_needed(source, files_needed(plan), os.path.join(work.directory, "mended"), context)
            watch.lap("preparing", context.now())
            staged = stage(plan, source, work, context, compiles=request.compile)
            watch.lap("unpacking, hashing, compiling", context.now())
            switched = switch_in(staged, plan, work, context)
            watch.lap("switching", context.now())
            evidence = prove(
                plan, source, work.interpreter, context, staged=staged.hashed, broken_before=before, watch=watch
            )
            if evidence.failures:
                failed = evidence
                raise proof_error(evidence)
            switched.commit()
    except PytorchOfflineError as error:
        if failed is not None:
            left = leave_evidence(failed, context, standing=plan.destination.creates is None)
            error.facts["state"] = "what was there before is there again"
            if left is not None:
                error.facts["evidence"] = left
        raise
    if source.manifest_bytes:
        prefix = plan.destination.creates or plan.survey.prefix
        remember_bundle(source.manifest, prefix)
        keep_pins(plan.signer, request, context, prefix)
    return tell_proven(evidence, context)


def prove_what_is_there(request: Request, context: Context, source: Source) -> Outcome:
    """Prove that an environment holds what the bundle's lock says, and that it works, without changing it.

    Raises:
        UsageError: ``nothing-to-prove`` where there is no environment.
        IntegrityError: ``proof-failed``, and those of the bundle.
        UnsatisfiableError: ``proof-failed``, ``no-lock-fits``.
    """
    destination = find_destination(request, context)
    if destination.creates is not None:
        raise UsageError("nothing-to-prove", f"there is no environment at {destination.creates} yet")
    watch = Stopwatch(context.now())
    survey = read_survey(destination.interpreter, context)
    status = judge_signature(request, context, source, survey.prefix)
    choice, projects = choose_wheels(request, source.manifest, survey, context)
    plan = Plan(
        request=request,
        manifest=source.manifest,
        lock=choice.lock,
        chosen=choice.why,
        tolerated=choice.tolerated,
        destination=destination,
        survey=survey,
        install=(),
        keep=tuple(wheel for wheel in choice.lock.wheels if wheel.project in projects),
        program=None,
        needed_bytes=0,
        findings=(),
        signature=signature_words(source, status),
        signer=status,
    )
    check_files(source, [file for file in files_needed(plan) if file.carried], context, mended=False)
    watch.lap("checking the bundle", context.now())
    evidence = prove(plan, source, destination.interpreter, context, watch=watch, installing=False)
    if evidence.failures:
        raise proof_error(evidence, leave_evidence(evidence, context))
    return tell_proven(evidence, context)


def tell_proven(evidence: Evidence, context: Context) -> Outcome:
    """Leave the evidence of a proof that went well, warn of what it found, and sum it up."""
    for line in render_findings(evidence):
        context.warn(line)
    return proven_outcome(evidence, leave_evidence(evidence, context))


def prepare(request: Request, context: Context, source: Source) -> Plan:
    """Judge the bundle and the destination; change nothing."""
    destination = find_destination(request, context)
    survey = read_survey(destination.interpreter, context)
    prefix = None if destination.creates is not None else survey.prefix
    if prefix is not None:
        survey = settle(survey, destination, request, context)
    status = judge_signature(request, context, source, prefix)
    if prefix is not None and source.manifest_bytes:
        note = refuse_older(source.manifest, prefix, allow=request.allow_older)
        if note:
            context.warn(note)
    plan = plan_installation(
        request,
        source.manifest,
        destination,
        survey,
        context,
        open_file=lambda path: open_with_base(source, path),
        whole=source.whole,
        proved=lambda path: proved_path(source, path),
    )._replace(signature=signature_words(source, status), signer=status)
    for misfit in plan.tolerated:
        context.warn(f"target {plan.lock.target} was named, although {misfit}")
    for finding in plan.findings:
        context.warn(render_warning(finding))
    if plan.chosen:
        context.say(f"chosen: {plan.chosen}")
    needed = files_needed(plan)
    require_base(source, needed)
    if not request.only_needed:
        check_files(source, None, context)
        needed = tuple(file for file in needed if not file.carried)  # of a delta's base
    if needed:
        check_files(source, needed, context)
    return plan


def settle(survey: Survey, destination: Destination, request: Request, context: Context) -> Survey:
    """Undo what a killed run left in the destination, or, where nothing may be changed, tell of it."""
    if request.dry_run:
        left = left_unfinished(survey)
        if left is not None:
            context.warn(left)
    elif put_right(survey, context):
        return read_survey(destination.interpreter, context)
    return survey


def check_files(
    source: Source, files: Optional[Sequence[BundleFile]], context: Context, *, mended: bool = True
) -> Verification:
    """Compare files of the bundle with its manifest before anything is changed; all that it carries if none are named.

    Args:
        source: where they lie.
        files: which.
        context: the surroundings.
        mended: let damage pass that will be mended, or that hinders no installation.

    Raises:
        IntegrityError: ``bundle-damaged``; of a mirror ``bad-files``, with every bad file and what is wrong with it.
    """
    chosen = [file for file in source.manifest.files if file.carried] if files is None else files
    size = sum(file.size for file in chosen)
    context.say(f"checking {len(chosen)} files, {say_bytes(size)}")
    found = verify_source(source, files, told=ReadingTold(size, context))
    if not (found.hindering if mended else found.findings):  # who only looks hears of damaged parity too
        return found
    if source.manifest_bytes:
        if not mended:
            raise damaged_but_mendable(source, found)
        require_mendable(source, found, context)
        return found
    raise IntegrityError(
        "bad-files",
        f"{len(found.hindering)} of {len(chosen)} files that are needed are not as they were fetched;"
        " nothing was changed",
        facts={finding.path: f"{finding.problem}: {finding.detail}" for finding in found.hindering},
        hint="copy these files again from the connected machine (`pytorch-offline verify` checks the rest)",
    )


def proved_path(source: Source, path: str) -> Optional[str]:
    """Give the path of a file of the bundle that lies in one piece and is what it should be; else None."""
    if verify_source(source, [source.file_named(path)]).hindering:
        return None
    return source.whole(path)


class ReadingTold:
    """Tells how far the reading is, in a line every few seconds; called by several threads."""

    def __init__(self, size: int, context: Context) -> None:
        self._size = size
        self._context = context
        self._read = 0
        self._last = context.now()

    def __call__(self, count: int) -> None:
        """Count what was read."""
        self._read += count  # a lost update of two threads shows a little less
        if self._context.now() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = self._context.now()
            self._context.say(f"  {say_bytes(self._read)} of {say_bytes(self._size)} read")


def verified_outcome(source: Source, found: Verification) -> Outcome:
    """Say that a bundle is whole."""
    manifest = source.manifest
    document = {
        "verified": True,
        "bundle": manifest.id,
        "created": manifest.created,
        "counter": manifest.counter,
        "files": found.files,
        "size": found.size,
        "findings": [finding_document(finding) for finding in found.findings],
    }
    lines = [line for finding in found.findings for line in render_bundle_finding(finding)]
    lines.append(
        f"bundle {manifest.id[:12]} of {manifest.created} is whole: {found.files} files, {say_bytes(found.size)}"
    )
    return Outcome(document, "\n".join(lines))


def signature_words(source: Source, status: SignatureStatus) -> Tuple[str, ...]:
    """Say who signed a bundle; a mirror has no signature to speak of."""
    return tuple(describe_signature(status)) if source.manifest_bytes else ()


def keep_pins(status: Optional[SignatureStatus], request: Request, context: Context, prefix: str) -> None:
    """Write into the environment whom it trusts from now on, if that has changed."""
    text = None if status is None else pins_after(status, pin=request.pin)
    if text is None:
        return
    place = pins_of_prefix(Path(prefix))
    try:
        write_pins(place, text)
    except OSError as error:
        context.warn(f"{place} cannot be written, and trusts whom it trusted: {error.strerror or error}")
    else:
        context.say(f"from now on only bundles of these signers are taken here: {place}")


def judge_signature(request: Request, context: Context, source: Source, prefix: Optional[str]) -> SignatureStatus:
    """Check whose bundle it is, and tell.

    Raises:
        IntegrityError: see ``check_signature``.
        UsageError: ``bad-allowed-signers``.
    """
    given = None if request.allowed_signers is None else Path(request.allowed_signers)
    places = PinPlaces(given, None if prefix is None else Path(prefix))
    status = judge_source(source, places, context.environment, context.now, allow_unsigned=request.allow_unsigned)
    if source.manifest_bytes:
        for sentence in describe_signature(status, pinning=request.pin):
            context.say(sentence)
    return status
