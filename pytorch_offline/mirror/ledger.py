"""What a mirror holds: ``manifest.json``, and the admissions since it was written.

Rewriting and syncing the whole manifest for each of hundreds of files would cost more than the files, so an admission
is one appended line of ``.state/admitted.jsonl``, and publication folds the lines into the manifest. A line is written
*before* its file gets its name: a crash between the two leaves a line without a file, which means nothing and is
passed over, and never a file without a line.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.disk import make_directories
from pytorch_offline.mirror.layout import MANIFEST_NAME
from pytorch_offline.mirror.manifest import parse_manifest, parse_row, render_row
from pytorch_offline.mirror.refetching import moved_away

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.disk import Disk
    from pytorch_offline.mirror.model import MirrorFile

LOG_NAME = ".state/admitted.jsonl"


class Ledger:
    """The rows of a mirror's files on disk."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._manifest = root / MANIFEST_NAME
        self._log = root / LOG_NAME
        self._disk = disk

    @property
    def exists(self) -> bool:
        """Whether anything was ever admitted or published here."""
        # Whoever may not look into the private directory has nothing there.
        return self._manifest.exists() or os.path.exists(self._log)  # noqa: PTH110

    @property
    def has_unpublished(self) -> bool:
        """Whether there are admissions that the manifest may not have."""
        return self._log.exists()

    def read(self) -> dict[PurePosixPath, MirrorFile]:
        """Read all rows; none for a mirror that holds nothing yet.

        Raises:
            IntegrityError: ``bad-manifest``.
            UsageError: ``unknown-manifest-format``.
        """
        # The log first: publication writes the manifest and then removes the log, so that a reader who holds no lock
        # finds every row in one of the two.
        admitted = self._read_log()
        published = self.read_published()
        present = {path: file for path, file in admitted.items() if path in published or (self._root / path).is_file()}
        return published | present

    def read_published(self) -> dict[PurePosixPath, MirrorFile]:
        """Read the rows of the manifest alone, which are those that the index pages list.

        Raises:
            IntegrityError: ``bad-manifest``.
            UsageError: ``unknown-manifest-format``.
        """
        try:
            return {file.path: file for file in parse_manifest(self._manifest.read_bytes())}
        except FileNotFoundError:
            return {}
        except IntegrityError as error:
            error.hint = moved_away(self._root, self._manifest)
            raise

    def read_announced(self) -> set[PurePosixPath]:
        """Read the paths of all files that are held or were about to be.

        Whoever looks at the tree first and asks this afterwards finds the path of every admitted file that was there.
        """
        admitted = set(self._read_log())
        return admitted | set(self.read_published())

    def read_unpublished(self) -> set[PurePosixPath]:
        """Read the paths of the admissions since the manifest was written, or cut off."""
        return set(self._read_log())

    def record(self, file: MirrorFile) -> None:
        """Note that a file is about to get its name, or that its row has changed."""
        make_directories(self._disk, self._log.parent)
        # A newline first: what a full disk or a power cut may have left of the last line stays a line of its own.
        self._disk.append(self._log, f"\n{render_row(file)}\n".encode())

    def _read_log(self) -> dict[PurePosixPath, MirrorFile]:
        try:
            lines = self._log.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        except PermissionError:
            if os.path.exists(self._log):  # noqa: PTH110
                raise
            return {}  # the private directory is closed to whoever only reads
        rows = {}
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue  # empty or torn: the admission that it would have announced never happened
            try:
                file = parse_row(row, where=f"line {number}", source=LOG_NAME)
            except IntegrityError as error:
                error.hint = moved_away(self._root, self._log)
                raise
            rows[file.path] = file
        return rows
