"""RFC 9111: for how long an answer may be used again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.freshness import LONGEST, fresh_until
from pytorch_offline.crawler.model import Link, PageStatus
from pytorch_offline.crawler.reader import IndexReader
from tests.crawler.site import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.net import Http
    from tests.crawler.site import Site

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
AT_NOW = "Sat, 01 Aug 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Cache-Control": "max-age=600, public, must-revalidate"}, 600),
        ({"Cache-Control": "public,MAX-AGE=60"}, 60),
        ({"Cache-Control": 'max-age="60"'}, 60),
        ({"Cache-Control": "max-age=600", "Age": "590"}, 10),
        ({"Cache-Control": "max-age=600", "Date": "Sat, 01 Aug 2026 11:58:00 GMT"}, 480),  # it took two minutes to come
        ({"Cache-Control": "max-age=60", "Date": "Sat, 01 Aug 2026 13:00:00 GMT"}, 60),  # its clock is ahead
        ({"Cache-Control": "max-age=60, s-maxage=1", "Vary": "Accept"}, 60),  # s-maxage is for shared caches
        ({"Cache-Control": "max-age=5", "Expires": "Sat, 01 Aug 2026 12:09:00 GMT"}, 5),  # max-age goes before
        ({"Date": AT_NOW, "Expires": "Sat, 01 Aug 2026 12:00:30 GMT"}, 30),
        ({"Cache-Control": "max-age=31536000"}, LONGEST.total_seconds()),
        ({"Cache-Control": f"max-age={'9' * 40}"}, LONGEST.total_seconds()),
    ],
)
def test_what_a_server_states_holds_and_ten_minutes_at_most(headers: dict[str, str], seconds: float) -> None:
    assert fresh_until(headers, now=NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"},  # nothing is guessed of a page
        {"Cache-Control": "no-cache,no-store,must-revalidate"},
        {"Cache-Control": "max-age=600, no-cache"},
        {"Cache-Control": 'no-cache="Set-Cookie", max-age=600'},
        {"Cache-Control": "max-age=0"},
        {"Cache-Control": "max-age=-5"},
        {"Cache-Control": "max-age=soon"},
        {"Cache-Control": "max-age"},
        {"Cache-Control": "max-age=600, max-age=60"},
        {"Cache-Control": "max-age=600", "Age": "600"},
        {"Cache-Control": "max-age=600", "Age": "old"},
        {"Cache-Control": "max-age=600", "Date": "Sat, 01 Aug 2026 11:50:00 GMT"},
        {"Cache-Control": "max-age=600", "Vary": "*"},
        {"Expires": "0"},
        {"Expires": AT_NOW, "Date": AT_NOW},
    ],
)
def test_otherwise_it_is_asked_for_again(headers: dict[str, str]) -> None:
    assert fresh_until(headers, now=NOW) is None


def test_of_a_wheel_a_tenth_of_its_age_is_taken_where_nothing_is_said() -> None:
    headers = {"Last-Modified": "Sat, 01 Aug 2026 11:40:00 GMT"}
    assert fresh_until(headers, now=NOW, heuristic=True) == NOW + timedelta(minutes=2)
    assert fresh_until({**headers, "Cache-Control": "no-cache"}, now=NOW, heuristic=True) is None
    assert fresh_until({"Last-Modified": "yesterday"}, now=NOW, heuristic=True) is None


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def cached(site: Site, control: str) -> None:
    site.files("/whl/cpu/x/", ["x-1-py3-none-any.whl"])
    body = site.answers["/whl/cpu/x/"].body
    site.answers["/whl/cpu/x/"] = Answer(body, headers={"Cache-Control": control})


def test_a_fresh_page_is_not_asked_for_and_a_stale_one_is(site: Site, http: Http, catalogue: Catalogue) -> None:
    cached(site, "max-age=300")
    url = site.base + "/cpu/x/"
    clock = Clock()

    def read(*, trusting: bool = True) -> PageStatus:
        reading = IndexReader(http, catalogue, trusting=trusting, now=clock).read(url)
        assert [file.link.filename for file in reading.files] == ["x-1-py3-none-any.whl"]
        return reading.status

    start = clock.now
    statuses = [read()]
    for seconds in (200, -10, 0, 301):
        clock.now = start + timedelta(seconds=seconds)
        statuses.append(read())
    clock.now = start + timedelta(seconds=0)
    statuses.append(read(trusting=False))
    # Ten seconds before it was read the clock has gone back, and nobody knows how long ago that was.
    assert statuses == [
        PageStatus.NEW,
        PageStatus.RECORDED,
        PageStatus.UNCHANGED,
        PageStatus.RECORDED,
        PageStatus.UNCHANGED,
        PageStatus.UNCHANGED,
    ]
    assert [asked.status for asked in site.asked] == [200, 304, 304, 304]


def test_one_run_may_ask_again_for_a_page_that_is_fresh(site: Site, http: Http, catalogue: Catalogue) -> None:
    cached(site, "max-age=300")
    reader = IndexReader(http, catalogue, trusting=True)
    reader.update(site.base + "/cpu/x/")
    assert reader.update(site.base + "/cpu/x/", fresh=True).status is PageStatus.UNCHANGED


def test_a_page_behind_a_redirect_and_an_absent_one_are_asked_for(site: Site, http: Http, catalogue: Catalogue) -> None:
    cached(site, "max-age=300")
    site.answers["/whl/cpu/y/"] = Answer(b"", status=302, headers={"Location": "/whl/cpu/x/"}, etag=False)
    site.answers["/whl/cpu/z/"] = Answer(b"", status=404, headers={"Cache-Control": "max-age=300"}, etag=False)
    for name in ("y", "z"):
        before = len(site.asked)
        for _ in range(2):
            IndexReader(http, catalogue, trusting=True).update(f"{site.base}/cpu/{name}/")
        assert len(site.asked) - before == (4 if name == "y" else 2)


def test_how_long_a_size_holds_is_kept_with_it(tmp_path: Path) -> None:
    link = Link(filename="x-1-py3-none-any.whl", url="https://h/x-1-py3-none-any.whl", path="/x-1-py3-none-any.whl")
    with Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        catalogue.store_wheel_sizes({link: 5}, fresh_until={link: NOW})
        assert catalogue.wheel_size(link) == 5
        assert catalogue.wheel_size(link, fresh_at=NOW - timedelta(seconds=1)) == 5
        assert catalogue.wheel_size(link, fresh_at=NOW) is None
        catalogue.store_wheel_sizes({link: 6})
        assert catalogue.wheel_size(link) == 6
        assert catalogue.wheel_size(link, fresh_at=NOW) is None
