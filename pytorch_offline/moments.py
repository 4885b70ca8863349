"""Moments as text: as everything that is stored writes them, and as HTTP's headers do."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def spell_moment(moment: datetime) -> str:
    """Write a moment as the catalogue, the manifest and locks do: ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_http_date(text: str | None) -> datetime | None:
    """Read the date of a header (RFC 9110, section 5.6.7), without a zone if it names none; None if it is no date."""
    try:
        return parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # a zone beyond all hours overflows
        return None
