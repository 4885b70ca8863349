# ruff: noqa: E501, C901, PLR0915  (a table: one row a line, as long as it is, and many of them)
"""Requests that no client should send, each with the answers that RFC 9110, RFC 9112 or safety leave to a server.

``{file}`` stands for a wheel's path with ``+`` encoded, ``{page}`` for a project's page.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

# What is written into a file beside the mirror, below its private directory, and behind a link that leads outside.
SECRET = b"this must never be served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One thing that is sent over one connection.

    Args:
        name: what is odd about it.
        sent: the bytes.
        statuses: of each answer, those that are right; the connection ends after the last.
    """

    name: str
    sent: bytes
    statuses: tuple[frozenset[int], ...]


BAD = frozenset({400})
NOT_THERE = frozenset({400, 404})
OK = frozenset({200})


def _request(target: str | bytes, *fields: str | bytes, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    lines = [b"%s %s %s" % (method.encode(), raw, version.encode()), b"Host: mirror"]
    lines += [field if isinstance(field, bytes) else field.encode("latin-1") for field in fields]
    return b"\r\n".join([*lines, b"", b""])


def _raw(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


def traversals() -> list[str]:
    """Give targets that lead out of the tree, or to what is private in it, however they are written."""
    dots = (
        "..",
        "%2e%2e",
        ".%2e",
        "%2E.",
        "%252e%252e",
        "..%00",
        "..;",
        "..%20",
        "%c0%ae%c0%ae",
        "%uff0e%uff0e",
        "....",
        "..%0d",
    )
    slashes = ("/", "%2f", "%2F", "%5c", "\\", "%252f", "//", "/./", "%c0%af", "%ef%bc%8f", ";/")
    starts = ("/", "/whl/", "/whl/cu121/", "/whl/cu121/torch/", "/locks/", "/simple/", "/assets/", "//")
    ends = ("secret", "etc/passwd", ".state/catalogue.sqlite", "manifest.json", "")
    made = [
        f"{start}{slash.join([dot] * depth)}{slash}{end}"
        for start, dot, slash, depth, end in product(starts, dots, slashes, (1, 3, 9), ends)
        if not (dot in {"....", "..;", "..%20"} and end in {"", "manifest.json"})
    ]
    private = [
        "/.state", "/.state/", "/.state/secret", "/%2estate/secret", "/.%73tate/secret", "/whl/.state/secret",
        "/.STATE/secret", "/./.state/secret", "//.state/secret", "/whl/../.state/secret", "/whl/link.whl", "/whl/linked/secret",
        "/whl/cu121/link-1.0-py3-none-any.whl", "file:///etc/passwd", "/etc/passwd", "//etc/passwd", "/proc/self/environ",
        "/whl//etc/passwd", "/whl/%00", "/whl/cu121/%00", "/secret%00.whl", "/C:/secret", "/c%3a%5csecret", "/\\\\host\\share",
        "/~root/", "/%7eroot/", "/%", "/%2", "/%zz", "/%%32%65", "/whl/%ff%fe", "/.git/config", "/.htpasswd", "/whl/.htaccess",
    ]  # fmt: skip
    return made + private


def shapes(file: str, page: str, size: int) -> list[Shape]:
    """Give every shape, for a mirror that has this file of this size and this page."""
    host = "Host: mirror\n"
    made: list[Shape] = []

    def add(name: str, sent: bytes, *statuses: int | frozenset[int]) -> None:
        sets = tuple(one if isinstance(one, frozenset) else frozenset({one}) for one in statuses)
        made.append(Shape(name=name, sent=sent, statuses=sets))

    # Versions and first lines
    add("HTTP/1.0 without Host", _raw(f"GET {page} HTTP/1.0\n\n"), 200)
    add("HTTP/1.0, two requests, no keep-alive", _raw(f"GET {page} HTTP/1.0\n\n") * 2, 200)
    add(
        "HTTP/1.0 with keep-alive, twice",
        _raw(f"GET {page} HTTP/1.0\nConnection: keep-alive\n\nGET {page} HTTP/1.0\n\n"), 200, 200,
    )  # fmt: skip
    add("HTTP/0.9", _raw(f"GET {page}\n\n"), frozenset({400, 505}))
    for version in (
        "HTTP/2.0",
        "HTTP/9.9",
        "HTTP/1",
        "HTTP/1.1.1",
        "HTTP/-1.1",
        "http/1.1",
        "HTTP/01.1",
        "ICY/1.1",
        "HTTP/1.1 x",
    ):
        add(f"version {version}", _request(page, version=version), frozenset({400, 505}))
    add("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset({400, 405, 505}))
    add("a TLS hello", bytes.fromhex("160301020001000100fc0303") + b"\0" * 200, BAD)
    add("nothing", b"")
    add("only line ends", b"\r\n" * 8)
    add("line ends before a request", b"\r\n\r\n" + _request(page, "Connection: close"), 200)
    add("two spaces", _raw(f"GET  {page}  HTTP/1.1\n{host}\n"), frozenset({200, 400}))
    add("a tab for the space", _raw(f"GET\t{page}\tHTTP/1.1\n{host}\n"), BAD)
    add("a space in the target", _request(page + " x"), BAD)
    add("no target", _raw(f"GET HTTP/1.1\n{host}\n"), BAD)
    add("an empty target", _raw(f"GET  HTTP/1.1\n{host}\n"), BAD)
    add("a fragment", _request(page + "#frag"), frozenset({400, 200}))
    add("a relative target", _request("whl/"), BAD)
    add("a backslash", _request("\\whl\\"), BAD)
    add("bytes beyond ASCII", _request(b"/whl/\xff\xfe\x80/"), NOT_THERE)
    add("a NUL in the target", _request(b"/whl/\0/"), NOT_THERE)
    add("an escape (terminal) in the target", _request(b"/whl/\x1b[2J/"), NOT_THERE)
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "MKCOL", "LOCK", "SEARCH"):
        add(f"method {method}", _request(page, "Connection: close", method=method), frozenset({405, 501}))
    for method in ("FOO", "get", "G E T", "GET\0", "", "G" * 9000):
        add(f"method {method[:9]!r}", _request(page, method=method), frozenset({400, 405, 501, 414}))
    add("OPTIONS *", _request("*", "Connection: close", method="OPTIONS"), frozenset({200, 204, 400, 405}))
    add("CONNECT", _request("mirror:443", method="CONNECT"), frozenset({400, 405, 501}))
    add("CONNECT, bytes after it", _request("mirror:443", method="CONNECT") + b"x" * 100, frozenset({400, 405, 501}))

    add("bytes after the last request", _request(page, "Connection: close") + b"junk\r\n\r\n", 200)
    add("a request after the last", _request(page, "Connection: close") + _request(page), 200)

    # Where to
    add("no Host", _raw(f"GET {page} HTTP/1.1\n\n"), BAD)
    add("two Hosts", _raw(f"GET {page} HTTP/1.1\nHost: a\nHost: b\n\n"), BAD)
    add("the same Host twice", _raw(f"GET {page} HTTP/1.1\n{host}{host}\n"), BAD)
    for name in ("a b", "a/b", "../..", "<script>", 'a"b', "a\\b", "a,b", "a@b", "a#b", "a?b"):
        add(f"Host {name}", _raw(f"GET {page} HTTP/1.1\nHost: {name}\nConnection: close\n\n"), BAD)
    for name in ("", "mirror:8080", "[::1]:8080", "192.0.2.1", "a_b"):
        add(f"Host {name!r}", _raw(f"GET {page} HTTP/1.1\nHost: {name}\nConnection: close\n\n"), 200)
    for scheme in ("http://mirror", "https://mirror:8443", "HTTP://elsewhere", "http://user:pass@mirror"):
        add(f"absolute: {scheme}", _request(scheme + page, "Connection: close"), 200)
    add("absolute with traversal", _request("http://mirror/../secret"), NOT_THERE)
    add("absolute, another scheme", _request("ftp://mirror" + page), frozenset({400, 404}))
    add("absolute, no path", _request("http://mirror", "Connection: close"), frozenset({200, 404}))
    add("two slashes", _request("//elsewhere/whl/", "Connection: close"), frozenset({400, 404}))

    # Framing: a request must never be found in what another parser takes for a body
    smuggled = f"GET {page}?smuggled HTTP/1.1\n{host}\n"
    for name, fields in {
        "length and chunked": "Content-Length: 5\nTransfer-Encoding: chunked\n",
        "chunked and length": "Transfer-Encoding: chunked\nContent-Length: 5\n",
        "two lengths": "Content-Length: 5\nContent-Length: 6\n",
        "the same length twice": "Content-Length: 5\nContent-Length: 5\n",
        "a list of lengths": "Content-Length: 5, 5\n",
        "length +5": "Content-Length: +5\n",
        "length -5": "Content-Length: -5\n",
        "length 0x5": "Content-Length: 0x5\n",
        "length 5 5": "Content-Length: 5 5\n",
        "length of 30 digits": f"Content-Length: {'9' * 30}\n",
        "no length": "Content-Length:\n",
        "length in other digits": "Content-Length: \xb2\n",
        "chunked and then identity": "Transfer-Encoding: chunked, identity\n",
        "xchunked": "Transfer-Encoding: xchunked\n",
        "chunked in quotes": 'Transfer-Encoding: "chunked"\n',
        "chunked after a space": "Transfer-Encoding : chunked\n",
        "length after a space": "Content-Length : 5\n",
        "chunked on a folded line": "Transfer-Encoding:\n chunked\n",
        "chunked twice": "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
        "chunked and a lone CR": "Transfer-Encoding: chunked\r\r\n",
        "chunked and a control": "Transfer-Encoding: \x0bchunked\n",
        "gzip, chunked": "Transfer-Encoding: gzip, chunked\n",
    }.items():
        sent = _raw(f"GET {page} HTTP/1.1\n{host}").replace(b"\r\n\r\n", b"\r\n")
        body = fields.replace("\r\r\n", "\r\r").replace("\n", "\r\n").replace("\r\r", "\r\r\n").encode("latin-1")
        add(f"framing: {name}", sent + body + b"\r\n" + b"0\r\n\r\n" + _raw(smuggled), frozenset({400, 411, 413, 501}))
    add(
        "framing: chunked in HTTP/1.0",
        _raw(f"GET {page} HTTP/1.0\nTransfer-Encoding: chunked\n\n0\n\n{smuggled}"), frozenset({400, 411, 501}),
    )  # fmt: skip
    add(
        "framing: a small body, and a request after it",
        _raw(f"GET {page} HTTP/1.1\n{host}Content-Length: 5\n\nhelloGET {page} HTTP/1.1\n{host}Connection: close\n\n"), 200, 200,
    )  # fmt: skip
    add("framing: a large body", _request(page, "Content-Length: 1000000") + b"z" * 1_000_000, 413)
    add("framing: a body that does not come", _request(page, "Content-Length: 1000000000"), 413)
    add("framing: a chunked body", _request(page, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", 411)
    for name, chunk in {
        "a chunk of -1": b"-1\r\nx",
        "a chunk of zz": b"zz\r\nx",
        "a huge chunk": b"f" * 17 + b"\r\nx",
    }.items():
        add(f"framing: {name}", _request(page, "Transfer-Encoding: chunked") + chunk, frozenset({400, 411}))

    # Line ends and headers
    add("line feeds alone", f"GET {page} HTTP/1.1\nHost: mirror\nConnection: close\n\n".encode(), frozenset({200, 400}))
    add("carriage returns alone", f"GET {page} HTTP/1.1\rHost: mirror\r\r".encode(), frozenset({400}))
    add("a lone CR in a value", _request(page, b"X-A: a\rb"), BAD)
    add("a NUL in a value", _request(page, b"X-A: a\0b"), BAD)
    add("a folded line", _request(page, "X-A: a\r\n b"), BAD)
    add("a first line that is folded", _raw(f"GET {page} HTTP/1.1\n Host: mirror\n\n"), BAD)
    add("a header without a colon", _request(page, "junk"), BAD)
    add("a header without a name", _request(page, ": x"), BAD)
    add("a space before the colon", _request(page, "X-A : a"), BAD)
    add("a space in a name", _request(page, "X A: a"), BAD)
    add("bytes beyond ASCII in a name", _request(page, b"X-\xff: a"), BAD)
    add("bytes beyond ASCII in a value", _request(page, b"X-A: \xff\xfe", "Connection: close"), frozenset({200, 400}))
    add("a target of 8 KiB", _request("/whl/" + "a" * 8000, "Connection: close"), 404)
    add("a target of 9 KiB", _request("/whl/" + "a" * 9000), 414)
    add("a target of 1 MiB", _request("/whl/" + "a" * 1_000_000), 414)
    add("a target without an end", b"GET /" + b"a" * 200_000, 414)
    add("a header of 20 KiB", _request(page, "X-A: " + "a" * 20_000), 431)
    add("a header's name of 20 KiB", _request(page, "X" * 20_000 + ": a"), 431)
    add("a header of 1 MiB", _request(page, "X-A: " + "a" * 1_000_000), 431)
    add("500 headers", _request(page, *(f"X-{n}: a" for n in range(500))), 431)
    add("100,000 headers", _request(page, *(f"X-{n}: a" for n in range(100_000))), 431)
    add("headers without an end", _request(page)[:-2] + b"X-A: " + b"b" * 100_000, 431)
    add("a cookie of 8 KiB", _request(page, "Cookie: a=" + "b" * 8000, "Connection: close"), 200)

    # What changes the protocol, or asks before it sends
    add(
        "upgrade to h2c",
        _request(page, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
        200,
    )
    websocket = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    add("upgrade to websocket", _request(page, *websocket), 200)
    add("upgrade, and a request after it", _request(page, *websocket) + _request(page, "Connection: close"), 200, 200)
    add("an expectation without a body", _request(page, "Expect: 100-continue", "Connection: close"), 200)
    add(
        "an expectation, and its body",
        _request(page, "Expect: 100-continue", "Content-Length: 5", "Connection: close") + b"hello",
        200,
    )
    add("another expectation", _request(page, "Expect: nonsense", "Connection: close"), frozenset({200, 417}))

    # Many in one
    add("100 in a pipeline", _request(page) * 99 + _request(page, "Connection: close"), *[200] * 100)
    add("files and misses in a pipeline", (_request(file) + _request("/nowhere/")) * 5, *[200, 404] * 5)
    add("a bad one in a pipeline", _request(page) + _request(page, "junk") + _request(page), 200, BAD)

    # Conditions and ranges
    for text, status in {
        "bytes=0-0": 206, f"bytes=0-{size * 10}": 206, f"bytes={size}-": 416, f"bytes={size - 1}-": 206, "bytes=-0": 416, "bytes=-1": 206,
        f"bytes=-{size * 2}": 206, "bytes=5-4": 200, "bytes=": 200, "bytes": 200, "bytes=a-b": 200, "bytes=--1": 200, "bytes=1-2-3": 200,
        "items=0-5": 200, "bytes=0-0,": 206, "bytes= 0-0": 206, "bytes=0 - 0": 200, "bytes=+0-5": 200, "bytes=0x0-5": 200,
        "bytes=0-" + "9" * 5000: 206, "bytes=" + "9" * 5000 + "-": 416, "bytes=0-0,-1": 206, "bytes=0-0,5-6,9-": 206,
        "bytes=\xb2-": 200,
    }.items():  # fmt: skip
        add(f"range {text[:40]}", _request(file, f"Range: {text}", "Connection: close"), status)
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 3000, 2))
    add(
        "1,500 ranges",
        _request(file, f"Range: {many[:16000].rpartition(',')[0]}", "Connection: close"),
        frozenset({200, 416}),
    )
    add(
        "the whole file 1,000 times",
        _request(file, "Range: bytes=" + ",".join(["0-"] * 1000), "Connection: close"),
        frozenset({200, 206, 416}),
    )
    add(
        "two Ranges",
        _request(file, "Range: bytes=0-0", "Range: bytes=5-5", "Connection: close"),
        frozenset({200, 206, 400}),
    )
    add("a condition that is none", _request(file, "If-None-Match: junk", "Connection: close"), 200)
    add("any ETag", _request(file, "If-None-Match: *", "Connection: close"), 304)
    add("no date", _request(file, "If-Modified-Since: yesterday", "Connection: close"), 200)
    add(
        "a far date",
        _request(file, "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT", "Connection: close"),
        frozenset({200, 304}),
    )
    add(
        "a date beyond all",
        _request(file, "If-Modified-Since: Fri, 31 Dec 99999 23:59:59 GMT", "Connection: close"),
        200,
    )
    add("an If-Range of another", _request(file, "Range: bytes=0-0", 'If-Range: "other"', "Connection: close"), 200)
    add("a weak If-Range", _request(file, "Range: bytes=0-0", 'If-Range: W/"x"', "Connection: close"), 200)
    for accept in (
        "text/plain",
        "a/b/c",
        ";;;",
        "*/*;q=0",
        "text/html;q=2",
        "text/html;q=-1",
        ",",
        "x" * 4000,
        "*/*," * 2000,
    ):
        add(
            f"Accept {accept[:20]}",
            _request(page, f"Accept: {accept}", "Connection: close"),
            frozenset({200, 400, 406}),
        )

    for target in traversals():
        add(f"traversal {target}", _request(target.encode(), "Connection: close"), frozenset({301, 400, 404}))
    return made
