"""The catalogue on disks that are full, fail, or may only be read."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler import database
from pytorch_offline.crawler.catalogue import Catalogue, Fetched
from pytorch_offline.crawler.database import translated
from pytorch_offline.crawler.model import Link, Page, PageKind
from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from tests.crawler.test_schema import old_catalogue
from tests.mounts import read_only_view, resize, small_disk

if TYPE_CHECKING:
    from pathlib import Path

DAY_1 = datetime(2026, 11, 1, tzinfo=UTC)
URL = "https://upstream.example/whl/torch/"


def page(count: int) -> Page:
    names = (f"torch-1.{number}-py3-none-any.whl" for number in range(count))
    links = tuple(Link(path=f"/whl/{name}", filename=name, url=f"{URL}{name}") for name in names)
    return Page(kind=PageKind.FILES, links=links)


def store(catalogue: Catalogue, count: int, url: str = URL) -> None:
    catalogue.store_page(url, page(count), Fetched(final_url=url, body_sha256="0" * 64, parser=1), now=DAY_1)


@pytest.mark.parametrize("limit", ["bytes", "inodes"])
def test_no_room_is_told_as_such_and_the_rest_is_written_later(tmp_path: Path, limit: str) -> None:
    """The disk grows until all fits; at no size is it called anything else, or anything lost."""
    with small_disk(tmp_path / "disk", size=4096, inodes=2) as disk:
        path = disk / "mirror/.state/catalogue.sqlite"
        stored, failures = 0, []
        for step in range(60):
            if limit == "bytes":
                resize(disk, size=4096 + step * 32 * 1024)
            else:
                resize(disk, size=1 << 24, inodes=2 + step)
            try:
                with Catalogue.open(path) as catalogue:
                    assert all(catalogue.count_links(f"{URL}{number}/") == 300 for number in range(stored))
                    for number in range(stored, 8):
                        store(catalogue, 300, f"{URL}{number}/")
                        stored += 1
            except UpstreamError as error:
                failures.append((error.code, error.exit_code))
            if stored == 8:
                break
        assert stored == 8
        assert len(failures) > 2
    assert set(failures) == {("disk-full", 3)}


def test_a_transaction_that_finds_no_room_leaves_none_open(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size=1 << 20) as disk, Catalogue.open(disk / "catalogue.sqlite") as catalogue:
        store(catalogue, 1)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                store(catalogue, 500, f"{URL}more/")
            assert caught.value.code == "disk-full"
        filler.unlink()
        store(catalogue, 500, f"{URL}more/")
        assert catalogue.count_links(f"{URL}more/") == 500
        assert catalogue.count_links(URL) == 1


@pytest.mark.parametrize(
    ("said", "number", "code"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC, "disk-full"),
        (sqlite3.SQLITE_FULL, None, "disk-full"),
        (sqlite3.SQLITE_IOERR, errno.EDQUOT, "disk-full"),  # SQLite knows no quota
        (sqlite3.SQLITE_IOERR, errno.EFBIG, "file-too-large"),
        (sqlite3.SQLITE_IOERR, errno.EIO, "disk-failed"),
        (sqlite3.SQLITE_IOERR, None, "disk-failed"),
        (sqlite3.SQLITE_CANTOPEN, errno.ENOSPC, "disk-full"),  # no inode for the log
        (sqlite3.SQLITE_CANTOPEN, errno.EROFS, "catalogue-unusable"),
        (sqlite3.SQLITE_CANTOPEN, None, "catalogue-unusable"),
        (sqlite3.SQLITE_READONLY, errno.EACCES, "catalogue-unusable"),
        (sqlite3.SQLITE_READONLY, errno.EROFS, "catalogue-unusable"),
    ],
)
def test_what_sqlite_does_not_say_is_asked_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: int, number: int | None, code: str
) -> None:
    trouble = None if number is None else OSError(number, os.strerror(number))
    monkeypatch.setattr(database, "ask_disk", lambda _: trouble)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = said
    with pytest.raises(PytorchOfflineError) as caught, translated(tmp_path / "catalogue.sqlite"):
        raise error
    assert (caught.value.code, caught.value.exit_code) == (code, 2 if code == "catalogue-unusable" else 3)


def test_on_media_that_can_only_be_read_the_catalogue_is_read(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "mirror/catalogue.sqlite") as catalogue:
        store(catalogue, 7)
    before = sorted(path.name for path in (tmp_path / "mirror").iterdir())
    with (
        read_only_view(tmp_path / "media", tmp_path / "mirror") as media,
        Catalogue.open(media / "catalogue.sqlite") as catalogue,
    ):
        assert catalogue.count_links(URL) == 7
        with pytest.raises(UsageError) as caught:
            store(catalogue, 8)
        assert caught.value.code == "catalogue-unusable"
        assert catalogue.count_links(URL) == 7
    assert sorted(path.name for path in (tmp_path / "mirror").iterdir()) == before


def test_an_older_catalogue_that_can_only_be_read_is_brought_up_to_date_in_memory(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    old = old_catalogue(tmp_path / "mirror")
    before = old.read_bytes()
    with (
        read_only_view(tmp_path / "media", tmp_path / "mirror") as media,
        Catalogue.open(media / "catalogue.sqlite") as catalogue,
    ):
        assert catalogue.projects("https://upstream.invalid/whl/") == ("torch", "torchvision")
        assert catalogue.receipts() == ()
        with pytest.raises(UsageError, match="cannot be opened and written"):
            store(catalogue, 1)
    assert old.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_group_that_may_write_the_mirror_may_write_its_catalogue(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
            store(catalogue, 1)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"), 0o664)


WRITER = """
import os, sys
from pathlib import Path
from tests.crawler.test_catalogue_disk import store
from pytorch_offline.crawler.catalogue import Catalogue
catalogue = Catalogue.open(Path(sys.argv[1]))
store(catalogue, 7)
print("stored", flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_in_its_log_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "mirror/catalogue.sqlite"
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False, capture_output=True, text=True)
    assert done.stdout == "stored\n", done.stderr
    assert path.with_name("catalogue.sqlite-wal").stat().st_size > 0
    with (
        read_only_view(tmp_path / "media", tmp_path / "mirror") as media,
        Catalogue.open(media / "catalogue.sqlite") as catalogue,
    ):
        assert catalogue.count_links(URL) == 7


def test_another_users_catalogue_is_read_and_not_written(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        store(catalogue, 7)
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may become another user")
    program = f"""
import os
from pathlib import Path
from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.errors import UsageError
from tests.crawler.test_catalogue_disk import URL, store
os.setgroups([]); os.setgid(65534); os.setuid(65534)  # which may not read where Python lies
with Catalogue.open(Path({str(tmp_path / "catalogue.sqlite")!r})) as catalogue:
    print(catalogue.count_links(URL))
    try:
        store(catalogue, 8)
    except UsageError as error:
        print(error.code)
"""
    for place in (tmp_path, *tmp_path.parents):
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["7", "catalogue-unusable"], done.stderr
