"""Conditional requests (RFC 9110, section 13): whether what a client has is still what is here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

from pytorch_offline.moments import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

_ENTITY_TAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\U0010ffff]*")')
# Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT; Sun Nov  6 08:49:37 1994
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2,8}(?:, [0-9]{2}(?: [A-Z][a-z]{2} [0-9]{4}|-[A-Z][a-z]{2}-[0-9]{2}) [0-9:]{8} GMT"
    r"| [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})"
)


class Verdict(Enum):
    """What becomes of a conditional request."""

    PROCEED = auto()
    NOT_MODIFIED = auto()  # 304
    FAILED = auto()  # 412


def judge_conditions(field: Callable[[str], str | None], *, etag: str | None, modified: datetime | None) -> Verdict:
    """Judge the conditions of a GET or HEAD, in the order of section 13.2.2.

    Args:
        field: gives a header of the request by name.
        etag: of what is here, strong and quoted.
        modified: when what is here last changed, to the second; None where that is not known.
    """
    if (wanted := field("If-Match")) is not None:
        if not _names(wanted, etag, weakly=False):
            return Verdict.FAILED
    elif (since := _date(field("If-Unmodified-Since"))) is not None and modified is not None and modified > since:
        return Verdict.FAILED
    if (known := field("If-None-Match")) is not None:
        return Verdict.NOT_MODIFIED if _names(known, etag, weakly=True) else Verdict.PROCEED
    since = _date(field("If-Modified-Since"))
    if since is not None and modified is not None and modified <= since:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def range_applies(if_range: str | None, *, etag: str | None, modified: datetime | None) -> bool:
    """Say whether a range may be given of what the client has the rest of (section 13.1.5).

    By entity tag the comparison is strong; by date it must be the very date that was sent.
    """
    if if_range is None:
        return True
    text = if_range.strip(" \t")
    if text.startswith(('"', "W/")):
        return etag is not None and text == etag
    since = _date(text)
    return since is not None and modified is not None and since == modified


def _names(listed: str, etag: str | None, *, weakly: bool) -> bool:
    if listed.strip(" \t") == "*":
        return True
    return any(match["opaque"] == etag and (weakly or match["weak"] is None) for match in _ENTITY_TAG.finditer(listed))


def _date(text: str | None) -> datetime | None:
    """Read a date in one of the three forms of section 5.6.7; what is none of them says nothing."""
    if text is None or _HTTP_DATE.fullmatch(text.strip(" \t")) is None:
        return None
    moment = parse_http_date(text)
    return moment if moment is None else moment.replace(tzinfo=UTC)
