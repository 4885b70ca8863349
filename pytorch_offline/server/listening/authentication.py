"""Basic authentication (RFC 7617) round the handler: who is let in, without a digest stalling anybody's download.

A digest is slow on purpose, and pip sends the same password with each of its requests. So a password is compared in a
thread, once for all who send it at the same time, and the outcome is kept for a while, under a key from which the
password cannot be had. The file is read again when it changes; one that cannot be used leaves the last good one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs

from pytorch_offline.errors import UsageError
from pytorch_offline.server.listening.htpasswd import HINT, agrees, parse_htpasswd
from pytorch_offline.server.listening.refusals import plain
from pytorch_offline.server.monitoring.access_log import USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aiohttp import web

    from pytorch_offline.server.listening.connections import Handler

REALM = "pytorch-offline"
CHALLENGE = f'Basic realm="{REALM}", charset="UTF-8"'
# Load balancers and monitors ask it without a password; then it says no more than whether all is well.
OPEN_PATH = "/health"
# How long an outcome is kept, a wrong password's too, and how many: each takes some 200 bytes.
_KEPT_SECONDS = 300.0
_KEPT_OUTCOMES = 10_000
# Digests take cores, and downloads need one: half a core's worth of guessing is not worth more than two threads.
_THREADS = 2
# More different passwords at a time than this are a guesser's, and are told to come again.
_MOST_WAITING = 64
# How often the file is looked at, at most.
_LOOK_SECONDS = 1.0
# Longer than any password; comparing takes time for each byte.
_LONGEST_HEADER = 1024


class OverwhelmedError(Exception):
    """So many passwords wait to be compared that another one cannot be; lives within this module."""


class Authenticator:
    """Knows who may come in, by the newest usable content of an htpasswd file.

    Args:
        path: the file.
        say: told of what happens to the file later.

    Raises:
        UsageError: ``bad-htpasswd``, as ``parse_htpasswd`` does, and where the file cannot be read.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._stamp, self._book = _read(path)
        self._looked = time.monotonic()
        self._key = secrets.token_bytes(32)
        self._outcomes: dict[bytes, tuple[str | None, float]] = {}
        self._under_way: dict[bytes, asyncio.Future[str | None]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="htpasswd")

    async def admits(self, header: str | None) -> str | None:
        """Give the user of an ``Authorization`` header, if the file has them with this password.

        Raises:
            OverwhelmedError: not now.
        """
        self._look()
        if header is None or len(header) > _LONGEST_HEADER:
            return None
        key = hashlib.blake2b(header.encode(errors="surrogateescape"), key=self._key, digest_size=16).digest()
        known = self._outcomes.get(key)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        under_way = self._under_way.get(key)
        if under_way is None:
            credentials = parse_basic(header)
            if credentials is None:
                return None
            if len(self._under_way) >= _MOST_WAITING:
                raise OverwhelmedError
            under_way = asyncio.ensure_future(self._compare(key, *credentials))
            self._under_way[key] = under_way
        return await asyncio.shield(under_way)  # who leaves does not take the answer from the others

    async def _compare(self, key: bytes, user: str, password: str) -> str | None:
        book = self._book
        # For a name that nobody has somebody's digest is made too: how long it takes must not tell which names exist.
        stored = book.get(user) or next(iter(book.values()))
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._threads, agrees, password, stored)
        finally:
            del self._under_way[key]
        outcome = user if right and user in book else None
        if book is self._book:
            while len(self._outcomes) >= _KEPT_OUTCOMES:
                del self._outcomes[next(iter(self._outcomes))]
            self._outcomes[key] = (outcome, time.monotonic() + _KEPT_SECONDS)
        return outcome

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            stamp = _stamp(self._path)
        except OSError:
            return  # it is being replaced; who takes it away for good ends the server
        if stamp == self._stamp:
            return
        self.read_again()

    def read_again(self) -> None:
        """Read the file; where it cannot be used the users stay those that they were, and the log says why."""
        try:
            self._stamp, self._book = _read(self._path)
        except UsageError as error:
            self._say(f"the users stay as they were: {error.message}")
            return
        self._outcomes.clear()
        self._say(f"{self._path} was read again; users: {len(self._book)}")

    def close(self) -> None:
        """Compare nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def parse_basic(header: str) -> tuple[str, str] | None:
    """Read user and password out of an ``Authorization`` header; None where it is of another kind or none at all."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def authenticated(handler: Handler, authenticator: Authenticator) -> Handler:
    """Let only those through to a handler whom the authenticator admits."""

    async def guarded(request: web.BaseRequest) -> web.StreamResponse:
        try:
            user = await authenticator.admits(request.headers.get(hdrs.AUTHORIZATION))
        except OverwhelmedError:
            return plain(
                HTTPStatus.SERVICE_UNAVAILABLE, (hdrs.RETRY_AFTER, "5"), sentence="Too many passwords at once."
            )
        if user is not None:
            request[USER] = user
            return await handler(request)
        if request.raw_path.partition("?")[0] == OPEN_PATH and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            # What a range or a condition makes of the page behind it is nobody's who may not read that.
            well = (await handler(request)).status < HTTPStatus.INTERNAL_SERVER_ERROR
            standing = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return plain(standing, (hdrs.CACHE_CONTROL, "no-store"), sentence="ok" if well else "not well")
        return plain(
            HTTPStatus.UNAUTHORIZED,
            (hdrs.WWW_AUTHENTICATE, CHALLENGE),
            sentence="A user and a password are needed.",
        )

    return guarded


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> tuple[tuple[int, int, int] | None, Mapping[str, str]]:
    try:
        stamp = _stamp(path)
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark before the first user
    except OSError as error:
        raise UsageError(
            "bad-htpasswd", f"{path} cannot be read: {error.strerror}", facts={"file": str(path)}, hint=HINT
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("bad-htpasswd", f"{path} is no text in UTF-8", facts={"file": str(path)}) from error
    return stamp, parse_htpasswd(text, str(path))
