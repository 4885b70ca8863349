"""The one place that speaks HTTP: sessions, retries, timeouts, redirects, proxies, CA bundles, netrc.

Small bodies come whole from ``Http.get``, which tries again; large ones piece by piece from ``Http.stream``, which
tries once, because only its caller knows how to resume. Proxies, certificates and netrc come from the environment; what
pip is configured with may be given to the constructor (``docs/network.md`` has both beside pip). ``file://`` works too.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from pytorch_offline import __version__
from pytorch_offline.addresses import joined, redacted, sendable_url
from pytorch_offline.credentials import carried_over
from pytorch_offline.errors import UpstreamError
from pytorch_offline.retries import Failure, RetryPolicy, innermost, reason_of, seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    import requests

    from pytorch_offline.body import Body
    from pytorch_offline.connections import Connections

# Measured best with requests: research/performance.md, "downloading".
CHUNK = 1024 * 1024
# The largest page upstream has served is a few MiB (torch over all backends); a METADATA file stays under 1 MiB.
MAX_SMALL_BODY = 64 * 1024 * 1024
MAX_REDIRECTS = 10

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait: for a connection, for the next bytes of an answer, and for a small body as a whole.

    Half a minute without a byte is a stall, as uv has it; a transfer that is broken off too early is continued, so that
    little is lost. The last one is for servers that send a byte now and then for ever; 64 MiB in ten minutes is
    0.1 MB/s.
    """

    connect: float = 10.0
    read: float = 30.0
    whole: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer: the URL after redirects, the status, case-insensitive headers, the decoded body."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer whose body is still to come.

    ``length`` is the number of bytes that ``iter_chunks`` will give, where the server told.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    length: int | None
    _body: Body

    def iter_chunks(self, size: int = CHUNK) -> Iterator[bytearray]:
        """Give the body in pieces of at most ``size`` bytes.

        What came before a break or a stall is not lost with it; nothing is held back longer than a moment as long as
        more comes.

        Raises:
            UpstreamError: ``transfer-broken`` if the body ends early, is aborted, or is empty where it must not be;
                ``stalled`` if no byte comes for as long as ``Timeouts.read``.
        """
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  (imported with the connections, not before)

        received = 0
        try:
            for piece in self._body.pieces(size):
                received += len(piece)
                yield piece
        except (OSError, HTTPError) as error:
            stalled = isinstance(innermost(error), TimeoutError)
            raise UpstreamError(
                "stalled" if stalled else "transfer-broken",
                f"the transfer of {redacted(self.url)} broke off: {reason_of(error)}",
                facts={"url": redacted(self.url), "received": received, "expected": self.length},
            ) from error
        if self.length is not None and received != self.length:
            raise _cut(self.url, received, self.length)
        if received == 0 and self.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise _cut(self.url, 0, None)

    def abort(self) -> None:
        """Stop the transfer from another thread: an ``iter_chunks`` that waits for the network ends at once."""
        # Already over, or not a socket's: then nothing waits.
        with suppress(OSError, RuntimeError, ValueError):
            self._body.abort()


class _OnceAsked:
    """Connections that are opened when something is asked for the first time."""

    def __init__(self, connect: Callable[[], Connections]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connections: Connections | None = None
        self._closed = False

    def opened(self) -> Connections:
        with self._lock:
            if self._closed:
                raise RuntimeError("this Http is closed")
            if self._connections is None:
                self._connections = self._connect()
            return self._connections

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connections is not None:
                self._connections.close()


class Http:
    """A client for the whole process, safe to use from many threads; close it, or use it as a context manager.

    Args:
        timeouts: see ``Timeouts``.
        retry: see ``RetryPolicy``.
        user_agent: what to call ourselves.
        proxy: a proxy for all requests, instead of the environment's (pip's ``proxy``), or none at all if it is empty;
            ``NO_PROXY`` still holds.
        environment_proxies: whether the environment's proxies count (not with pip's ``no-proxy-env``).
        ca_bundle: certificates to trust beside the system's and certifi's (pip's ``cert``).
        client_certificate: a PEM file with a key and a certificate to show (pip's ``client-cert``).
        trusted_hosts: ``host`` or ``host:port`` whose certificates are not checked (pip's ``trusted-host``).
        said_by: which setting named the ``proxy``, the ``cert``, the ``client-cert``, for messages.
        sleep: how to wait.
        chance: random numbers in [0, 1).
        now: the time, to read a ``Retry-After`` date against.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        user_agent: str = f"pytorch-offline/{__version__}",
        proxy: str | None = None,
        environment_proxies: bool = True,
        ca_bundle: Path | None = None,
        client_certificate: Path | None = None,
        trusted_hosts: Collection[str] = (),
        said_by: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._chance = chance
        self._now = now
        self._clock = clock

        def connect() -> Connections:
            from pytorch_offline.connections import Connections  # noqa: PLC0415  (60 ms, only where anything is asked)

            return Connections(
                user_agent=user_agent,
                proxy=proxy,
                environment_proxies=environment_proxies,
                ca_bundle=ca_bundle,
                client_certificate=client_certificate,
                trusted_hosts=trusted_hosts,
                said_by=said_by or {},
            )

        self._connections = _OnceAsked(connect)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def hurried(self, timeouts: Timeouts | None = None, *, tries: int = 1) -> Http:
        """Give a client that reaches the network in the same way and over the same connections, but tries once.

        It waits as long as this one where no ``timeouts`` are given, and is closed with it. With more ``tries`` it
        tries again what may pass at once, and not to connect.
        """
        other = copy.copy(self)
        other._timeouts = timeouts or self._timeouts  # noqa: SLF001  (one of us)
        other._retry = RetryPolicy(tries=tries, connect_tries=1)  # noqa: SLF001
        return other

    def get(self, url: str, *, headers: Mapping[str, str] | None = None, max_bytes: int = MAX_SMALL_BODY) -> Response:
        """Fetch a small body whole, trying again where that may help.

        Any final status under 500 is returned but 429; the fragment of the URL is not sent.

        Raises:
            UpstreamError: ``unreachable``, ``server-error`` (429 and 5xx), ``transfer-broken`` (cut, or empty with
                status 200), ``stalled``, ``too-large``, ``bad-url``, ``bad-redirect``, ``tls-error``, ``bad-proxy``,
                ``proxy-refused``.
        """
        waited = 0.0
        failures = 0
        while True:
            try:
                return self._get_once(url, headers or {}, max_bytes)
            except Failure as failure:
                failures += 1
                tries = self._retry.connect_tries if failure.connecting else self._retry.tries
                asked = seconds_until(failure.retry_after, self._now)
                pause = self._retry.wait(failures, chance=self._chance(), asked=asked)
                if failures >= tries or waited + pause > self._retry.budget:
                    failure.error.facts["tries"] = failures
                    raise failure.error from failure
            self._sleep(pause)
            waited += pause

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Stream]:
        """Open a large body, in one try; any status is given to the caller, 5xx too.

        Raises:
            UpstreamError: as ``get``, but never ``server-error``.
        """
        try:
            response = self._open(url, {**(headers or {}), "Accept-Encoding": "identity"})
        except Failure as failure:
            raise failure.error from failure
        try:
            yield _stream(response)
        finally:
            response.close()

    def _get_once(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Response:
        # The bytes of a range are those of the identity encoding, or they mean nothing.
        ranged = any(name.lower() == "range" for name in headers)
        response = self._open(url, {**headers, "Accept-Encoding": "identity"} if ranged else headers)
        try:
            stream = _stream(response)
            if stream.status >= _FIRST_SERVER_ERROR or stream.status == HTTPStatus.TOO_MANY_REQUESTS:
                error = UpstreamError(
                    "server-error",
                    f"{redacted(url)} answers {stream.status}",
                    facts={"url": redacted(stream.url), "status": stream.status},
                    hint=_hint_of(stream.status),
                )
                raise Failure(error, retry_after=stream.headers.get("Retry-After"))
            body = self._read_whole(stream, max_bytes)
            return Response(url=stream.url, status=stream.status, headers=stream.headers, body=body)
        finally:
            response.close()

    def _read_whole(self, stream: Stream, max_bytes: int) -> bytes:
        if stream.length is not None and stream.length > max_bytes:
            raise _too_large(stream.url, max_bytes)
        deadline = self._clock() + self._timeouts.whole
        body = bytearray()
        chunks = stream.iter_chunks()
        while True:
            try:
                chunk = next(chunks, b"")
            except UpstreamError as error:
                raise Failure(error) from error
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(stream.url, max_bytes)
            if self._clock() > deadline:
                # Not tried again: that much patience has been had once already.
                raise UpstreamError(
                    "transfer-broken",
                    f"{redacted(stream.url)} takes longer than {self._timeouts.whole:g} seconds",
                    facts={"url": redacted(stream.url), "received": len(body), "expected": stream.length},
                )

    def _open(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Ask once, following redirects by hand: ``requests`` would follow one from the network to ``file://``."""
        target = sendable_url(url)
        strange = False
        for _ in range(MAX_REDIRECTS + 1):
            response = self._connections.opened().ask(
                target, headers, connect=self._timeouts.connect, read=self._timeouts.read, strange=strange
            )
            location = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            if location is None:
                return response
            response.close()
            # Header bytes arrive as Latin-1; servers that send other characters mean UTF-8.
            location = location.encode("latin-1", "replace").decode("utf-8", "replace")
            following = carried_over(target, sendable_url(joined(target, location)))
            headers = _redirected_headers(headers, target, following)
            strange = strange or urlsplit(target).hostname != urlsplit(following).hostname
            target = following
        raise UpstreamError(
            "bad-redirect",
            f"{redacted(url)} redirects more than {MAX_REDIRECTS} times",
            facts={"url": redacted(url), "last": redacted(target)},
        )


def _redirected_headers(headers: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """Say what to send after a redirect: no secrets to another host; refuse one that leaves the network or TLS."""
    before, after = urlsplit(old), urlsplit(new)
    if after.scheme not in {"http", "https"} or (before.scheme == "https" and after.scheme == "http"):
        raise UpstreamError(
            "bad-redirect",
            f"{redacted(old)} redirects to {redacted(new)}, which is not followed",
            facts={"url": redacted(old), "location": redacted(new)},
        )
    if (before.scheme, before.hostname, before.port) == (after.scheme, after.hostname, after.port):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in {"authorization", "cookie"}}


def _stream(response: requests.Response) -> Stream:
    from pytorch_offline.body import Body  # noqa: PLC0415  (imported with the connections, not before)

    declared = response.headers.get("Content-Length", "")
    coded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    bodiless = response.status_code in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    return Stream(
        url=response.url,
        status=response.status_code,
        headers=response.headers,
        length=int(declared) if declared.isdecimal() and not coded and not bodiless else None,
        _body=Body(response.raw),
    )


def _hint_of(status: int) -> str | None:
    if status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED:
        return "this network wants a login first: open any page in a browser"
    return None


def _cut(url: str, received: int, expected: int | None) -> UpstreamError:
    said = "an empty body" if received == 0 else f"{received} bytes of {expected}"
    return UpstreamError(
        "transfer-broken",
        f"{redacted(url)} gave {said}",
        facts={"url": redacted(url), "received": received, "expected": expected},
    )


def _too_large(url: str, limit: int) -> UpstreamError:
    return UpstreamError(
        "too-large",
        f"the body of {redacted(url)} is larger than {limit} bytes",
        facts={"url": redacted(url), "limit": limit},
    )
