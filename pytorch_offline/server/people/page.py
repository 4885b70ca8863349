"""The page at ``/``: a request and what the mirror holds in, HTML out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.mirror.served_as import HTML_TYPE, IMMUTABLE
from pytorch_offline.mirror.standing import STALE_AFTER
from pytorch_offline.server.people.address import DECIDING, address_of
from pytorch_offline.server.people.asked import parse_query
from pytorch_offline.server.people.installs import Shelves, best_start
from pytorch_offline.server.people.inventory import Inventory, take_inventory
from pytorch_offline.server.people.languages import preferred_language
from pytorch_offline.server.people.markup import assets
from pytorch_offline.server.people.offers import Offer, Offers, offers_of
from pytorch_offline.server.people.render_page import View, render_page
from pytorch_offline.server.resources import Answer, LivePage
from pytorch_offline.server.tree.rendered import make_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta
    from pathlib import PurePosixPath

    from packaging.specifiers import SpecifierSet

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.resources import Body, Question

PATH = "/"
ICON = "/favicon.ico"
# Rendered pages that are kept: a class of students looks at a handful of choices. A page has 20 kB, or 100 kB where the
# mirror is a copy of all upstream.
_PAGES_KEPT = 64
# Nothing but this mirror's own style, script, icon and forms, and nothing inline. No other site may frame the page, or
# learn from it who asked.
_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = (
    ("Content-Security-Policy", "; ".join(f"{name} {value}" for name, value in _POLICY.items())),
    ("Referrer-Policy", "no-referrer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What one generation of a mirror holds, made ready for the page: the work that is worth doing once.

    ``start`` is what is chosen before anything was asked; None where there is no torch. ``locks`` are the names of the
    files in ``locks/`` that an installer takes.
    """

    offers: Offers
    start: Offer | None
    shelves: Shelves
    inventory: Inventory
    locks: tuple[str, ...]


def take_stock(
    files: Iterable[MirrorFile], locks: Iterable[str], needs: Mapping[PurePosixPath, SpecifierSet] | None = None
) -> Holdings:
    """Make a generation ready: a second for the whole of upstream, a hundredth for the closure of one torch.

    ``needs`` says which torch companions need that the tables do not know.
    """
    listed = tuple(files)
    offers, shelves = offers_of(listed), Shelves(listed, needs)
    return Holdings(
        offers=offers,
        start=best_start(offers, shelves),
        shelves=shelves,
        inventory=take_inventory(listed),
        locks=tuple(sorted(name for name in locks if name.startswith(("pylock.", "requirements.")))),
    )


class PeoplePage:
    """The page and the files that belong to it.

    Args:
        holdings: gives what the mirror holds, at once; another object for each generation.
        standing: gives how the mirror stands, at once; None where nobody has found out yet.
        fetches: whether the mirror gets from upstream what it does not have.
        stale_after: how old what is served may be before the page says so.
    """

    def __init__(
        self,
        holdings: Callable[[], Holdings],
        standing: Callable[[], Standing | None],
        *,
        fetches: bool = False,
        stale_after: timedelta = STALE_AFTER,
    ) -> None:
        self._holdings = holdings
        self._standing = standing
        self._fetches = fetches
        self._stale_after = stale_after
        self._known: tuple[Holdings | None, Standing | None] = (None, None)
        self._kept: OrderedDict[tuple[object, ...], Body] = OrderedDict()

    def routes(self) -> dict[str, LivePage]:
        """Give what lies at which path."""
        files = {
            f"/assets/{name}": LivePage(answer=_kept_for_ever(make_body(*asset))) for name, asset in assets().items()
        }
        # Browsers ask for this beside every page that names no icon: those of the index.
        icon = make_body(*next(asset for name, asset in assets().items() if name.endswith(".svg")))
        return {PATH: LivePage(answer=self._answer), ICON: LivePage(answer=lambda _: Answer(body=icon)), **files}

    def _answer(self, question: Question) -> Answer:
        holdings, standing = self._holdings(), self._standing()
        if holdings is not self._known[0] or standing is not self._known[1]:
            self._known = holdings, standing
            self._kept.clear()
        asked = parse_query(question.query)
        language = asked.language or preferred_language(question.field("Accept-Language"))
        address = address_of(question.field, origin=question.origin)
        # Ages are told to the minute.
        minute = question.now.replace(second=0, microsecond=0)
        key = (question.query, language, address, minute)
        body = self._kept.get(key)
        if body is None:
            html = render_page(
                View(
                    offers=holdings.offers,
                    start=holdings.start,
                    shelves=holdings.shelves,
                    inventory=holdings.inventory,
                    locks=holdings.locks,
                    standing=standing,
                    asked=asked,
                    language=language,
                    address=address,
                    now=minute,
                    fetches=self._fetches,
                    stale_after=self._stale_after,
                )
            )
            body = make_body(HTML_TYPE, html.encode("utf-8", "xmlcharrefreplace"))
            self._kept[key] = body
            while len(self._kept) > _PAGES_KEPT:
                self._kept.popitem(last=False)
        return Answer(
            body=body,
            vary=("Accept-Language", *DECIDING),
            headers=(*_HEADERS, ("Content-Language", language.value)),
        )


def _kept_for_ever(body: Body) -> Callable[[Question], Answer]:
    answer = Answer(body=body, cache_control=IMMUTABLE)  # the names of these files have their hash in them
    return lambda _: answer
