"""Gives a file of a bundle its real name in a directory: by a link to where it lies whole, else by joining pieces."""

import os
from hashlib import sha256
from typing import Iterable

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import IntegrityError


def materialise(source: Source, file: BundleFile, directory: str) -> str:
    """Give the path of a file with a bundle file's bytes and name; nothing is copied that need not be.

    Args:
        source: where its bytes lie.
        file: which.
        directory: where it goes if it does not lie whole under its name already: in the destination's file system,
            for pieces are joined there. What it holds under the name is replaced.

    Raises:
        IntegrityError: ``part-missing``, or ``part-changed`` if pieces do not make the file.
        OSError: if the directory cannot be written to.
    """
    name = file.path.rsplit("/", 1)[-1]
    whole = source.whole(file.path)
    if whole is not None and os.path.basename(whole) == name:
        return whole
    path = os.path.join(directory, name)
    if os.path.lexists(path):
        os.unlink(path)
    if whole is not None:
        for link in (os.symlink, os.link):  # neither FAT nor every user on Windows has them
            try:
                link(whole, path)
            except (OSError, NotImplementedError):
                continue
            return path
    _join(source.read_file(file.path), file, path)
    return path


def needs_joining(source: Source, files: Iterable[BundleFile]) -> int:
    """Say how many bytes are written where files are given their names: those of files that lie in pieces."""
    return sum(file.size for file in files if source.whole(file.path) is None)


def _join(runs: Iterable[bytes], file: BundleFile, path: str) -> None:
    digest, unfinished = sha256(), path + ".joining"
    try:
        with open(unfinished, "wb", buffering=0) as joined:
            for run in runs:
                digest.update(run)
                rest = memoryview(run)
                while rest:
                    rest = rest[joined.write(rest) :]
        _require_digest(file, digest.hexdigest())
        os.replace(unfinished, path)
    except BaseException:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
        raise


def _require_digest(file: BundleFile, found: str) -> None:
    if found != file.sha256:
        raise IntegrityError(
            "part-changed",
            f"the pieces of {file.path} do not make it: they are others than were checked",
            facts={"expected": file.sha256, "found": found},
            hint="was a medium changed meanwhile? begin again",
        )
