"""HTTP as upstream speaks it, asked by requests over real sockets."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.simulator.stand_ins import CoreFacts, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = "/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"


def test_a_wheel_is_served_with_the_headers_of_a_file(simulator: Simulator, client: requests.Session) -> None:
    answer = client.get(simulator.url + WHEEL)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "binary/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["Last-Modified"] == "Wed, 24 Jul 2024 15:10:34 GMT"
    assert answer.headers["ETag"].startswith('"')
    assert "Cache-Control" not in answer.headers


def test_head_says_the_same_without_a_body(simulator: Simulator, client: requests.Session) -> None:
    whole, head = client.get(simulator.url + WHEEL), client.head(simulator.url + WHEEL)
    assert head.content == b""
    for name in ("Content-Length", "ETag", "Last-Modified", "Accept-Ranges", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-50", 206, slice(-50, None)),
        ("bytes=-99999999", 206, slice(0, None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=9-5", 200, slice(0, None)),
        ("bytes=0-1,5-9", 200, slice(0, None)),
        ("lines=0-9", 200, slice(0, None)),
    ],
)
def test_ranges(simulator: Simulator, client: requests.Session, asked: str, status: int, part: slice) -> None:
    whole = client.get(simulator.url + WHEEL).content
    answer = client.get(simulator.url + WHEEL, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, whole[part])
    if status == 206:
        start, stop, _ = part.indices(len(whole))
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_is_not_satisfiable(simulator: Simulator, client: requests.Session, asked: str) -> None:
    size = len(client.get(simulator.url + WHEEL).content)
    answer = client.get(simulator.url + WHEEL, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{size}"


def test_if_range_guards_a_part(simulator: Simulator, client: requests.Session) -> None:
    url = simulator.url + WHEEL
    head = client.head(url).headers
    for condition, status in ((head["ETag"], 206), (head["Last-Modified"], 206), ('"other"', 200)):
        answer = client.get(url, headers={"Range": "bytes=10-", "If-Range": condition})
        assert answer.status_code == status


def test_pages_are_revalidated(simulator: Simulator, client: requests.Session) -> None:
    url = f"{simulator.url}/cu121/torch/"
    page = client.get(url)
    assert page.headers["Cache-Control"] == "max-age=600, public, must-revalidate"
    for condition in (
        {"If-None-Match": page.headers["ETag"]},
        {"If-None-Match": f'"x", W/{page.headers["ETag"]}'},
        {"If-Modified-Since": page.headers["Last-Modified"]},
    ):
        again = client.get(url, headers=condition)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == page.headers["ETag"]
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get(url, headers={"If-Modified-Since": "Mon, 01 Jan 2018 00:00:00 GMT"}).status_code == 200


def test_what_is_missing_is_forbidden_on_the_first_host_and_absent_on_the_second(
    simulator: Simulator, client: requests.Session
) -> None:
    first = client.get(f"{simulator.url}/cu121/pycparser/")
    assert (first.status_code, first.headers["Content-Type"]) == (403, "application/xml")
    assert b"<Code>AccessDenied</Code><Message>Access Denied</Message>" in first.content
    second = client.get(f"{simulator.second_url}/whl/cu121/nothing.whl")
    assert (second.status_code, second.headers["Content-Type"]) == (404, "text/html")


def test_directories_answer_without_the_trailing_slash_and_without_redirect(
    simulator: Simulator, client: requests.Session
) -> None:
    for path in ("/cu121", "/rocm6.1", "/cu121/torch", ""):
        bare = client.get(simulator.url + path, allow_redirects=False)
        assert (bare.status_code, bare.content) == (200, client.get(f"{simulator.url}{path}/").content)


def test_both_hosts_serve_the_same_bytes_under_different_etags(simulator: Simulator, client: requests.Session) -> None:
    first, second = client.get(simulator.url + WHEEL), client.get(f"{simulator.second_url}/whl{WHEEL}")
    assert first.content == second.content
    assert first.headers["ETag"] != second.headers["ETag"]


def test_sidecars_exist_only_where_upstream_has_them(simulator: Simulator, client: requests.Session) -> None:
    assert client.get(f"{simulator.url}{WHEEL}.metadata").status_code == 403
    newer = "/cu130/torch-2.11.0%2Bcu130-cp310-cp310-manylinux_2_28_x86_64.whl"
    sidecar = client.get(f"{simulator.url}{newer}.metadata")
    assert sidecar.content.startswith(b"Metadata-Version: 2.1\nName: torch\nVersion: 2.11.0+cu130\n")
    page = client.get(f"{simulator.url}/cu130/torch/").text
    assert f'data-core-metadata="sha256={hashlib.sha256(sidecar.content).hexdigest()}"' in page


def test_the_log_tells_what_was_asked(client: requests.Session) -> None:
    with Simulator(Spec()) as simulator:
        client.get(f"{simulator.url}/a%2Bb/?x=1", headers={"Range": "bytes=0-1"})
        client.head(f"{simulator.second_url}/c")
        first, second = simulator.requests
        assert (first.host, first.method, first.path, first.status) == (Host.FIRST, "GET", "/whl/a+b/", 403)
        assert first.target == "/whl/a%2Bb/?x=1"
        assert first.headers["range"] == "bytes=0-1"
        assert (second.host, second.method, second.path, second.status) == (Host.SECOND, "HEAD", "/c", 404)
        assert simulator.requests.paths() == ["/whl/a+b/"]
        simulator.requests.clear()
        assert len(simulator.requests) == 0


def test_a_connection_is_kept_alive_and_does_not_hold_up_the_end() -> None:
    with Simulator(Spec()) as simulator:
        address = urlsplit(simulator.url)
        assert address.hostname == "127.0.0.1"
        with socket.create_connection((address.hostname, address.port or 0)) as connection:
            for _ in range(2):
                connection.sendall(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 403")
            simulator.close()
            assert connection.recv(4096) == b""
    assert [thread.name for thread in threading.enumerate() if "_Server" in thread.name] == []


def test_a_file_on_disk_is_served_in_parts(tmp_path: Path, client: requests.Session) -> None:
    name = "torch-9.0+cpu-cp311-cp311-linux_x86_64.whl"
    with Simulator(Spec()) as simulator:
        offer = simulator.spec.add_wheel("cpu", name, requires=["filelock"], padding=3_000_000)
        body = simulator.spec.body(offer)
        (tmp_path / name).write_bytes(body.read(0, body.size))
        simulator.spec.add_wheel("cpu", name, body=tmp_path / name)
        url = f"{simulator.url}/cpu/torch-9.0%2Bcpu-cp311-cp311-linux_x86_64.whl"
        assert hashlib.sha256(client.get(url).content).hexdigest() == body.sha256
        assert client.get(url, headers={"Range": "bytes=2000000-2000009"}).content == body.read(2_000_000, 10)
        assert b"Requires-Dist: filelock" in client.get(f"{url}.metadata").content
        assert body.sha256 in client.get(f"{simulator.url}/cpu/torch/").text


def test_many_clients_at_once_get_the_same_bytes(simulator: Simulator) -> None:
    def fetched(_: int) -> str:
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(f"{simulator.url}/cu124/torch/").text
            wheel = session.get(f"{simulator.url}/cu124/torch-2.4.0%2Bcu124-cp310-cp310-linux_x86_64.whl").content
            assert hashlib.sha256(wheel).hexdigest() in page
            return page

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(fetched, range(24)))) == 1


def test_it_can_be_started_from_the_command_line(tmp_path: Path, client: requests.Session) -> None:
    name = "demo-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(build_wheel(name, CoreFacts()))
    command = [sys.executable, "-m", "pytorch_offline.simulator", "--only", "--wheel", "cpu", str(tmp_path / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        label, url = process.stdout.readline().split()
        assert label == "upstream"
        assert client.get(f"{url}/cpu/{name}").content == (tmp_path / name).read_bytes()
        assert client.get(f"{url}/cpu/torch/").status_code == 403
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
