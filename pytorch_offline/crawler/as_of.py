"""Days asked about: what the catalogue knew then."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.errors import UsageError
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytorch_offline.crawler.catalogue import Catalogue

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_as_of(text: str) -> datetime:
    """Read a day, which means its end in UTC, or a moment in ISO 8601 (in UTC unless it names its own zone).

    Raises:
        UsageError: ``bad-date``.
    """
    plain = text.strip()
    try:
        if _DAY.fullmatch(plain):
            return datetime.combine(date.fromisoformat(plain) + timedelta(days=1), time(), UTC) - timedelta(seconds=1)
        moment = datetime.fromisoformat(plain)
    except (ValueError, OverflowError) as error:
        hint = "write a day, 2026-03-11, or a moment, 2026-03-11T12:00:00Z"
        raise UsageError("bad-date", f"{text!r} is not a date", hint=hint) from error
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)


def parse_since(text: str) -> datetime:
    """Read a day, which means its beginning in UTC, or a moment as ``parse_as_of`` does.

    Raises:
        UsageError: ``bad-date``.
    """
    moment = parse_as_of(text)
    return datetime.combine(moment.date(), time(), UTC) if _DAY.fullmatch(text.strip()) else moment


def insist_on_readings(catalogue: Catalogue, roots: Iterable[str], as_of: datetime) -> None:
    """Raise if nothing of any of these indexes had been read at a moment.

    Raises:
        UsageError: ``before-first-reading``, with the day of the first.
    """
    firsts = {root: first for root in roots if (first := catalogue.first_reading(root)) is not None}
    if firsts and min(firsts.values()) > spell_moment(as_of):
        root = min(firsts, key=lambda one: firsts[one])
        raise before_first_reading(redacted(root), as_of, firsts[root])


def uploaded_by(upload_time: str | None, as_of: datetime) -> bool:
    """Whether a file states that it was uploaded up to a moment (PEP 700; ISO 8601 in UTC)."""
    try:
        moment = datetime.fromisoformat(upload_time or "")
    except ValueError:
        return False
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment) <= as_of


def warnings_of_later_pages(
    not_yet_read: Mapping[str, str], by_upload_time: Mapping[str, str], as_of: datetime
) -> Iterator[str]:
    """Say which pages were read for the first time only later, and what was made of them."""
    if not_yet_read:
        yield (
            f"not known for {as_of:%Y-%m-%d}, and left out: {_some(not_yet_read)},"
            f" first read on {min(not_yet_read.values())[:10]} or later"
        )
    if by_upload_time:
        yield (
            f"what was there on {as_of:%Y-%m-%d} is taken from the upload times that later pages state:"
            f" {_some(by_upload_time)}"
        )


def _some(pages: Mapping[str, str]) -> str:
    first, *others = sorted(pages)
    return redacted(first) + (f" and {len(others)} more" if others else "")


def before_first_reading(what: str, as_of: datetime, first: str) -> UsageError:
    """Make the error for a moment before anything was read."""
    return UsageError(
        "before-first-reading",
        f"nothing was known of {what} on {as_of:%Y-%m-%d}: it was first read on {first[:10]}",
        facts={"asked about": spell_moment(as_of), "first read": first},
        hint=f"name {first[:10]} or a later day; what upstream showed earlier was not recorded",
    )
