"""Each fault against HTTP's own rules, as a client sees it on the wire."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from pytorch_offline.simulator import http_faults
from pytorch_offline.simulator.answers import Framing
from pytorch_offline.simulator.faults import Header, Status, Truncate
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.simulator.conftest import NAME, PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = {"Range": "bytes=1000-1999", "Accept-Encoding": "identity"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    spec = Spec()
    spec.add_wheel("cpu", NAME, requires=[], padding=20_000)
    with Simulator(spec) as running:
        yield running


def raw(client: requests.Session, url: str, headers: dict[str, str] | None = None) -> tuple[requests.Response, bytes]:
    """The answer, and its body as it is on the wire but for chunks."""
    with client.get(url, headers=headers, stream=True, allow_redirects=False) as answer:
        return answer, answer.raw.read(decode_content=False)


def test_silence(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Silent())
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.get(url, timeout=0.2)
    assert client.get(url).status_code == 200


def test_every_third_request_is_answered(simulator: Simulator, client: requests.Session, url: str) -> None:
    rule = simulator.faults.add(PATH, Status(code=503), times=None, spares=3)
    assert [client.get(url).status_code for _ in range(6)] == [503, 503, 200, 503, 503, 200]
    assert rule.hits == 4


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_validator_that_never_rests(simulator: Simulator, client: requests.Session, url: str, name: str) -> None:
    simulator.faults.add(PATH, http_faults.Restless(name=name), times=None)
    assert len({client.get(url).headers[name] for _ in range(5)}) == 5


def test_a_header_that_is_missing(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Without(name="etag"))
    assert "ETag" not in client.get(url).headers


@pytest.mark.parametrize(("told", "coded"), [(True, True), (False, True), (True, False)])
def test_a_coding_that_nobody_asked_for(
    simulator: Simulator, client: requests.Session, url: str, body: bytes, *, told: bool, coded: bool
) -> None:
    simulator.faults.add(PATH, http_faults.Gzipped(told=told, coded=coded))
    answer, came = raw(client, url, PART)
    assert ("Content-Encoding" in answer.headers) is told
    assert (gzip.decompress(came) if coded else came) == body[1000:2000]


def test_more_than_was_announced(simulator: Simulator, url: str, body: bytes) -> None:
    simulator.faults.add(PATH, http_faults.Spilling(surplus=10))
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.settimeout(5)
        came = b""
        while not came.endswith(body):
            came += connection.recv(1 << 16)
    assert f"Content-Length: {len(body) - 10}\r\n".encode() in came


@pytest.mark.parametrize("framing", [Framing.CHUNKED, Framing.CLOSE])
def test_a_length_that_is_not_told(
    simulator: Simulator, client: requests.Session, url: str, body: bytes, framing: Framing
) -> None:
    simulator.faults.add(PATH, http_faults.Framed(framing=framing), times=None)
    answer = client.get(url)
    assert "Content-Length" not in answer.headers
    assert answer.content == body


def test_chunks_that_break_off(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Framed())
    simulator.faults.add(PATH, Truncate(offset=7000))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(url)


@pytest.mark.parametrize(
    ("fault", "said", "start", "stop"),
    [
        (http_faults.OtherPart(shift=100), "bytes 1100-2099/{size}", 1100, 2100),
        (http_faults.OtherPart(shift=-100), "bytes 900-1999/{size}", 900, 2000),
        (http_faults.OtherPart(longest=10), "bytes 1000-1009/{size}", 1000, 1010),
    ],
)
def test_another_part_that_says_so(
    simulator: Simulator,
    client: requests.Session,
    url: str,
    body: bytes,
    *,
    fault: http_faults.OtherPart,
    said: str,
    start: int,
    stop: int,
) -> None:
    simulator.faults.add(PATH, fault, times=None)
    answer, came = raw(client, url, PART)
    assert answer.headers["Content-Range"] == said.format(size=len(body))
    assert came == body[start:stop]
    assert client.get(url).content == body


def test_one_part_as_many(simulator: Simulator, client: requests.Session, url: str, body: bytes) -> None:
    simulator.faults.add(PATH, http_faults.Multipart())
    answer, came = raw(client, url, PART)
    assert answer.status_code == 206
    assert "Content-Range" not in answer.headers
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert body[1000:2000] in came


def test_a_part_that_exists_is_refused(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Unsatisfied(total=7))
    answer, _ = raw(client, url, PART)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */7")


def test_redirects_that_lead_nowhere(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Redirect(location=PATH), times=None)
    with pytest.raises(requests.exceptions.TooManyRedirects):
        client.get(url)


def test_a_page_under_another_type(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, http_faults.Page())
    answer = client.get(url)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert b"<html>" in answer.content


def test_a_clock_that_is_wrong(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, Header(name="Date", value="Thu, 01 Jan 1970 00:00:00 GMT"))
    assert client.get(url).headers["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
