"""One resumable download as a state machine: no sockets, no files, no clock.

A ``Transfer`` is a value that always has a ``step``, the one thing to do next. The loop (``download.py``) does it and
reports what came of it by calling a method, which gives the next ``Transfer``::

    Send    → answered(head) | broke(error)         ask an address, for everything or for the rest
    Receive → received(piece)… then ended() | broke(error)
    Wait    → waited()
    Verify  → hashed(digest)
    SetAside → set_aside()                          the bytes are not the published ones: keep them apart
    Complete, Failed                                the two ends

Invariants: ``position`` bytes from the start of the file are in hand, and never more than ``length``; ``ahead`` of
them may be others, of the same version, that a later answer only has to come up to. A body is only
ever appended where it says itself that it continues there. Bytes of two answers are joined only when a validator
guards the seam, or a published hash will judge the whole. Every loop ends: patience is renewed only by bytes beyond
the most ever held.

Sources: RFC 9110 sections 8.8 (validators), 13.1.5 (If-Range), 14 (ranges), 15 (status codes). One request is out at
a time, and while its answer lasts, further connections may bring what lies ahead (``parallel.py``): ``holding``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytorch_offline.addresses import origin, redacted, url_path
from pytorch_offline.byte_ranges import complete_length, parse_content_range, parse_unsatisfied_range
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.sidecar import Partial, Validator
from pytorch_offline.mirror.spans import WORTH_HELPING, count
from pytorch_offline.moments import parse_http_date
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.wheels.other_bodies import LOGIN_HINT, describe_body

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.mirror.spans import Spans

# A wheel is a zip with members: it starts with a local file header (APPNOTE.TXT, section 4.3.7).
WHEEL_MAGIC = b"PK\x03\x04"
# More than ten times the largest file that upstream has served (2.5 GB), against bodies that never end.
MAX_LENGTH = 32 * 1024**3
# Tries in a row that bring nothing: a minute of waiting at most, or half a minute each time that a server asks for.
PATIENCE = RetryPolicy(tries=8)
# A try that brought this much was worth it, and patience starts anew. Less would let a server that cuts every
# connection after a few bytes hold us for as many connections as the file has bytes.
WORTHWHILE = 64 * 1024

# S3 answers 403 for what does not exist.
_ABSENT = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
ABSENT_HINT = (
    "upstream may have removed it: `pytorch-offline drift` shows what disappeared, --why-not what else there is; "
    "where a proxy or a company's firewall refuses it, see docs/network.md"
)
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# Codings that change the bytes; S3-compatible stores also say "aws-chunked" of files that are as they were uploaded.
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
# Asking again does not mend these.
_LASTING = frozenset({"bad-url", "tls-error", "bad-redirect", "bad-proxy", "proxy-refused"})
# A host that was alive and fell silent, or nearly so, is in trouble whatever it gave before: another one is asked.
STALLED = "stalled"
# A Last-Modified date is a strong validator only if the file could not have changed again within the same second
# (RFC 9110, section 8.8.2.2; the minute is that of RFC 7232, which allows for clocks that differ).
_DATE_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of an answer (headers case-insensitive), with the first bytes of its body, if it has any."""

    status: int
    headers: Mapping[str, str]
    first: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Ask ``url`` with ``headers``; then ``answered`` or ``broke``."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    """Take the body from byte ``start`` of the file on; what was held beyond is void.

    Before each piece is written ``received``; at the end ``ended`` or ``broke``.
    """

    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait as the retry policy says after ``failures``, or as the server's ``retry_after`` header; then ``waited``."""

    failures: int
    retry_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """All bytes are in hand: take their sha256, then ``hashed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """The bytes in hand are whole and wrong: keep them apart for whoever wants to know, then ``set_aside``."""

    error: IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The bytes in hand are the file. ``url`` is the address that gave (the last of) them, ``seen`` what it said."""

    url: str
    sha256: str
    size: int
    seen: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Nothing is left to try. What is in hand may still be continued by a later run."""

    error: PytorchOfflineError


Step = Send | Receive | Wait | Verify | SetAside | Complete | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Where one download stands, and its next ``step``.

    Args:
        filename: for messages.
        urls: the addresses still in the race, the one in use first.
        sha256: the published hash, or None.
        size: the published size, or None.
        step: what to do next.
        retry: how many tries may bring nothing (per address).
        position: how many bytes from the start are in hand.
        ahead: what is in hand beyond them.
        length: the file's size as published, else as the present version's server says.
        validator: guards the seam when the rest is asked for.
        joined: whether the bytes in hand came from more than one answer, so that a wrong hash may be the seam's fault.
        restarted: whether a wrong hash has led to one clean start already.
        failures: tries in a row that brought nothing worthwhile.
        gaining: whether the present try has brought something.
        furthest: the most bytes ever held when patience was last renewed.
        dropped: why addresses have left the race.
        trouble: what went wrong last.
        seen: headers of the last answer that are worth telling if the bytes are wrong.
        upload_time: as the index said it, for messages.
    """

    filename: str
    urls: tuple[str, ...]
    sha256: str | None
    size: int | None
    step: Step
    retry: RetryPolicy = PATIENCE
    position: int = 0
    ahead: Spans = ()
    length: int | None = None
    validator: Validator | None = None
    joined: bool = False
    restarted: bool = False
    failures: int = 0
    gaining: bool = False
    furthest: int = 0
    dropped: tuple[PytorchOfflineError, ...] = ()
    trouble: PytorchOfflineError | None = None
    seen: Mapping[str, str] = field(default_factory=dict)
    upload_time: str | None = None

    @classmethod
    def begin(cls, wanted: WantedFile, partial: Partial | None = None, *, retry: RetryPolicy = PATIENCE) -> Transfer:
        """Start, or go on from what an earlier run left, if that is of the same file.

        ``wanted.urls`` must not be empty.
        """
        transfer = cls(
            filename=wanted.name.filename,
            urls=wanted.urls,
            sha256=wanted.sha256,
            size=wanted.size,
            length=wanted.size,
            retry=retry,
            step=Send(url=wanted.urls[0]),
            upload_time=wanted.upload_time,
        )
        if partial is None or not partial.begins(wanted):
            return transfer
        held = replace(
            transfer,
            urls=_as_begun(wanted, partial),
            position=partial.completed,
            ahead=partial.ahead,
            furthest=partial.completed + count(partial.ahead),
            length=wanted.size if wanted.size is not None else partial.length,
            validator=partial.validator,
            joined=True,
        )
        if held.position == held.length:
            return replace(held, step=Verify())
        return _asking(held)

    @property
    def partial(self) -> Partial:
        """What to write down about the bytes in hand, once they are safely on disk."""
        return Partial(
            url_path=url_path(self.urls[0]),
            sha256=self.sha256,
            length=self.length,
            validator=self.validator,
            completed=self.position,
            ahead=self.ahead,
        )

    @property
    def in_hand(self) -> int:
        """Count the bytes that are here."""
        return self.position + count(self.ahead)

    @property
    def gap(self) -> int:
        """How many bytes are missing before what is ahead, or before the end."""
        return (self.ahead[0][0] if self.ahead else self.length or MAX_LENGTH) - self.position

    def answered(self, head: Head) -> Transfer:
        """Judge the head of an answer to ``Send``."""
        url = self.urls[0]
        status = head.status
        if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            asked = head.headers.get("Retry-After")
            told = {"status": status} if asked is None else {"status": status, "retry_after": asked}
            error = UpstreamError("server-error", f"{redacted(url)} answers {status}", facts=_facts(self, **told))
            return _faltered(self, error, retry_after=asked)
        if status in _ABSENT:
            answer = "" if url.startswith("file:") else f": the server answers {status}"
            error = UpstreamError(
                "file-absent",
                f"{redacted(url)} is not there{answer}",
                facts=_facts(self, status=status),
                hint=ABSENT_HINT,
            )
            return _drop(self, error)
        ranged = isinstance(self.step, Send) and "Range" in self.step.headers
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and ranged:
            return _beyond_the_end(self, head)
        if status == HTTPStatus.OK or (status == HTTPStatus.PARTIAL_CONTENT and ranged):
            if is_compressed(head.headers):
                coding = head.headers["Content-Encoding"]
                message = f"{redacted(url)} came encoded as {coding}, although that was not asked for"
                return _drop(self, UpstreamError("encoded-body", message, facts=_facts(self, status=status)))
            return _started(self, head) if status == HTTPStatus.OK else _continued(self, head)
        message = f"{redacted(url)} answers {status}, which is neither the file nor a known refusal"
        return _drop(self, UpstreamError("unexpected-status", message, facts=_facts(self, status=status)))

    def received(self, piece: bytes | bytearray) -> Transfer:
        """Count a piece of the body; unless the next step is ``Receive`` still, the piece must not be written."""
        end = self.position + len(piece)
        limit = MAX_LENGTH if self.length is None else self.length
        if end > limit:
            message = f"{redacted(self.urls[0])} gives more than the {limit} bytes that the file should have"
            return _drop(self, IntegrityError("size-mismatch", message, facts=_facts(self, expected=limit)))
        in_hand = end + count(self.ahead)
        if in_hand - self.furthest >= WORTHWHILE:
            return replace(self, position=end, furthest=in_hand, failures=0, gaining=True)
        return replace(self, position=end)

    def ended(self) -> Transfer:
        """Take note that the body ended as its framing said it would."""
        if self.length is None or self.position == self.length:
            return replace(self, length=self.position, step=Verify())
        message = f"{redacted(self.urls[0])} ended after {self.position} of {self.length} bytes"
        return _faltered(self, UpstreamError("transfer-broken", message, facts=_facts(self)))

    def broke(self, error: UpstreamError) -> Transfer:
        """Take note that no answer came, or that its body broke off."""
        if isinstance(self.step, Receive) and self.position == self.length:
            return replace(self, step=Verify())  # it broke after the last byte: nothing is missing
        if error.code in _LASTING:
            return _drop(self, error)
        return _faltered(self, error)

    def holding(self, position: int, ahead: Spans) -> Transfer:
        """Take note of all that several connections have brought while this answer lasted (``parallel.py``)."""
        here = replace(self, position=position, ahead=ahead if position > 0 else (), joined=True)
        if here.in_hand - self.furthest >= WORTHWHILE:
            return replace(here, furthest=here.in_hand, failures=0, gaining=True)
        return here

    def met(self) -> Transfer:
        """Go on behind what is in hand ahead, if the bytes before it are complete now."""
        if not self.ahead or self.position < self.ahead[0][0]:
            return self
        here = replace(self, position=self.ahead[0][1], ahead=self.ahead[1:], joined=True)
        return replace(here, step=Verify()) if here.position == here.length else _asking(here)

    def waited(self) -> Transfer:
        """Go on after ``Wait``."""
        return _asking(self)

    def hashed(self, digest: str) -> Transfer:
        """Compare the sha256 (lower-case hex) of all bytes in hand with the published one."""
        if self.sha256 is None or digest == self.sha256:
            return replace(self, step=Complete(url=self.urls[0], sha256=digest, size=self.position, seen=self.seen))
        if self.joined and not self.restarted:
            # The bytes of some earlier version, or of another host, may be among them: once more, from one answer.
            return _asking(replace(_emptied(self), restarted=True))
        facts = _facts(self, published=self.sha256, actual=digest, size=self.position, **self.seen)
        if self.upload_time is not None:
            facts["upload-time"] = self.upload_time
        message = f"the bytes of {self.filename} are not those that its index published"
        error = IntegrityError(
            "hash-mismatch",
            message,
            facts=facts,
            hint="the file was replaced upstream after its page was read, or the way to it alters files: run the "
            "same command again, by another way if there is one; if that does not help, tell the index's owners",
        )
        return replace(self, step=SetAside(error=error))

    def set_aside(self) -> Transfer:
        """Go on after ``SetAside``: from nothing, at the next address, if there is one."""
        if not isinstance(self.step, SetAside):
            return self
        return _drop(_emptied(self), self.step.error)


def _started(transfer: Transfer, head: Head) -> Transfer:
    """Judge a 200: the whole file from its first byte, whatever was asked for."""
    url = transfer.urls[0]
    declared = complete_length(head.status, head.headers)
    if not head.first:
        message = f"{redacted(url)} gave an empty body"
        return _faltered(transfer, UpstreamError("transfer-broken", message, facts=_facts(transfer)))
    if not head.first.startswith(WHEEL_MAGIC):
        kind = head.headers.get("Content-Type", "unknown")
        error = UpstreamError(
            "not-a-wheel-body",
            f"{redacted(url)} gave no wheel but {describe_body(head.first, kind)}",
            facts=_facts(transfer, content_type=kind, starts_with=repr(head.first[:80])),
            hint=LOGIN_HINT,
        )
        return _drop(transfer, error)
    if _of_another_host(transfer) and declared is not None and transfer.length not in {None, declared}:
        message = f"{redacted(url)} has {declared} bytes, but the host that began this file said {transfer.length}"
        return _drop(transfer, UpstreamError("hosts-differ", message, facts=_facts(transfer)))
    if transfer.size is not None and declared is not None and declared != transfer.size:
        message = f"{redacted(url)} has {declared} bytes, but the index published {transfer.size}"
        return _drop(
            transfer, IntegrityError("size-mismatch", message, facts=_facts(transfer, published=transfer.size))
        )
    if declared is not None and declared > MAX_LENGTH:
        message = f"{redacted(url)} says that it has {declared} bytes, more than any wheel"
        return _drop(transfer, UpstreamError("too-large", message, facts=_facts(transfer, limit=MAX_LENGTH)))
    return replace(
        transfer,
        position=0,
        ahead=(),
        length=transfer.size if transfer.size is not None else declared,
        validator=validator_of(url, head),
        joined=False,
        seen=_worth_telling(head),
        step=Receive(start=0),
    )


def _continued(transfer: Transfer, head: Head) -> Transfer:
    """Judge a 206: it must continue exactly where we stand, in the same file."""
    url = transfer.urls[0]
    said = head.headers.get("Content-Range", "")
    span = parse_content_range(head.headers)
    current = validator_of(url, head)
    problem: str | None = None
    if span is None or span.first != transfer.position:
        problem = f"answers bytes {transfer.position}- with Content-Range {said!r}"
    elif span.total is not None and transfer.length is not None and span.total != transfer.length:
        problem = f"has {span.total} bytes now, not {transfer.length}"
    elif _guarded(transfer) and current is not None and current != transfer.validator:
        problem = "answers with another version of the file"
    if problem is not None:
        error = UpstreamError("bad-range", f"{redacted(url)} {problem}", facts=_facts(transfer, content_range=said))
        return _faltered(_emptied(transfer), error)
    total = span.total if span is not None else None
    return replace(
        transfer,
        length=transfer.length if total is None else total,
        validator=current or transfer.validator,
        joined=True,
        seen=_worth_telling(head),
        step=Receive(start=transfer.position),
    )


def _beyond_the_end(transfer: Transfer, head: Head) -> Transfer:
    """Judge a 416: either the file ends where we stand, whatever was said before, or it is another file."""
    total = parse_unsatisfied_range(head.headers)
    if total == transfer.position and transfer.size in {None, transfer.position}:
        return replace(transfer, ahead=(), length=transfer.position, joined=True, step=Verify())
    message = f"{redacted(transfer.urls[0])} has nothing from byte {transfer.position} on"
    return _faltered(
        _emptied(transfer), UpstreamError("bad-range", message, facts=_facts(transfer, status=head.status))
    )


def _of_another_host(transfer: Transfer) -> bool:
    """Say whether what is in hand came from another host, with nothing published to compare the two by."""
    return transfer.sha256 is None and transfer.validator is not None and not _guarded(transfer)


def _guarded(transfer: Transfer) -> bool:
    return transfer.validator is not None and transfer.validator.origin == origin(transfer.urls[0])


def _joinable(transfer: Transfer) -> bool:
    """Say whether the present address may go on with what is in hand: a validator or a published hash judges that."""
    return transfer.position > 0 and (_guarded(transfer) or transfer.sha256 is not None)


def _asking(transfer: Transfer) -> Transfer:
    """Ask the present address for what is missing, for everything if nothing would guard the seam.

    What is in hand stays until an answer takes its place: it may yet be continued where it came from.
    """
    here = transfer if transfer.validator is not None or _joinable(transfer) else _emptied(transfer)
    headers: dict[str, str] = {}
    if _joinable(here):
        headers["Range"] = f"bytes={here.position}-{_last_byte(here)}"
        if _guarded(here) and here.validator is not None:
            headers["If-Range"] = here.validator.value
    return replace(here, gaining=False, step=Send(url=here.urls[0], headers=headers))


def _last_byte(transfer: Transfer) -> str:
    """Say up to where to ask: no further than the gap if little is missing, so that the connection can be used again.

    Where much is missing the answer goes on, because other connections may bring what lies behind the gap, or not.
    """
    if not transfer.ahead or (transfer.length or MAX_LENGTH) - transfer.in_hand >= WORTH_HELPING:
        return ""
    return str(transfer.ahead[0][0] - 1)


def _as_begun(wanted: WantedFile, partial: Partial) -> tuple[str, ...]:
    """Put the address first where the bytes in hand came from, if nowhere else could continue them."""
    if wanted.sha256 is not None or partial.validator is None:
        return wanted.urls
    begun = partial.validator.origin
    return tuple(sorted(wanted.urls, key=lambda url: origin(url) != begun))


def _emptied(transfer: Transfer) -> Transfer:
    return replace(transfer, position=0, ahead=(), length=transfer.size, validator=None, joined=False)


def _faltered(transfer: Transfer, error: PytorchOfflineError, *, retry_after: str | None = None) -> Transfer:
    """Try again: here if this try brought something, else at the next address; wait once all had their turn."""
    failures = transfer.failures + 1
    if failures >= transfer.retry.tries * len(transfer.urls):
        error.facts.update({"tries": failures, "in_hand": transfer.position})
        again = "run the same command again: it continues where this one stopped"
        error.hint = f"{again}; {error.hint}" if error.hint else again
        return _failed(transfer, error)
    stays = _stays(transfer, error, failures)
    urls = transfer.urls if stays else (*transfer.urls[1:], transfer.urls[0])
    here = replace(transfer, urls=urls, failures=failures, trouble=error)
    if stays or failures % len(urls) == 0:
        return replace(here, step=Wait(failures=max(1, failures // len(urls)), retry_after=retry_after))
    return _asking(here)


def _stays(transfer: Transfer, error: PytorchOfflineError, failures: int) -> bool:
    """Say whether the present address is asked once more before the next one has its turn."""
    if transfer.position > 0 and transfer.sha256 is None and _guarded(transfer):
        # Nowhere else can what is in hand be continued: this address uses up all its tries first. Once: the others,
        # where the file would start again, have their turns then.
        return failures < transfer.retry.tries
    return transfer.gaining and error.code != STALLED


def _drop(transfer: Transfer, error: PytorchOfflineError) -> Transfer:
    """Leave the present address for good."""
    if len(transfer.urls) == 1:
        return _failed(transfer, error)
    dropped = (*transfer.dropped, error)
    return _asking(replace(transfer, urls=transfer.urls[1:], dropped=dropped, trouble=error, restarted=False))


def _failed(transfer: Transfer, error: PytorchOfflineError) -> Transfer:
    """End with the worst of what was seen; the rest of it becomes a fact."""
    errors = sorted((*transfer.dropped, error), key=_severity)
    worst = errors.pop()
    if errors:
        worst.facts["also"] = [f"{other.code}: {other.message}" for other in errors]
    return replace(transfer, step=Failed(error=worst))


def _facts(transfer: Transfer, **facts: object) -> dict[str, object]:
    return {"file": transfer.filename, "url": redacted(transfer.urls[0]), **facts}


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Say whether an answer's body is not the bytes that were asked for, but a coding of them."""
    return not _COMPRESSIONS.isdisjoint(headers.get("Content-Encoding", "").lower().replace(",", " ").split())


def validator_of(url: str, head: Head) -> Validator | None:
    """Take the strong validator of an answer, if it has one."""
    etag = head.headers.get("ETag", "").strip()
    if len(etag) > 1 and etag.startswith('"') and etag.endswith('"'):  # weak ones start with W/
        return Validator(origin=origin(url), value=etag)
    changed, sent = _date(head, "Last-Modified"), _date(head, "Date")
    if etag or changed is None or sent is None or sent - changed < _DATE_MARGIN:
        return None
    return Validator(origin=origin(url), value=head.headers["Last-Modified"].strip())


def _date(head: Head, name: str) -> datetime | None:
    moment = parse_http_date(head.headers.get(name))
    return None if moment is None or moment.tzinfo is None else moment


def _worth_telling(head: Head) -> dict[str, str]:
    return {name.lower(): head.headers[name] for name in ("Last-Modified", "ETag", "Date") if name in head.headers}


def _severity(error: PytorchOfflineError) -> int:
    """Order errors by what the user must hear first: wrong bytes, then trouble, then a file that is just not there."""
    if isinstance(error, IntegrityError):
        return 2
    return 0 if error.code == "file-absent" else 1
