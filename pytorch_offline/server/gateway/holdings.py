"""What the mirror holds: what its site has, and what came since that looked last."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.served_as import TEXT_TYPE, WHEEL_TYPE
from pytorch_offline.server.resources import Redirect, StoredFile
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path, PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.server.gateway.asked import AskedPage, AskedWheel
    from pytorch_offline.server.gateway.threads import Threads
    from pytorch_offline.server.resources import Resource
    from pytorch_offline.server.tree.following import FollowedMirror
    from pytorch_offline.server.tree.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a page is made of beside upstream's: some rows, and all of a snapshot, if there is one."""

    snapshot: Snapshot | None
    new: tuple[MirrorFile, ...]

    def rows(self) -> list[MirrorFile]:
        """List them."""
        return [*(() if self.snapshot is None else self.snapshot.files.values()), *self.new]


class Holdings:
    """The files of a gateway's mirror, a moment before the mirror's own site has them.

    Args:
        local: the mirror's own site, which looks for what was published about once a second.
        root: the mirror's directory.
        threads: to work in.
    """

    def __init__(self, local: FollowedMirror, root: Path, threads: Threads) -> None:
        self._local = local
        self._root = root
        self._threads = threads
        self._new: dict[PurePosixPath, MirrorFile] = {}  # what came, as long as the mirror's site has it not
        self._gone: tuple[Snapshot, frozenset[PurePosixPath]] | None = None
        self._grouped: tuple[Snapshot, dict[NormalizedName, list[MirrorFile]]] | None = None

    def begin(self, rows: Mapping[PurePosixPath, MirrorFile]) -> bool:
        """Take note of what the mirror holds; say whether there is more than was published."""
        known = self._local.snapshot.files
        self._new = {path: row for path, row in rows.items() if str(path) not in known}
        return bool(self._new)

    def find(self, path: str, asked: AskedWheel) -> Resource | None:
        """Give a file that is held, at this very place: what upstream has there is for upstream to say."""
        if self._is_gone(asked.path):
            return None
        held = self._local.find(path)
        return self._newly_stored(asked) if held is None or isinstance(held, Redirect) else held

    def _newly_stored(self, asked: AskedWheel) -> StoredFile | None:
        row = self._new.get(asked.path)
        if row is None:
            return None
        if not (self._root / row.path).is_file():
            del self._new[row.path]  # removed again before it was published
            return None
        if asked.metadata:
            place = self._root / sidecar_of(row.path)
            return StoredFile(path=place, size=None, sha256=row.metadata_sha256, content_type=TEXT_TYPE, immutable=True)
        place = self._root / row.path
        return StoredFile(path=place, size=row.size, sha256=row.sha256, content_type=WHEEL_TYPE, immutable=True)

    def add(self, row: MirrorFile) -> None:
        """Take note of a file that came."""
        if self._gone is not None:
            self._gone = self._gone[0], self._gone[1] - {row.path}
        self._new[row.path] = row

    def remove(self, paths: Collection[PurePosixPath]) -> None:
        """Take note of files that were removed. From any thread."""
        snapshot = self._local.snapshot
        before = self._gone[1] if self._gone is not None and self._gone[0] is snapshot else frozenset()
        self._gone = snapshot, before | frozenset(paths)
        for path in paths:
            self._new.pop(path, None)

    def _is_gone(self, path: PurePosixPath) -> bool:
        """Say whether a file was removed that the mirror's site still has, until it has looked again."""
        if self._gone is None:
            return False
        if self._gone[0] is not self._local.snapshot:
            self._gone = None
            return False
        return path in self._gone[1]

    def has_bytes(self, sha256: str) -> bool:
        """Say whether a file of some sha256 is held, under whatever name. From any thread."""
        rows: Iterable[MirrorFile] = (*self._local.snapshot.files.values(), *list(self._new.values()))
        return any(row.sha256 == sha256 for row in rows)

    def of_page(self, asked: AskedPage, *, is_list: bool) -> Held | None:
        """Give what the mirror holds of a page's project, or of everything where a page may list that.

        None if the mirror has a new generation, which ``look_through`` must look through first.
        """
        snapshot = self._local.snapshot
        if self._grouped is None or self._grouped[0] is not snapshot:
            return None
        new = tuple(self._new.values())
        if asked.flat is not None or is_list:
            return Held(snapshot=snapshot, new=new)
        project = canonicalize_name(asked.directory.name)
        own = [row for row in new if parse_wheel_name(row.path.name).project == project]
        return Held(snapshot=None, new=(*self._grouped[1].get(project, ()), *own))

    async def look_through(self) -> None:
        """Sort what the mirror holds by project, once for each of its generations."""
        snapshot = self._local.snapshot
        if self._grouped is None or self._grouped[0] is not snapshot:
            self._grouped = snapshot, await self._threads.run(partial(_by_project, snapshot))
            for path in [path for path in self._new if str(path) in snapshot.files]:
                del self._new[path]


def _by_project(snapshot: Snapshot) -> dict[NormalizedName, list[MirrorFile]]:
    grouped: dict[NormalizedName, list[MirrorFile]] = defaultdict(list)
    for row in snapshot.files.values():
        grouped[parse_wheel_name(row.path.name).project].append(row)
    return grouped
