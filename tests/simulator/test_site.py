"""Pages of each era, by the generator's rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.bodies import MemoryBody
from pytorch_offline.simulator.eras import parse_era
from pytorch_offline.simulator.neighbours import JSON_TYPE
from pytorch_offline.simulator.offers import read_offers
from pytorch_offline.simulator.site import GeneratedSite
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.simulator.upstream_pages import rewritten

SECOND = "http://second.test"
OFFERS = read_offers()
# Shared by tests that only read, so that each wheel is built once.
REAL = Spec(OFFERS)


def page(era: str, path: str, *, host: Host = Host.FIRST, accept: str = "") -> str | None:
    return served(REAL, era, path, host=host, accept=accept)


def served(spec: Spec, era: str, path: str, *, host: Host = Host.FIRST, accept: str = "") -> str | None:
    found = GeneratedSite(spec, parse_era(era), second_url=SECOND).find(host, path, accept=accept)
    if found is None:
        return None
    assert isinstance(found.body, MemoryBody)
    return found.body.data.decode()


def line(text: str | None, name: str) -> str:
    assert text is not None
    return next(line for line in text.splitlines() if f">{name}</a>" in line)


TORCH_181 = "torch-1.8.1+cu102-cp36-cp36m-linux_x86_64.whl"
TORCH_210 = "torch-2.1.0+cu121-cp310-cp310-linux_x86_64.whl"
TORCH_260 = "torch-2.6.0+cu124-cp310-cp310-linux_x86_64.whl"


def test_2021_has_no_hashes() -> None:
    text = page("2021-06", "/whl/cu102/torch/")
    assert line(text, TORCH_181) == (
        '    <a href="/whl/cu102/torch-1.8.1%2Bcu102-cp36-cp36m-linux_x86_64.whl">'
        "torch-1.8.1+cu102-cp36-cp36m-linux_x86_64.whl</a><br/>"
    )


def test_2023_has_hashes() -> None:
    pattern = r'    <a href="/whl/cu102/torch-1.8.1%2Bcu102-[^"]*\.whl#sha256=[0-9a-f]{64}">[^<]*</a><br/>'
    assert re.fullmatch(pattern, line(page("2023-10", "/whl/cu102/torch/"), TORCH_181))
    assert "sha256" not in (page("2023-08", "/whl/cu102/torch/") or "")


def test_2025_has_metadata_attributes_only_beside_sidecars() -> None:
    assert "data-" not in line(page("2025-01", "/whl/cu121/torch/"), TORCH_210)
    found = line(page("2025-01", "/whl/cu124/torch/"), TORCH_260)
    assert re.search(
        r'whl#sha256=\w{64}" data-dist-info-metadata="sha256=(\w{64})" data-core-metadata="sha256=\1">', found
    )


def test_2025_12_has_link_pages() -> None:
    before, after = page("2025-11", "/whl/cu121/nvidia-nccl-cu12/"), page("2025-12", "/whl/cu121/nvidia-nccl-cu12/")
    assert 'href="/whl/cu121/nvidia_nccl_cu12-2.18.1' in (before or "")
    assert "Links for nvidia-nccl-cu12" in (before or "")
    assert f'href="{SECOND}/nvidia/nvidia-nccl-cu12/nvidia_nccl_cu12-2.18.1' in (after or "")
    assert "<title>Package Index</title>" in (after or "")
    assert 'data-requires-python="&gt;=3.10"' in (page("2025-12", "/whl/cpu/networkx/") or "")
    # The files stay where they were, unlisted.
    site = GeneratedSite(REAL, parse_era("2025-12"), second_url=SECOND)
    name = "nvidia_nccl_cu12-2.18.1-py3-none-manylinux1_x86_64.whl"
    assert site.find(Host.FIRST, f"/whl/cu121/{name}", accept="") is not None


def test_2026_links_to_the_second_host_and_tells_upload_times() -> None:
    found = line(page("2026-04", "/whl/cu124/torch/"), TORCH_260)
    assert found.startswith(f'    <a href="{SECOND}/whl/cu124/torch-2.6.0%2Bcu124-cp310')
    assert ' data-upload-time="2025-01-29T15:10:34Z">' in found
    assert 'href="/whl/torch' not in (page("2026-04", "/whl/torch/") or "")
    assert f'href="{SECOND}' not in (page("2026-03", "/whl/torch/") or "")


def test_only_what_was_published_is_shown() -> None:
    assert "torch-2.1.0" not in (page("2023-09", "/whl/cu118/torch/") or "")
    assert "torch-2.1.0" in (page("2023-10", "/whl/cu118/torch/") or "")
    assert page("2023-09", "/whl/cu124/torch/") is None


def test_flat_pages_of_each_year() -> None:
    old, new = (
        "cu100/torch-1.0.1-cp36-cp36m-linux_x86_64.whl",
        "cu92/torch-1.2.0%2Bcu92-cp36-cp36m-manylinux1_x86_64.whl",
    )
    address = "/whl/torch_stable.html"
    assert f'<a href="{old}"></a>\n' in (page("2019-06", address) or "")
    for era, expected in (
        ("2019-09", f'<a href="{new}">{new}</a><br>\n'),
        ("2020-12-17", f"<a href={new}</a><br>\n"),
        ("2020-12-20", f'<a href="{new}"</a>{new}<br>\n'),
        ("2021-02", f'<a href="{new}">{new}</a><br>\n'),
        ("2021-06", f'<a href="{new}">{new}</a><br/>\n'),
    ):
        text = page(era, address) or ""
        assert expected in text
        assert text.endswith("\n") == (era < "2020-12")
    assert page("2019-06", "/whl/torch/") is None
    site = GeneratedSite(REAL, parse_era("2020-12-17"), second_url=SECOND)
    broken = site.find(Host.FIRST, address, accept="")
    assert broken is not None
    assert broken.content_type == "binary/octet-stream"


def test_a_directorys_flat_page_has_the_roots_files_too() -> None:
    spec = Spec()
    spec.add_wheel("cu92", "torch-1.2.0+cu92-cp36-cp36m-manylinux1_x86_64.whl")
    spec.add_wheel("", "torchtext-0.4.0-py3-none-any.whl")
    own = '<a href="torch-1.2.0%2Bcu92-cp36-cp36m-manylinux1_x86_64.whl">'
    root = '<a href="../torchtext-0.4.0-py3-none-any.whl">'
    for era, order in (("2020-06", (own, root)), ("2021-02", (root, own))):
        lines = (served(spec, era, "/whl/cu92/torch_stable.html") or "").splitlines()
        assert [line.startswith(start) for line, start in zip(lines, order, strict=True)] == [True, True]


def test_root_level_files_are_on_every_backends_page_and_come_last() -> None:
    text = page("2025-01", "/whl/cu118/torch/") or ""
    names = re.findall(r">([^<]*\.whl)<", text)
    root = [name for name in names if "aarch64" in name]
    assert root
    assert names[-len(root) :] == root
    hrefs = re.findall(r'href="([^"#]*)', text)
    assert hrefs == sorted(hrefs)


def test_the_root_page_mixes_all_backends_in_key_order() -> None:
    hrefs = re.findall(r'href="([^"#]*)', page("2025-01", "/whl/torch/") or "")
    assert hrefs == sorted(hrefs)
    assert {href.split("/")[2] for href in hrefs} >= {"cpu", "cu121", "cu121_full", "rocm6.1", "cpu-cxx11-abi"}
    later = page("2026-02", "/whl/torch/") or ""
    assert "cu121_full" not in later
    assert "cpu-cxx11-abi" not in later


def test_the_root_list_shows_directories_as_projects() -> None:
    before, after = page("2025-10", "/whl/") or "", page("2025-12", "/whl/") or ""
    for name in ("cu118", "nightly", "test", "rocm6.4", "cu121-full"):
        entry = f'    <a href="{name}/">{name}</a><br/>'
        assert entry not in before
        assert entry in after
    # One of the links that answer 403.
    assert page("2025-12", "/whl/cu121-full/") is None


def test_nightly_and_test_are_channels_of_their_own() -> None:
    spec = Spec(OFFERS)
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    name = "torch-2.15.0.dev20260701+cu130-cp310-cp310-manylinux_2_28_x86_64.whl"
    spec.add_wheel("nightly/cu130", name, requires=[], published=moment)
    spec.add_wheel("test/cu130", "torch-2.14.0+cu130-cp310-cp310-manylinux_2_28_x86_64.whl", requires=[])
    nightly = served(spec, "2026-07", "/whl/nightly/cu130/torch/") or ""
    assert "#sha256=" not in nightly
    assert "data-core-metadata" in nightly
    assert served(spec, "2026-07", "/whl/nightly/torch/") == nightly
    test = served(spec, "2026-07", "/whl/test/cu130/torch/") or ""
    assert 'href="/whl/test/cu130/torch-2.14.0%2Bcu130' in test
    assert "#sha256=" in test
    stable = served(spec, "2026-07", "/whl/torch/") or ""
    assert "2.15.0" not in stable
    assert "2.14.0" not in stable


def test_nightly_pages_list_the_sixty_newest_versions() -> None:
    spec = Spec()
    names = [f"demo-1.0.dev2026{number:04}+cpu-py3-none-any.whl" for number in range(100, 162)]
    for name in names:
        spec.add_wheel("nightly/cpu", name)
    text = served(spec, "2026-07", "/whl/nightly/cpu/demo/") or ""
    assert [name for name in names if name not in text] == names[:2]
    assert served(spec, "2026-07", "/whl/nightly/cpu/demo/x") is None
    site = GeneratedSite(spec, parse_era("2026-07"), second_url=SECOND)
    assert site.find(Host.FIRST, f"/whl/nightly/cpu/{names[0]}", accept="") is not None


def test_one_attribute_was_written_by_hand() -> None:
    name = "networkx-3.3-py3-none-any.whl"
    assert "requires-python" not in line(page("2025-03", "/whl/networkx/"), name)
    assert line(page("2025-06", "/whl/networkx/"), name).endswith(f'" data-requires-python="&gt;=3.10">{name}</a><br/>')


def test_libtorch_is_redirected_to_the_second_host() -> None:
    for era, expected in (("2026-05", None), ("2026-06", f"{SECOND}/libtorch/cpu/libtorch-2.13.0%2Bcpu.zip")):
        site = GeneratedSite(Spec(), parse_era(era), second_url=SECOND)
        found = site.find(Host.FIRST, "/libtorch/cpu/libtorch-2.13.0+cpu.zip", accept="")
        assert (None if found is None else found.location) == expected


def test_a_spec_can_change_while_it_is_served() -> None:
    spec = Spec()
    name = "demo-1.0+cpu-py3-none-any.whl"
    offer = spec.add_wheel("cpu", name, requires=["filelock"])
    site = GeneratedSite(spec, parse_era("2026-08"), second_url=SECOND)

    def text() -> str:
        found = site.find(Host.FIRST, "/whl/cpu/demo/", accept="")
        assert found is not None
        return found.body.read(0, found.body.size).decode()

    first = spec.body(offer).sha256
    assert first in text()
    spec.add_wheel("cpu", name, requires=["sympy"])
    second = spec.body(spec.find(offer.path) or offer).sha256
    assert second in text()
    assert first != second
    spec.change(offer.path, hash_listed=False)
    assert "#sha256" not in text()
    spec.change(offer.path, hash_listed="0" * 64)
    assert f"#sha256={'0' * 64}" in text()
    spec.change(offer.path, listed=False)
    assert site.find(Host.FIRST, "/whl/cpu/demo/", accept="") is None
    assert site.find(Host.FIRST, offer.path, accept="") is not None
    spec.remove(offer.path)
    assert site.find(Host.FIRST, offer.path, accept="") is None


def test_the_default_index_speaks_html_and_json() -> None:
    html = page("2026-08", "/simple/numpy/", host=Host.SECOND) or ""
    assert '<meta name="pypi:repository-version" content="1.4">' in html
    assert f'<a href="{SECOND}/packages/numpy-2.2.6-cp310-cp310-' in html
    json = page("2026-08", "/simple/numpy/", host=Host.SECOND, accept=f"{JSON_TYPE}, text/html;q=0.1") or ""
    assert '"requires-python": ">=3.10"' in json
    assert page("2026-08", "/simple/nothing/", host=Host.SECOND) is None
    assert page("2026-08", "/simple/numpy/", host=Host.FIRST) is None


def test_listings_show_directories_and_cut_names() -> None:
    text = page("2026-08", "/listing/whl/cu121/", host=Host.SECOND) or ""
    assert '<a href="torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl">' in text
    assert "..&gt;</a>" in text
    assert '<a href="cu121/">cu121/</a>' in (page("2026-08", "/listing/whl/", host=Host.SECOND) or "")


@pytest.mark.parametrize(
    ("path", "era", "expected"),
    [
        ("/whl/cu121/", "2026-08", "/whl/cu121/index.html"),
        ("/whl/cu121", "2026-08", "/whl/cu121/index.html"),
        ("/whl/cu121", "2021-08", "/whl/cu121"),
        ("/whl/rocm6.4", "2026-08", "/whl/rocm6.4/index.html"),
        ("/whl/rocm6.2.4", "2026-08", "/whl/rocm6.2.4/index.html"),
        ("/whl/rocm6.2.4", "2024-11", "/whl/rocm6.2.4"),
        ("/whl/lts/1.8", "2026-08", "/whl/lts/1.8/index.html"),
        ("/whl/torch-2.0.whl", "2026-08", "/whl/torch-2.0.whl"),
    ],
)
def test_addresses_are_rewritten_as_the_front_does(path: str, era: str, expected: str) -> None:
    assert rewritten(path, parse_era(era)) == expected


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-02-30", "latest"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_era(text)
    assert caught.value.code == "unknown-era"
