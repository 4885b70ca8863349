"""A destination in memory, which can be cut off before any change, and a reader who finds broken links."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup

from pytorch_offline.mirror.publishing.destination import busy
from pytorch_offline.mirror.publishing.model import Document, Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytorch_offline.mirror.publishing.model import PublicFile


class MemoryDestination:
    """Keeps files in a dictionary; ``changed`` is called after every change, with the path."""

    name, address = "memory", None

    def __init__(
        self,
        files: dict[PurePosixPath, bytes] | None = None,
        *,
        piece: int = 100,
        changed: Callable[[PurePosixPath], None] = lambda _: None,
    ) -> None:
        self.files = {} if files is None else files
        self.changed = changed
        self._piece = piece
        self._lock = threading.Lock()

    @contextmanager
    def changing(self) -> Iterator[None]:
        yield

    def list_files(self) -> Mapping[PurePosixPath, Found]:
        tops = {"whl", "locks"}
        return {path: Found(size=len(body)) for path, body in self.files.items() if path.parts[0] in tops}

    def read(self, path: PurePosixPath) -> Document | None:
        body = self.files.get(path)
        return None if body is None else Document(body=body, version=hashlib.sha256(body).hexdigest())

    def holds(self, file: PublicFile, found: Found, *, body: bytes | None = None, reread: bool = False) -> bool:
        del found, body, reread
        return hashlib.sha256(self.files[file.path]).hexdigest() == file.sha256

    def expect(self, files: Iterable[PublicFile]) -> None:
        del files

    def piece_size(self, size: int) -> int:
        del size
        return self._piece

    def put(self, file: PublicFile, body: bytes) -> None:
        with self._lock:
            self.files[file.path] = bytes(body)
            self.changed(file.path)

    def receive(self, file: PublicFile) -> MemoryUpload:
        return MemoryUpload(self, file)

    def copy(self, there: PurePosixPath, file: PublicFile) -> bool:
        self.put(file, self.files[there])
        return True

    def remove(self, path: PurePosixPath) -> None:
        with self._lock:
            self.files.pop(path, None)
            self.changed(path)

    def sweep(self) -> int:
        return 0

    def swap(self, file: PublicFile, body: bytes, *, over: Document | None) -> None:
        if self.read(file.path) != over:
            raise busy(self.name)
        self.put(file, body)


class MemoryUpload:
    def __init__(self, destination: MemoryDestination, file: PublicFile) -> None:
        self._destination = destination
        self._file = file
        self._pieces: dict[int, bytes] = {}

    def put(self, number: int, offset: int, piece: bytes) -> int:
        del number
        self._pieces[offset] = bytes(piece)
        return len(piece)

    def finish(self) -> None:
        self._destination.put(self._file, b"".join(body for _, body in sorted(self._pieces.items())))

    def abandon(self) -> None:
        self._pieces.clear()


def broken_links(files: Mapping[PurePosixPath, bytes]) -> list[str]:
    """Follow every link of every page, as a client that believes hashes does; say which lead nowhere."""
    broken = []
    for path, body in files.items():
        for href, sha256 in _links(path, body):
            target = PurePosixPath(unquote(urlsplit(urljoin(f"http://host/{path}", href)).path).lstrip("/"))
            if href.endswith("/"):
                target /= path.name
            found = files.get(target)
            if found is None or (sha256 and hashlib.sha256(found).hexdigest() != sha256):
                broken.append(f"{path}: {href}")
            if sha256 and PurePosixPath(f"{target}.metadata") not in files:
                broken.append(f"{path}: METADATA of {href}")
    return broken


def _links(path: PurePosixPath, body: bytes) -> Iterator[tuple[str, str]]:
    if path.suffix == ".html":
        for anchor in BeautifulSoup(body, "html.parser").find_all("a"):
            href, _, fragment = str(anchor["href"]).partition("#")
            yield href, fragment.removeprefix("sha256=")
    elif path.name == "index.v1+json":
        document = json.loads(body)
        for file in document.get("files", ()):
            yield file["url"], file["hashes"]["sha256"]
        for project in document.get("projects", ()):
            yield f"{project['name']}/", ""
    elif path.name == "manifest.json":
        for row in json.loads(body)["files"]:
            yield row["path"], row["sha256"]
