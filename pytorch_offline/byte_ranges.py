"""What servers say about ranges of bytes (RFC 9110, section 14): read once, for everyone who asks for ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Eighteen digits are an exabyte, and fit every integer that a file system knows.
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes\s+\*/([0-9]{1,18})", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRange:
    """A 206's ``Content-Range``: the first and the last byte that it carries, of ``total`` (None if not told)."""

    first: int
    last: int
    total: int | None


def parse_content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Read the ``Content-Range`` of a 206; None if it is missing or no sense can be made of it."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ContentRange(first=int(match[1]), last=int(match[2]), total=None if match[3] == "*" else int(match[3]))


def parse_unsatisfied_range(headers: Mapping[str, str]) -> int | None:
    """Read from a 416 how long the file is; None if it does not say."""
    match = _UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
    return None if match is None else int(match[1])


def complete_length(status: int, headers: Mapping[str, str]) -> int | None:
    """Say how long the whole file is, from the answer to a request for a part of it or for all of it."""
    if status == HTTPStatus.PARTIAL_CONTENT:
        span = parse_content_range(headers)
        return None if span is None else span.total
    declared = headers.get("Content-Length", "").strip()
    return int(declared) if status == HTTPStatus.OK and _LENGTH.fullmatch(declared) else None
