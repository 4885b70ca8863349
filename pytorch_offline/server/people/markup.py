"""HTML put together so that nothing gets in unescaped: templates, and texts with code in them."""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from functools import cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_GAP = re.compile(r"\$([a-z_]+)")
_PACKAGE = importlib.resources.files("pytorch_offline.server.people")


class Markup(str):
    """Text that is HTML already. Every other text is escaped where it gets into a page."""

    __slots__ = ()


NOTHING = Markup()


def fill(template: str, **values: str | int) -> Markup:
    """Fill a template of this package, by its name without ``.html``; every ``$name`` in it must be given."""
    pieces = list(_template(template))
    pieces[1::2] = [escaped(values[name]) for name in pieces[1::2]]
    return Markup("".join(pieces))


def phrase(text: str, **values: str | int) -> Markup:
    """Fill the braces of a text, which is escaped itself."""
    return Markup(escape(text).format(**{name: escaped(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup]) -> Markup:
    """Put pieces one behind the other."""
    return Markup("".join(parts))


def code(text: str) -> Markup:
    """Mark a text as something to type."""
    return Markup(f"<code>{escape(text)}</code>")


def escaped(value: str | int) -> Markup:
    """Escape a value, unless it is HTML already."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


@cache
def _template(name: str) -> tuple[str, ...]:
    """Give what stands between the gaps of a template and, at every second place, a gap's name."""
    return tuple(_GAP.split((_PACKAGE / "templates" / f"{name}.html").read_text("utf-8").strip()))


@cache
def assets() -> dict[str, tuple[str, bytes]]:
    """Give the files that the page needs beside itself, by name: content type and bytes.

    A hash stands in each name, so that browsers may keep them for ever.
    """
    found = {}
    for name, content_type in (
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ):
        content = (_PACKAGE / "assets" / name).read_bytes()
        stem, _, suffix = name.partition(".")
        found[f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"] = content_type, content
    return found


def asset_href(suffix: str) -> str:
    """Give the relative address of the one asset with a suffix."""
    return f"assets/{next(name for name in assets() if name.endswith(f'.{suffix}'))}"
