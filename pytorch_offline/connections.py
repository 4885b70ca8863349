"""Connections by ``requests``: one request, and what it raised in our words.

Imported by ``net.py`` when the first request is made: a run that asks nothing need not wait 60 ms for HTTP.
What ``requests`` would read from the environment by itself (proxies, bundles, netrc) is read here instead, so that an
error can say which setting it comes from.
"""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies

from pytorch_offline.addresses import redacted
from pytorch_offline.certificates import NamedFile, distrust_hint, named_bundles, trusting_context, unchecking_context
from pytorch_offline.credentials import credentials_for, read_netrc
from pytorch_offline.errors import UpstreamError
from pytorch_offline.file_urls import FileAdapter
from pytorch_offline.retries import Failure, innermost, reason_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from requests.adapters import BaseAdapter

# Connections kept open for the next request: to one host as many as a run may use at once, and to so many hosts.
_KEPT_PER_HOST = 64
_KEPT_HOSTS = 16
_PROXY_HINT = '--proxy URL names another proxy, --proxy "" goes without one; see docs/network.md'
_NO_PROXY_HINT = "is the network up, and the address right? Where a proxy is needed, --proxy URL names it"
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy and what named it."""

    url: str
    said_by: str

    @property
    def shown(self) -> str:
        """The proxy for messages: without its password, with its origin."""
        return f"{redacted(self._whole)} (from {self.said_by})"

    @property
    def understood(self) -> bool:
        """Whether it is an address that a proxy can have."""
        try:
            parts = urlsplit(self._whole)
            _ = parts.port  # reading it checks it
        except ValueError:
            return False
        return parts.scheme.lower() in _PROXY_SCHEMES and bool(parts.hostname)

    @property
    def _whole(self) -> str:
        return self.url if "://" in self.url else f"http://{self.url}"


class Connections:
    """Connections to any number of hosts, shared by all threads; the arguments are those of ``net.Http``."""

    def __init__(
        self,
        *,
        user_agent: str,
        proxy: str | None,
        environment_proxies: bool,
        ca_bundle: Path | None,
        client_certificate: Path | None,
        trusted_hosts: Collection[str],
        said_by: Mapping[str, str],
    ) -> None:
        self._user_agent = user_agent
        self._proxy = None if proxy is None else Proxy(url=proxy, said_by=said_by.get("proxy", "the caller"))
        self._environment_proxies = environment_proxies
        bundle = None if ca_bundle is None else NamedFile(path=ca_bundle, said_by=said_by.get("cert", "the caller"))
        self._bundles = named_bundles(bundle, os.environ)
        self._client = (
            None
            if client_certificate is None
            else NamedFile(path=client_certificate, said_by=said_by.get("client-cert", "the caller"))
        )
        self._trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._adapters: dict[str, BaseAdapter] = {}
        self._closed = False
        if self._trusted_hosts:
            # The user has said that these hosts are not checked; a warning per request adds nothing (pip does so too).
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
            while self._adapters:
                self._adapters.popitem()[1].close()

    def ask(
        self, url: str, headers: Mapping[str, str], *, connect: float, read: float, strange: bool = False
    ) -> requests.Response:
        """Ask once, and give the answer with its body still to come.

        Args:
            url: as ``sendable_url`` gives it.
            headers: what to send beside the usual ones.
            connect: seconds to wait for a connection.
            read: seconds to wait for the next bytes.
            strange: whether a redirect led here from another host.

        Raises:
            Failure: there was no answer, and another try may get one.
            UpstreamError: for good: ``bad-url``, ``tls-error``, ``bad-proxy``, ``proxy-refused``, ``transfer-broken``.
        """
        proxy = self._proxy_for(url)
        adapter = self._adapter(self._kind(url, proxy))
        session = self._session()
        try:
            request = session.prepare_request(
                requests.Request("GET", url, headers=dict(headers), auth=_auth(url, headers, strange=strange))
            )
            proxies = None if proxy is None else {"http": proxy.url, "https": proxy.url}
            response = adapter.send(request, stream=True, timeout=(connect, read), proxies=proxies)
            extract_cookies_to_jar(session.cookies, request, response.raw)  # type: ignore[no-untyped-call]
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests' own errors are OSErrors
            self._raise_failure(url, error, proxy)
        if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and proxy is not None:
            response.close()
            raise _proxy_refuses(url, proxy, f"{response.status_code} {response.reason}")
        return response

    def _proxy_for(self, url: str) -> Proxy | None:
        """Say which proxy an address is asked through; ``NO_PROXY`` holds wherever the proxy was named."""
        if url.startswith("file:") or should_bypass_proxies(url, no_proxy=None):
            return None
        proxy = self._proxy
        if proxy is None and self._environment_proxies:
            scheme = urlsplit(url).scheme
            found = select_proxy(url, get_environ_proxies(url))
            proxy = None if found is None else Proxy(url=found, said_by=_variable_of(scheme, found, os.environ))
        if proxy is None or not proxy.url:
            return None
        if not proxy.understood:
            raise UpstreamError(
                "bad-proxy",
                f"the proxy {proxy.shown} is no address of a proxy",
                facts={"url": redacted(url), "proxy": proxy.shown},
                hint="write it as http://HOST:PORT",
            )
        if proxy.url.lower().startswith("socks") and find_spec("socks") is None:
            raise UpstreamError(
                "bad-proxy",
                f"the proxy {proxy.shown} speaks SOCKS, and PySocks is not installed",
                facts={"url": redacted(url), "proxy": proxy.shown},
                hint="install it into the Python that runs this tool: pip install PySocks",
            )
        return proxy

    def _kind(self, url: str, proxy: Proxy | None) -> str:
        """Say which connections serve an address: without TLS, with TLS that is checked, or not, or none at all."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            return "file"
        if parts.scheme == "http":
            return "checked" if proxy is not None and proxy.url.lower().startswith("https:") else "plain"
        host = (parts.hostname or "").lower()
        names = (host, f"[{host}]") if ":" in host else (host,)
        trusted = not self._trusted_hosts.isdisjoint((*names, *(f"{name}:{parts.port}" for name in names)))
        return "unchecked" if trusted else "checked"

    def _adapter(self, kind: str) -> BaseAdapter:
        with self._lock:
            if self._closed:
                raise RuntimeError("this Http is closed")
            if kind not in self._adapters:
                self._adapters[kind] = self._open_adapter(kind)
            return self._adapters[kind]

    def _open_adapter(self, kind: str) -> BaseAdapter:
        if kind == "file":
            return FileAdapter()
        if kind == "plain":
            return _Pools(None, None)
        checked = trusting_context(self._bundles, self._client)
        return _Pools(checked if kind == "checked" else unchecking_context(self._client), checked)

    def _session(self) -> requests.Session:
        """Give this thread's headers and cookies; it holds no connections."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.headers["User-Agent"] = self._user_agent
            self._local.session = session
        return session

    def _raise_failure(self, url: str, error: Exception, proxy: Proxy | None) -> NoReturn:
        """Turn what one request raised into our error, as a ``Failure`` where another try may help."""
        shown, reason, root = redacted(url), reason_of(error), innermost(error)
        facts: dict[str, object] = {"url": shown, "reason": reason}
        if proxy is not None:
            facts["proxy"] = proxy.shown
        if isinstance(root, ssl.SSLCertVerificationError):
            raise UpstreamError(
                "tls-error",
                f"the TLS connection for {shown} failed: {reason}",
                facts=facts,
                hint=distrust_hint(root, self._bundles),
            ) from error
        # Once the proxy has taken a request, what breaks may be the server's doing.
        if isinstance(error, requests.exceptions.ProxyError) and proxy is not None and not _broke_off(root):
            answered = reason.removeprefix("Tunnel connection failed: ")
            if answered != reason and answered.startswith("4"):
                raise _proxy_refuses(url, proxy, answered) from error
            said = f"the proxy {proxy.shown} gives no connection for {shown}: {reason}"
            broken = UpstreamError("unreachable", said, facts=facts, hint=_PROXY_HINT)
            raise Failure(broken, connecting=True) from error
        if isinstance(error, requests.exceptions.SSLError):
            hint = "a TLS server that breaks off, or something else than TLS at this port, looks like this"
            said = f"the TLS connection for {shown} failed: {reason}"
            lost = UpstreamError("unreachable", said, facts=facts, hint=hint)
            raise Failure(lost, connecting=True) from error
        if isinstance(error, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader):
            raise UpstreamError("transfer-broken", f"{shown} answers nonsense: {reason}", facts=facts) from error
        if isinstance(error, ValueError):  # InvalidURL, InvalidSchema, InvalidHeader, LocationParseError, UnicodeError
            raise UpstreamError("bad-url", f"{shown!r} cannot be requested: {reason}", facts=facts) from error
        by = f" by way of {proxy.shown}" if proxy is not None else ""
        if _never_connected(error):
            hint = _PROXY_HINT if proxy is not None else _NO_PROXY_HINT
            lost = UpstreamError("unreachable", f"{shown} cannot be reached{by}: {reason}", facts=facts, hint=hint)
            raise Failure(lost, connecting=True) from error
        cut = UpstreamError("transfer-broken", f"{shown} did not answer{by}: {reason}", facts=facts)
        raise Failure(cut) from error


class _Pools(HTTPAdapter):
    """Connections to any host under one TLS context, shared by all threads."""

    def __init__(self, context: ssl.SSLContext | None, proxy_context: ssl.SSLContext | None) -> None:
        self._context = context
        self._proxy_context = proxy_context
        self._managers = threading.Lock()
        super().__init__(pool_connections=_KEPT_HOSTS, pool_maxsize=_KEPT_PER_HOST)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:  # noqa: ANN401  (as the base class has it)
        """Let connections use our context."""
        super().init_poolmanager(*args, ssl_context=self._context, **named)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:  # noqa: ANN401  (as the base class has it)
        """Give the connections through a proxy, the same ones to every thread."""
        if not proxy.lower().startswith("socks"):
            named["proxy_ssl_context"] = self._proxy_context
        with self._managers:
            return super().proxy_manager_for(proxy, ssl_context=self._context, **named)

    def build_connection_pool_key_attributes(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:  # noqa: ANN401  (as the base class has it)
        """Key connections by host alone: all that TLS needs is in the context."""
        return super().build_connection_pool_key_attributes(request, verify=True)[0], {}

    def cert_verify(self, *_: object, **__: object) -> None:
        """Leave what to check to the context, which was made once."""


class _NoAuth(requests.auth.AuthBase):
    """No credentials, not even those that the address holds: they stand in a header already."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _auth(url: str, headers: Mapping[str, str], *, strange: bool) -> requests.auth.AuthBase:
    if any(name.lower() == "authorization" for name in headers):
        return _NoAuth()
    found = credentials_for(url, read_netrc(os.environ), strange=strange)
    if found is None:
        return _NoAuth()
    user, password = found
    try:
        f"{user}{password}".encode("latin-1")
    except UnicodeEncodeError:  # what requests and pip send is Latin-1 where that is enough, else UTF-8 (RFC 7617)
        return HTTPBasicAuth(user.encode(), password.encode())
    return HTTPBasicAuth(user, password)


def _variable_of(scheme: str, proxy: str, environment: Mapping[str, str]) -> str:
    """Name the variable that a proxy came from; where there is none it was the operating system's settings."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for spelt in (name, name.upper()):
            if environment.get(spelt) == proxy:
                return spelt
    return "the system's settings"


def _proxy_refuses(url: str, proxy: Proxy, answer: str) -> UpstreamError:
    asks = answer.startswith(str(int(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)))
    return UpstreamError(
        "proxy-refused",
        f"the proxy {proxy.shown} refuses {redacted(url)}: {answer}",
        facts={"url": redacted(url), "proxy": proxy.shown, "answer": answer},
        hint="give it a user and a password, as http://USER:PASSWORD@HOST:PORT, or list the host in NO_PROXY"
        if asks
        else "ask whoever runs the proxy to admit this host, or list it in NO_PROXY if it can be reached without",
    )


def _broke_off(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)


def _never_connected(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    # NameResolutionError is one of these
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
