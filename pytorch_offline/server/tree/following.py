"""A mirror on disk as a site, which follows what other processes publish."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.layout import LOCK_NAME, LOCKS, MANIFEST_NAME
from pytorch_offline.mirror.manifest import parse_manifest
from pytorch_offline.mirror.served_as import media_type_of
from pytorch_offline.server.one_thread import READING, RENDERING, give_memory_back
from pytorch_offline.server.resources import StoredFile
from pytorch_offline.server.tree.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.server.resources import Resource

# How often it is looked whether there is a new manifest; one look is one system call.
LOOK_SECONDS = 1.0

# What is said to be wrong where the disk, not what was published, is the trouble: it may pass.
UNREADABLE = "mirror-unreadable"


class FollowedMirror:
    """The site of a mirror's directory, which may be empty, absent, or changed by another process at any time.

    A generation is read whole before it takes the place of the last. A manifest that cannot be read takes none, nor
    does one that is no longer there: a disk that went away is no reason to tell clients that torch does not exist.

    Args:
        root: the mirror's directory.
        tell: told in one sentence what became of the mirror.
    """

    def __init__(self, root: Path, *, tell: Callable[[str], None]) -> None:
        self._root = root
        self._tell = tell
        self._seen: tuple[int, int, int] | None = None
        self.trouble: str | None = None  # why what was published last cannot be read, by a code
        self.snapshot = Snapshot(root)

    def load(self) -> None:
        """Read the mirror as it is now.

        Raises:
            IntegrityError: ``bad-manifest``.
            UsageError: ``unknown-manifest-format``.
            OSError: the disk does not give it.
        """
        self._seen = self._look()
        self.snapshot = self._read()

    async def follow(self) -> None:
        """Look for new generations, until cancelled."""
        await self._warm()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if await self._look_again():
                await self._warm()

    async def _warm(self) -> None:
        """Render pages beside the loop, one at a time: whoever ends the server waits for no more than one."""
        for render in self.snapshot.renderings():
            await RENDERING.do(render)
        await READING.do(give_memory_back)

    async def _look_again(self) -> bool:
        """Take a new generation if there is one, and it can be read."""
        now = self._seen
        try:
            now = await asyncio.to_thread(self._look)
            if now != self._seen:
                self.snapshot = await READING.do(self._read)
        except PytorchOfflineError as error:
            self._seen = now  # it gets no better before it is written anew
            self._note(error.code, error.message)
            return False
        except OSError as error:
            self._note(UNREADABLE, error.strerror or str(error))
            return False
        if now != self._seen:
            self._tell(f"a new generation is served: {len(self.snapshot.files)} files")
        elif self.trouble == UNREADABLE:
            self._tell("the mirror can be read again")
        else:
            return False
        self._seen = now
        self.trouble = None
        return True

    def _note(self, code: str, what: str) -> None:
        """Say once that the mirror cannot be read."""
        if self.trouble != code:
            self._tell(f"the mirror cannot be read now, so what it had before is served: {what}")
        self.trouble = code

    def find(self, path: str) -> Resource | None:
        """Give what lies at a path; see ``Site``."""
        if path == f"/{MANIFEST_NAME}":
            return self._document(PurePosixPath(MANIFEST_NAME))
        return self._lock(path) or self.snapshot.find(path)

    async def bring(self, path: str) -> Resource | None:
        """Give nothing: what a mirror has not, nobody is asked for."""
        del path
        return None

    def _lock(self, path: str) -> StoredFile | None:
        directory, _, name = path.rpartition("/")
        return self._document(LOCKS / name) if directory == f"/{LOCKS}" and LOCK_NAME.fullmatch(name) else None

    def _document(self, path: PurePosixPath) -> StoredFile:
        return StoredFile(
            path=self._root / path, size=None, sha256=None, content_type=media_type_of(path), immutable=False
        )

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = (self._root / MANIFEST_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            if self.snapshot.files:
                raise
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> Snapshot:
        try:
            with (self._root / MANIFEST_NAME).open("rb") as stream:
                modified = datetime.fromtimestamp(int(os.fstat(stream.fileno()).st_mtime), UTC)
                files = parse_manifest(stream, known=self._known())
        except (FileNotFoundError, NotADirectoryError):
            return Snapshot(self._root)
        return Snapshot(self._root, files, modified=modified, previous=self.snapshot)

    def _known(self) -> dict[PurePosixPath, MirrorFile]:
        return {file.path: file for file in self.snapshot.files.values()}
