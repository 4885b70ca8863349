"""Addresses as text: what may be shown and stored of them, and what is sent."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from pytorch_offline.errors import UpstreamError

_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PASSWORD = re.compile(r"//[^/?#\s]*@")
_QUERY = re.compile(r"(//[^\s?#\"<>]*)\?[^\s#\"<>]+")


def redacted(url: str) -> str:
    """Hide what may be secret in a URL, for messages and logs: its user and password, and its whole query.

    Presigned addresses and tokens stand in queries, under any name.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return redacted_text(url)
    if "@" in parts.netloc:
        parts = parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2])
    return urlunsplit(parts._replace(query="***")) if parts.query else urlunsplit(parts) if "@" in url else url


def redacted_text(text: str) -> str:
    """Hide the users, passwords and queries of all URLs in a text, for messages and logs."""
    return _QUERY.sub(r"\1?***", _PASSWORD.sub("//***@", text)) if "//" in text else text


def host_of(url: str) -> str:
    """Name the host of a URL, with its port if it has one, for people; ``file`` where there is none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "file"
    except ValueError:
        return url


def without_credentials(url: str) -> str:
    """Take ``user:password@`` and the query out of an address: what is stored never holds a secret."""
    parts = urlsplit(url)
    if "@" not in parts.netloc and not parts.query:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def with_credentials(url: str, page_url: str) -> str:
    """Give an address on the host of a page the user and password that the page was asked for with."""
    if "@" not in page_url:
        return url
    page, file = urlsplit(page_url), urlsplit(url)
    if "@" not in page.netloc or (page.scheme, page.netloc.rpartition("@")[2]) != (file.scheme, file.netloc):
        return url
    return file._replace(netloc=page.netloc).geturl()


def page_key(url: str) -> str:
    """Name a page by its address without secrets; addresses that differ in their queries stay apart by a digest."""
    query = urlsplit(url).query
    plain = without_credentials(url)
    return urlsplit(plain)._replace(query=sha256(query.encode()).hexdigest()[:16]).geturl() if query else plain


def origin(url: str) -> str:
    """Say which host an address is on, without its user and password: ``https://host:port``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def url_path(url: str) -> str:
    """Give the path of an address, decoded once."""
    return unquote(urlsplit(url).path)


def sendable_url(url: str) -> str:
    """Make a URL that ``requests`` sends as it is written: no fragment, no stray ``%``.

    One stray percent sign makes urllib3 quote all the others too, and ``%2B`` would become ``%252B``.

    Raises:
        UpstreamError: ``bad-url`` if it is not an absolute http, https or file URL.
    """
    whole = _STRAY_PERCENT.sub("%25", url.strip().partition("#")[0])
    try:
        parts = urlsplit(whole)
        understood = parts.scheme == "file" or (parts.scheme in {"http", "https"} and bool(parts.hostname))
        _ = parts.port  # reading it checks it
    except ValueError:
        understood = False
    if not understood:
        raise UpstreamError(
            "bad-url",
            f"{redacted(url)!r} is not an http, https or file URL",
            facts={"url": redacted(url)},
        )
    return whole


def joined(base: str, location: str) -> str:
    """Resolve the address of a redirect; one that cannot be is given back for ``sendable_url`` to refuse."""
    try:
        return urljoin(base, location)
    except ValueError:  # a host in brackets that is no address; sendable_url refuses what stands there alone
        return location


def file_path(url: str) -> Path | None:
    """Read the local path that a ``file://`` URL names, or ``None`` where it names another host's or none at all."""
    parts = urlsplit(url)
    if parts.netloc.lower() not in {"", "localhost"}:
        return None
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if "\0" in path or not path.startswith("/"):
        return None
    if os.name == "nt":
        path = path.removeprefix("/")  # file:///C:/mirror
    return Path(path)
