"""The catalogue at a day: recorded pages of several days, read into one catalogue as they were published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.as_of import insist_on_readings, parse_as_of, warnings_of_later_pages
from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.model import PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.net import Http
from pytorch_offline.simulator.server import Simulator
from tests.crawler.days import Days
from tests.crawler.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The cpu page of torch was recorded on these days, and the root's on two of them.
DAYS = ("2024-10-08", "2025-01-30", "2025-05-14")


@pytest.fixture(scope="module")
def history(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Catalogue]]:
    days = Days(shared / "upstream")
    path = tmp_path_factory.mktemp("days") / "catalogue.sqlite"
    with Simulator(site=days) as simulator, Http() as http, Catalogue.open(path) as catalogue:
        noon = datetime.now(UTC)
        for day in DAYS:
            days.day = day
            noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
            reader = IndexReader(http, catalogue, now=lambda noon=noon: noon)  # type: ignore[misc]
            reader.read(f"{simulator.url}/cpu/torch/")
        last = IndexReader(http, catalogue, now=lambda: noon)
        last.read(f"{simulator.url}/torch/")  # for the first time on the last day
        yield f"{simulator.url}/", catalogue


class Unreachable:
    def get(self, url: str, **_: object) -> None:
        raise AssertionError(f"{url} was asked of the network")


def reading(history: tuple[str, Catalogue], as_of: str, page: str = "cpu/torch/") -> tuple[PageStatus, set[str]]:
    url, catalogue = history
    reader = IndexReader(Unreachable(), catalogue, as_of=parse_as_of(as_of))  # type: ignore[arg-type]
    found = reader.read(f"{url}{page}")
    return found.status, {str(file.name.version) for file in found.files}


@pytest.mark.parametrize(
    ("as_of", "newest"),
    [
        ("2024-10-08", "2.4.1+cpu"),
        ("2025-01-29", "2.4.1+cpu"),
        ("2025-01-30T11:59:59Z", "2.4.1+cpu"),
        ("2025-01-30T12:00:00Z", "2.6.0+cpu"),
        ("2025-05-13", "2.6.0+cpu"),
        ("2025-05-14", "2.7.0+cpu"),
        ("2040-01-01", "2.7.0+cpu"),
    ],
)
def test_a_page_as_it_was_known(history: tuple[str, Catalogue], as_of: str, newest: str) -> None:
    status, versions = reading(history, as_of)
    assert status is PageStatus.RECORDED
    releases = {"2.4.1+cpu", "2.6.0+cpu", "2.7.0+cpu"}
    assert newest in versions
    assert versions & releases == {one for one in releases if one <= newest}


def test_a_page_that_was_read_later_counts_as_absent_and_is_named(history: tuple[str, Catalogue]) -> None:
    url, catalogue = history
    reader = IndexReader(Unreachable(), catalogue, as_of=parse_as_of("2025-01-30"))  # type: ignore[arg-type]
    assert reader.read(f"{url}torch/").status is PageStatus.ABSENT
    assert list(reader.not_yet_read) == [f"{url}torch/"]
    (said,) = warnings_of_later_pages(reader.not_yet_read, reader.by_upload_time, parse_as_of("2025-01-30"))
    assert said == f"not known for 2025-01-30, and left out: {url}torch/, first read on 2025-05-14 or later"


def test_a_page_that_was_never_read_is_not_known(history: tuple[str, Catalogue]) -> None:
    with pytest.raises(UpstreamError, match="was never read"):
        reading(history, "2025-05-14", "cu121/torch/")


def test_before_the_first_reading(history: tuple[str, Catalogue]) -> None:
    url, catalogue = history
    with pytest.raises(UsageError) as caught:
        insist_on_readings(catalogue, [url], parse_as_of("2024-10-07"))
    assert caught.value.code == "before-first-reading"
    assert caught.value.facts["first read"] == "2024-10-08T12:00:00Z"
    insist_on_readings(catalogue, [url], parse_as_of("2024-10-08"))


def test_what_vanished_is_known_for_the_days_before(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with Site() as site, Http() as http, Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        for day, files in enumerate((["a-1-py3-none-any.whl"], [], ["a-1-py3-none-any.whl", "a-2-py3-none-any.whl"])):
            if files:
                site.files("/whl/a/", [f"/whl/{name}" for name in files])
            else:
                site.answers.clear()
            now = start + timedelta(days=day)
            IndexReader(http, catalogue, now=lambda now=now: now).read(f"{site.base}/a/")  # type: ignore[misc]
        known = [
            len(IndexReader(http, catalogue, as_of=start + timedelta(days=day, hours=1)).read(f"{site.base}/a/").files)
            for day in range(3)
        ]
    assert known == [1, 0, 2]


def test_upload_times_tell_what_a_page_that_was_read_later_listed_then(tmp_path: Path) -> None:
    entries = {"a-1": "2026-01-01T10:00:00.000000Z", "a-2": "2026-01-03T10:00:00Z", "a-3": "soon", "a-4": None}
    lines = [
        f'<a href="/f/{name}-py3-none-any.whl"{f""" data-upload-time="{time}" """ if time else ""}>{name}</a><br/>'
        for name, time in entries.items()
    ]
    with Site() as site, Http() as http, Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        site.page("/whl/a/", "<!DOCTYPE html><html><body>" + "".join(lines) + "</body></html>")
        url = f"{site.base}/a/"
        IndexReader(http, catalogue, now=lambda: datetime(2026, 2, 1, tzinfo=UTC)).read(url)
        for day, versions in (("2026-01-02", ["1"]), ("2026-01-03", ["1", "2"]), ("2026-02-01", ["1", "2", "3", "4"])):
            reader = IndexReader(http, catalogue, as_of=parse_as_of(day))
            assert [str(file.name.version) for file in reader.read(url).files] == versions
            assert bool(reader.by_upload_time) == (day != "2026-02-01")
            assert not reader.not_yet_read
        (said,) = warnings_of_later_pages({}, {url: "2026-02-01T00:00:00Z"}, parse_as_of("2026-01-02"))
    assert "2026-01-02 is taken from the upload times" in said


def test_a_page_that_no_list_named_is_absent_without_a_network(tmp_path: Path) -> None:
    with Site() as site, Http() as http, Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        site.project_list("/whl/cpu/", ["torch"])
        online = IndexReader(http, catalogue)
        for page in ("cpu/", "cu129/"):  # the second is not there at all
            online.read(f"{site.base}/{page}")
        offline = IndexReader(http, catalogue, offline=True)
        assert offline.read(f"{site.base}/cu129/torch/").status is PageStatus.ABSENT
        assert offline.read(f"{site.base}/cpu/numpy/").status is PageStatus.ABSENT
        for page in ("cpu/torch/", "cu121/torch/"):  # listed and not read; of a list that was not read
            with pytest.raises(UpstreamError, match="was never read"):
                offline.read(f"{site.base}/{page}")
