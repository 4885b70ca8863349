"""Where a link leads: its address as it goes on the wire, and its decoded path, the key of a file.

Joining by hand and not with ``urljoin``: joining cost more than parsing in the measurements (research/performance.md,
section C), and ``urljoin`` quietly drops a ``../`` too many, which is here a reason to refuse the link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from pytorch_offline.addresses import redacted_text
from pytorch_offline.errors import UsageError
from pytorch_offline.wheels.filename import MAX_NAME_LENGTH

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(?P<origin>(?:https?|file)://[^/?#\\]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?", re.IGNORECASE)
# The usual link, of which nearly every page is full: nothing in it to refuse, and only `%2B` and `%20` to decode.
_USUAL = re.compile(
    r"(?P<origin>https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?=/))?"
    r"(?P<path>[A-Za-z0-9/._~!$&'()*,;=@-]*(?:%2[B0][A-Za-z0-9/._~!$&'()*,;=@-]*)*)"
    r"(?:\#(?P<fragment>.*))?"
)
# Paths that are on the wire already as we would write them: nothing to encode, `+` as `%2B`.
_AS_ON_THE_WIRE = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*,;=:@-]|%2B|%20)*")
_SAFE = "/!$&'()*,;=:@"
_ENCODED_SLASH = re.compile(r"%(?:2f|5c)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffd\\]")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a link leads.

    ``url`` is absolute, without fragment, encoded once more; ``path`` is decoded exactly once, with ``//``, spaces and
    capitals as they are; ``fragment`` is as written. ``filename`` is the last segment, empty for a directory.
    """

    url: str
    path: str
    fragment: str = ""
    query: str = ""

    @property
    def filename(self) -> str:
        """The path's last segment."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Base:
    """What links are resolved against: the page's final address, or its ``<base href>``.

    ``directory`` is the raw path up to and with the last slash; ``is_plain`` where it holds nothing to refuse and is on
    the wire as we would write it.
    """

    origin: str
    directory: str
    is_plain: bool = False

    @property
    def scheme(self) -> str:
        """The scheme, in lower case."""
        return self.origin.partition(":")[0].lower()


def parse_base(url: str) -> Base:
    """Read the address that a page's links are relative to.

    Raises:
        UsageError: ``bad-url`` if it is not an absolute http, https or file address.
    """
    match = _AUTHORITY.match(url)
    try:
        _ = urlsplit(url).port  # reading it checks it
    except ValueError:
        match = None
    if match is None:
        raise UsageError(
            "bad-url",
            f"{redacted_text(url)!r} is not an absolute http, https or file address",
            hint="a directory is written file:///path/to/it",
        )
    directory = match["path"].rpartition("/")[0] + "/"
    is_plain = _AS_ON_THE_WIRE.fullmatch(directory) is not None and "/." not in directory
    return Base(match["origin"], directory, is_plain)


def resolve(base: Base, href: str) -> Location:
    """Resolve a link as RFC 3986 does, section 5.2, and decode its path once.

    Raises:
        UsageError: ``unsafe-href`` if the link leads to another kind of address (``javascript:``, or ``file:`` from a
            page that is not a file itself), climbs above the root, holds an encoded slash, a backslash or a control
            character, a dot segment after decoding, or a name that is too long to be stored.
    """
    if (usual := _usual_location(base, href)) is not None:
        return usual
    if not href.isascii():
        _check_storable(href)
    reference, _, fragment = href.partition("#")
    reference, mark, query = reference.partition("?")
    query = mark + query
    origin = base.origin
    if reference.startswith("//"):
        reference = f"{base.scheme}:{reference}"
    if _SCHEME.match(reference):
        absolute = _AUTHORITY.match(reference)
        if absolute is None or (reference[:5].lower() == "file:" and base.scheme != "file"):
            raise UsageError("unsafe-href", f"leads out of the index: {reference[:80]!r}")
        origin, raw = absolute["origin"], absolute["path"]
    elif reference.startswith("/"):
        raw = reference
    else:
        raw = base.directory + reference
    path = _decoded(_without_dots(raw) if "/." in raw else raw)
    _check_length(path)
    wire = raw if _AS_ON_THE_WIRE.fullmatch(raw) and "/." not in raw else quote(path, safe=_SAFE)
    return Location(url=origin + wire + query, path=path, fragment=fragment, query=query)


def _usual_location(base: Base, href: str) -> Location | None:
    """Resolve a link that has nothing special about it; None leaves it to the careful way."""
    match = _USUAL.fullmatch(href)
    if match is None or "/." in href or href.startswith((".", "//")):
        return None
    origin, raw, fragment = match.groups()
    if origin is None and not raw.startswith("/"):
        if not base.is_plain:
            return None
        raw = base.directory + raw
    path = raw.replace("%2B", "+").replace("%20", " ") if "%" in raw else raw
    _check_length(path)
    return Location((origin or base.origin) + raw, path, fragment or "")


def _check_length(path: str) -> None:
    name = path[path.rfind("/") + 1 :]
    if len(name) > MAX_NAME_LENGTH or (not name.isascii() and len(name.encode()) > MAX_NAME_LENGTH):
        raise UsageError("unsafe-href", f"a name of {len(name)} characters cannot be stored")


def _without_dots(raw: str) -> str:
    """Remove dot segments (RFC 3986, section 5.2.4), but refuse to climb above the root."""
    kept: list[str] = []
    segments = raw.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) <= 1:  # the empty segment before the first slash is the root
                raise UsageError("unsafe-href", "climbs above the root of its host")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)


def _decoded(raw: str) -> str:
    if _ENCODED_SLASH.search(raw):
        raise UsageError("unsafe-href", "holds an encoded slash")
    try:
        path = unquote(raw, errors="strict") if "%" in raw else raw
    except UnicodeDecodeError:
        raise UsageError("unsafe-href", "is not UTF-8 once decoded") from None
    if _CONTROL.search(path):
        raise UsageError("unsafe-href", "holds a control character or a backslash")
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise UsageError("unsafe-href", "holds an encoded dot segment")
    return path


def _check_storable(href: str) -> None:
    try:
        href.encode()
    except UnicodeEncodeError:  # JSON may say so: "\\ud800"
        raise UsageError("unsafe-href", "holds half a surrogate pair") from None
