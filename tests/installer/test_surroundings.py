from __future__ import annotations

import os

import pytest

from pytorch_offline.installer.command import for_terminal
from pytorch_offline.installer.surroundings import clean_environment, local_path, portable_path


def test_nothing_that_steers_is_left() -> None:
    hostile = {
        "PIP_INDEX_URL": "http://evil",
        "pip_target": "/evil",
        "UV_FIND_LINKS": "/evil",
        "PYTHONPATH": "/evil",
        "PYTHONHOME": "/evil",
        "VIRTUAL_ENV": "/env",
        "NO_PROXY": "*",
        "PATH": "/bin",
        "LANG": "de_DE.UTF-8",
    }
    assert clean_environment(hostile, "/work") == {
        "PATH": "/bin",
        "LANG": "de_DE.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8",
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP", "RUSTUP_HOME"), "/work"),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"LC_CTYPE": "C.UTF-8"}),
        ({"LANG": "C"}, {"LANG": "C", "LC_CTYPE": "C.UTF-8"}),
        ({"LC_ALL": "POSIX", "LANG": "zh_CN.UTF-8"}, {"LANG": "zh_CN.UTF-8", "LC_CTYPE": "C.UTF-8"}),
        ({"LC_ALL": "zh_CN.GB18030"}, {"LC_ALL": "zh_CN.GB18030"}),
        ({"LC_CTYPE": "C.utf8"}, {"LC_CTYPE": "C.utf8"}),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, {"LANG": "zh_CN.UTF-8", "LC_ALL": ""}),
    ],
)
def test_a_locale_that_knows_ascii_alone_is_widened(given: dict[str, str], expected: dict[str, str]) -> None:
    cleaned = clean_environment(given)
    assert {name: value for name, value in cleaned.items() if name.startswith(("LC_", "LANG"))} == expected


@pytest.mark.skipif(os.name == "nt", reason="paths are no bytes there")
def test_a_path_comes_back_as_the_bytes_that_it_is() -> None:
    for name in ("环境 ü".encode(), b"\xff\xfe", b"plain"):
        path = os.fsdecode(name)
        assert os.fsencode(local_path(portable_path(path))) == name


def test_a_path_that_was_taken_for_bytes_is_shown_as_its_letters() -> None:
    taken_for_bytes = "/media/环境".encode().decode("ascii", "surrogateescape")
    assert for_terminal(f"{taken_for_bytes} é") == "/media/环境 é"
    assert for_terminal("\udcff\ud800\x1b[2J") == "\\udcff\\ud800\\x1b[2J"
    assert for_terminal("\udcff") == "\\udcff"
