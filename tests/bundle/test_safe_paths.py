from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.bundle.format.safe_paths import name_problem, path_key, path_problem


@pytest.mark.parametrize(
    "path",
    [
        "whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl",
        "locks/pylock.gpu-node.toml",
        "install.py",
        ".hidden",
        "console.txt",
        "nulls",
        "com10",
        "a b",
        "stra\u00dfe",
        "x" * 255,
    ],
)
def test_ordinary_paths_may_be_used(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        "../a",
        "a/../b",
        "..",
        "a\\b",
        "c:a",
        "c:/a",
        "a:stream",
        "a*",
        "a?",
        'a"',
        "a<",
        "a>",
        "a|",
        "a\nb",
        "a\x00",
        "a\x7f",
        "a\x85b",
        "a.",
        "a /b",
        " a",
        "a./b",
        "CON",
        "con.txt",
        "a/nul",
        "NUL .whl",
        "nul.tar.gz",
        "COM1",
        "lpt9.x",
        "COM\u00b9",
        "CONIN$",
        "aux",
        "a\u0308",  # decomposed
        "a\u202eb",  # turns the direction of what follows
        "a\u200bb",
        "a\u2028b",
        "\ud800",
        "x" * 256,
        "\u00e4" * 128,
        "/".join(["x" * 200] * 6),
    ],
)
def test_other_paths_may_not(path: str) -> None:
    assert path_problem(path) is not None


def test_a_name_has_no_directory() -> None:
    assert name_problem("a/b") is not None
    assert name_problem("a") is None


@given(st.text(max_size=30) | st.text("abCN./\\: \u00e4\u0308~", max_size=12))
def test_a_path_that_may_be_used_names_one_file_below_its_directory_everywhere(path: str) -> None:
    if path_problem(path) is not None:
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        pure = flavour(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert ".." not in pure.parts
        assert "/".join(pure.parts) == path
    assert not PureWindowsPath(path).is_reserved()
    assert unicodedata.normalize("NFC", path) == path


@given(st.text(max_size=20))
def test_a_key_is_the_same_in_every_case_and_form(path: str) -> None:
    for form in ("NFC", "NFD"):
        assert path_key(unicodedata.normalize(form, path)) == path_key(path)
    assert path_key(path_key(path)) == path_key(path)
