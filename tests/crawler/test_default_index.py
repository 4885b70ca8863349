from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler import default_index
from pytorch_offline.crawler.default_index import (
    PipSettings,
    Reach,
    configured_http,
    configured_index_url,
    parse_index_url_in_help,
    parse_pip_settings,
    pip_settings,
)
from pytorch_offline.crawler.pip_memory import PipMemory
from pytorch_offline.errors import UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    pip_settings.cache_clear()
    default_index._built_in_index_url.cache_clear()
    yield
    pip_settings.cache_clear()
    default_index._built_in_index_url.cache_clear()


def test_settings_are_read_with_their_precedence() -> None:
    listing = ":env:.trusted-host='a.example b.example:8443'\ndownload.index-url='https://wrong.example/simple'\nglobal.cert='/etc/ca.pem'\nglobal.index_url='https://global.example/simple'\ninstall.index-url='https://me:it''s@install.example/simple'\nglobal.extra-index-url='https://extra.example/simple'\nglobal.find-links='/opt/wheels'\nglobal.proxy='http://proxy.example:3128'\nglobal.client-cert=''\nnonsense"
    assert parse_pip_settings(listing) == PipSettings(
        index_url="https://me:its@install.example/simple",
        ca_bundle=Path("/etc/ca.pem"),
        proxy="http://proxy.example:3128",
        trusted_hosts=("a.example", "b.example:8443"),
        variables=frozenset({"trusted-host"}),
    )
    assert parse_pip_settings(listing + "\n:env:.index-url='https://env.example/'").index_url == "https://env.example/"
    assert parse_pip_settings("") == PipSettings()


def test_only_the_index_counts() -> None:
    listing = "global.extra-index-url='https://extra.example/simple'\nglobal.find-links='/opt/wheels'"
    assert parse_pip_settings(listing) == PipSettings()


@pytest.mark.parametrize(
    "text",
    [
        "  -i, --index-url <url>       Base URL of the Package Index (default https://index.example/simple). This",
        "  -i, --index-url <url>\n     Base URL of the\n   Package Index (default: https://index.example/simple).",
    ],
)
def test_the_built_in_index_is_read_from_the_help(text: str) -> None:
    assert parse_index_url_in_help(text) == "https://index.example/simple"


def test_help_that_does_not_say_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        parse_index_url_in_help("Usage: pip install")
    assert caught.value.code == "pip-unusable"


def test_pip_is_asked_with_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:pass@mine.example/simple/")
    assert configured_index_url() == "https://me:pass@mine.example/simple/"


def test_pip_is_asked_with_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://filed.example/simple\ntrusted-host =\n    a.example\n    b.example\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert configured_index_url() == "https://filed.example/simple"
    assert pip_settings().trusted_hosts == ("a.example", "b.example")


def test_a_directory_may_be_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", str(tmp_path))
    assert configured_index_url() == tmp_path.as_uri()


def test_without_settings_pip_says_its_own_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    url = configured_index_url()
    assert url.startswith("https://")
    assert url.endswith("/simple")


def test_a_directory_called_pip_is_not_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text("print(\"global.index-url='https://evil.example/'\")")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mine.example/simple")
    assert configured_index_url() == "https://mine.example/simple"


def test_without_a_pip_it_is_told_and_the_network_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(UsageError) as caught:
        configured_index_url()
    assert caught.value.code == "pip-unusable"
    with configured_http():
        pass


def test_pip_is_asked_once_until_something_changes_that_it_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = https://filed.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    asked: list[str] = []
    ask_pip = default_index._ask_pip_all

    def noted(*questions: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
        asked.extend(question.split()[-1] for question in questions)
        return ask_pip(*questions, environment=environment)

    monkeypatch.setattr(default_index, "_ask_pip_all", noted)
    memory = PipMemory(tmp_path / "pip.json")

    def answered() -> tuple[str, list[str]]:
        asked.clear()
        pip_settings.cache_clear()
        return configured_index_url(memory), list(asked)

    assert answered() == ("https://filed.example/simple", ["debug", "list"])
    assert answered() == ("https://filed.example/simple", [])
    settings.write_text("[global]\nindex-url = https://other.example/simple\n")
    assert answered()[0] == "https://other.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@mine.example/simple")
    assert answered() == ("https://me:secret@mine.example/simple", ["debug", "list"])
    assert answered()[1] == ["debug", "list"], "an answer with a password is not kept"
    assert "secret" not in memory.path.read_text()
    memory.path.write_text("{")
    assert answered()[0] == "https://me:secret@mine.example/simple"


@pytest.mark.parametrize("change", ["written", "removed", "made", "replaced"])
def test_an_answer_is_not_kept_if_a_file_changes_while_pip_is_asked(tmp_path: Path, change: str) -> None:
    settings, older = tmp_path / "pip.conf", tmp_path / "older.conf"
    if change != "made":
        settings.write_text("old")
    older.write_text("other")
    listing = f"user:\n  {settings}, exists: {settings.exists()}\n"
    memory = PipMemory(tmp_path / "pip.json")
    asked: list[int] = []

    def answer() -> str:
        asked.append(len(asked))
        return "of the old file"

    def answer_and_change() -> tuple[str, str]:
        said = answer()
        time.sleep(0.02)  # clocks of file systems tick
        match change:
            case "removed":
                settings.unlink()
            case "replaced":
                older.rename(settings)
            case _:
                settings.write_text("new")
        return listing, said

    assert memory.answer("config list", answer, answer_and_change) == "of the old file"
    listing = f"user:\n  {settings}, exists: {settings.exists()}\n"
    memory.answer("config list", answer, lambda: (listing, answer()))
    assert len(asked) == 2
    memory.answer("config list", answer, lambda: (listing, answer()))
    assert len(asked) == 2, "nothing changed since"


# --- what pip is configured with reaches the network ---


def test_networks_settings_are_read() -> None:
    listing = """\
:env:.default-timeout='100'
:env:.proxy='http://proxy.example:3128'
global.timeout='3'
global.retries='20'
install.no-proxy-env='true'
global.client-cert='~/mine.pem'
"""
    settings = parse_pip_settings(listing)
    assert (settings.timeout, settings.retries, settings.environment_proxies) == (100.0, 20, False)
    assert settings.client_certificate == Path("~/mine.pem").expanduser()
    assert settings.variables == {"default-timeout", "proxy"}
    assert parse_pip_settings("global.timeout='soon'\nglobal.retries='-1'") == PipSettings()


@given(st.none() | st.floats(0, 1e5), st.none() | st.floats(0.1, 1e5))
def test_a_timeout_of_pips_lengthens_within_reason(configured: float | None, said: float | None) -> None:
    timeouts = default_index._timeouts(configured, said)
    if said is not None:
        assert (timeouts.connect, timeouts.read) == (said, said)
    else:
        assert 10 <= timeouts.connect <= 60
        assert 30 <= timeouts.read <= 120
        assert timeouts.read >= min(configured or 0, 120)


@given(st.none() | st.integers(0, 1000), st.none() | st.integers(0, 1000))
def test_tries(configured: int | None, said: int | None) -> None:
    policy = default_index._retry(configured, said)
    if said is not None:
        assert (policy.tries, policy.connect_tries) == (said + 1, said + 1)
    else:
        assert policy.tries == max(6, (configured or 0) + 1)
        assert policy.budget == 90


@pytest.mark.parametrize("place", ["file", "variable", "command line"])
def test_an_error_says_which_setting_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower() == "no_proxy"]:
        monkeypatch.delenv(name)
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nproxy = http://127.0.0.1:1\n" if place == "file" else "")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    if place == "variable":
        monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:1")
    reach = Reach(retries=0, proxy="127.0.0.1:1" if place == "command line" else None)
    with configured_http(reach=reach) as http, pytest.raises(UpstreamError) as caught:
        http.get("http://wheels.example/")
    words = {
        "file": "pip's setting 'proxy', see `pip config debug`",
        "variable": "PIP_PROXY",
        "command line": "--proxy",
    }
    assert f"http://127.0.0.1:1 (from {words[place]})" in caught.value.message
