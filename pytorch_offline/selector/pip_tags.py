"""Which tags a pip takes: an old one refuses wheels that its interpreter and C library could run.

A target with Python 3.6 often has the pip that came with it. pip judges tags by its own code, so a wheel that only
claims ``manylinux2014`` cannot be installed there however new the C library is, and choosing it would be found out on
the far side of the gap.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

# Since which pip a family of platform tags is taken; from pip's changelog (NEWS.rst) of the versions named.
_TAKEN_SINCE = (
    (re.compile(r"manylinux_2_|musllinux_"), Version("20.3")),  # PEP 600; PEP 656 came in 21.2, for musl alone
    (re.compile(r"manylinux2014_"), Version("19.3")),  # PEP 599
    (re.compile(r"manylinux2010_"), Version("19.0")),  # PEP 571
    (re.compile(r"macosx_1[1-9]_|macosx_[2-9][0-9]_"), Version("20.3")),  # macOS 11 and later
)


def taken_since(tag: Tag) -> Version | None:
    """Say which pip was the first to take a platform; None if every pip does that is still about."""
    return next((version for pattern, version in _TAKEN_SINCE if pattern.match(tag.platform)), None)


def tags_taken_by(pip: Version | None, tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Keep the tags that this pip takes, in their order; all of them where the pip is not known."""
    if pip is None:
        return tuple(tags)
    return tuple(tag for tag in tags if (since := taken_since(tag)) is None or pip >= since)
