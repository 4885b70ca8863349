"""What index pages say, as values: links, rejected links, pages, and the catalogue's files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_offline.wheels.filename import WheelName


# Counts up with every change of what a page comes to: pages read by an older parser are parsed again.
PARSER_VERSION = 1


class PageKind(StrEnum):
    """The shapes of page that an index may serve, decided by content and never by address."""

    PROJECT_LIST = "project-list"  # links to project pages (PEP 503 root, PEP 691 "projects")
    FILES = "files"  # links to files: a project page, a flat find-links page, a directory listing of wheels
    JUNK = "junk"  # answered with 200, yet no index page: a challenge, a login form, an empty body


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link to a file, as its page says it.

    Args:
        filename: the file's name, decoded once (``+``, not ``%2B``).
        url: the absolute address as it goes on the wire (``+`` as ``%2B``, a space as ``%20``), without fragment.
        path: the address's path, decoded once (``//``, spaces and capitals kept): the file's key. Two hosts with
            one path are one file.
        sha256: from the ``#sha256=`` fragment or the JSON ``hashes``, lower-case hex; None where nothing is said.
        metadata_sha256: the hash of the ``.metadata`` sidecar, from ``data-core-metadata``, else
            ``data-dist-info-metadata`` (PEP 714); None where the page gives none.
        has_metadata: whether the page says that a sidecar exists, with or without a hash.
        requires_python: the attribute's text, unescaped; None where nothing is said.
        yanked: the reason, which may be empty; None if the file is not yanked (PEP 592).
        upload_time: ISO 8601 text from ``data-upload-time`` or JSON (PEP 700).
        size: in bytes, from JSON (PEP 700) or a directory listing that states it exactly.
    """

    filename: str
    url: str
    path: str
    sha256: str | None = None
    metadata_sha256: str | None = None
    has_metadata: bool = False
    requires_python: str | None = None
    yanked: str | None = None
    upload_time: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLink:
    """A link that is not in the catalogue, and why.

    ``reason`` is a stable code: ``not-a-wheel`` (an sdist, egg, exe, another page), ``variant-wheel`` (six-part name,
    PEP 817), ``invalid-wheel-name``, ``invalid-hash`` (published, yet no sha256), ``conflicting-link`` (the page gives
    the same file twice with different hashes), ``malformed-entry`` (JSON without a url), ``unsafe-href`` (climbs above
    the root, encoded slash, NUL or control characters, too long, foreign scheme).
    """

    href: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, parsed. ``projects`` are the hrefs' last segments of a project list, decoded, in page order."""

    kind: PageKind
    links: tuple[Link, ...] = ()
    projects: tuple[str, ...] = ()
    rejected: tuple[RejectedLink, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A wheel that an index offers: what its name states, what its page said, and which page that was."""

    name: WheelName
    link: Link
    page_url: str


class PageStatus(StrEnum):
    """What came of reading a page."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"  # revalidated (304) or byte-equal: not parsed again
    ABSENT = "absent"  # 403 (S3 says so for what does not exist), 404, 410
    RECORDED = "recorded"  # taken from the catalogue without asking upstream (--offline, or still fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class HashChange:
    """A file whose published sha256 is not what the same page said before; None where nothing was or is published."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChange:
    """How a page differs from what the catalogue had of it, by the files' paths and the projects' names.

    ``returned`` files had vanished before. ``listed_before`` counts the files and projects that were listed.
    """

    new: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    changed: tuple[HashChange, ...] = ()
    vanished: tuple[str, ...] = ()
    new_projects: tuple[str, ...] = ()
    vanished_projects: tuple[str, ...] = ()
    listed_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one page said about one file, unchanged over a period.

    Args:
        page_url: the page.
        link: what it said.
        first_seen: ISO 8601 in UTC, when it was first read there.
        last_seen: when it was last read or confirmed there.
        ended: when the page was found to say something else, or nothing; None while it still says so.
    """

    page_url: str
    link: Link
    first_seen: str
    last_seen: str
    ended: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a host gave for a file, whole: the bytes' hash and length, and what it said of them.

    Args:
        path: the file's key, as in ``Link``.
        url: where the bytes came from.
        sha256: of all bytes, as computed.
        size: in bytes.
        first_seen: ISO 8601 in UTC, when the host first gave this.
        last_seen: when it last did.
        etag: as the host said it; None if it said none.
        last_modified: likewise.
    """

    path: str
    url: str
    sha256: str
    size: int
    first_seen: str
    last_seen: str
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageUpdate:
    """What came of bringing a page up to date in the catalogue; ``kind`` is None when it is absent."""

    url: str
    status: PageStatus
    kind: PageKind | None = None
    change: PageChange = PageChange()
    warnings: tuple[str, ...] = ()
