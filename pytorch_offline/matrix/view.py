"""A table as a value, and its three renderings: text of 80 columns, CSV, JSON."""

from __future__ import annotations

import csv
import io
import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 80
_GAP = "  "
# The least that a last column is given, however wide the others are.
_NARROWEST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Lines of one table. ``heading`` stands above it, if not empty.

    Every cell is wrapped at spaces: the last column to what is left of the line, the others at ``widths``, if given.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    heading: str = ""
    widths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One answer of ``matrix``.

    Args:
        title: one line that says what the rows are, with units.
        sections: for people, grouped and shortened.
        records: for programs, nothing left out; all with the same keys, values are texts, numbers, truths, None or
            lists of texts.
        notes: sentences on what marks mean, and where the rows come from.
        facts: further members of the JSON document.
    """

    title: str
    sections: tuple[Section, ...]
    records: tuple[Mapping[str, object], ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, object] | None = None


def render_view(view: View, width: int = WIDTH) -> str:
    """Render a view for people; lines are not longer than ``width``, unless one word is."""
    parts = [textwrap.fill(view.title, width)]
    for section in view.sections:
        heading = textwrap.wrap(section.heading, width)
        parts.append("\n".join([*heading, *_lines(section, width)]))
    if view.notes:
        notes = [textwrap.fill(note, width, subsequent_indent="  ", break_on_hyphens=False) for note in view.notes]
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def _lines(section: Section, width: int) -> list[str]:
    table = [section.header, *section.rows]
    caps = section.widths or (width,) * (len(section.header) - 1)
    cells = [[_wrapped(cell, cap) for cell, cap in zip(row, caps, strict=False)] for row in table]
    sizes = [max(len(line) for row in cells for line in row[column]) for column in range(len(caps))]
    room = max(width - sum(sizes) - len(_GAP) * len(sizes), _NARROWEST)
    lines = []
    for row, wrapped in zip(table, cells, strict=True):
        columns = [*wrapped, _wrapped(row[-1], room)]
        for parts in zip_longest(*columns, fillvalue=""):
            padded = [part.ljust(size) for part, size in zip(parts, sizes, strict=False)]
            lines.append(_GAP.join([*padded, parts[-1]]).rstrip())
    rule = _GAP.join("-" * size for size in [*sizes, max(len(section.header[-1]), 4)])
    return [lines[0], rule, *lines[1:]]


def _wrapped(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def render_csv(view: View) -> str:
    """Render a view's records as CSV (RFC 4180, without the carriage returns); lists are joined by ``;``."""
    buffer = io.StringIO()
    names = list(view.records[0]) if view.records else []
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in record.items()} for record in view.records)
    return buffer.getvalue().removesuffix("\n")


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value


def document_of(view: View) -> dict[str, Any]:
    """Make the ``--json`` document."""
    return {
        "title": view.title,
        **(view.facts or {}),
        "rows": [dict(record) for record in view.records],
        "notes": list(view.notes),
    }
