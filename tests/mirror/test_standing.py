"""How a mirror stands: what is known of it, and what stays unknown."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.mirror.milestones import (
    Crawled,
    Imported,
    Milestones,
    Reached,
    Verified,
    parse_crawled,
    parse_publication,
    parse_verified,
    render_crawled,
    render_publication,
    render_verified,
)
from pytorch_offline.mirror.standing import Drifted, Holding, Standing, Status, complaints_of, holdings_of, status_of
from pytorch_offline.mirror.stocktaking import take_stock
from pytorch_offline.mirror.store import Mirror
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, now, tree

if TYPE_CHECKING:
    from pathlib import Path

LATER = now() + timedelta(days=3)
EMPTY = Holding(directory="", files=0, projects=0, size=0)
MOMENTS = st.integers(0, 2**33).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
CRAWLS = st.builds(
    Crawled, upstream=st.just("https://host/whl"), ended=MOMENTS, pages=st.integers(0), whole=st.booleans()
)
VERIFIED = Verified(ended=now(), files=3, read=2, deep=False, findings=0, oldest=None)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    mirror = Mirror(tmp_path / "mirror")
    twin = Wheel(path=PurePosixPath("whl/cu121") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    with mirror.lock():
        for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY, twin):
            wheel.admit(mirror)
        mirror.publish(now=now)
    return mirror


def stock(mirror: Mirror, at: datetime = LATER) -> Standing:
    return take_stock(mirror.root, mirror.read_published(), now=at)


# What is held


def test_what_is_held_is_counted_by_directory_and_bytes_once(mirror: Mirror) -> None:
    whole, parts = holdings_of(mirror.read_files().values())
    bodies = (TORCH_CPU, TORCH_CUDA, SYMPY)
    assert whole == Holding(directory="", files=4, projects=2, size=sum(len(wheel.body) for wheel in bodies))
    assert [(part.directory, part.files, part.projects) for part in parts] == [
        (".", 1, 1),
        ("cpu", 1, 1),
        ("cu121", 2, 2),
    ]
    assert parts[2].size == len(TORCH_CUDA.body) + len(SYMPY.body)


def test_a_new_mirror_knows_its_publication_and_nothing_else(mirror: Mirror) -> None:
    standing = stock(mirror)
    assert standing.reached == Reached(published=now())
    assert (standing.crawled_at, standing.pages_read, standing.drift) == (None, None, None)
    assert standing.oldest == standing.newest == now()
    assert standing.drive is not None
    assert 0 <= standing.drive.free <= standing.drive.total == standing.drive.free + standing.drive.used


def test_a_copy_of_the_public_tree_does_not_guess(mirror: Mirror) -> None:
    for place in sorted(mirror.state.rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() else place.unlink()
    mirror.state.rmdir()
    before = tree(mirror.root)
    standing = stock(mirror)
    assert standing.reached == Reached()
    assert standing.newest == now()  # the manifest says so
    assert tree(mirror.root) == before
    assert not mirror.state.exists()


def test_a_directory_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    standing = take_stock(tmp_path / "nowhere", {}, now=LATER)
    assert standing == Standing(at=LATER, generation="e3b0c44298fc1c14", whole=EMPTY, reached=Reached(), there=False)


def test_a_disk_that_gives_errors_is_unknown(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    files = mirror.read_published()

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("stat", "lstat", "open", "scandir", "listdir", "statvfs"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("io.open", refuse)
    standing = take_stock(mirror.root, files, now=LATER)
    monkeypatch.undo()
    assert (standing.there, standing.drive, standing.drift, standing.reached) == (False, None, None, Reached())
    assert standing.whole.files == 4


# Milestones


@given(CRAWLS)
def test_a_crawl_is_read_as_it_was_written(crawled: Crawled) -> None:
    assert parse_crawled(render_crawled(crawled)) == crawled


@given(
    st.builds(
        Verified,
        ended=MOMENTS,
        files=st.integers(0),
        read=st.integers(0),
        deep=st.booleans(),
        findings=st.integers(0),
        oldest=st.none() | MOMENTS,
    )
)
def test_a_verification_is_read_as_it_was_written(verified: Verified) -> None:
    assert parse_verified(render_verified(verified)) == verified


@given(st.binary() | st.sampled_from([b"{}", b"[]", b'{"format": 1}', b'{"format": 1, "at": "2026-01-01T00:00:00"}']))
def test_what_cannot_be_trusted_is_unknown(body: bytes) -> None:
    assert (parse_crawled(body), parse_verified(body), parse_publication(body)) == (None, None, None)


def test_a_moment_is_read_as_it_was_written() -> None:
    assert parse_publication(render_publication(now())) == now()


def test_each_upstream_has_its_crawl_and_no_password(tmp_path: Path) -> None:
    milestones = Milestones(tmp_path)
    first = Crawled(upstream="https://user:secret@host/whl?token=1", ended=now(), pages=2, whole=True)
    second = replace(first, upstream="https://host/whl/nightly", ended=LATER)
    milestones.note_crawl(first)
    milestones.note_crawl(second)
    milestones.note_crawl(replace(first, pages=3))
    found = milestones.read().crawled
    assert [(one.upstream, one.pages) for one in found] == [("https://***@host/whl?***", 3), (second.upstream, 2)]
    assert not any(b"secret" in place.read_bytes() for place in tmp_path.rglob("*") if place.is_file())


def test_a_verification_that_found_something_does_not_hide_the_last_sound_one(tmp_path: Path) -> None:
    milestones = Milestones(tmp_path)
    bad = replace(VERIFIED, ended=LATER, findings=2)
    milestones.note_verification(VERIFIED)
    milestones.note_verification(bad)
    assert (milestones.read().verified, milestones.read().sound) == (bad, VERIFIED)


def test_where_nothing_can_be_written_nothing_is_noted(tmp_path: Path) -> None:
    Milestones(tmp_path / "no-state").note_verification(VERIFIED)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "milestones").write_bytes(b"in the way")
    Milestones(tmp_path).note_verification(VERIFIED)
    assert Milestones(tmp_path).read() == Reached()


def test_a_publication_that_changes_nothing_is_no_change(mirror: Mirror) -> None:
    with mirror.lock():
        mirror.publish(now=lambda: LATER)
    assert stock(mirror).reached.published == now()
    mirror.remove([SYMPY.path], now=lambda: LATER)
    assert stock(mirror).reached.published == LATER


# The catalogue


def test_what_upstream_replaced_is_told_of_what_is_held(mirror: Mirror) -> None:
    origin = mirror.read_files()[TORCH_CPU.path].origin
    with Catalogue.open(mirror.state / CATALOGUE_NAME) as catalogue:
        DriftLog(catalogue, now=now).note(origin, sha256=TORCH_CPU.sha256, size=9, etag='"1"', last_modified=None)
        DriftLog(catalogue, now=lambda: LATER).note(origin, sha256="f" * 64, size=9, etag='"2"', last_modified=None)
        elsewhere = "https://upstream.example/whl/cpu/torch-9.0+cpu-py3-none-any.whl"
        for digit in "12":
            DriftLog(catalogue, now=now).note(elsewhere, sha256=digit * 64, size=9, etag=None, last_modified=None)
    found = stock(mirror).drift
    assert found is not None
    (warning,) = found
    assert (warning.path, warning.what, warning.held) == (TORCH_CPU.path, Drifted.REUPLOADED, TORCH_CPU.sha256)
    assert (warning.other, warning.noticed) == ("f" * 64, LATER)


def test_the_catalogue_is_only_read(mirror: Mirror) -> None:
    place = mirror.state / CATALOGUE_NAME
    with Catalogue.open(place) as catalogue:
        DriftLog(catalogue, now=now).note("https://host/x", sha256="f" * 64, size=9, etag=None, last_modified=None)
    before = {path.name: path.stat().st_mtime_ns for path in mirror.state.iterdir()}
    assert stock(mirror).drift == ()
    assert {path.name: path.stat().st_mtime_ns for path in mirror.state.iterdir()} == before


def test_a_catalogue_that_is_none_is_unknown(mirror: Mirror) -> None:
    (mirror.state / CATALOGUE_NAME).write_bytes(b"no database" * 100)
    assert stock(mirror).drift is None
    (mirror.state / CATALOGUE_NAME).unlink()
    with sqlite3.connect(mirror.state / CATALOGUE_NAME) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    assert stock(mirror).drift is None


# How well it is


def standing(**reached: object) -> Standing:
    return Standing(at=LATER, whole=EMPTY, newest=now(), reached=Reached(**reached))  # type: ignore[arg-type]


def codes(one: Standing, days: float) -> list[str]:
    return [complaint.code for complaint in complaints_of(one, stale_after=timedelta(days=days))]


def test_a_mirror_without_crawls_is_judged_by_what_came_and_what_was_verified() -> None:
    assert codes(standing(), 4) == []
    assert codes(standing(), 2) == ["care-old"]
    assert codes(standing(published=LATER), 2) == []
    taken = Imported(ended=LATER, bundle="0", lineage="1", counter=1, created=LATER, brought=0)
    assert codes(standing(imported=taken), 2) == []
    assert codes(standing(sound=replace(VERIFIED, ended=LATER)), 2) == []
    assert codes(standing(verified=replace(VERIFIED, ended=LATER)), 2) == ["care-old"]
    assert codes(Standing(at=LATER, whole=EMPTY, reached=Reached()), 0) == []  # of which nothing is known


def test_a_mirror_that_crawls_is_judged_by_its_newest_crawl_too() -> None:
    old = Crawled(upstream="https://host/whl", ended=now(), pages=1, whole=True)
    fresh = replace(old, upstream="https://host/whl/nightly", ended=LATER)
    assert codes(standing(crawled=(old,), published=LATER), 2) == ["crawl-old"]
    assert codes(standing(crawled=(old, fresh), published=LATER), 2) == []


def test_bad_files_are_worse_than_age() -> None:
    found = complaints_of(standing(verified=replace(VERIFIED, findings=2)), stale_after=timedelta(days=1))
    assert [one.code for one in found] == ["bad-files", "care-old"]
    assert status_of(found) is Status.FAILING
    assert status_of(found[1:]) is Status.STALE
    assert status_of(()) is Status.OK
