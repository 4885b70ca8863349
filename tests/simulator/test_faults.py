"""Each fault, as a client sees it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
import requests

from pytorch_offline.simulator import faults
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.simulator.conftest import NAME, PATH

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    spec = Spec()
    spec.add_wheel("cpu", NAME, requires=[], padding=200_000)
    with Simulator(spec) as running:
        yield running


def received(client: requests.Session, url: str) -> bytes:
    """What arrives before the connection breaks; no protection by the client's own length check."""
    data = b""
    with client.get(url, stream=True) as answer:
        answer.raw.enforce_content_length = False
        try:
            for chunk in iter(lambda: answer.raw.read(1000), b""):
                data += chunk
        except Exception:  # noqa: BLE001, S110  (urllib3 has several names for it)
            pass
    return data


@pytest.mark.parametrize("fault", [faults.Reset(offset=70_000), faults.Truncate(offset=70_000)])
def test_a_body_that_breaks_off(
    simulator: Simulator, client: requests.Session, url: str, body: bytes, fault: faults.Fault
) -> None:
    simulator.faults.add(PATH, fault, times=2)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        client.get(url)
    if isinstance(fault, faults.Truncate):
        assert received(client, url) == body[:70_000]
    else:
        assert len(received(client, url)) < len(body)
    assert client.get(url).content == body


def test_a_reset_before_any_answer(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, faults.Reset())
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get(url)
    assert client.get(url).status_code == 200


def test_wrong_bytes_in_the_middle(simulator: Simulator, client: requests.Session, url: str, body: bytes) -> None:
    simulator.faults.add(PATH, faults.WrongBytes(positions=(100, 50_000)), times=None)
    for start in (0, 40_000):
        spoilt = client.get(url, headers={"Range": f"bytes={start}-"}).content
        different = [start + place for place, byte in enumerate(spoilt) if byte != body[start + place]]
        assert different == [place for place in (100, 50_000) if place >= start]


def test_an_error_with_retry_after(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, faults.Status(code=503, retry_after="7"))
    answer = client.get(url)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")


def test_a_range_that_is_ignored(simulator: Simulator, client: requests.Session, url: str, body: bytes) -> None:
    simulator.faults.add(PATH, faults.IgnoreRange())
    answer = client.get(url, headers={"Range": "bytes=100-"})
    assert (answer.status_code, answer.content) == (200, body)
    assert "Content-Range" not in answer.headers


def test_a_range_that_is_not_the_one_asked_for(
    simulator: Simulator, client: requests.Session, url: str, body: bytes
) -> None:
    simulator.faults.add(PATH, faults.WrongContentRange(shift=5))
    answer = client.get(url, headers={"Range": "bytes=100-199"})
    assert (answer.content, answer.headers["Content-Range"]) == (body[100:200], f"bytes 105-204/{len(body)}")
    simulator.faults.add(PATH, faults.WrongPart(shift=5))
    answer = client.get(url, headers={"Range": "bytes=100-199"})
    assert (answer.content, answer.headers["Content-Range"]) == (body[105:205], f"bytes 100-199/{len(body)}")


def test_a_file_that_changes_in_mid_download(
    simulator: Simulator, client: requests.Session, url: str, body: bytes
) -> None:
    before = client.head(url).headers["ETag"]
    simulator.faults.add(PATH, faults.Changed(body=b"new" * 100, offset=1000))
    assert len(received(client, url)) <= 1000
    after = client.get(url, headers={"Range": "bytes=1000-", "If-Range": before})
    assert (after.status_code, after.content) == (200, b"new" * 100)
    assert after.headers["ETag"] != before
    assert body != after.content


def test_a_challenge_in_place_of_a_page(simulator: Simulator, client: requests.Session) -> None:
    simulator.faults.add("/whl/cpu/*", faults.Challenge())
    answer = client.get(f"{simulator.url}/cpu/demo/")
    assert answer.status_code == 200
    assert "<a " not in answer.text
    assert "<script>" in answer.text


def test_a_script_in_a_page(simulator: Simulator, client: requests.Session) -> None:
    page = f"{simulator.url}/cpu/demo/"
    sound = client.get(page).text
    simulator.faults.add("/whl/cpu/demo/", faults.InjectedScript())
    spoilt = client.get(page).text
    assert "</a><br/>\n<script>(function(){" in spoilt
    assert spoilt.count("<a ") == sound.count("<a ") == 1
    assert re.sub("<script>.*</script></body>\n", "  </body>\n", spoilt) == sound


def test_slowness_and_a_stall_deliver_everything_in_the_end(
    simulator: Simulator, client: requests.Session, url: str, body: bytes
) -> None:
    simulator.faults.add(PATH, faults.Slow(bytes_per_second=1_000_000))
    simulator.faults.add(PATH, faults.Stall(offset=100_000, seconds=0.1))
    before = time.monotonic()
    assert client.get(url).content == body
    assert time.monotonic() - before > 0.25  # slower than that it may be, never quicker


def test_a_stall_does_not_hold_up_the_end(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, faults.Stall(offset=10))
    with client.get(url, stream=True) as answer:
        simulator.close()
        with pytest.raises(requests.exceptions.RequestException):
            _ = answer.content


def test_an_empty_body(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, faults.Empty())
    answer = client.get(url)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("delta", [-1000, 1000])
def test_a_length_that_lies(simulator: Simulator, client: requests.Session, url: str, body: bytes, delta: int) -> None:
    simulator.faults.add(PATH, faults.LyingLength(delta=delta), times=2, method=None)
    assert client.head(url).headers["Content-Length"] == str(len(body) + delta)
    if delta < 0:
        assert client.get(url).content == body[:delta]
    else:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            client.get(url)


def test_headers_and_bodies_can_be_swapped(simulator: Simulator, client: requests.Session, url: str) -> None:
    simulator.faults.add(PATH, faults.Header(name="ETag", value='"stale"'))
    simulator.faults.add(PATH, faults.Swapped(body=b"stale"))
    answer = client.get(url)
    assert (answer.headers["ETag"], answer.content) == ('"stale"', b"stale")


def test_rules_count_and_match(simulator: Simulator, client: requests.Session, url: str) -> None:
    rule = simulator.faults.add("/whl/*/demo-*.whl", faults.Status(code=500), times=2, skip=1)
    assert [client.get(url).status_code for _ in range(4)] == [200, 500, 500, 200]
    assert rule.hits == 2
    assert client.head(url).status_code == 200
    simulator.faults.add("*", faults.Status(code=502), times=None, method=None)
    assert [client.head(url).status_code, client.get(url).status_code] == [502, 502]
    simulator.faults.clear()
    assert client.get(url).status_code == 200
