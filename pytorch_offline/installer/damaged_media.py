"""Media that are damaged: whether what they carry mends them, and mending them."""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.damage import assess_damage
from pytorch_offline.bundle.reading.findings import (
    RENAMED,
    BundleFinding,
    damaged_bundle,
    finding_document,
    render_bundle_finding,
)
from pytorch_offline.bundle.reading.repair import Mended, Repair, repair_bundle, repair_damage
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import Verification, verify_source
from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.installer.model import Context

# More names than these, nobody reads in a line.
_MOST_TOLD = 5


def require_mendable(source: Source, found: Verification, context: Context) -> None:
    """Let a damaged bundle pass only if what is left of it mends it.

    Raises:
        IntegrityError: ``bundle-damaged``, with everything that is wrong, and what suffices to be brought again.
    """
    try:
        damage = assess_damage(source)
    except PytorchOfflineError as beyond:
        raise _damaged_beyond(source, found.findings, beyond) from beyond
    mended = {piece.name for _, piece in damage.bad}
    if _strangers(source, damage.findings):
        raise damaged_bundle(damage.findings)
    told = [line.strip() for finding in damage.findings[:_MOST_TOLD] for line in render_bundle_finding(finding)[:1]]
    context.warn("the media are damaged, and carry what mends them: {}".format("; ".join(told)))
    parts = "one part" if len(mended) == 1 else f"{len(mended)} parts"
    context.say(f"{parts} of the media will be mended for this installation; --repair mends the media themselves")


def _strangers(source: Source, findings: Sequence[BundleFinding]) -> List[BundleFinding]:
    """List files among the bundle's own that are none of them, and none of its parts under another name."""
    strays = set(source.strays)  # sorted anew whenever it is asked for
    lying = [finding for finding in findings if finding.hinders and finding.at in strays]
    return [finding for finding in lying if finding.piece is None and finding.problem != RENAMED]


def damaged_but_mendable(source: Source, found: Verification) -> PytorchOfflineError:
    """Make the error of one who only looks: what is wrong, and whether the media carry what mends it."""
    try:
        assess_damage(source)
    except PytorchOfflineError as beyond:
        return _damaged_beyond(source, found.findings, beyond)
    damaged = damaged_bundle(found.findings)
    if _strangers(source, found.findings):  # a repair leaves them to whoever knows whose they are
        return damaged
    damaged.hint = "the media carry what mends it: --repair, or --repair-into DIR where they are read-only"
    damaged.data["mendable"] = True
    return damaged


def mend_what_is_needed(
    source: Source, files: Sequence[BundleFile], place: str, context: Context
) -> Tuple[Mended, ...]:
    """Put together anew, in a directory, what of these files is damaged; the source knows then that it lies there.

    Raises:
        IntegrityError: ``bundle-damaged``.
        UsageError: ``cannot-repair-there``.
    """
    if all(source.still_right(piece) for file in files for piece in source.pieces_of(file)):
        return ()
    try:
        damage = assess_damage(source)
    except PytorchOfflineError as beyond:
        raise _damaged_beyond(source, verify_source(source).findings, beyond) from beyond
    os.makedirs(place, exist_ok=True)
    context.say(f"putting {len(damage.bad)} parts together anew")
    return repair_damage(source, damage, place).mended


def _damaged_beyond(
    source: Source, findings: Sequence[BundleFinding], beyond: PytorchOfflineError
) -> PytorchOfflineError:
    """Say everything that is wrong and, where there is parity, what suffices to be brought."""
    damaged = damaged_bundle(findings)
    if source.manifest.parity is not None:
        damaged.facts.update(beyond.facts)
        damaged.data["repair"] = dict(beyond.data)
    return damaged


def repair_media(source: Source, into: Optional[str], context: Context) -> Tuple[Dict[str, Any], str]:
    """Mend a bundle where it lies, or into a directory; give a document for scripts and a text for people.

    Raises:
        UsageError: ``nothing-to-repair-with`` for a mirror; ``cannot-repair-there``.
        IntegrityError: ``bundle-beyond-repair``.
    """
    if not source.manifest_bytes:
        raise UsageError(
            "nothing-to-repair-with",
            "A mirror's directory carries nothing that mends it.",
            hint="`pytorch-offline verify --repair` fetches again what is damaged",
        )
    repair = repair_bundle(source, into)
    for finding in repair.left:
        context.warn("; ".join(line.strip() for line in render_bundle_finding(finding)))
    return repair_document(repair, into), render_repair(repair, into)


def repair_document(repair: Repair, into: Optional[str]) -> Dict[str, Any]:
    """Make a repair's document for scripts."""
    return {
        "repaired": [part._asdict() for part in repair.mended],
        "into": into,
        "left": [finding_document(finding) for finding in repair.left],
    }


def render_repair(repair: Repair, into: Optional[str]) -> str:
    """Tell of a repair in lines."""
    lines: List[str] = [f"{part.how:8} {part.place}" for part in repair.mended]
    if not repair.mended:
        lines.append("nothing was damaged" if not repair.left else "nothing could be put right")
    elif into is not None:
        lines.append(f"install with --from of the media and --from {into}")
    return "\n".join(lines)
