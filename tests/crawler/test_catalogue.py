from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytorch_offline.crawler.catalogue import Catalogue, Fetched
from pytorch_offline.crawler.database import SCHEMA_VERSION, open_database
from pytorch_offline.crawler.model import HashChange, Link, Page, PageKind, RejectedLink
from pytorch_offline.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crawler.conftest import Clock

URL = "https://host.example/whl/x/"
FETCHED = Fetched(final_url=URL, body_sha256="0" * 64, parser=1, etag='"a"', last_modified="yesterday")
H1, H2 = "1" * 64, "2" * 64


def link(name: str, sha256: str | None = H1, **more: object) -> Link:
    filename = f"{name}-1-py3-none-any.whl"
    path = f"/whl/{filename}"
    facts: dict[str, object] = {"url": f"https://host.example{path}", "sha256": sha256, **more}
    return Link(filename=filename, path=path, **facts)  # type: ignore[arg-type]


def files(*links: Link) -> Page:
    return Page(kind=PageKind.FILES, links=links)


def path(name: str) -> str:
    return f"/whl/{name}-1-py3-none-any.whl"


def test_what_a_page_says_comes_back(catalogue: Catalogue, clock: Clock) -> None:
    full = link(
        "full",
        metadata_sha256=H2,
        has_metadata=True,
        requires_python=">=3.9",
        yanked="",
        upload_time="2026-01-01T00:00:00Z",
        size=2**40,
    )
    page = Page(
        kind=PageKind.FILES,
        links=(link("b"), full, link("a", None)),
        projects=("z", "a"),
        rejected=(RejectedLink(href="\ud800", reason="unsafe-href", detail="half"),),
    )
    catalogue.store_page(URL, page, FETCHED, now=clock())
    assert catalogue.links(URL) == page.links
    assert catalogue.count_links(URL) == 3
    assert catalogue.projects(URL) == ("z", "a")
    assert catalogue.rejected(URL) == (RejectedLink(href="?", reason="unsafe-href", detail="half"),)
    record = catalogue.page(URL)
    assert record is not None
    assert (record.kind, record.etag, record.first_fetched) == (PageKind.FILES, '"a"', "2026-01-01T00:00:00Z")
    assert catalogue.page(URL + "other/") is None
    assert catalogue.links(URL + "other/") == ()


def test_changes_are_told_and_the_past_is_kept(catalogue: Catalogue, clock: Clock) -> None:
    first = catalogue.store_page(URL, files(link("a"), link("b"), link("c", None)), FETCHED, now=clock())
    assert first.new == (path("a"), path("b"), path("c"))
    clock.next_day()
    catalogue.confirm_page(URL, now=clock(), etag=None, last_modified=None)
    clock.next_day()
    second = catalogue.store_page(URL, files(link("a", H2), link("c", H1), link("d")), FETCHED, now=clock())
    assert second.new == (path("d"),)
    assert second.vanished == (path("b"),)
    assert second.changed == (
        HashChange(path=path("a"), before=H1, after=H2),
        HashChange(path=path("c"), before=None, after=H1),
    )
    assert second.listed_before == 3
    clock.next_day()
    third = catalogue.store_page(URL, files(link("b")), FETCHED, now=clock())
    assert third.returned == (path("b"),)
    assert (third.new, third.changed) == ((), ())
    assert [each.link.filename[0] for each in catalogue.unlisted(URL)] == ["a", "c", "d"]
    assert catalogue.unlisted(URL)[0].link.sha256 == H2
    history = catalogue.history(path("a"))
    assert [(each.link.sha256, each.first_seen[:10], each.last_seen[:10], each.ended) for each in history] == [
        (H1, "2026-01-01", "2026-01-02", "2026-01-03T00:00:00Z"),
        (H2, "2026-01-03", "2026-01-03", "2026-01-04T00:00:00Z"),
    ]
    assert {each.link.path for each in catalogue.rehashed()} == {path("a")}


def test_a_hash_that_is_lost_is_told(catalogue: Catalogue, clock: Clock) -> None:
    catalogue.store_page(URL, files(link("a")), FETCHED, now=clock())
    change = catalogue.store_page(URL, files(link("a", None)), FETCHED, now=clock())
    assert change.changed == (HashChange(path=path("a"), before=H1, after=None),)
    assert catalogue.rehashed() == ()


def test_the_same_path_on_another_host_is_no_hash_change(catalogue: Catalogue, clock: Clock) -> None:
    catalogue.store_page(URL, files(link("a", H1)), FETCHED, now=clock())
    catalogue.store_page("https://other.example/whl/x/", files(link("a", H2)), FETCHED, now=clock())
    assert catalogue.rehashed() == ()
    catalogue.store_page("https://host.example/whl/cpu/x/", files(link("a", H2)), FETCHED, now=clock())
    assert {each.link.path for each in catalogue.rehashed()} == {path("a")}


def test_an_absent_page_keeps_what_it_said(catalogue: Catalogue, clock: Clock) -> None:
    page = Page(kind=PageKind.FILES, links=(link("a"),), projects=("p",))
    catalogue.store_page(URL, page, FETCHED, now=clock())
    clock.next_day()
    change = catalogue.mark_absent(URL, now=clock())
    assert (change.vanished, change.vanished_projects) == ((path("a"),), ("p",))
    record = catalogue.page(URL)
    assert record is not None
    assert (record.kind, record.etag) == (None, None)
    assert catalogue.links(URL) == ()
    assert [each.link for each in catalogue.unlisted(URL)] == [link("a")]
    assert catalogue.projects(URL, with_unlisted=True) == ("p",)


def test_projects_that_vanish_are_kept_behind(catalogue: Catalogue, clock: Clock) -> None:
    before, after = (Page(kind=PageKind.PROJECT_LIST, projects=tuple(names)) for names in ("abc", "cd"))
    catalogue.store_page(URL, before, FETCHED, now=clock())
    change = catalogue.store_page(URL, after, FETCHED, now=clock())
    assert (change.new_projects, change.vanished_projects) == (("d",), ("a", "b"))
    assert catalogue.projects(URL) == ("c", "d")
    assert catalogue.projects(URL, with_unlisted=True) == ("c", "d", "a", "b")


def test_credentials_are_not_written_down(catalogue: Catalogue, clock: Clock, tmp_path: Path) -> None:
    secret = URL.replace("https://", "https://me:s3cr3t@")
    catalogue.store_page(secret, files(link("a")), replace(FETCHED, final_url=secret), now=clock())
    assert catalogue.page(secret) == catalogue.page(URL)
    assert catalogue.links(secret) == (link("a"),)
    catalogue.close()
    assert b"s3cr3t" not in (tmp_path / "state" / "catalogue.sqlite").read_bytes()


def test_metadata_belongs_to_the_bytes_of_a_wheel(catalogue: Catalogue) -> None:
    body = b"Metadata-Version: 2.1\n" * 1000
    catalogue.store_metadata(link("a"), body, "sidecar")
    assert catalogue.metadata(link("a")) == body
    assert catalogue.metadata(replace(link("a"), url="https://mirror.example/a.whl")) == body
    assert catalogue.metadata(link("a", H2)) is None
    unhashed = link("n", None, upload_time="1")
    catalogue.store_metadata(unhashed, b"x", "wheel")
    assert catalogue.metadata(unhashed) == b"x"
    assert catalogue.metadata(replace(unhashed, upload_time="2")) is None
    assert catalogue.metadata(replace(unhashed, metadata_sha256=H1)) is None


NAMES = st.sampled_from("abcdef")
CONTENTS = st.dictionaries(NAMES, st.sampled_from([None, H1, H2]), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(days=st.lists(CONTENTS, min_size=1, max_size=5))
def test_any_history_adds_up(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, days: list[dict[str, str]]
) -> None:
    with Catalogue.open(tmp_path_factory.mktemp("history") / "c.sqlite") as catalogue:
        known: dict[str, str | None] = {}
        listed: dict[str, str | None] = {}
        for contents in days:
            clock.next_day()
            links = [link(name, sha256) for name, sha256 in contents.items()]
            change = catalogue.store_page(URL, files(*links), FETCHED, now=clock())
            assert set(change.new) == {path(name) for name in contents if name not in known}
            assert set(change.vanished) == {path(name) for name in listed if name not in contents}
            assert {(each.path, each.before, each.after) for each in change.changed} == {
                (path(name), known[name], sha256)
                for name, sha256 in contents.items()
                if name in known and known[name] != sha256
            }
            listed = dict(contents)
            known |= contents
            assert {each.path: each.sha256 for each in catalogue.links(URL)} == {
                path(name): sha256 for name, sha256 in contents.items()
            }
            assert {each.link.path for each in catalogue.unlisted(URL)} == {
                path(name) for name in known if name not in contents
            }


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.sqlite"
    file.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(IntegrityError) as caught:
        Catalogue.open(file)
    assert caught.value.code == "catalogue-damaged"
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_damage_inside_is_told(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "catalogue.sqlite"
    with Catalogue.open(file) as catalogue:
        for number in range(20):
            page = files(*(link(f"{number}x{each}") for each in range(100)))
            catalogue.store_page(f"{URL}{number}/", page, FETCHED, now=clock())
    with file.open("r+b") as stream:
        stream.seek(4096 * 3)
        stream.write(b"\xff" * (file.stat().st_size - 4096 * 3))

    def read_all() -> None:
        with Catalogue.open(file) as catalogue:
            for number in range(20):
                catalogue.links(f"{URL}{number}/")

    with pytest.raises(IntegrityError) as caught:
        read_all()
    assert caught.value.code == "catalogue-damaged"


def test_a_newer_catalogue_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "catalogue.sqlite"
    with Catalogue.open(file) as catalogue:
        catalogue.mark_absent(URL, now=clock())
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(UsageError) as caught:
        Catalogue.open(file)
    assert caught.value.code == "catalogue-too-new"


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(UsageError) as caught:
        Catalogue.open(file)
    assert caught.value.code == "not-a-catalogue"


def test_nothing_is_created_before_there_is_something_to_write(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "mirror" / ".state" / "catalogue.sqlite"
    with Catalogue.open(file) as catalogue:
        assert catalogue.page(URL) is None
        assert catalogue.links(URL) == ()
        assert catalogue.count_links(URL) == 0
        assert catalogue.metadata(link("a")) is None
        assert not (tmp_path / "mirror").exists()
        catalogue.mark_absent(URL, now=clock())
        assert file.exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError) as caught:
        Catalogue.open(tmp_path / "file" / "catalogue.sqlite")
    assert caught.value.code == "catalogue-unusable"
    (tmp_path / "directory").mkdir()
    with pytest.raises(UsageError) as caught:
        Catalogue.open(tmp_path / "directory")
    assert caught.value.code == "catalogue-unusable"


def test_many_threads_may_write_and_read(catalogue: Catalogue, clock: Clock) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                url = f"{URL}{number}/"
                catalogue.store_page(url, files(link(f"a{number}")), FETCHED, now=clock())
                assert [each.filename for each in catalogue.links(url)] == [f"a{number}-1-py3-none-any.whl"]
        except BaseException as error:  # noqa: BLE001  (told to the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_many_open_a_new_catalogue_at_once(tmp_path: Path) -> None:
    def laid_out(place: Path, together: threading.Barrier) -> int:
        together.wait()
        with closing(open_database(place)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    for turn in range(40):
        place, together = tmp_path / f"{turn}.sqlite", threading.Barrier(8)
        with ThreadPoolExecutor(8) as threads:
            assert {*threads.map(laid_out, [place] * 8, [together] * 8)} == {SCHEMA_VERSION}


def test_who_reads_waits_for_nobody_who_writes(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "catalogue.sqlite"
    with Catalogue.open(file) as catalogue:
        catalogue.store_page("https://h/", files(link("a")), FETCHED, now=clock())
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with mock.patch("pytorch_offline.crawler.database.BUSY_SECONDS", 0.0), Catalogue.open(file) as catalogue:
            assert len(catalogue.links("https://h/")) == 1


WRITER = """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path
    from pytorch_offline.crawler.catalogue import Catalogue, Fetched
    from pytorch_offline.crawler.model import Link, Page, PageKind

    with Catalogue.open(Path(sys.argv[1])) as catalogue:
        print("ready", flush=True)
        for day in range(100000):
            links = tuple(
                Link(filename=f"f{n}.whl", url=f"https://h/f{n}.whl", path=f"/f{n}.whl", sha256=f"{day:064x}")
                for n in range(500)
            )
            fetched = Fetched(final_url="https://h/", body_sha256="", parser=1)
            catalogue.store_page("https://h/", Page(kind=PageKind.FILES, links=links), fetched, now=datetime.now(UTC))
"""


def test_a_killed_writer_leaves_whole_pages(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "catalogue.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(file)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with Catalogue.open(file) as catalogue:  # reading while the other process writes
            while len({each.sha256 for each in catalogue.links("https://h/")}) != 1:
                pass
            before = catalogue.links("https://h/")[0].sha256
            while catalogue.links("https://h/")[0].sha256 == before:
                pass
        writer.send_signal(signal.SIGKILL)
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()
    with Catalogue.open(file) as catalogue:
        links = catalogue.links("https://h/")
        assert len(links) == 500
        assert len({each.sha256 for each in links}) == 1
        catalogue.store_page("https://h/", files(link("a")), FETCHED, now=clock())
