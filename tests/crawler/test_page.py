from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.listing import listed_sizes
from pytorch_offline.crawler.model import Link, PageKind
from pytorch_offline.crawler.page import parse_page
from pytorch_offline.errors import UpstreamError

HOST = "https://download.pytorch.org"
TORCH = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
H1, H2, H3 = "1" * 64, "2" * 64, "3" * 64


def page_of(*lines: str, heading: str = "Links for torch") -> bytes:
    frame = ["<!DOCTYPE html>", "<html>", "  <body>", f"    <h1>{heading}</h1>", *lines, "  </body>", "</html>"]
    return "\n".join([*frame, "<!--TIMESTAMP 1703347410-->"]).encode()


def only_link(body: bytes, url: str = f"{HOST}/whl/cu121/torch/") -> Link:
    page = parse_page(body, url)
    assert page.rejected == ()
    (link,) = page.links
    return link


def test_a_project_page_says_everything_about_a_file() -> None:
    link = only_link(
        page_of(
            f'<a href="/whl/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl#sha256={H1}"'
            f' data-dist-info-metadata="sha256={H3}" data-core-metadata="sha256={H2}"'
            ' data-requires-python="&gt;=3.8" data-upload-time="2026-01-23T15:10:34Z" data-yanked="broken &amp; bad">'
            f"{TORCH}</a><br/>"
        )
    )
    assert link == Link(
        filename=TORCH,
        url=f"{HOST}/whl/cu121/torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl",
        path=f"/whl/cu121/{TORCH}",
        sha256=H1,
        metadata_sha256=H2,
        has_metadata=True,
        requires_python=">=3.8",
        yanked="broken & bad",
        upload_time="2026-01-23T15:10:34Z",
    )


def test_the_older_metadata_attribute_counts_where_the_newer_is_missing() -> None:
    link = only_link(page_of(f'<a href="x-1-py3-none-any.whl" data-dist-info-metadata="sha256={H3}">x</a>'))
    assert (link.metadata_sha256, link.has_metadata) == (H3, True)


@pytest.mark.parametrize(("value", "has_metadata"), [("true", True), ("", True), ("false", False), ("sha256=zz", True)])
def test_a_sidecar_may_be_announced_without_a_hash(value: str, has_metadata: bool) -> None:  # noqa: FBT001
    link = only_link(page_of(f'<a href="x-1-py3-none-any.whl" data-core-metadata="{value}">x</a>'))
    assert (link.metadata_sha256, link.has_metadata) == (None, has_metadata)


def test_yanked_without_a_reason_is_yanked() -> None:
    for attribute in ("data-yanked", 'data-yanked=""'):
        assert only_link(page_of(f'<a href="x-1-py3-none-any.whl" {attribute}>x</a>')).yanked == ""
    assert only_link(page_of('<a href="x-1-py3-none-any.whl">x</a>')).yanked is None


def test_links_to_several_hosts_stand_on_one_page() -> None:
    page = parse_page(
        page_of(
            '<a href="https://download-r2.pytorch.org/whl/cpu/a-1-py3-none-any.whl">a</a>',
            '<a href="/whl/cpu/b-1-py3-none-any.whl">b</a>',
            '<a href="c-1-py3-none-any.whl">c</a>',
            f'<a href="https://pypi.nvidia.com/d/d-1-py3-none-any.whl#sha256={H1.upper()}">d</a>',
        ),
        f"{HOST}/whl/cpu/a/",
    )
    assert [(link.url, link.path) for link in page.links] == [
        ("https://download-r2.pytorch.org/whl/cpu/a-1-py3-none-any.whl", "/whl/cpu/a-1-py3-none-any.whl"),
        (f"{HOST}/whl/cpu/b-1-py3-none-any.whl", "/whl/cpu/b-1-py3-none-any.whl"),
        (f"{HOST}/whl/cpu/a/c-1-py3-none-any.whl", "/whl/cpu/a/c-1-py3-none-any.whl"),
        ("https://pypi.nvidia.com/d/d-1-py3-none-any.whl", "/d/d-1-py3-none-any.whl"),
    ]
    assert page.links[3].sha256 == H1


def test_a_base_element_moves_relative_links() -> None:
    body = b'<html><head><base href="https://files.example/pool/"></head><a href="x-1-py3-none-any.whl">x</a></html>'
    assert only_link(body).url == "https://files.example/pool/x-1-py3-none-any.whl"


@pytest.mark.parametrize(
    "body",
    [
        b'<a href="cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl">cpu/torch-1.5.1%2Bcpu-cp35.whl</a><br>',
        b'<a href="cpu/torch-1.5.1+cpu-cp35-cp35m-linux_x86_64.whl"></a>\n',
        b"<a href=cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl</a><br>\n",
        b'<a href="cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl</a><br>\n',
        b'<a href="cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl">x</a><br/>',
    ],
)
def test_flat_pages_of_every_year(body: bytes) -> None:
    link = only_link(body, f"{HOST}/whl/torch_stable.html")
    assert link.path == "/whl/cpu/torch-1.5.1+cpu-cp35-cp35m-linux_x86_64.whl"
    assert link.url == f"{HOST}/whl/cpu/torch-1.5.1%2Bcpu-cp35-cp35m-linux_x86_64.whl"


def test_a_flat_page_of_a_directory_reaches_up_to_root_files() -> None:
    body = b'<a href="../torch-1-cp36-none-macosx_10_6_x86_64.whl">t</a><br>'
    assert only_link(body, f"{HOST}/whl/cu92/torch_stable.html").path.startswith("/whl/torch-1-")


def test_a_project_list_may_hold_directories() -> None:
    body = page_of(
        '<a href="torch-tensorrt/">torch-tensorrt</a><br/>',
        '<a href="markupsafe/">MarkupSafe</a><br/>',
        '<a href="cpu/">cpu</a><br/>',
        '<a href="cu121-full/">cu121-full</a><br/>',
    )
    page = parse_page(body, f"{HOST}/whl/")
    assert page.kind is PageKind.PROJECT_LIST
    assert page.projects == ("torch-tensorrt", "markupsafe", "cpu", "cu121-full")


@pytest.mark.parametrize("href", ["/simple/torch/", "torch", "torch/", "https://host.example/simple/torch/"])
def test_a_project_list_may_be_written_in_several_ways(href: str) -> None:
    page = parse_page(f"<html><a href='{href}'>Torch</a></html>".encode(), "https://host.example/simple/")
    assert (page.kind, page.projects) == (PageKind.PROJECT_LIST, ("torch",))


def test_a_project_list_may_have_a_footer() -> None:
    body = b"<a href='ours/'>ours</a><footer><a href='https://x.example/'>x</a><a href='/about'>About</a></footer>"
    page = parse_page(b"<title>Simple index</title>" + body, "https://host.example/simple/")
    assert (page.kind, page.projects) == (PageKind.PROJECT_LIST, ("ours",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body></body></html>",
        b"<!DOCTYPE html><title>Just a moment...</title><script src='/cdn-cgi/challenge-platform/x.js'></script>",
        (
            b"<html><title>Sign in</title><form action=/login></form><a href='/forgot'>Forgot?</a>"
            b"<a href='help/'>Help</a>"
            b"<a href='https://example.org/privacy'>Privacy</a></html>"
        ),
        b"<html><h1>Welcome to nginx!</h1><a href='http://nginx.org/'>nginx.org</a></html>",
        b'{"error": "not found"}',
        b"{not json",
        b"[]",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    ],
)
def test_what_is_no_index_page_is_junk(body: bytes) -> None:
    page = parse_page(body, f"{HOST}/whl/cpu/")
    assert page.kind is PageKind.JUNK
    assert (page.links, page.projects, page.rejected) == ((), (), ())


@pytest.mark.parametrize(
    "body",
    [
        page_of(),
        b"<html><head><meta name='pypi:repository-version' content='1.0'></head><body></body></html>",
        b"<!DOCTYPE html><html><head><title>Links for x</title></head><body></body></html>",
        b'{"meta": {"api-version": "1.1"}, "name": "x", "files": []}',
        b'<html><title>Index of /wheels/</title><h1>Index of /wheels/</h1><pre><a href="../">../</a></pre></html>',
    ],
)
def test_an_empty_page_in_the_frame_of_an_index_is_a_page(body: bytes) -> None:
    page = parse_page(body, f"{HOST}/whl/x/")
    assert (page.kind, page.links, page.rejected) == (PageKind.FILES, (), ())


def test_a_page_with_an_injected_script_is_read_by_its_links() -> None:
    body = (
        b"<!DOCTYPE html>\n<html>\n  <body>\n    <h1>Links for x</h1>\n"
        b'    <a href="/whl/x-1-py3-none-any.whl">x</a><br/>\n'
        b'<script>(function(){var a=document.createElement("iframe");a.src="/cdn-cgi/challenge-platform/";'
        b"var h='<a href=\"/whl/evil-1-py3-none-any.whl\">';})();</body></script></html>"
    )
    assert only_link(body).filename == "x-1-py3-none-any.whl"


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("torch-2.8.0-cp313-cp313-win_amd64-cu128.whl", "variant-wheel"),
        ("/whl/variant/torch-2.8.0-cp313-cp313-manylinux_2_28_x86_64-00000000.whl", "variant-wheel"),
        ("torchrec_nightly_3.7_cu11.whl", "invalid-wheel-name"),
        ("/whl/x-not_a_version-py3-none-any.whl", "invalid-wheel-name"),
        ("/whl/torchtext-0.6.0.tar.gz#sha256=" + H1, "not-a-wheel"),
        ("/whl/installer-1.exe", "not-a-wheel"),
        ("../../../../evil-1-py3-none-any.whl", "unsafe-href"),
        ("/whl/..%2f..%2fevil-1-py3-none-any.whl", "unsafe-href"),
        ("/whl/evil%5C-1-py3-none-any.whl", "unsafe-href"),
        ("/whl/evil%00-1-py3-none-any.whl", "unsafe-href"),
        ("file:///etc/evil-1-py3-none-any.whl", "unsafe-href"),
        ("javascript:alert('evil-1-py3-none-any.whl')", "unsafe-href"),
        ("e" * 300 + "-1-py3-none-any.whl", "unsafe-href"),
        ("/whl/y-1-py3-none-any.whl#sha256=abc", "invalid-hash"),
        ("/elsewhere/", "not-a-wheel"),
    ],
)
def test_a_link_that_cannot_be_taken_is_rejected_and_stops_nothing(href: str, reason: str) -> None:
    page = parse_page(page_of(f'<a href="{href}">x</a>', '<a href="x-1-py3-none-any.whl">x</a>'), f"{HOST}/whl/x/")
    assert [link.filename for link in page.links] == ["x-1-py3-none-any.whl"]
    assert [(link.href, link.reason) for link in page.rejected] == [(href, reason)]
    assert page.rejected[0].detail


def test_names_keep_spaces_capitals_and_double_slashes() -> None:
    page = parse_page(
        page_of(
            '<a href="/whl/cu126/nvidia_cusparselt_cu12-0.6.3-py3-none-manylinux2014_x86_64 (1).whl">x</a>',
            '<a href="/whl/nightly//MarkupSafe-1-py3-none-any.whl">x</a>',
        ),
        f"{HOST}/whl/x/",
    )
    assert [(link.path, link.url) for link in page.links] == [
        (
            "/whl/cu126/nvidia_cusparselt_cu12-0.6.3-py3-none-manylinux2014_x86_64 (1).whl",
            f"{HOST}/whl/cu126/nvidia_cusparselt_cu12-0.6.3-py3-none-manylinux2014_x86_64%20(1).whl",
        ),
        ("/whl/nightly//MarkupSafe-1-py3-none-any.whl", f"{HOST}/whl/nightly//MarkupSafe-1-py3-none-any.whl"),
    ]


def test_a_file_listed_twice_counts_once_and_a_contradiction_is_told() -> None:
    lines = [f'<a href="x-1-py3-none-any.whl#sha256={sha256}">x</a>' for sha256 in (H1, H1, H2)]
    page = parse_page(page_of(*lines), f"{HOST}/whl/x/")
    assert [link.sha256 for link in page.links] == [H1]
    assert [link.reason for link in page.rejected] == ["conflicting-link"]


LISTINGS = Path(__file__).parent / "listings"  # in the shapes of nginx, Apache and nginx with fancyindex


@pytest.mark.parametrize(
    ("listing", "sizes"),
    [
        ("nginx", {TORCH: 799053862, TORCH.replace("310", "311"): None, "x-1-py3-none-any.whl": None}),
        ("apache", {TORCH: None, "x-1-py3-none-any.whl": 812}),
        ("fancy", {"x-1-py3-none-any.whl": 812, "y-1-py3-none-any.whl": None}),
    ],
)
def test_a_directory_listing_is_a_page_of_files_with_exact_sizes_only(
    listing: str, sizes: dict[str, int | None]
) -> None:
    page = parse_page((LISTINGS / f"{listing}.html").read_bytes(), "https://mirror.example/pytorch-wheels/cu121/")
    assert page.kind is PageKind.FILES
    assert {link.filename: link.size for link in page.links} == sizes
    assert page.rejected == ()


def test_a_listing_shows_sidecars_and_directories() -> None:
    page = parse_page((LISTINGS / "nginx.html").read_bytes(), "https://mirror.example/pytorch-wheels/cu121/")
    assert [link.has_metadata for link in page.links] == [True, False, False]
    assert page.projects == ("sub",)


def test_a_listing_of_directories_is_a_project_list() -> None:
    body = (
        b'<html><title>Index of /p/</title><h1>Index of /p/</h1><pre><a href="../">../</a>\n<a href="cpu/">cpu/</a> -\n'
    )
    page = parse_page(body, "https://mirror.example/p/")
    assert (page.kind, page.projects) == (PageKind.PROJECT_LIST, ("cpu",))


def test_sizes_are_read_only_next_to_a_date() -> None:
    body = b'<h1>Index of /</h1><a href="x.whl">x</a> 2024<br><a href="y.whl">y</a> 24-Jul-2024 18:11 7 of 9'
    assert listed_sizes(body) == {}


def json_page(*files: object, **more: object) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "x", "files": files, **more}).encode()


def test_json_says_everything_about_a_file() -> None:
    body = json_page(
        {
            "filename": "x-1+l-py3-none-any.whl",
            "url": "../../files/x-1%2Bl-py3-none-any.whl",
            "hashes": {"sha256": H1, "md5": "0"},
            "requires-python": ">=3.9",
            "core-metadata": {"sha256": H2},
            "yanked": "bad",
            "size": 123,
            "upload-time": "2026-01-01T00:00:00.5Z",
        }
    )
    assert only_link(body, "https://host.example/simple/x/") == Link(
        filename="x-1+l-py3-none-any.whl",
        url="https://host.example/files/x-1%2Bl-py3-none-any.whl",
        path="/files/x-1+l-py3-none-any.whl",
        sha256=H1,
        metadata_sha256=H2,
        has_metadata=True,
        requires_python=">=3.9",
        yanked="bad",
        upload_time="2026-01-01T00:00:00.5Z",
        size=123,
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"yanked": False, "dist-info-metadata": True}, (None, True, None)),
        ({"yanked": True, "core-metadata": False, "dist-info-metadata": {"sha256": H3}}, ("", False, None)),
        ({"yanked": "", "dist-info-metadata": {"sha256": H3}}, ("", True, H3)),
        ({"core-metadata": {}}, (None, True, None)),
    ],
)
def test_json_yanked_and_metadata(fields: dict[str, object], expected: tuple[object, ...]) -> None:
    link = only_link(
        json_page({"filename": "x-1-py3-none-any.whl", "url": "x-1-py3-none-any.whl", "hashes": {}, **fields})
    )
    assert (link.yanked, link.has_metadata, link.metadata_sha256) == expected


def test_json_entries_that_cannot_be_taken_are_rejected() -> None:
    page = parse_page(
        json_page(
            "nonsense",
            {"filename": "x-1.tar.gz", "url": "x-1.tar.gz", "hashes": {}},
            {"filename": "../x-1-py3-none-any.whl", "url": "x-1-py3-none-any.whl", "hashes": {}},
            {"filename": "x-1-py3-none-any.whl", "url": "file:///x-1-py3-none-any.whl", "hashes": {}},
            {"filename": "x-1-py3-none-any.whl", "url": "x\ud800-1-py3-none-any.whl", "hashes": {}},
            {"filename": "x-1-py3-none-any.whl", "url": "x-1-py3-none-any.whl", "hashes": {"sha256": 7}},
            {"filename": "x-2-py3-none-any.whl", "url": "x-2-py3-none-any.whl", "yanked": "\ud800", "size": True},
        ),
        f"{HOST}/simple/x/",
    )
    assert [link.reason for link in page.rejected] == [
        "malformed-entry",
        "not-a-wheel",
        "invalid-wheel-name",
        "unsafe-href",
        "unsafe-href",
        "invalid-hash",
    ]
    assert [(link.filename, link.yanked, link.size) for link in page.links] == [("x-2-py3-none-any.whl", "?", None)]


def test_json_project_list() -> None:
    page = parse_page(
        b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "Torch_Vision"}, {"name": "../x"}, 7, {"name": "a"}]}',
        "https://host.example/simple/",
    )
    assert (page.kind, page.projects) == (PageKind.PROJECT_LIST, ("torch-vision", "a"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"meta": {"api-version": "2.0"}, "files": []}',
        b"<html><meta name='pypi:repository-version' content='2.0'><a href='x-1-py3-none-any.whl'>x</a></html>",
    ],
)
def test_another_major_version_is_not_guessed_at(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_page(body, f"{HOST}/whl/x/")
    assert caught.value.code == "unsupported-index-version"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_page_of_some_kind(body: bytes) -> None:
    parse_page(body, f"{HOST}/whl/x/")


@given(st.text("<>a/\"'= hrefwl.&;!-{}[]x1\n\0", max_size=80))
def test_any_markup_is_a_page_of_some_kind(text: str) -> None:
    parse_page(text.encode(), f"{HOST}/whl/x/")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["files", "projects", "meta", "name", "url", "hashes", "filename", "yanked", "api-version"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["files", "projects", "x"]), JSON))
def test_any_json_is_a_page_of_some_kind(document: dict[str, object]) -> None:
    parse_page(json.dumps(document).encode(), f"{HOST}/whl/x/")
