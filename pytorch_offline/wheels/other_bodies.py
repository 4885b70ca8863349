"""What a body is that is no wheel and no index page: login pages, challenges, errors of stores, with status 200."""

from __future__ import annotations

import html
import re

LOGIN_HINT = (
    "a proxy's or a network's login page and an anti-robot challenge look like this: open the address in a browser"
)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(rb"<!doctype html|<html|<head|<body|<script|<meta", re.IGNORECASE)
# S3's error, and that of whatever speaks its language.
_STORE_CODE = re.compile(rb"<Error[^>]*>.*?<Code>([^<]{1,80})</Code>", re.DOTALL)
_SHOWN = 80


def describe_body(first: bytes, content_type: str | None = None) -> str:
    """Say what a body seems to be by its first bytes: ``an HTML page titled 'Log in'``."""
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if (store := _STORE_CODE.search(start)) is not None:
        return f"an object store's error ({_text(store[1])})"
    if _HTML.search(start[:2048]):
        title = _TITLE.search(start)
        said = html.unescape(_text(title[1])) if title else ""
        return f"an HTML page titled {said!r}" if said else "an HTML page"
    if start.startswith(b"<?xml") or (content_type or "").partition(";")[0].strip().lower().endswith(("/xml", "+xml")):
        return "an XML document"
    if start[:1] in {b"{", b"["}:
        return f"a JSON document that begins {_text(start)!r}"
    return f"something else (content type {content_type or 'unknown'})"


def is_page(first: bytes) -> bool:
    """Whether a body is written for people or programs to read, and so cannot be a file of bytes cut or altered."""
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start[:1] in {b"<", b"{", b"["} and b"\0" not in start[:512]


def _text(raw: bytes) -> str:
    return " ".join(raw[:400].decode("utf-8", "replace").split())[:_SHOWN]
