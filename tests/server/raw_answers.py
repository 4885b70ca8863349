"""Bytes sent as they are, and answers read strictly: what a server does with requests that no library would send."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 10.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (?P<status>[1-5]\d\d) [\x20-\x7e]*")
_FIELD = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(?P<value>[\x20-\x7e\t]*)")
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d+)-(?P<last>\d+)/(?P<size>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, as it stands on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# How what is no page and no file begins: what was refused before it was known to be a HEAD.
_SENTENCES = (b"Bad ", b"Request", b"URI", b"Length", b"HTTP Version", b"Not Impl")


class BadAnswerError(AssertionError):
    """An answer that HTTP does not know."""


def converse(
    port: int, sent: bytes, *, pieces: Sequence[int] = (), half_close: bool = True, seconds: float = LONGEST
) -> tuple[bytes, bool]:
    """Send bytes, and receive until the other side closes.

    Args:
        port: on loopback.
        sent: what is sent.
        pieces: where it is cut into several writes.
        half_close: whether nothing more can come after it, as the server is told then.
        seconds: how long to wait for each piece of the answer.

    Returns:
        What was received, and whether it ended by a reset.

    Raises:
        TimeoutError: the other side neither answers nor closes.
    """
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for start, stop in zip((0, *pieces), (*pieces, len(sent)), strict=True):
                connection.sendall(sent[start:stop])
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # it was answered before it was whole
        try:
            while piece := connection.recv(262_144):
                received += piece
        except ConnectionResetError:
            return bytes(received), True
    return bytes(received), False


def asks_for_heads(sent: bytes) -> bool:
    """Say whether a request is a HEAD; line ends may stand before it (RFC 9112, section 2.2)."""
    return sent.lstrip(b"\r\n").startswith(b"HEAD ")


def parse_answers(received: bytes, sent: bytes) -> list[Answer]:
    """Read answers, strictly.

    Args:
        received: everything that came.
        sent: the request, or several that differ in what is asked for alone: whether there is content is told by it.

    Raises:
        BadAnswerError: it is not HTTP, or not whole.
    """
    answers: list[Answer] = []
    headless = asks_for_heads(sent)
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            raise BadAnswerError(f"no end of headers: {received[:200]!r}")
        status, headers = _parse_head(head)
        if status < 200:
            received = rest
            continue
        length = int(headers.get("content-length", "0"))
        if status in {204, 304} or (headless and not rest.startswith(_SENTENCES)):
            length = 0  # an answer to HEAD has no content, but that to bad syntax may have, and to what follows it
        elif "content-length" not in headers:
            raise BadAnswerError(f"no length: {head[:300]!r}")
        if len(rest) < length:
            raise BadAnswerError(f"{len(rest)} of {length} bytes came: {head[:300]!r}")
        answers.append(Answer(status=status, headers=headers, body=rest[:length]))
        received = rest[length:]
    return answers


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise BadAnswerError(f"no status line: {first[:200]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadAnswerError(f"no header: {line[:200]!r}")
        name = field["name"].decode().lower()
        if name in headers and name in {"content-length", "content-type", "content-range", "etag", "location"}:
            raise BadAnswerError(f"twice: {line[:200]!r}")
        headers[name] = field["value"].decode()
    return int(status_line["status"]), headers


def check_bytes(answer: Answer, known: Mapping[str, bytes], *, headless: bool) -> None:
    """Check that an answer's content is that of which it has the ETag, or the part of it that it says.

    Args:
        answer: with content or a part of it.
        known: bytes by their ETag.
        headless: whether HEAD was asked.
    """
    if answer.status not in {200, 206} or headless:
        return
    etag = answer.headers.get("etag", "")
    if not etag:
        return  # a page that is made for each request
    whole = known.get(etag)
    if answer.status == 200:
        plain = answer.headers.get("content-encoding") != "gzip"
        content = answer.body if plain else gzip.decompress(answer.body)
        if f'"{hashlib.sha256(content).hexdigest()}{"" if plain else "-gzip"}"' != etag:
            raise BadAnswerError(f"other bytes than the ETag says: {answer.headers}")
        return
    if whole is None:
        if "last-modified" in answer.headers:
            raise BadAnswerError(f"a part of something unknown: {answer.headers}")
        return  # of a page that is made for each request
    for stated, part in _parts(answer):
        match = _CONTENT_RANGE.fullmatch(stated)
        if match is None or int(match["size"]) != len(whole):
            raise BadAnswerError(f"a part without a place: {stated}")
        if whole[int(match["first"]) : int(match["last"]) + 1] != part:
            raise BadAnswerError(f"other bytes than those of {stated}")


def _parts(answer: Answer) -> list[tuple[str, bytes]]:
    kind = answer.headers.get("content-type", "")
    if not kind.startswith("multipart/byteranges; boundary="):
        return [(answer.headers.get("content-range", ""), answer.body)]
    mark = f"--{kind.partition('boundary=')[2]}".encode()
    first, *middle, last = answer.body.split(mark)
    if first or last.strip() != b"--":
        raise BadAnswerError(f"no parts: {answer.body[:100]!r}")
    parts = []
    for piece in middle:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        parts.append((fields["Content-Range"], content.removesuffix(b"\r\n")))
    return parts
