"""Merges a bundle into a mirror while that is served: everything proved first, one generation at the end.

Theory of operation. The mirror's lock is held. What the bundle says is compared with what the mirror holds; the bytes
that are lacking are brought below ``.state/partial`` and hashed on the way; only when all of them are right does one
wheel after another go through the mirror's own gate to its place, which no page names yet. One journalled switch then
shows pages, manifest and locks, and remembers the bundle. A run that is cut off anywhere before that has changed
nothing that a client sees, and the next one goes on where it stopped.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.bundle.importing.plan import Incoming, check_base, plan_import, stated
from pytorch_offline.bundle.importing.staging import Trouble, copy_file, read_small_file, stage_file
from pytorch_offline.bundle.reading.findings import damaged_bundle
from pytorch_offline.bundle.reading.memory import MEMORY_NAME, check_counter, read_bundle_memory, render_bundle_memory
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, PytorchOfflineError
from pytorch_offline.mirror.disk import make_directories
from pytorch_offline.mirror.fetch import part_of
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.lock_check import lock_problem
from pytorch_offline.mirror.milestones import Imported
from pytorch_offline.mirror.progress import Doing, Outcome, Progress, Silent, Stage
from pytorch_offline.mirror.room import Room, free_bytes
from pytorch_offline.mirror.store import body_at
from pytorch_offline.mirror.workers import Stop, for_each
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile, Manifest
    from pytorch_offline.bundle.importing.plan import ImportPlan
    from pytorch_offline.bundle.reading.sources import Source
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.store import Mirror

# How many wheels go through the gate at once: reading one is work for one core.
GATES = 4
_MEMORY = PurePosixPath(STATE_NAME, MEMORY_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or would do.

    Args:
        manifest: of the bundle.
        brought: rows of the wheels that came.
        size: their bytes, each counted once.
        there: how many of the bundle's wheels were there already.
        restated: of how many of these something new is said.
        locks: names of the files of ``locks/`` that are new or changed.
        beyond: how many wheels the mirror has that the bundle does not name.
        note: what the user should know of the bundle's lineage, if anything.
        again: whether this bundle was the one taken last.
    """

    manifest: Manifest
    brought: tuple[MirrorFile, ...]
    size: int
    there: int
    restated: int
    locks: tuple[str, ...]
    beyond: int
    note: str | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """What the user allows: a bundle older than one that was taken; a delta for another base if nothing is lacking."""

    allow_older: bool = False
    base_by_content: bool = False


def import_bundle(
    mirror: Mirror,
    source: Source,
    *,
    rules: ImportRules | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    now: Callable[[], datetime],
    free: Callable[[Path], int] = free_bytes,
) -> ImportReport:
    """Merge a bundle whose signature has been judged into a mirror, which need not exist yet.

    Args:
        mirror: where to.
        source: the bundle, on whatever media.
        rules: what the user allows.
        dry_run: whether only to say what would be done; nothing is changed then, and no lock taken.
        progress: told what happens.
        now: the clock.
        free: how many bytes a directory's disk has free.

    Raises:
        UsageError: ``other-delta-base``, ``delta-incomplete``; ``mirror-not-writable``, ``mirror-busy``.
        IntegrityError: ``older-bundle``, ``forked-lineage``, ``path-conflict``, ``bundle-damaged``; what the gate says.
        UpstreamError: ``disk-full``, ``disk-failed``.
    """
    teller = progress or Silent()
    run = _Import(mirror, source, rules=rules or ImportRules(), progress=teller, now=now)
    with disk_errors(mirror.root):
        if dry_run:
            return run.planned(free)
        with mirror.lock(waiting=teller.say):
            return run.carried_out(free)


class _Import:
    """One import of one bundle."""

    def __init__(
        self, mirror: Mirror, source: Source, *, rules: ImportRules, progress: Progress, now: Callable[[], datetime]
    ) -> None:
        self._mirror = mirror
        self._source = source
        self._manifest = source.manifest
        self._rules = rules
        self._progress = progress
        self._now = now
        self._place = str(mirror.root)
        self._brought: list[MirrorFile] = []
        self._lock = threading.Lock()
        self._again = False
        self._note: str | None = None

    def planned(self, free: Callable[[Path], int]) -> ImportReport:
        """Say what would be done."""
        plan = self._plan()
        self._look_at_room(plan, free)
        return self._report(plan, [one.row for one in plan.incoming], self._changed(self._read_locks(plan)))

    def carried_out(self, free: Callable[[Path], int]) -> ImportReport:
        """Do it; the mirror's lock is held."""
        plan = self._plan()
        self._look_at_room(plan, free)
        locks = self._bring_locks(plan, self._stage(plan))
        self._check_locks(plan, locks)
        self._admit(plan)
        changed = self._changed(locks)
        memory = read_bundle_memory(self._mirror.root / _MEMORY).remembering(self._manifest)
        for file in plan.locks:  # now, as nobody would come back for them after the switch
            self._mirror.disk.remove(self._part_of_lock(file))
        held = self._mirror.read_files()
        self._mirror.publish(
            now=self._now,
            rows=[stated(row, held[row.path]) for row in plan.rows],
            documents={**locks, _MEMORY: render_bundle_memory(memory)},
        )
        self._mirror.milestones.note_import(
            Imported(
                ended=self._now(),
                bundle=self._manifest.id,
                lineage=self._manifest.lineage,
                counter=self._manifest.counter,
                created=datetime.fromisoformat(self._manifest.created),
                brought=len(self._brought),
            )
        )
        return self._report(plan, self._brought, changed)

    def _plan(self) -> ImportPlan:
        memory = read_bundle_memory(self._mirror.root / _MEMORY)
        taken = memory.taken_of(self._manifest.lineage)
        self._again = taken is not None and taken.id == self._manifest.id
        self._note = check_counter(memory, self._manifest, place=self._place, allow_older=self._rules.allow_older)
        beside = self._beside()
        lacking = [file for file in self._manifest.files if file.row and not file.carried and file.sha256 not in beside]
        if lacking:
            check_base(
                self._manifest,
                memory,
                self._mirror.read_published().values(),
                place=self._place,
                base_by_content=self._rules.base_by_content,
            )
        held = self._mirror.read_files()
        return plan_import(
            self._manifest,
            held,
            sound=[path for path, file in held.items() if _size_of(self._mirror.root / path) == file.size],
            beside=beside,
            verified_at=spell_moment(self._now()),
            place=self._place,
        )

    def _beside(self) -> set[str]:
        """Find what a delta does not carry and lies on the media all the same, with its base."""
        left_out = [file for file in self._manifest.files if not file.carried]
        return {file.sha256 for file in left_out if not self._source.locate(file).missing}

    def _read_locks(self, plan: ImportPlan) -> dict[PurePosixPath, bytes]:
        """Read the locks, keeping nothing of them."""
        read = {PurePosixPath(file.path): read_small_file(self._source, file) for file in plan.locks}
        if troubles := [body for body in read.values() if isinstance(body, Trouble)]:
            raise bundle_damaged(self._source, troubles)
        return {path: body for path, body in read.items() if isinstance(body, bytes)}

    def _bring_locks(self, plan: ImportPlan, troubles: Sequence[Trouble]) -> dict[PurePosixPath, bytes]:
        """Bring the locks as wheels are brought, each from its own disc; tell with theirs what else did not come."""
        met = list(troubles)
        if plan.locks:
            make_directories(self._mirror.disk, self._mirror.partial)
        for file in plan.locks:
            met += stage_file(self._source, file, self._part_of_lock(file), lambda _: None)
        if met:
            raise bundle_damaged(self._source, met)
        return {PurePosixPath(file.path): self._part_of_lock(file).read_bytes() for file in plan.locks}

    def _part_of_lock(self, file: BundleFile) -> Path:
        return self._mirror.partial / f"{file.sha256}.part"

    def _check_locks(self, plan: ImportPlan, locks: Mapping[PurePosixPath, bytes]) -> None:
        """Refuse a lock that the mirror could not serve."""
        held = self._mirror.read_files() | {one.row.path: one.row for one in plan.incoming}
        for path, body in locks.items():
            problem = lock_problem(path, body, held)
            if problem is not None:
                raise IntegrityError("bad-lock", f"the bundle's {path} cannot be used: {problem}")

    def _changed(self, locks: Mapping[PurePosixPath, bytes]) -> tuple[str, ...]:
        return tuple(path.name for path, body in sorted(locks.items()) if body_at(self._mirror.root / path) != body)

    def _look_at_room(self, plan: ImportPlan, free: Callable[[Path], int]) -> None:
        room = Room(self._mirror.root, staging=self._mirror.partial, jobs=1, free=free)
        for files in _by_bytes(plan.incoming).values():
            for number, one in enumerate(files):
                there = _room_of(part_of(self._mirror, one.wanted))
                missing = max(0, one.row.size - there) if number == 0 else 0
                room.expect(one.row.path, missing, size=one.row.size, place=(self._mirror.root / one.row.path).parent)
        room.check()

    def _stage(self, plan: ImportPlan) -> list[Trouble]:
        """Bring all that is lacking, one file after another as they lie on the media; say what did not come."""
        groups = [files[0] for digest, files in _by_bytes(plan.incoming).items() if digest not in plan.twins]
        self._progress.plan(
            {str(one.row.path): one.row.size for one in groups},
            stage=Stage.IMPORT,
            already=len(plan.there),
            already_size=sum(row.size for row in plan.there),
        )
        if groups:
            make_directories(self._mirror.disk, self._mirror.partial)
        troubles: list[Trouble] = []
        for one in sorted(groups, key=_place_on_media):
            name, outcome = str(one.row.path), Outcome.FAILED
            self._progress.begin(name, one.row.size, 0)
            self._progress.doing(name, Doing.RECEIVING)
            try:
                met = self._stage_one(one)
                outcome = Outcome.FAILED if met else Outcome.DONE
            finally:
                self._progress.end(name, outcome)
            troubles += met
        return troubles

    def _stage_one(self, one: Incoming) -> list[Trouble]:
        name, size = str(one.row.path), one.row.size
        part = part_of(self._mirror, one.wanted)
        return stage_file(self._source, one.file, part, lambda position: self._progress.advance(name, position, size))

    def _admit(self, plan: ImportPlan) -> None:
        """Let all that came through the gate, each file to its place, where no page leads yet."""
        groups = list(_by_bytes(plan.incoming).values())
        self._progress.plan({str(one.row.path): one.row.size for one in plan.incoming}, stage=Stage.VERIFY)
        for_each(groups, partial(self._admit_group, plan), jobs=GATES, stop=Stop())

    def _admit_group(self, plan: ImportPlan, files: Sequence[Incoming]) -> None:
        """Admit the same bytes under all their paths; one thread sees to all of them."""
        for number, one in enumerate(files):
            name, outcome = str(one.row.path), Outcome.FAILED
            self._progress.begin(name, one.row.size, 0)
            self._progress.doing(name, Doing.CHECKING)
            try:
                with disk_errors(self._mirror.root):
                    row = self._adopted(one) if number > 0 or one.row.sha256 in plan.twins else None
                    row = row or self._admitted(one)
                self._progress.advance(name, one.row.size, one.row.size)
                outcome = Outcome.DONE
            finally:
                self._progress.end(name, outcome)
            with self._lock:
                self._brought.append(row)

    def _admitted(self, one: Incoming) -> MirrorFile:
        """Let bytes that were staged through the gate."""
        part = part_of(self._mirror, one.wanted)
        return self._mirror.admit(
            part,
            one.wanted,
            size=one.row.size,
            sha256=one.row.sha256,
            origin_url=one.row.origin,
            now=self._now,
            hash_origin=one.row.hash_origin,
        )

    def _adopted(self, one: Incoming) -> MirrorFile | None:
        """Give bytes that the mirror has another name; where that cannot be, bring them a second time."""
        adopted = self._mirror.adopt(one.wanted, now=self._now)
        if adopted is not None:
            return adopted
        make_directories(self._mirror.disk, self._mirror.partial)
        troubles = self._stage_one(one)
        twins = [path for path, file in self._mirror.read_files().items() if file.sha256 == one.row.sha256]
        part = part_of(self._mirror, one.wanted)
        if troubles and not any(copy_file(self._mirror.root / path, one.file, part) for path in twins):
            raise bundle_damaged(self._source, troubles)
        return None

    def _report(self, plan: ImportPlan, brought: Iterable[MirrorFile], locks: tuple[str, ...]) -> ImportReport:
        return ImportReport(
            manifest=self._manifest,
            brought=tuple(sorted(brought, key=lambda row: row.path)),
            size=plan.size,
            there=len(plan.there),
            restated=plan.restated,
            locks=locks,
            beyond=plan.beyond,
            note=self._note,
            again=self._again,
        )


def bundle_damaged(source: Source, troubles: Sequence[Trouble]) -> PytorchOfflineError:
    """Say what is wrong with files that did not come, what to bring again, and that what came is kept."""
    files = {trouble.file.path: trouble.file for trouble in troubles}
    findings = verify_source(source, list(files.values()), again=True).findings
    error = damaged_bundle(findings) if findings else IntegrityError("bundle-damaged", "a medium gives unlike bytes")
    error.message = f"{len(files)} of the bundle's files did not come as they were written; nothing was imported"
    if not findings:  # they could be read now: a medium that is about to fail, or was pulled out for a moment
        error.sections["found"] = tuple(f"{one.file.path}: {one.piece.name}: {one.reason}" for one in troubles)
    again = "then run the same command: what came is kept, and not read from the medium again"
    error.hint = f"{error.hint}; {again}" if error.hint else again
    return error


def _by_bytes(incoming: Iterable[Incoming]) -> dict[str, list[Incoming]]:
    groups: dict[str, list[Incoming]] = defaultdict(list)
    for one in incoming:
        groups[one.row.sha256].append(one)
    return groups


def _place_on_media(one: Incoming) -> tuple[int, str]:
    """Sort files as they lie on media, which are read from their beginning to their end."""
    first = next(iter(one.file.pieces), None)
    return (0, one.file.path) if first is None else (first.volume, first.name)


def _room_of(part: Path) -> int:
    """Say how much room a file takes that came in pieces: it may have holes."""
    try:
        found = part.stat()
    except FileNotFoundError:
        return 0
    return min(found.st_size, getattr(found, "st_blocks", 1 << 60) * 512)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
