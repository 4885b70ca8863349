"""For how long an answer may be used again without asking, by what its server said of it (RFC 9111, HTTP caching).

The catalogue is a private cache, so ``s-maxage`` says nothing to it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pytorch_offline.moments import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Mapping

# What upstream and the default index both state for their pages. Whoever states more is asked after that all the same
# (a cache may always ask): servers of static files give a year to whatever they serve.
LONGEST = timedelta(minutes=10)
# The share of an answer's age that "a typical setting" takes for its freshness, where nothing is said (4.2.2).
_HEURISTIC = 0.1
_DIRECTIVE = re.compile(r'([a-z-]+)(?:=(?:"([^"]*)"|([^\s,;"]*)))?')


def fresh_until(headers: Mapping[str, str], *, now: datetime, heuristic: bool = False) -> datetime | None:
    """Say until when an answer that came just now is fresh; None if it has to be asked for again every time.

    ``heuristic`` takes a tenth of the time since Last-Modified where the server states no lifetime; it suits files
    that are written once, such as wheels, and no index page.
    """
    said = _directives(headers.get("Cache-Control", ""))
    if said is None or {"no-cache", "no-store"} & said.keys() or "*" in headers.get("Vary", ""):
        return None
    written = _date(headers.get("Date")) or now
    if "max-age" in said:
        lifetime = _seconds(said["max-age"])
    elif "Expires" in headers:
        expires = _date(headers["Expires"])  # "0" and other nonsense mean that it has expired
        lifetime = None if expires is None else expires - written
    else:
        modified = _date(headers.get("Last-Modified")) if heuristic else None
        lifetime = None if modified is None else (written - modified) * _HEURISTIC
    age = _seconds(headers.get("Age", "0"))
    if lifetime is None or age is None:
        return None
    left = min(lifetime - max(age, now - written), LONGEST)
    return now + left if left > timedelta() else None


def _directives(text: str) -> dict[str, str] | None:
    """Read Cache-Control; None if it contradicts itself, which counts as stale (4.2.1)."""
    said: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(text.lower()):
        if said.setdefault(name, quoted or plain) != (quoted or plain):
            return None
    return said


def _seconds(text: str) -> timedelta | None:
    # More than fits counts as very much (1.2.2).
    return timedelta(seconds=min(int(text[:10]), 2**31)) if re.fullmatch(r"[0-9]+", text.strip()) else None


def _date(text: str | None) -> datetime | None:
    moment = parse_http_date(text)
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC)
