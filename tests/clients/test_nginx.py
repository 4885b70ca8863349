"""The configuration for nginx that we give away, in a real nginx: asked what our own server is asked."""

from __future__ import annotations

import gzip
import os
from http.client import HTTPConnection, HTTPMessage
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.protocol.negotiation import choose_media_type
from tests.clients.nginx import Nginx, find_nginx
from tests.mirror.wheels import SYMPY, TORCH_CPU, craft_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="there is no nginx on this machine")

JSON = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"
PAGE = "/whl/cpu/torch/"
WHEEL = "/whl/cpu/torch-1.0%2Bcpu-py3-none-any.whl"
NAMED = craft_wheel("whl/typing_extensions-4.12-py3-none-any.whl")
RUNS = craft_wheel("whl/a_b_c-1.0-py3-none-any.whl")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mirror = Mirror(tmp_path_factory.mktemp("nginx") / "a mirror+1")
    with mirror.lock():
        for wheel in (TORCH_CPU, SYMPY, NAMED, RUNS):
            wheel.admit(mirror)
        mirror.write_locks({"pylock.node.toml": b"lock-version = '1.0'\n"})
        mirror.publish()
    (mirror.root / "whl" / "private").symlink_to("/etc")
    (mirror.root / "notes.txt").write_text("the administrator's own", encoding="utf-8")
    return mirror.root


@pytest.fixture(scope="module")
def nginx(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(root, tmp_path_factory.mktemp("nginx") / "settings") as running:
        yield running


def ask(nginx: Nginx, target: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
    connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, headers=names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def content_type(headers: HTTPMessage) -> str:
    return headers.get_content_type()


# Which form of a page -------------------------------------------------------------------------------------------------

LATEST = "application/vnd.pypi.simple.latest+json"
RANGES = st.sampled_from([JSON, HTML_V1, "text/html", "*/*", "text/*", "application/*", "image/png", LATEST])
QUALITIES = st.sampled_from(
    ["", ";q=1", "; q=0.9", ";q=0.25", ";q=0.250", ";q=0.251", ";q=0.01", ";q=0", ";q=0.000", ";Q=1.0"]
)
# Nobody names one form twice, by its version and as the latest; nginx takes the first.
ACCEPTS = st.lists(
    st.tuples(RANGES, QUALITIES), min_size=1, max_size=4, unique_by=lambda pair: pair[0].replace("latest", "v1")
)


@settings(max_examples=150)
@given(accept=ACCEPTS)
def test_the_form_is_the_one_that_our_own_server_chooses(nginx: Nginx, accept: list[tuple[str, str]]) -> None:
    field = ", ".join(name + quality for name, quality in accept)
    status, headers, _ = ask(nginx, PAGE, Accept=field)
    # nginx sends HTML under one name alone: whoever accepts its other name only gets it too.
    as_one = field.replace(HTML_V1, "text/html") if "text/html" not in field else field
    ours = choose_media_type(as_one, ("text/html", JSON))
    assert (content_type(headers) if status == 200 else None) == ours, field
    assert status in {200, 406}


@pytest.mark.parametrize(
    "accept",
    [
        # pip 22.2 and newer, and pdm; uv; poetry
        f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01",
        f"{JSON}, {HTML_V1};q=0.2, text/html;q=0.01",
        f"{JSON}, {HTML_V1};q=0.2, */*;q=0.1",
    ],
)
def test_clients_that_read_json_get_it(nginx: Nginx, root: Path, accept: str) -> None:
    status, headers, body = ask(nginx, PAGE, Accept=accept)
    assert (status, headers["Content-Type"]) == (200, JSON)
    assert body == (root / "whl/cpu/torch/index.v1+json").read_bytes()
    assert "Accept" in ", ".join(headers.get_all("Vary", []))


@pytest.mark.parametrize("directory", ["whl", "whl/cpu", "whl/cpu/torch"])
@pytest.mark.parametrize("name", ["index.html", "index.v1+json"])
def test_each_form_has_an_address_of_its_own(nginx: Nginx, root: Path, directory: str, name: str) -> None:
    status, headers, body = ask(nginx, f"/{directory}/{name}", Accept="image/png")
    assert (status, content_type(headers)) == (200, JSON if name.endswith("json") else "text/html")
    assert body == (root / directory / name).read_bytes()


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/html", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_everybody_else_gets_html(nginx: Nginx, root: Path, accept: str | None) -> None:
    status, headers, body = ask(nginx, PAGE, **({} if accept is None else {"Accept": accept}))
    assert (status, content_type(headers)) == (200, "text/html")
    assert body == (root / "whl/cpu/torch/index.html").read_bytes()


@pytest.mark.parametrize("spelt", [JSON, JSON.replace("+", "%2B"), "application/vnd.pypi.simple.latest+json"])
def test_the_address_may_name_the_form(nginx: Nginx, spelt: str) -> None:
    status, headers, _ = ask(nginx, f"{PAGE}?format={spelt}", Accept="text/html")
    assert (status, headers["Content-Type"]) == (200, JSON)
    assert ask(nginx, f"{PAGE}?format=text/html", Accept=JSON)[1].get_content_type() == "text/html"
    assert ask(nginx, f"{PAGE}?format=application/xml")[0] == 406


# What lies where ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [WHEEL, WHEEL.replace("%2B", "+"), WHEEL.replace("/whl/", "/simple/")])
def test_a_wheel_is_itself_under_each_spelling(nginx: Nginx, target: str) -> None:
    status, headers, body = ask(nginx, target, Accept_Encoding="gzip")
    assert (status, body) == (200, TORCH_CPU.body)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Cache-Control"] == "max-age=31536000, immutable"
    assert headers["Content-Encoding"] is None
    assert headers["Accept-Ranges"] == "bytes"


def test_metadata_and_locks_are_served_as_they_are(nginx: Nginx, root: Path) -> None:
    assert ask(nginx, f"{WHEEL}.metadata")[2] == TORCH_CPU.metadata
    for path in ("manifest.json", "locks/pylock.node.toml", "whl/cpu/torch_stable.html"):
        status, headers, body = ask(nginx, f"/{path}")
        assert (status, body) == (200, (root / path).read_bytes())
        assert headers["Cache-Control"] == "no-cache"


def test_parts_of_a_wheel(nginx: Nginx) -> None:
    half = len(TORCH_CPU.body) // 2
    status, headers, body = ask(nginx, WHEEL, Range=f"bytes={half}-")
    assert (status, body) == (206, TORCH_CPU.body[half:])
    assert headers["Content-Range"] == f"bytes {half}-{len(TORCH_CPU.body) - 1}/{len(TORCH_CPU.body)}"
    assert ask(nginx, WHEEL, Range="bytes=-5")[2] == TORCH_CPU.body[-5:]
    assert ask(nginx, WHEEL, Range="bytes=99999999-")[0] == 416
    status, _, body = ask(nginx, WHEEL, Range=f"bytes={half}-", If_Range='"another"')
    assert (status, body) == (200, TORCH_CPU.body)
    status, _, body = ask(nginx, WHEEL, Range=f"bytes={half}-", If_Range=headers["ETag"])
    assert (status, body) == (206, TORCH_CPU.body[half:])


def test_what_has_not_changed_is_not_sent_again(nginx: Nginx) -> None:
    for target in (PAGE, WHEEL):
        etag = ask(nginx, target)[1]["ETag"]
        assert ask(nginx, target, If_None_Match=etag)[0] == 304
    packed = ask(nginx, "/whl/torch/", Accept_Encoding="gzip")[1]["ETag"]
    assert ask(nginx, "/whl/torch/", Accept_Encoding="gzip", If_None_Match=packed)[0] == 304


def test_pages_alone_are_packed(nginx: Nginx, root: Path) -> None:
    status, headers, body = ask(nginx, PAGE, Accept_Encoding="gzip", Accept=JSON)
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == (root / "whl/cpu/torch/index.v1+json").read_bytes()
    assert "Accept-Encoding" in ", ".join(headers.get_all("Vary", []))


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ("/whl", "/whl/"),
        ("/whl/cpu", "/whl/cpu/"),
        ("/whl/cpu/torch", "/whl/cpu/torch/"),
        ("/whl/cpu/typing_extensions/", "/whl/cpu/typing-extensions/"),
        ("/whl/a_-.b-c/", "/whl/a-b-c/"),
    ],
)
def test_redirects_stay_on_the_host(nginx: Nginx, target: str, to: str) -> None:
    status, headers, _ = ask(nginx, target)
    assert (status, headers["Location"]) == (301, to)
    assert ask(nginx, to)[0] == 200


@pytest.mark.parametrize("target", ["/simple/", "/simple/torch/", "/whl/cpu/", "//whl//cpu/torch/"])
def test_pages_have_their_other_addresses(nginx: Nginx, target: str) -> None:
    assert ask(nginx, target)[0] == 200


@pytest.mark.parametrize(
    "target",
    [
        "/whl/nothing/",
        "/whl/nothing-1.0-py3-none-any.whl",
        WHEEL.replace("%2B", "%252B"),
        "/.state/",
        "/.state/lock",
        "/whl/../.state/lock",
        "/whl/%2e%2e/.state/lock",
        "/whl/..%2f.state/lock",
        "/locks/",
        "/locks",
        "/notes.txt",
        "/etc/passwd",
        "/whl/private/",
        "/whl/private/passwd",
    ],
)
def test_nothing_else_is_there(nginx: Nginx, target: str) -> None:
    assert ask(nginx, target)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(nginx: Nginx, root: Path, method: str) -> None:
    assert ask(nginx, WHEEL, method)[0] == 405
    assert (root / TORCH_CPU.path).read_bytes() == TORCH_CPU.body


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_not_there(nginx: Nginx, root: Path) -> None:
    closed = root / "locks" / "pylock.node.toml"
    closed.chmod(0)
    assert ask(nginx, "/locks/pylock.node.toml")[0] == 404
    closed.chmod(0o644)
