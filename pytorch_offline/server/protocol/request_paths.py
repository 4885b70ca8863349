"""Request targets: the one reading of what stands in a request's first line (RFC 9112, section 3.2).

A path is decoded exactly once. Nothing is resolved or tidied: ``.``, ``..``, doubled slashes, and slashes that were
encoded lie nowhere. A ``+`` is a plus, encoded or not: only forms know it as a space.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote_to_bytes

# What nearly every request asks for, which means what it says.
_PLAIN = re.compile(r"/(?:[A-Za-z0-9_+-][A-Za-z0-9._+-]*/)*(?:[A-Za-z0-9_+-][A-Za-z0-9._+-]*)?")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_IN_QUERY = "%!$&'()*+,;=:@/?"  # RFC 3986, section 3.4, beside letters and digits
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request asks for: a path decoded once, and the query as it came."""

    path: str
    query: str


def parse_target(raw: str) -> Target | HTTPStatus:
    """Read a request's target; or say with which status it is refused: 400 if it is none, 404 if nothing can be there.

    Args:
        raw: as it came, bytes beyond UTF-8 as lone surrogates; an absolute address stands for its path (section 3.2.2).
    """
    if _PLAIN.fullmatch(raw):
        return Target(path=raw, query="")
    absolute = _ABSOLUTE.match(raw)
    if absolute is not None:
        raw = raw[absolute.end() :]
        raw = raw if raw.startswith("/") else f"/{raw}"
    if not raw.startswith("/") or "#" in raw:
        return HTTPStatus.BAD_REQUEST
    escaped, _, query = raw.partition("?")
    if _BROKEN_ESCAPE.search(escaped):
        return HTTPStatus.BAD_REQUEST
    try:
        path = unquote_to_bytes(escaped.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        return HTTPStatus.BAD_REQUEST
    if _CONTROL.search(path):
        return HTTPStatus.BAD_REQUEST
    segments = path.split("/")
    if _ENCODED_SLASH.search(escaped) or "\\" in path or "" in segments[1:-1] or not {".", ".."}.isdisjoint(segments):
        return HTTPStatus.NOT_FOUND
    return Target(path=path, query=query)


def relative_location(path: str, target: str, query: str) -> str:
    """Write a ``Location`` that leads from one path of this host to another, whatever prefix a proxy put before both.

    It never begins with a slash, so it can name no other host.

    Args:
        path: what was asked for, decoded.
        target: where it is, decoded, from the host's root.
        query: kept as it came, but for bytes that should have been encoded.
    """
    directory = path.rpartition("/")[0] or "/"
    below, _, name = target.rpartition("/")
    # A first segment with a colon would be a scheme (RFC 3986, section 4.2), had it not been encoded.
    relative = quote(f"{posixpath.relpath(below or '/', directory)}/{name}", safe="/")
    # What no address may hold, a header may not either.
    escaped = quote(query.encode("utf-8", "surrogateescape"), safe=_IN_QUERY)
    return f"{relative}?{escaped}" if query else relative
