"""Which user and password go to which host: those of the address itself, else those of a netrc file.

The order is pip's: what the address says wins over netrc (``requests`` has it the other way round), and a user alone,
as tokens are written (``https://TOKEN@host/``), is sent with an empty password. Keyrings are not asked.
"""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

Credentials = tuple[str, str]  # a user and a password
# The usual names of the file in the home directory, as requests and pip look for them.
_NETRC_NAMES = (".netrc", "_netrc")


def credentials_for(url: str, book: netrc.netrc | None, *, strange: bool = False) -> Credentials | None:
    """Say with which user and password an address is asked.

    Args:
        url: the address.
        book: what a netrc file says, if there is one.
        strange: whether a redirect led here from another host. netrc's ``default`` entry, which is for any host, is
            then not sent: nobody but the redirecting server has named this one.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if "@" not in parts.netloc:
        return _of_netrc(book, host, with_default=not strange)
    user, _, password = (unquote(part) for part in parts.netloc.rpartition("@")[0].partition(":"))
    noted = _of_netrc(book, host, with_default=False)
    if not password and noted is not None and noted[0] == user:
        return noted
    return user, password


def _of_netrc(book: netrc.netrc | None, host: str, *, with_default: bool) -> Credentials | None:
    if book is None or not (host in book.hosts or (with_default and "default" in book.hosts)):
        return None
    found = book.authenticators(host)
    # Some write the user as `account`, and requests has always taken it.
    user, password = (found[0] or found[1] or "", found[2] or "") if found is not None else ("", "")
    return (user, password) if user or password else None


def read_netrc(environment: Mapping[str, str]) -> netrc.netrc | None:
    """Read the netrc file that ``NETRC`` names, else the one at home; one that cannot be read is as good as none."""
    named = environment.get("NETRC")
    for place in [Path(named)] if named else [Path("~") / name for name in _NETRC_NAMES]:
        try:
            return netrc.netrc(os.fspath(place.expanduser()))
        except (OSError, RuntimeError, netrc.NetrcParseError, ValueError):  # RuntimeError: there is no home
            continue
    return None


def carried_over(before: str, after: str) -> str:
    """Give a redirect's address on the same host the user and password that the address before it had.

    From http to https on the usual ports counts as the same host, as it does for ``requests``.
    """
    old, new = urlsplit(before), urlsplit(after)
    if "@" not in old.netloc or "@" in new.netloc or old.hostname != new.hostname:
        return after
    upgraded = old.scheme == "http" and new.scheme == "https" and old.port in {None, 80} and new.port in {None, 443}
    if not upgraded and (old.scheme, old.port) != (new.scheme, new.port):
        return after
    return new._replace(netloc=f"{old.netloc.rpartition('@')[0]}@{new.netloc}").geturl()
