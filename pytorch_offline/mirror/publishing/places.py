"""``DEST``: what it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pytorch_offline.addresses import file_path
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import LOCKS, ROOT

# S3's own rule, and the capitals and underscores of buckets from before it.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """A bucket, and the prefix of all keys, without slashes at its ends."""

    bucket: str
    prefix: str


def parse_place(text: str) -> Path | BucketPlace:
    """Read ``DEST``: a directory's path or ``file://`` address, or ``s3://bucket/prefix``.

    Raises:
        UsageError: ``bad-destination``.
    """
    if not text.strip():  # a variable that is not set, and not the directory that somebody happens to be in
        raise _bad("an empty DEST", "names no place")
    scheme = _SCHEME.match(text)
    match None if scheme is None else scheme[0].lower():
        case None:
            return Path(text)
        case "file":
            path = file_path(text)
            if path is None:
                raise _bad(text, "names no directory of this machine")
            return path
        case "s3":
            return _parse_bucket(text)
    raise _bad(text, "is neither a directory nor a bucket")


def _parse_bucket(text: str) -> BucketPlace:
    bucket, _, prefix = text[len("s3://") :].partition("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise _bad(text, "names no bucket: such a name has three letters, digits, dots or dashes at least")
    segments = [segment for segment in prefix.split("/") if segment]
    if any(segment in {".", ".."} or not segment.isprintable() for segment in segments) or set(prefix) & set("?#"):
        raise _bad(text, "has a prefix that cannot be part of an address")
    if unquote(prefix) != prefix:
        raise _bad(text, "has a prefix with percent signs; write it as the bucket has it")
    return BucketPlace(bucket=bucket, prefix="/".join(segments))


def check_directory(root: Path, mirror: Path) -> None:
    """See that a directory can be published to: its parent is there, and neither lies within the other.

    Raises:
        UsageError: ``bad-destination``.
    """
    there, here = root.resolve(), mirror.resolve()
    tops = {(root / top).resolve() for top in (ROOT, LOCKS)}  # as links they may lead into the mirror
    if there in here.parents or any(place == here or here in place.parents for place in (there, *tops)):
        raise _bad(str(root), f"and the mirror {mirror} lie within each other")
    if root.exists() and not root.is_dir():
        raise _bad(str(root), "is no directory")
    if not there.parent.is_dir():  # what should be a mount may be an empty directory, and this disk be filled
        raise _bad(str(root), f"lies in {there.parent}, which does not exist; is something not mounted?")


def _bad(text: str, problem: str) -> UsageError:
    return UsageError(
        "bad-destination",
        f"{text} {problem}",
        hint="write a directory, file:///srv/mirror or s3://bucket/prefix (and --endpoint-url if not AWS)",
    )
