"""The mirror's directory: the only place that changes it.

Theory of operation. A wheel is downloaded below ``.state/partial``, passes the gate, and is renamed to its place; its
METADATA lies beside it before the wheel appears. Index pages are rendered from the rows of all files, laid ready as a
*generation* below ``.state``, and switched by journalled renames (docs/adr/0002). One process at a time may change a
mirror; any number may read it, from read-only media too.

Invariants, at whatever system call a run is cut off:

- a file under its final name has been whole, synced and through the gate before it got that name;
- a page is the old one or the new one, and links to nothing that is not there;
- ``manifest.json`` and the admissions after it together name every admitted file;
- what a cut run left behind is finished or swept away by the next run that takes the lock.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.addresses import without_credentials
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.admission import check_bytes, check_demanded, check_wheel
from pytorch_offline.mirror.blocks import BlockNotes, BlockSums
from pytorch_offline.mirror.disk import Disk, incoming_of, make_directories, write_atomically
from pytorch_offline.mirror.generation import Generations, sweep
from pytorch_offline.mirror.hashing import read_sha256
from pytorch_offline.mirror.layout import LOCKS, MANIFEST_NAME, STATE_NAME, sidecar_of
from pytorch_offline.mirror.ledger import LOG_NAME, Ledger
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.milestones import PUBLICATION_NAME, Milestones, render_publication
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.mirror.pages import render_pages
from pytorch_offline.moments import spell_moment
from pytorch_offline.wheels.archive import check_archive
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.mirror.model import WantedFile

_LOCK_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.(?:toml|txt|json)")


class Mirror:
    """A mirror directory, which need not exist yet. Safe from many threads.

    Args:
        root: the mirror's directory.
        disk: the system calls that change it; tests make them fail.
        work: what this process does with it, for whoever has to wait for it.
        patience: how many seconds to wait for another process that changes it; None for as long as it takes.
    """

    def __init__(
        self, root: Path, *, disk: Disk | None = None, work: str = "pytorch-offline", patience: float | None = None
    ) -> None:
        self.root = root
        self.state = root / STATE_NAME
        self.partial = self.state / "partial"  # downloads under way
        self.rejected = self.state / "rejected"  # bytes that did not pass the gate, kept for inspection
        self.blocks = BlockNotes(self.state / "blocks")  # where a file is bad, once it is
        self.milestones = Milestones(self.state)
        self._temporary = self.state / "temporary"
        self.disk = disk or Disk()
        self._ledger = Ledger(root, self.disk)
        self._generations = Generations(root, self.state, self.disk)
        self._lock = MirrorLock(root, self.state / "lock", work=work, patience=patience)
        # Held by whoever announces a file, and by whoever publishes, which forgets what was announced.
        self._mutex = threading.RLock()
        self._depth = 0
        self._files: dict[PurePosixPath, MirrorFile] = {}  # valid while the lock is held
        self._names_given = 0

    # Reading ---------------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether anything was ever admitted or published here."""
        return self._ledger.exists

    def read_files(self) -> dict[PurePosixPath, MirrorFile]:
        """Read the rows of all files that the mirror holds, by path.

        Raises:
            IntegrityError: ``bad-manifest``.
            UsageError: ``unknown-manifest-format``.
            UpstreamError: ``disk-failed``.
        """
        with self._mutex, disk_errors(self.root):
            return dict(self._files) if self._depth else self._ledger.read()

    def read_published(self) -> dict[PurePosixPath, MirrorFile]:
        """Read the rows that the manifest has and the index pages list; a fetch under way or cut off may have more."""
        with disk_errors(self.root):
            return self._ledger.read_published()

    def read_announced(self) -> set[PurePosixPath]:
        """Read the paths that an admitted file may have, those of admissions under way or cut off included."""
        with disk_errors(self.root):
            return self._ledger.read_announced()

    def read_leaving(self) -> set[PurePosixPath]:
        """Read the paths of files that a removal under way or cut off is about to take away."""
        with disk_errors(self.root):
            return self._generations.read_leaving()

    # The lock --------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, waiting: Callable[[str], None] = lambda _: None, *, wait: bool = True) -> Iterator[None]:
        """Be the one process that changes the mirror; finish first what a cut-off run left.

        May be entered again, from any thread: every method that changes the mirror does so itself. Whoever does
        several things at once holds it around all of them.

        Args:
            waiting: told in one sentence who has to be waited for.
            wait: whether to wait for another process at all.

        Raises:
            UsageError: ``mirror-not-writable``; ``mirror-busy`` if another process has it and does not let go in time;
                ``mirror-not-lockable`` where the file system keeps no locks.
            UpstreamError: ``disk-full``, ``disk-failed``.
        """
        with self._mutex:
            if self._depth == 0:
                with disk_errors(self.root):
                    self._acquire(waiting, wait=wait)
            self._depth += 1
        try:
            yield
        finally:
            with self._mutex:
                self._depth -= 1
                if self._depth == 0:
                    self._lock.release()

    def _acquire(self, waiting: Callable[[str], None], *, wait: bool) -> None:
        make_directories(self.disk, self.state)
        self._lock.acquire(waiting, wait=wait)
        try:
            self._generations.finish()
            sweep(self.disk, self._temporary)
            self._files = self._ledger.read()
            self._remove_strays()
            for left in (*self.partial.glob("*.part.json"), *self.partial.glob("*.part.json.new")):
                if not left.with_name(left.name.partition(".json")[0]).exists():
                    self.disk.remove(left)  # it spoke of bytes that have been admitted
        except BaseException:
            self._lock.release()
            raise

    # Changing --------------------------------------------------------------------------------------------------------

    def adopt(
        self,
        wanted: WantedFile,
        *,
        now: Callable[[], datetime],
        advanced: Callable[[int], None] = lambda _: None,
    ) -> MirrorFile | None:
        """Take a wanted file from what is already on this disk, if it can be proved to be the one.

        That is: the file listed under its path; a file that lies there unlisted (its manifest was lost); or the same
        bytes under another path, which get a second name. ``advanced`` is told of each piece that was read for it.

        Returns:
            The file's row, or None if it must be downloaded.

        Raises:
            IntegrityError: ``path-conflict`` if the path holds other bytes than those wanted.
        """
        with self.lock(), disk_errors(self.root):
            target = self.root / wanted.path
            listed = self._files.get(wanted.path)
            if listed is not None:
                self._check_conflict(wanted, wanted.sha256, now)
                check_demanded(wanted, listed.sha256)
                here = self._adopt_listed(listed, wanted, now, advanced)
                if here is not None:
                    return here
            if wanted.sha256 is None:
                return None
            if listed is None and target.is_file() and read_sha256(target, advanced=advanced)[0] == wanted.sha256:
                origin = next(iter(wanted.urls), target.resolve().as_uri())
                return self._admit_proved(target, wanted, wanted.sha256, origin_url=origin, now=now)
            return self._adopt_twin(wanted, wanted.sha256, now)

    def admit(
        self,
        part: Path,
        wanted: WantedFile,
        *,
        size: int,
        sha256: str,
        origin_url: str,
        now: Callable[[], datetime],
        hash_origin: HashOrigin | None = None,
    ) -> MirrorFile:
        """Let a wheel that came through the gate and give it its name in the tree.

        Args:
            part: the complete file, in the mirror's file system (below ``partial``); it is gone afterwards.
            wanted: what was asked for.
            size: the bytes of ``part``, as counted while they came.
            sha256: the hash of ``part``, as taken while it came.
            origin_url: where the bytes came from.
            now: the clock.
            hash_origin: where the hash of ``wanted`` came from, if that is another mirror's word.

        Raises:
            IntegrityError: ``hash-mismatch``, ``size-mismatch``, ``path-conflict``, ``bad-wheel`` or ``bad-metadata``.
                The bytes are then in ``rejected``, beside a JSON file that says why.
            UpstreamError: ``disk-full``, ``disk-failed``; ``part`` is still there.
            UsageError: ``mirror-not-writable``.
        """
        with self.lock(), disk_errors(self.root):
            try:
                check_bytes(wanted, size=size, sha256=sha256)
                self._check_conflict(wanted, sha256, now)
            except IntegrityError as error:
                self._reject(part, error, origin_url=origin_url, now=now, filename=wanted.path.name)
                raise
            return self._admit_proved(part, wanted, sha256, origin_url=origin_url, now=now, hash_origin=hash_origin)

    def set_aside(self, path: PurePosixPath, error: IntegrityError, *, now: Callable[[], datetime]) -> None:
        """Move a bad file out of the tree, to ``rejected``; its row, if it has one, stays."""
        with self.lock(), disk_errors(self.root):
            self._reject(self.root / path, error, origin_url=None, now=now, filename=path.name)

    def mend_sidecar(self, file: MirrorFile) -> None:
        """Write the METADATA of a sound wheel beside it again.

        Raises:
            IntegrityError: ``hash-mismatch`` if the wheel's METADATA is not what its row says.
        """
        with self.lock(), disk_errors(self.root):
            metadata = check_archive(self.root / file.path, parse_wheel_name(file.path.name), deep=False).metadata
            if hashlib.sha256(metadata).hexdigest() != file.metadata_sha256:
                raise IntegrityError("hash-mismatch", f"METADATA of {file.path} is not what the manifest says")
            self._write(self.root / sidecar_of(file.path), metadata)

    def rewrite(self, files: Iterable[MirrorFile]) -> None:
        """Replace the rows of files that the mirror holds; files not published yet stay so."""
        with self.lock(), self._mutex, disk_errors(self.root):
            fresh = {file.path: file for file in files if file.path in self._files}
            self._files |= fresh
            unpublished = self._ledger.read_unpublished()
            for path in sorted(set(fresh) & unpublished):
                self._ledger.record(fresh[path])
            published = self._ledger.read_published()
            if any(path in fresh for path in published):
                self._write(self.root / MANIFEST_NAME, render_manifest((published | fresh)[path] for path in published))

    def write_locks(self, locks: Mapping[str, bytes]) -> None:
        """Write files of ``locks/``, each whole or not at all.

        Raises:
            UsageError: ``bad-lock-name`` if a name is not that of a lock file.
        """
        for name in locks:
            if _LOCK_FILE_NAME.fullmatch(name) is None:
                raise UsageError("bad-lock-name", f"{name!r} cannot be the name of a lock file")
        with self.lock(), disk_errors(self.root):
            for name, body in locks.items():
                self._write(self.root / LOCKS / name, body)

    def publish(
        self,
        *,
        now: Callable[[], datetime] | None = None,
        rows: Iterable[MirrorFile] = (),
        documents: Mapping[PurePosixPath, bytes] | None = None,
    ) -> int:
        """Bring the index pages and the manifest up to the files that the mirror holds.

        The new pages are laid ready and synced first; then a journal is written, and from there the switch happens
        even if this run is cut off. Pages that no file needs any more are removed, and what was noted of files that are
        no longer held.

        Args:
            now: the clock, for whoever asks later when the pages last changed; without it nothing is noted.
            rows: what is to be said from now on of files that the mirror holds.
            documents: further files to be put in place in the same switch, by path: locks, notes below ``.state``.

        Returns:
            How many pages were written or removed.
        """
        with self.lock(), self._mutex, disk_errors(self.root):
            files = self._files | {row.path: row for row in rows if row.path in self._files}
            return self._become(files, (), now, documents or {})

    def remove(self, paths: Iterable[PurePosixPath], *, now: Callable[[], datetime]) -> int:
        """Take files out of the mirror: pages without them come first, then the files go, each with its METADATA.

        One journal names all of it, so that a run that is cut off has removed nothing, or the next one finishes it.
        Paths that the mirror does not hold mean nothing.

        Returns:
            How many pages were written or removed.

        Raises:
            UpstreamError: ``disk-full``, ``disk-failed``.
            UsageError: ``mirror-not-writable``.
        """
        with self.lock(), self._mutex, disk_errors(self.root):
            gone = sorted(self._files.keys() & set(paths))
            if not gone:
                return 0
            left = {path: file for path, file in self._files.items() if path not in set(gone)}
            unlinked = [str(place) for path in gone for place in (path, sidecar_of(path))]
            return self._become(left, unlinked, now, {})

    # Steps; the lock is held -----------------------------------------------------------------------------------------

    def _become(
        self,
        files: dict[PurePosixPath, MirrorFile],
        unlinked: Sequence[str],
        now: Callable[[], datetime] | None,
        further: Mapping[PurePosixPath, bytes],
    ) -> int:
        """Hold these files from now on, and show it; say how many pages changed."""
        try:
            changed = self._switch(files, unlinked, now, further)
        except BaseException:
            if self._generations.is_pending:
                self._files = files  # the journal says so, and the next run finishes it
            raise
        self._files = files
        return changed

    def _switch(
        self,
        files: Mapping[PurePosixPath, MirrorFile],
        unlinked: Sequence[str],
        now: Callable[[], datetime] | None,
        further: Mapping[PurePosixPath, bytes],
    ) -> int:
        """Switch to the pages and the manifest of some files, and remove others; say how many pages changed."""
        self._generations.finish()  # of a switch that failed a moment ago
        self._remove_strays()  # before the switch forgets that their wheels were announced
        pages = render_pages(files.values())
        changed = {path: body for path, body in pages.items() if body_at(self.root / path) != body}
        stale = [str(path) for path in self._generations.pages_on_disk() if path not in pages]
        manifest = render_manifest(files.values())
        beside = {path: body for path, body in further.items() if body_at(self.root / path) != body}
        news = bool(changed or stale or unlinked)
        if news or beside or self._ledger.has_unpublished or body_at(self.root / MANIFEST_NAME) != manifest:
            documents = changed | {PurePosixPath(MANIFEST_NAME): manifest} | beside
            if news and now is not None:
                documents[PurePosixPath(PUBLICATION_NAME)] = render_publication(now())
            self._generations.switch(documents, [*stale, LOG_NAME], unlinked=unlinked, temporary=self._temporary_name())
        self.blocks.keep(file.sha256 for file in files.values())
        return len(changed) + len(stale)

    def _remove_strays(self) -> None:
        """Remove what lies in the tree of wheels that were announced and never came, or are still on their way."""
        for path in self._ledger.read_unpublished():
            self.disk.remove(incoming_of(self.root / path))
            self.disk.remove(incoming_of(self.root / sidecar_of(path)))
            if path not in self._files:
                self.disk.remove(self.root / sidecar_of(path))

    def _admit_proved(
        self,
        part: Path,
        wanted: WantedFile,
        sha256: str,
        *,
        origin_url: str,
        now: Callable[[], datetime],
        hash_origin: HashOrigin | None = None,
    ) -> MirrorFile:
        """Admit bytes whose sha256 was taken, and is the published one if there is one."""
        sums = BlockSums()
        try:
            admission = check_wheel(part, wanted.name, seen=sums.update)
        except IntegrityError as error:
            self._reject(part, error, origin_url=origin_url, now=now, filename=wanted.path.name)
            raise
        file = MirrorFile(
            path=wanted.path,
            size=part.stat().st_size,
            sha256=sha256,
            hash_origin=hash_origin or (HashOrigin.COMPUTED if wanted.sha256 is None else HashOrigin.PUBLISHED),
            origin=without_credentials(origin_url),
            metadata_sha256=hashlib.sha256(admission.metadata).hexdigest(),
            requires_python=admission.requires_python or wanted.requires_python,
            yanked=wanted.yanked,
            upload_time=wanted.upload_time,
            verified_at=spell_moment(now()),
            spelling=admission.spelling,
        )
        target = self.root / file.path
        self.disk.sync(part)
        with self._mutex:
            self._check_conflict(wanted, sha256, now)  # another thread may have been quicker
            if target.is_file() and file.path not in self._files and target != part:
                stranger = IntegrityError("unlisted-file", f"{file.path} lay there and nobody knows from where")
                self._reject(target, stranger, origin_url=None, now=now, filename=file.path.name)
            self._ledger.record(file)
            self._write(self.root / sidecar_of(file.path), admission.metadata)
            self.disk.replace(part, target)
            self._files[file.path] = file  # from here on it is held, whatever becomes of what follows
            self.disk.sync_directory(target.parent)
            self._link_twins(file)
        self.blocks.note(sha256, sums.blocks)
        return file

    def _adopt_listed(
        self,
        listed: MirrorFile,
        wanted: WantedFile,
        now: Callable[[], datetime],
        advanced: Callable[[int], None],
    ) -> MirrorFile | None:
        """Prove a listed file again: its size alone would let a rotten one stay."""
        target = self.root / listed.path
        if not target.is_file():
            return None
        found, size = read_sha256(target, advanced=advanced)
        if found != listed.sha256:
            facts = {"file": str(listed.path), "expected sha256": listed.sha256, "found sha256": found, "size": size}
            damage = IntegrityError("hash-mismatch", f"{listed.path} is damaged", facts=facts)
            self._reject(target, damage, origin_url=None, now=now, filename=listed.path.name)
            return None
        sidecar = body_at(self.root / sidecar_of(listed.path))
        if sidecar is None or hashlib.sha256(sidecar).hexdigest() != listed.metadata_sha256:
            self.mend_sidecar(listed)
        return self._refresh(listed, wanted)

    def _adopt_twin(self, wanted: WantedFile, sha256: str, now: Callable[[], datetime]) -> MirrorFile | None:
        for twin in list(self._files.values()):
            source = self.root / twin.path
            if twin.sha256 != sha256 or not source.is_file() or read_sha256(source)[0] != sha256:
                continue
            part = self._temporary_name()
            make_directories(self.disk, part.parent)
            if not self.disk.link(source, part):
                return None
            return self._admit_proved(part, wanted, sha256, origin_url=twin.origin, now=now)
        return None

    def _link_twins(self, file: MirrorFile) -> None:
        """Give the bytes just verified to every other path that holds the same, to store them once."""
        for twin in list(self._files.values()):
            source, target = self.root / file.path, self.root / twin.path
            if twin.sha256 != file.sha256 or twin.path == file.path or (target.exists() and source.samefile(target)):
                continue
            temporary = self._temporary_name()
            make_directories(self.disk, temporary.parent)
            if not self.disk.link(source, temporary):
                return  # the twin keeps bytes of its own
            self.disk.replace(temporary, target)

    def _check_conflict(self, wanted: WantedFile, sha256: str | None, now: Callable[[], datetime]) -> None:
        held = self._files.get(wanted.path)
        if held is None or sha256 is None or sha256 == held.sha256:
            return
        raise IntegrityError(
            "path-conflict",
            f"upstream now has other bytes under the name {wanted.path}; the mirror keeps the old ones",
            facts={
                "file": str(wanted.path),
                "held sha256": held.sha256,
                "held since": held.verified_at,
                "offered sha256": sha256,
                "offered at": spell_moment(now()),
                "held from": held.origin,
                "offered by": without_credentials(wanted.urls[0]) if wanted.urls else None,
            },
            hint="find out which of the two is meant; the old file must go before the new one can come in",
        )

    def _refresh(self, held: MirrorFile, wanted: WantedFile) -> MirrorFile:
        """Take over what upstream now says of a file beside its bytes: a file must not be shown without its yank."""
        published = wanted.sha256 == held.sha256
        fresh = replace(
            held,
            yanked=wanted.yanked,
            upload_time=wanted.upload_time or held.upload_time,
            hash_origin=HashOrigin.PUBLISHED if published else held.hash_origin,
        )
        if fresh != held:
            with self._mutex:
                self._ledger.record(fresh)
                self._files[fresh.path] = fresh
        return fresh

    def _reject(
        self, path: Path, error: IntegrityError, *, origin_url: str | None, now: Callable[[], datetime], filename: str
    ) -> None:
        """Move bytes to ``rejected``, with the reason beside them; one of each name is kept, the newest."""
        reason = {
            "code": error.code,
            "message": error.message,
            "facts": error.facts,
            "origin": None if origin_url is None else without_credentials(origin_url),
            "rejected_at": spell_moment(now()),
        }
        make_directories(self.disk, self.rejected)
        self.disk.replace(path, self.rejected / filename)
        self._write(self.rejected / f"{filename}.json", json.dumps(reason, indent=1, default=str).encode())
        error.facts["kept for inspection"] = str(self.rejected / filename)

    def _write(self, path: Path, body: bytes) -> None:
        write_atomically(self.disk, path, body, temporary=self._temporary_name())

    def _temporary_name(self) -> Path:
        with self._mutex:
            self._names_given += 1
            return self._temporary / str(self._names_given)


def body_at(path: Path) -> bytes | None:
    """Read a file; None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
