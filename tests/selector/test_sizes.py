"""How large wheels are whose pages do not say it: asked once, kept, and told again without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.model import IndexFile, Link
from pytorch_offline.net import Http
from pytorch_offline.selector.indexes.sizes import KnownSizes
from pytorch_offline.selector.model import Candidate, Choice, Request, Selection, Source
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.loopback import Answer, Loopback
from tests.loopback import Request as HttpRequest
from tests.selector.machines import machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 812_345_678


def selection(*links: Link) -> Selection:
    choices = []
    for link in links:
        file = IndexFile(name=parse_wheel_name(link.filename), link=link, page_url=link.url)
        candidate = Candidate(file=file, source=Source.UPSTREAM, backend=None, rank=0)
        choices.append(
            Choice(
                candidate=candidate,
                metadata=None,
                extras=frozenset(),
                specifier=SpecifierSet(),
                required_by=(),
                why="",
            )
        )
    return Selection(
        target=machine(), request=Request(requirements=()), backend=None, choices=tuple(choices), rejected=()
    )


def link(base: str, name: str = "one", **facts: object) -> Link:
    filename = f"{name}-1.0-py3-none-any.whl"
    values: dict[str, object] = {"sha256": "a" * 64, **facts}
    return Link(filename=filename, url=f"{base}/{filename}", path=f"/{filename}", **values)  # type: ignore[arg-type]


def tells(_: HttpRequest) -> Answer:
    return Answer(status=206, headers={"Content-Range": f"bytes 0-0/{SIZE}"}, body=b"P")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "catalogue.sqlite") as opened:
        yield opened


def test_a_size_that_was_learnt_is_kept(catalogue: Catalogue) -> None:
    with Loopback(tells) as server, Http() as http:
        wanted = link(server.url)
        for _ in range(2):
            assert KnownSizes(http, catalogue)([selection(wanted)]) == {wanted.url: SIZE}
        assert len(server.requests) == 1
        assert KnownSizes(None, catalogue)([selection(wanted)]) == {wanted.url: SIZE}
        assert len(server.requests) == 1


def test_what_an_address_has_is_asked_again_but_told_offline(catalogue: Catalogue) -> None:
    with Loopback(tells) as server, Http() as http:
        wanted = link(server.url, sha256=None)
        for _ in range(2):
            assert KnownSizes(http, catalogue)([selection(wanted)]) == {wanted.url: SIZE}
        assert len(server.requests) == 2
        assert KnownSizes(None, catalogue)([selection(wanted)]) == {wanted.url: SIZE}


def test_a_page_that_states_a_size_is_believed(catalogue: Catalogue) -> None:
    with Loopback(tells) as server, Http() as http:
        assert KnownSizes(http, catalogue)([selection(link(server.url, size=5))]) == {}
        assert not server.requests


def test_offline_nothing_is_asked(catalogue: Catalogue) -> None:
    with Loopback(tells) as server:
        assert KnownSizes(None, catalogue)([selection(link(server.url))]) == {}
        assert not server.requests


def test_a_host_that_does_not_answer_is_let_be(catalogue: Catalogue) -> None:
    dead = [link("http://127.0.0.1:9", f"p{number}", sha256=f"{number:064}") for number in range(30)]
    with Http() as http:
        assert KnownSizes(http, catalogue)([selection(*dead)]) == {}
    with Loopback(lambda _: Answer(status=503)) as server, Http() as http:
        assert KnownSizes(http, catalogue)([selection(link(server.url))]) == {}
    assert catalogue.wheel_size(dead[0]) is None


def test_of_an_address_it_is_believed_for_as_long_as_the_answer_is_fresh(catalogue: Catalogue) -> None:
    def answer(_: HttpRequest) -> Answer:
        headers = {"Content-Range": f"bytes 0-0/{SIZE}", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return Answer(status=206, headers=headers, body=b"P")

    with Loopback(answer) as server, Http() as http:
        wanted = link(server.url, sha256=None)
        now = datetime.now(UTC)
        for after, requests in ((0, 1), (500, 1), (700, 2)):
            moment = now + timedelta(seconds=after)
            sizes = KnownSizes(http, catalogue, trusting=True, now=lambda moment=moment: moment)  # type: ignore[misc]
            assert sizes([selection(wanted)]) == {wanted.url: SIZE}
            assert len(server.requests) == requests
        assert KnownSizes(http, catalogue)([selection(wanted)]) == {wanted.url: SIZE}
        assert len(server.requests) == 3
