"""What can go wrong with a download, and the rule that says what must come of it.

The rule is derived from what a fault does to an answer, what was published, how many hosts there are and how long the
fault lasts; never from what the downloader was seen to do. See ``fault_matrix.py``, which carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from pytorch_offline.simulator import faults, http_faults
from pytorch_offline.simulator.answers import Framing
from pytorch_offline.simulator.bodies import MemoryBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytorch_offline.simulator.answers import Answer
    from pytorch_offline.simulator.faults import Fault

KIB64 = 64 * 1024
# What a run may find from an earlier one: bytes from the start, and (several connections) a span beyond a gap.
HELD = 150_000
AHEAD = (230_000, 300_000)


class Effect(Enum):
    """What a fault does to the answer that it strikes."""

    NOTHING = "the answer is as good as a sound one"
    BREAKS = "it ends early or never comes, and what came of it is right"
    REFUSES = "it shows that this address cannot give the file"
    PARTS = "only answers with a part of the file are wrong, and say so"
    SECRETLY = "only answers with a part of the file are wrong, and no header shows it"
    BYTES = "bytes of the file are wrong, and no header shows it"
    LONGER = "it announces more bytes than it has"
    SHORTER = "it announces fewer bytes than it has"
    REPLACED = "it breaks off, and from then on there is another file at the address"


class Duration(StrEnum):
    """Which requests a fault strikes."""

    ONCE = "once"
    THIRD = "all but every third"
    FIRST_HOST = "always, on the first host"
    BACK = "always on the first host, and two requests long on the second"
    EVERYWHERE = "always"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One fault at one offset.

    Args:
        name: what it is.
        effect: what it does.
        code: the error's, if it lasts.
        faults: what to switch on.
        offset: after how many bytes of the answer it strikes, if that matters.
    """

    name: str
    effect: Effect
    code: str
    faults: tuple[Fault, ...]
    offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell of the matrix.

    Args:
        trouble: what goes wrong.
        duration: for how long.
        published: whether the index published sha256 and size.
        hosts: one or two.
        connections: how many may be used.
        resumed: whether an earlier run left a part.
        skip: how many requests go by before the first is struck (``ONCE`` alone).
    """

    trouble: Trouble
    duration: Duration
    published: bool
    hosts: int
    connections: int
    resumed: bool
    skip: int = 0

    @property
    def name(self) -> str:
        words = [self.trouble.name, self.duration.value, f"{self.hosts} hosts", f"{self.connections} connections"]
        words += ["published" if self.published else "unpublished", "resumed" if self.resumed else "fresh"]
        return ", ".join([*words, *([f"request {self.skip + 1}"] if self.skip else [])])


@dataclass(frozen=True, kw_only=True)
class InParts:
    """A fault of answers with a part of the file alone."""

    fault: Fault

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return self.fault.apply(answer) if answer.status == 206 else answer


@dataclass(frozen=True, kw_only=True)
class Stale:
    """Bytes of another file of the same length, under the headers of the right one."""

    body: bytes

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        return replace(answer, body=MemoryBody(self.body))


SUCCESS = "the right bytes"


def must_come(case: Case, struck: Sequence[bool | None]) -> set[str]:
    """Say what may come of a case: ``SUCCESS``, or codes of errors.

    Args:
        case: the case.
        struck: for each answer that was spoilt, whether it was a part for a further connection; None if nobody knows.
    """
    if case.skip and None in struck:
        return must_come(case, [True]) | must_come(case, [False])
    effect, code = _effect(case, struck)
    once = case.duration is Duration.ONCE
    sound_elsewhere = case.hosts > 1 and case.duration in {Duration.ONCE, Duration.FIRST_HOST, Duration.BACK}
    # Whoever brings 64 KiB with each answer brings the file in the end.
    advancing = case.trouble.offset is not None and case.trouble.offset >= KIB64
    match effect:
        case Effect.BREAKS:
            succeeds = once or case.duration is Duration.THIRD or sound_elsewhere or advancing
        case Effect.REFUSES:
            succeeds = sound_elsewhere
        case Effect.REPLACED:
            # Where a further connection broke off, the first may have the old file still.
            wrong = {"size-mismatch", "hash-mismatch"}
            return (wrong | {SUCCESS} if case.skip else wrong) if case.published else {SUCCESS}
        case Effect.BYTES | Effect.SECRETLY:
            # Where nothing was published the gate says so, which reads every wheel to its end. Else another host, or
            # one clean answer, is right; but what came from one answer is known to be wrong.
            succeeds = case.published and (effect is Effect.SECRETLY or sound_elsewhere or (once and case.resumed))
            code = code if case.published else "bad-wheel"
            if once and case.connections > 1 and not succeeds:
                return {SUCCESS, code}  # a connection may be let go before the wrong byte
        case _:
            succeeds = True
    return {SUCCESS} if succeeds else {code}


def _effect(case: Case, struck: Sequence[bool | None]) -> tuple[Effect, str]:
    """Say what a trouble amounts to in a case, and which error it is if it lasts."""
    effect, code = case.trouble.effect, case.trouble.code
    if not struck:
        return Effect.NOTHING, code
    if effect not in {Effect.BYTES, Effect.SECRETLY} and case.duration is Duration.ONCE and all(struck):
        return Effect.NOTHING, code  # further connections are expendable
    if effect in {Effect.LONGER, Effect.SHORTER}:
        if case.resumed:  # the length is known: a wrong one breaks the answer off, or changes nothing
            return (Effect.BREAKS, "transfer-broken") if effect is Effect.SHORTER else (Effect.NOTHING, code)
        if case.published:
            return Effect.REFUSES, code
        return (Effect.BYTES if effect is Effect.SHORTER else Effect.NOTHING), code
    return effect, code


def troubles(size: int, other: bytes) -> Iterator[Trouble]:
    """Give every fault at every offset, for a file of ``size`` bytes; ``other`` are other bytes than its own."""
    middle = size // 2 + 17
    offsets = {"at once": 0, "after a byte": 1, "after 64 KiB": KIB64, "in the middle": middle}
    offsets |= {"before the last byte": size - 1, "after the last byte": size}
    breaking: dict[str, tuple[Callable[[int], Fault], str]] = {
        "reset": (lambda at: faults.Reset(offset=at), "transfer-broken"),
        "cut": (lambda at: faults.Truncate(offset=at), "transfer-broken"),
        "stall": (lambda at: faults.Stall(offset=at), "stalled"),
    }
    for name, (make, code) in breaking.items():
        for where, at in offsets.items():
            effect = Effect.NOTHING if at == size else Effect.BREAKS
            yield Trouble(name=f"{name} {where}", effect=effect, code=code, faults=(make(at),), offset=at)
            if name == "cut":
                framed = (http_faults.Framed(), make(at))
                yield Trouble(name=f"{name} {where} in chunks", effect=effect, code=code, faults=framed, offset=at)
    yield from _answers_that_break()
    yield from _refusals()
    yield from _other_parts(size)
    yield from _wrong_bytes(size, other)
    yield from _harmless()
    yield from _lengths_and_changes(size, other)


def _answers_that_break() -> Iterator[Trouble]:
    named: dict[str, tuple[str, Fault]] = {
        "reset before an answer": ("transfer-broken", faults.Reset()),
        "silence": ("transfer-broken", http_faults.Silent()),
        "trickle": ("stalled", faults.Slow(bytes_per_second=20)),
        "a byte per second": ("stalled", faults.Slow(bytes_per_second=1)),
        "an empty body": ("transfer-broken", faults.Empty()),
        **{f"status {code}": ("server-error", faults.Status(code=code)) for code in (408, 425, 429, 500, 503)},
        "status 503, asks to return": ("server-error", faults.Status(code=503, retry_after="0")),
        "status 503, asks to return next year": (
            "server-error",
            faults.Status(code=503, retry_after="Thu, 01 Jan 2099 00:00:00 GMT"),
        ),
        "status 429, nonsense": ("server-error", faults.Status(code=429, retry_after="soon")),
    }
    for name, (code, fault) in named.items():
        yield Trouble(name=name, effect=Effect.BREAKS, code=code, faults=(fault,))


def _refusals() -> Iterator[Trouble]:
    named: dict[str, tuple[str, Fault]] = {
        **{f"status {code}": ("file-absent", faults.Status(code=code)) for code in (403, 404, 410)},
        **{f"status {code}": ("unexpected-status", faults.Status(code=code)) for code in (204, 401, 418)},
        "a challenge": ("not-a-wheel-body", faults.Challenge()),
        "a page as application/octet-stream": ("not-a-wheel-body", http_faults.Page()),
        "a redirect loop": ("bad-redirect", http_faults.Redirect(location="/loop")),
        "a redirect to a login page": ("not-a-wheel-body", http_faults.Redirect(location="/login")),
        "a redirect out of the network": ("bad-redirect", http_faults.Redirect(location="file:///etc/passwd")),
        "gzip": ("encoded-body", http_faults.Gzipped()),
        "gzip in name alone": ("encoded-body", http_faults.Gzipped(coded=False)),
    }
    for name, (code, fault) in named.items():
        yield Trouble(name=name, effect=Effect.REFUSES, code=code, faults=(fault,))


def _other_parts(size: int) -> Iterator[Trouble]:
    named: dict[str, tuple[Fault, ...]] = {
        "200 to a range": (faults.IgnoreRange(),),
        "Content-Range a byte late": (faults.WrongContentRange(shift=1),),
        "Content-Range a byte early": (faults.WrongContentRange(shift=-1),),
        "Content-Range with a larger total": (faults.WrongContentRange(shift=0, total=size + 7),),
        "Content-Range with a smaller total": (faults.WrongContentRange(shift=0, total=size - 7),),
        "no Content-Range": (http_faults.Without(name="Content-Range"),),
        "another part, further on": (http_faults.OtherPart(shift=100),),
        "another part, further back": (http_faults.OtherPart(shift=-100),),
        "multipart": (http_faults.Multipart(),),
        "416": (http_faults.Unsatisfied(),),
        "416 with the length": (http_faults.Unsatisfied(total=size),),
        "416 with another length": (http_faults.Unsatisfied(total=7),),
        "an ETag that changes": (http_faults.Restless(),),
        "a date that changes, no ETag": (http_faults.Without(name="ETag"), http_faults.Restless(name="Last-Modified")),
        "no validator": (http_faults.Without(name="ETag"), http_faults.Without(name="Last-Modified")),
    }
    for name, several in named.items():
        yield Trouble(name=name, effect=Effect.PARTS, code="bad-range", faults=several)
    yield Trouble(
        name="wrong part under right headers",
        effect=Effect.SECRETLY,
        code="hash-mismatch",
        faults=(faults.WrongPart(shift=1000),),
    )
    yield Trouble(
        name="wrong bytes in parts",
        effect=Effect.SECRETLY,
        code="hash-mismatch",
        faults=(InParts(fault=faults.WrongBytes(positions=tuple(range(5_000, size - 1_000, 10_000)))),),
    )


def _wrong_bytes(size: int, other: bytes) -> Iterator[Trouble]:
    places = {"near the start": 100, "at 64 KiB": KIB64, "in the middle": size // 2, "in the last byte": size - 1}
    for where, at in places.items():
        fault = faults.WrongBytes(positions=(at,))
        yield Trouble(name=f"flip {where}", effect=Effect.BYTES, code="hash-mismatch", faults=(fault,), offset=at)
    yield Trouble(
        name="flip in the first byte",
        effect=Effect.REFUSES,
        code="not-a-wheel-body",
        faults=(faults.WrongBytes(positions=(0,)),),
    )
    yield Trouble(
        name="another file under the same headers",
        effect=Effect.BYTES,
        code="hash-mismatch",
        faults=(Stale(body=other[:size].ljust(size, b"\0")),),
    )


def _harmless() -> Iterator[Trouble]:
    named: dict[str, tuple[Fault, ...]] = {
        "chunks": (http_faults.Framed(),),
        "an end without a length": (http_faults.Framed(framing=Framing.CLOSE),),
        "a clock in 1970": (faults.Header(name="Date", value="Thu, 01 Jan 1970 00:00:00 GMT"),),
        "a clock in 2099": (faults.Header(name="Date", value="Thu, 01 Jan 2099 00:00:00 GMT"),),
        "a date that is none": (faults.Header(name="Last-Modified", value="yesterday"),),
        "a weak ETag": (faults.Header(name="ETag", value='W/"x"'),),
        "a redirect to where it is": (http_faults.Redirect(location="/elsewhere"),),
        "parts of 80 KB": (http_faults.OtherPart(longest=80_000),),
    }
    for name, several in named.items():
        yield Trouble(name=name, effect=Effect.NOTHING, code="", faults=several)


def _lengths_and_changes(size: int, other: bytes) -> Iterator[Trouble]:
    named: dict[str, tuple[Effect, Fault]] = {
        "Content-Length too large": (Effect.LONGER, faults.LyingLength(delta=10)),
        "Content-Length too small": (Effect.SHORTER, faults.LyingLength(delta=-10)),
        "more than Content-Length": (Effect.SHORTER, http_faults.Spilling(surplus=10)),
        "replaced at once": (Effect.REPLACED, faults.Changed(body=other)),
        "replaced in the middle": (Effect.REPLACED, faults.Changed(body=other, offset=size // 2)),
    }
    for name, (effect, fault) in named.items():
        yield Trouble(name=name, effect=effect, code="size-mismatch", faults=(fault,))
