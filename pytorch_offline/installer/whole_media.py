"""Every file checked before anything is installed, and what is damaged mended where the bundle has what it takes."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.findings import damaged_bundle, finding_document, render_bundle_finding
from pytorch_offline.bundle.reading.repair import Mended, Repair, repair_bundle
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import Verification, verify_source
from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.installer.model import Context

# More names than these, nobody reads in a line.
_MOST_TOLD = 5


def require_whole(
    source: Source, files: Optional[Sequence[BundleFile]], place: Callable[[], str], context: Context
) -> Tuple[Verification, Tuple[Mended, ...]]:
    """Compare files with the manifest; put what is damaged together anew, and tell it, where that can be done.

    The media stay as they are: what is mended lies in a directory of its own, and the source knows it there.

    Args:
        source: where the files lie.
        files: which; None for all, and whatever lies beside them.
        place: makes a directory for what is mended, with room for it.
        context: the surroundings.

    Raises:
        IntegrityError: ``bundle-damaged``, with everything that is wrong, and what suffices to be brought again.
    """
    verification = verify_source(source, files)
    for finding in verification.findings:
        if not finding.hinders:
            context.warn("; ".join(line.strip() for line in render_bundle_finding(finding)))
    if not verification.hindering:
        return verification, ()
    try:
        repair = repair_bundle(source, place())
    except PytorchOfflineError as beyond:
        damaged = damaged_bundle(verification.hindering)
        if source.manifest.parity is not None:
            damaged.facts.update(beyond.facts)
            damaged.data["repair"] = dict(beyond.data)
        raise damaged from beyond
    hindering = [finding for finding in repair.left if finding.hinders]
    if hindering:
        raise damaged_bundle(hindering)
    context.warn(f"the media are damaged; put right for this installation: {name_mended(repair.mended)}")
    context.warn("the media themselves are as they were: `install.py --repair` mends them where they can be written")
    return verification, repair.mended


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


def name_mended(mended: Sequence[Mended]) -> str:
    """Name what was mended, and how, in a line."""
    said = [f"{part.name} ({part.how})" for part in mended[:_MOST_TOLD]]
    more = len(mended) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


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
