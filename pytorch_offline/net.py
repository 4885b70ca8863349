"""The one place that speaks HTTP: sessions, retries, timeouts, redirects, proxies, CA bundles, netrc.

Small bodies come whole from ``Http.get``, which tries again; large ones piece by piece from ``Http.stream``, which
tries once, because only its caller knows how to resume. Proxies, CA bundles and netrc come from the environment as
``requests`` reads them; what pip is configured with may be given to the constructor. ``file://`` works in both.
"""

from __future__ import annotations

import copy
import random
import re
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.utils import should_bypass_proxies

from pytorch_offline import __version__
from pytorch_offline.errors import UpstreamError
from pytorch_offline.file_urls import FileAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

# Measured best with requests: research/performance.md, "downloading".
CHUNK = 1024 * 1024
# The largest page upstream has served is a few MiB (torch over all backends); a METADATA file stays under 1 MiB.
MAX_SMALL_BODY = 64 * 1024 * 1024
MAX_REDIRECTS = 10

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PASSWORD = re.compile(r"//[^/?#\s]*@")
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
class RetryPolicy:
    """When to try again, and after how many seconds.

    A failure to connect is tried ``connect_tries`` times: a refused name does not get better by waiting. Resets, cut
    bodies, 429 and 5xx are tried ``tries`` times. The waits between them double from ``first_wait`` to ``longest_wait``
    (which also bounds what ``Retry-After`` may ask for), less up to half at random so that many clients do not return
    together, and together stay within ``budget``.
    """

    tries: int = 6
    connect_tries: int = 3
    first_wait: float = 0.5
    longest_wait: float = 30.0
    budget: float = 90.0

    def wait(self, failures: int, *, chance: float, asked: float | None = None) -> float:
        """Say how long to wait after so many failures; ``chance`` is in [0, 1), ``asked`` the server's own wish."""
        if asked is not None:
            return min(max(asked, 0.0), self.longest_wait)
        doubled = self.first_wait * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_wait) * (1.0 - chance / 2.0)


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
    _source: requests.Response

    def iter_chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Give the body in pieces of at most ``size`` bytes, each as soon as it is here.

        A piece is never held back until it is full: what came before a break or a stall is not lost with it.

        Raises:
            UpstreamError: ``transfer-broken`` if the body ends early, stalls, or is empty where it must not be.
        """
        received = 0
        try:
            while chunk := self._source.raw.read1(size, decode_content=True):
                received += len(chunk)
                yield chunk
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise UpstreamError(
                "transfer-broken",
                f"the transfer of {redacted(self.url)} broke off: {_reason(error)}",
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
            self._source.raw.shutdown()


class _Failure(Exception):  # noqa: N818  (never leaves this module)
    """One try failed, and another may succeed."""

    def __init__(self, error: UpstreamError, *, connecting: bool = False, retry_after: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.connecting = connecting
        self.retry_after = retry_after


class Http:
    """A client for the whole process, safe to use from many threads; close it, or use it as a context manager.

    Args:
        timeouts: see ``Timeouts``.
        retry: see ``RetryPolicy``.
        user_agent: what to call ourselves.
        proxy: a proxy for all requests, instead of the environment's (pip's ``proxy``); ``NO_PROXY`` still holds.
        ca_bundle: certificates to trust instead of the usual ones (pip's ``cert``).
        client_certificate: a PEM file with a key and a certificate to show (pip's ``client-cert``).
        trusted_hosts: ``host`` or ``host:port`` whose certificates are not checked (pip's ``trusted-host``).
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
        ca_bundle: Path | None = None,
        client_certificate: Path | None = None,
        trusted_hosts: Collection[str] = (),
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self._user_agent = user_agent
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._client_certificate = client_certificate
        self._trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        self._sleep = sleep
        self._chance = chance
        self._now = now
        self._clock = clock
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._closed = threading.Event()
        if self._trusted_hosts:
            # The user has said that these hosts are not checked; a warning per request adds nothing (pip does so too).
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's connections."""
        with self._lock:
            self._closed.set()
            while self._sessions:
                self._sessions.pop().close()

    def hurried(self, timeouts: Timeouts) -> Http:
        """Give a client that reaches the network in the same way and over the same connections, but tries once.

        It is closed with this one.
        """
        other = copy.copy(self)
        other._timeouts = timeouts  # noqa: SLF001  (one of us)
        other._retry = RetryPolicy(tries=1, connect_tries=1)  # noqa: SLF001
        return other

    def get(self, url: str, *, headers: Mapping[str, str] | None = None, max_bytes: int = MAX_SMALL_BODY) -> Response:
        """Fetch a small body whole, trying again where that may help.

        Any final status under 500 is returned but 429; the fragment of the URL is not sent.

        Raises:
            UpstreamError: ``unreachable``, ``server-error`` (429 and 5xx), ``transfer-broken`` (cut, stalled, or empty
                with status 200), ``too-large``, ``bad-url``, ``bad-redirect``, ``tls-error``.
        """
        waited = 0.0
        failures = 0
        while True:
            try:
                return self._get_once(url, headers or {}, max_bytes)
            except _Failure as failure:
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
        except _Failure as failure:
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
                )
                raise _Failure(error, retry_after=stream.headers.get("Retry-After"))
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
                raise _Failure(error) from error
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
        for _ in range(MAX_REDIRECTS + 1):
            response = self._ask(target, headers)
            location = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            if location is None:
                return response
            response.close()
            # Header bytes arrive as Latin-1; servers that send other characters mean UTF-8.
            location = location.encode("latin-1", "replace").decode("utf-8", "replace")
            following = sendable_url(_joined(response.url, location))
            headers = _redirected_headers(headers, target, following)
            target = following
        raise UpstreamError(
            "bad-redirect",
            f"{redacted(url)} redirects more than {MAX_REDIRECTS} times",
            facts={"url": redacted(url), "last": redacted(target)},
        )

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        proxied = self._proxy is not None and not should_bypass_proxies(url, no_proxy=None)
        try:
            return self._session().get(
                url,
                headers=dict(headers),
                stream=True,
                allow_redirects=False,
                timeout=(self._timeouts.connect, self._timeouts.read),
                proxies={"http": self._proxy or "", "https": self._proxy or ""} if proxied else None,
                verify=self._verification(url),
            )
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests' own errors are OSErrors
            _raise_failure(url, error)

    def _verification(self, url: str) -> bool | str | None:
        """Say how to check the server's certificate: not, against a bundle, or (None) as the environment says."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if host in self._trusted_hosts or f"{host}:{parts.port}" in self._trusted_hosts:
            return False
        return str(self._ca_bundle) if self._ca_bundle is not None else None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = self._user_agent
            session.mount("file://", FileAdapter())
            if self._client_certificate is not None:
                session.cert = str(self._client_certificate)
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        if self._closed.is_set():
            session.close()
            raise RuntimeError("this Http is closed")
        return session


def redacted(url: str) -> str:
    """Hide the user and password of a URL, for messages and logs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _PASSWORD.sub("//***@", url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def redacted_text(text: str) -> str:
    """Hide the users and passwords of all URLs in a text, for messages and logs."""
    return _PASSWORD.sub("//***@", text)


def sendable_url(url: str) -> str:
    """Make a URL that ``requests`` sends as it is written: no fragment, no stray ``%``.

    One stray percent sign makes urllib3 quote all the others too, and ``%2B`` would become ``%252B``.

    Raises:
        UpstreamError: ``bad-url`` if it is not an absolute http, https or file URL.
    """
    whole = _STRAY_PERCENT.sub("%25", url.strip().partition("#")[0])
    try:
        parts = urlsplit(whole)
        understood = parts.scheme == "file" or (parts.scheme in {"http", "https"} and bool(parts.hostname))
        _ = parts.port  # reading it checks it
    except ValueError:
        understood = False
    if not understood:
        raise UpstreamError(
            "bad-url",
            f"{redacted(url)!r} is not an http, https or file URL",
            facts={"url": redacted(url)},
        )
    return whole


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:  # a host in brackets that is no address; sendable_url refuses what stands there alone
        return location


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
    declared = response.headers.get("Content-Length", "")
    coded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    bodiless = response.status_code in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    return Stream(
        url=response.url,
        status=response.status_code,
        headers=response.headers,
        length=int(declared) if declared.isdecimal() and not coded and not bodiless else None,
        _source=response,
    )


def _raise_failure(url: str, error: Exception) -> NoReturn:
    """Turn what one request raised into our error, as a ``_Failure`` where another try may help."""
    shown = redacted(url)
    facts = {"url": shown, "reason": _reason(error)}
    if isinstance(error, requests.exceptions.SSLError):
        untrusted = UpstreamError(
            "tls-error",
            f"the TLS connection for {shown} failed: {_reason(error)}",
            facts=facts,
            hint="name the certificates to trust in REQUESTS_CA_BUNDLE or in pip's setting 'cert'",
        )
        if isinstance(_innermost(error), ssl.SSLCertVerificationError):
            raise untrusted from error
        raise _Failure(untrusted, connecting=True) from error
    if isinstance(error, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader):
        raise UpstreamError("transfer-broken", f"{shown} answers nonsense: {_reason(error)}", facts=facts) from error
    # A proxy's URL is the environment's fault, not the URL's, but it reads the same way.
    if isinstance(error, ValueError):  # InvalidURL, InvalidSchema, InvalidHeader, LocationParseError, UnicodeError
        raise UpstreamError("bad-url", f"{shown!r} cannot be requested: {_reason(error)}", facts=facts) from error
    if isinstance(error, requests.exceptions.ProxyError):
        broken = UpstreamError("unreachable", f"the proxy for {shown} does not answer: {_reason(error)}", facts=facts)
        raise _Failure(broken, connecting=True) from error
    if not isinstance(error, requests.exceptions.RequestException | urllib3.exceptions.HTTPError):
        # requests raises a bare OSError for one thing: a CA bundle or client certificate that is not there.
        raise UpstreamError("tls-error", f"{shown} cannot be requested: {_reason(error)}", facts=facts) from error
    if _never_connected(error):
        lost = UpstreamError("unreachable", f"{shown} cannot be reached: {_reason(error)}", facts=facts)
        raise _Failure(lost, connecting=True) from error
    cut = UpstreamError("transfer-broken", f"{shown} did not answer: {_reason(error)}", facts=facts)
    raise _Failure(cut) from error


def _never_connected(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    # NameResolutionError is one of these
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _reason(error: BaseException) -> str:
    """Say the innermost reason: the outer errors repeat the URL, with its password, and name our libraries."""
    error = _innermost(error)
    return _PASSWORD.sub("//***@", getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def seconds_until(value: str | None, now: Callable[[], datetime]) -> float | None:
    """Read a ``Retry-After`` header as seconds from now (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now()).total_seconds()


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
