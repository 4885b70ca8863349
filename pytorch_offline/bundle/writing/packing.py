"""Gives the files of a bundle their places in volumes: plans, and hashes the runs of what has to be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import render_manifest
from pytorch_offline.bundle.reading.labels import render_label
from pytorch_offline.bundle.writing.copying import advancing
from pytorch_offline.bundle.writing.volumes import hash_runs, plan_volumes, room_in_volume, split_files, with_pieces
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.progress import Doing, Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile, Manifest
    from pytorch_offline.bundle.writing.volumes import PlannedPiece
    from pytorch_offline.mirror.progress import Progress

# A signature of the longest RSA keys that OpenSSH makes, and statements of some hand-overs.
_SIGNATURE_ROOM = 64 << 10


def pack_manifest(
    manifest: Manifest,
    places: Mapping[str, Path],
    limit: int,
    *,
    bad: Callable[[Mapping[str, str]], Exception],
    progress: Progress,
    reserved: int = 0,
) -> Manifest:
    """Give every file that the bundle carries its place in volumes of a size.

    What lies at the top of the bundle (its installer, its reports) goes into every volume, with the manifest.

    Args:
        manifest: of the bundle in one directory.
        places: where the files lie now.
        limit: the size of the medium.
        bad: makes the error for files that are not as their rows say, each with what is wrong.
        progress: told of what is read.
        reserved: bytes that the manifest will grow by.

    Raises:
        UsageError: ``volume-too-small``.
    """
    inside = [file for file in manifest.files if "/" in file.path and file.carried]
    tops = [file.size for file in manifest.files if "/" not in file.path]
    manifest = manifest._replace(volume_size=limit)
    expected = len(render_manifest(manifest)) + reserved
    while True:  # the manifest lies in every volume, and grows with each piece that it names
        room = room_in_volume(limit, [*tops, expected, _SIGNATURE_ROOM, len(render_label(manifest, 1))])
        plan = plan_volumes(inside, limit=limit, room=room)
        none = {path: ["0" * 64] * len(sizes) for path, sizes in split_files(plan).items()}
        needed = len(render_manifest(_packed(manifest, plan, none))) + reserved
        if needed <= expected:
            return _packed(manifest, plan, _hash_cut(plan, places, bad, progress))
        expected = needed + needed // 50


def pack_rows(
    manifest: Manifest, rows: Sequence[BundleFile], places: Mapping[str, Path], described: int
) -> tuple[tuple[BundleFile, ...], int]:
    """Give parity volumes of its own behind those of the data; gives its rows, and how many volumes there are then.

    Args:
        manifest: packed, without parity; room for what parity adds to it was reserved.
        rows: the files of parity.
        places: where they lie now.
        described: how long the description of parity is.
    """
    limit = manifest.volume_size
    if limit is None:
        return tuple(rows), 1
    tops = [file.size for file in manifest.files if "/" not in file.path]
    expected = len(render_manifest(manifest)) + described
    while True:
        room = room_in_volume(limit, [*tops, expected, _SIGNATURE_ROOM, len(render_label(manifest, 1))])
        plan = plan_volumes(rows, limit=limit, room=room, first=manifest.volumes + 1)
        none = {path: ["0" * 64] * len(sizes) for path, sizes in split_files(plan).items()}
        packed = with_pieces(rows, plan, none)
        needed = len(render_manifest(manifest._replace(files=(*manifest.files, *packed)))) + described
        if needed <= expected:
            break
        expected = needed + needed // 50
    digests = {}
    for row in rows:
        sizes = split_files(plan).get(row.path)
        if sizes is not None:
            found = hash_runs(places[row.path], sizes, row.sha256)
            if isinstance(found, str):
                raise IntegrityError("part-changed", f"{places[row.path]} {found}, just after it was written")
            digests[row.path] = found
    return with_pieces(rows, plan, digests), max(run.volume for run in plan)


def _packed(
    manifest: Manifest, plan: tuple[PlannedPiece, ...], digests: Mapping[str, tuple[str, ...] | list[str]]
) -> Manifest:
    volumes = max((run.volume for run in plan), default=1)
    return manifest._replace(files=with_pieces(manifest.files, plan, digests), volumes=volumes)


def _hash_cut(
    plan: tuple[PlannedPiece, ...],
    places: Mapping[str, Path],
    bad: Callable[[Mapping[str, str]], Exception],
    progress: Progress,
) -> dict[str, tuple[str, ...]]:
    files: dict[str, BundleFile] = {run.file.path: run.file for run in plan if run.count > 1}
    sizes = split_files(plan)
    progress.plan({path: file.size for path, file in files.items()}, stage=Stage.STOCK)
    digests: dict[str, tuple[str, ...]] = {}
    wrong: dict[str, str] = {}
    for path, file in files.items():
        progress.begin(path, file.size, 0)
        progress.doing(path, Doing.HASHING)
        found = hash_runs(places[path], sizes[path], file.sha256, advanced=advancing(progress, file))
        if isinstance(found, str):
            wrong[path] = found
        else:
            digests[path] = found
        progress.end(path, Outcome.FAILED if isinstance(found, str) else Outcome.DONE)
    if wrong:
        raise bad(wrong)
    return digests
