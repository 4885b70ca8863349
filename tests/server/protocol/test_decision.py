"""What is answered to whom: status, headers, and which bytes."""

from __future__ import annotations

import email
from datetime import UTC, datetime
from email import policy
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.server.protocol.decision import Decision, Representation, decide

CONTENT = bytes(range(256)) * 4
WHEEL = Representation(
    size=len(CONTENT),
    content_type="application/octet-stream",
    etag='"abc"',
    modified=datetime(2026, 11, 21, 17, 0, tzinfo=UTC),
    cache_control="max-age=31536000, immutable",
)
PAGE = Representation(
    size=10,
    content_type="text/html; charset=utf-8",
    etag='"page-gzip"',
    modified=None,
    cache_control="no-cache",
    vary=("Accept", "Accept-Encoding"),
    content_encoding="gzip",
    headers=(("Content-Language", "en"),),
)


def headers_of(decision: Decision) -> dict[str, str]:
    names = [name for name, _ in decision.headers]
    assert len(names) == len(set(names))
    return dict(decision.headers)


def body_of(decision: Decision, content: bytes = CONTENT) -> bytes:
    pieces = [part.head + content[part.span.start : part.span.stop] for part in decision.parts]
    return b"".join([*pieces, decision.tail])


def test_a_whole_file() -> None:
    decision = decide("GET", dict[str, str]().get, WHEEL)
    assert decision.status is HTTPStatus.OK
    assert body_of(decision) == CONTENT
    assert headers_of(decision) == {
        "Cache-Control": "max-age=31536000, immutable",
        "ETag": '"abc"',
        "Accept-Ranges": "bytes",
        "Last-Modified": "Sat, 21 Nov 2026 17:00:00 GMT",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": "application/octet-stream",
        "Content-Length": "1024",
    }


def test_what_is_the_same_comes_without_content_and_with_all_that_a_cache_keeps() -> None:
    decision = decide("GET", {"If-None-Match": '"page-gzip"'}.get, PAGE)
    assert (decision.status, decision.parts) == (HTTPStatus.NOT_MODIFIED, ())
    assert headers_of(decision) == {
        "Cache-Control": "no-cache",
        "ETag": '"page-gzip"',
        "Accept-Ranges": "bytes",
        "Vary": "Accept, Accept-Encoding",
        "Content-Encoding": "gzip",
        "X-Content-Type-Options": "nosniff",
        "Content-Language": "en",
    }


@pytest.mark.parametrize(
    ("asked", "status", "content_range"),
    [
        ({"Range": "bytes=10-19"}, 206, "bytes 10-19/1024"),
        ({"Range": "bytes=-4"}, 206, "bytes 1020-1023/1024"),
        ({"Range": "bytes=1024-"}, 416, "bytes */1024"),
        ({"Range": "bytes=" + "0-," * 100}, 416, "bytes */1024"),
        ({"Range": "bytes=10-19", "If-Range": '"other"'}, 200, None),
        ({"Range": "lines=10-19"}, 200, None),
    ],
)
def test_one_range(asked: dict[str, str], status: int, content_range: str | None) -> None:
    decision = decide("GET", asked.get, WHEEL)
    assert decision.status == status
    headers = headers_of(decision)
    assert headers.get("Content-Range") == content_range
    assert int(headers["Content-Length"]) == len(body_of(decision))


@given(st.lists(st.integers(0, 1023), min_size=2, max_size=12, unique=True))
def test_several_ranges_are_a_multipart_that_others_can_read(firsts: list[int]) -> None:
    ranges = "bytes=" + ",".join(f"{first}-{first + first % 7}" for first in firsts)
    decision = decide("GET", {"Range": ranges}.get, WHEEL)
    headers, body = headers_of(decision), body_of(decision)
    assert decision.status == 206
    assert int(headers["Content-Length"]) == len(body)
    if "Content-Range" in headers:
        return  # they were one
    message = email.message_from_bytes(
        b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body, policy=policy.HTTP
    )
    covered = set()
    for part in message.iter_parts():
        first, last = map(int, part["Content-Range"].removeprefix("bytes ").partition("/")[0].split("-"))
        covered |= set(range(first, last + 1))
        assert part["Content-Type"] == "application/octet-stream"
        assert f"bytes {first}-{last}/1024".encode() + b"\r\n\r\n" + CONTENT[first : last + 1] + b"\r\n--" in body
    assert covered == {at for first in firsts for at in range(first, min(first + first % 7, 1023) + 1)}


def test_a_refusal_is_of_no_coding() -> None:
    for asked, status in (({"If-Match": '"other"'}, 412), ({"Range": "bytes=99-"}, 416)):
        decision = decide("GET", asked.get, PAGE)
        headers = headers_of(decision)
        assert (decision.status, headers["Content-Length"], body_of(decision)) == (status, "0", b"")
        assert "Content-Encoding" not in headers


def test_head_has_no_range() -> None:
    assert decide("HEAD", {"Range": "bytes=0-1"}.get, WHEEL).status is HTTPStatus.OK


def test_bytes_that_cannot_be_told_from_others_have_no_ranges() -> None:
    growing = Representation(size=5, content_type="x/y", etag=None, modified=None, cache_control="no-cache")
    decision = decide("GET", {"Range": "bytes=0-1"}.get, growing)
    assert decision.status is HTTPStatus.OK
    assert not {"ETag", "Accept-Ranges"} & set(headers_of(decision))


def test_a_page_that_is_not_well_says_so_whatever_the_client_has() -> None:
    ill = Representation(
        size=5,
        content_type="application/json",
        etag='"x"',
        modified=None,
        cache_control="no-store",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
    )
    for asked in ({"If-None-Match": '"x"'}, {"Range": "bytes=0-1"}, {"If-Match": '"y"'}):
        assert decide("GET", asked.get, ill).status is HTTPStatus.SERVICE_UNAVAILABLE


@given(
    st.dictionaries(
        st.sampled_from(["Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"]),
        st.text(max_size=40) | st.sampled_from(['"abc"', "*", "bytes=0-5", "Sat, 21 Nov 2026 17:00:00 GMT"]),
    ),
    st.sampled_from(["GET", "HEAD"]),
    st.sampled_from([WHEEL, PAGE]),
)
def test_whatever_is_asked_the_length_is_that_of_the_content(
    asked: dict[str, str], method: str, there: Representation
) -> None:
    decision = decide(method, asked.get, there)
    headers = headers_of(decision)
    if decision.status is HTTPStatus.NOT_MODIFIED:
        assert not {"Content-Length", "Content-Type"} & set(headers)
    else:
        assert int(headers["Content-Length"]) == len(body_of(decision, CONTENT[: there.size]))
