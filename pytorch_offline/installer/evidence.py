"""The evidence of an installation: what was asked, what was put where, what was checked and found, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.installer.destination import Survey
    from pytorch_offline.installer.lock import LockedWheel
    from pytorch_offline.installer.proof import Finding, TorchReport

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an installation did and what was found afterwards.

    Args:
        at: when the proof was finished.
        mirror: the directory that was installed from.
        target: the name of the lock that was used.
        destination: the environment after the installation.
        installer: the program that put the files in place, with its version; None if nothing had to be.
        installed: the wheels that were put in place.
        kept: those that were there before.
        files_checked: how many installed files were hashed again.
        torch: what torch said and computed; None if it is not in the lock.
        findings: warnings, and failures where the proof failed.
    """

    at: datetime
    mirror: Path
    target: str
    destination: Survey
    installer: str | None
    installed: tuple[LockedWheel, ...]
    kept: tuple[LockedWheel, ...]
    files_checked: int
    torch: TorchReport | None
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that make the proof fail."""
        return tuple(finding for finding in self.findings if finding.fails)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are only told."""
        return tuple(finding for finding in self.findings if not finding.fails)


def evidence_document(evidence: Evidence) -> dict[str, Any]:
    """Make the JSON document of an evidence."""
    destination = evidence.destination
    return {
        "format": FORMAT,
        "at": evidence.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "mirror": str(evidence.mirror),
        "target": evidence.target,
        "destination": {
            "executable": destination.executable,
            "python": str(destination.python),
            "prefix": str(destination.prefix),
        },
        "installer": evidence.installer,
        "installed": [wheel_document(wheel) for wheel in evidence.installed],
        "kept": [wheel_document(wheel) for wheel in evidence.kept],
        "files_checked": evidence.files_checked,
        "torch": asdict(evidence.torch) if evidence.torch is not None else None,
        "proven": not evidence.failures,
        "findings": [asdict(finding) for finding in evidence.findings],
    }


def wheel_document(wheel: LockedWheel) -> dict[str, Any]:
    """Make the JSON document of a wheel."""
    return {
        "project": wheel.project,
        "version": str(wheel.name.version),
        "filename": wheel.name.filename,
        "path": str(wheel.path),
        "sha256": wheel.sha256,
        "size": wheel.size,
    }


def render_evidence(evidence: Evidence) -> str:
    """Write an evidence as JSON text."""
    return json.dumps(evidence_document(evidence), indent=2, ensure_ascii=False) + "\n"
