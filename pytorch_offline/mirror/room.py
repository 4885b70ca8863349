"""Whether the rest of a plan fits on the mirror's disks: by bytes, by inodes, and by the size of its largest file.

A mirror may lie on several file systems: ``whl``, a directory below it or ``.state`` may be a mount or a symbolic link.
A file whose place is on another one than ``.state/partial`` is copied there once it is whole. So it needs its full size
there; and for a while, as many at once as there are jobs, what is still to come of it where it is collected.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import file_too_large
from pytorch_offline.errors import UpstreamError
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# For what comes with the wheels: metadata, index pages, the manifest. A mirror of hundreds of files needs a few MiB.
MARGIN = 16 * 1024 * 1024
# Inodes for one wheel: itself, its METADATA, up to four pages in two directories (a mirror of ten wheels has 98
# entries), and those of a publication under way.
_INODES_PER_WHEEL = 10
_INODES_MARGIN = 32
# File systems whose files are shorter than 4 GiB, as Linux calls them; a wheel of 4 GiB is rare, and not unheard of.
_FAT, _FAT_LARGEST = frozenset({"vfat", "msdos"}), (1 << 32) - 1
_MOUNTS = Path("/proc/self/mountinfo")


def free_bytes(path: Path) -> int:
    """Ask how many bytes an ordinary user may still write to the file system of a directory."""
    return shutil.disk_usage(existing(path)).free


def free_inodes(path: Path) -> int | None:
    """Ask how many files may still be made there; None where nobody counts them (btrfs, FAT, exFAT, Windows)."""
    if not hasattr(os, "statvfs"):
        return None
    found = os.statvfs(existing(path))
    return found.f_favail if found.f_files else None


def largest_file(path: Path) -> int | None:
    """Ask how large a file may become there, by its file system and by the limit of this process; None if unknown."""
    limits = [_FAT_LARGEST] if file_system_of(path) in _FAT else []
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        pass
    else:
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    return min(limits, default=None)


def file_system_of(path: Path) -> str | None:
    """Name the kind of the file system that holds a path, as the system does; None if it does not tell."""
    try:
        mounts = parse_mounts(_MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    device = existing(path).stat().st_dev
    return mounts.get((os.major(device), os.minor(device)))


def parse_mounts(text: str) -> dict[tuple[int, int], str]:
    """Read Linux's ``mountinfo`` (proc(5)): the kind of file system of each device."""
    kinds = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 2 and kind:  # noqa: PLR2004  (the third is major:minor)
            major, _, minor = fields[2].partition(":")
            kinds[int(major), int(minor)] = kind[0]
    return kinds


def existing(path: Path) -> Path:
    """Find the directory that is there: the path itself, or the nearest above it."""
    return next((place for place in (path, *path.absolute().parents) if place.exists()), path)


def mount_of(path: Path) -> Path:
    """Find where the file system of a path begins."""
    place = existing(path).resolve()
    return next((one for one in (place, *place.parents) if os.path.ismount(one)), place)


@dataclass(slots=True, kw_only=True)
class _Coming:
    """One file: what is still to come of it, its whole size as far as that is known, and where it will lie."""

    missing: int
    size: int
    place: Path


class Room:
    """Keeps count of the bytes still to come, and compares them with what is free. Safe from many threads.

    Args:
        root: the mirror's directory, which need not be there yet.
        staging: where files are collected; ``root`` if nothing is said.
        jobs: how many files are collected at once.
        free: asks a disk for its bytes.
        inodes: asks a disk for its inodes.
        largest: asks a disk for the size that a file may have.
    """

    def __init__(
        self,
        root: Path,
        *,
        staging: Path | None = None,
        jobs: int = 1,
        free: Callable[[Path], int] = free_bytes,
        inodes: Callable[[Path], int | None] = free_inodes,
        largest: Callable[[Path], int | None] = largest_file,
    ) -> None:
        self._root = root
        self._staging = staging or root
        self._jobs = jobs
        self._free = free
        self._inodes = inodes
        self._largest = largest
        self._lock = threading.Lock()
        self._coming: dict[Hashable, _Coming] = {}
        self._disks: dict[Path, int] = {}

    def expect(self, key: Hashable, missing: int, *, size: int = 0, place: Path | None = None) -> None:
        """Note how many bytes of a file are still to come, its whole size, and in which directory it will lie."""
        with self._lock:
            self._coming[key] = _Coming(missing=missing, size=max(missing, size), place=place or self._staging)

    def learn(self, key: Hashable, missing: int) -> None:
        """Note what is still to come, and check at once if that is more than was expected."""
        with self._lock:
            coming = self._coming.setdefault(key, _Coming(missing=0, size=0, place=self._staging))
            news = missing > coming.missing
            coming.missing, coming.size = missing, max(coming.size, missing)
        if news:
            self.check()

    def took(self, key: Hashable, count: int) -> None:
        """Note that ``count`` of the bytes have been written."""
        with self._lock:
            coming = self._coming.get(key)
            if coming is not None:
                coming.missing = max(0, coming.missing - count)

    def ended(self, key: Hashable) -> None:
        """Note that nothing more is to come of a file."""
        with self._lock:
            self._coming.pop(key, None)

    def check(self) -> None:
        """Compare, for each file system.

        Raises:
            UpstreamError: ``disk-full`` if the rest does not fit; ``file-too-large`` if a file of it never can.
        """
        self._check_sizes()
        with self._lock:
            wheels = len(self._coming)
            anything = any(coming.missing for coming in self._coming.values())
        if not anything:
            return
        for place, missing in self._needs().items():
            free = self._free(place)
            if missing and missing + MARGIN > free:
                raise self._shortage(place, missing, free)
            inodes = self._inodes(place)
            needed = wheels * _INODES_PER_WHEEL + _INODES_MARGIN
            if inodes is not None and inodes < needed:
                raise UpstreamError(
                    "disk-full",
                    f"about {needed} files are still to be made, but the file system at {mount_of(place)} has room "
                    f"for {inodes} only (inodes)",
                    facts={"mirror": str(self._root), "inodes free": inodes, "inodes needed": needed, **self.facts()},
                    hint="remove files there, or put the mirror elsewhere with --mirror",
                )

    def facts(self) -> dict[str, int]:
        """Say how many bytes are still to come and how many are free where they are collected, for a message."""
        with self._lock:
            missing = sum(coming.missing for coming in self._coming.values())
        return {"bytes to come": missing, "bytes free": self._free(self._staging)}

    def _check_sizes(self) -> None:
        with self._lock:
            by_place: dict[Path, list[tuple[int, str]]] = defaultdict(list)
            for key, coming in self._coming.items():
                for place in {coming.place, self._staging}:
                    by_place[place].append((coming.size, str(key)))
        for place, sizes in by_place.items():
            limit, (size, name) = self._largest(place), max(sizes)
            if limit is not None and size > limit:
                facts = {"file": name, "its size": str(size), "largest possible": str(limit)}
                raise file_too_large(place, facts)

    def _needs(self) -> dict[Path, int]:
        """Sum up by file system, each named by the first directory that was met on it, what is still to come."""
        needs: dict[int, int] = defaultdict(int)
        places: dict[int, Path] = {}
        passing: list[int] = []  # bytes that are only collected here
        with self._lock:
            here = self._disk_of(self._staging)
            places[here] = self._staging
            for coming in self._coming.values():
                there = self._disk_of(coming.place)
                places.setdefault(there, coming.place)
                needs[there] += coming.missing if there == here else coming.size
                if there != here:
                    passing.append(coming.missing)
        needs[here] += sum(sorted(passing, reverse=True)[: self._jobs])
        return {places[disk]: need for disk, need in needs.items()}

    def _disk_of(self, place: Path) -> int:
        if place not in self._disks:
            self._disks[place] = existing(place).stat().st_dev
        return self._disks[place]

    def _shortage(self, place: Path, missing: int, free: int) -> UpstreamError:
        lacking = missing + MARGIN - free
        return UpstreamError(
            "disk-full",
            f"{render_size(missing)} are still to come and {render_size(MARGIN)} are kept for pages, but the file "
            f"system at {mount_of(place)} has {render_size(free)} free: {render_size(lacking)} are missing",
            facts={
                "mirror": str(self._root),
                "file system": str(mount_of(place)),
                "bytes to come": missing,
                "bytes free": free,
                "bytes kept in reserve": MARGIN,
                "bytes missing": lacking,
            },
            hint=f"make {render_size(lacking)} of room there, put the mirror elsewhere with --mirror, or fetch for "
            "fewer targets at a time; what has come so far is kept and not asked for again",
        )
