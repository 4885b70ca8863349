"""Wheel file names: the facts that a name states.

The rules are the binary distribution format's (https://packaging.python.org/specifications/binary-distribution-format/),
read by ``packaging``. Upstream also serves names that the format does not admit (six-part variant names, names without
a version); those are errors here, which the crawler turns into rejections with a reason.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import BuildTag, InvalidWheelFilename, NormalizedName, parse_wheel_filename

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

# The longest name that every common file system stores (NAME_MAX of ext4, XFS, NTFS, APFS), with room for
# the suffix of the sidecar file, ".metadata".
MAX_NAME_LENGTH = 255 - len(".metadata")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """A wheel's file name and what it states: project, version, build tag and tags."""

    filename: str
    project: NormalizedName
    version: Version
    build: BuildTag
    tags: frozenset[Tag]


def parse_wheel_name(filename: str) -> WheelName:
    """Read a wheel's file name, decoded (``+``, not ``%2B``).

    Raises:
        UsageError: ``invalid-wheel-name`` if the name is not a wheel's, is too long to be stored, or could name
            another directory.
    """
    if len(filename.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        raise UsageError("invalid-wheel-name", f"a wheel name of {len(filename)} characters cannot be stored")
    if _FORBIDDEN.search(filename):
        raise UsageError("invalid-wheel-name", f"wheel name {filename!r} holds a character that no file name may")
    try:
        project, version, build, tags = _parse_parts(filename)
    except InvalidWheelFilename as error:
        raise UsageError("invalid-wheel-name", str(error)) from error
    return WheelName(filename=filename, project=project, version=version, build=build, tags=tags)


def _parse_parts(filename: str) -> tuple[NormalizedName, Version, BuildTag, frozenset[Tag]]:
    """Read the name in two parts: a page repeats few tag sets in thousands of names, and each version in a dozen.

    What each part is put together with is valid, so a name is refused exactly if one of its own parts is.
    """
    head, tail = split_wheel_name(filename)
    try:
        return (*parse_wheel_head(head), parse_wheel_tail(tail))
    except InvalidWheelFilename:
        return parse_wheel_filename(filename)  # raises, and says it of the whole name


def split_wheel_name(filename: str) -> tuple[str, str]:
    """Split a wheel's file name into what it is, ``torch-2.4.0``, and for whom, ``-cp311-cp311-win_amd64.whl``."""
    head = filename.rsplit("-", 3)[0]
    return head, filename[len(head) :]


@functools.lru_cache(maxsize=16384)
def parse_wheel_head(head: str) -> tuple[NormalizedName, Version, BuildTag]:
    """Read the first part of a wheel's file name, see ``split_wheel_name``.

    Raises:
        InvalidWheelFilename: it is not that of a wheel.
    """
    return parse_wheel_filename(f"{head}-py3-none-any.whl")[:3]


@functools.lru_cache(maxsize=4096)
def parse_wheel_tail(tail: str) -> frozenset[Tag]:
    """Read the second part of a wheel's file name, see ``split_wheel_name``.

    Raises:
        InvalidWheelFilename: it is not that of a wheel.
    """
    return parse_wheel_filename(f"name-1{tail}")[3]
