"""Bring files to a bundle's directory: what lies there already, whether the rest fits, copying it with every hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import file_too_large
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.progress import Doing, Outcome, Stage
from pytorch_offline.mirror.room import MARGIN, free_bytes, largest_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile
    from pytorch_offline.bundle.writing.destination import BundleDirectory
    from pytorch_offline.bundle.writing.volumes import Laid
    from pytorch_offline.mirror.progress import Progress


def not_there(destination: BundleDirectory, laid: tuple[Laid, ...], progress: Progress) -> tuple[Laid, ...]:
    """Hash what lies there already, and say which files have to be written."""
    progress.plan({part.file.path: part.file.size for part in laid}, stage=Stage.STOCK)
    missing = []
    for part in laid:
        progress.begin(part.file.path, part.file.size, 0)
        progress.doing(part.file.path, Doing.HASHING)
        if not destination.holds(part.file, advanced=advancing(progress, part.file)):
            missing.append(part)
        progress.end(part.file.path)
    return tuple(missing)


def advancing(progress: Progress, file: BundleFile) -> Callable[[int], None]:
    """Tell the progress how far a file was read: the function gets the bytes of each run."""
    position = 0

    def advanced(count: int) -> None:
        nonlocal position
        position += count
        progress.advance(file.path, position, file.size)

    return advanced


def require_room(out: Path, missing: tuple[Laid, ...], parity: int) -> None:
    """Ask the file system before the first of many GB is written."""
    files = [part.file for part in missing]
    needed, free = sum(file.size for file in files) + parity + MARGIN, free_bytes(out)
    for file in files:  # what lies there under the name is written over
        place = out / file.path
        free += place.stat().st_size if place.is_file() else 0
    if needed > free:
        facts = {"needed": needed, "free": free}
        raise UpstreamError(
            "disk-full",
            f"the bundle needs {needed:,} bytes in {out}, {free:,} are free; nothing was written",
            facts=facts,
        )
    limit, largest = largest_file(out), max((file.size for file in files), default=0)
    if limit is not None and largest > limit:
        error = file_too_large(out, {"largest file": f"{largest:,} bytes", "it holds": f"{limit:,} bytes"})
        error.hint = "--volume-size fat32 cuts files into pieces that fit"
        raise error


def copy_all(
    destination: BundleDirectory,
    laid: tuple[Laid, ...],
    places: Mapping[str, Path],
    bodies: Mapping[str, bytes],
    progress: Progress,
) -> None:
    """Copy files, or runs of their bytes; name all of the mirror's that are not what its manifest says.

    Raises:
        IntegrityError: ``bad-files``.
    """
    bad = {}
    progress.plan({part.file.path: part.file.size for part in laid}, stage=Stage.PACK)
    for part in laid:
        file = part.file
        progress.begin(file.path, file.size, 0)
        progress.doing(file.path, Doing.HASHING)
        problem = None
        if part.of in bodies:
            destination.put(file.path, bodies[part.of])
            progress.advance(file.path, file.size, file.size)
        else:
            run = (part.offset, file.size) if part.is_run else None
            problem = destination.copy(places[part.of], file, advanced=advancing(progress, file), run=run)
        if problem is not None:
            bad[part.of] = problem
        progress.end(file.path, Outcome.DONE if problem is None else Outcome.FAILED)
    if bad:
        raise rotten(bad)


def rotten(bad: Mapping[str, str]) -> PytorchOfflineError:
    """Make the error that names files of the mirror which are not what its manifest says."""
    few = "1 file of the mirror is" if len(bad) == 1 else f"{len(bad)} files of the mirror are"
    return IntegrityError(
        "bad-files",
        f"{few} not what its manifest says; the bundle is not finished",
        facts=dict(bad),
        hint="`pytorch-offline verify --repair` fetches what is bad of them again; then run the same command again: "
        "it goes on with what is whole",
    )
