"""Which tags a pip takes: an old one refuses wheels that its interpreter and C library could run.

A target with Python 3.6 often has the pip that came with it. pip judges tags by its own code, so a wheel that only
claims ``manylinux2014`` cannot be installed there however new the C library is, and choosing it would be found out on
the far side of the gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

# The first pip that takes a family of platform tags, from pip's changelog (NEWS.rst) of the versions named; what is not
# here is taken by every pip that is still about. Longer names first.
_TAKEN_SINCE = (
    ("manylinux1_", None),
    ("manylinux2010_", Version("19.0")),  # PEP 571
    ("manylinux2014_", Version("19.3")),  # PEP 599
    ("manylinux_", Version("20.3")),  # PEP 600
    ("musllinux_", Version("21.2")),  # PEP 656
    ("macosx_10_", None),
    ("macosx_", Version("20.3")),  # the numbering that began with macOS 11
)


def taken_since(tag: Tag) -> Version | None:
    """Say which pip was the first to take a tag's platform; None if every pip that is still about does."""
    return next((version for prefix, version in _TAKEN_SINCE if tag.platform.startswith(prefix)), None)


def tags_taken_by(pip: Version | None, tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Keep the tags that this pip takes, in their order; all of them where the pip is not known."""
    if pip is None:
        return tuple(tags)
    return tuple(tag for tag in tags if (since := taken_since(tag)) is None or pip >= since)
