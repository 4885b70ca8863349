"""What of a bundle a mirror lacks, and whether the two go together: values in, a plan or an error out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.addresses import without_credentials
from pytorch_offline.bundle.format.holdings import HeldFile, holdings_id
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import LOCK_NAME, LOCKS, ROOT
from pytorch_offline.mirror.manifest import parse_row
from pytorch_offline.mirror.model import MirrorFile, WantedFile
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pytorch_offline.bundle.format.model import BundleFile, Manifest
    from pytorch_offline.bundle.reading.memory import BundleMemory

# A lock of the largest closure has 200 KB; it is held in memory.
LARGEST_LOCK = 16 * 1024 * 1024
# So many files an error names; it says how many there are.
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A wheel of a bundle that the mirror does not have under that path.

    ``row`` is what the mirror that it comes from says of it; ``file`` says where the bundle has its bytes, or that the
    far side has them under another path.
    """

    file: BundleFile
    row: MirrorFile

    @property
    def wanted(self) -> WantedFile:
        """What the mirror's gate holds it against."""
        return WantedFile(
            name=parse_wheel_name(self.row.path.name),
            path=self.row.path,
            urls=(),
            sha256=self.row.sha256,
            size=self.row.size,
            requires_python=self.row.requires_python,
            yanked=self.row.yanked,
            upload_time=self.row.upload_time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What an import does.

    Args:
        rows: the bundle's word on each of its wheels, by path.
        incoming: wheels to be brought, by path.
        there: rows of those that are there already.
        restated: of how many of these the bundle says something new.
        twins: hashes of what is to be brought and is in the mirror under another path.
        locks: files of ``locks/``, all of which come with every bundle.
        beyond: how many wheels the mirror has that the bundle does not name; they stay.
    """

    rows: tuple[MirrorFile, ...]
    incoming: tuple[Incoming, ...]
    there: tuple[MirrorFile, ...]
    restated: int
    twins: frozenset[str]
    locks: tuple[BundleFile, ...]
    beyond: int

    @property
    def size(self) -> int:
        """The bytes to be brought; the same bytes under two paths come once."""
        return sum({one.row.sha256: one.row.size for one in self.incoming if one.row.sha256 not in self.twins}.values())


def holdings_of(held: Iterable[MirrorFile]) -> tuple[HeldFile, ...]:
    """Say what a mirror holds, as it is told across the gap."""
    return tuple(sorted(HeldFile(path=str(file.path), size=file.size, sha256=file.sha256) for file in held))


def check_base(
    manifest: Manifest,
    memory: BundleMemory,
    published: Iterable[MirrorFile],
    *,
    place: str,
    base_by_content: bool = False,
) -> None:
    """Refuse a delta that was made for another base.

    Args:
        manifest: of the bundle; one that is complete goes anywhere.
        memory: which bundles the mirror took.
        published: what the mirror's manifest lists.
        place: the mirror, for messages.
        base_by_content: whether it is enough that all is there that the delta does not carry, as the user says.

    Raises:
        UsageError: ``other-delta-base``, with both ids.
    """
    taken = memory.taken_of(manifest.lineage)
    if manifest.base is None or base_by_content or (taken is not None and taken.id in {manifest.base, manifest.id}):
        return
    own = holdings_id(holdings_of(published))
    if own == manifest.base:
        return
    known = None if taken is None else f"{taken.id} (counter {taken.counter})"
    raise UsageError(
        "other-delta-base",
        f"this delta is laid upon another base than what {place} holds",
        facts={
            "base of the delta": manifest.base,
            "bundle taken last": known or "none of this lineage",
            "what the mirror holds": own,
            "this bundle": f"{manifest.id} (counter {manifest.counter})",
        },
        hint="import the bundles between them first, in order; or have a delta made for what is here: take the file of "
        "`pytorch-offline import --export-manifest FILE` to the other side, and run `bundle --since FILE` there; "
        "--base-by-content imports it if nothing is lacking",
    )


def plan_import(
    manifest: Manifest,
    held: Mapping[PurePosixPath, MirrorFile],
    *,
    sound: Collection[PurePosixPath],
    beside: Collection[str],
    verified_at: str,
    place: str,
) -> ImportPlan:
    """Decide what a bundle brings to a mirror.

    Args:
        manifest: of the bundle.
        held: the mirror's rows.
        sound: the paths of ``held`` where a file of the right size lies; others are brought again.
        beside: hashes of files that a delta does not carry and that lie on the media with it: its base is there, too.
        verified_at: when what is brought is read; ISO 8601.
        place: the mirror, for messages.

    Raises:
        IntegrityError: ``path-conflict`` if the mirror has other bytes under a path; ``bad-manifest``.
        UsageError: ``delta-incomplete`` if a delta leaves out what the mirror lacks; ``bad-lock-name``.
    """
    rows = {file.path: (file, _row_of(file, verified_at)) for file in manifest.files if file.row is not None}
    by_place = {row.path: (file, row) for file, row in rows.values()}
    _refuse_conflicts([row for _, row in by_place.values()], held, place)
    whole = frozenset(sound)
    incoming = [Incoming(file=file, row=row) for path, (file, row) in sorted(by_place.items()) if path not in whole]
    kept = [row for path, (_, row) in sorted(by_place.items()) if path in whole]
    there = {held[path].sha256 for path in whole}
    coming = {file.sha256 for file in manifest.files if file.carried} | set(beside)
    lacking = [one for one in incoming if one.row.sha256 not in coming | there]
    if lacking:
        raise UsageError(
            "delta-incomplete",
            f"this delta leaves out {_files(len(lacking))} that should be in {place} and {_are(len(lacking))} not",
            facts={"base of the delta": manifest.base, "missing": _shown([str(one.row.path) for one in lacking])},
            hint="import the base again, which brings what is missing; or have a delta made for what is here: "
            "`pytorch-offline import --export-manifest FILE`, and `bundle --since FILE` on the other side",
        )
    return ImportPlan(
        rows=tuple(row for _, (_, row) in sorted(by_place.items())),
        incoming=tuple(incoming),
        there=tuple(held[row.path] for row in kept),
        restated=sum(stated(row, held[row.path]) != held[row.path] for row in kept),
        twins=frozenset(one.row.sha256 for one in incoming) & there,
        locks=tuple(_lock(file) for file in manifest.files if PurePosixPath(file.path).parts[0] == str(LOCKS)),
        beyond=len(held.keys() - by_place.keys()),
    )


def stated(row: MirrorFile, held: MirrorFile) -> MirrorFile:
    """Say of a wheel that is here what the other side says; what its own bytes say was found out here."""
    return replace(
        held,
        hash_origin=row.hash_origin,
        origin=without_credentials(row.origin),
        yanked=row.yanked,
        upload_time=row.upload_time,
    )


def _row_of(file: BundleFile, verified_at: str) -> MirrorFile:
    """Make the mirror's row of a wheel; a tool is an ordinary wheel of the mirror, of those that lie at its root."""
    path = PurePosixPath(file.path)
    place = path if path.parts[0] == str(ROOT) else ROOT / path.name
    row = {
        **(file.row or {}),
        "path": str(place),
        "size": file.size,
        "sha256": file.sha256,
        "verified_at": verified_at,
    }
    return parse_row(row, where=file.path, source="the bundle's manifest.json")


def _refuse_conflicts(rows: Sequence[MirrorFile], held: Mapping[PurePosixPath, MirrorFile], place: str) -> None:
    other = [(row, held[row.path]) for row in rows if row.path in held and held[row.path].sha256 != row.sha256]
    if not other:
        return
    raise IntegrityError(
        "path-conflict",
        f"{place} has other bytes under the name of {_files(len(other))} of this bundle, and keeps them; "
        "nothing was imported",
        facts={
            "files": _shown(
                [f"{row.path}: held sha256 {mine.sha256}, the bundle's {row.sha256}" for row, mine in other]
            ),
            "held from": other[0][1].origin,
            "held since": other[0][1].verified_at,
            "the bundle's from": other[0][0].origin,
        },
        hint="find out which of the two is meant; the old file must go before the new one can come in",
    )


def _lock(file: BundleFile) -> BundleFile:
    path = PurePosixPath(file.path)
    if path.parent != LOCKS or LOCK_NAME.fullmatch(path.name) is None or file.size > LARGEST_LOCK:
        raise UsageError("bad-lock-name", f"{file.path!r} ({file.size} bytes) cannot be a lock file")
    return file


def _shown(names: Sequence[str]) -> list[str]:
    more = len(names) - _SHOWN
    return [*names[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
