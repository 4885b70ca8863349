"""Reads how a mirror stands. Changes nothing; what cannot be read is unknown."""

from __future__ import annotations

import shutil
from datetime import datetime
from typing import TYPE_CHECKING

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift import find_drift
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.milestones import Milestones
from pytorch_offline.mirror.rounds import Rounds
from pytorch_offline.mirror.standing import DriftWarning, Drive, Standing, drift_of, holdings_of, verified_between

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.model import MirrorFile


def take_stock(root: Path, files: Mapping[PurePosixPath, MirrorFile], *, now: datetime) -> Standing:
    """Find out how the mirror at ``root`` stands that holds these files.

    Takes a second where the catalogue is large, or a disk slow: not for an event loop.
    """
    state = root / STATE_NAME
    rows = Rounds(state).applied(files)
    whole, holdings = holdings_of(rows.values())
    oldest, newest = verified_between(rows)
    pages_read, drift = _ask_catalogue(state / CATALOGUE_NAME, rows)
    return Standing(
        at=now,
        whole=whole,
        holdings=holdings,
        oldest=oldest,
        newest=newest,
        reached=Milestones(state).read(),
        pages_read=pages_read,
        drive=_drive(root),
        drift=drift,
    )


def _ask_catalogue(
    path: Path, files: Mapping[PurePosixPath, MirrorFile]
) -> tuple[datetime | None, tuple[DriftWarning, ...] | None]:
    """Ask the catalogue, only reading, when upstream was last read and what it replaced or removed."""
    try:
        if not path.is_file():
            return None, None
        with Catalogue.open(path, read_only=True) as catalogue:
            last = catalogue.last_reading()
            reuploads, disappearances = find_drift(catalogue.unsteady(), catalogue.receipts())
    except (PytorchOfflineError, OSError):
        return None, None
    read = None if last is None else datetime.fromisoformat(last)
    return read, drift_of(files.values(), reuploads, disappearances)


def _drive(root: Path) -> Drive | None:
    try:
        found = shutil.disk_usage(root)
    except OSError:
        return None
    return Drive(total=found.total, free=found.free)
