"""Rounds: which files are due to be verified again, and a note of each one that was, as soon as it was.

The manifest says when each file was last verified. It is written at the end of a run; what a run that was cut off had
verified is in ``.state/verified.jsonl``, a line for each file, so that the next run goes on where that one stopped.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytorch_offline.mirror.model import MirrorFile


LOG_NAME = "verified.jsonl"


def recent_files(
    files: Iterable[MirrorFile], age: timedelta, now: datetime, *, spread: bool = False
) -> set[PurePosixPath]:
    """Name the files that need not be read again: verified less than ``age`` ago, by a clock that was not ahead.

    With ``spread``, each file is due somewhere between half of that age and all of it, by its hash: files that came
    in one night are then verified again in many, and none is ever older than ``age``.
    """
    found = set()
    for file in files:
        share = 0.5 + int(file.sha256[:8], 16) / 2**33 if spread else 1.0
        if now - age * share < datetime.fromisoformat(file.verified_at) <= now:
            found.add(file.path)
    return found


class Rounds:
    """The note of what was verified since the manifest was written. Who cannot write has none."""

    def __init__(self, state: Path) -> None:
        self._log = state / LOG_NAME
        self._lock = threading.Lock()

    def applied(self, files: Mapping[PurePosixPath, MirrorFile]) -> dict[PurePosixPath, MirrorFile]:
        """Give rows of the manifest with what was verified since."""
        rows = dict(files)
        for path, (sha256, moment) in self._read().items():
            row = rows.get(path)
            if row is not None and row.sha256 == sha256 and row.verified_at < moment:
                rows[path] = replace(row, verified_at=moment)
        return rows

    def note(self, files: Iterable[MirrorFile]) -> None:
        """Note good files: a process that is killed loses nothing of it."""
        lines = "".join(
            "\n" + json.dumps({"path": str(file.path), "sha256": file.sha256, "verified_at": file.verified_at})
            for file in files
        )
        with self._lock, suppress(OSError), self._log.open("ab", buffering=0) as log:
            log.write(lines.encode())

    def clear(self) -> None:
        """Forget it, once the manifest has it."""
        with suppress(OSError):
            self._log.unlink()

    def _read(self) -> dict[PurePosixPath, tuple[str, str]]:
        found = {}
        with suppress(OSError):
            for line in self._log.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError, RecursionError):  # empty, or torn by a power cut
                    row = json.loads(line)
                    moment = spell_moment(datetime.fromisoformat(row["verified_at"]))
                    found[PurePosixPath(row["path"])] = str(row["sha256"]), moment
        return found
