"""The choosing that ``select`` and ``fetch`` begin with: which indexes, for each target, with answers to questions."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from pytorch_offline.crawler.as_of import insist_on_readings, parse_as_of, warnings_of_later_pages
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.default_index import configured_http, configured_index_url
from pytorch_offline.crawler.pip_memory import PipMemory
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.upstream import known_backends
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.places import places_of
from pytorch_offline.net import Http
from pytorch_offline.selector.explaining.render import document_of
from pytorch_offline.selector.fleet.fleet import fleet_document, fleet_refusal, tally
from pytorch_offline.selector.fleet.shared import document_of_sharing
from pytorch_offline.selector.indexes.given_wheels import GivenWheels
from pytorch_offline.selector.indexes.offers import IndexOffers
from pytorch_offline.selector.indexes.plan import plan_indexes
from pytorch_offline.selector.indexes.sizes import KnownSizes
from pytorch_offline.selector.indexes.upstreams import find_planned_upstreams
from pytorch_offline.selector.select import select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytorch_offline.cli.choosing import Choosing
    from pytorch_offline.cli.session import Session
    from pytorch_offline.errors import PytorchOfflineError
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.selector.explaining.loss_reasons import LossReasons
    from pytorch_offline.selector.explaining.why import Why
    from pytorch_offline.selector.explaining.why_not import WhyNot
    from pytorch_offline.selector.fleet.shared import Sharing
    from pytorch_offline.selector.fleet.sharing import Member
    from pytorch_offline.selector.model import Request, Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What the user wants to know besides: why these projects, why not these files, versions, backends, projects."""

    why: tuple[str, ...] = ()
    why_not: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers for one target, in the order of the questions."""

    why: tuple[Why, ...]
    why_not: tuple[WhyNot, ...]


NO_QUESTIONS = Questions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was chosen, a selection per target, with what it was chosen by, still open."""

    selections: tuple[Selection, ...]
    answers: tuple[Answers, ...]
    sharing: Sharing | None  # with --common and several targets
    sizes: KnownSizes
    http: Http
    catalogue: Catalogue
    upstreams: tuple[str, ...]  # where the pages of the indexes of torch's family begin


@contextmanager
def chosen(
    session: Session, choosing: Choosing, questions: Questions = NO_QUESTIONS, *, trusting: bool = False
) -> Iterator[Chosen]:
    """Choose for every target, and answer questions; the network and the catalogue stay open for what follows.

    ``trusting`` asks nothing again that is still fresh by what its server said of it.

    Raises:
        PytorchOfflineError: whatever the request, the indexes or the rules object to.
    """
    asked = choosing.asked()
    plan = plan_indexes(
        asked.options,
        choosing.named(),
        locked=asked.lock is not None,
        by_address=any(one.wheel is not None for one in asked.asks),
    )
    for warning in plan.warnings:
        session.warn(warning)
    state = session.mirror / STATE_NAME
    memory = PipMemory(state / "pip.json")
    with (
        Http() if choosing.offline else configured_http(asked.options.trusted_hosts, memory, choosing.reach) as http,
        Catalogue.open(state / CATALOGUE_NAME) as catalogue,
        ExitStack() as stack,
    ):
        as_of = None if choosing.as_of is None else parse_as_of(choosing.as_of)
        if as_of is not None:
            insist_on_readings(catalogue, plan.upstream_addresses, as_of)
        reader = IndexReader(http, catalogue, offline=choosing.offline, trusting=trusting, as_of=as_of)
        default_index = configured_index_url(memory) if plan.as_configured else plan.default_index
        sizes = KnownSizes(None if choosing.offline else http, catalogue, trusting=trusting)

        def open_chooser(target: Target) -> tuple[Request, Chooser]:
            session.message(f"choosing for target {target.name} …", verbosity=1)
            request = asked.request_for(target, backend=plan.backend, pre=choosing.pre, no_deps=choosing.no_deps)
            # Nightlies and candidates are all pre-releases; whoever names these channels wants them.
            request = replace(request, pre_family=any(one.channel != "stable" for one in plan.upstreams))
            upstreams, warnings = find_planned_upstreams(plan, target, reader=reader, default_index=default_index)
            for warning in warnings:
                session.warn(warning)
            backends = {backend for upstream in upstreams for backend in upstream.backends} or set(known_backends())
            offers = partial(
                IndexOffers,
                upstreams=upstreams,
                default_index=default_index,
                reader=reader,
                http=http,
                catalogue=catalogue,
                scratch=state / "scratch",
                offline=choosing.offline,
                extra_indexes=plan.extra_indexes,
                given=GivenWheels(request.wheels, plan.find_links, reader=reader, upstream=plan.stand_in),
                hashes=request.hashes,
            )
            return request, stack.enter_context(Chooser(offers, sorted(backends, key=lambda one: one.order)))

        with _later_pages_told(session, reader):
            members = _choose_alone(choosing.targets, open_chooser, questions)
        sharing = None
        if choosing.common and len(members) > 1:
            from pytorch_offline.selector.fleet.sharing import share  # noqa: PLC0415  (only with --common)

            sharing = share([chooser.member(selection) for _, chooser, selection in members], sizes)
        elif choosing.common:
            session.warn("--common has nothing to compare: there is one target")
        selections = tuple(selection for _, _, selection in members) if sharing is None else sharing.selections
        for selection in selections:
            for warning in selection.warnings:
                session.warn(f"{selection.target.name}: {warning}" if len(selections) > 1 else warning)
        yield Chosen(
            selections=selections,
            answers=tuple(
                chooser.answer(request, selection.target, selection, questions)
                for (request, chooser, _), selection in zip(members, selections, strict=True)
            ),
            sharing=sharing,
            sizes=sizes,
            http=http,
            catalogue=catalogue,
            upstreams=plan.upstream_addresses,
        )


@contextmanager
def _later_pages_told(session: Session, reader: IndexReader) -> Iterator[None]:
    """Warn of pages that were read only after the day asked about, also where nothing fits for the lack of them."""
    try:
        yield
    finally:
        if reader.as_of is not None:
            for warning in warnings_of_later_pages(reader.not_yet_read, reader.by_upload_time, reader.as_of):
                session.warn(warning)


def _choose_alone(
    targets: Sequence[Target], open_chooser: Callable[[Target], tuple[Request, Chooser]], questions: Questions
) -> list[tuple[Request, Chooser, Selection]]:
    """Choose for each target on its own; a target that fails does not hide that others fail too."""
    members: list[tuple[Request, Chooser, Selection]] = []
    refusals: dict[str, PytorchOfflineError] = {}
    for target in targets:
        request, chooser = open_chooser(target)
        try:
            members.append((request, chooser, chooser.select_or_explain(request, target, questions)))
        except (UnsatisfiableError, UsageError) as error:
            refusals[target.name] = error
    if refusals:
        raise fleet_refusal(refusals, len(targets))
    return members


class Chooser:
    """Selects for targets over one set of indexes, which it reads once; a context manager, for their threads.

    ``offers`` opens the indexes' offers for a target.
    """

    def __init__(self, offers: Callable[[Target], IndexOffers], backends: Sequence[Backend]) -> None:
        self._open = offers
        self._backends = backends
        self._offers: dict[str, tuple[Target, IndexOffers]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def offers_for(self, target: Target) -> IndexOffers:
        """Give what the indexes offer for a target."""
        known = self._offers.get(target.name)
        if known is None or known[0] != target:
            known = self._offers[target.name] = (target, self._stack.enter_context(self._open(target)))
        return known[1]

    def select(self, request: Request, target: Target) -> Selection:
        """Select; see ``selector.select``."""
        return select(request, target, self.offers_for(target), self._backends)

    def select_or_explain(self, request: Request, target: Target, questions: Questions) -> Selection:
        """Select; where nothing fits, the error names the nearest changes that work, and answers what was asked.

        Raises:
            UnsatisfiableError: with ``nearest``, ``rejected`` and ``why_not`` among its data; else what
                ``selector.select`` raises.
        """
        try:
            return self.select(request, target)
        except UnsatisfiableError as error:
            from pytorch_offline.cli.explaining import explained_refusal  # noqa: PLC0415  (see there)

            raise explained_refusal(
                error,
                request,
                target,
                reasons=self._reasons(request, target, None),
                attempt=self.select,
                why_not=questions.why_not,
            ) from error

    def member(self, selection: Selection) -> Member:
        """Make a selection's target a member of a fleet that looks for what can be shared."""
        from pytorch_offline.selector.fleet.sharing import Member, runnable_builds  # noqa: PLC0415  (only with --common)

        target, offers = selection.target, self.offers_for(selection.target)

        def attempt(request: Request, backend: Backend | None) -> Selection:
            return select(request, target, offers, self._backends if backend is None else [backend])

        return Member(
            selection=selection,
            builds=runnable_builds(selection.request, target, offers, self._backends),
            attempt=attempt,
        )

    def answer(self, request: Request, target: Target, selection: Selection, questions: Questions) -> Answers:
        """Answer questions about a selection."""
        if questions == NO_QUESTIONS:
            return Answers(why=(), why_not=())
        from pytorch_offline.cli.explaining import answered  # noqa: PLC0415  (see there)

        reasons = self._reasons(request, target, selection)
        why, why_nots = answered(selection, reasons, why=questions.why, why_not=questions.why_not)
        return Answers(why=why, why_not=why_nots)

    def _reasons(self, request: Request, target: Target, selection: Selection | None) -> LossReasons:
        from pytorch_offline.selector.explaining.loss_reasons import LossReasons  # noqa: PLC0415  (as above)

        return LossReasons(
            request,
            target,
            offers=self.offers_for(target),
            backends=self._backends,
            selection=selection,
            attempt=self.select,
        )


def document(
    selections: Sequence[Selection],
    *,
    sizes: Mapping[str, int] | None = None,
    held: Mapping[PurePosixPath, MirrorFile] | None = None,
    sharing: Sharing | None = None,
) -> dict[str, Any]:
    """Make the ``--json`` document: one target's own, or all of them under ``targets`` with what they share.

    Upstream's pages may state neither sizes nor hashes: ``sizes`` (by address) are those that were asked for, ``held``
    is what the mirror has.
    """
    documents = [document_of(selection, places_of(selection), sizes) for selection in selections]
    for file in (file for one in documents for file in one["files"]):
        row = (held or {}).get(PurePosixPath(file["path"]))
        if row is not None:
            file["sha256"], file["size"], file["hash_origin"] = row.sha256, row.size, row.hash_origin.value
    if len(documents) == 1:
        return documents[0]
    union = {file["url"]: file for one in documents for file in one["files"]}
    totals = fleet_document(tally(selections, sizes or {}))
    shared = {} if sharing is None else {"common": document_of_sharing(sharing)}
    return {"targets": documents, "files": list(union.values()), **totals, **shared}
