"""Users, passwords, tokens and signatures of addresses are neither shown nor written down."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.addresses import origin, page_key, redacted, redacted_text, url_path, without_credentials
from tests.e2e.tool import run_tool
from tests.loopback import Answer, Loopback, Request
from tests.mirror.wheels import craft_wheel

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cr3tV4lue"  # noqa: S105  (nobody's)
_QUERIES = st.sampled_from(
    [f"token={SECRET}", f"X-Amz-Expires=60&X-Amz-Signature={SECRET}", SECRET, f"{SECRET}==", f"a={SECRET}'x",
     f"sig={SECRET}%2B/{SECRET}", f"a?b={SECRET}", f"u=//me:{SECRET}@h", f"a=b;{SECRET}=1"]
)  # fmt: skip
_USERS = st.sampled_from(["", f"me:{SECRET}@", f"{SECRET}@", f"{SECRET}:@", f"a@b:{SECRET}@"])
_HOSTS = st.sampled_from(["host.example", "host.example:8443", "[::1]:80", "[::1"])
_PATHS = st.sampled_from(["", "/", "/whl/torch-2.4.0%2Bcpu-cp310-cp310-linux_x86_64.whl", "/a@b/c"])
_FRAGMENTS = st.sampled_from(["", "#sha256=abc"])


def test_an_address_is_known_by_host_and_path() -> None:
    assert origin("https://user:pw@Host.example:8443/a%2Bb?c#d") == "https://host.example:8443"
    assert url_path("https://user:pw@Host.example:8443/a%2Bb%252B?c#d") == "/a+b%2B"


@given(_USERS, _HOSTS, _PATHS, _QUERIES, _FRAGMENTS)
def test_addresses_without_their_secrets(user: str, host: str, path: str, query: str, fragment: str) -> None:
    url = f"https://{user}{host}{path}?{query}{fragment}"
    assert SECRET not in redacted(url)
    assert SECRET not in redacted_text(f"the file at {url} is not there, nor is {url!r}")
    assert redacted(redacted(url)) == redacted(url)
    if host == "[::1":
        return
    assert SECRET not in without_credentials(url) + page_key(url)
    assert without_credentials(url) == f"https://{host}{path}{fragment}"
    assert page_key(url) != page_key(url.replace(SECRET, "another"))
    assert urlsplit(redacted(url)).path == path


@given(_HOSTS.filter(lambda host: host != "[::1"), _PATHS, _FRAGMENTS)
def test_addresses_without_secrets_stay_as_they_are(host: str, path: str, fragment: str) -> None:
    url = f"https://{host}{path}{fragment}"
    assert redacted(url) == without_credentials(url) == page_key(url) == redacted_text(url) == url


def _signed_index() -> tuple[Loopback, bytes]:
    """Make an index whose links are signed anew for each reading of the page, as object stores do it."""
    wheel = craft_wheel("whl/probe-1.0-py3-none-any.whl", content="# probe")
    readings: list[int] = []

    def answer(request: Request) -> Answer:
        path, _, query = request.path.partition("?")
        if path == "/simple/probe/":
            readings.append(1)
            link = f"/files/{wheel.path.name}?X-Amz-Signature={SECRET}{len(readings)}"
            page = f"<html><body><h1>Links for probe</h1><a href='{link}'>{wheel.path.name}</a></body></html>"
            headers = {"Content-Type": "text/html", "ETag": '"always"', "Cache-Control": "max-age=999"}
            return Answer(headers=headers, body=page.encode())
        if path == "/simple/torch/":  # by which an index is known
            return Answer(body=b"<html><body><h1>Links for torch</h1></body></html>")
        if path.endswith(".whl") and query == f"X-Amz-Signature={SECRET}{len(readings)}":
            return Answer(body=wheel.body)
        return Answer(status=404)

    return Loopback(answer), wheel.body


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_signed_file_is_fetched_and_its_signature_forgotten(tmp_path: Path, spoilt: bool) -> None:  # noqa: FBT001
    index, body = _signed_index()
    with index:
        sound = index.answer
        if spoilt:
            index.answer = lambda request: (
                Answer(status=200, body=b"<html>Log in</html>") if ".whl?" in request.path else sound(request)
            )
        words = ["fetch", "probe", "--mirror", "mirror", "--upstream", f"{index.url}/simple/", "--no-default-index",
                 "--python-version", "3.11", "--platform", "linux_x86_64", "--glibc", "2.35", "--backend", "cpu",
                 "--no-deps", "--retries", "0", "-v"]  # fmt: skip
        done = [run_tool(*words, cwd=tmp_path, expect=None) for _ in range(2)]
        done += [run_tool(*words, "--json", cwd=tmp_path, expect=None) for _ in range(1)]
    if not spoilt:
        assert [one.returncode for one in done] == [0, 0, 0], done[0].stderr
        assert (tmp_path / "mirror/whl/probe-1.0-py3-none-any.whl").read_bytes() == body
    else:
        assert all(one.returncode == 3 for one in done), done[0].stderr
        assert "probe-1.0-py3-none-any.whl?***" in done[0].stderr
    assert any(SECRET in request.path for request in index.requests)
    for one in done:
        assert SECRET not in one.stdout + one.stderr
    for path in (tmp_path / "mirror").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
