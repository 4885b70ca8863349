"""How the network is reached: proxies, certificates and passwords, each against a real server on loopback."""

from __future__ import annotations

import base64
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.credentials import carried_over, credentials_for, read_netrc
from pytorch_offline.errors import UpstreamError
from pytorch_offline.net import Http, Timeouts
from tests.loopback import Answer, Loopback, Request
from tests.net.proxy import LoopbackProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.net.authority import Authority

pytestmark = pytest.mark.usefixtures("no_settings")

BODY = b"what the server has"
NAME = "wheels.example"  # no name server knows it (RFC 2606); the proxies here do


def said(request: Request) -> Answer:
    return Answer(body=request.headers.get("Authorization", "nobody").encode())


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def client(**settings: object) -> Http:
    return Http(sleep=lambda _: None, timeouts=Timeouts(connect=5, read=5), **settings)  # type: ignore[arg-type]


def refusal(url: str, **settings: object) -> UpstreamError:
    with client(**settings) as http, pytest.raises(UpstreamError) as caught:
        http.get(url)
    return caught.value


def port_of(server: Loopback) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.fixture
def plain() -> Iterator[Loopback]:
    with Loopback(lambda _: Answer(body=BODY)) as server:
        yield server


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Path:
    return authority.issue("good", names=f"DNS:{NAME},DNS:localhost,IP:127.0.0.1")


@pytest.fixture
def secure(authority: Authority, certificate: Path) -> Iterator[Loopback]:
    with Loopback(lambda _: Answer(body=BODY), tls=authority.serving(certificate)) as server:
        yield server


# --- proxies ---


@pytest.mark.parametrize("named_by", ["setting", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_goes_through_a_proxy(plain: Loopback, monkeypatch: pytest.MonkeyPatch, named_by: str) -> None:
    with LoopbackProxy() as proxy:
        if named_by != "setting":
            monkeypatch.setenv(named_by, proxy.url)
        with client(**({"proxy": proxy.url} if named_by == "setting" else {})) as http:
            assert http.get(f"http://{NAME}:{port_of(plain)}/whl/a%2Bb?x").body == BODY
    assert proxy.asked == [f"GET http://{NAME}:{port_of(plain)}/whl/a%2Bb?x"]


@pytest.mark.parametrize("named_by", ["setting", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_https_goes_through_a_proxy_unread(
    secure: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    with LoopbackProxy(wants="me:it's p@ss") as proxy:
        address = proxy.with_password("me:it's%20p%40ss")
        if named_by != "setting":
            monkeypatch.setenv(named_by, address)
        settings = {"proxy": address} if named_by == "setting" else {}
        with client(ca_bundle=authority.root, **settings) as http:
            assert [http.get(f"https://{NAME}:{port_of(secure)}/{n}").body for n in range(3)] == [BODY] * 3
    assert proxy.asked == [f"CONNECT {NAME}:{port_of(secure)}"], "one tunnel serves request after request"


def test_a_proxy_may_speak_tls_itself(
    plain: Loopback, secure: Loopback, authority: Authority, certificate: Path
) -> None:
    with (
        LoopbackProxy(tls=authority.serving(certificate)) as proxy,
        client(proxy=proxy.url, ca_bundle=authority.root) as http,
    ):
        assert http.get(f"http://{NAME}:{port_of(plain)}/").body == BODY
        assert http.get(f"https://{NAME}:{port_of(secure)}/").body == BODY
    assert [asked.partition(" ")[0] for asked in proxy.asked] == ["GET", "CONNECT"]


@pytest.mark.skipif(find_spec("socks") is None, reason="PySocks is not installed")
def test_socks(secure: Loopback, authority: Authority) -> None:
    with LoopbackProxy(socks=True) as proxy, client(proxy=proxy.url, ca_bundle=authority.root) as http:
        assert http.get(f"https://{NAME}:{port_of(secure)}/").body == BODY
    assert proxy.asked == [f"SOCKS {NAME}:{port_of(secure)}"]


@pytest.mark.skipif(find_spec("socks") is not None, reason="PySocks is installed")
@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_without_pysocks_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:secret@127.0.0.1:1")
    error = refusal(f"https://{NAME}/")
    assert error.code == "bad-proxy"
    assert "ALL_PROXY" in error.message
    assert "pip install PySocks" in (error.hint or "")
    assert "secret" not in f"{error.message} {error.facts} {error.hint}"


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [("127.0.0.1", True), ("127.0.0.0/8", True), ("10.0.0.0/8, 127.0.0.1/32", True), ("*", True), ("", False),
     ("10.0.0.0/8", False), ("127.0.0.1:1", False), (".example", False)],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("by_setting", [True, False])
def test_hosts_that_need_no_proxy(  # noqa: PLR0917  (a table)
    plain: Loopback,
    monkeypatch: pytest.MonkeyPatch,
    exempt: str,
    direct: bool,  # noqa: FBT001
    variable: str,
    by_setting: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv(variable, exempt)
    with LoopbackProxy() as proxy:
        if not by_setting:
            monkeypatch.setenv("http_proxy", proxy.url)
        with client(**({"proxy": proxy.url} if by_setting else {})) as http:
            assert http.get(plain.url).body == BODY
    assert (proxy.asked == []) is direct


@pytest.mark.parametrize(
    ("exempt", "host", "direct"),
    [("example", "wheels.example", True), (".example", "wheels.example", True),
     ("wheels.example:PORT", "wheels.example", True), ("heels.example", "other.example", False),
     ("wheels.example:1", "wheels.example", False)],
)  # fmt: skip
def test_names_that_need_no_proxy(
    plain: Loopback,
    monkeypatch: pytest.MonkeyPatch,
    exempt: str,
    host: str,
    direct: bool,  # noqa: FBT001
) -> None:
    port = port_of(plain)
    monkeypatch.setenv("NO_PROXY", exempt.replace("PORT", str(port)))
    with LoopbackProxy() as proxy, client(proxy=proxy.url) as http:
        if direct:
            with pytest.raises(UpstreamError, match="cannot be reached"):
                http.get(f"http://{host}:{port}/")
            assert proxy.asked == []
        else:
            assert http.get(f"http://{host}:{port}/").body == BODY


def test_no_proxy_at_all(plain: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    for settings in ({"proxy": ""}, {"environment_proxies": False}):
        with client(**settings) as http:
            assert http.get(plain.url).body == BODY


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given", ["", "me:wrong"])
def test_a_proxy_that_wants_a_password(
    plain: Loopback, secure: Loopback, monkeypatch: pytest.MonkeyPatch, scheme: str, given: str
) -> None:
    server = plain if scheme == "http" else secure
    with LoopbackProxy(wants="me:right") as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.with_password(given) if given else proxy.url)
        error = refusal(f"{scheme}://{NAME}:{port_of(server)}/")
    assert error.code == "proxy-refused"
    assert f"{scheme.upper()}_PROXY" in error.message
    assert "407" in error.message
    assert "USER:PASSWORD" in (error.hint or "")
    assert "wrong" not in f"{error.message} {error.facts}"
    assert len(proxy.asked) == 1, "asking again does not mend it"


def test_a_proxy_that_forbids(secure: Loopback) -> None:
    with LoopbackProxy(refuses="403 Forbidden") as proxy:
        error = refusal(f"https://{NAME}:{port_of(secure)}/", proxy=proxy.url, said_by={"proxy": "--proxy"})
    assert error.code == "proxy-refused"
    assert "--proxy" in error.message
    assert "403 Forbidden" in error.message


def test_a_proxy_that_does_not_reach_the_host_is_asked_again(secure: Loopback) -> None:
    with LoopbackProxy(refuses="502 Bad Gateway") as proxy:
        error = refusal(f"https://{NAME}:{port_of(secure)}/", proxy=proxy.url)
    assert error.code == "unreachable"
    assert "502" in error.message
    assert len(proxy.asked) == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_a_proxy_that_is_not_there(url: str) -> None:
    error = refusal(f"https://{NAME}/", proxy=url, said_by={"proxy": "pip's setting 'proxy'"})
    assert error.code == "unreachable"
    assert "the proxy http://127.0.0.1:1 (from pip's setting 'proxy')" in error.message
    assert "refused" in error.message


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1:1", "://", "http://[::1", "http://127.0.0.1:x"])
def test_a_proxy_that_is_none(url: str) -> None:
    error = refusal(f"https://{NAME}/", proxy=url, said_by={"proxy": "--proxy"})
    assert error.code == "bad-proxy"
    assert "--proxy" in error.message


# --- certificates ---


def test_what_is_trusted(
    secure: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trusts(**settings: object) -> bool:
        with client(**settings) as http:
            try:
                return http.get(secure.url).body == BODY
            except UpstreamError as error:
                assert error.code == "tls-error"  # noqa: PT017  (either may be)
                return False

    assert not trusts()
    assert trusts(ca_bundle=authority.root)
    assert trusts(trusted_hosts=["127.0.0.1"])
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(authority.root))
            assert trusts(), variable
    other = tmp_path / "other.pem"
    other.write_bytes(Path(os.environ.get("SSL_CERT_FILE", authority.root)).read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.root))
    assert trusts(ca_bundle=other), "what a setting names does not take away what a variable names"


@pytest.mark.skipif(sys.platform == "win32", reason="directories of certificates are OpenSSL's")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_directory_of_certificates(
    secure: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    import subprocess

    named = subprocess.run(
        ["openssl", "x509", "-in", authority.root, "-noout", "-subject_hash"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (tmp_path / f"{named}.0").write_bytes(authority.root.read_bytes())
    monkeypatch.setenv(variable, str(tmp_path))
    with client() as http:
        assert http.get(secure.url).body == BODY


def test_an_unknown_authority_is_told_with_what_to_do(secure: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    error = refusal(secure.url)
    assert error.code == "tls-error"
    assert "--cert" in (error.hint or "")
    assert f"{certifi.where()} (REQUESTS_CA_BUNDLE)" in (error.hint or "")


def test_an_expired_certificate(authority: Authority) -> None:
    with Loopback(lambda _: Answer(), tls=authority.serving(authority.issue("expired", expired=True))) as server:
        error = refusal(server.url, ca_bundle=authority.root)
    assert error.code == "tls-error"
    assert "expired" in error.message
    assert "clock" in (error.hint or "")


def test_a_certificate_of_another_name(authority: Authority) -> None:
    certificate = authority.issue("other", names="DNS:other.example")
    with Loopback(lambda _: Answer(), tls=authority.serving(certificate)) as server:
        error = refusal(server.url, ca_bundle=authority.root)
    assert error.code == "tls-error"
    assert "another server" in (error.hint or "")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(secure: Loopback, tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    error = refusal(secure.url, ca_bundle=bundle, said_by={"cert": "pip's setting 'cert'"})
    assert error.code == "tls-error"
    assert str(bundle) in error.message
    assert error.facts["named by"] == "pip's setting 'cert'"


def test_where_there_is_no_tls_no_certificates_are_read(plain: Loopback, tmp_path: Path) -> None:
    with client(ca_bundle=tmp_path / "absent.pem") as http:
        assert http.get(plain.url).body == BODY


def test_a_client_certificate_is_shown(authority: Authority, certificate: Path) -> None:
    mine = authority.issue("client", names="DNS:client")
    context = authority.serving(certificate, of_clients=True)
    with Loopback(lambda _: Answer(body=BODY), tls=context) as server:
        with client(ca_bundle=authority.root, client_certificate=mine) as http:
            assert http.get(server.url).body == BODY
        assert refusal(server.url, ca_bundle=authority.root).code in {"unreachable", "transfer-broken"}
        error = refusal(server.url, ca_bundle=authority.root, client_certificate=authority.root)
        assert error.code == "tls-error"
        assert "client certificate" in error.message


def test_trusted_hosts_and_checked_ones_side_by_side(secure: Loopback) -> None:
    with client(trusted_hosts=["127.0.0.1"]) as http:
        assert http.get(secure.url).body == BODY
        with pytest.raises(UpstreamError, match="TLS"):
            http.get(secure.url.replace("127.0.0.1", "localhost"))


# --- users and passwords ---


@pytest.fixture
def asking() -> Iterator[Loopback]:
    with Loopback(said) as server:
        yield server


def netrc_of(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a netrc"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.parametrize(
    ("userinfo", "netrc", "sent"),
    [
        ("", "", b"nobody"),
        ("", "machine 127.0.0.1 login me password secret", basic("me", "secret")),
        ("", "machine other.example login me password secret", b"nobody"),
        ("", "default login me password secret", basic("me", "secret")),
        ("you:other@", "default login me password secret", basic("you", "other")),
        ("you:other@", "machine 127.0.0.1 login me password secret", basic("you", "other")),
        ("token@", "default login me password secret", basic("token", "")),
        ("me@", "machine 127.0.0.1 login me password secret", basic("me", "secret")),
        ("m%40e:a%2Fb%3A@", "", basic("m@e", "a/b:")),
        ("", "machine 127.0.0.1 login", b"nobody"),
    ],
)
def test_whose_password_is_sent(
    asking: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, userinfo: str, netrc: str, sent: bytes
) -> None:
    netrc_of(tmp_path, netrc, monkeypatch)
    with client() as http:
        assert http.get(asking.url.replace("//", f"//{userinfo}")).body == sent


@pytest.mark.parametrize(
    ("netrc", "sent"),
    [
        ("default login me password secret", b"nobody"),
        ("machine localhost login you password two", basic("you", "two")),
    ],
)
@pytest.mark.parametrize("userinfo", ["", "me:secret@"])
def test_no_password_follows_a_redirect_to_another_host(
    asking: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, netrc: str, sent: bytes, userinfo: str
) -> None:
    netrc_of(tmp_path, netrc, monkeypatch)
    there = asking.url.replace("127.0.0.1", "localhost")
    with Loopback(lambda _: Answer(status=302, headers={"Location": there})) as server, client() as http:
        assert http.get(server.url.replace("//", f"//{userinfo}")).body == sent


def test_a_redirect_on_the_same_host_keeps_the_password(asking: Loopback) -> None:
    asking.answer = lambda request: (
        said(request)
        if request.path == "/simple/torch/"
        else Answer(status=301, headers={"Location": f"{asking.url}/simple/torch/"})
    )
    with client() as http:
        response = http.get(asking.url.replace("//", "//me:secret@") + "/simple/torch")
    assert response.body == basic("me", "secret")


_HOSTS = st.sampled_from(["a.example", "b.example", "a.example:80", "a.example:8080", "[::1]"])


@given(
    st.sampled_from(["http", "https"]), _HOSTS, st.sampled_from(["http", "https"]), _HOSTS,
    st.sampled_from(["", "you:own@"]),
)  # fmt: skip
def test_passwords_stay_on_their_host(scheme: str, host: str, later_scheme: str, later_host: str, own: str) -> None:
    after = carried_over(f"{scheme}://me:secret@{host}/x", f"{later_scheme}://{own}{later_host}/y")
    name = host.removesuffix(":80").removesuffix(":8080")
    later_name = later_host.removesuffix(":80").removesuffix(":8080")
    if own or name != later_name or (scheme, later_scheme) == ("https", "http"):
        assert "secret" not in after
    if (scheme, host) == (later_scheme, later_host) and not own:
        assert "me:secret@" in after


def test_a_netrc_that_is_none_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc_of(tmp_path, "machine\n login \x00 !", monkeypatch)
    assert read_netrc(os.environ) is None
    assert credentials_for("https://a.example/", None) is None


# --- descriptors ---


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_threads_that_ended_leave_no_connections(plain: Loopback) -> None:
    together = threading.Barrier(4)

    def work(http: Http) -> None:
        together.wait()
        assert http.get(plain.url).body == BODY

    with client() as http:
        opened = []
        for _ in range(10):
            with ThreadPoolExecutor(4) as pool:
                for _ in pool.map(lambda _: work(http), range(4)):
                    pass
            opened.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        # The server's ends are ours too: two descriptors a connection.
        assert opened[-1] - opened[0] <= 2 * 4
