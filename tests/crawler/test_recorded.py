"""Every recorded page, read in the order of its recording, against the tables made from the same recordings."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.drift import find_drift
from pytorch_offline.crawler.model import PageKind, PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.net import Response
from tests.crawler.recorded import recorded_pages, restored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytorch_offline.crawler.model import PageUpdate

# Of the 16,890 rows of the table, so many are on the recorded pages; the rest comes from other days' pages and from
# lock files.
READ_AT_LEAST = 11_000
HOSTS = {"download.pytorch.org", "download-r2.pytorch.org", "d21usjoq99fcb9.cloudfront.net"}


class Recording:
    """Answers as upstream did on a day; speaks in place of ``Http``."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Response:
        assert headers is not None
        return Response(url=url, status=200, headers={}, body=self.bodies[url])


class Replay:
    """The catalogue after all recorded pages were read, and what came of each reading."""

    def __init__(self, shared: Path, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.recording = Recording()
        self.updates: list[tuple[str, PageUpdate]] = []
        for row in recorded_pages(shared):
            self.recording.bodies[row["upstream_url"]] = restored(shared, row)
            reader = IndexReader(self.recording, catalogue, now=partial(_moment, row["date"]))
            self.updates.append((row["date"], reader.update(row["upstream_url"])))

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self.recording.bodies)


def _moment(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def replay(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    with Catalogue.open(tmp_path_factory.mktemp("replay") / "catalogue.sqlite") as catalogue:
        yield Replay(shared, catalogue)


def table(shared: Path, name: str) -> list[dict[str, str]]:
    with (shared / "upstream" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_page_is_an_index_page(replay: Replay) -> None:
    assert Counter(update.kind for _, update in replay.updates) == {PageKind.FILES: 308, PageKind.PROJECT_LIST: 45}


def test_every_link_is_taken_or_rejected_for_a_reason(replay: Replay, shared: Path) -> None:
    taken = {link.filename for url in replay.urls for link in replay.catalogue.links(url)}
    rejected = [link for url in replay.urls for link in replay.catalogue.rejected(url)]
    assert Counter(link.reason for link in rejected).keys() == {"not-a-wheel", "invalid-wheel-name"}
    unparsable = {row["filename"] for row in table(shared, "unparsable-filenames.csv")}
    assert taken.isdisjoint(unparsable)
    names = {unquote(urlsplit(link.href).path).rpartition("/")[2] for link in rejected}
    # `packaging` has taken three more for invalid since that table was made: their Python tag is a bare version.
    bare = {f"torchrec_cpu-0.1.1-3.{minor}-none-any.whl" for minor in (7, 8, 9)}
    assert {name for name in names if name.endswith(".whl")} == (names & unparsable) | bare


def test_every_recorded_file_of_these_pages_has_its_path_and_hash(replay: Replay, shared: Path) -> None:
    said = {
        (observation.link.path, observation.link.sha256 or ""): observation.link
        for url in replay.urls
        for observation in replay.catalogue.observations(url)
        if urlsplit(observation.link.url).hostname in HOSTS
    }
    rows = {(unquote(row["url_path"]), row["sha256"]): row for row in table(shared, "wheels.csv")}
    # Whatever these pages say with a hash is in the table, the nightly channel apart, which has a table of its own.
    hashed = {key for key in said if key[1] and not key[0].startswith("/whl/nightly/")}
    assert hashed <= rows.keys()
    # And whatever the table has of these pages was read, with that path and hash: its rows come from all 263 states
    # of the pages, ours from the recorded ones, so a row that is missing here is another state of a file that is not.
    listed = {path for path, _ in said}
    of_pages = {
        key: row for key, row in rows.items() if key[0] in listed and {"son", "flat21"} & set(row["sources"].split(";"))
    }
    read = of_pages.keys() & said.keys()
    assert len(read) >= READ_AT_LEAST
    # Eight hashes were published only on days between the recorded ones.
    assert sum(bool(sha256) for _, sha256 in of_pages.keys() - read) <= 8
    assert {path for path, _ in read} == {path for path, _ in of_pages}
    for key in read:
        expected, found = rows[key]["metadata_sha256"], said[key].metadata_sha256
        assert not (expected and found) or found == expected


def test_the_seed_machines_wheel(replay: Replay, shared: Path) -> None:
    path = "/whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    (row,) = [row for row in table(shared, "wheels.csv") if unquote(row["url_path"]) == path]
    reading = IndexReader(replay.recording, replay.catalogue, offline=True).read(
        "https://download.pytorch.org/whl/cu121/torch/"
    )
    (file,) = [file for file in reading.files if file.link.path == path]
    assert file.link.sha256 == row["sha256"]


def test_reading_the_pages_in_order_shows_the_hash_changes(replay: Replay, shared: Path) -> None:
    """The published table of hash changes follows from the catalogue, as far as its pages are recorded."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for observation in replay.catalogue.rehashed():
        key = (observation.link.path, observation.link.sha256 or "(none)")
        first, last = observation.first_seen[:10], observation.last_seen[:10]
        before = seen.get(key, (first, last))
        seen[key] = (min(first, before[0]), max(last, before[1]))
    table_rows = [row for row in table(shared, "hash-changes.csv") if "son" in row["sources"].split(";")]
    expected = {(unquote(row["url_path"]), row["sha256"]): row for row in table_rows}
    assert seen.keys() <= expected.keys()
    # What is missing is of three paths whose earlier page is not among the recorded ones.
    missing = {path for path, _ in expected.keys() - seen.keys()}
    assert {path.split("/")[2] for path in missing} == {"cu129", "rocm6.3", "xpu"}
    for key, (first, last) in seen.items():
        row = expected[key]
        assert row["first_seen"] <= first <= last <= row["last_seen"]
    exact = [key for key, (first, _) in seen.items() if first == expected[key]["first_seen"]]
    assert len(exact) >= len(seen) - 2  # two paths were recorded again only months later


def test_drift_gives_the_table_of_hash_changes(replay: Replay, shared: Path) -> None:
    """Of 72 rows 50 follow from the recorded pages; each of the others has its reason."""
    reuploads, _ = find_drift(replay.catalogue.unsteady(), replay.catalogue.receipts())
    found = {(one.path, content.sha256 or "(none)"): content for one in reuploads for content in one.contents}
    rows = {(unquote(row["url_path"]), row["sha256"]): row for row in table(shared, "hash-changes.csv")}
    assert (len(rows), len(found), len(rows.keys() & found.keys())) == (72, 50, 50)
    missing = rows.keys() - found.keys()
    # Sixteen rows are of days after the last recorded page (2026-03-13), and come from another project's lock files.
    later = {key for key in missing if rows[key]["first_seen"] > "2026-03-13"}
    assert len(later) == 16
    assert {rows[key]["sources"] for key in later} == {"unslothai/unsloth"}
    # Six are of three files, of which the recorded pages show one content or none: those pages were kept of other days.
    unrecorded = missing - later
    assert len(unrecorded) == 6
    for path in {path for path, _ in unrecorded}:
        assert path.split("/")[2] in {"cu129", "rocm6.3", "xpu"}
        assert len({said.link.sha256 for said in replay.catalogue.history(path)}) < 2
    # Two were recorded with their new hash only months after the change; every other day is the table's.
    late = {key[0].split("/")[2] for key in found if found[key].first_seen[:10] != rows[key]["first_seen"]}
    assert late == {"cu128", "rocm6.4"}


def test_a_second_reading_changes_nothing(replay: Replay) -> None:
    reader = IndexReader(replay.recording, replay.catalogue, now=lambda: _moment("2026-03-15"))
    assert {reader.update(url).status for url in replay.urls} == {PageStatus.UNCHANGED}


def test_the_root_list_that_lost_projects_for_a_day(replay: Replay) -> None:
    warned = {(day, update.url): update.warnings for day, update in replay.updates if update.warnings}
    (warning,) = warned["2025-09-24", "https://download.pytorch.org/whl/"]
    assert "lost 15 of its 72 links" in warning
