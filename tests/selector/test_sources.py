"""Source distributions are never built, and an error says where there is nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.net import Http
from pytorch_offline.selector.indexes.offers import IndexOffers
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import CPU
from tests.selector.machines import machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = {
    "only-source": ["only_source-1.0.tar.gz", "only_source-2.0.zip", "other-9.0.tar.gz", "broken.tar.gz"],
    "newer-source": ["newer_source-1.0-py3-none-any.whl", "newer_source-1.0.tar.gz", "newer_source-2.0.tar.gz"],
}
MACHINE = machine()


@pytest.fixture
def offers(tmp_path: Path) -> Iterator[IndexOffers]:
    for project, files in PAGES.items():
        page = tmp_path / "simple" / project / "index.html"
        page.parent.mkdir(parents=True)
        links = "".join(f'<a href="../../files/{name}">{name}</a>' for name in files)
        page.write_text(f"<!DOCTYPE html><html><body>{links}</body></html>", encoding="utf-8")
    links = "".join(f'<a href="{project}/">{project}</a>' for project in PAGES)
    root_page = tmp_path / "simple" / "index.html"
    root_page.write_text(f"<!DOCTYPE html><html><body>{links}</body></html>", encoding="utf-8")
    with Http() as http, Catalogue.open(tmp_path / "c.sqlite") as catalogue:
        reader = IndexReader(http, catalogue)
        upstream = recognise_upstream(reader, (tmp_path / "simple").as_uri())
        with IndexOffers(
            MACHINE,
            upstreams=[upstream],
            default_index=None,
            reader=reader,
            http=http,
            catalogue=catalogue,
            scratch=tmp_path / "scratch",
            offline=False,
        ) as offers:
            yield offers


def refusal(offers: IndexOffers, requirement: str) -> UnsatisfiableError:
    with pytest.raises(UnsatisfiableError) as caught:
        select(Request(requirements=(Requirement(requirement),)), MACHINE, offers, [CPU])
    return caught.value


def test_versions_of_source_distributions_are_read(offers: IndexOffers) -> None:
    offer = offers.offer(canonicalize_name("only-source"), [CPU])
    assert offer.known
    assert offer.sources == {Version("1.0"), Version("2.0")}


def test_a_project_without_any_wheel(offers: IndexOffers) -> None:
    error = refusal(offers, "only-source")
    assert error.code == "no-wheel"
    assert str(error.facts["only a source distribution"]).startswith("2.0, 1.0")
    assert error.hint is not None
    assert error.hint.startswith("build a wheel")


def test_a_version_without_any_wheel(offers: IndexOffers) -> None:
    error = refusal(offers, "newer-source>1")
    assert str(error.facts["only a source distribution"]).startswith("2.0;")
    assert error.hint == "versions of newer-source with a wheel for this target: 1.0"


def test_a_project_that_nobody_lists(offers: IndexOffers) -> None:
    assert refusal(offers, "no-such-thing").code == "project-not-found"
