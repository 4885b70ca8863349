"""The C library that a platform tag promises to do with: ``manylinux_2_28_x86_64``, and the names before PEP 600."""

from __future__ import annotations

import re

_NAMED_BY_VERSION = re.compile(r"manylinux_([0-9]+)_([0-9]+)_")
# PEP 513, PEP 571 and PEP 599; PEP 600 says what each stands for.
_NAMED_BY_YEAR = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
# manylinux1 promises glibc 2.5; no wheel of torch's family with that tag, and code in it, needs so little (measured).
_PROMISES_NOTHING = re.compile(r"(?:linux|manylinux1)_.+")


def promised_glibc(platform: str) -> tuple[int, int] | None:
    """Say which glibc a platform tag claims to need, None if it claims none."""
    if (match := _NAMED_BY_VERSION.match(platform)) is not None:
        return int(match[1]), int(match[2])
    return _NAMED_BY_YEAR.get(platform.partition("_")[0])


def promises_nothing(platform: str) -> bool:
    """Whether a tag is for Linux and says nothing true of glibc: ``linux_*``, and ``manylinux1`` in torch's family."""
    return _PROMISES_NOTHING.fullmatch(platform) is not None
