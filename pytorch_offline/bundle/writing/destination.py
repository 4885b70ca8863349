"""The directory that a bundle is written to: what lies there already, the mark of what is not finished, its files.

Theory of operation. ``UNFINISHED`` lies there, durably, before the first byte and until after the last; a reader that
meets it refuses the bundle, and the next run goes on with what is whole. Each file is hashed while it is copied and
synced; ``manifest.json`` comes last, by rename. So at whatever moment a run is cut off, there is a finished bundle or
one that says that it is none.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytorch_offline.bundle.format.manifest import (
    CONTENT_DIRECTORIES,
    INSTALLER_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    ROTATIONS_NAME,
    SIGNATURE_NAME,
    UNFINISHED_NAME,
    parse_manifest,
)
from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY
from pytorch_offline.bundle.reading.rotation import MAX_ROTATIONS
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.mirror.disk import Disk, make_directories, share_blocks
from pytorch_offline.mirror.hashing import CHUNK, read_sha256

try:
    import fcntl
except ImportError:  # Windows keeps others from removing what is open, which is enough
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pytorch_offline.bundle.format.model import Manifest

UNFINISHED_TEXT = b"""\
This bundle is not finished: `pytorch-offline bundle` was still writing it, or was cut off.
Run the same command again: it goes on with what is whole. Do not carry it away like this.
"""
VOLUME_PREFIX = "volume-"
_READABLE, _RUNNABLE = 0o644, 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What lies at a destination.

    Args:
        unfinished: a bundle of ours that was begun.
        manifest: that of a finished bundle.
        body: its bytes.
    """

    unfinished: bool = False
    manifest: Manifest | None = None
    body: bytes | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing lies there."""
        return not self.unfinished and self.manifest is None


def check_place(root: Path, mirror: Path) -> None:
    """See that a bundle can be written to a directory: its parent is there, and it and the mirror are apart.

    Raises:
        UsageError: ``bad-destination``.
    """
    there, here = root.resolve(), mirror.resolve()
    if there == here or there in here.parents or here in there.parents:
        raise UsageError("bad-destination", f"{root} and the mirror {mirror} lie within each other")
    if not there.parent.is_dir():  # what should be a mount may be an empty directory, and this disk be filled
        said = f"{root} lies in {there.parent}, which does not exist; is something not mounted?"
        raise UsageError("bad-destination", said)


class BundleDirectory:
    """The directory of one bundle.

    Args:
        root: the directory; its parent need not be there either.
        disk: the system calls that change it; tests make them fail.
    """

    def __init__(self, root: Path, *, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()
        self._touched: set[Path] = set()

    def look(self) -> Standing:
        """Say what lies there.

        Raises:
            UsageError: ``bad-destination`` if something else than a bundle does.
        """
        with disk_errors(self.root, called="destination"):
            if not self.root.exists():
                return Standing()
            if not self.root.is_dir():
                raise UsageError("bad-destination", f"{self.root} is no directory")
            if (self.root / UNFINISHED_NAME).is_file():
                return Standing(unfinished=True)
            names = sorted(path.name for path in self.root.iterdir())
            if not names:
                return Standing()
            for place in (self.root / MANIFEST_NAME, self.root / f"{VOLUME_PREFIX}001" / MANIFEST_NAME):
                with suppress(FileNotFoundError, NotADirectoryError), place.open("rb") as file:
                    body = file.read(MAX_MANIFEST_BYTES + 1)
                    with suppress(PytorchOfflineError):
                        return Standing(manifest=parse_manifest(body), body=body)
        raise UsageError(
            "bad-destination",
            f"{self.root} holds something that is no bundle, and nothing there was touched",
            facts={"it holds": ", ".join(names[:5]) + (", …" if len(names) > 5 else "")},  # noqa: PLR2004
            hint="name a new or an empty directory",
        )

    def seals(self, top: str) -> dict[str, bytes]:
        """Read what lies beside the manifest, below the directory ``top``, if it is signed; by name."""
        found = {}
        for name in (SIGNATURE_NAME, ROTATIONS_NAME):
            with suppress(OSError), (self.root / top / name).open("rb") as file:
                found[name] = file.read(MAX_ROTATIONS + 1)
        return found

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark the bundle as unfinished; the mark goes when all that is done within went well.

        Raises:
            UsageError: ``destination-busy`` if another process is writing it.
            UpstreamError: ``disk-full``, ``disk-failed``, ``file-too-large``.
        """
        with disk_errors(self.root, called="destination"):
            make_directories(self.disk, self.root)
            mark = self.root / UNFINISHED_NAME
            with self._marked(mark):
                self._touched.add(self.root)
                yield
                for directory in sorted(self._touched, reverse=True):
                    self.disk.sync_directory(directory)
                self.disk.remove(mark)
                self.disk.sync_directory(self.root)

    @contextmanager
    def _marked(self, mark: Path) -> Iterator[None]:
        """Write the mark, and hold the operating system's lock on it, which goes with the process."""
        with mark.open("ab") as held:
            if fcntl is not None:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError("destination-busy", f"another run is writing {self.root}") from error
                except OSError:  # a file system without locks
                    pass
            if not mark.exists():  # whoever had it has just finished
                raise UsageError("destination-busy", f"another run has just written {self.root}")
            self.disk.write(mark, UNFINISHED_TEXT)
            self.disk.sync_directory(self.root)
            if os.name == "nt":
                held.close()
            yield

    def begin_anew(self, keep: Collection[str]) -> None:
        """Take away the manifest, so that nothing is believed, and what is not among the paths to keep.

        Only what bundles are made of is looked at; what somebody else laid beside it stays.
        """
        for name in (MANIFEST_NAME, SIGNATURE_NAME, ROTATIONS_NAME, *({INSTALLER_NAME} - set(keep))):
            self.disk.remove(self.root / name)
        ours = [self.root / name for name in (*CONTENT_DIRECTORIES, COPIES_DIRECTORY)]
        with suppress(FileNotFoundError):
            ours += sorted(self.root.glob(f"{VOLUME_PREFIX}[0-9][0-9][0-9]*"))
        wanted = {self.root / path for path in keep}
        for top in ours:
            for directory, _, names in os.walk(top, topdown=False):
                for name in names:
                    if (path := Path(directory, name)) not in wanted:
                        self.disk.remove(path)
                with suppress(OSError):  # it holds what stays
                    self.disk.remove_directory(Path(directory))

    def holds(self, file: BundleFile, *, advanced: Callable[[int], None]) -> bool:
        """Whether a file lies there, whole: an earlier run may have been cut off in it."""
        path = self.root / file.path
        try:
            if path.is_symlink() or path.stat().st_size != file.size:
                return False
            return read_sha256(path, advanced=advanced)[0] == file.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False

    def holds_bodies(self, bodies: Mapping[str, bytes]) -> bool:
        """Whether small files lie there, byte for byte."""
        rows = [BundleFile(path, len(body), hashlib.sha256(body).hexdigest()) for path, body in bodies.items()]
        return all(self.holds(row, advanced=lambda _: None) for row in rows)

    def copy(
        self, source: Path, file: BundleFile, *, advanced: Callable[[int], None], run: tuple[int, int] | None = None
    ) -> str | None:
        """Copy a file, or a run of its bytes (the first, and how many), hashing what is written.

        Says what is wrong with the original, None if nothing is.

        What turned out to be other bytes than the row says is removed again.
        """
        path = self._place(file.path)
        self.disk.remove(path)  # it may have a second name elsewhere
        try:
            original = source.open("rb", buffering=0)
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        try:
            with original, path.open("w+b", buffering=0) as copy:
                digest, size = _copied(original, copy, run, advanced)
                os.fsync(copy.fileno())
        except _UnreadableError as error:
            self.disk.remove(path)
            return f"cannot be read: {error}"
        if (digest, size) == (file.sha256, file.size):
            return None
        self.disk.remove(path)
        if size != file.size:
            return f"has {size} bytes instead of {file.size}"
        return f"has sha256 {digest} instead of {file.sha256}"

    def take(self, place: Path, path: str) -> None:
        """Give a file that was written here its place."""
        self.disk.replace(place, self._place(path))

    def put(self, path: str, body: bytes) -> None:
        """Write a small file, whole or not at all."""
        place = self._place(path)
        temporary = place.with_name(f"{place.name}.new")
        self.disk.write(temporary, body)
        self.disk.replace(temporary, place)

    def set_dates(self, paths: Collection[str], seconds: int) -> None:
        """Give files the bundle's date and rights that do not hang on who wrote them, where the medium keeps such."""
        for path in sorted(paths):
            place = self.root / path
            with suppress(OSError):
                place.chmod(_RUNNABLE if place.name == INSTALLER_NAME else _READABLE)
            with suppress(OSError):
                os.utime(place, (seconds, seconds))

    def _place(self, path: str) -> Path:
        place = self.root / path
        if place.parent not in self._touched:
            make_directories(self.disk, place.parent)
            self._touched.add(place.parent)
        if place.is_symlink():
            self.disk.remove(place)  # nothing is written through a link
        return place


class _UnreadableError(Exception):
    """The original's medium gives errors; lives within this module."""


def _copied(
    original: BinaryIO, copy: BinaryIO, run: tuple[int, int] | None, advanced: Callable[[int], None]
) -> tuple[str, int]:
    """Copy bytes, or share them where the file system can; hash those of the copy."""
    digest, size = hashlib.sha256(), 0
    shared = run is None and share_blocks(original, copy)
    if run is not None:
        original.seek(run[0])
    buffer = memoryview(bytearray(CHUNK))
    reading = copy if shared else original
    while count := _read_into(buffer if run is None else buffer[: run[1] - size], reading):
        piece = buffer[:count]
        digest.update(piece)
        if not shared:
            left = piece
            while left:
                left = left[copy.write(left) or 0 :]
        size += count
        advanced(count)
    return digest.hexdigest(), size


def _read_into(buffer: memoryview, reading: BinaryIO) -> int:
    try:
        count: int = reading.readinto(buffer)  # type: ignore[attr-defined]
    except OSError as error:
        raise _UnreadableError(error.strerror or str(error)) from error
    return count
