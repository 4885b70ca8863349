"""A login page, a challenge or an error with status 200 is no index page, and takes nothing away that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.model import PageKind
from pytorch_offline.crawler.page import parse_page
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.errors import UpstreamError
from pytorch_offline.net import Http
from pytorch_offline.wheels.other_bodies import describe_body, is_page
from tests.loopback import Answer, Loopback

if TYPE_CHECKING:
    from pathlib import Path

PRETENDERS = {
    "a login form": (
        b"<html><title>Log &amp; in</title><form action='/login'><a href='login'>login</a></form></html>",
        "'Log & in'",
    ),
    "a refresh": (
        b"<meta http-equiv='refresh' content='0;url=login'><a href='login'>login</a>",
        "HTML",
    ),
    "links of a portal": (
        b"<html><a href='/terms'>Terms</a><a href='help'>help</a><a href='/privacy'>Privacy</a></html>",
        "HTML",
    ),
    "a program to download": (
        b"<html><title>VPN</title><a href='/vpn-setup.exe'>Install</a></html>",
        "'VPN'",
    ),
    "a manual to download": (
        b"<html><title>Wi-Fi</title><a href='manual.zip'>Manual</a></html>",
        "'Wi-Fi'",
    ),
    "a page of scripts": (
        b"<!DOCTYPE html><html><body><div id=root></div><script src=/app.js></script></body></html>",
        "HTML",
    ),
    "a challenge": (
        b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>",
        "'Just a moment...'",
    ),
    "an error of S3": (
        b"<?xml version='1.0'?>\n<Error><Code>SlowDown</Code><Message>Reduce</Message></Error>",
        "(SlowDown)",
    ),
    "an XML document": (
        b"<?xml version='1.0'?><list/>",
        "an XML document",
    ),
    "an error in JSON": (
        b'{"message": "Forbidden"}',
        '"Forbidden"',
    ),
    "errors in JSON": (
        b'{"errors": [{"status": 403}]}',
        "JSON",
    ),
    "a list in JSON": (
        b"[]",
        "JSON",
    ),
    "text": (
        b"OK",
        "something else",
    ),
}
INDEXES = {
    "the least list of projects": b"<!DOCTYPE html><html><body><a href='/simple/torch/'>torch</a></body></html>",
    "sources alone": b"<a href='../files/torch-1.0.tar.gz'>torch-1.0.tar.gz</a>",
    "an old installer for Windows": b"<a href='torch-1.0.win-amd64-py3.6.exe'>torch-1.0.win-amd64-py3.6.exe</a>",
    "an empty page of files": b"<html><h1>Links for torch</h1></html>",
    "files beside a form": b"<form><input></form><a href='torch-1.0-py3-none-any.whl'>torch-1.0-py3-none-any.whl</a>",
}


@pytest.mark.parametrize("name", INDEXES)
def test_index_pages_are_still_known(name: str) -> None:
    assert parse_page(INDEXES[name], "https://index.example/simple/").kind in {PageKind.FILES, PageKind.PROJECT_LIST}


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize("name", PRETENDERS)
def test_what_is_known_stays(tmp_path: Path, name: str, redirected: bool) -> None:  # noqa: FBT001
    body, told = PRETENDERS[name]
    listing = b"<a href='torch-1.0-py3-none-any.whl'>torch-1.0-py3-none-any.whl</a>"
    with (
        Loopback(lambda _: Answer(body=listing)) as server,
        Loopback(lambda _: Answer(body=body)) as portal,
        Http() as http,
        Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue,
    ):
        page = f"{server.url}/simple/torch/"
        before = IndexReader(http, catalogue).read(page)
        login = portal.url.replace("127.0.0.1", "localhost")
        moved = Answer(status=302, headers={"Location": f"{login}/login?from={page}"})
        server.answer = lambda _: moved if redirected else Answer(body=body)
        with pytest.raises(UpstreamError) as caught:
            IndexReader(http, catalogue).read(page, fresh=True)
        after = IndexReader(http, catalogue, offline=True).read(page)
    if name == "links of a portal" and redirected:  # which look like projects there
        assert caught.value.code == "page-refused"
        assert "localhost" in caught.value.message
    else:
        assert caught.value.code == "not-an-index-page"
        assert told in caught.value.message
    assert "browser" in (caught.value.hint or "")
    assert [file.link for file in after.files] == [file.link for file in before.files] != []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_portal_that_has_no_such_page_takes_nothing_away(tmp_path: Path, status: int) -> None:
    listing = b"<a href='torch-1.0-py3-none-any.whl'>torch-1.0-py3-none-any.whl</a>"
    with (
        Loopback(lambda _: Answer(body=listing)) as server,
        Loopback(lambda _: Answer(status=status, body=b"<Error><Code>AccessDenied</Code></Error>")) as portal,
        Http() as http,
        Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue,
    ):
        page = f"{server.url}/simple/torch/"
        IndexReader(http, catalogue).read(page)
        moved = Answer(status=302, headers={"Location": portal.url.replace("127.0.0.1", "localhost")})
        server.answer = lambda _: moved
        with pytest.raises(UpstreamError) as caught:
            IndexReader(http, catalogue).read(page, fresh=True)
        assert caught.value.code == "page-refused"
        assert len(IndexReader(http, catalogue, offline=True).read(page).files) == 1
        server.answer = lambda _: Answer(status=status, body=b"<Error><Code>AccessDenied</Code></Error>")
        assert IndexReader(http, catalogue).read(page, fresh=True).files == ()


@given(st.binary(max_size=300), st.none() | st.text(max_size=20))
def test_any_body_is_described(body: bytes, content_type: str | None) -> None:
    assert describe_body(body, content_type)
    assert not is_page(b"PK\x03\x04" + body)
