"""The evidence of an installation or a proof: what was asked, what was put where, what was checked and found.

``docs/evidence.md`` describes the document. It is left in the environment below ``share/pytorch-offline/``: as JSON, as
a page for a browser and as a text for ``less``. A proof that failed is left under another name, beside the evidence of
what is still there; where the environment itself is gone, only at the place that the user named for it.
"""

import json
import os
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile, LockedWheel, Manifest
from pytorch_offline.bundle.reading.lasting_files import ENVIRONMENT_FOLDER
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UnsatisfiableError
from pytorch_offline.installer.diagnosis import Diagnosis
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.machine_facts import MachineFacts
from pytorch_offline.installer.model import Finding, Plan
from pytorch_offline.installer.render import finding_row
from pytorch_offline.installer.torch_report import TorchReport

EVIDENCE_FORMAT = 1
EVIDENCE_SUFFIXES = (".json", ".html", ".txt")
# What makes a proof fail by bytes, not by what they do.
CHECKS_OF_BYTES = ("versions", "files")


class Stopwatch:
    """Measures the steps of a run, one after the other."""

    def __init__(self, now: float) -> None:
        self._last = now
        self.steps: List[Tuple[str, float]] = []

    def lap(self, name: str, now: float) -> None:
        """End the step of this name."""
        self.steps.append((name, round(max(0.0, now - self._last), 3)))
        self._last = now


class Evidence(NamedTuple):
    """What was done and what was found afterwards.

    Args:
        at: when the proof was finished, in seconds since the epoch.
        installing: whether something was put in place; else only what is there was proven.
        plan: what was carried out, or what was proven.
        interpreter: the destination's.
        prefix: of its environment.
        hashed: every file of every wheel.
        kept: the projects that were there before and were left alone.
        conflicts_judged: whether requirements could be compared.
        facts: what the machine shows.
        torch: what torch did; None if it is not in the lock.
        findings: failures and warnings.
        diagnoses: the known causes among them.
        timings: seconds by step.
    """

    at: float
    installing: bool
    plan: Plan
    interpreter: str
    prefix: str
    hashed: Tuple[HashedWheel, ...]
    kept: Tuple[str, ...]
    conflicts_judged: bool
    facts: MachineFacts
    torch: Optional[TorchReport]
    findings: Tuple[Finding, ...]
    diagnoses: Tuple[Diagnosis, ...]
    timings: Tuple[Tuple[str, float], ...] = ()

    @property
    def failures(self) -> Tuple[Finding, ...]:
        """The findings that make the proof fail."""
        return tuple(finding for finding in self.findings if finding.fails)

    @property
    def warnings(self) -> Tuple[Finding, ...]:
        """The findings that are only told."""
        return tuple(finding for finding in self.findings if not finding.fails)

    @property
    def files_checked(self) -> int:
        """How many installed files were hashed."""
        return sum(len(wheel.on_disk) for wheel in self.hashed)

    @property
    def computed_on(self) -> Tuple[str, ...]:
        """What torch computed on, the CPU first."""
        if self.torch is None:
            return ()
        product = self.torch.step("cpu product")
        works = product is not None and product.finished and not product.error
        steps = self.torch.devices
        return (("the CPU",) if works else ()) + tuple(
            str(step.facts.get("name") or step.name) for step in steps if step.finished and not step.error
        )


def printable(value: Any) -> Any:  # noqa: ANN401  (whatever JSON can say, and paths of any bytes)
    """Make texts that can be encoded out of those of paths, which hold whatever bytes their names have."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(printable(str(key))): printable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(one) for one in value]
    return value


def utc_moment(seconds: float) -> str:
    """Spell a moment: ``2026-11-21T20:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds)))


def evidence_document(evidence: Evidence) -> Dict[str, Any]:
    """Make the JSON document of an evidence; ``docs/evidence.md`` says what its keys mean."""
    plan, manifest = evidence.plan, evidence.plan.manifest
    survey = plan.survey
    files = {file.path: file for file in manifest.files}
    machine = {key: value for key, value in survey.machine.items() if key not in ("compatible_tags", "format", "name")}
    document = {
        "format": EVIDENCE_FORMAT,
        "kind": "installation" if evidence.installing else "proof",
        "at": utc_moment(evidence.at),
        "proven": not evidence.failures,
        "asked": asked_document(plan),
        "bundle": bundle_document(manifest, plan.signature),
        "target": plan.lock.target,
        "backend": plan.lock.backend,
        "chosen": plan.chosen or None,
        "tolerated": [str(misfit) for misfit in plan.tolerated],
        "destination": {
            "interpreter": evidence.interpreter,
            "python": survey.python,
            "prefix": evidence.prefix,
            "created": plan.destination.creates is not None,
            "conda": survey.conda,
        },
        "installer": None if plan.program is None or not evidence.installing else str(plan.program),
        "machine": {**machine, "facts": machine_facts_document(evidence.facts)},
        "wheels": [
            wheel_evidence(wheel, files, evidence.hashed, kept=wheel.project in evidence.kept) for wheel in plan.wheels
        ],
        "checked": {
            "versions": len(plan.wheels),
            "files": evidence.files_checked,
            "bytes": sum(wheel.size for wheel in evidence.hashed),
            "conflicts": evidence.conflicts_judged,
            "torch": None if evidence.torch is None else [step.name for step in evidence.torch.steps],
        },
        "torch": None if evidence.torch is None else torch_document(evidence.torch),
        "findings": [finding_row(finding) for finding in evidence.findings],
        "diagnosis": [dict(one._asdict()) for one in evidence.diagnoses],
        "seconds": dict(evidence.timings),
    }
    made: Dict[str, Any] = printable(document)
    return made


def asked_document(plan: Plan) -> Dict[str, Any]:
    """Say what the user asked for."""
    request = plan.request
    return {
        "from": list(request.places),
        "projects": list(request.projects),
        "target": request.target,
        "venv": request.venv,
        "prefix": request.prefix,
        "python": request.python,
        "installer": request.program,
    }


def bundle_document(manifest: Manifest, signature: Sequence[str]) -> Dict[str, Any]:
    """Name the bundle."""
    return {
        "id": manifest.id,
        "lineage": manifest.lineage,
        "counter": manifest.counter,
        "base": manifest.base,
        "created": manifest.created,
        "signature": list(signature),
    }


def machine_facts_document(facts: MachineFacts) -> Dict[str, Any]:
    """Make the document of what the machine shows."""
    document = dict(facts._asdict())
    document["devices"] = [{"path": one.path, "usable": one.usable} for one in facts.devices]
    return document


def wheel_evidence(
    wheel: LockedWheel, files: Mapping[str, BundleFile], hashed: Sequence[HashedWheel], *, kept: bool
) -> Dict[str, Any]:
    """Make the document of a wheel and of every file that it put there."""
    found = next((one for one in hashed if one.project == wheel.project), None)
    file = files.get(wheel.path)
    return {
        "project": wheel.project,
        "version": wheel.version,
        "filename": wheel.path.rsplit("/", 1)[-1],
        "path": wheel.path,
        "sha256": None if file is None else file.sha256,
        "size": None if file is None else file.size,
        "kept": kept,
        "directory": None if found is None else found.directory,
        "files": {} if found is None else dict(found.on_disk),
    }


def torch_document(report: TorchReport) -> Dict[str, Any]:
    """Make the document of the trial."""
    return {
        "version": report.version,
        "ended": report.ended or None,
        "status": report.status,
        "seconds": report.seconds,
        "steps": [dict(step._asdict()) for step in report.steps],
        "tail": list(report.tail),
    }


def render_evidence_json(evidence: Evidence) -> str:
    """Write an evidence as JSON text, in ASCII."""
    return json.dumps(evidence_document(evidence), indent=2) + "\n"


def evidence_path(prefix: str, *, proven: bool) -> str:
    """Return where the evidence is left in an environment, without a suffix; a failure hides no earlier success."""
    return os.path.join(prefix, ENVIRONMENT_FOLDER, "evidence" if proven else "evidence-failed")


def proof_error(evidence: Evidence, left_at: Optional[str] = None) -> PytorchOfflineError:
    """Make the error of a proof that failed: of bytes, or of what they do."""
    failures = evidence.failures
    by_bytes = any(finding.check in CHECKS_OF_BYTES or finding.subject == "version" for finding in failures)
    facts: Dict[str, object] = {}
    for number, finding in enumerate(failures, 1):
        name = f"{finding.check} {finding.subject}".strip()
        facts[name if name not in facts else f"{name} ({number})"] = finding.detail
    telling = [one for one in evidence.diagnoses if not one.note]
    for one in telling[:3]:
        facts[f"cause {one.code}"] = f"{one.means} Seen: {one.seen}"
    if left_at is not None:
        facts["evidence"] = left_at
    message = "the wheels are in place, but the proof failed" if evidence.installing else "the proof failed"
    hint = telling[0].remedy if telling else None
    data = {"findings": printable([finding_row(one) for one in evidence.findings])}
    data["diagnosis"] = printable([dict(one._asdict()) for one in evidence.diagnoses])
    if by_bytes:
        return IntegrityError("proof-failed", message, facts=facts, hint=hint, data=data)
    return UnsatisfiableError("proof-failed", message, facts=facts, hint=hint, data=data)
