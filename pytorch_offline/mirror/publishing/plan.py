"""What belongs at a destination, what of it is missing there, and what lies there that does not belong: rules only."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import (
    FLAT_NAMES,
    HTML_NAME,
    JSON_NAME,
    LOCK_NAME,
    LOCKS,
    MANIFEST_NAME,
    METADATA_SUFFIX,
    PAGE_NAMES,
    ROOT,
    FlatPage,
    ProjectList,
    ProjectPage,
    mirror_path,
    sidecar_of,
)
from pytorch_offline.mirror.publishing.model import Failed, Found, PublicFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import MirrorFile

MANIFEST = PurePosixPath(MANIFEST_NAME)
# A directory of an index: a channel, a variant, a project.
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there is to do about files.

    Args:
        present: files that are there, by the word of what was published there before.
        unsure: files that are there in the right size, and that the destination must be asked about.
        absent: files that must go there.
        failures: files that may not go there.
    """

    present: tuple[PublicFile, ...]
    unsure: tuple[PublicFile, ...]
    absent: tuple[PublicFile, ...]
    failures: tuple[Failed, ...]


def plan_files(
    files: Iterable[PublicFile],
    found: Mapping[PurePosixPath, Found],
    published: Iterable[MirrorFile],
    *,
    reread: bool,
    replace: bool,
) -> Plan:
    """Compare files with what lies at the destination.

    What the manifest there says of a file is believed if the file has the size: it is written last, when all that it
    names is there. Wheels are immutable (clients keep them for years by name), so another published file under the
    same name stays unless ``replace``.

    Args:
        files: wheels and their METADATA.
        found: what the destination lists.
        published: the rows of the manifest that lies there.
        reread: whether to believe no record.
        replace: whether a file that was published with other bytes is written over.
    """
    vouched = _vouched(published)
    present, unsure, absent, failures = [], [], [], []
    for file in files:
        there, sha256 = found.get(file.path), vouched.get(file.path)
        if there is not None and sha256 not in {None, file.sha256} and not replace:
            failures.append(_conflict(file, sha256))
        elif there is None or there.size != file.size:
            absent.append(file)
        elif sha256 == file.sha256 and not reread:
            present.append(file)
        else:
            unsure.append(file)
    return Plan(
        present=tuple(present),
        unsure=tuple(unsure),
        absent=tuple(absent),
        failures=tuple(failures),
    )


def surplus(found: Iterable[PurePosixPath], wanted: Collection[PurePosixPath]) -> tuple[PurePosixPath, ...]:
    """Name what is ours by its look and is not wanted: lists, then pages and locks, then wheels, then METADATA."""
    return tuple(sorted((path for path in found if path not in wanted and looks_like_ours(path)), key=_removal_order))


def looks_like_ours(path: PurePosixPath) -> bool:
    """Say whether only we would put a file at a path: a wheel in its place, its METADATA, an index page, a lock."""
    if path.parts[: len(LOCKS.parts)] == LOCKS.parts:
        return path.parent == LOCKS and LOCK_NAME.fullmatch(path.name) is not None
    if path.parts[: len(ROOT.parts)] != ROOT.parts or len(path.parts) <= len(ROOT.parts):
        return False
    if path.name in PAGE_NAMES:
        return all(_SEGMENT.fullmatch(segment) for segment in path.parts[:-1])
    wheel = path.with_name(path.name.removesuffix(METADATA_SUFFIX))
    try:
        return mirror_path(f"/{wheel}", from_upstream=True) == wheel
    except UsageError:
        return False


def leads_to(page: IndexPage) -> frozenset[PurePosixPath]:
    """Name what must be there before a page may: the files that it names, or the pages of its projects."""
    match page:
        case ProjectPage(files=files) | FlatPage(files=files):
            return frozenset(path for file in files for path in (file.path, sidecar_of(file.path)))
        case ProjectList(directory=directory, projects=projects):
            return frozenset(directory / project / name for project in projects for name in (HTML_NAME, JSON_NAME))


def paths_of(page: IndexPage) -> frozenset[PurePosixPath]:
    """Name the files of a page, one for each of its forms."""
    match page:
        case FlatPage(path=path):
            return frozenset({path})
        case ProjectPage(directory=directory) | ProjectList(directory=directory):
            return frozenset({directory / HTML_NAME, directory / JSON_NAME})


def public_file(path: PurePosixPath, body: bytes) -> PublicFile:
    """Describe a file whose bytes are at hand."""
    return PublicFile(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest())


def _vouched(published: Iterable[MirrorFile]) -> dict[PurePosixPath, str]:
    vouched = {}
    for row in published:
        vouched[row.path] = row.sha256
        vouched[sidecar_of(row.path)] = row.metadata_sha256
    return vouched


def _conflict(file: PublicFile, there: str | None) -> Failed:
    error = IntegrityError(
        "path-conflict",
        f"the destination has published other bytes under the name {file.path}, which its clients may keep for years",
        facts={"file": str(file.path), "sha256 there": there, "sha256 here": file.sha256},
        hint="find out which of the two is meant; --replace writes over what is there",
    )
    return Failed(path=file.path, error=error)


def _removal_order(path: PurePosixPath) -> tuple[int, int, str]:
    if path.name in {HTML_NAME, JSON_NAME, *FLAT_NAMES.values()}:
        return 0, len(path.parts), str(path)
    kinds = {".whl": 2, METADATA_SUFFIX: 3}
    return kinds.get(path.suffix, 1), 0, str(path)
