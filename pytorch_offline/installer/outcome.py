"""What an installation or a proof says when it is done: a text for people, a document for scripts."""

from typing import Any, Dict, List, NamedTuple, Optional

from pytorch_offline.installer.evidence import Evidence, evidence_document
from pytorch_offline.installer.render import in_columns, wheel_row


class Outcome(NamedTuple):
    """What came of it: a document for scripts, a text for people."""

    document: Dict[str, Any]
    text: str


def proven_outcome(evidence: Evidence, left: Optional[str]) -> Outcome:
    """Say what was done and proven; ``left`` is where the evidence lies."""
    return Outcome(outcome_document(evidence, left), render_outcome(evidence, left))


def outcome_document(evidence: Evidence, left: Optional[str]) -> Dict[str, Any]:
    """Make the document of what was done: the evidence without each file, which are thousands."""
    document = evidence_document(evidence)
    files = {file.path: file for file in evidence.plan.manifest.files}
    del document["wheels"]
    rows = {wheel.project: wheel_row(wheel, files) for wheel in evidence.plan.wheels}
    document["installed"] = [
        row for project, row in rows.items() if evidence.installing and project not in evidence.kept
    ]
    document["kept"] = [row for project, row in rows.items() if not evidence.installing or project in evidence.kept]
    document["evidence"] = left
    return document


def render_outcome(evidence: Evidence, left: Optional[str]) -> str:
    """Say in a few lines what was done and proven."""
    plan = evidence.plan
    lines: List[str] = []
    if evidence.installing:
        lines.append(f"{len(plan.install)} wheels installed into {evidence.prefix}, target {plan.lock.target}")
        lines += in_columns([(wheel.project, wheel.version) for wheel in plan.install])
        if plan.keep:
            lines.append(f"{len(plan.keep)} were there already")
    else:
        lines.append(f"{len(plan.wheels)} wheels of target {plan.lock.target} are in {evidence.prefix}")
    conflicts = ", no new conflict" if evidence.conflicts_judged else ""
    lines.append(f"proven: {evidence.files_checked:,} installed files hashed again{conflicts}")
    if evidence.torch is not None and evidence.torch.version is not None:
        devices = ", ".join(evidence.computed_on) or "nothing"
        lines.append(f"torch {evidence.torch.version} imports and computes on {devices}")
    if left is not None:
        lines.append(f"evidence: {left}")
    return "\n".join(lines)


def render_findings(evidence: Evidence) -> List[str]:
    """Say each warning, and each known cause behind one, in a line."""
    lines = [f"{one.check} {one.subject}".strip() + f": {one.detail}" for one in evidence.warnings]
    return lines + [f"{one.means} {one.remedy} (seen: {one.seen})" for one in evidence.diagnoses]
