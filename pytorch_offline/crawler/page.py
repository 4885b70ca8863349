"""What an index page says: HTML of every era, flat pages, directory listings, and PEP 691 JSON.

The kind of a page is decided by its content, never by its address: a challenge or a login form answered with status
200 is JUNK, and a project page without files is not the same thing.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from pytorch_offline.crawler.anchors import Anchor, parse_anchors
from pytorch_offline.crawler.hrefs import Base, Location, parse_base, resolve
from pytorch_offline.crawler.listing import is_listing, listed_sizes
from pytorch_offline.crawler.model import Link, Page, PageKind, RejectedLink
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the file names of distributions end in: whatever an index has been seen to offer for download.
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.z", ".tar", ".egg", ".exe", ".msi", ".rpm")
# What such a name looks like beyond its ending: a login page may offer a program or a manual for download as well.
_DISTRIBUTION = re.compile(
    r".+\.whl|[A-Z0-9][^/]*-v?[0-9][^/]*\.(?:tar(?:\.\w+)?|tgz|zip|egg|rpm)|.+\.(?:win|macosx|linux)[^/]*\.(?:exe|msi)",
    re.IGNORECASE,
)
_SIDECAR = ".whl.metadata"
# Marks of the index frame on a page that has no links: the generators' headings, PEP 629's version, upstream's stamp.
_FRAME = re.compile(
    rb"<h1>\s*links for |<title>\s*(?:links for|simple index)|pypi:repository-version|<!--TIMESTAMP ", re.IGNORECASE
)
# Marks of a page that wants something of its reader; an index does not.
_ASKS = re.compile(rb"""<form\b|<input\b|http-equiv\s*=\s*["']?refresh""", re.IGNORECASE)
_REPOSITORY_VERSION = re.compile(rb"""pypi:repository-version["']?\s+content=["']?(\d+)""", re.IGNORECASE)
_SUPPORTED_MAJOR = 1  # of the simple repository API (PEP 629)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VARIANT_WHEEL = re.compile(r"[^-]+-[^-]+(?:-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+-(?P<label>[0-9a-z._]+)\.whl", re.IGNORECASE)
_PROJECT_NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE)


class _Refused(Exception):  # noqa: N818  (never leaves this module)
    """A link that is not taken."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_page(body: bytes, url: str) -> Page:
    """Read a page that was answered with status 200 from ``url``, the address after redirects.

    Raises:
        UpstreamError: ``unsupported-index-version`` if the page claims another major version of the simple repository
            API than 1 (PEP 629 asks clients to stop then).
        UsageError: ``bad-url`` if the address is none.
    """
    base = parse_base(url)
    if body.lstrip()[:1] == b"{":
        return _parse_json(body, base)
    if (version := _REPOSITORY_VERSION.search(body[:4096])) and int(version[1]) != _SUPPORTED_MAJOR:
        raise _unsupported(url, version[1].decode())
    return _parse_html(body, base)


def _unsupported(url: str, version: str) -> UpstreamError:
    return UpstreamError(
        "unsupported-index-version",
        f"the index speaks version {version} of the simple repository API, and only version 1 is understood",
        facts={"url": url, "version": version},
    )


def _parse_html(body: bytes, page: Base) -> Page:
    found = parse_anchors(body)
    base = page
    if found.base is not None:
        try:
            base = parse_base(resolve(page, found.base.strip()).url)
        except UsageError:  # a base that leads nowhere is as good as none, which is what browsers do
            base = page
    listing = is_listing(body)
    gathered = _Gathered(base, page)
    for anchor in found.anchors:
        gathered.take(anchor)
    # A listing shows a sidecar as a file of its own.
    sizes = listed_sizes(body) if listing else {}
    links = tuple(gathered.links.values())
    if sizes or gathered.sidecars:
        links = tuple(_completed(link, sizes.get(link.filename), gathered.sidecars) for link in links)
    kind = _kind(gathered, framed=listing or _FRAME.search(body) is not None, asks=_ASKS.search(body) is not None)
    if kind is PageKind.JUNK:
        return Page(kind=kind)
    return Page(
        kind=kind,
        links=links,
        projects=tuple(gathered.projects),
        rejected=tuple(gathered.rejected),
    )


def _completed(link: Link, size: int | None, sidecars: set[str]) -> Link:
    """Add what a directory listing says around a link."""
    return replace(link, size=link.size or size, has_metadata=link.has_metadata or link.filename in sidecars)


class _Gathered:
    """What the anchors of one page come to."""

    def __init__(self, base: Base, page: Base) -> None:
        self.base = base
        self.directories = {_raw_directory(base), _raw_directory(page)}
        self.links: dict[str, Link] = {}
        self.projects: dict[str, None] = {}
        self.rejected: list[RejectedLink] = []
        self.sidecars: set[str] = set()
        self.offers_files = False
        self.strangers = 0

    def take(self, anchor: Anchor) -> None:
        """Sort one anchor into links, projects, rejections and the furniture of a listing."""
        href = anchor.href
        if not href or href[0] in "?#":  # a sort link of a listing, or a place on the page itself
            return
        try:
            location = resolve(self.base, href)
        except UsageError as error:
            self.rejected.append(RejectedLink(href=href, reason="unsafe-href", detail=error.message))
            return
        name = location.filename
        if name.lower().endswith(_ARCHIVES):
            if _DISTRIBUTION.fullmatch(name):
                self.offers_files = True
            else:
                self.strangers += 1
            try:
                self.add(href, html_link(location, anchor))
            except _Refused as refusal:
                self.rejected.append(RejectedLink(href=href, reason=refusal.reason, detail=refusal.detail))
        elif name.endswith(_SIDECAR):
            self.sidecars.add(name.removesuffix(".metadata"))
        elif (project := self._project(location, anchor)) is not None:
            self.projects[project] = None
        elif not any(directory.startswith(location.path) for directory in self.directories):
            self.strangers += 1
            self.rejected.append(RejectedLink(href=href, reason="not-a-wheel", detail="no archive of a distribution"))

    def add(self, href: str, link: Link) -> None:
        """Keep a link, unless the page has said something else about the same file before."""
        before = self.links.setdefault(link.path, link)
        if before is not link and (before.sha256, before.metadata_sha256) != (link.sha256, link.metadata_sha256):
            detail = f"listed twice, first with sha256 {before.sha256}, then {link.sha256}"
            self.rejected.append(RejectedLink(href=href, reason="conflicting-link", detail=detail))

    def _project(self, location: Location, anchor: Anchor) -> str | None:
        """Name the project that a link stands for: a directory right below the page, with its name as the text."""
        path = location.path.removesuffix("/")
        parent, _, name = path.rpartition("/")
        if location.query or parent + "/" not in self.directories or not _PROJECT_NAME.fullmatch(name):
            return None
        text = anchor.text.strip().removesuffix("/")
        cut = re.fullmatch(r"(.+?)\.\.>?", text)  # nginx cuts long names like this
        if canonicalize_name(text) == canonicalize_name(name) or (cut is not None and name.startswith(cut[1])):
            return name
        return None


def _raw_directory(base: Base) -> str:
    """Give a base's directory decoded, as locations are; a base that cannot be decoded has no projects below it."""
    try:
        return resolve(base, "./").path
    except UsageError:
        return ""


def _kind(gathered: _Gathered, *, framed: bool, asks: bool) -> PageKind:
    if gathered.offers_files:
        return PageKind.FILES
    # On a list of projects nearly every link is one; on a login page at best a few look so.
    if gathered.projects and (framed or (not asks and len(gathered.projects) >= gathered.strangers)):
        return PageKind.PROJECT_LIST
    # A frame without links is an empty page of files.
    return PageKind.FILES if framed else PageKind.JUNK


def html_link(location: Location, anchor: Anchor) -> Link:
    """Read one link of an HTML page (PEP 503, 592, 658, 714)."""
    said = anchor.attributes
    core = said.get("data-core-metadata", said.get("data-dist-info-metadata"))
    return _checked(
        Link(
            filename=location.filename,
            url=location.url,
            path=location.path,
            sha256=_fragment_hash(location.fragment),
            metadata_sha256=_attribute_hash(core),
            has_metadata=core is not None and core.lower() != "false",
            requires_python=said.get("data-requires-python") or None,
            yanked=said.get("data-yanked"),
            upload_time=said.get("data-upload-time") or None,
        )
    )


def _checked(link: Link) -> Link:
    """Refuse a link whose name is not that of a wheel."""
    name = link.filename
    if not name.lower().endswith(".whl"):
        raise _Refused("not-a-wheel", f"{name!r} is no wheel")
    try:
        parse_wheel_name(name)
    except UsageError as error:
        if variant := _VARIANT_WHEEL.fullmatch(name):
            detail = f"a wheel variant (label {variant['label']!r}), which installers do not read yet"
            raise _Refused("variant-wheel", detail) from None
        raise _Refused("invalid-wheel-name", error.message) from None
    return link


def _fragment_hash(fragment: str) -> str | None:
    """Read ``sha256=…`` out of a fragment; other algorithms say nothing that we verify with."""
    for part in fragment.split("&"):
        name, _, value = part.partition("=")
        if name == "sha256":
            return _hash(value)
    return None


def _attribute_hash(text: str | None) -> str | None:
    """Read a metadata attribute: ``sha256=…``, or ``true``, which says no hash."""
    name, _, value = (text or "").partition("=")
    return value.lower() if name == "sha256" and _SHA256.fullmatch(value.lower()) else None


def _hash(value: str) -> str:
    """Read a published sha256; one that is none must not pass for "nothing published"."""
    lower = value.strip().lower()
    if not _SHA256.fullmatch(lower):
        raise _Refused("invalid-hash", f"{value[:80]!r} is no sha256")
    return lower


def _parse_json(body: bytes, base: Base) -> Page:
    """Read PEP 691 JSON: a project's ``files``, or a root's ``projects``."""
    try:
        document = json.loads(body)
    except ValueError:  # UnicodeDecodeError is one
        return Page(kind=PageKind.JUNK)
    meta = document.get("meta")
    version = str(meta.get("api-version", "1.0")) if isinstance(meta, dict) else "1.0"
    if version.partition(".")[0] != str(_SUPPORTED_MAJOR):
        raise _unsupported(base.origin + base.directory, version)
    if isinstance(document.get("files"), list):
        return _json_files(document["files"], base)
    if isinstance(document.get("projects"), list):
        entries = (entry.get("name") for entry in document["projects"] if isinstance(entry, dict))
        names = (name for name in entries if isinstance(name, str) and _PROJECT_NAME.fullmatch(name))
        return Page(kind=PageKind.PROJECT_LIST, projects=tuple(dict.fromkeys(canonicalize_name(n) for n in names)))
    return Page(kind=PageKind.JUNK)


def _json_files(entries: Iterable[object], base: Base) -> Page:
    gathered = _Gathered(base, base)
    for entry in entries:
        href = str(entry.get("url", "")) if isinstance(entry, dict) else repr(entry)
        try:
            gathered.add(href, json_link(entry, base))
        except UsageError as error:
            gathered.rejected.append(RejectedLink(href=href, reason="unsafe-href", detail=error.message))
        except _Refused as refusal:
            gathered.rejected.append(RejectedLink(href=href, reason=refusal.reason, detail=refusal.detail))
    return Page(kind=PageKind.FILES, links=tuple(gathered.links.values()), rejected=tuple(gathered.rejected))


def json_link(entry: object, base: Base) -> Link:
    """Read one of the ``files`` of a JSON page (PEP 691, 700, 714)."""
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise _Refused("malformed-entry", "an entry without a url")
    location = resolve(base, entry["url"].strip())
    hashes = _mapping(entry.get("hashes"))
    core = entry.get("core-metadata", entry.get("dist-info-metadata", False))
    core_hashes = _mapping(core)
    yanked = entry.get("yanked", False)
    size = entry.get("size")
    return _checked(
        Link(
            filename=_text(entry.get("filename")) or location.filename,
            url=location.url,
            path=location.path,
            sha256=_hash(str(hashes["sha256"])) if "sha256" in hashes else None,
            metadata_sha256=_attribute_hash(f"sha256={core_hashes['sha256']}") if "sha256" in core_hashes else None,
            has_metadata=bool(core) or isinstance(core, dict),
            requires_python=_text(entry.get("requires-python")),
            yanked=(_text(yanked) or "") if isinstance(yanked, str) or yanked is True else None,
            upload_time=_text(entry.get("upload-time")),
            size=size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None,
        )
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Read an optional text; half surrogate pairs, which JSON can spell, are replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and value else None
