"""Request targets: decoded once, never resolved."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.server.protocol.request_paths import Target, parse_target, relative_location

BAD, NOWHERE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("/", "/", ""),
        ("/whl/", "/whl/", ""),
        ("/whl/a%2Bb.whl", "/whl/a+b.whl", ""),
        ("/whl/a+b.whl", "/whl/a+b.whl", ""),
        ("/whl/a%252Bb.whl", "/whl/a%2Bb.whl", ""),  # once
        ("/whl/%E4%BD%A0", "/whl/你", ""),
        ("/whl/你", "/whl/你", ""),
        ("/whl/?format=a%2fb&x=..", "/whl/", "format=a%2fb&x=.."),
        ("/whl/??", "/whl/", "?"),
        ("/%3F", "/?", ""),
        ("/whl/...", "/whl/...", ""),
        ("http://mirror:8080/whl/?x", "/whl/", "x"),
        ("HTTPS://mirror/whl/", "/whl/", ""),
        ("http://mirror", "/", ""),
        ("http://mirror?x", "/", "x"),
    ],
)
def test_paths_are_decoded_once(raw: str, path: str, query: str) -> None:
    assert parse_target(raw) == Target(path=path, query=query)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("", BAD),
        ("whl/", BAD),
        ("*", BAD),
        ("mirror:443", BAD),
        ("ftp://mirror/whl/", BAD),
        ("/whl/%", BAD),
        ("/whl/%2", BAD),
        ("/whl/%zz", BAD),
        ("/whl/%00", BAD),
        ("/whl/a%0d%0aX-Header:%201", BAD),
        ("/whl/\x7f", BAD),
        ("/whl/%ff", BAD),
        ("/whl/\udcff", BAD),
        ("/whl/%c0%ae%c0%ae/", BAD),  # an overlong dot
        ("/whl/%ed%a0%80", BAD),
        ("/whl/#x", BAD),
        ("/whl/../manifest.json", NOWHERE),
        ("/whl/%2e%2e/manifest.json", NOWHERE),
        ("/whl/.%2E/manifest.json", NOWHERE),
        ("/whl/..", NOWHERE),
        ("/whl/.", NOWHERE),
        ("/./whl/", NOWHERE),
        ("/whl/..%2fmanifest.json", NOWHERE),
        ("/whl%2Fcu121/", NOWHERE),
        ("/whl\\cu121", NOWHERE),
        ("/whl%5ccu121", NOWHERE),
        ("/whl/..\\..\\", NOWHERE),
        ("//whl/", NOWHERE),
        ("//evil.example/whl/", NOWHERE),
        ("/whl//cu121/", NOWHERE),
        ("/whl//", NOWHERE),
    ],
)
def test_what_can_be_nowhere_is_refused(raw: str, status: HTTPStatus) -> None:
    assert parse_target(raw) is status


@given(st.text(max_size=40) | st.text("/.%2fF5cCeE\\+?", max_size=40).map("/{}".format))
def test_what_is_read_stays_within_the_tree(raw: str) -> None:
    target = parse_target(raw)
    if isinstance(target, Target):
        segments = target.path.split("/")[1:]
        assert target.path.startswith("/")
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]
        assert "\\" not in target.path
        assert "\0" not in target.path


def test_a_location_holds_nothing_that_a_header_may_not() -> None:
    assert relative_location("/whl", "/whl/", '\udcff你<"\\') == "whl/?%FF%E4%BD%A0%3C%22%5C"


SEGMENT = st.text("abcXYZ019.-_+:@% 你", min_size=1, max_size=8).filter(lambda text: text not in {".", ".."})
PATH = st.tuples(st.lists(SEGMENT, max_size=4), st.sampled_from(["", "/"])).map(
    lambda parts: "/" + "/".join(parts[0]) + (parts[1] if parts[0] else "")
)


@given(PATH, PATH, st.sampled_from(["", "format=x", "a=%2F&b"]))
def test_a_location_leads_to_its_target_on_the_same_host(asked: str, target: str, query: str) -> None:
    asked_url = f"http://mirror:8080/prefix{quote(asked)}"
    location = relative_location(asked, target, query)
    led = urlsplit(urljoin(asked_url, location))
    assert (led.scheme, led.netloc, led.query) == ("http", "mirror:8080", query)
    assert led.path == f"/prefix{quote(target)}"
    assert not location.startswith("/")
