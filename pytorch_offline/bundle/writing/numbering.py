"""Which number and date a bundle gets: a mirror remembers what it gave, so that the same content is the same bundle.

A far side refuses to go back to a lower counter. What is new gets the next one; what was given before gets the number
and the date that it had, so that writing a bundle again gives the same bytes. The lineage, within which counters are
compared, is named after the first content that came from a mirror: equal mirrors begin equal lineages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.canonical_json import parse_strict_json, render_canonical
from pytorch_offline.bundle.format.manifest import CREATED_FORM, MAX_COUNTER, content_id
from pytorch_offline.bundle.format.model import SHA256_FORM
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.bundle.format.model import BundleFile, TargetLock

FORMAT = 1
# So many bundles are remembered, the last ones: whoever writes an older content again gives it a new number.
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBundle:
    """A bundle that a mirror gave."""

    id: str
    counter: int
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """All bundles that a mirror gave, oldest first; ``lineage`` is None before the first."""

    lineage: str | None = None
    bundles: tuple[GivenBundle, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """What names a bundle."""

    id: str
    lineage: str
    counter: int
    created: str


def number_bundle(
    given: Given,
    targets: Sequence[TargetLock],
    files: Sequence[BundleFile],
    *,
    now: datetime,
    declared: datetime | None = None,
    floor: int = 0,
) -> tuple[Number, Given]:
    """Number a content, and say what the mirror has to remember from now on.

    Args:
        given: what it remembers.
        targets: of the bundle.
        files: of the bundle.
        now: the clock.
        declared: the date that the bundle shall have, whatever the clock says (``SOURCE_DATE_EPOCH``).
        floor: the highest counter that the far side is known to have seen. This mirror's memory may be shorter; and a
            content that was given before, and shall be taken again after others, gets a new number.
    """
    lineage = given.lineage or content_id("", targets, files)
    named = content_id(lineage, targets, files)
    before = next((one for one in reversed(given.bundles) if one.id == named), None)
    if before is None or before.counter < floor:
        counter = max([floor, *(one.counter for one in given.bundles)]) + 1
        before = GivenBundle(id=named, counter=counter, created=spell_moment(declared or now))
        given = Given(lineage=lineage, bundles=(*given.bundles, before)[-_MOST_REMEMBERED:])
    created = before.created if declared is None else spell_moment(declared)
    return Number(id=named, lineage=lineage, counter=before.counter, created=created), given


def declared_date(environment: Mapping[str, str]) -> datetime | None:
    """Read ``SOURCE_DATE_EPOCH`` (reproducible-builds.org/specs/source-date-epoch); None where it is not set.

    Raises:
        UsageError: ``bad-date`` if it is no number of seconds.
    """
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    try:
        moment = datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError("bad-date", f"SOURCE_DATE_EPOCH is no number of seconds: {text[:40]!r}") from error
    if moment.year < 1970 or moment.year > 9999:  # noqa: PLR2004  (as a date in the manifest is spelt)
        raise UsageError("bad-date", f"SOURCE_DATE_EPOCH lies outside of the years 1970 to 9999: {text[:40]!r}")
    return moment


def seconds_of(created: str) -> int:
    """Give a bundle's date in seconds since 1970, which its files get as theirs."""
    return int(datetime.strptime(created, CREATED_FORM).replace(tzinfo=UTC).timestamp())


def render_given(given: Given) -> bytes:
    """Write down what a mirror gave."""
    rows = [{"id": one.id, "counter": one.counter, "created": one.created} for one in given.bundles]
    return (render_canonical({"format": FORMAT, "lineage": given.lineage, "bundles": rows}) + "\n").encode()


def parse_given(body: bytes, *, source: str) -> Given:
    """Read what a mirror gave.

    Raises:
        IntegrityError: ``bad-bundle-memory`` if it cannot be read: a guessed counter could go back.
    """
    try:
        return _given_of(parse_strict_json(body))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(
            "bad-bundle-memory",
            f"{source} cannot be read, so the next bundle's number is not known",
            facts={"file": source, "reason": str(error)[:200]},
            hint="take it from a backup; or remove it: bundles then begin a new lineage, which far sides take as new",
        ) from error


def _given_of(document: Any) -> Given:  # noqa: ANN401  (whatever the file holds)
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']}")
    bundles = []
    for row in document["bundles"]:
        counter, created = row["counter"], row["created"]
        if SHA256_FORM.fullmatch(row["id"]) is None or isinstance(counter, bool) or not 1 <= counter <= MAX_COUNTER:
            raise ValueError("a bundle has no id or no counter")
        seconds_of(created)
        bundles.append(GivenBundle(id=row["id"], counter=counter, created=created))
    if SHA256_FORM.fullmatch(document["lineage"]) is None:
        raise ValueError("it names no lineage")
    return Given(lineage=document["lineage"], bundles=tuple(bundles))
