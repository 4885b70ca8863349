"""Catalogues of earlier versions, and what newer ones keep besides pages."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.database import SCHEMA_VERSION
from pytorch_offline.crawler.model import Link
from pytorch_offline.wheels.inspection import INSPECTION_VERSION, Inspection

# Written by version 0.1 of this tool (two crawls of a page and one METADATA), dumped by Python's sqlite3.
SCHEMA_1 = Path(__file__).with_name("schema-1.sql")
PAGE = "https://upstream.invalid/whl/cu121/torch/"


def link(**changes: object) -> Link:
    filename = "torch-2.1.0+cu121-cp310-cp310-linux_x86_64.whl"
    facts: dict[str, object] = {"sha256": "a" * 64, "url": f"https://upstream.invalid/whl/cu121/{filename}", **changes}
    return Link(filename=filename, path=f"/whl/cu121/{filename}", **facts)  # type: ignore[arg-type]


def old_catalogue(directory: Path) -> Path:
    file = directory / "catalogue.sqlite"
    connection = sqlite3.connect(file)
    connection.executescript(SCHEMA_1.read_text())
    connection.close()
    return file


def version_of(file: Path) -> int:
    connection = sqlite3.connect(file)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_a_catalogue_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    file = old_catalogue(tmp_path)
    assert version_of(file) == 1
    with Catalogue.open(file) as catalogue:
        assert [one.sha256 for one in catalogue.links(PAGE)] == ["b" * 64]
        assert [said.link.sha256 for said in catalogue.observations(PAGE)] == ["a" * 64, "b" * 64]
        assert catalogue.projects("https://upstream.invalid/whl/") == ("torch", "torchvision")
        assert (catalogue.metadata(link()) or b"").startswith(b"Metadata-Version: 2.1\nName: torch\n")
        assert catalogue.inspection(link()) is None
        catalogue.store_inspection(link(), Inspection(glibc=(2, 17)))
        catalogue.store_wheel_sizes({link(): 5})
    assert version_of(file) == SCHEMA_VERSION
    with Catalogue.open(file) as catalogue:
        assert catalogue.inspection(link()) == Inspection(glibc=(2, 17))
        assert catalogue.wheel_size(link()) == 5
        assert len(catalogue.observations(PAGE)) == 2


def test_an_old_catalogue_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    with Catalogue.open(old_catalogue(tmp_path)), Catalogue.open(new) as catalogue:
        catalogue.store_wheel_sizes({link(): 1})

    def tables(file: Path) -> set[tuple[str, str]]:
        connection = sqlite3.connect(file)
        rows = set(connection.execute("SELECT type, name FROM sqlite_schema"))
        connection.close()
        return rows

    assert tables(tmp_path / "catalogue.sqlite") == tables(new)


@pytest.mark.parametrize(
    "inspection",
    [
        Inspection(),
        Inspection(architectures=()),
        Inspection(architectures=("sm_90a", "compute_90"), glibc=(2, 28)),
        Inspection(glibc=(2, 3), unread="there is no list: \u00e9"),
        Inspection(unread="\ud800"),
    ],
)
def test_inspections_come_back(tmp_path: Path, inspection: Inspection) -> None:
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        catalogue.store_inspection(link(), inspection)
        found = catalogue.inspection(link(url="https://elsewhere.invalid/same-bytes.whl"))
        assert found is not None
        assert (found.architectures, found.glibc) == (inspection.architectures, inspection.glibc)
        assert found.unread == (None if inspection.unread is None else inspection.unread.replace("\ud800", "?"))
        assert catalogue.inspection(link(sha256="c" * 64)) is None


def test_what_an_older_reader_read_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.sqlite"
    with Catalogue.open(file) as catalogue:
        catalogue.store_inspection(link(), Inspection(glibc=(2, 17)))
    connection = sqlite3.connect(file)
    connection.execute("UPDATE inspection SET reader = ?", (INSPECTION_VERSION - 1,))
    connection.commit()
    connection.close()
    with Catalogue.open(file) as catalogue:
        assert catalogue.inspection(link()) is None
        catalogue.store_inspection(link(), Inspection(glibc=(2, 28)))
        assert catalogue.inspection(link()) == Inspection(glibc=(2, 28))


def test_without_a_hash_the_address_and_the_time_of_upload_name_a_wheel(tmp_path: Path) -> None:
    first = link(sha256=None, upload_time="2026-01-01T00:00:00Z")
    second = link(sha256=None, upload_time="2026-01-02T00:00:00Z")
    with Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue:
        catalogue.store_wheel_sizes({first: 5})
        assert (catalogue.wheel_size(first), catalogue.wheel_size(second)) == (5, None)


@pytest.mark.parametrize(
    ("architectures", "glibc"), [("sm_80 sm_\x1b[2J", None), ("junk", "2.17"), (None, "two.x"), ("sm_80", "9")]
)
def test_a_damaged_inspection_is_read_again(tmp_path: Path, architectures: str | None, glibc: str | None) -> None:
    path = tmp_path / "catalogue.sqlite"
    with Catalogue.open(path) as catalogue:
        catalogue.store_inspection(link(), Inspection(architectures=("sm_80",), glibc=(2, 17)))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE inspection SET architectures = ?, glibc = ?", (architectures, glibc))
    with Catalogue.open(path) as catalogue:
        assert catalogue.inspection(link()) is None
