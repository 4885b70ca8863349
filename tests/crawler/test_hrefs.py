from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.addresses import without_credentials
from pytorch_offline.crawler.hrefs import parse_base, resolve
from pytorch_offline.errors import UsageError

PAGE = "https://download.pytorch.org/whl/cu121/torch/"
BASE = parse_base(PAGE)


@pytest.mark.parametrize(
    ("href", "url", "path"),
    [
        (
            "/whl/cu121/torch-2.1.0%2Bcu121-cp310-cp310-linux_x86_64.whl#sha256=ab",
            "https://download.pytorch.org/whl/cu121/torch-2.1.0%2Bcu121-cp310-cp310-linux_x86_64.whl",
            "/whl/cu121/torch-2.1.0+cu121-cp310-cp310-linux_x86_64.whl",
        ),
        ("torch-1.0+cpu.whl", PAGE + "torch-1.0%2Bcpu.whl", "/whl/cu121/torch/torch-1.0+cpu.whl"),
        ("torch-1.0%2bcpu.whl", PAGE + "torch-1.0%2Bcpu.whl", "/whl/cu121/torch/torch-1.0+cpu.whl"),
        ("../x.whl", "https://download.pytorch.org/whl/cu121/x.whl", "/whl/cu121/x.whl"),
        ("../../x.whl", "https://download.pytorch.org/whl/x.whl", "/whl/x.whl"),
        ("./x.whl", PAGE + "x.whl", "/whl/cu121/torch/x.whl"),
        (
            "https://pypi.nvidia.com/p/x-1 (1).whl?a=1#sha256=00",
            "https://pypi.nvidia.com/p/x-1%20%281%29.whl?a=1".replace("%28", "(").replace("%29", ")"),
            "/p/x-1 (1).whl",
        ),
        ("//other.example/x.whl", "https://other.example/x.whl", "/x.whl"),
        ("/whl/nightly//t-1.whl", "https://download.pytorch.org/whl/nightly//t-1.whl", "/whl/nightly//t-1.whl"),
        ("/whl/X%252B.whl", "https://download.pytorch.org/whl/X%252B.whl", "/whl/X%2B.whl"),
        ("HTTPS://Other.example/A.whl", "HTTPS://Other.example/A.whl", "/A.whl"),
    ],
)
def test_a_link_is_resolved_and_decoded_once(href: str, url: str, path: str) -> None:
    location = resolve(BASE, href)
    assert (location.url, location.path) == (url, path)
    assert location.filename == path.rpartition("/")[2]


@pytest.mark.parametrize(
    "href",
    [
        "../../../../etc/evil-1.0-py3-none-any.whl",
        "/../evil-1.0-py3-none-any.whl",
        "%2e%2e/%2e%2e/evil-1.0-py3-none-any.whl",
        "/whl/%2E%2E/%2E%2E/evil-1.0-py3-none-any.whl",
        "..%2f..%2fevil-1.0-py3-none-any.whl",
        "..%5C..%5Cevil-1.0-py3-none-any.whl",
        "..\\evil-1.0-py3-none-any.whl",
        "file:///etc/evil-1.0-py3-none-any.whl",
        "FILE:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x.whl",
        "C:\\evil-1.0-py3-none-any.whl",
        "ftp://host/evil-1.0-py3-none-any.whl",
        "evil%00-1.0-py3-none-any.whl",
        "evil%0a-1.0-py3-none-any.whl",
        "evil\ufffd-1.0-py3-none-any.whl",
        "evil%FF-1.0-py3-none-any.whl",
        "https:evil-1.0-py3-none-any.whl",
        "a" * 300 + "-1.0-py3-none-any.whl",
    ],
)
def test_a_hostile_link_is_refused(href: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(BASE, href)
    assert caught.value.code == "unsafe-href"


def test_a_page_on_disk_may_link_to_files_on_disk() -> None:
    base = parse_base("file:///mirror/whl/cpu/torch/index.html")
    assert resolve(base, "../torch-1.whl").url == "file:///mirror/whl/cpu/torch-1.whl"
    assert resolve(base, "file:///elsewhere/x.whl").path == "/elsewhere/x.whl"


@pytest.mark.parametrize("url", ["", "whl/cpu", "ftp://host/", "/whl/cpu/"])
def test_a_base_must_be_an_absolute_address(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_base(url)
    assert caught.value.code == "bad-url"


# No empty segments and no `;`: `urljoin` drops them, although they name other objects on S3.
PLAIN = st.text("abcXYZ019-_~!$&'()*,=@", min_size=1, max_size=6)
SEGMENT = st.one_of(st.sampled_from([".", "..", "a b", "x+y", "é"]), PLAIN)


@given(st.lists(SEGMENT, min_size=1, max_size=6), st.booleans())
def test_what_is_not_refused_is_resolved_as_the_standard_library_does(segments: list[str], absolute: bool) -> None:  # noqa: FBT001
    path = "/".join(segments)
    href = quote(("/" if absolute else "") + path, safe="/!$&'()*,;=@")
    if href.startswith("//"):
        return
    try:
        location = resolve(BASE, href)
    except UsageError:
        return
    expected = urlsplit(urljoin(PAGE, href)) if href else urlsplit(PAGE)
    assert location.path == unquote(expected.path)
    # What goes on the wire decodes to the same path, and is plain.
    assert unquote(urlsplit(location.url).path) == location.path
    assert "+" not in location.url
    assert " " not in location.url


@given(st.text(max_size=60))
def test_any_text_is_resolved_or_refused(href: str) -> None:
    try:
        location = resolve(BASE, href)
    except UsageError:
        return
    assert not {".", ".."} & set(location.path.split("/"))
    assert "\0" not in location.path


def test_credentials_are_taken_out() -> None:
    assert without_credentials("https://me:secret@host:8443/simple/") == "https://host:8443/simple/"
    assert without_credentials("https://host/a@b/") == "https://host/a@b/"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:geheim@host/whl",
        "//user:geheim@host/whl",
        "http://user:geheim@[::1/whl",
        "http://user:geheim@h:port/",
    ],
)
def test_what_is_no_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_base(url)
    assert caught.value.code == "bad-url"
    assert "geheim" not in caught.value.message
