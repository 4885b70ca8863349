"""The ranges that a client asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# No client asks for more at once: pip, uv, curl and wget ask for one range, a zip reader for a handful. RFC 9110,
# section 14.2, has a server ignore or reject "many small ranges".
MAX_RANGES = 32

_SPEC = re.compile(r"(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+)")
_WHITE = " \t"
# Longer numbers are beyond every file; Python reads none of more than 4300 digits.
_MAX_DIGITS = 18
_BEYOND = 10**_MAX_DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The bytes of a file from ``start`` to before ``stop``."""

    start: int
    stop: int


def parse_ranges(text: str, size: int) -> tuple[Span, ...] | None:
    """Read a ``Range`` header for a representation of ``size`` bytes.

    Ranges that overlap or touch are joined, in ascending order then; others stay in the order of the request.

    Returns:
        None where the header is to be ignored: another unit than bytes, or no sense in it (section 14.2). An empty
        tuple where it cannot be satisfied (416): no byte of it exists, or it asks for absurdly many ranges.
    """
    unit, equals, listed = text.partition("=")
    if not equals or unit.strip(_WHITE).lower() != "bytes":
        return None
    specs = [spec for item in listed.split(",") if (spec := item.strip(_WHITE))]
    if not specs:
        return None
    spans: list[Span] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        if match["suffix"] is not None:
            start, stop = max(0, size - _number(match["suffix"])), size
        else:
            start = _number(match["first"])
            last = _number(match["last"]) if match["last"] else _BEYOND
            if last < start:
                return None
            stop = min(last + 1, size)
        if start < stop:
            spans.append(Span(start=start, stop=stop))
    return () if len(specs) > MAX_RANGES else _joined(spans)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else _BEYOND


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, one.stop)):
        if joined and span.start <= joined[-1].stop:
            joined[-1] = Span(start=joined[-1].start, stop=max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return tuple(spans) if len(joined) == len(spans) else tuple(joined)
