from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import random
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.addresses import redacted, sendable_url
from pytorch_offline.errors import UpstreamError
from pytorch_offline.net import Http, Response, Timeouts
from pytorch_offline.retries import RetryPolicy, seconds_until
from tests.loopback import Answer, Loopback, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BODY = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's proxies, certificates and netrc out of the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    look_up = socket.getaddrinfo

    def look_up_loopback(host: str, *further: Any, **named: Any) -> Any:  # noqa: ANN401  (as the real one)
        if host.startswith("127."):
            return look_up(host, *further, **named)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # No name server is asked either: what it says of names that do not exist is not the same everywhere.
    monkeypatch.setattr(socket, "getaddrinfo", look_up_loopback)


class Waits:
    """A clock's hands: remembers how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def http(waits: Waits) -> Iterator[Http]:
    with Http(sleep=waits, chance=lambda: 0.0, now=lambda: NOON, timeouts=Timeouts(connect=2, read=2)) as client:
        yield client


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    """Give each answer once, and the last one from then on."""
    asked = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _: next(asked)


def failure(http: Http, url: str, *, max_bytes: int = 10**6) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        http.get(url, max_bytes=max_bytes)
    return caught.value


def get(http: Http, answer: Callable[[Request], Answer]) -> tuple[Response, Loopback]:
    with Loopback(answer) as server:
        return http.get(f"{server.url}/page"), server


# --- addresses ---


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/whl/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl", None),
        ("/whl/torch-2.4.0+cu121.whl", None),
        ("/whl/nightly//torch_nightly-1.2.0.dev20190731%2Bcpu.whl", None),
        ("/whl/a%20b.whl", None),
        ("/whl/a%2Fb.whl?x=1%2B2&y=+", None),
        ("/whl/a b.whl", "/whl/a%20b.whl"),
        ("/whl/torch%2Bcpu-100%.whl", "/whl/torch%2Bcpu-100%25.whl"),
        ("/whl/torch%2Bcpu-%zz.whl", "/whl/torch%2Bcpu-%25zz.whl"),
        ("/whl/ä.whl", "/whl/%C3%A4.whl"),
        ("/whl/torch.whl#sha256=abc", "/whl/torch.whl"),
        ("", "/"),
    ],
)
def test_addresses_go_on_the_wire_as_they_are_written(http: Http, written: str, sent: str | None) -> None:
    with Loopback(in_turn(Answer(body=b"x"))) as server:
        response = http.get(server.url + written)
        with http.stream(server.url + written) as stream:
            assert b"".join(stream.iter_chunks()) == b"x"
    assert [request.path for request in server.requests] == [sent or written] * 2
    assert response.url == server.url + (sent or written)


@pytest.mark.parametrize(
    "url",
    ["", "page", "/whl/", "//host/whl/", "ftp://host/x", "http://", "http:///whl/", "http://[::1/x", "http://host:99999/",
     "http://host:port/", "mailto:a@b", "http://*.host/", "data:,x"],
)  # fmt: skip
def test_addresses_that_cannot_be_asked(http: Http, waits: Waits, url: str) -> None:
    assert failure(http, url).code == "bad-url"
    assert waits.seconds == []


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_our_error(text: str) -> None:
    for url in (text, f"http://host/{text}", f"http://{text}/"):
        with contextlib.suppress(UpstreamError):
            assert "#" not in sendable_url(url)


def test_an_unencodable_address_is_our_error(http: Http) -> None:
    assert failure(http, "http://127.0.0.1:1/\udcff").code in {"bad-url", "unreachable"}
    assert failure(http, f"http://{'a' * 70}.invalid/").code in {"bad-url", "unreachable"}


def test_passwords_are_not_shown(http: Http) -> None:
    assert redacted("https://user:secret@host:8080/p?q#f") == "https://***@host:8080/p?***#f"
    assert redacted("https://host/a@b") == "https://host/a@b"
    assert "secret" not in redacted("http://user:secret@[::1/x")
    for host in (
        "127.0.0.1:1",
        "[::1",
        "exa mple.invalid",
        ".invalid",
        "*.invalid",
        "a" * 70,
        "[fe80::1%]",
        "\udcff",
        "h:x",
    ):
        error = failure(http, f"http://user:secret@{host}/")
        assert "secret" not in f"{error} {error.facts}"


# --- bodies ---


def test_a_body_comes_with_its_status_and_headers(http: Http) -> None:
    response, server = get(http, in_turn(Answer(headers={"ETag": '"x"'}, body=BODY)))
    assert (response.status, response.body) == (200, BODY)
    assert response.headers["etag"] == '"x"'
    assert server.requests[0].headers["User-Agent"].startswith("pytorch-offline/")


@pytest.mark.parametrize("status", [304, 400, 403, 404, 410, 416])
def test_other_statuses_are_given_back(http: Http, waits: Waits, status: int) -> None:
    response, _ = get(http, in_turn(Answer(status=status)))
    assert response.status == status
    assert waits.seconds == []


def test_headers_are_sent(http: Http) -> None:
    with Loopback(in_turn(Answer(status=304))) as server:
        http.get(server.url, headers={"If-None-Match": '"x"'})
        http.get(server.url, headers={"range": "bytes=0-1"})
    assert server.requests[0].headers["If-None-Match"] == '"x"'
    assert "gzip" in server.requests[0].headers["Accept-Encoding"]
    assert server.requests[1].headers["Accept-Encoding"] == "identity"


def test_a_compressed_body_is_unpacked(http: Http) -> None:
    answer = Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(BODY))
    assert get(http, in_turn(answer))[0].body == BODY


def test_bodies_that_are_too_large(http: Http) -> None:
    zeros = bytes(4 * 10**6)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(zeros), zeros)
    for answer in (
        Answer(body=zeros),
        Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(zeros)),
        Answer(headers={"Transfer-Encoding": "chunked"}, body=chunked),
        Answer(headers={"Content-Length": str(10**15)}, reset_after=0),
    ):
        with Loopback(in_turn(answer)) as server:
            assert failure(http, server.url).code == "too-large"
            assert len(server.requests) == 1


CUT = Answer(body=BODY, reset_after=1000)
CUT_CHUNKS = Answer(headers={"Transfer-Encoding": "chunked"}, body=b"400\r\nabc", reset_after=8)
SHORT = Answer(headers={"Content-Length": "300000", "Connection": "close"}, body=BODY)
EMPTY = Answer()
NO_GZIP = Answer(headers={"Content-Encoding": "gzip"}, body=BODY)
BROKEN = {"cut": CUT, "cut chunks": CUT_CHUNKS, "short": SHORT, "empty": EMPTY, "not gzip": NO_GZIP}


@pytest.mark.parametrize(
    "broken", [CUT, CUT_CHUNKS, SHORT, EMPTY, NO_GZIP], ids=["cut", "chunks", "short", "empty", "gzip"]
)
def test_broken_bodies_are_asked_for_again(http: Http, waits: Waits, broken: Answer) -> None:
    response, server = get(http, in_turn(broken, broken, Answer(body=BODY)))
    assert response.body == BODY
    assert len(server.requests) == 3
    assert waits.seconds == [0.5, 1.0]


@pytest.mark.parametrize(
    "broken", [CUT, CUT_CHUNKS, SHORT, EMPTY, NO_GZIP], ids=["cut", "chunks", "short", "empty", "gzip"]
)
def test_bodies_that_stay_broken(http: Http, broken: Answer) -> None:
    with Loopback(in_turn(broken)) as server:
        error = failure(http, server.url)
    assert error.code == "transfer-broken"
    assert error.facts["tries"] == len(server.requests) == RetryPolicy().tries


def test_a_connection_that_is_reset_before_any_answer(http: Http, waits: Waits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_each() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=close_each)
        thread.start()
        port = listener.getsockname()[1]
        error = failure(http, f"http://127.0.0.1:{port}/")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert error.code == "transfer-broken"
    assert len(waits.seconds) == RetryPolicy().tries - 1


def test_a_server_that_never_answers() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Http(timeouts=Timeouts(read=0.05), retry=RetryPolicy(tries=2), sleep=lambda _: None) as http,
    ):
        error = failure(http, f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert error.code == "transfer-broken"
    assert error.facts["tries"] == 2


def test_a_body_that_takes_for_ever(waits: Waits) -> None:
    ticks = itertools.count(0, 1000)
    with (
        Loopback(in_turn(Answer(body=BODY))) as server,
        Http(sleep=waits, clock=lambda: float(next(ticks)), retry=RetryPolicy(tries=2)) as http,
    ):
        error = failure(http, server.url)
    assert error.code == "transfer-broken"
    assert "longer than 600 seconds" in error.message


def test_an_answer_that_is_no_http(http: Http) -> None:
    with Loopback(in_turn(Answer(headers={"Content-Length": "1\r\nContent-Length: 2"}, body=b"x"))) as server:
        assert failure(http, server.url).code == "transfer-broken"


# --- trying again ---


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_servers_in_trouble_are_asked_again(http: Http, waits: Waits, status: int) -> None:
    response, _ = get(http, in_turn(Answer(status=status), Answer(body=BODY)))
    assert response.body == BODY
    assert waits.seconds == [0.5]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_servers_that_stay_in_trouble(http: Http, waits: Waits, status: int) -> None:
    with Loopback(in_turn(Answer(status=status))) as server:
        error = failure(http, server.url)
    assert (error.code, error.facts["status"]) == ("server-error", status)
    assert waits.seconds == [0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("86400", 30.0),
        ("Thu, 01 Jan 2026 12:00:09 GMT", 9.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", 0.5),
        ("9" * 400, 30.0),
        ("-5", 0.5),
        ("Thu, 01 Jan 2026 12:00:00 +99999999999999", 0.5),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 30.0),
    ],
)
def test_the_servers_own_wish_is_heard(http: Http, waits: Waits, said: str, waited: float) -> None:
    get(http, in_turn(Answer(status=503, headers={"Retry-After": said}), Answer(body=BODY)))
    assert waits.seconds == [waited]


@given(st.text(max_size=30))
def test_any_wish_is_read_or_ignored(said: str) -> None:
    seconds = seconds_until(said, lambda: NOON)
    assert seconds is None or RetryPolicy().wait(1, chance=0.0, asked=seconds) <= RetryPolicy().longest_wait


def test_a_name_that_is_not_known_fails_soon(http: Http, waits: Waits) -> None:
    error = failure(http, "http://no-such-host.invalid/")
    assert error.code == "unreachable"
    assert len(waits.seconds) == 2
    assert sum(waits.seconds) < 5


def test_a_refused_connection_fails_soon(http: Http, waits: Waits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(http, f"http://127.0.0.1:{port}/")
    assert error.code == "unreachable"
    assert "refused" in error.message
    assert len(waits.seconds) == 2


def test_waiting_has_a_budget(waits: Waits) -> None:
    policy = RetryPolicy(tries=1000, budget=60.0)
    with (
        Loopback(in_turn(Answer(status=503))) as server,
        Http(retry=policy, sleep=waits, chance=lambda: 0.0) as http,
    ):
        failure(http, server.url)
    assert sum(waits.seconds) <= 60.0


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_waits_are_spread_and_bounded(failures: int, chance: float) -> None:
    policy = RetryPolicy()
    wait = policy.wait(failures, chance=chance)
    assert 0 < wait <= policy.longest_wait
    assert wait >= policy.wait(failures, chance=0.0) / 2


# --- streams ---


def test_a_stream_gives_pieces_and_their_sum(http: Http) -> None:
    body = random.Random(0).randbytes(3_000_000)
    with Loopback(in_turn(Answer(body=body))) as server, http.stream(server.url) as stream:
        assert (stream.status, stream.length) == (200, len(body))
        pieces = list(stream.iter_chunks(1 << 20))
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 1 << 20
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_stream_left_early_reads_no_more(http: Http) -> None:
    with Loopback(in_turn(Answer(body=bytes(50_000_000)))) as server:
        with http.stream(server.url) as stream:
            next(stream.iter_chunks())
        assert http.get(server.url, max_bytes=10**9).status == 200


@pytest.mark.parametrize("status", [404, 416, 429, 500, 503])
def test_a_stream_gives_every_status_at_once(http: Http, waits: Waits, status: int) -> None:
    with Loopback(in_turn(Answer(status=status, headers={"Retry-After": "1"}))) as server:
        with http.stream(server.url) as stream:
            assert stream.status == status
            assert stream.headers["retry-after"] == "1"
        assert len(server.requests) == 1
    assert waits.seconds == []


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_stream_says_so_once(http: Http, broken: Answer) -> None:
    with (
        Loopback(in_turn(broken)) as server,
        http.stream(server.url) as stream,
        pytest.raises(UpstreamError) as caught,
    ):
        list(stream.iter_chunks())
    assert caught.value.code == "transfer-broken"
    assert len(server.requests) == 1


def test_an_unreachable_stream(http: Http, waits: Waits) -> None:
    with pytest.raises(UpstreamError) as caught, http.stream("http://no-such-host.invalid/"):
        pass
    assert caught.value.code == "unreachable"
    assert waits.seconds == []


def test_the_callers_own_errors_pass_through_a_stream(http: Http) -> None:
    def fill_the_disk() -> None:
        with http.stream(server.url) as stream:
            next(stream.iter_chunks())
            raise OSError("disk full")

    with Loopback(in_turn(Answer(body=BODY))) as server, pytest.raises(OSError, match="disk full"):
        fill_the_disk()


# --- redirects ---


def test_redirects_are_followed_and_the_last_address_told(http: Http) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/new/a%2Bb":
            return Answer(body=BODY)
        return Answer(status=301, headers={"Location": "/new/a%2Bb"})

    with Loopback(answer) as server:
        response = http.get(f"{server.url}/old")
        with http.stream(f"{server.url}/old") as stream:
            assert stream.url == response.url == f"{server.url}/new/a%2Bb"
    assert response.body == BODY


def test_secrets_do_not_follow_to_another_host(http: Http) -> None:
    with (
        Loopback(in_turn(Answer(body=BODY))) as other,
        Loopback(in_turn(Answer(status=302, headers={"Location": f"{other.url}/x"}))) as server,
    ):
        with_password = server.url.replace("http://", "http://user:secret@")
        assert http.get(with_password, headers={"Authorization": "secret", "Accept": "text/html"}).body == BODY
    assert "Authorization" in server.requests[0].headers
    assert "Authorization" not in other.requests[0].headers
    assert other.requests[0].headers["Accept"] == "text/html"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "http://[::1/x", "data:,x"])
def test_redirects_that_are_not_followed(http: Http, location: str) -> None:
    with Loopback(in_turn(Answer(status=302, headers={"Location": location}))) as server:
        assert failure(http, server.url).code in {"bad-redirect", "bad-url"}
        assert len(server.requests) == 1


def test_redirects_in_a_circle(http: Http) -> None:
    with Loopback(in_turn(Answer(status=302, headers={"Location": "/"}))) as server:
        assert failure(http, server.url).code == "bad-redirect"
        assert len(server.requests) == 11


# --- environment, proxies, certificates ---


def test_netrc_is_read(http: Http, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    _, server = get(http, in_turn(Answer(body=BODY)))
    assert server.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()


def test_the_environments_proxy_is_used(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(in_turn(Answer(body=b"by proxy"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert http.get("http://mirror.invalid/whl/a%2Bb").body == b"by proxy"
        assert proxy.requests[0].path == "http://mirror.invalid/whl/a%2Bb"
        monkeypatch.setenv("no_proxy", "mirror.invalid")
        assert failure(http, "http://mirror.invalid/").code == "unreachable"


def test_a_configured_proxy_replaces_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Loopback(in_turn(Answer(body=b"by proxy"))) as proxy, Http(proxy=proxy.url, sleep=lambda _: None) as http:
        assert http.get("http://mirror.invalid/").body == b"by proxy"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with Loopback(in_turn(Answer(body=b"direct"))) as server:
            assert http.get(server.url).body == b"direct"


def test_a_proxy_that_is_not_there(waits: Waits) -> None:
    with Http(proxy="http://user:secret@127.0.0.1:1", sleep=waits) as http:
        error = failure(http, "https://mirror.invalid/")
    assert error.code == "unreachable"
    assert "secret" not in f"{error} {error.facts}"
    assert len(waits.seconds) == 2


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[Loopback]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Loopback(in_turn(Answer(body=BODY)), tls=context) as server:
        yield server


def test_an_unknown_certificate_is_refused_at_once(http: Http, waits: Waits, tls_server: Loopback) -> None:
    error = failure(http, tls_server.url)
    assert error.code == "tls-error"
    assert "REQUESTS_CA_BUNDLE" in (error.hint or "")
    assert waits.seconds == []


def test_certificates_that_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tls_server: Loopback, certificate: Path, waits: Waits
) -> None:
    with Http(ca_bundle=certificate, sleep=waits) as http:
        assert http.get(tls_server.url).body == BODY
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Http(sleep=waits) as http:
        assert http.get(tls_server.url).body == BODY


@pytest.mark.parametrize("with_port", [True, False])
def test_a_trusted_host_is_not_checked(tls_server: Loopback, waits: Waits, with_port: bool) -> None:  # noqa: FBT001
    host = tls_server.url.removeprefix("https://") if with_port else "127.0.0.1"
    with Http(trusted_hosts=[host], sleep=waits) as http:
        assert http.get(tls_server.url).body == BODY
    with Http(trusted_hosts=["127.0.0.1:1"], sleep=waits) as http:
        assert failure(http, tls_server.url).code == "tls-error"


def test_a_redirect_out_of_tls_is_not_followed(tls_server: Loopback, certificate: Path) -> None:
    tls_server.answer = in_turn(Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}))
    with Http(ca_bundle=certificate) as http:
        assert failure(http, tls_server.url).code == "bad-redirect"


def test_certificates_that_are_not_there(tls_server: Loopback, tmp_path: Path) -> None:
    with Http(ca_bundle=tmp_path / "absent.pem") as http:
        assert failure(http, tls_server.url).code == "tls-error"


def test_plain_http_where_tls_is_asked_for(waits: Waits) -> None:
    with Loopback(in_turn(Answer(body=BODY))) as server, Http(sleep=waits) as http:
        error = failure(http, server.url.replace("http:", "https:"))
    assert error.code == "unreachable"
    assert "TLS" in error.message
    assert len(waits.seconds) == 2


# --- threads ---


def test_one_client_serves_many_threads_and_closes_for_all() -> None:
    with Loopback(lambda request: Answer(body=request.path.encode())) as server:
        with Http() as http, ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda number: http.get(f"{server.url}/{number}").body, range(100)))
        assert bodies == [f"/{number}".encode() for number in range(100)]
        with pytest.raises(RuntimeError, match="closed"):
            http.get(server.url)
