"""The values of a bundle (DESIGN 4.4): what is carried, for which targets, and how it lies on its media.

Whatever takes a library to find out (markers, specifiers, tags that a pip takes, driver tables) was found out on the
connected machine and is written down here as plain values: the far side only compares.
"""

import re
from typing import Any, Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.driver_facts import DriverFacts

SHA256_FORM = re.compile("[0-9a-f]{64}")


class Piece(NamedTuple):
    """A run of a file's bytes that lies in a volume under a name of its own; a whole file there is one piece.

    Args:
        volume: the number of the volume that was written with it, from 1; it is found in whichever is read.
        name: its path in a volume, in letters that every medium keeps.
        size: bytes.
        sha256: lower-case hex, of these bytes.
    """

    volume: int
    name: str
    size: int
    sha256: str


class BundleFile(NamedTuple):
    """One file of a bundle.

    Args:
        path: its place in the bundle, e.g. ``whl/cpu/torch-….whl``, ``locks/pylock.gpu.toml``, ``tools/pip-….whl``.
        size: bytes.
        sha256: lower-case hex.
        carried: False in a delta, for what the base has.
        pieces: where its bytes lie in volumes, in order; empty where the file lies under its path.
        row: the mirror's own row of a wheel (``mirror/manifest.py``), for the mirror that it is merged into.
    """

    path: str
    size: int
    sha256: str
    carried: bool = True
    pieces: Tuple[Piece, ...] = ()
    row: Optional[Mapping[str, Any]] = None

    @property
    def whole(self) -> Piece:
        """All of its bytes as one piece, under its own path."""
        return Piece(1, self.path, self.size, self.sha256)

    @property
    def own_pieces(self) -> Tuple[Piece, ...]:
        """The pieces that it lies in; of one that lies under its path, that one."""
        return self.pieces or (self.whole,)


class LockedWheel(NamedTuple):
    """One wheel of a lock, with what its verified bytes say.

    Args:
        project: normalised.
        version: normalised, with its local part.
        path: the path of its ``BundleFile``.
        tags: every tag of its name, expanded, e.g. ``cp311-cp311-manylinux_2_28_x86_64``.
        needs: projects of the same lock that it requires on the lock's target, sorted.
        requires_python: as METADATA has it, to be told to people.
        installed_bytes: what it takes on disk, with byte code, in whole blocks.
    """

    project: str
    version: str
    path: str
    tags: Tuple[str, ...]
    needs: Tuple[str, ...] = ()
    requires_python: Optional[str] = None
    installed_bytes: int = 0


class CudaNeed(NamedTuple):
    """What a CUDA build of torch asks of a driver and of a device; what is not known is None or empty.

    Args:
        cuda: the toolkit's version, e.g. ``12.8``.
        toolkit_driver: the driver that came with it: from there on everything works.
        minor_floor: the oldest driver that runs it by minor-version compatibility; None below CUDA 11.
        capabilities: compute capabilities with code of their own in it, e.g. ``9.0``.
        ptx: the highest capability it holds PTX for, from which newer devices may be compiled for.
    """

    cuda: str
    toolkit_driver: Optional[str] = None
    minor_floor: Optional[str] = None
    capabilities: Tuple[str, ...] = ()
    ptx: Optional[str] = None


class Missing(NamedTuple):
    """A requirement of a lock's wheel that the lock does not hold: the destination must have it already."""

    project: str
    requirement: str
    required_by: str


class TargetLock(NamedTuple):
    """A lock of the bundle and the machines that it fits.

    Args:
        target: the target's name.
        pylock: the path of its ``pylock.<target>.toml``.
        system: as ``platform.system()`` says it, e.g. ``Linux``.
        machine: as ``platform.machine()`` says it, e.g. ``x86_64``.
        implementation: as ``platform_python_implementation``, e.g. ``CPython``.
        python: ``major.minor``.
        markers: for each marker variable that the closure hangs on, the values with which it is this closure. Of
            ``python_full_version`` every version of ``python`` that was tried and keeps it.
        glibc: the lowest glibc on which all of it loads, ``major.minor``; None where none is needed or known.
        backend: that torch was built for, as its directory is spelt; None without torch.
        cuda: for a CUDA backend.
        oldest_pip: the first pip that takes all of its files by their tags.
        wheels: one per project, sorted.
        missing: what it leaves to the destination.
    """

    target: str
    pylock: str
    system: str
    machine: str
    implementation: str
    python: str
    markers: Mapping[str, Tuple[str, ...]]
    glibc: Optional[str]
    backend: Optional[str]
    cuda: Optional[CudaNeed]
    oldest_pip: str
    wheels: Tuple[LockedWheel, ...]
    missing: Tuple[Missing, ...] = ()


class Tool(NamedTuple):
    """A program that travels along to put the wheels in place.

    Args:
        name: ``pip`` or ``uv``.
        version: its version.
        path: the path of its ``BundleFile``.
        pythons: the ``major.minor`` of every Python that it runs on; empty for a program of its own.
        tags: of its file, expanded.
    """

    name: str
    version: str
    path: str
    pythons: Tuple[str, ...]
    tags: Tuple[str, ...]


class Manifest(NamedTuple):
    """A bundle as a whole.

    Args:
        id: sha256 of what the bundle holds, whichever way it is packed: ``content_id``.
        lineage: names the mirror that bundles come from; counters are compared within one lineage.
        counter: grows with each bundle of new content; a far side refuses to go back.
        base: of a delta, the id of the bundle that the far side must have; else None.
        created: ISO 8601 in UTC; the one date in the bundle.
        targets: the locks, sorted by target.
        tools: sorted by path.
        files: all, sorted by path.
        volume_size: the limit in bytes of each volume; None for one directory.
        volumes: how many volumes there are; 1 for one directory.
        parity: what mends damaged parts, as ``reading/parity.py`` describes it; None without.
        drivers: which drivers run which CUDA, as it was known when the bundle was written; no part of its id.
    """

    id: str
    lineage: str
    counter: int
    base: Optional[str]
    created: str
    targets: Tuple[TargetLock, ...]
    tools: Tuple[Tool, ...]
    files: Tuple[BundleFile, ...]
    volume_size: Optional[int] = None
    volumes: int = 1
    parity: Optional[Mapping[str, Any]] = None
    drivers: Optional[DriverFacts] = None

    def file_at(self, path: str) -> BundleFile:
        """Find a file by its path; raise ``KeyError`` where there is none."""
        for file in self.files:
            if file.path == path:
                return file
        raise KeyError(path)
