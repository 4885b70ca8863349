"""The files that clients read to find wheels, switched as one: index pages and the manifest.

A generation is laid ready below ``.state``, synced, named in a journal, and renamed into the tree (docs/adr/0002).
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.disk import make_directories, write_atomically
from pytorch_offline.mirror.journal import Journal, carry_out, parse_journal, render_journal
from pytorch_offline.mirror.layout import PAGE_NAMES, ROOT
from pytorch_offline.mirror.refetching import all_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytorch_offline.mirror.disk import Disk


class Generations:
    """Switches a mirror from one generation to the next; whoever calls holds the mirror's lock."""

    def __init__(self, root: Path, state: Path, disk: Disk) -> None:
        self._root = root
        self._state = state
        self._next = state / "generation"
        self._journal = state / "journal.json"
        self._disk = disk

    @property
    def is_pending(self) -> bool:
        """Whether a switch was begun that is not over."""
        return self._journal.exists()

    def read_leaving(self) -> set[PurePosixPath]:
        """Read which files a switch that was begun will remove; none if it cannot be told."""
        try:
            return {PurePosixPath(path) for path in parse_journal(self._journal.read_bytes()).unlinked}
        except (FileNotFoundError, PermissionError, IntegrityError):
            return set()

    def finish(self) -> None:
        """Do the rest of a switch that was cut off, or forget one that had not begun.

        Raises:
            IntegrityError: ``bad-journal``.
        """
        if self._journal.exists():
            try:
                journal = parse_journal(self._journal.read_bytes())
            except IntegrityError as error:
                error.hint = (
                    "remove it; fetch writes all pages anew: "
                    f"{shlex.join(['rm', str(self._journal)])} && {all_again(self._root)}"
                )
                raise
            self._carry_out(journal)
        sweep(self._disk, self._next)  # without a journal it was never complete

    def switch(
        self,
        documents: Mapping[PurePosixPath, bytes],
        removals: Iterable[str],
        *,
        unlinked: Iterable[str] = (),
        temporary: Path,
    ) -> None:
        """Put documents in place, in their order, then remove files; all of it or, until the journal is there, none.

        ``unlinked`` are removed last: documents linked to them that are replaced or removed now.
        """
        make_directories(self._disk, self._next)
        renames = []
        for number, (path, body) in enumerate(documents.items()):
            ready = self._next / str(number)
            self._disk.write(ready, body)
            renames.append((ready.relative_to(self._root).as_posix(), str(path)))
        self._disk.sync_directory(self._next)
        journal = Journal(renames=tuple(renames), removals=tuple(removals), unlinked=tuple(unlinked))
        write_atomically(self._disk, self._journal, render_journal(journal), temporary=temporary)
        self._carry_out(journal)

    def pages_on_disk(self) -> list[PurePosixPath]:
        """List the index pages that are in the tree, whoever wrote them."""
        found = []
        for directory, _, names in os.walk(self._root / ROOT):
            below = PurePosixPath(Path(directory).relative_to(self._root).as_posix())
            found += [below / name for name in names if name in PAGE_NAMES]
        return sorted(found)

    def _carry_out(self, journal: Journal) -> None:
        carry_out(self._disk, self._root, journal)
        self._disk.remove(self._journal)
        self._disk.sync_directory(self._state)
        sweep(self._disk, self._next)
        emptied = {(self._root / path).parent for path in (*journal.removals, *journal.unlinked)} - {
            self._root,
            self._state,
        }
        for directory in sorted(emptied, key=lambda one: len(one.parts), reverse=True):  # the inner ones first
            if directory.is_dir() and not any(directory.iterdir()):
                self._disk.remove_directory(directory)


def sweep(disk: Disk, directory: Path) -> None:
    """Remove a directory of files, if it is there."""
    if directory.is_dir():
        for leftover in directory.iterdir():
            disk.remove(leftover)
        disk.remove_directory(directory)
