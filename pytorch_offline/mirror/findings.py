"""What can be wrong with a file of a mirror: values, and how to say them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePosixPath

    from pytorch_offline.crawler.drift_log import DriftLog
    from pytorch_offline.mirror.model import MirrorFile


class Problem(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    NOT_A_FILE = "not-a-file"
    UNREADABLE = "unreadable"
    SIZE = "size"
    HASH = "hash"
    METADATA_MISSING = "metadata-missing"
    METADATA_DIFFERS = "metadata-differs"
    UNSOUND = "unsound"  # only looked for when asked: zip, RECORD, METADATA
    PAGE = "page"  # an index page is missing, leads astray, or contradicts the manifest
    LOCK = "lock"  # a lock or a target file is damaged, or contradicts the manifest
    UNLISTED = "unlisted"  # lies below whl/, and the manifest knows nothing of it


SIDECAR_PROBLEMS = frozenset({Problem.METADATA_MISSING, Problem.METADATA_DIFFERS})
# What a download can put right. An unsound wheel whose hash agrees would only come again as it is.
BYTES_PROBLEMS = frozenset({Problem.MISSING, Problem.NOT_A_FILE, Problem.UNREADABLE, Problem.SIZE, Problem.HASH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bad file: its path below the mirror, what is wrong, and both sides where there are two.

    ``facts`` are what else is known, such as that the bytes are an older upload's.
    """

    path: PurePosixPath
    problem: Problem
    detail: str
    expected: str | None = None
    found: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict, compare=False)


def missing(path: PurePosixPath) -> Finding:
    """Say that a file is not there."""
    return Finding(path=path, problem=Problem.MISSING, detail="it is not there")


def not_a_file(path: PurePosixPath) -> Finding:
    """Say that something else lies there."""
    return Finding(path=path, problem=Problem.NOT_A_FILE, detail="it is no regular file")


def unreadable(path: PurePosixPath, error: OSError) -> Finding:
    """Say that the disk did not give a file."""
    return Finding(path=path, problem=Problem.UNREADABLE, detail=error.strerror or str(error))


def other_size(file: MirrorFile, size: int) -> Finding:
    """Say that a file has another size than its row."""
    detail = f"{size} bytes instead of {file.size}"
    return Finding(path=file.path, problem=Problem.SIZE, detail=detail, expected=str(file.size), found=str(size))


def other_bytes(file: MirrorFile, found: str) -> Finding:
    """Say that a file has another hash than its row."""
    detail = "its bytes are not those that were admitted"
    return Finding(path=file.path, problem=Problem.HASH, detail=detail, expected=file.sha256, found=found)


def explained(
    findings: Iterable[Finding], held: Mapping[PurePosixPath, MirrorFile], log: DriftLog
) -> tuple[Finding, ...]:
    """Add what is known of bad bytes: whether they are an older upload of the file, and when which one was seen."""
    return tuple(replace(finding, facts=_known(finding, held.get(finding.path), log)) for finding in findings)


def _known(finding: Finding, row: MirrorFile | None, log: DriftLog) -> dict[str, object]:
    if row is None or finding.found is None:
        return {}
    if finding.problem is Problem.HASH:
        return log.facts(row.origin, published=row.sha256, other=finding.found, called="found")
    if finding.problem is Problem.SIZE:
        alike = [content for content in log.contents(row.origin) if int(finding.found) in content.sizes]
        uploads = [f"{one.sha256}, seen {one.first_seen[:10]} to {one.last_seen[:10]}" for one in alike]
        known: dict[str, object] = {"an upload of that size": uploads} if uploads else {}
        again = log.fate(row.origin).get("uploaded again")  # pages say no size: which upload this is they cannot tell
        return known if again is None else {**known, "uploaded again": again}
    return {}
