"""Connections by ``requests``: one request, and what it raised in our words.

Imported by ``net.py`` when the first request is made: a run that asks nothing need not wait 60 ms for HTTP.
"""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import should_bypass_proxies

from pytorch_offline.addresses import redacted
from pytorch_offline.errors import UpstreamError
from pytorch_offline.file_urls import FileAdapter
from pytorch_offline.retries import Failure, innermost, reason_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


class Connections:
    """Sessions, one for each thread; the arguments are those of ``net.Http``."""

    def __init__(
        self,
        *,
        user_agent: str,
        proxy: str | None,
        ca_bundle: Path | None,
        client_certificate: Path | None,
        trusted_hosts: Collection[str],
    ) -> None:
        self._user_agent = user_agent
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._client_certificate = client_certificate
        self._trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._closed = threading.Event()
        if self._trusted_hosts:
            # The user has said that these hosts are not checked; a warning per request adds nothing (pip does so too).
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close every thread's connections."""
        with self._lock:
            self._closed.set()
            while self._sessions:
                self._sessions.pop().close()

    def ask(self, url: str, headers: Mapping[str, str], *, connect: float, read: float) -> requests.Response:
        """Ask once, and give the answer with its body still to come.

        Args:
            url: as ``sendable_url`` gives it.
            headers: what to send beside the usual ones.
            connect: seconds to wait for a connection.
            read: seconds to wait for the next bytes.

        Raises:
            Failure: there was no answer, and another try may get one.
            UpstreamError: ``bad-url``, ``tls-error`` or ``transfer-broken``, for good.
        """
        proxied = self._proxy is not None and not should_bypass_proxies(url, no_proxy=None)
        try:
            return self._session().get(
                url,
                headers=dict(headers),
                stream=True,
                allow_redirects=False,
                timeout=(connect, read),
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


def _raise_failure(url: str, error: Exception) -> NoReturn:
    """Turn what one request raised into our error, as a ``Failure`` where another try may help."""
    shown = redacted(url)
    facts = {"url": shown, "reason": reason_of(error)}
    if isinstance(error, requests.exceptions.SSLError):
        untrusted = UpstreamError(
            "tls-error",
            f"the TLS connection for {shown} failed: {reason_of(error)}",
            facts=facts,
            hint="name the certificates to trust in REQUESTS_CA_BUNDLE or in pip's setting 'cert'",
        )
        if isinstance(innermost(error), ssl.SSLCertVerificationError):
            raise untrusted from error
        raise Failure(untrusted, connecting=True) from error
    if isinstance(error, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader):
        raise UpstreamError("transfer-broken", f"{shown} answers nonsense: {reason_of(error)}", facts=facts) from error
    # A proxy's URL is the environment's fault, not the URL's, but it reads the same way.
    if isinstance(error, ValueError):  # InvalidURL, InvalidSchema, InvalidHeader, LocationParseError, UnicodeError
        raise UpstreamError("bad-url", f"{shown!r} cannot be requested: {reason_of(error)}", facts=facts) from error
    if isinstance(error, requests.exceptions.ProxyError):
        broken = UpstreamError("unreachable", f"the proxy for {shown} does not answer: {reason_of(error)}", facts=facts)
        raise Failure(broken, connecting=True) from error
    if not isinstance(error, requests.exceptions.RequestException | urllib3.exceptions.HTTPError):
        # requests raises a bare OSError for one thing: a CA bundle or client certificate that is not there.
        raise UpstreamError("tls-error", f"{shown} cannot be requested: {reason_of(error)}", facts=facts) from error
    if _never_connected(error):
        lost = UpstreamError("unreachable", f"{shown} cannot be reached: {reason_of(error)}", facts=facts)
        raise Failure(lost, connecting=True) from error
    cut = UpstreamError("transfer-broken", f"{shown} did not answer: {reason_of(error)}", facts=facts)
    raise Failure(cut) from error


def _never_connected(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    # NameResolutionError is one of these
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
