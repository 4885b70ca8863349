"""The same questions asked of nginx and of our server, over one mirror; where they differ it is said why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytorch_offline.mirror.store import Mirror
from tests.clients.nginx import Nginx, find_nginx
from tests.mirror.loopback import sized_wheel
from tests.server.serving import Heard, Serving, ask_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="there is no nginx on this machine")

TORCH = sized_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl", 150_000)
WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
SIZE = len(TORCH.body)
PAST, FUTURE = "Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 01 Jan 2038 00:00:00 GMT"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Nginx]]:
    mirror = Mirror(tmp_path_factory.mktemp("mirror"))
    TORCH.admit(mirror)
    mirror.publish()
    with Serving.mirror(mirror.root) as ours, Nginx(mirror.root, tmp_path_factory.mktemp("nginx") / "run") as nginx:
        yield ours, nginx


def ask(port: int, target: str, method: str, headers: dict[str, str]) -> Heard:
    """Ask, with a server's own entity tag and date where the question has ETAG and MODIFIED."""
    head = ask_raw(port, request("HEAD", WHEEL, {}), method="HEAD")
    own = {"ETAG": head.headers["etag"], "MODIFIED": head.headers["last-modified"]}
    for word, value in own.items():
        headers = {name: text.replace(word, value) for name, text in headers.items()}
    return ask_raw(port, request(method, target, headers), method=method)


def request(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: mirror", "Connection: close"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"If-None-Match": "ETAG"},
        {"If-None-Match": "W/ETAG"},
        {"If-None-Match": '"x", ETAG'},
        {"If-None-Match": "*"},
        {"If-None-Match": '"x"'},
        {"If-None-Match": '"x"', "If-Modified-Since": FUTURE},
        {"If-Modified-Since": "MODIFIED"},
        {"If-Modified-Since": PAST},
        {"If-Modified-Since": "no date"},
        {"If-Match": "ETAG"},
        {"If-Match": '"x"'},
        {"If-Match": "W/ETAG"},
        {"If-Match": "*"},
        {"If-Unmodified-Since": PAST},
        {"If-Unmodified-Since": FUTURE},
        {"If-Match": '"x"', "If-None-Match": "ETAG"},
    ],
    ids=str,
)
def test_conditions(servers: tuple[Serving, Nginx], method: str, headers: dict[str, str]) -> None:
    ours, theirs = (ask(server.port, WHEEL, method, headers) for server in servers)
    assert ours.status == theirs.status
    if ours.status == 200:
        assert ours.body == theirs.body
        assert ours.headers["content-length"] == theirs.headers["content-length"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-0"},
        {"Range": "bytes=0-99"},
        {"Range": f"bytes={SIZE - 1}-"},
        {"Range": f"bytes={SIZE}-"},
        {"Range": f"bytes=0-{SIZE + 5}"},
        {"Range": "bytes=-1"},
        {"Range": f"bytes=-{SIZE * 2}"},
        {"Range": "bytes=-0"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=5-6, 0-1, -3"},
        {"Range": f"bytes=0-1,{SIZE}-"},
        {"Range": "items=0-1"},
        {"Range": "bytes=0-1", "If-Range": "ETAG"},
        {"Range": "bytes=0-1", "If-Range": '"x"'},
        {"Range": "bytes=0-1", "If-Range": "W/ETAG"},
        {"Range": "bytes=0-1", "If-Range": "MODIFIED"},
        {"Range": "bytes=0-1", "If-Range": PAST},
        {"Range": "bytes=0-1", "If-None-Match": "ETAG"},
        {"Range": "bytes=0-1", "If-Match": '"x"'},
    ],
    ids=str,
)
def test_ranges(servers: tuple[Serving, Nginx], headers: dict[str, str]) -> None:
    ours, theirs = (ask(server.port, WHEEL, "GET", headers) for server in servers)
    assert ours.status == theirs.status
    assert ours.headers.get("content-range") == theirs.headers.get("content-range")
    if ours.status in {200, 206}:
        assert parts_of(ours) == parts_of(theirs)


def parts_of(answer: Heard) -> list[tuple[str, bytes]]:
    """Read what an answer gives: each range and its bytes."""
    _, multipart, boundary = answer.headers["content-type"].partition("boundary=")
    if not multipart:
        return [(answer.headers.get("content-range", ""), answer.body)]
    parts = answer.body.split(f"--{boundary}".encode())
    assert parts[0] in {b"", b"\r\n"}
    assert parts[-1] == b"--\r\n"
    read = []
    for part in parts[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        (content_range,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-range:")]
        read.append((content_range.decode().partition(":")[2].strip(), body.removesuffix(b"\r\n")))
    return read


@pytest.mark.parametrize(
    "target",
    [
        "/whl/cu121/torch/",
        "/whl/cu121/torch",
        "/whl/cu121",
        "/whl",
        "/whl/cu121/nothing/",
        "/whl/cu121/nothing.whl",
        WHEEL.replace("%2B", "+"),
        WHEEL.replace("%2B", "%252B"),
        "/whl/%00",
        "/whl/%zz",
        "/.state/lock",
        "/manifest.json",
        "/locks/",
    ],
)
def test_paths(servers: tuple[Serving, Nginx], target: str) -> None:
    ours, theirs = (ask(server.port, target, "GET", {}) for server in servers)
    assert ours.status == theirs.status


@pytest.mark.parametrize(
    ("target", "method", "headers", "statuses"),
    [
        # A HEAD has no range (RFC 9110, section 14.2).
        (WHEEL, "HEAD", {"Range": "bytes=0-1"}, (200, 206)),
        # What makes no sense as a range may be ignored, as section 14.2 has it, and as a client can only profit from.
        (WHEEL, "GET", {"Range": "bytes=x"}, (200, 416)),
        (WHEEL, "GET", {"Range": "bytes=2-1"}, (200, 416)),
        # Ranges that overlap are joined; nginx sends what is in both twice.
        (WHEEL, "GET", {"Range": "bytes=0-5,3-9"}, (206, 206)),
        # Nothing is resolved: no client of an index writes such a path but to try what is behind it.
        ("/whl//cu121/torch/", "GET", {}, (404, 200)),
        ("/whl/../whl/", "GET", {}, (404, 200)),
        ("/whl/%2e%2e/whl/", "GET", {}, (404, 200)),
        # A name in capitals leads to its page (PEP 503); nginx cannot say it in small letters.
        ("/whl/cu121/Torch/", "GET", {}, (301, 404)),
    ],
)
def test_differences(
    servers: tuple[Serving, Nginx], target: str, method: str, headers: dict[str, str], statuses: tuple[int, int]
) -> None:
    assert tuple(ask(server.port, target, method, headers).status for server in servers) == statuses
