"""When files were last asked for, as far as anybody noted: ``.state/uses.json``.

A gateway notes it in memory with every request and saves it now and then; whoever has to make room reads it. A note
that is lost, or was never made, costs a file its place earlier than it should: no more.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

FORMAT = 1
_NAME = "uses.json"


class Uses:
    """The uses of the files of the mirror whose private directory is ``state``."""

    def __init__(self, state: Path) -> None:
        self._place = state / _NAME
        self._fresh: dict[PurePosixPath, datetime] = {}

    def touch(self, path: PurePosixPath, moment: datetime) -> None:
        """Note a use, in memory."""
        self._fresh[path] = moment

    def read(self) -> dict[PurePosixPath, datetime]:
        """Give what was saved, by this process or another, and what was noted here since."""
        known = _parsed(self._body())
        for path, moment in list(self._fresh.items()):  # another thread may note one meanwhile
            known[path] = max(moment, known.get(path, moment))
        return known

    def save(self, held: Container[PurePosixPath] | None = None) -> None:
        """Write down what was noted, whole or not at all; of files that are not ``held`` any more nothing."""
        uses = {str(path): spell_moment(used) for path, used in self.read().items() if held is None or path in held}
        temporary = self._place.with_name(f"{_NAME}.{os.getpid()}.new")
        with suppress(OSError):
            temporary.write_text(json.dumps({"format": FORMAT, "used": uses}, indent=1), encoding="ascii")
            temporary.replace(self._place)

    def _body(self) -> bytes:
        try:
            return self._place.read_bytes()
        except OSError:
            return b""


def _parsed(body: bytes) -> dict[PurePosixPath, datetime]:
    """Read what was saved; nothing of what cannot be trusted."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        document = json.loads(body)
        if document["format"] == FORMAT:
            used = {PurePosixPath(path): datetime.fromisoformat(moment) for path, moment in document["used"].items()}
            return {path: moment.replace(tzinfo=moment.tzinfo or UTC) for path, moment in used.items()}
    return {}
