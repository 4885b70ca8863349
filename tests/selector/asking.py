"""Read requirements files out of a mapping, for the selector's tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.asked import Asked, read_asked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def ask(
    files: Mapping[str, str | bytes],
    *requirements: str,
    r: tuple[str, ...] = ("r.txt",),
    c: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    index_options: tuple[tuple[str, str], ...] = (),
) -> Asked:
    """Ask for what files say; their names are paths below the working directory, or addresses."""

    def read(location: str) -> bytes:
        key = location if ":" in location else os.path.relpath(location)
        if key not in files:
            raise UsageError("bad-requirements-file", f"{key} cannot be read")
        body = files[key]
        return body.encode() if isinstance(body, str) else body

    def exists(path: Path) -> bool:
        return os.path.relpath(path) in files or path.exists()

    return read_asked(
        requirements, r, c, read=read, exists=exists, environment=environment or {}, index_options=index_options
    )
