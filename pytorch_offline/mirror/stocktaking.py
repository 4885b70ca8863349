"""Reads how a mirror stands. Changes nothing; what cannot be read is unknown."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift import find_drift
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.milestones import Milestones
from pytorch_offline.mirror.rounds import Rounds
from pytorch_offline.mirror.standing import Drive, Standing, drift_of, holdings_of, name_of_generation, verified_between

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path, PurePosixPath

    from pytorch_offline.crawler.drift import Disappearance, Reupload
    from pytorch_offline.mirror.model import MirrorFile


def take_stock(root: Path, files: Mapping[PurePosixPath, MirrorFile], *, now: datetime) -> Standing:
    """Find out how the mirror at ``root`` stands that holds these files.

    Takes a second where the catalogue is large, or a disk slow: not for an event loop.
    """
    return Stocktaker(root).take(files, now=now)


class Stocktaker:
    """Finds out again and again how the mirror at ``root`` stands; a catalogue that did not change is not read anew."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._catalogue = root / STATE_NAME / CATALOGUE_NAME
        self._read: _Look | None = None
        self._known: _Known | None = None

    def take(self, files: Mapping[PurePosixPath, MirrorFile], *, now: datetime) -> Standing:
        """Find out how it stands, holding these files."""
        state = self._root / STATE_NAME
        rows = Rounds(state).applied(files)
        whole, holdings = holdings_of(rows.values())
        oldest, newest = verified_between(rows)
        known = self._ask_catalogue()
        return Standing(
            at=now,
            generation=name_of_generation(rows.values()),
            whole=whole,
            holdings=holdings,
            oldest=oldest,
            newest=newest,
            reached=Milestones(state).read(),
            pages_read=None if known is None or known.read is None else datetime.fromisoformat(known.read),
            drive=_drive(self._root),
            drift=None if known is None else drift_of(rows.values(), known.reuploads, known.disappearances),
            there=os.path.isdir(self._root),  # noqa: PTH112  (a disk that gives errors has no directory)
        )

    def _ask_catalogue(self) -> _Known | None:
        """Ask the catalogue, only reading, when upstream was last read and what it replaced or removed."""
        try:
            look = self._look()
            if look is None:
                self._known = None
            elif look != self._read:
                with Catalogue.open(self._catalogue, read_only=True) as catalogue:
                    reuploads, disappearances = find_drift(catalogue.unsteady(), catalogue.receipts())
                    last = catalogue.last_reading()
                self._known = _Known(read=last, reuploads=reuploads, disappearances=disappearances)
            self._read = look
        except (PytorchOfflineError, OSError):
            self._read = self._known = None
        return self._known

    def _look(self) -> _Look | None:
        """Tell one state of the catalogue from another; None if there is none."""
        if not self._catalogue.is_file():
            return None
        log = self._catalogue.with_name(f"{self._catalogue.name}-wal")
        looks = [place.stat() for place in (self._catalogue, log) if place.exists()]
        return tuple((look.st_ino, look.st_size, look.st_mtime_ns) for look in looks)


_Look: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a catalogue says: when a page was last read, and what drifted."""

    read: str | None
    reuploads: tuple[Reupload, ...]
    disappearances: tuple[Disappearance, ...]


def _drive(root: Path) -> Drive | None:
    try:
        found = shutil.disk_usage(root)
    except OSError:
        return None
    return Drive(total=found.total, free=found.free)
