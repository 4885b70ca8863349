"""A switch of many files that is carried out whole, however often it is cut off.

The new files lie ready and durable in a private directory; the journal, itself written atomically, names every rename
and removal. From then on the switch will happen: now, or when the next run that may write finds the journal. Every step
may be repeated. devpi's key-value store replays its renames in the same way (mirrors.md, section 4.1).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.disk import make_directories

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytorch_offline.mirror.disk import Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a switch does, in order: renames, then removals, then those of ``unlinked`` files: what pages linked to.

    Each of the three is durable before the next begins. All paths are relative, with ``/``.
    """

    renames: tuple[tuple[str, str], ...]
    removals: tuple[str, ...] = ()
    unlinked: tuple[str, ...] = ()


def render_journal(journal: Journal) -> bytes:
    """Render a journal as JSON."""
    document = {"renames": journal.renames, "removals": journal.removals, "unlinked": journal.unlinked}
    return json.dumps(document, indent=1).encode()


def parse_journal(text: bytes) -> Journal:
    """Read a journal.

    Raises:
        IntegrityError: ``bad-journal`` if it is none, or a path in it could leave the mirror.
    """
    try:
        document = json.loads(text)
        renames = tuple((_safe(source), _safe(target)) for source, target in document["renames"])
        removals = tuple(_safe(path) for path in document["removals"])
        unlinked = tuple(_safe(path) for path in document.get("unlinked", ()))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            "bad-journal",
            "the journal of an interrupted publication cannot be read",
            facts={"reason": str(error)},
            hint="remove .state/journal.json and run fetch again; it writes all pages anew",
        ) from error
    return Journal(renames=renames, removals=removals, unlinked=unlinked)


def carry_out(disk: Disk, root: Path, journal: Journal) -> None:
    """Do what a journal says, or what is left of it."""
    left = [(root / source, root / target) for source, target in journal.renames if (root / source).exists()]
    make_directories(disk, *(target.parent for _, target in left))
    for source, target in left:  # an earlier try has done the others
        disk.replace(source, target)
    _sync(disk, {(root / target).parent for _, target in journal.renames})
    # Apart: after a power cut no page that is there may link to what is gone.
    for paths in (journal.removals, journal.unlinked):
        for path in paths:
            disk.remove(root / path)
        _sync(disk, {(root / path).parent for path in paths})


def _sync(disk: Disk, directories: Iterable[Path]) -> None:
    for directory in sorted(directories):
        if directory.is_dir():
            disk.sync_directory(directory)


def _safe(path: str) -> str:
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\\" in path or "\0" in path or ":" in path:
        raise ValueError(f"path {path!r} may leave the mirror")
    return path
