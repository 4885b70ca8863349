"""Bytes, and bytes per second, on the command line: ``--limit-rate``, ``--max-size``, ``--volume-size``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_RATE = re.compile(r"(?P<count>[0-9]{1,9}(\.[0-9]{1,6})?)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?(/s)?", re.IGNORECASE)
# What media hold that are called so: the largest file of FAT32; 80 minutes (ECMA-130); DVD+R, the smaller of its kind
# (ECMA-349: 2,295,104 sectors); BD-R with one layer.
_MEDIA = {"fat32": 2**32 - 1, "cd": 700 * 2**20, "dvd": 4_700_000_000, "bd": 25_000_000_000}
_UNITS = ("", "k", "m", "g", "t")


def rate_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--limit-rate``."""
    return _bytes_option("--limit-rate", "RATE", "bytes per second: write 500k or 20M", help_text)


def size_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--max-size``."""
    return _bytes_option("--max-size", "SIZE", "bytes: write 500G or 2Ti", help_text)


def volume_size_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--volume-size``; without a value it is for FAT32."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        del ctx, param
        count = None if value is None else parse_volume_size(value)
        if value is not None and count is None:
            raise click.BadParameter(f"{value!r} is no size: write 700MB, 4.7GB, 4GiB-1, or {', '.join(_MEDIA)}")
        return count

    return click.option(
        "--volume-size",
        callback=read,
        default=None,
        is_flag=False,
        flag_value="fat32",
        metavar="SIZE",
        help=help_text,
    )


def parse_volume_size(text: str) -> int | None:
    """Read the size of a medium: ``700MB``, ``4GiB-1``, or what it is called, e.g. ``dvd``; None for what is none."""
    text = text.strip().lower()
    if text in _MEDIA:
        return _MEDIA[text]
    amount, minus, less = text.partition("-")
    count = parse_bytes(amount)
    if count is None or (minus and not less.isdecimal()):
        return None
    return count - int(less or 0) if count > int(less or 0) else None


def _unit(match: re.Match[str]) -> int:
    """Say how many bytes one of the unit is: ``20M`` is what providers sell as that, ``20Mi`` the power of two."""
    thousand = 1024 if match["binary"] else 1000
    return int(thousand ** _UNITS.index(match["unit"].lower()))


def parse_bytes(text: str) -> int | None:
    """Read a number of bytes, written as for ``curl --limit-rate``: ``500k``, ``2.5M``; None for what is none."""
    match = _RATE.fullmatch(text.strip())
    count = 0 if match is None else int(float(match["count"]) * _unit(match))
    return count if count >= 1 else None


def _bytes_option(
    name: str, metavar: str, wanted: str, help_text: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        del ctx, param
        count = None if value is None else parse_bytes(value)
        if value is not None and count is None:
            raise click.BadParameter(f"{value!r} is no number of {wanted}")
        return count

    return click.option(name, callback=read, default=None, metavar=metavar, help=help_text)
