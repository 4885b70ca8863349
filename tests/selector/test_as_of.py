"""``select --as-of``: recorded pages of several days, crawled into one catalogue as the days went by."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name

from pytorch_offline.cli.main import main
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.crawl import crawl
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.net import Http
from pytorch_offline.simulator.server import Simulator
from tests.crawler.days import Days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Select = Callable[..., dict[str, Any]]

DAYS = ("2024-10-08", "2025-01-30", "2025-04-26", "2025-05-14", "2026-02-11")
TARGET = ("--python-version", "3.12", "--platform", "win_amd64", "--accelerator", "none", "--no-default-index")


@pytest.fixture(scope="module")
def history(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    days = Days(shared / "upstream")
    mirror = tmp_path_factory.mktemp("history") / "mirror"
    with (
        Simulator(site=days) as simulator,
        Http() as http,
        Catalogue.open(mirror / STATE_NAME / CATALOGUE_NAME) as catalogue,
    ):
        for day in DAYS:
            days.day = day
            noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
            reader = IndexReader(http, catalogue, now=lambda noon=noon: noon)  # type: ignore[misc]
            crawl(reader, recognise_upstream(reader, simulator.url), projects=[canonicalize_name("torch")])
        yield simulator, mirror


@pytest.fixture
def select(history: tuple[Simulator, Path], capsys: pytest.CaptureFixture[str]) -> Select:
    simulator, mirror = history

    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        indexes = ("--upstream", simulator.url, "--mirror", str(mirror))
        with pytest.raises(SystemExit) as stop:
            main(["select", "--no-deps", "--json", *indexes, *TARGET, *arguments])
        said = capsys.readouterr()
        assert int(stop.value.code or 0) == code, said.err
        document: dict[str, Any] = json.loads(said.out)
        return document

    return run


@pytest.mark.parametrize(
    ("as_of", "version"),
    [
        ("2024-12-31", "2.4.1+cpu"),
        ("2025-01-30", "2.6.0+cpu"),
        ("2025-04-25", "2.6.0+cpu"),
        ("2025-04-26T23:00:00+02:00", "2.7.0+cpu"),
        ("2026-02-11", "2.7.0+cpu"),
    ],
)
def test_the_newest_that_was_known_on_the_day(
    as_of: str, version: str, select: Select, history: tuple[Simulator, Path]
) -> None:
    before = [path for path in history[0].requests.paths() if path.endswith("/")]
    (torch,) = select("torch", "--as-of", as_of)["files"]
    assert torch["version"] == version
    assert [path for path in history[0].requests.paths() if path.endswith("/")] == before  # no page was asked for


def test_the_hash_is_the_one_of_the_day(select: Select) -> None:
    """torch 2.7.0+cpu for aarch64 was replaced under its name; between, no hash was published (pytorch#153469)."""
    arm = ("torch==2.7.0", "--platform", "manylinux_2_28_aarch64")
    hashes = [select(*arm, "--as-of", day)["files"][0]["sha256"] for day in ("2025-04-26", "2025-05-14")]
    assert len(set(hashes)) == 2


def test_before_anything_was_read(select: Select) -> None:
    error = select("torch", "--as-of", "2024-10-07", code=2)["error"]
    assert error["code"] == "before-first-reading"
    assert error["facts"]["first read"].startswith("2024-10-08")


def test_a_backend_that_was_not_known_yet(select: Select) -> None:
    error = select("torch", "--as-of", "2024-12-31", "--backend", "cu128", code=5)["error"]
    assert error["code"] in {"project-not-found", "no-wheel", "backend-not-found"}


def test_dependencies_whose_pages_were_read_later_come_by_their_upload_times(
    history: tuple[Simulator, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream, crawled = history
    mirror = tmp_path / "mirror"
    shutil.copytree(crawled, mirror)
    with Simulator() as generated:
        name = "fsspec-9999.1.0-py3-none-any.whl"
        generated.spec.add_default(name)
        generated.spec.change(f"/packages/{name}", published=datetime(2025, 6, 1, tzinfo=UTC))
        indexes = ("--upstream", upstream.url, "--default-index", generated.default_index_url)
        target = [one for one in TARGET if one != "--no-default-index"]

        def fsspec(*day: str) -> tuple[str, str]:
            capsys.readouterr()
            with pytest.raises(SystemExit) as stop:
                main(["select", "torch==2.4.1", "--json", *indexes, "--mirror", str(mirror), *target, *day])
            said = capsys.readouterr()
            assert not stop.value.code, said.err
            versions = {file["project"]: file["version"] for file in json.loads(said.out)["files"]}
            return versions["fsspec"], said.err

        assert fsspec()[0] == "9999.1.0"
        version, warnings = fsspec("--as-of", "2025-05-14")
    assert version == "2026.2.0"
    assert "taken from the upload times that later pages state" in warnings
