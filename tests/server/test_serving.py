"""A mirror served over HTTP: what clients ask, as they ask it."""

from __future__ import annotations

import gzip
import os
import re
import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.resources import StoredFile
from pytorch_offline.server.tree import following
from tests.mirror.loopback import sized_wheel
from tests.mirror.wheels import craft_wheel
from tests.server.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TORCH = sized_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl", 200_000)
NUMPY = craft_wheel("whl/numpy-1.26.4-cp311-cp311-linux_x86_64.whl")
MANY = [craft_wheel(f"whl/sympy-1.{minor}-py3-none-any.whl") for minor in range(8)]
JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(root)
    for wheel in (TORCH, NUMPY, *MANY):
        wheel.admit(mirror)
    mirror.write_locks({"pylock.node.toml": b"lock-version = '1.0'\n"})
    mirror.publish()
    return root


@pytest.fixture(scope="module")
def serving(root: Path) -> Iterator[Serving]:
    with Serving.mirror(root) as serving:
        yield serving


def test_a_page_is_the_one_on_the_disk_in_each_form(serving: Serving, root: Path) -> None:
    for directory in ("whl", "whl/cu121", "whl/cu121/torch", "whl/numpy"):
        html, document = ((root / directory / name).read_bytes() for name in ("index.html", "index.v1+json"))
        assert serving.ask(f"/{directory}/").body == html
        assert serving.ask(f"/{directory}/", Accept=JSON).body == document
        assert serving.ask(f"/{directory}/?format={JSON}").body == document
        assert serving.ask(f"/{directory}/index.html", Accept=JSON).body == html
        assert serving.ask(f"/{directory}/index.v1+json").body == document
        assert serving.ask(f"/{directory}/index.v1%2Bjson").body == document
    flat = (root / "whl/cu121/torch_stable.html").read_bytes()
    assert serving.ask("/whl/cu121/torch_stable.html", Accept="text/html").body == flat
    assert serving.ask("/manifest.json").body == (root / "manifest.json").read_bytes()
    assert serving.ask("/locks/pylock.node.toml").body == b"lock-version = '1.0'\n"


def test_a_page_tells_caches_what_it_depends_on(serving: Serving) -> None:
    page = serving.ask("/whl/cu121/torch/", Accept=JSON)
    assert page.headers["content-type"] == JSON
    assert "Accept" in page.headers["vary"].split(", ")
    assert page.headers["cache-control"] == "no-cache"
    assert serving.ask("/whl/cu121/torch/", Accept="image/png").status == 406
    again = serving.ask("/whl/cu121/torch/", Accept=JSON, If_None_Match=page.headers["etag"])
    assert again.status == 304
    assert again.headers["etag"] == page.headers["etag"]
    # The same entity tag is not another form's.
    assert serving.ask("/whl/cu121/torch/", If_None_Match=page.headers["etag"]).status == 200


def test_a_page_comes_compressed_to_who_accepts_it_with_a_tag_of_its_own(serving: Serving) -> None:
    plain = serving.ask("/simple/sympy/", Accept=JSON)
    squeezed = serving.ask("/simple/sympy/", Accept=JSON, Accept_Encoding="gzip, deflate")
    assert squeezed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(squeezed.body) == plain.body
    assert squeezed.headers["etag"] != plain.headers["etag"]
    assert squeezed.headers["vary"] == plain.headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in plain.headers


def test_a_wheel_is_one_file_whether_its_plus_is_encoded_or_not(serving: Serving) -> None:
    for target in (WHEEL, WHEEL.replace("%2B", "+"), WHEEL.replace("cu121/", "cu121/flashinfer/")):
        wheel = serving.ask(target, Accept_Encoding="gzip")
        assert wheel.body == TORCH.body
        assert wheel.headers["etag"] == f'"{TORCH.sha256}"'
        assert "immutable" in wheel.headers["cache-control"]
        assert "content-encoding" not in wheel.headers
    assert serving.ask(f"{WHEEL}.metadata").body == TORCH.metadata
    head = serving.ask(WHEEL, method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(TORCH.body)))


def test_a_wheel_comes_in_ranges(serving: Serving) -> None:
    size = len(TORCH.body)
    single = serving.ask(WHEEL, Range="bytes=100-199")
    assert (single.status, single.body) == (206, TORCH.body[100:200])
    assert single.headers["content-range"] == f"bytes 100-199/{size}"
    assert serving.ask(WHEEL, Range="bytes=-70000").body == TORCH.body[-70000:]
    assert serving.ask(WHEEL, Range="bytes=5-", If_Range='"another"').status == 200
    assert serving.ask(WHEEL, Range="bytes=5-", If_Range=f'"{TORCH.sha256}"').body == TORCH.body[5:]
    beyond = serving.ask(WHEEL, Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    several = serving.ask(WHEEL, Range="bytes=0-9,100000-180000")
    boundary = several.headers["content-type"].partition("boundary=")[2]
    parts = several.body.split(f"--{boundary}".encode())
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]] == [
        TORCH.body[:10],
        TORCH.body[100000:180001],
    ]


def test_names_as_people_write_them_lead_to_the_page(serving: Serving) -> None:
    for asked, location in {
        "/whl/cu121/torch?x=%2F": "torch/?x=%2F",
        "/whl/cu121/Torch/": "../torch/",
        "/simple": "simple/",
        "/simple/NumPy": "numpy/",
    }.items():
        answer = serving.ask(asked)
        assert (answer.status, answer.headers["location"]) == (301, location)


@pytest.mark.parametrize(
    "target",
    [
        "/.state/admitted.jsonl",
        "/whl/../manifest.json",
        "/whl/%2e%2e/manifest.json",
        "/whl/..%2fmanifest.json",
        "/whl/%252e%252e/manifest.json",
        "//manifest.json",
        "/whl//cu121/",
        "/whl\\cu121/",
        "/locks/..",
        "/locks/../manifest.json",
        "/whl/cu121/nothing-1.0-py3-none-any.whl",
        "/elsewhere/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl",
        "/",
    ],
)
def test_what_is_no_path_of_the_tree_is_not_there(serving: Serving, target: str) -> None:
    assert serving.ask(target).status == 404


@pytest.mark.parametrize("target", ["/whl/%00", "/whl/%zz", "/whl/%ff", "whl/"])
def test_what_is_no_path_is_refused(serving: Serving, target: str) -> None:
    assert serving.ask(target).status == 400


def test_nothing_is_written(serving: Serving) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = serving.ask("/whl/", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_bad_file_is_given_to_nobody(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    for wheel in (TORCH, NUMPY):
        wheel.admit(mirror)
    mirror.publish()
    stored = tmp_path / TORCH.path
    sidecar = tmp_path / f"{NUMPY.path}.metadata"
    with Serving.mirror(tmp_path) as serving:
        os.truncate(stored, len(TORCH.body) - 1)
        assert serving.ask(WHEEL).status == 503
        os.truncate(stored, 100)
        assert serving.ask(WHEEL).status == 503
        stored.unlink()
        assert serving.ask(WHEEL).status == 503
        stored.symlink_to("/etc/hostname")
        assert serving.ask(WHEEL).status == 503
        sidecar.write_bytes(NUMPY.metadata.replace(b"numpy", b"nunpy"))
        assert serving.ask(f"/{NUMPY.path}.metadata").status == 503
        assert len(serving.said) == 5


def test_a_directory_may_be_a_link_a_file_may_not(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    for wheel in (TORCH, NUMPY):
        wheel.admit(mirror)
    mirror.publish()
    elsewhere = tmp_path / "another disk"
    (mirror.root / "whl/cu121").rename(elsewhere)
    (mirror.root / "whl/cu121").symlink_to(elsewhere)
    numpy = mirror.root / NUMPY.path
    numpy.rename(tmp_path / numpy.name)
    numpy.symlink_to(tmp_path / numpy.name)
    with Serving.mirror(mirror.root) as serving:
        assert serving.ask(WHEEL).body == TORCH.body
        assert serving.ask(f"/{NUMPY.path}").status == 503


def test_a_pipe_in_a_files_place_keeps_nobody(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    NUMPY.admit(mirror)
    mirror.publish()
    (tmp_path / NUMPY.path).unlink()
    os.mkfifo(tmp_path / NUMPY.path)
    with Serving.mirror(tmp_path) as serving:
        assert serving.ask(f"/{NUMPY.path}").status == 503
        assert "no regular file" in serving.said[0]


def test_what_is_published_meanwhile_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)
    mirror = Mirror(tmp_path / "later")
    with Serving.mirror(mirror.root) as serving:
        assert serving.ask("/whl/").status == 200
        NUMPY.admit(mirror)
        mirror.publish()
        wait_for(serving, "/whl/numpy/", 200)
        before = serving.ask("/whl/numpy/").body
        for broken in ("{", None):
            serving.said.clear()
            manifest = mirror.root / "manifest.json"
            whole = manifest.read_bytes()
            manifest.unlink() if broken is None else manifest.write_text(broken)
            wait_until(lambda: any("cannot be read now" in said for said in serving.said))
            assert serving.ask("/whl/numpy/").body == before
            manifest.write_bytes(whole)
            wait_until(lambda: any("new generation" in said for said in serving.said))
            assert serving.ask("/whl/numpy/").body == before


def test_a_complaint_is_made_once_however_many_clients_meet_its_cause(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    NUMPY.admit(mirror)
    mirror.publish()
    (tmp_path / NUMPY.path).unlink()
    with Serving.mirror(tmp_path) as serving:
        for _ in range(5):
            answer = serving.ask(f"/{NUMPY.path}")
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert len(serving.said) == 1


@dataclass
class OneFile:
    """A site that has one file, at every path."""

    file: StoredFile

    def find(self, path: str) -> StoredFile:
        del path
        return self.file

    async def bring(self, path: str) -> None:
        del path


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_transfer(tmp_path: Path) -> None:
    size = 64 << 20  # more than sockets hold
    large = tmp_path / "large.whl"
    large.touch()
    os.truncate(large, size)
    site = OneFile(
        StoredFile(path=large, size=size, sha256="0" * 64, content_type="application/octet-stream", immutable=True)
    )
    with Serving(site) as serving, socket.create_connection(("127.0.0.1", serving.port), 10) as client:
        client.sendall(b"GET /large.whl HTTP/1.1\r\nHost: mirror\r\n\r\n")
        received = len(client.recv(1000))
        os.truncate(large, 10_000)
        with suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                received += len(piece)
        assert received < size
        wait_until(lambda: any("became shorter" in said for said in serving.said))


def test_the_find_links_page_of_the_old_commands_lists_every_build_once(serving: Serving) -> None:
    page = serving.ask("/whl/torch_stable.html", Accept="text/html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(rb'href="([^#"]+)', page.body)
    assert links[:2] == [NUMPY.path.name.encode(), MANY[0].path.name.encode()]
    assert links[-1] == b"cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
    assert len(links) == len(set(links)) == 2 + len(MANY)


def wait_until(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for(serving: Serving, target: str, status: int) -> None:
    wait_until(lambda: serving.ask(target).status == status)


def test_a_connection_stays_open_between_requests(serving: Serving) -> None:
    connection = HTTPConnection("127.0.0.1", serving.port, timeout=10)
    with closing(connection):
        for _ in range(10):
            connection.request("GET", "/whl/")  # RemoteDisconnected, where it was closed after the last answer
            assert connection.getresponse().read()
            time.sleep(0.01)  # as a client that unpacks: what the loop does between two requests has its chance
