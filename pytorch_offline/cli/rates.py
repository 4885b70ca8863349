"""Bytes, and bytes per second, on the command line: ``--limit-rate``, ``--max-size``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_RATE = re.compile(r"(?P<count>[0-9]{1,9}(\.[0-9]{1,6})?)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?(/s)?", re.IGNORECASE)
_UNITS = ("", "k", "m", "g", "t")


def rate_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--limit-rate``."""
    return click.option("--limit-rate", callback=_read_rate, default=None, metavar="RATE", help=help_text)


def _unit(match: re.Match[str]) -> int:
    """Say how many bytes one of the unit is: ``20M`` is what providers sell as that, ``20Mi`` the power of two."""
    thousand = 1024 if match["binary"] else 1000
    return int(thousand ** _UNITS.index(match["unit"].lower()))


def parse_bytes(text: str) -> int | None:
    """Read a number of bytes, written as for ``curl --limit-rate``: ``500k``, ``2.5M``; None for what is none."""
    match = _RATE.fullmatch(text.strip())
    count = 0 if match is None else int(float(match["count"]) * _unit(match))
    return count if count >= 1 else None


def _read_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read bytes per second."""
    del ctx, param
    if value is None:
        return None
    rate = parse_bytes(value)
    if rate is None:
        raise click.BadParameter(f"{value!r} is no number of bytes per second: write 500k or 20M")
    return rate
