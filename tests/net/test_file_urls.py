from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.addresses import file_path
from pytorch_offline.errors import UpstreamError
from pytorch_offline.file_urls import render_listing, requested_range
from pytorch_offline.net import Http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
BODY = bytes(range(256))


@pytest.fixture
def http() -> Iterator[Http]:
    with Http() as client:
        yield client


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "whl" / "torch").mkdir(parents=True)
    (tmp_path / "whl" / NAME).write_bytes(BODY)
    (tmp_path / "whl" / "torch" / "index.html").write_text("<a href='x'>x</a>", encoding="utf-8")
    return tmp_path


def test_a_file_is_served_in_both_spellings_of_plus(http: Http, root: Path) -> None:
    for name in (NAME, NAME.replace("+", "%2B")):
        response = http.get(f"file://{root}/whl/{name}#sha256=abc")
        assert (response.status, response.body) == (200, BODY)
        with http.stream(f"file://localhost{root}/whl/{name}") as stream:
            assert stream.length == len(BODY)
            assert b"".join(stream.iter_chunks(100)) == BODY


def test_a_directory_is_its_index_and_has_a_slash(http: Http, root: Path) -> None:
    for url in (f"file://{root}/whl/torch", f"file://{root}/whl/torch/"):
        response = http.get(url)
        assert response.body == b"<a href='x'>x</a>"
        assert response.url == f"file://{root}/whl/torch/"


def test_a_directory_without_index_is_listed(http: Http, root: Path) -> None:
    response = http.get(f"file://{root}/whl/")
    hrefs = re.findall(rb'href="([^"]*)"', response.body)
    assert sorted(hrefs) == [b"./torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl", b"./torch/"]
    for href in hrefs:
        assert http.get(urljoin(response.url, href.decode())).status == 200


@pytest.mark.parametrize(
    "path", ["absent", f"whl/{NAME}/", "%00", "whl/%zz", "a" * 300, "%ff%fe", "a/" * 3000, "whl%2Fabsent", "..%2f%00"]
)
def test_what_is_not_there_is_404(http: Http, root: Path, path: str) -> None:
    assert http.get(f"file://{root}/{path}").status == 404


def test_another_hosts_file_is_not_there(http: Http, root: Path) -> None:
    assert http.get(f"file://elsewhere{root}/whl/{NAME}").status == 404


def test_what_is_no_file_is_404(http: Http, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    assert http.get(f"file://{root}/pipe").status == 404
    assert http.get(f"file://{root}/loop").status == 404


@pytest.mark.parametrize(
    ("wanted", "status", "body", "said"),
    [
        ("bytes=0-0", 206, BODY[:1], "bytes 0-0/256"),
        ("bytes=10-", 206, BODY[10:], "bytes 10-255/256"),
        ("bytes=-6", 206, BODY[-6:], "bytes 250-255/256"),
        ("bytes=-1000", 206, BODY, "bytes 0-255/256"),
        ("bytes=255-999", 206, BODY[255:], "bytes 255-255/256"),
        ("bytes=256-", 416, b"", "bytes */256"),
        ("bytes=-0", 416, b"", "bytes */256"),
        ("bytes=5-4", 200, BODY, None),
        ("bytes=0-1,3-4", 200, BODY, None),
        ("items=0-1", 200, BODY, None),
        ("bytes=-", 200, BODY, None),
    ],
)
def test_ranges(root: Path, wanted: str, status: int, body: bytes, said: str | None) -> None:
    with Http() as http:
        response = http.get(f"file://{root}/whl/{NAME}", headers={"Range": wanted})
    assert (response.status, response.body, response.headers.get("Content-Range")) == (status, body, said)


def test_a_changed_file_is_served_whole_and_an_unchanged_one_not_again(http: Http, root: Path) -> None:
    url = f"file://{root}/whl/{NAME}"
    etag = http.get(url).headers["ETag"]
    assert http.get(url, headers={"Range": "bytes=0-0", "If-Range": etag}).status == 206
    assert http.get(url, headers={"If-None-Match": etag}).status == 304
    (root / "whl" / NAME).write_bytes(BODY * 2)
    assert http.get(url, headers={"Range": "bytes=0-0", "If-Range": etag}).status == 200
    assert http.get(url, headers={"If-None-Match": etag}).status == 200


@given(st.text(max_size=60), st.integers(0, 10**6))
def test_any_range_header_is_read_or_ignored(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        wanted = requested_range(text, size)
        assert wanted is None or (0 <= wanted.start <= wanted.stop <= size)


entries = st.binary(min_size=1, max_size=20).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}
)


@given(st.dictionaries(entries, st.booleans()))
def test_a_listing_names_every_entry_so_that_it_can_be_opened(names: dict[bytes, bool]) -> None:
    hrefs = re.findall(r'href="([^"]*)"', render_listing(names).decode())
    opened = [file_path(urljoin("file:///whl/", href)) for href in hrefs]
    assert sorted(os.fsencode(path) for path in opened if path is not None) == sorted(b"/whl/" + name for name in names)


@given(st.text(max_size=60))
def test_any_file_address_is_a_path_or_none(text: str) -> None:
    with contextlib.suppress(UpstreamError), Http() as http:
        assert http.get(f"file:///no-such-directory-here/{unquote(text).replace('..', '')}").status in {403, 404}
