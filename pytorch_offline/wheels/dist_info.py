"""The ``.dist-info`` directory: which one a wheel has, and whether it is the one that its file name promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.wheels.filename import WheelName

_SUFFIX = ".dist-info"


def find_dist_info(members: Iterable[str], wheel: WheelName) -> str:
    """Name the wheel's one top-level ``.dist-info`` directory, without a slash.

    Project and version are compared as the specifications normalise them, the local version included, because builders
    do not agree on how to spell them here.

    Raises:
        IntegrityError: ``bad-dist-info`` if there is none, more than one, or one that is another wheel's.
    """
    tops = sorted({top for top, slash, _ in (name.partition("/") for name in members) if slash and _is_dist_info(top)})
    if len(tops) != 1:
        found = ", ".join(tops[:5]) or "none"
        raise IntegrityError("bad-dist-info", f"{wheel.filename} must hold one {_SUFFIX} directory; found: {found}")
    if not tops[0].endswith(_SUFFIX):
        raise IntegrityError("bad-dist-info", f"{wheel.filename} holds {tops[0]}; installers look for {_SUFFIX}")
    project, _, version = tops[0][: -len(_SUFFIX)].rpartition("-")
    try:
        agrees = canonicalize_name(project) == wheel.project and Version(version) == wheel.version
    except InvalidVersion:
        agrees = False
    if not agrees:
        raise IntegrityError("bad-dist-info", f"{wheel.filename} holds {tops[0]}, which is another wheel's")
    return tops[0]


def _is_dist_info(directory: str) -> bool:
    return directory.lower().endswith(_SUFFIX)
