"""Which form of a page a client gets: media types (RFC 9110, section 12.5.1; PEP 691) and codings (12.5.3)."""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

from pytorch_offline.mirror.served_as import JSON_V1

HTML_V1 = "application/vnd.pypi.simple.v1+html"
# PEP 691: whoever asks for the latest version gets, and is told, the version that it is now.
_LATEST = {
    "application/vnd.pypi.simple.latest+html": HTML_V1,
    "application/vnd.pypi.simple.latest+json": JSON_V1,
}

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
# An Accept header longer than this many ranges is nobody's: browsers send eight, pip three.
_MAX_RANGES = 64
# All clients of one version send the same header: its reading is remembered for so many of them.
_CLIENTS = 256


@functools.lru_cache(maxsize=_CLIENTS)
def choose_media_type(accept: str | None, offered: tuple[str, ...], *, query: str = "") -> str | None:
    """Choose among the media types that a page has, best first; None if none is acceptable (406).

    The highest quality wins, among equals the one that is offered first. Each offered type has the quality of the most
    specific range that covers it. Without an ``Accept`` header everything is acceptable. ``?format=`` overrides it
    (PEP 691, "URL Parameter").

    Args:
        accept: the header; several joined by commas.
        offered: types without parameters.
        query: the request's query as it came.
    """
    wanted = _format_of(query)
    if wanted is not None:
        wanted = _LATEST.get(wanted, wanted)
        return wanted if wanted in offered else None
    if accept is None or not accept.strip(" \t,"):
        return offered[0]
    ranges = _parse_accept(accept)
    best, best_quality = None, 0.0
    for media_type in offered:
        quality = _quality_of(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


@functools.lru_cache(maxsize=_CLIENTS)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Say whether a client reads gzip at least as gladly as the bytes themselves; silence means that it does not."""
    if accept_encoding is None:
        return False
    qualities = dict(parse_weighted(accept_encoding))
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def parse_weighted(text: str) -> list[tuple[str, float]]:
    """Read a list of names with weights (RFC 9110, section 12.4.2); one whose weight is not readable does not count."""
    weighted = []
    for item in text.split(",")[:_MAX_RANGES]:
        name, *parameters = (part.strip(" \t") for part in item.split(";"))
        quality: float | None = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip(" \t").lower() == "q":
                quality = float(value.strip(" \t")) if _QUALITY.fullmatch(value.strip(" \t")) else None
        if name and quality is not None:
            weighted.append((name.lower(), quality))
    return weighted


def _parse_accept(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for name, quality in parse_weighted(accept):
        media_type = _LATEST.get(name, name)
        ranges[media_type] = max(quality, ranges.get(media_type, 0.0))
    return ranges


def _quality_of(media_type: str, ranges: dict[str, float]) -> float:
    for covering in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if covering in ranges:
            return ranges[covering]
    return 0.0


def _format_of(query: str) -> str | None:
    for item in query.split("&"):
        key, _, value = item.partition("=")
        if key == "format":
            # A form would have written the plus of "+json" as %2B and a space as a plus; no type has a space.
            return unquote(value).replace(" ", "+").lower()
    return None
