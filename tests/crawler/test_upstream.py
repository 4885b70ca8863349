from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.crawler.upstream import CHANNELS, Layout, known_backends
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.knowledge.backends import backend_directories
from pytorch_offline.wheels.backend import parse_backend
from tests.crawler.site import Answer, Site

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.net import Http

TORCH = canonicalize_name("torch")
CU121 = parse_backend("cu121")


@pytest.fixture
def reader(http: Http, catalogue: Catalogue) -> IndexReader:
    return IndexReader(http, catalogue)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_per_backend(site: Site, reader: IndexReader, slash: str) -> None:
    site.project_list("/whl/cpu/", ["torch", "numpy"])
    site.project_list("/whl/", ["torch", "cpu", "cu999", "nightly", "cu121-full"])
    upstream = recognise_upstream(reader, site.base + slash)
    assert (upstream.layout, upstream.by_backend) == (Layout.BACKENDS, True)
    assert upstream.project_url(TORCH, CU121) == f"{site.base}/cu121/torch/"
    assert upstream.project_url(TORCH) == f"{site.base}/torch/"
    assert upstream.list_url(CU121) == f"{site.base}/cu121/"
    names = [str(backend) for backend in upstream.backends]
    assert {"cpu", "xpu", "cu75", "cu121", "cu132", "rocm6.2.4", "cu999"} <= set(names)
    assert "cu121-full" not in names
    assert len(site.asked) == 2


@pytest.mark.parametrize("answer", [None, Answer(b"<html>challenge</html>"), Answer(b"x", status=500)])
def test_a_missing_root_page_takes_no_backend_away(site: Site, reader: IndexReader, answer: Answer | None) -> None:
    site.project_list("/whl/cpu/", ["torch"])
    if answer is not None:
        site.answers["/whl/"] = answer
    assert recognise_upstream(reader, site.base).backends == known_backends("stable")


def test_channels(site: Site, reader: IndexReader) -> None:
    for directory in CHANNELS.values():
        site.project_list(f"/whl/{directory}cpu/", ["torch"])
    urls = {channel: recognise_upstream(reader, site.base, channel).root for channel in CHANNELS}
    assert urls == {
        "stable": f"{site.base}/",
        "test": f"{site.base}/test/",
        "nightly": f"{site.base}/nightly/",
    }
    with pytest.raises(UsageError) as caught:
        recognise_upstream(reader, site.base, "weekly")
    assert caught.value.code == "unknown-channel"


@pytest.mark.parametrize("cpu_project", [True, False])
def test_a_plain_index_may_have_a_project_called_cpu(site: Site, reader: IndexReader, *, cpu_project: bool) -> None:
    if cpu_project:
        site.files("/whl/cpu/", ["/packages/cpu-0.1-py3-none-any.whl"])
    site.files("/whl/torch/", ["/packages/aa/torch-2.4.0-cp310-cp310-manylinux1_x86_64.whl"])
    upstream = recognise_upstream(reader, site.base)
    assert (upstream.layout, upstream.by_backend, upstream.backends) == (Layout.SIMPLE, False, ())
    assert upstream.project_url(TORCH, CU121) == f"{site.base}/torch/"
    assert [asked.path for asked in site.asked] == ["/whl/cpu/", "/whl/torch/"]  # the root may be enormous


def test_one_backend_alone_is_a_plain_index(site: Site, reader: IndexReader) -> None:
    site.files("/whl/cu121/torch/", ["/whl/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"])
    upstream = recognise_upstream(reader, site.base + "/cu121")
    assert upstream.layout is Layout.SIMPLE


def test_a_mirror_without_cpu_builds_is_told_by_where_its_files_lie(site: Site, reader: IndexReader) -> None:
    site.files("/whl/torch/", ["/whl/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"])
    assert recognise_upstream(reader, site.base).layout is Layout.BACKENDS


def test_a_private_index_without_torch(site: Site, reader: IndexReader) -> None:
    site.project_list("/whl/", ["ours"])
    assert recognise_upstream(reader, site.base).layout is Layout.SIMPLE


@pytest.mark.parametrize("path", ["/whl/torch_stable.html", "/whl/"])
def test_a_flat_page(site: Site, reader: IndexReader, path: str) -> None:
    site.page(path, '<a href="cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl">x</a><br>')
    url = site.base.removesuffix("/whl") + path
    upstream = recognise_upstream(reader, url)
    assert (upstream.layout, upstream.by_backend) == (Layout.FLAT, False)
    assert upstream.project_url(TORCH, CU121) == url


def test_a_flat_listing_per_backend(site: Site, reader: IndexReader) -> None:
    site.page("/whl/cpu/", '<h1>Index of /</h1><a href="torch-2.4.0%2Bcpu-cp310-cp310-linux_x86_64.whl">x</a>')
    site.page("/whl/", '<h1>Index of /</h1><a href="cpu/">cpu/</a><a href="cu121/">cu121/</a>')
    upstream = recognise_upstream(reader, site.base)
    assert (upstream.layout, upstream.by_backend) == (Layout.FLAT, True)
    assert upstream.project_url(TORCH, CU121) == f"{site.base}/cu121/"
    assert CU121 in upstream.backends


def test_a_flat_listing_per_backend_without_cpu_builds(site: Site, reader: IndexReader) -> None:
    site.page("/whl/cu121/", '<h1>Index of /</h1><a href="torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl">x</a>')
    site.page("/whl/", '<h1>Index of /</h1><a href="cu121/">cu121/</a>')
    upstream = recognise_upstream(reader, site.base)
    assert (upstream.layout, upstream.by_backend) == (Layout.FLAT, True)


def test_nothing_there(site: Site, reader: IndexReader) -> None:
    with pytest.raises(UpstreamError) as caught:
        recognise_upstream(reader, site.base)
    assert caught.value.code == "no-index-here"
    with pytest.raises(UpstreamError):
        recognise_upstream(reader, site.base + "/torch_stable.html")


def test_a_login_page_everywhere_is_no_index(site: Site, reader: IndexReader) -> None:
    for path in ("/whl/", "/whl/cpu/", "/whl/torch/"):
        site.page(path, "<html><form action='/login'></form></html>")
    with pytest.raises(UpstreamError) as caught:
        recognise_upstream(reader, site.base)
    assert caught.value.code == "no-index-here"


def test_nobody_answers(reader: IndexReader) -> None:
    with Site() as gone:
        base = gone.base
    with pytest.raises(UpstreamError) as caught:
        recognise_upstream(reader, base)
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize("url", ["", "download.pytorch.org/whl", "ftp://host/whl"])
def test_an_address_must_be_one(reader: IndexReader, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        recognise_upstream(reader, url)
    assert caught.value.code == "bad-url"


def test_the_table_of_backends() -> None:
    rows = backend_directories()
    assert len({row.directory for row in rows}) == len(rows)
    assert all(row.channels <= set(CHANNELS) for row in rows)
    assert all(row.backend is None or str(parse_backend(row.backend)) == row.directory for row in rows)
    assert set(known_backends("stable")) <= set(known_backends("test"))
    assert {"cu134", "rocm7.14"}.isdisjoint(str(backend) for backend in known_backends("stable"))


def test_the_table_has_every_recorded_directory(shared: Path) -> None:
    names = {row.directory for row in backend_directories()}
    lines = (shared / "upstream" / "wheels.csv").read_text(encoding="utf-8").splitlines()[1:]
    recorded = {line.partition(",")[0].partition("/")[0] for line in lines}
    assert recorded - names == {"(root)", "nightly", "test"}
