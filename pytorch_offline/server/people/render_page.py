"""The whole page as HTML, in one language."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from pytorch_offline.server.people.asked import render_query, settle
from pytorch_offline.server.people.commands import render_first_command
from pytorch_offline.server.people.installs import install_of
from pytorch_offline.server.people.languages import Language
from pytorch_offline.server.people.markup import NOTHING, Markup, asset_href, fill, joined
from pytorch_offline.server.people.render_contents import render_locks, render_projects, render_standing
from pytorch_offline.server.people.render_picker import (
    answers_of,
    render_copyable,
    render_picker,
    render_result,
    render_settings,
)
from pytorch_offline.server.people.words import read_words

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.people.address import Address
    from pytorch_offline.server.people.asked import Asked
    from pytorch_offline.server.people.installs import Shelves
    from pytorch_offline.server.people.inventory import Inventory
    from pytorch_offline.server.people.offers import Offer, Offers
    from pytorch_offline.server.people.words import Words

_FOR_PROGRAMS = ("simple/", "manifest.json", "health", "metrics")
_TO_FETCH = "pytorch-offline fetch torch --target MACHINE.json --mirror DIRECTORY"
_TO_COPY = "pytorch-offline publish DIRECTORY --mirror MEDIUM"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that is on one page: what the mirror holds and how it is, what was asked, by whom, when.

    ``start`` is the offer that is chosen before anything was asked. ``fetches`` says whether the mirror gets from
    upstream what it does not have.
    """

    offers: Offers
    start: Offer | None
    shelves: Shelves
    inventory: Inventory
    locks: tuple[str, ...]
    standing: Standing | None
    asked: Asked
    language: Language
    address: Address
    now: datetime
    fetches: bool
    stale_after: timedelta

    @property
    def words(self) -> Words:
        """The texts of its language."""
        return read_words(self.language)


def render_page(view: View) -> str:
    """Render the whole page."""
    words = view.words
    asked = view.asked
    if not view.inventory.projects:
        content = _empty(view)
    elif view.start is None:
        content = joined([fill("sentence", text=words.no_torch), _contents(view)])
    else:
        chosen = view.offers.choose(asked.wanted, asked.insisted) if asked.wanted else view.start
        install = install_of(chosen, view.shelves)
        asked = settle(asked, answers_of(chosen))
        picker = fill(
            "picker_card",
            heading=words.picker,
            picker=render_picker(view.asked, view.offers, chosen, words),
            result=render_result(view.asked, chosen, install, view.address, words),
            gateway=fill("note", text=words.fetches) if view.fetches else NOTHING,
        )
        settings = render_settings(install, view.address, words)
        content = joined([picker, settings, _contents(replace(view, asked=asked))])
    other = next(one for one in Language if one is not view.language)
    return fill(
        "page",
        lang=view.language.value,
        address=str(view.address),
        title=words.title,
        host=view.address.authority,
        lead="" if view.start is None else words.lead,
        skip=words.skip,
        icon=asset_href("svg"),
        style=asset_href("css"),
        script=asset_href("js"),
        other_href=render_query(replace(asked, language=other)),
        other_lang=other.value,
        other_language=words.other_language,
        content=content,
        raw=_for_programs(words),
    )


def _contents(view: View) -> Markup:
    return joined(
        [
            render_locks(view.locks, view.address, view.words),
            render_standing(view.standing, view.inventory, view.words, now=view.now, stale_after=view.stale_after),
            render_projects(view.asked, view.inventory, view.words),
        ]
    )


def _empty(view: View) -> Markup:
    words = view.words
    blocks = [
        render_copyable("fetch", words.empty_fetch, _TO_FETCH, words),
        render_copyable("copy", words.empty_copy, _TO_COPY, words),
    ]
    if view.fetches:
        blocks.insert(0, render_copyable("first", words.empty_gateway, render_first_command(view.address), words))
    return fill("empty", heading=words.empty, lead=words.empty_lead, blocks=joined(blocks))


def _for_programs(words: Words) -> Markup:
    links = joined(fill("raw", href=path) for path in _FOR_PROGRAMS)
    return Markup(escape(words.raw).format(links=links))
