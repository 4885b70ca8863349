"""A publication, from the manifest's rows to what it came to.

The order is the guarantee: METADATA, wheels, locks and the pages that name them, the lists of projects, the manifest,
and removals. Whatever is missing holds back what leads to it, and then nothing is removed, so that what an earlier
publication left goes on to be right.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import LOCKS, FlatPage, ProjectList, plan_pages, sidecar_of
from pytorch_offline.mirror.lock_check import lock_problem
from pytorch_offline.mirror.manifest import parse_manifest, render_manifest
from pytorch_offline.mirror.pages import render_page
from pytorch_offline.mirror.progress import Doing, Stage
from pytorch_offline.mirror.publishing.destination import busy
from pytorch_offline.mirror.publishing.locks import is_pylock, with_addresses
from pytorch_offline.mirror.publishing.model import Failed, PublicFile, PublishReport
from pytorch_offline.mirror.publishing.plan import (
    MANIFEST,
    leads_to,
    looks_like_ours,
    paths_of,
    plan_files,
    public_file,
    surplus,
)
from pytorch_offline.mirror.publishing.sending import send_files
from pytorch_offline.mirror.workers import Stop, for_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.publishing.destination import Destination
    from pytorch_offline.mirror.publishing.model import Document, Found
    from pytorch_offline.mirror.store import Mirror

# Pieces on their way at once, each with a connection and 8 MiB of memory.
JOBS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to publish.

    Args:
        dry_run: change nothing.
        delete: remove what looks like ours and is no longer in the mirror.
        replace: write over wheels that were published with other bytes.
        reread: read everything that is there again, and believe no record.
        address: at which readers find the tree, where the destination does not know it.
        jobs: how many pieces at once.
    """

    dry_run: bool = False
    delete: bool = False
    replace: bool = False
    reread: bool = False
    address: str | None = None
    jobs: int = JOBS


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What was done so far."""

    sent: list[PurePosixPath] = field(default_factory=list)
    copied: list[PurePosixPath] = field(default_factory=list)
    present: int = 0
    size_present: int = 0
    pages: list[PurePosixPath] = field(default_factory=list)
    held_back: list[PurePosixPath] = field(default_factory=list)
    removed: list[PurePosixPath] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_continued: int = 0
    aborted: int = 0


def publish_mirror(
    mirror: Mirror, destination: Destination, *, wishes: Wishes, stop: Stop, progress: Progress
) -> PublishReport:
    """Bring the destination up to what the mirror has published.

    Raises:
        UsageError: ``no-manifest`` if the mirror has published nothing; ``destination-busy`` if somebody else changes
            the destination; what the destination does not admit.
        UpstreamError: the destination failed, or the way there, or a disk.
        IntegrityError: ``bad-manifest``. Of single files it is in the report.
    """
    rows = mirror.read_published()
    if not rows and not (mirror.root / MANIFEST).is_file():
        raise UsageError(
            "no-manifest",
            f"{mirror.root} has published nothing: there is no manifest.json",
            facts={"mirror": str(mirror.root)},
            hint="fetch something into it first, or name another mirror with --mirror",
        )
    publication = _Publication(mirror, rows, destination, wishes=wishes, stop=stop, progress=progress)
    if wishes.dry_run:
        return publication.run()
    with destination.changing():
        return publication.run()


class _Publication:
    def __init__(
        self,
        mirror: Mirror,
        rows: Mapping[PurePosixPath, MirrorFile],
        destination: Destination,
        *,
        wishes: Wishes,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._root = mirror.root
        self._rows = rows
        self._destination = destination
        self._wishes = wishes
        self._stop = stop
        self._progress = progress
        self._tally = _Tally()
        self._mutex = threading.Lock()
        self._there: set[PurePosixPath] = set()  # what is at the destination as it should be
        self._found: Mapping[PurePosixPath, Found] = {}

    def run(self) -> PublishReport:
        began = time.monotonic()
        before = self._destination.read(MANIFEST)
        self._found = self._destination.list_files()
        absent = self._absent(() if before is None else _rows_of(before))
        seconds = 0.0
        if self._wishes.dry_run:
            self._tally.sent = [file.path for file in absent]
            self._tally.bytes_sent = sum(file.size for file in absent)
            self._there |= {file.path for file in absent}
        else:
            self._send(absent)
            seconds = time.monotonic() - began
            self._tally.aborted = self._destination.sweep()
            self._check_alone(before)
        wanted = self._write_pages()
        self._write_manifest(before)
        extra = surplus(self._found, wanted | {one for path in self._rows for one in (path, sidecar_of(path))})
        complete = not self._tally.failures and not self._tally.held_back
        if self._wishes.delete and complete:
            for path in extra:
                if not self._wishes.dry_run:
                    self._destination.remove(path)
                self._tally.removed.append(path)
            extra = ()
        return self._report(extra, seconds)

    # Files -----------------------------------------------------------------------------------------------------------

    def _absent(self, published: Iterable[MirrorFile]) -> list[PublicFile]:
        """Find out which files must go there, METADATA before wheels."""
        files = [*self._described(sidecars=True), *self._described(sidecars=False)]
        plan = plan_files(files, self._found, published, reread=self._wishes.reread, replace=self._wishes.replace)
        self._tally.failures += plan.failures
        if plan.unsure:
            stage = {str(file.path): file.size for file in plan.unsure}
            there = sum(file.size for file in plan.present)
            self._progress.plan(stage, stage=Stage.COMPARE, already=len(plan.present), already_size=there)
        held: set[PurePosixPath] = {file.path for file in plan.present}

        def ask(file: PublicFile) -> None:
            self._progress.begin(str(file.path), file.size, 0)
            self._progress.doing(str(file.path), Doing.HASHING)
            if self._destination.holds(file, self._found[file.path], reread=self._wishes.reread):
                with self._mutex:
                    held.add(file.path)
            self._progress.advance(str(file.path), file.size, file.size)
            self._progress.end(str(file.path))

        for_each(plan.unsure, ask, jobs=self._wishes.jobs, stop=self._stop)
        self._there |= held
        self._tally.present = len(held)
        self._tally.size_present = sum(file.size for file in files if file.path in held)
        wanted = {file.path for file in (*plan.unsure, *plan.absent)} - held
        return [file for file in files if file.path in wanted]

    def _described(self, *, sidecars: bool) -> list[PublicFile]:
        """Describe the files that the manifest has; one that is not there, or is of another size, has failed."""
        described = []
        for row in self._rows.values():
            path = sidecar_of(row.path) if sidecars else row.path
            with disk_errors(self._root):
                try:
                    status = (self._root / path).stat()
                except FileNotFoundError:
                    self._tally.failures.append(_damaged("not-in-mirror", path, "is not in the mirror"))
                    continue
            if not sidecars and status.st_size != row.size:
                facts = {"expected size": str(row.size), "found size": str(status.st_size)}
                self._tally.failures.append(
                    _damaged("size-mismatch", path, "has not the size that the manifest says", **facts)
                )
                continue
            described.append(
                PublicFile(
                    path=path,
                    size=status.st_size,
                    sha256=row.metadata_sha256 if sidecars else row.sha256,
                    modified_ns=status.st_mtime_ns,
                )
            )
        return described

    def _send(self, absent: Sequence[PublicFile]) -> None:
        """Send each content once; its further names follow within the destination."""
        self._progress.plan(
            {str(file.path): file.size for file in absent},
            stage=Stage.PUBLISH,
            already=self._tally.present,
            already_size=self._tally.size_present,
        )
        first: dict[str, PublicFile] = {}
        twins = [file for file in absent if first.setdefault(file.sha256, file) is not file]
        sidecars = [file for file in first.values() if file.path.suffix != ".whl"]
        wheels = [file for file in first.values() if file.path.suffix == ".whl"]
        self._destination.expect(first.values())
        for files in (sidecars, wheels):
            self._send_some(files)
        alone: list[PublicFile] = []

        def copy(file: PublicFile) -> None:
            source = first[file.sha256].path
            self._progress.begin(str(file.path), file.size, file.size)
            if source in self._there and self._destination.copy(source, file):
                with self._mutex:
                    self._tally.copied.append(file.path)
                    self._there.add(file.path)
                self._progress.end(str(file.path))
            else:
                alone.append(file)

        for_each(twins, copy, jobs=self._wishes.jobs, stop=self._stop)
        self._send_some(alone)

    def _send_some(self, files: Sequence[PublicFile]) -> None:
        if not files:
            return
        sent = send_files(
            files,
            self._root,
            self._destination,
            jobs=self._wishes.jobs,
            stop=self._stop,
            progress=self._progress,
        )
        self._there |= {file.path for file in sent.files}
        self._tally.sent += [file.path for file in sent.files]
        self._tally.failures += sent.failures
        self._tally.bytes_sent += sent.bytes_sent
        self._tally.bytes_continued += sent.bytes_continued

    # Pages -----------------------------------------------------------------------------------------------------------

    def _check_alone(self, before: Document | None) -> None:
        """See that nobody has published meanwhile, before the first page is changed."""
        now = self._destination.read(MANIFEST)
        if (now is None) != (before is None) or (now is not None and before is not None and now.body != before.body):
            raise busy(self._destination.name)

    def _write_pages(self) -> set[PurePosixPath]:
        """Write locks and pages; give all of them that the mirror has, written now or not."""
        planned = plan_pages(self._rows.values())
        leaves = [page for page in planned if not isinstance(page, ProjectList)]
        lists = [page for page in planned if isinstance(page, ProjectList)]
        wanted = {path for page in planned for path in paths_of(page)} | self._write_locks()
        # A list leads to pages, whichever they are: an older one of a project is there or it is not.
        for pages in (_last_of_each(leaves), _last_of_each(lists)):
            for_each(pages, self._write_page, jobs=self._wishes.jobs, stop=self._stop)
        return wanted

    def _write_page(self, page: IndexPage) -> None:
        documents = render_page(page)
        if isinstance(page, ProjectList):
            missing = {path for path in leads_to(page) if path not in self._there and path not in self._found}
        else:
            missing = set(leads_to(page) - self._there)
        for path, body in documents.items():
            if missing:
                with self._mutex:
                    self._tally.held_back.append(path)
            else:
                self._write(path, body)

    def _write(self, path: PurePosixPath, body: bytes) -> None:
        file, found = public_file(path, body), self._found.get(path)
        same = found is not None and found.size == file.size and self._destination.holds(file, found, body=body)
        if not same and not self._wishes.dry_run:
            self._destination.put(file, body)
        with self._mutex:
            self._there.add(path)
            if not same:
                self._tally.pages.append(path)

    def _write_locks(self) -> set[PurePosixPath]:
        """Write what lies in ``locks/``, a lock only if it is sound and every wheel that it names is there."""
        address = self._wishes.address or self._destination.address
        held = {path: row for path, row in self._rows.items() if path in self._there}
        names: set[PurePosixPath] = set()
        with disk_errors(self._root):
            directory = self._root / LOCKS
            files = sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else []
            bodies = {LOCKS / file.name: file.read_bytes() for file in files if looks_like_ours(LOCKS / file.name)}
        for path, body in bodies.items():
            names.add(path)
            problem = lock_problem(path, body, self._rows)
            if problem is not None:
                self._tally.failures.append(_damaged("bad-lock", path, "is not as the mirror wrote it", reason=problem))
            elif lock_problem(path, body, held) is not None:
                self._tally.held_back.append(path)
            else:
                self._write(path, with_addresses(body, address) if address and is_pylock(path) else body)
        return names

    def _write_manifest(self, before: Document | None) -> None:
        body = render_manifest(self._rows.values())
        if before is not None and before.body == body:
            return
        if self._tally.failures or self._tally.held_back:
            self._tally.held_back.append(MANIFEST)
            return
        if not self._wishes.dry_run:
            self._destination.swap(public_file(MANIFEST, body), body, over=before)
        self._tally.pages.append(MANIFEST)

    def _report(self, extra: tuple[PurePosixPath, ...], seconds: float) -> PublishReport:
        tally = self._tally
        return PublishReport(
            planned=self._wishes.dry_run,
            sent=tuple(tally.sent),
            copied=tuple(tally.copied),
            present=tally.present,
            pages=tuple(tally.pages),
            held_back=tuple(tally.held_back),
            removed=tuple(tally.removed),
            surplus=extra,
            failures=tuple(tally.failures),
            bytes_sent=tally.bytes_sent,
            bytes_continued=tally.bytes_continued,
            uploads_aborted=tally.aborted,
            seconds=seconds,
        )


def _rows_of(document: Document) -> tuple[MirrorFile, ...]:
    """Read the rows of a manifest that lies at the destination; one that says nothing vouches for nothing."""
    try:
        return parse_manifest(document.body)
    except (IntegrityError, UsageError):
        return ()


def _last_of_each(pages: Iterable[IndexPage]) -> list[IndexPage]:
    """Leave out a page whose place a later one takes (``plan_pages``)."""
    last = {page.path if isinstance(page, FlatPage) else page.directory: page for page in pages}
    return list(last.values())


def _damaged(code: str, path: PurePosixPath, what: str, **facts: str) -> Failed:
    error = IntegrityError(
        code,
        f"{path} {what}, and was not published",
        facts={"file": str(path), **facts},
        hint="pytorch-offline verify --repair fetches what is bad of it again",
    )
    return Failed(path=path, error=error)
