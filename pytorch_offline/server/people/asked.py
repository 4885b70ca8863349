"""What somebody asked of the page: its query, read without belief, and written for links and hidden fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from pytorch_offline.server.people.commands import Tool
from pytorch_offline.server.people.inventory import Order
from pytorch_offline.server.people.languages import Language, parse_language
from pytorch_offline.server.people.offers import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

# More than any link of this page has; the rest of a longer query is not looked at.
_MOST_FIELDS = 32
_LONGEST_FILTER = 100
# Enough for every page of a mirror of all projects in the world; int() of more digits would be work.
_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for the page.

    Args:
        wanted: answers to the picker's questions, whatever was written there.
        was: the answers that the form showed when it was sent: what differs from them was just given.
        language: None where the browser's preference decides.
        containing: what the names of projects should contain.
        number: which page of the projects.
    """

    wanted: Mapping[Question, str]
    was: Mapping[Question, str]
    tool: Tool = Tool.PIP
    language: Language | None = None
    containing: str = ""
    order: Order = Order.NAME
    number: int = 1

    @property
    def insisted(self) -> tuple[Question, ...]:
        """Which answers were just given."""
        return tuple(one for one, was in self.was.items() if one in self.wanted and self.wanted[one] != was)


def parse_query(query: str) -> Asked:
    """Read a query; what is unknown or makes no sense counts as not asked."""
    try:
        fields = dict(parse_qsl(query, encoding="utf-8", errors="replace", max_num_fields=_MOST_FIELDS))
    except ValueError:  # too many fields
        fields = {}
    was = fields.get("was", "").split(" ")
    number = fields.get("page", "")
    return Asked(
        wanted={one: fields[one] for one in Question if one in fields},
        was=dict(zip(Question, was, strict=False)) if len(was) == len(Question) else {},
        tool=Tool(fields["tool"]) if fields.get("tool") in set(Tool) else Tool.PIP,
        language=parse_language(fields.get("lang", "")),
        containing=fields.get("q", "").strip()[:_LONGEST_FILTER],
        order=Order(fields["sort"]) if fields.get("sort") in set(Order) else Order.NAME,
        number=int(number) if number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS else 1,
    )


def settle(asked: Asked, chosen: Mapping[Question, str]) -> Asked:
    """Give the request whose answers are all those that were chosen, for links that lead on from the page."""
    return replace(asked, wanted=dict(chosen), was={})


def fields_of(asked: Asked) -> dict[str, str]:
    """Give the fields that ask the same again; what is usual is left out."""
    fields = {question.value: answer for question, answer in asked.wanted.items()}
    if asked.tool is not Tool.PIP:
        fields["tool"] = asked.tool.value
    if asked.containing:
        fields["q"] = asked.containing
    if asked.order is not Order.NAME:
        fields["sort"] = asked.order.value
    if asked.number > 1:
        fields["page"] = str(asked.number)
    if asked.language is not None:
        fields["lang"] = asked.language.value
    return fields


def render_query(asked: Asked) -> str:
    """Write a request as a relative address: ``?torch=2.4.0&…``, or ``./`` where nothing is asked."""
    query = urlencode(fields_of(asked))
    return f"?{query}" if query else "./"
