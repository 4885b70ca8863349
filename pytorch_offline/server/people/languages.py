"""Which language a browser's user reads (RFC 9110, section 12.5.4)."""

from __future__ import annotations

from enum import StrEnum

from pytorch_offline.server.protocol.negotiation import parse_weighted


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
    for tag, weight in parse_weighted(accept or ""):
        language = Language.ENGLISH if tag == "*" else parse_language(tag)
        if language is not None and weight > heaviest:
            best, heaviest = language, weight
    return best
