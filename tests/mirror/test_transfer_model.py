"""Whole downloads of the state machine against a model of a server: any fault, any break, any number of runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.mirror.sidecar import Partial, parse_partial, render_partial
from pytorch_offline.mirror.transfer import (
    WORTHWHILE,
    Complete,
    Failed,
    Head,
    Receive,
    Send,
    SetAside,
    Transfer,
    Verify,
    Wait,
)
from tests.mirror.test_transfer import BROKEN, ONE, RETRY, TWO, begin, head, wanted

FILE = b"PK\x03\x04" + bytes(index % 251 for index in range(5 * WORTHWHILE))
FILE_SHA256 = hashlib.sha256(FILE).hexdigest()
CHANGED = b"PK\x03\x04" + bytes(index % 241 for index in range(4 * WORTHWHILE))


@dataclass
class ModelServer:
    """Serves one file as RFC 9110 says, but for what it is told to do wrong."""

    body: bytes = FILE
    etag: str | None = '"1"'
    log: list[str] = field(default_factory=list)

    def answer(self, request: Send, fault: str) -> tuple[Head, bytes]:
        self.log.append(fault)
        if fault == "change":
            self.body, self.etag = CHANGED, '"2"'
        headers = {"ETag": self.etag} if self.etag else {}
        ranged = request.headers.get("Range", "")
        guard = request.headers.get("If-Range")
        if fault == "503":
            return head(503, b""), b""
        if fault == "page":
            return head(200, b"<html>"), b"<html>"
        if ranged and fault != "whole" and guard in {None, self.etag}:
            start = int(ranged.removeprefix("bytes=").removesuffix("-"))
            total = len(self.body)
            if start >= total:
                return head(416, b"", Content_Range=f"bytes */{total}"), b""
            said = start + 1 if fault == "shift" else start
            body = self.body[start:]
            return (
                Head(
                    status=206,
                    headers=CaseInsensitiveDict(headers | {"Content-Range": f"bytes {said}-{total - 1}/{total}"}),
                    first=body[:8],
                ),
                body,
            )
        if fault != "no length":
            headers["Content-Length"] = str(len(self.body))
        return Head(status=200, headers=CaseInsensitiveDict(headers), first=self.body[:8]), self.body


@dataclass
class Loop:
    """The loop around the machine: bytes that it lets through go to ``disk``; a kill ends a run."""

    servers: dict[str, ModelServer]
    faults: list[tuple[str, int | None]]
    disk: bytearray = field(default_factory=bytearray)

    def run(self, transfer: Transfer) -> Transfer:
        for _ in range(2000):
            match transfer.step:
                case Complete() | Failed():
                    return transfer
                case Wait():
                    transfer = transfer.waited()
                case Verify():
                    transfer = transfer.hashed(hashlib.sha256(self.disk).hexdigest())
                case SetAside():
                    self.disk.clear()
                    transfer = transfer.set_aside()
                case Send() as step:
                    fault, cut = self.faults.pop(0) if self.faults else ("none", None)
                    if fault == "kill":
                        return transfer
                    transfer = self.exchange(transfer, step, fault, cut)
            assert transfer.position in {0, len(self.disk)}
            assert transfer.length is None or transfer.position <= transfer.length
        raise AssertionError("it does not end")

    def exchange(self, transfer: Transfer, step: Send, fault: str, cut: int | None) -> Transfer:
        if fault == "unreachable":
            return transfer.broke(UpstreamError("unreachable", "nobody there"))
        answer, body = self.servers[step.url].answer(step, fault)
        transfer = transfer.answered(answer)
        if not isinstance(transfer.step, Receive):
            return transfer
        assert transfer.step.start in {0, len(self.disk)}
        del self.disk[transfer.step.start :]
        body = body if cut is None else body[:cut]
        for start in range(0, len(body), WORTHWHILE):
            piece = body[start : start + WORTHWHILE]
            transfer = transfer.received(piece)
            if not isinstance(transfer.step, Receive):
                return transfer
            self.disk += piece
        return transfer.ended() if cut is None else transfer.broke(BROKEN)


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["none", "none", "none", "503", "page", "whole", "shift", "change", "no length", "unreachable", "kill"]
        ),
        st.none() | st.integers(0, len(FILE)),
    ),
    max_size=40,
)


@given(
    faults=FAULTS,
    published=st.booleans(),
    sized=st.booleans(),
    hosts=st.integers(1, 2),
    etag=st.sampled_from(['"1"', None, 'W/"1"']),
)
def test_interrupted_anywhere_any_number_of_times_it_ends_with_the_same_bytes_or_the_right_error(
    *, faults: list[tuple[str, int | None]], published: bool, sized: bool, hosts: int, etag: str | None
) -> None:
    servers = {url: ModelServer(etag=etag) for url in (ONE, TWO)[:hosts]}
    file = wanted(*servers, sha256=FILE_SHA256 if published else None, size=len(FILE) if sized else None)
    loop = Loop(servers=servers, faults=list(faults))
    partial: Partial | None = None
    ended: Complete | Failed | None = None
    while ended is None:  # each turn is a run of the program; a kill ends it
        transfer = Transfer.begin(file, partial, retry=RETRY)
        del loop.disk[transfer.position :]
        transfer = loop.run(transfer)
        # Only what was told to be in hand is written down; a kill keeps that much.
        partial = parse_partial(render_partial(transfer.partial)) if transfer.position else None
        if isinstance(transfer.step, Complete | Failed):
            ended = transfer.step
    seen = {fault for server in servers.values() for fault in server.log}
    if isinstance(ended, Complete):
        # Whatever happened: the file as it is or was, from its first byte to its last, and never a mixture.
        disk = bytes(loop.disk)
        assert disk in ({FILE} if published or sized else {FILE, CHANGED})
        assert ended.sha256 == hashlib.sha256(disk).hexdigest()
        assert ended.size == len(disk)
    else:
        assert isinstance(ended.error, UpstreamError | IntegrityError)
        assert faults, "nothing was wrong, and yet it failed"
        if isinstance(ended.error, IntegrityError):
            assert "change" in seen
        if ended.error.code == "not-a-wheel-body":
            assert "page" in seen


@given(cuts=st.lists(st.integers(1, len(FILE)), max_size=30))
def test_breaks_alone_never_lose_a_byte_nor_fetch_one_twice(cuts: list[int]) -> None:
    """Breaks that each bring enough to be worth it, however many, end with the file."""
    server = ModelServer()
    loop = Loop(servers={ONE: server}, faults=[("none", max(cut, WORTHWHILE)) for cut in cuts])
    transfer = loop.run(begin(sha256=FILE_SHA256))
    assert isinstance(transfer.step, Complete)
    assert bytes(loop.disk) == FILE
    assert len(server.log) <= len(FILE) // WORTHWHILE + 1
