"""Where the mirror is, as the browser that asks sees it: what stands in commands in the place of pytorch.org's host.

Everything here was written by whoever asks, and goes into commands that people run. So it is taken only if it is
nothing but a host, a port and a plain path; and nothing of it can be put into a link to this page, whose query holds no
address: a header cannot be set from another site.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

# The page's script says here where it is: behind a proxy only the browser knows.
ADDRESS_HEADER = "X-Mirror-Address"
# RFC 9110 section 7.2 and RFC 3986 section 3.2.2, less percent-encoding; container networks have names with "_".
_AUTHORITY = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_.-]{1,253})|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?"
)
# Below which path a proxy keeps the mirror; segments that mean the same in every shell.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+){0,16}/?")
_LONGEST_PREFIX = 200
_HIGHEST_PORT = 65535
# What stands in commands where the request names no host, which HTTP/1.0 allows.
NOWHERE = "localhost"
# All headers that decide about an address.
DECIDING = (ADDRESS_HEADER, "Host", "X-Forwarded-Proto", "X-Forwarded-Prefix")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a mirror is: ``http``, ``mirror:8080``, and the path before its own, ``/pytorch`` or nothing."""

    scheme: str
    authority: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def host(self) -> str:
        """The host without port and brackets."""
        return urlsplit(f"//{self.authority}").hostname or ""

    @property
    def is_trusted_by_pip(self) -> bool:
        """Whether pip installs from here without being told to trust the host.

        That is with TLS, and from this machine itself (pip's ``SECURE_ORIGINS``: localhost, 127.0.0.0/8, ::1).
        """
        if self.scheme == "https" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address | None:
    """Read an address such as ``https://mirror:8443/pytorch/``; None for anything that is more than that."""
    scheme, separator, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or scheme not in {"http", "https"} or not is_authority(authority):
        return None
    prefix = _prefix(slash + path)
    return None if prefix is None else Address(scheme, authority.lower(), prefix)


def is_authority(text: str) -> bool:
    """Whether a text is a host, with or without a port, and nothing else."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, _HIGHEST_PORT + 1):
        return False
    if match["v6"] is None:
        return any(character.isalnum() for character in text)
    try:
        return ip_address(match["v6"]).version == 6  # noqa: PLR2004  (IPv6)
    except ValueError:
        return False


def address_of(field: Callable[[str], str | None], *, origin: str) -> Address:
    """Say where the mirror is, from a request.

    Args:
        field: gives a header by name.
        origin: how the client addressed the server: what holds where no proxy says otherwise.
    """
    said = parse_address(field(ADDRESS_HEADER) or "")
    if said is not None:
        return said
    direct = parse_address(origin) or Address("http", NOWHERE)
    forwarded = _first(field("X-Forwarded-Proto")).lower()
    return Address(
        forwarded if forwarded in {"http", "https"} else direct.scheme,
        direct.authority,
        _prefix(_first(field("X-Forwarded-Prefix"))) or "",
    )


def _first(values: str | None) -> str:
    """Take the first of several values: that of the proxy nearest to the browser."""
    return (values or "").partition(",")[0].strip()


def _prefix(path: str) -> str | None:
    """Take a path as a prefix, without the slash at its end; None if it is not a plain one."""
    if len(path) > _LONGEST_PREFIX or _PREFIX.fullmatch(path) is None:
        return None
    return path.removesuffix("/")
