from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.server.people.address import Address, address_of, is_authority, parse_address
from pytorch_offline.server.people.asked import fields_of, parse_query, render_query
from pytorch_offline.server.people.commands import Tool
from pytorch_offline.server.people.languages import Language, preferred_language
from pytorch_offline.server.people.offers import Question


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, Language.ENGLISH),
        ("", Language.ENGLISH),
        ("zh-CN,zh;q=0.9,en;q=0.8", Language.CHINESE),
        ("zh-TW", Language.CHINESE),
        ("zh-Hant-HK;q=0.5, en;q=0.4", Language.CHINESE),
        ("en-GB,en;q=0.9,zh;q=0.8", Language.ENGLISH),
        ("de, zh;q=0.7, en;q=0.3", Language.CHINESE),
        ("de-DE, *;q=0.5, zh;q=0.4", Language.ENGLISH),
        ("zh;q=0", Language.ENGLISH),
        ("ZH-cn ; Q=1.000", Language.CHINESE),
        ("zh;q=2, en;q=0.1", Language.ENGLISH),
        ("zh;;;,,en;q=", Language.CHINESE),
        ("fr", Language.ENGLISH),
    ],
)
def test_language_by_what_a_browser_accepts(accept: str | None, language: Language) -> None:
    assert preferred_language(accept) is language


@given(st.text(max_size=300))
def test_no_header_breaks_the_choice_of_a_language(accept: str) -> None:
    assert preferred_language(accept) in Language


@pytest.mark.parametrize(
    "text",
    [
        "http://mirror", "http://mirror:8080", "https://mirror.lab.example:8443/pytorch", "http://10.0.0.7:80",
        "http://[2001:db8::1]:8080", "http://[::1]", "http://my_mirror:8080", "https://xn--bcher-kva.example/a/b/c",
    ],
)  # fmt: skip
def test_an_address_is_what_it_says(text: str) -> None:
    address = parse_address(text)
    assert str(address) == text
    assert parse_address(f"{text}/") == address


@pytest.mark.parametrize(
    "text",
    [
        "", "mirror:8080", "ftp://mirror", "http://", "http:///x", "http://a b", "http://mirror:0", "http://mirror:99999",
        "http://mirror;rm", "http://user@mirror", "http://mirror/$(id)", "http://mirror/`id`", "http://mirror/a b",
        "http://mirror/../x", "http://mirror/x/..", "http://mirror/?x", "http://mirror/#x", "http://[::g]",
        "http://[1.2.3.4]", "http://mirror\n", "http://mirror/\n", 'http://mirror"', "http://mirror/<b>", "http://...",
        "javascript://mirror", "http://mirror//x", "http://mirror/" + "x" * 300, "http://-&evil",
    ],
)  # fmt: skip
def test_nothing_else_is_an_address(text: str) -> None:
    assert parse_address(text) is None


def test_the_browsers_own_word_decides_then_proxies_then_the_connection() -> None:
    def address(origin: str = "http://mirror:8080", **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return str(address_of(named.get, origin=origin))

    assert address() == "http://mirror:8080"
    assert address(origin="https://MIRROR") == "https://mirror"
    assert address(X_Forwarded_Proto="https, http", X_Forwarded_Prefix="/pytorch/") == "https://mirror:8080/pytorch"
    assert address(X_Mirror_Address="https://seen.example/x", X_Forwarded_Proto="http") == "https://seen.example/x"
    assert address(X_Mirror_Address="https://evil.example/$(id)") == "http://mirror:8080"
    assert address(X_Forwarded_Proto="gopher", X_Forwarded_Prefix="/a b") == "http://mirror:8080"
    assert address(origin="http://evil<script>") == "http://localhost"


@given(st.text(max_size=60))
def test_an_authority_holds_nothing_that_a_shell_or_a_page_reads(text: str) -> None:
    if is_authority(text):
        assert not set(text) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:[]")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        (Address("http", "localhost:8080"), True),
        (Address("http", "127.0.0.1:8080"), True),
        (Address("http", "127.8.0.1"), True),
        (Address("http", "[::1]:8080"), True),
        (Address("https", "mirror"), True),
        (Address("http", "mirror"), False),
        (Address("http", "10.0.0.7:8080"), False),
        (Address("http", "[2001:db8::1]"), False),
        (Address("http", "localhost.evil"), False),
    ],
)
def test_pip_trusts_this_machine_and_tls(address: Address, *, trusted: bool) -> None:
    assert address.is_trusted_by_pip is trusted


def test_a_query_is_read_and_written() -> None:
    asked = parse_query("torch=2.4.0&backend=cu121&tool=uv&q=num&sort=size&page=3&lang=zh-CN&x=1")
    assert asked.wanted == {Question.TORCH: "2.4.0", Question.BACKEND: "cu121"}
    assert (asked.tool, asked.containing, asked.number, asked.language) == (Tool.UV, "num", 3, Language.CHINESE)
    assert parse_query(render_query(asked).removeprefix("?")) == asked
    assert render_query(parse_query("")) == "./"


def test_what_differs_from_what_was_shown_was_just_given() -> None:
    shown = {"torch": "2.9.0", "system": "linux_x86_64", "python": "3.13", "backend": "cu130"}
    was = " ".join(shown.values())
    asked = parse_query(urlencode({**shown, "backend": "cu121", "was": was}))
    assert asked.insisted == (Question.BACKEND,)
    assert parse_query(urlencode(shown)).insisted == ()
    assert parse_query(urlencode({**shown, "was": "too few"})).insisted == ()


@given(st.text(max_size=400))
def test_no_query_breaks_the_page(query: str) -> None:
    asked = parse_query(query)
    again = parse_query(urlencode(fields_of(asked)))
    assert (again.tool, again.language, again.order, again.number) == (
        asked.tool, asked.language, asked.order, asked.number,
    )  # fmt: skip
    assert asked.number < 1_000_000
    assert len(asked.containing) <= 100
