"""``/health``: whether the mirror serves, and how it stands; for load balancers, orchestrators and people.

The status of HTTP says whether to send clients here: 503 only where nothing can be given. How old things are, and what
is known to be bad, is in the document: whoever wants to be woken by it reads ``status`` and ``reasons``. Nothing in it
names a path of the host.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from pytorch_offline import __version__
from pytorch_offline.mirror.standing import Complaint, Status, complaints_of, status_of
from pytorch_offline.moments import spell_moment
from pytorch_offline.server.resources import Answer, LivePage
from pytorch_offline.server.tree.following import UNREADABLE
from pytorch_offline.server.tree.rendered import make_body

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pytorch_offline.mirror.milestones import Imported, Verified
    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.resources import Question


class Upstream(Protocol):
    """How a gateway's upstream answered last; ``answers`` is None if it was not asked yet."""

    newest_success: datetime | None
    newest_failure: datetime | None
    failure_code: str | None

    @property
    def answers(self) -> bool | None:
        """Whether the newest that is known is that it answered."""


class Figures(Protocol):
    """What a gateway counts."""

    hits: int
    misses: int
    upstream_bytes: int
    upstream_errors: int
    evictions: int
    evicted_bytes: int
    transfers: int

    @property
    def upstream(self) -> Upstream:
        """How upstream answered last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is served now.

    Args:
        since: when this process began to serve it.
        files: how many it has.
        trouble: why what was published since cannot be read, by a code; None if nothing is wrong.
    """

    since: datetime
    files: int
    trouble: str | None


class Kept(Protocol):
    """What is known of the mirror that is served."""

    @property
    def current(self) -> Standing | None:
        """How it stands; None until that was found out for the first time."""

    @property
    def serving(self) -> Serving:
        """What is served of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How well a server is.

    ``serves`` says that it has something to give.
    """

    status: Status
    reasons: tuple[Complaint, ...]
    serves: bool


def judge(standing: Standing | None, serving: Serving, figures: Figures | None, *, stale_after: timedelta) -> Health:
    """Judge how well a server is, from what is known.

    Args:
        standing: of its mirror; None as long as that is not known.
        serving: what it serves.
        figures: of a gateway; None of a plain mirror.
        stale_after: how old may be what is served.
    """
    found = list(complaints_of(standing, stale_after=stale_after)) if standing is not None else []
    there = standing is None or standing.there
    if not there:
        found.append(_failing("mirror-gone", "the mirror's directory is not there"))
    elif not serving.files and figures is None:
        found.append(_failing("empty", "the mirror has no files"))
    if serving.trouble is not None:
        sentence = "what was published last cannot be read: the generation before is served"
        found.append(_failing(serving.trouble, sentence))
    if figures is not None and figures.upstream.answers is False:
        code = figures.upstream.failure_code
        sentence = f"upstream does not answer ({code}): what was fetched before is served"
        found.append(Complaint(code="upstream-down", sentence=sentence, status=Status.STALE))
    readable = there and serving.trouble != UNREADABLE
    serves = readable and bool(serving.files or figures is not None)
    return Health(status=status_of(found), reasons=tuple(found), serves=serves)


def document_of(
    health: Health, standing: Standing | None, serving: Serving, figures: Figures | None, *, now: datetime
) -> dict[str, Any]:
    """Make the document; what is not known is null."""
    document: dict[str, Any] = {
        "status": health.status.value,
        "reasons": [{"code": one.code, "message": one.sentence, "status": one.status.value} for one in health.reasons],
        "version": __version__,
        "now": spell_moment(now),
        "serving": {"since": spell_moment(serving.since), "files": serving.files},
        "mirror": None if standing is None else _mirror(standing, now),
    }
    if figures is not None:
        document["upstream"] = {
            "answers": figures.upstream.answers,
            "newest_success": _event(figures.upstream.newest_success, now),
            "newest_failure": _event(figures.upstream.newest_failure, now),
            "failure_code": figures.upstream.failure_code,
            "transfers": figures.transfers,
        }
    return document


def _failing(code: str, sentence: str) -> Complaint:
    return Complaint(code=code, sentence=sentence, status=Status.FAILING)


def _mirror(standing: Standing, now: datetime) -> dict[str, Any]:
    reached = standing.reached
    return {
        "looked_at": spell_moment(standing.at),
        "generation": standing.generation,
        "files": standing.whole.files,
        "projects": standing.whole.projects,
        "bytes": standing.whole.size,
        "crawl": _event(standing.crawled_at, now),
        "crawls": [
            {"upstream": one.upstream, "whole": one.whole, "pages": one.pages, "at": spell_moment(one.ended)}
            for one in reached.crawled
        ],
        "pages_read": _event(standing.pages_read, now),
        "verification": _verification(reached.verified, now),
        "sound_verification": _verification(reached.sound, now),
        "oldest_verified_file": _event(standing.oldest, now),
        "newest_verified_file": _event(standing.newest, now),
        "published": _event(reached.published, now),
        "import": _import(reached.imported, now),
        "disk": None
        if standing.drive is None
        else {"total": standing.drive.total, "free": standing.drive.free, "used": standing.drive.used},
        "drift": None
        if standing.drift is None
        else {what: sum(one.what == what for one in standing.drift) for what in ("reuploaded", "unlisted")},
    }


def _event(moment: datetime | None, now: datetime) -> dict[str, Any] | None:
    if moment is None:
        return None
    return {"at": spell_moment(moment), "age_seconds": max(0, round((now - moment).total_seconds()))}


def _import(imported: Imported | None, now: datetime) -> dict[str, Any] | None:
    event = None if imported is None else _event(imported.ended, now)
    if imported is None or event is None:
        return None
    return {
        **event,
        "bundle": imported.bundle,
        "lineage": imported.lineage,
        "counter": imported.counter,
        "created": spell_moment(imported.created),
        "brought": imported.brought,
    }


def _verification(verified: Verified | None, now: datetime) -> dict[str, Any] | None:
    event = None if verified is None else _event(verified.ended, now)
    if verified is None or event is None:
        return None
    return {
        **event,
        "files": verified.files,
        "files_read": verified.read,
        "deep": verified.deep,
        "findings": verified.findings,
    }


def health_page(kept: Kept, figures: Figures | None = None, *, stale_after: timedelta) -> LivePage:
    """Make the page of what is known whenever it is asked for."""

    def answer(question: Question) -> Answer:
        known, served = kept.current, kept.serving
        health = judge(known, served, figures, stale_after=stale_after)
        document = document_of(health, known, served, figures, now=question.now)
        return Answer(
            body=make_body("application/json", json.dumps(document, indent=1).encode() + b"\n"),
            status=HTTPStatus.OK if health.serves else HTTPStatus.SERVICE_UNAVAILABLE,
            cache_control="no-store",
        )

    return LivePage(answer=answer)
