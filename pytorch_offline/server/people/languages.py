"""Which language a browser's user reads (RFC 9110, section 12.5.4)."""

from __future__ import annotations

import re
from enum import StrEnum

# One range and its weight: "zh-CN;q=0.8", "*".
_RANGE = re.compile(
    r"\s*(?P<tag>\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*[qQ]\s*=\s*(?P<weight>[01](?:\.[0-9]{0,3})?)\s*)?"
)


class Language(StrEnum):
    """The languages that the page is written in, the one for everybody first; as ``lang`` attributes have them."""

    ENGLISH = "en"
    CHINESE = "zh-Hans"


def parse_language(text: str) -> Language | None:
    """Read one language tag: every ``zh-…`` is served simplified Chinese; None for languages without a page."""
    primary = text.strip().lower().partition("-")[0]
    return {"en": Language.ENGLISH, "zh": Language.CHINESE}.get(primary)


def preferred_language(accept: str | None) -> Language:
    """Choose by ``Accept-Language``: the greatest weight, then what stands first; English where nothing fits."""
    best, heaviest = Language.ENGLISH, 0.0
    for part in (accept or "").split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            continue
        language = Language.ENGLISH if match["tag"] == "*" else parse_language(match["tag"])
        weight = min(float(match["weight"] or 1), 1.0)
        if language is not None and weight > heaviest:
            best, heaviest = language, weight
    return best
