from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from pytorch_offline.crawler import crawl as crawl_module
from pytorch_offline.crawler.crawl import CrawlReport, crawl
from pytorch_offline.crawler.model import PageStatus
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.wheels.backend import parse_backend
from tests.crawler.site import Answer

if TYPE_CHECKING:
    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.net import Http
    from tests.crawler.conftest import Clock
    from tests.crawler.site import Site

CPU = parse_backend("cpu")
CU121 = parse_backend("cu121")


def wheel(project: str, place: str = "", sha256: str = "1" * 64) -> str:
    local = f"%2B{place}" if place else ""
    return f"/whl/{place + '/' if place else ''}{project}-1{local}-py3-none-any.whl#sha256={sha256}"


@pytest.fixture(autouse=True)
def _upstream(site: Site) -> None:
    """An upstream of two backends, with its quirks: directories as projects, one of which is denied."""
    site.project_list("/whl/", ["torch", "numpy", "cpu", "cu121", "rocm6.4", "cu121-full", "nightly"])
    site.files("/whl/torch/", [wheel("torch", "cpu"), wheel("torch", "cu121")])
    site.files("/whl/numpy/", ["https://files.example/numpy-1-py3-none-any.whl"])
    site.project_list("/whl/nightly/", ["torch"])
    for backend in ("cpu", "cu121", "rocm6.4"):
        site.project_list(f"/whl/{backend}/", ["torch"])
        site.files(f"/whl/{backend}/torch/", [wheel("torch", backend), "torch-0.1.tar.gz"])


def run(site: Site, http: Http, catalogue: Catalogue, clock: Clock, **what: object) -> CrawlReport:
    site.asked.clear()
    reader = IndexReader(http, catalogue, now=clock)
    return crawl(reader, recognise_upstream(reader, site.base), **what)  # type: ignore[arg-type]


def paths(site: Site, *, status: int | None = None) -> set[str]:
    return {asked.path for asked in site.asked if status in {None, asked.status}}


def test_everything_is_read_and_nothing_is_followed_elsewhere(
    site: Site, http: Http, catalogue: Catalogue, clock: Clock
) -> None:
    report = run(site, http, catalogue, clock)
    assert paths(site, status=200) == set(site.answers)
    assert report.failed == ()
    assert report.not_asked == ()
    missed = {outcome.url for outcome in report.outcomes if outcome.promised and outcome.is_absent}
    assert missed == {f"{site.base}/cu121-full/"}
    assert len(paths(site)) == len(site.asked)  # no page twice
    (rejected,) = {link.reason for outcome in report.outcomes for link in outcome.rejected}
    assert rejected == "not-a-wheel"


def test_a_second_crawl_finds_all_unchanged(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    first = run(site, http, catalogue, clock)
    second = run(site, http, catalogue, clock)
    assert paths(site, status=200) == set()
    assert paths(site, status=304) == set(site.answers)
    statuses = {update.status for update in second.updates}
    assert statuses == {PageStatus.UNCHANGED, PageStatus.ABSENT}
    assert sum(outcome.links for outcome in second.outcomes) == sum(outcome.links for outcome in first.outcomes)


def test_what_changed_is_told(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    run(site, http, catalogue, clock)
    clock.next_day()
    site.files("/whl/cpu/torch/", [wheel("torch", "cpu", "2" * 64), wheel("torchvision", "cpu")])
    site.files("/whl/cu121/torch/", ["torch-0.1.tar.gz"])
    report = run(site, http, catalogue, clock)
    changes = {update.url: update.change for update in report.updates}
    cpu, cu121 = changes[f"{site.base}/cpu/torch/"], changes[f"{site.base}/cu121/torch/"]
    assert cpu.new == ("/whl/cpu/torchvision-1+cpu-py3-none-any.whl",)
    (changed,) = cpu.changed
    assert (changed.before, changed.after) == ("1" * 64, "2" * 64)
    assert cu121.vanished == ("/whl/cu121/torch-1+cu121-py3-none-any.whl",)


def test_only_the_backends_asked_for(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    report = run(site, http, catalogue, clock, backends=[CU121])
    assert {outcome.url for outcome in report.outcomes} == {f"{site.base}/cu121/", f"{site.base}/cu121/torch/"}


def test_only_the_projects_asked_for(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    torch, other = canonicalize_name("torch"), canonicalize_name("other")
    report = run(site, http, catalogue, clock, projects=[torch, other], backends=[CU121, CPU])
    there = {outcome.url for outcome in report.outcomes if not outcome.is_absent}
    assert there == {f"{site.base}/cu121/torch/", f"{site.base}/cpu/torch/"}
    assert report.unknown_projects == (other,)
    assert run(site, http, catalogue, clock, projects=[torch]).unknown_projects == ()


def test_nothing_of_what_was_asked_for(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    with pytest.raises(UpstreamError) as caught:
        run(site, http, catalogue, clock, projects=[canonicalize_name("nosuch")])
    assert caught.value.code == "nothing-there"


def test_a_project_that_left_the_list_is_still_read(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    run(site, http, catalogue, clock)
    site.project_list("/whl/cu121/", [])
    report = run(site, http, catalogue, clock, backends=[CU121])
    assert f"{site.base}/cu121/torch/" in {update.url for update in report.updates}


def test_one_page_that_fails_stops_nothing(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    site.answers["/whl/cpu/torch/"] = Answer(b"oops", status=503, etag=False)
    report = run(site, http, catalogue, clock)
    (failed,) = report.failed
    assert failed.url == f"{site.base}/cpu/torch/"
    assert failed.error is not None
    assert failed.error.code == "server-error"
    assert paths(site, status=200) >= set(site.answers) - {"/whl/cpu/torch/"}


def test_an_upstream_that_goes_down_is_given_up(
    site: Site, http: Http, catalogue: Catalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_module, "FAILURES_IN_A_ROW", 3)
    names = [f"p{number}" for number in range(50)]
    site.project_list("/whl/cpu/", names)
    for name in names:
        site.answers[f"/whl/cpu/{name}/"] = Answer(b"oops", status=500, etag=False)
    report = run(site, http, catalogue, clock, backends=[CPU], jobs=2)
    assert 3 <= len(report.failed) <= 5
    assert len(report.failed) + len(report.not_asked) == 50


def test_if_every_page_fails_the_error_is_raised(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    site.answers["/whl/cpu/torch/"] = Answer(b"oops", status=503, etag=False)
    with pytest.raises(UpstreamError) as caught:
        run(site, http, catalogue, clock, projects=[canonicalize_name("torch")], backends=[CPU])
    assert caught.value.code == "server-error"


def test_a_general_index_is_not_read_whole(
    site: Site, http: Http, catalogue: Catalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_module, "MOST_PROJECTS", 3)
    site.answers.clear()
    site.files("/whl/torch/", ["/packages/torch-1-py3-none-any.whl"])
    site.project_list("/whl/", ["a", "b", "c", "d", "torch"])
    with pytest.raises(UsageError) as caught:
        run(site, http, catalogue, clock)
    assert caught.value.code == "too-many-projects"
    report = run(site, http, catalogue, clock, projects=[canonicalize_name("torch")])
    assert [outcome.links for outcome in report.outcomes] == [1]


def test_a_flat_page_is_one_page(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    site.answers.clear()
    site.page("/whl/", '<a href="cpu/torch-1-py3-none-any.whl">x</a><br>')
    assert [outcome.links for outcome in run(site, http, catalogue, clock).outcomes] == [1]


def test_progress_is_told(site: Site, http: Http, catalogue: Catalogue, clock: Clock) -> None:
    told: list[tuple[int, int]] = []
    report = run(site, http, catalogue, clock, progress=lambda done, known: told.append((done, known)))
    assert told[-1] == (len(report.outcomes), len(report.outcomes))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
