"""The mirror's own memory of the bundles that it gave: ``.state/bundles.json``, whole or absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.writing.numbering import Given, number_bundle, parse_given, render_given
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.disk import Disk, make_directories, write_atomically
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.lock import MirrorLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.bundle.writing.numbering import Number
    from pytorch_offline.bundle.writing.plan import Contents

MEMORY_NAME = "bundles.json"


def remember_number(
    mirror: Path,
    contents: Contents,
    *,
    now: Callable[[], datetime],
    declared: datetime | None = None,
    floor: int = 0,
) -> tuple[Number, tuple[str, ...]]:
    """Number the content, and let the mirror remember it before the bundle is finished; give warnings beside it.

    Raises:
        IntegrityError: ``bad-bundle-memory``.
    """
    state = mirror / STATE_NAME
    path = state / MEMORY_NAME
    disk = Disk()
    lock = MirrorLock(mirror, state / "bundling", work="bundle")
    try:
        make_directories(disk, state)
        lock.acquire(lambda _: None)
    except (OSError, UsageError) as error:
        given = _read_given(path)
        number, _ = number_bundle(given, contents.targets, contents.files, now=now(), declared=declared, floor=floor)
        said = f"{mirror} cannot remember that it gave bundle {number.counter}: {error}"
        return number, (f"{said}; another content would get the same number",)
    try:
        before = _read_given(path)
        number, after = number_bundle(
            before, contents.targets, contents.files, now=now(), declared=declared, floor=floor
        )
        if after != before:
            with disk_errors(mirror):
                write_atomically(disk, path, render_given(after), temporary=path.with_name(f"{path.name}.new"))
    finally:
        lock.release()
    return number, ()


def _read_given(path: Path) -> Given:
    try:
        return parse_given(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        return Given()
    except OSError as error:
        raise IntegrityError("bad-bundle-memory", f"{path} cannot be read: {error.strerror or error}") from error
