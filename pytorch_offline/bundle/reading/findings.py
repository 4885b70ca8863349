"""What can be wrong with a bundle's files, each said with what must be done or brought again; values and words."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import Manifest, Piece
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY
from pytorch_offline.errors import IntegrityError, PytorchOfflineError

MISSING = "missing"
TRUNCATED = "truncated"
DAMAGED = "damaged"
RENAMED = "renamed"
SWAPPED = "swapped"
DUPLICATED = "duplicated"
UNEXPECTED = "unexpected"
UNREADABLE = "unreadable"
UNSOUND = "unsound"

# So many findings stand in an error's text; a list has all of them.
_TOLD_FINDINGS = 20
# So many files of a lost volume are named.
_TOLD_NAMES = 5


class BundleFinding(NamedTuple):
    """One thing that is wrong.

    Args:
        path: the file of the bundle; of what is none, where it lies.
        problem: one of the words above.
        detail: what was seen.
        bring: what must be done, or brought again.
        volume: the number of the volume that was written with it; None for what lies in all, or in none.
        name: what it is called in a volume or in the bundle's directory.
        at: where it was looked at; None for what is not there.
        piece: the run of bytes that is wrong; None where it is no run of the manifest's.
    """

    path: str
    problem: str
    detail: str
    bring: str
    volume: Optional[int] = None
    name: str = ""
    at: Optional[str] = None
    piece: Optional[Piece] = None

    @property
    def hinders(self) -> bool:
        """Whether nothing may be installed: damaged parity alone loses nothing that is needed."""
        return self.path.split("/", 1)[0] != COPIES_DIRECTORY or self.problem == UNEXPECTED


def say_bytes(count: int) -> str:
    """Say a number of bytes for people, in powers of ten as media are sold."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} bytes"


def bring_piece(manifest: Manifest, piece: Piece, path: str, size: int) -> str:
    """Say what to bring again for a run of bytes of a file."""
    name = path.rsplit("/", 1)[-1]
    if manifest.volume_size is None or not piece.name.startswith("data/"):
        where = "" if manifest.volume_size is None else ", from any volume"
        return f"bring {piece.name} ({say_bytes(piece.size)}) again{where}"
    whole = f"all {say_bytes(size)}" if piece.size == size else say_bytes(piece.size)
    return f"bring volume {piece.volume} of {manifest.volumes}, or its file {piece.name}: {whole} of {name}"


def gather_volumes(
    manifest: Manifest, findings: Sequence[BundleFinding], present: Sequence[int]
) -> Tuple[BundleFinding, ...]:
    """Make one finding of all that say the same: that a volume is not there, of which nothing was found."""
    absent = {finding.volume for finding in findings if finding.piece is not None and finding.problem == MISSING}
    absent -= set(present)
    kept: List[BundleFinding] = []
    told: List[int] = []
    for finding in findings:
        if finding.volume is None or finding.problem != MISSING or finding.volume not in absent:
            kept.append(finding)
        elif finding.volume not in told:
            told.append(finding.volume)
            kept.append(_absent_volume(manifest, finding.volume, findings))
    return tuple(kept)


def _absent_volume(manifest: Manifest, number: int, findings: Sequence[BundleFinding]) -> BundleFinding:
    parts = [finding for finding in findings if finding.volume == number and finding.piece is not None]
    size = sum(piece.size for piece in {finding.piece for finding in parts} if piece is not None)
    names = sorted({finding.path.rsplit("/", 1)[-1] for finding in parts})
    shown = ", ".join(names[:_TOLD_NAMES])
    if len(names) > _TOLD_NAMES:
        shown += f" and {len(names) - _TOLD_NAMES} more"
    # Damaged parity loses nothing that is needed, so a volume of parity alone must keep that name.
    only_parity = all(not finding.hinders for finding in parts)
    return BundleFinding(
        path=f"{COPIES_DIRECTORY}/{volume_name(number)}" if only_parity else volume_name(number),
        problem=MISSING,
        detail=f"nothing of volume {number} of {manifest.volumes} is there, with {say_bytes(size)} of {shown}",
        bring=f"bring volume {number} of {manifest.volumes}",
        volume=number,
    )


def finding_document(finding: BundleFinding) -> Dict[str, Any]:
    """Make a finding for programs."""
    return {
        "path": finding.path,
        "problem": finding.problem,
        "detail": finding.detail,
        "bring": finding.bring,
        "volume": finding.volume,
        "name": finding.name or finding.path,
        "at": finding.at,
        "hinders": finding.hinders,
    }


def render_bundle_finding(finding: BundleFinding) -> Tuple[str, ...]:
    """Say a finding in lines for people."""
    return (f"{finding.path}: {finding.problem}: {finding.detail}", f"  {finding.bring}")


def damaged_bundle(findings: Sequence[BundleFinding]) -> PytorchOfflineError:
    """Make the error that names everything that is wrong with a bundle."""
    lines = ["; ".join(map(str.strip, render_bundle_finding(finding))) for finding in findings[:_TOLD_FINDINGS]]
    if len(findings) > _TOLD_FINDINGS:
        lines.append(f"and {len(findings) - _TOLD_FINDINGS} more")
    number = "one thing is" if len(findings) == 1 else f"{len(findings)} things are"
    return IntegrityError(
        "bundle-damaged",
        f"the bundle is not as it was written: {number} wrong with it; nothing was installed",
        sections={"found": lines},
        hint="; ".join(dict.fromkeys(finding.bring for finding in findings[:3])),
        data={"findings": [finding_document(finding) for finding in findings]},
    )
