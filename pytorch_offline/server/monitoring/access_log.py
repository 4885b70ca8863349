"""The access log: one line per answer, in a form that log analysers read, written beside the serving.

What a client sends can never break a line or forge another one, and no password or token is ever written: of a query
only the names are. Lines wait a second at most, so that writing costs little; a reader that does not keep up (a full
pipe) loses lines, which are counted, and never stops the server.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# How long a line may wait, how many may, and what a client's text may take of a line.
_SECONDS = 1.0
_MOST_WAITING = 50_000
# A full disk stays full for a while: how often that is said, at most.
_TELL_SECONDS = 60.0
_LONGEST = 2048
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What stands as it is within quotes: printable ASCII but the quote and the backslash (Apache, "Custom Log Formats").
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
# Values that say nothing of anybody and tell what was asked for: PEP 691's ?format=.
_OPEN_VALUES = frozenset({"format"})
# Under which key of a request it stands who sent it, once that was checked.
USER = web.RequestKey("user", str)
# What aiohttp calls the method of a request that makes no sense.
_NO_METHOD = "UNKNOWN"


class LogFormat(StrEnum):
    """How a line looks."""

    COMBINED = "combined"  # NCSA's, as Apache and nginx write it by that name
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is said of one answer.

    Args:
        client: its address.
        user: who it said to be, where that was checked.
        moment: when the answer was done, in seconds since the epoch.
        method: of the request; empty where there was no whole request.
        target: as it came on the wire.
        version: ``HTTP/1.1``.
        status: of the answer.
        size: bytes of the body that were sent.
        seconds: from the whole request to the end of the answer.
        referer: as it came.
        agent: the User-Agent, as it came.
        range: the Range, as it came.
    """

    client: str
    user: str
    moment: float
    method: str
    target: str
    version: str
    status: int
    size: int
    seconds: float
    referer: str
    agent: str
    range: str


class Log(Protocol):
    """Is told of every answer."""

    def answered(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Note an answer."""

    def repeated(self, served: Served, client: str) -> None:
        """Note an answer that was given before, now to another client."""

    def refused(self, client: str, status: int) -> None:
        """Note that a connection was ended before there was a whole request."""


def render(served: Served, form: LogFormat) -> str:
    """Make the line of an answer, without its end."""
    if form is LogFormat.JSON:
        return json.dumps(
            {
                "time": datetime.fromtimestamp(served.moment, UTC).isoformat(timespec="milliseconds"),
                "client": served.client,
                "user": served.user or None,
                "method": served.method,
                "target": redacted_target(served.target)[:_LONGEST],
                "version": served.version,
                "status": served.status,
                "bytes": served.size,
                "seconds": round(served.seconds, 3),
                "range": served.range[:_LONGEST] or None,
                "referer": redacted_target(served.referer)[:_LONGEST] or None,
                "agent": served.agent[:_LONGEST] or None,
            }
        )  # ASCII alone, so that whatever a client sent is one line
    line = f"{served.method} {redacted_target(served.target)} {served.version}" if served.method else ""
    return (
        f"{served.client} - {_word(served.user)} [{_apache_moment(int(served.moment))}] {_quoted(line)} {served.status}"
        f" {served.size or '-'} {_quoted(redacted_target(served.referer))} {_quoted(served.agent)}"
    )


def redacted_target(target: str) -> str:
    """Take out of a target whatever may be secret: the values of a query, user and password of an absolute address."""
    address, question, query = target.partition("?")
    scheme, slashes, rest = address.partition("://")
    if slashes:
        authority, slash, path = rest.partition("/")
        address = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    if not question:
        return address
    return f"{address}?{'&'.join(_redacted_pair(pair) for pair in query.split('&'))}"


def _redacted_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return "***" if len(name) > 64 else name  # noqa: PLR2004  (a token alone is longer than a name is)
    return pair if name in _OPEN_VALUES else f"{name}={'***' if value else ''}"


@lru_cache(maxsize=1024)  # the same few programs ask for the same few pages
def _quoted(text: str) -> str:
    return f'"{_UNSAFE.sub(_escaped, text[:_LONGEST])}"' if text else '"-"'


def _word(text: str) -> str:
    return _UNSAFE.sub(_escaped, text[:_LONGEST]).replace(" ", "\\x20") if text else "-"


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=2)
def _apache_moment(second: int) -> str:
    at = datetime.fromtimestamp(second, UTC)
    return f"{at:%d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"


_NOTHING = Served(
    client="-",
    user="",
    moment=0.0,
    method="",
    target="",
    version="",
    status=0,
    size=0,
    seconds=0.0,
    referer="",
    agent="",
    range="",
)


class AccessLog:
    """Lines on their way to a file.

    Args:
        path: the file, which is added to; None for standard output.
        form: how its lines look.
        say: told when lines are lost.

    Raises:
        UsageError: ``cannot-log``.
    """

    def __init__(self, path: Path | None, form: LogFormat, say: Callable[[str], None]) -> None:
        self._path = path
        self._form = form
        self._say = say
        self._lines: deque[str] = deque()
        self._lost = 0
        self._reason = "it grew faster than it could be written"
        self._told = -_TELL_SECONDS
        self._descriptor = 1 if path is None else _opened(path)
        self._wake = threading.Event()
        self._ending = False
        self._reopening = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def answered(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Note an answer."""
        self.add(served_of(request, response, seconds))

    def repeated(self, served: Served, client: str) -> None:
        """Note an answer that was given before, now to another client."""
        self.add(replace(served, client=client, moment=time.time()))

    def refused(self, client: str, status: int) -> None:
        """Note that a connection was ended before there was a whole request."""
        self.add(replace(_NOTHING, client=client, moment=time.time(), status=status))

    def add(self, served: Served) -> None:
        """Let a line be written soon; from one thread."""
        line = render(served, self._form)
        if len(self._lines) < _MOST_WAITING:
            self._lines.append(line)
        else:
            self._lost += 1

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one was moved away (logrotate)."""
        self._reopening = self._path is not None
        self._wake.set()

    def close(self, patience: float = 2.0) -> None:
        """Write what waits; where nobody takes it, leave it after so many seconds."""
        self._ending = True
        self._wake.set()
        self._thread.join(patience)
        if not self._thread.is_alive() and self._path is not None:
            os.close(self._descriptor)

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(_SECONDS)
            self._wake.clear()
            self._write_waiting()
            if self._reopening:
                self._reopening = False
                self._go_on_in_new_file()
        self._write_waiting()

    def _go_on_in_new_file(self) -> None:
        if self._path is None:
            return
        try:
            fresh = _opened(self._path)
        except UsageError as error:
            self._say(f"{error.message}; the log goes on in the old file")
            return
        os.close(self._descriptor)
        self._descriptor = fresh

    def _write_waiting(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        data = "".join(f"{line}\n" for line in lines).encode("ascii", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._lost += data.count(b"\n")
            self._reason = error.strerror or str(error)
        if self._lost and (self._ending or time.monotonic() - self._told >= _TELL_SECONDS):
            lost, self._lost, self._told = self._lost, 0, time.monotonic()
            self._say(f"lines of the access log were lost: {lost} ({self._reason})")


def plain_address(client: str) -> str:
    """Write an IPv4 client's address as everybody does, on a socket for IPv6 and IPv4 alike too (RFC 4291, 2.5.5.2)."""
    return client.removeprefix("::ffff:")


def served_of(request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> Served:
    """Say what there is to say of an answer that was given now."""
    headers = request.headers
    whole = request.method != _NO_METHOD
    return Served(
        client=plain_address(request.remote or "-"),
        user=request.get(USER, ""),
        moment=time.time(),
        method=request.method if whole else "",
        target=request.raw_path if whole else "",
        version=f"HTTP/{request.version.major}.{request.version.minor}" if whole else "",
        status=response.status,
        size=content_sent(request, response),
        seconds=seconds,
        referer=headers.get("Referer", ""),
        agent=headers.get("User-Agent", ""),
        range=headers.get("Range", ""),
    )


def content_sent(request: web.BaseRequest, response: web.StreamResponse) -> int:
    """Say how many bytes of content went out; aiohttp counts the head, too."""
    if request.method == "HEAD" or not response.body_length:
        return 0
    return min(response.content_length or 0, response.body_length)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o640)
    except OSError as error:
        raise UsageError(
            "cannot-log", f"the access log {path} cannot be written: {error.strerror}", facts={"file": str(path)}
        ) from error
