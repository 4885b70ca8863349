from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler import page as page_module
from pytorch_offline.crawler import reader as reader_module
from pytorch_offline.crawler.model import PARSER_VERSION, HashChange, PageKind, PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.errors import UpstreamError
from tests.crawler.site import S3_DENIAL, Answer, Site

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.net import Http
    from tests.crawler.conftest import Clock

PAGE = "/whl/cpu/x/"
H1, H2 = "1" * 64, "2" * 64


def href(name: str, sha256: str | None = H1) -> str:
    return f"/whl/cpu/{name}-1-py3-none-any.whl" + (f"#sha256={sha256}" if sha256 else "")


def test_a_page_is_new_then_unchanged_then_changed(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    url = site.base + "/cpu/x/"
    site.files(PAGE, [href("a"), href("b", None)])
    first = IndexReader(http, catalogue, now=clock).read(url)
    assert (first.status, first.kind) == (PageStatus.NEW, PageKind.FILES)
    assert [(file.name.project, file.link.sha256, file.page_url) for file in first.files] == [
        ("a", H1, url),
        ("b", None, url),
    ]
    second = IndexReader(http, catalogue, now=clock).read(url)
    assert second.status is PageStatus.UNCHANGED
    assert second.files == first.files
    assert [asked.status for asked in site.asked] == [200, 304]
    site.files(PAGE, [href("a", H2), href("c")])
    reader = IndexReader(http, catalogue, now=clock)
    update = reader.update(url)
    assert update.status is PageStatus.CHANGED
    assert update.change.changed == (HashChange(path="/whl/cpu/a-1-py3-none-any.whl", before=H1, after=H2),)
    assert [file.name.project for file in reader.read(url).files] == ["a", "c"]
    assert [asked.status for asked in site.asked] == [200, 304, 200]


def test_equal_bytes_without_a_validator_are_not_parsed_again(
    site: Site, http: Http, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files(PAGE, [href("a")])
    site.answers[PAGE] = Answer(site.answers[PAGE].body, etag=False)
    url = site.base + "/cpu/x/"
    first = IndexReader(http, catalogue).read(url)

    def fail(*_: object) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(page_module, "parse_page", fail)
    second = IndexReader(http, catalogue).read(url)
    assert (second.status, second.files) == (PageStatus.UNCHANGED, first.files)
    assert [asked.status for asked in site.asked] == [200, 200]


def test_last_modified_is_used_where_there_is_no_etag(site: Site, http: Http, catalogue: Catalogue) -> None:
    site.files(PAGE, [href("a")])
    moment = "Wed, 21 Jan 2026 07:28:00 GMT"
    site.answers[PAGE] = Answer(site.answers[PAGE].body, etag=False, headers={"Last-Modified": moment})
    for _ in range(2):
        IndexReader(http, catalogue).read(site.base + "/cpu/x/")
    assert site.asked[1].headers["If-Modified-Since"] == moment


def test_a_page_is_asked_for_once_in_a_run_unless_it_must_be_fresh(
    site: Site, http: Http, catalogue: Catalogue
) -> None:
    site.files(PAGE, [href("a")])
    reader = IndexReader(http, catalogue)
    url = site.base + "/cpu/x/"
    with ThreadPoolExecutor(8) as pool:
        readings = list(pool.map(reader.read, [url] * 16))
    assert {id(reading) for reading in readings} == {id(readings[0])}
    assert len(site.asked) == 1
    site.files(PAGE, [href("b")])
    assert reader.read(url).files == readings[0].files
    assert [file.name.project for file in reader.read(url, fresh=True).files] == ["b"]
    assert len(site.asked) == 2


def test_a_page_read_by_an_older_parser_is_read_again(
    site: Site, http: Http, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files(PAGE, [href("a")])
    url = site.base + "/cpu/x/"
    IndexReader(http, catalogue).read(url)
    monkeypatch.setattr(reader_module, "PARSER_VERSION", PARSER_VERSION + 1)
    assert IndexReader(http, catalogue).read(url).status is PageStatus.CHANGED
    assert "If-None-Match" not in site.asked[1].headers


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_denied_or_missing_is_absent(site: Site, http: Http, catalogue: Catalogue, status: int) -> None:
    site.answers[PAGE] = Answer(b"<html>no</html>", status=status, etag=False)
    reading = IndexReader(http, catalogue).read(site.base + "/cpu/x/")
    assert (reading.status, reading.kind, reading.files) == (PageStatus.ABSENT, None, ())


def test_a_page_that_goes_and_comes_back(site: Site, http: Http, catalogue: Catalogue) -> None:
    url = site.base + "/cpu/x/"
    site.files(PAGE, [href(name) for name in "abcdef"])
    whole = site.answers[PAGE]
    IndexReader(http, catalogue).read(url)
    site.answers[PAGE] = Answer(S3_DENIAL, status=403, etag=False)
    gone = IndexReader(http, catalogue).read(url)
    assert gone.status is PageStatus.ABSENT
    assert len(gone.warnings) == 1
    assert len(catalogue.unlisted(url)) == 6
    site.answers[PAGE] = whole
    back = IndexReader(http, catalogue).update(url)
    assert back.status is PageStatus.NEW
    assert len(back.change.returned) == 6
    assert (back.change.new, back.change.changed) == ((), ())


def test_a_gateway_that_refuses_a_known_page_takes_nothing_away(site: Site, http: Http, catalogue: Catalogue) -> None:
    url = site.base + "/cpu/x/"
    site.files(PAGE, [href("a")])
    IndexReader(http, catalogue).read(url)
    site.answers[PAGE] = Answer(b"<html>Blocked by policy</html>", status=403, etag=False)
    with pytest.raises(UpstreamError) as caught:
        IndexReader(http, catalogue).read(url)
    assert caught.value.code == "page-refused"
    assert len(catalogue.links(url)) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(b"<html>Just a moment...</html>"), "not-an-index-page"),
        (Answer(b"", etag=False), "transfer-broken"),
        (Answer(b"oops", status=503), "server-error"),
        (Answer(b"oops", status=500), "server-error"),
        (Answer(b"slow down", status=429), "server-error"),
        (Answer(b"who are you", status=401), "unexpected-status"),
        (Answer(b'{"meta": {"api-version": "9.0"}, "files": []}'), "unsupported-index-version"),
    ],
)
def test_what_is_no_page_replaces_nothing(
    site: Site, http: Http, catalogue: Catalogue, answer: Answer, code: str
) -> None:
    url = site.base + "/cpu/x/"
    site.files(PAGE, [href("a")])
    before = IndexReader(http, catalogue).read(url)
    record = catalogue.page(url)
    site.answers[PAGE] = answer
    reader = IndexReader(http, catalogue)
    with pytest.raises(UpstreamError) as caught:
        reader.read(url)
    assert caught.value.code == code
    assert catalogue.page(url) == record
    assert IndexReader(http, catalogue, offline=True).read(url).files == before.files


def test_a_page_that_shrinks_is_taken_and_told(site: Site, http: Http, catalogue: Catalogue) -> None:
    url = site.base + "/"
    site.project_list("/whl/", [f"p{number}" for number in range(100)])
    assert IndexReader(http, catalogue).read(url).warnings == ()
    site.project_list("/whl/", [f"p{number}" for number in range(64)])
    reading = IndexReader(http, catalogue).read(url)
    assert len(reading.projects) == 64
    assert "lost 36 of its 100 links" in reading.warnings[0]
    assert len(catalogue.projects(url, with_unlisted=True)) == 100
    site.project_list("/whl/", [f"p{number}" for number in range(60)])
    assert IndexReader(http, catalogue).read(url).warnings == ()


def test_offline_reads_only_what_was_read_before(site: Site, http: Http, catalogue: Catalogue) -> None:
    site.files(PAGE, [href("a")])
    online = IndexReader(http, catalogue)
    online.read(site.base + "/cpu/x/")
    online.read(site.base + "/cpu/absent/")
    asked = len(site.asked)
    offline = IndexReader(http, catalogue, offline=True)
    assert offline.read(site.base + "/cpu/x/").status is PageStatus.RECORDED
    assert [file.name.project for file in offline.read(site.base + "/cpu/x/").files] == ["a"]
    assert offline.read(site.base + "/cpu/absent/").status is PageStatus.ABSENT
    with pytest.raises(UpstreamError) as caught:
        offline.read(site.base + "/cpu/never/")
    assert caught.value.code == "not-in-catalogue"
    assert len(site.asked) == asked


def test_links_are_relative_to_where_a_redirect_ends(site: Site, http: Http, catalogue: Catalogue) -> None:
    site.answers["/simple/Foo_Bar/"] = Answer(b"moved", status=301, headers={"Location": "/pool/foo-bar/"}, etag=False)
    site.files("/pool/foo-bar/", ["foo_bar-1-py3-none-any.whl"])
    url = site.base.removesuffix("/whl") + "/simple/Foo_Bar/"
    (file,) = IndexReader(http, catalogue).read(url).files
    assert file.link.path == "/pool/foo-bar/foo_bar-1-py3-none-any.whl"
    # The same bytes at another place say something else.
    site.answers["/simple/Foo_Bar/"] = Answer(b"moved", status=302, headers={"Location": "/other/"}, etag=False)
    site.answers["/other/"] = Answer(site.answers["/pool/foo-bar/"].body, etag=False)
    (file,) = IndexReader(http, catalogue).read(url).files
    assert file.link.path == "/other/foo_bar-1-py3-none-any.whl"


def test_json_is_preferred_and_caches_are_passed_by(site: Site, http: Http, catalogue: Catalogue) -> None:
    site.page(
        PAGE, b'{"meta": {"api-version": "1.1"}, "files": [{"filename": "a-1-py3-none-any.whl", "url": "a.whl"}]}'
    )
    (file,) = IndexReader(http, catalogue).read(site.base + "/cpu/x/").files
    assert file.name.filename == "a-1-py3-none-any.whl"
    headers = site.asked[0].headers
    assert headers["Accept"].startswith("application/vnd.pypi.simple.v1+json, ")
    assert "text/html;q=" in headers["Accept"]
    assert headers["Cache-Control"] == "max-age=0"


def test_a_password_is_used_and_not_kept(site: Site, http: Http, catalogue: Catalogue) -> None:
    site.files(PAGE, ["../a-1-py3-none-any.whl", "https://other.example/b-1-py3-none-any.whl"])
    url = site.base.replace("http://", "http://me:pass@") + "/cpu/x/"
    own, other = IndexReader(http, catalogue).read(url).files
    assert site.asked[0].headers["Authorization"].startswith("Basic ")
    assert own.link.url.startswith("http://me:pass@")
    assert other.link.url == "https://other.example/b-1-py3-none-any.whl"
    assert all("pass" not in link.url for link in catalogue.links(url))


def test_a_directory_on_disk_is_an_index(tmp_path: Path, http: Http, catalogue: Catalogue) -> None:
    directory = tmp_path / "wheels"
    directory.mkdir()
    (directory / "torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl").write_bytes(b"x")
    (directory / "notes.txt").write_bytes(b"x")
    reading = IndexReader(http, catalogue).read(directory.as_uri() + "/")
    assert [file.name.filename for file in reading.files] == ["torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl"]
    assert reading.files[0].link.url.endswith("torch-2.4.0%2Bcpu-cp310-cp310-linux_x86_64.whl")
    assert IndexReader(http, catalogue).read((tmp_path / "none").as_uri() + "/").status is PageStatus.ABSENT


def test_different_pages_are_read_at_the_same_time(site: Site, http: Http, catalogue: Catalogue) -> None:
    for number in range(6):
        site.files(f"/whl/p{number}/", [href(f"p{number}")])
    reader = IndexReader(http, catalogue)
    barrier = threading.Barrier(6)

    def read(number: int) -> str:
        barrier.wait()
        return reader.read(f"{site.base}/p{number}/").files[0].name.project

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, range(6))) == [f"p{number}" for number in range(6)]
