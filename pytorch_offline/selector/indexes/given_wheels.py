"""Wheels that the user names outside the indexes: one by its address, many by a page or a directory of links."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.addresses import file_path, redacted
from pytorch_offline.crawler.model import Link, PageKind, PageStatus
from pytorch_offline.crawler.reading import ListedWheels, PageReading
from pytorch_offline.errors import IntegrityError, UpstreamError, UsageError
from pytorch_offline.selector.asking.index_options import moved, torch_index
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.crawler.reader import IndexReader
    from pytorch_offline.selector.model import DirectWheel

# What an index says of a wheel that it does not list; the wheel may be there all the same.
_NOT_LISTED = frozenset({"not-an-index-page", "not-in-catalogue", "unexpected-status", "page-refused"})


class GivenWheels:
    """The wheels of a request that come by address, read when they are asked for.

    Args:
        wheels: wheels asked for by address.
        find_links: pages (by address) and directories (by path).
        reader: reads index pages.
        upstream: the upstream that stands in for PyTorch's own addresses, None if none does.
    """

    def __init__(
        self,
        wheels: Iterable[DirectWheel] = (),
        find_links: Sequence[str | Path] = (),
        *,
        reader: IndexReader,
        upstream: str | None = None,
    ) -> None:
        self._wheels = {wheel.name.project: wheel for wheel in wheels}
        self._find_links = tuple(find_links)
        self._reader = reader
        self._upstream = upstream
        self._found: list[PageReading] | None = None

    def only(self, project: NormalizedName) -> PageReading | None:
        """Give the very wheel that was asked for of a project, as a page of one; None if none was.

        Where it lies in an index of upstream's layout, its hash and METADATA are those that the index's page says.

        Raises:
            UsageError: ``file-absent`` if a local wheel is not there.
            IntegrityError: ``hash-mismatch`` if a local wheel is not the one that its hash says.
            UpstreamError: its index does not answer.
        """
        wheel = self._wheels.get(project)
        if wheel is None:
            return None
        url = wheel.url if self._upstream is None else moved(wheel.url, self._upstream)
        link = Link(
            filename=wheel.name.filename,
            url=url,
            path=wheel.path if url == wheel.url else urlsplit(url).path.replace("%2B", "+"),
            sha256=wheel.sha256,
            size=wheel.size,
            requires_python=wheel.requires_python,
            upload_time=wheel.upload_time,
        )
        path = file_path(url) if url.lower().startswith("file:") else None
        if path is not None:
            link = _of_local_file(link, path, wheel.where)
            return _page(url, [link])
        listed = None if wheel.sha256 is not None and wheel.size is not None else self._listed(link, project)
        if listed is None:
            return _page(url, [link])
        # Its page's word about the same file; the address stays the user's.
        said = replace(listed.link, url=link.url, sha256=listed.link.sha256 or link.sha256, yanked=None)
        return _page(listed.page_url, [said])

    def found(self) -> list[PageReading]:
        """Read what ``--find-links`` names; a directory's wheels are those right in it, as with pip.

        Raises:
            UpstreamError: ``not-an-index-page`` for an address without links to files; what the reader raises.
        """
        if self._found is None:
            self._found = [
                self._reader.read(source) if isinstance(source, str) else _directory(source)
                for source in self._find_links
            ]
        return self._found

    def _listed(self, link: Link, project: NormalizedName) -> IndexFile | None:
        """Look a wheel up on its project's page, if its address is one of upstream's layout."""
        index = torch_index(link.url.rpartition("/")[0])
        if index is None:
            return None
        channel = "" if index.channel == "stable" else f"{index.channel}/"
        backend = "" if index.backend is None else f"{index.backend}/"
        try:
            page = self._reader.read(f"{index.root}/{channel}{backend}{project}/")
        except UpstreamError as error:
            if error.code not in _NOT_LISTED:
                raise
            return None
        return next((file for file in page.files if file.link.filename == link.filename), None)


def _of_local_file(link: Link, path: Path, where: str) -> Link:
    """Take the hash and the size of a wheel on this machine's disk."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise UsageError("file-absent", f"{where}: {path} cannot be read: {error.strerror}") from error
    if link.sha256 is not None and link.sha256 != found:
        raise IntegrityError(
            "hash-mismatch",
            f"{where}: {path} is not the wheel that is meant",
            facts={"demanded sha256": link.sha256, "found sha256": found},
        )
    return replace(link, sha256=found, size=size)


def _directory(path: Path) -> PageReading:
    base = path.absolute()
    links = []
    try:
        wheels = sorted(one for one in base.iterdir() if one.suffix.lower() == ".whl" and one.is_file())
    except OSError as error:
        raise UsageError("file-absent", f"--find-links {path} cannot be read: {error.strerror}") from error
    for one in wheels:
        try:
            parse_wheel_name(one.name)
        except UsageError:
            continue  # no installer takes a file of such a name
        links.append(Link(filename=one.name, url=one.as_uri(), path=one.as_posix(), size=one.stat().st_size))
    return _page(base.as_uri(), links)


def _page(url: str, links: Sequence[Link]) -> PageReading:
    wheels = ListedWheels.of_links(links, url)
    return PageReading(url=redacted(url), status=PageStatus.RECORDED, kind=PageKind.FILES, wheels=wheels)
