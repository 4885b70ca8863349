"""Requirements files as they lie around: lines, nesting, encodings, options, and what is refused with its line."""

from __future__ import annotations

import codecs
import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.selector.asking.requirement_files import logical_lines
from tests.selector.asking import ask
from tests.selector.machines import machine

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "0" * 63 + "a"


def roots(files: dict[str, str | bytes], r: tuple[str, ...] = ("r.txt",)) -> list[str]:
    return [str(one.requirement) for one in ask(files, r=r).asks if not one.constraint]


def test_comments_continuations_and_blank_lines() -> None:
    text = "# top\n\ntorch==2.4.0  # the one\n  numpy>=1,\\\n <2 \nname[extra] ; python_version < '3.9'\n"
    assert roots({"r.txt": text}) == ["torch==2.4.0", "numpy<2,>=1", 'name[extra]; python_version < "3.9"']


def test_lines_are_numbered_by_their_first_and_joined_as_pip_joins_them() -> None:
    text = "a\n\nb==1\\\n.5\n# comment \\\nc\\\n  # ends it\nd\\"
    assert list(logical_lines(text)) == [(1, "a"), (3, "b==1.5"), (6, "c"), (8, "d")]


def test_nested_files_and_constraints() -> None:
    files: dict[str, str | bytes] = {
        "r.txt": "-r sub/more.txt\n--constraint=c.txt\n-rother.txt\na",
        "sub/more.txt": "-c deep.txt\nb",
        "sub/deep.txt": "d<1\n-r real.txt",
        "sub/real.txt": "real",
        "c.txt": "c<2",
        "other.txt": "o",
    }
    # What a constraints file includes with -r are requirements: pip's own rule.
    assert roots(files) == ["real", "b", "o", "a"]
    assert [str(one.requirement) for one in ask(files).asks if one.constraint] == ["d<1", "c<2"]


def test_a_file_behind_an_address_includes_what_lies_beside_it() -> None:
    files: dict[str, str | bytes] = {"http://h/d/r.txt": "-r more.txt\na", "http://h/d/more.txt": "b"}
    assert roots(files, r=("http://h/d/r.txt",)) == ["b", "a"]


def test_variables_are_expanded_and_their_values_stay_secret() -> None:
    files: dict[str, str | bytes] = {"r.txt": "torch\n--extra-index-url https://${USER_1}:${TOKEN}@host/simple"}
    asked = ask(files, environment={"USER_1": "me", "TOKEN": "geheim"})
    assert asked.options.indexes == (None, "https://me:geheim@host/simple")
    with pytest.raises(UsageError, match=r"r\.txt, line 2.*TOKEN is not set"):
        ask(files, environment={"USER_1": "me"})
    for line in ("x @ https://me:geheim@host/x.zip", "-e git+https://me:geheim@host/x", "a b https://me:geheim@host/x"):
        with pytest.raises(UsageError) as caught:
            ask({"r.txt": line})
        assert "geheim" not in f"{caught.value.message} {caught.value.facts} {caught.value.hint}"


@pytest.mark.parametrize(
    "body",
    [
        codecs.BOM_UTF8 + "nümpy # ü".replace("ü", "u").encode(),
        codecs.BOM_UTF16_LE + "numpy # ü".encode("utf-16-le"),
        codecs.BOM_UTF32_BE + "numpy # ü".encode("utf-32-be"),
        "# -*- coding: latin-1 -*-\nnumpy # ü".encode("latin-1"),
        "numpy # ü".encode(),
    ],
    ids=["utf-8", "utf-16", "utf-32", "declared", "plain"],
)
def test_encodings(body: bytes) -> None:
    assert roots({"r.txt": body}) == ["numpy"]


def test_bytes_that_are_no_text_say_how_to_declare_their_encoding() -> None:
    with pytest.raises(UsageError, match="cannot be read: it is no utf-8") as caught:
        ask({"r.txt": "numpy # ü".encode("latin-1")})
    assert "coding" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("-e .", "-e"),
        ("--editable git+https://x/y", "--editable"),
        ("torch --pre", "--pre"),
        ("torch --global-option=x", "--global-option"),
        ("--hash=sha256:" + DIGEST, "--hash"),
        ("-r a.txt -c b.txt", "--constraint"),
        ("-f a -f b", "--find-links"),
        ("--extra-index https://x", "--extra-index"),
        ("--no-binary torch", "--no-binary torch"),
        ("--use-feature=2020-resolver", "--use-feature 2020-resolver"),
        ("--only-final torch", "--only-final torch"),
        ("--pre=yes", "--pre"),
        ("--index-url", "--index-url"),
        ("--index-url=", "--index-url"),
        ("--index-url ftp://x/y", "--index-url ftp://x/y"),
        ("--find-links absent", "absent"),
        ("-r a.txt b.txt", "b.txt"),
        ("torch --hash=sha256:" + DIGEST + " ; python_version < '3'", ";"),
        ("torch --hash 'x", "hash"),
    ],
)
def test_an_option_that_cannot_be_honoured_names_its_line(line: str, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask({"r.txt": f"torch\n{line}\n", "a.txt": "", "b.txt": ""})
    assert caught.value.code == "unsupported-option"
    assert "r.txt, line 2" in caught.value.message
    assert option in caught.value.message


def test_options_that_change_nothing_here_are_taken() -> None:
    options = "--prefer-binary\n--only-binary :all:\n--no-binary=:none:\n--use-feature truststore\n"
    text = f"{options}torch -C a=b --config-setting c=d"
    assert roots({"r.txt": text}) == ["torch"]


@pytest.mark.parametrize("text", ["torch --hash=md5:00", "torch --hash=sha256:00", "torch --hash", "t --hash=sha256"])
def test_hashes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="line 1"):
        ask({"r.txt": text})


def test_longer_hashes_alone_are_refused_since_sha256_alone_is_compared() -> None:
    with pytest.raises(UsageError, match="only sha256"):
        ask({"r.txt": f"torch --hash=sha512:{'0' * 128}"})
    (one,) = ask({"r.txt": f"torch --hash=sha512:{'0' * 128} \\\n  --hash=sha256:{DIGEST.upper()}"}).asks
    assert one.sha256s == {DIGEST}


def test_a_circle_ends() -> None:
    with pytest.raises(UsageError, match="includes itself"):
        ask({"r.txt": "-r a.txt", "a.txt": "-r ./r.txt"})


def test_a_file_may_be_included_twice_side_by_side() -> None:
    assert roots({"r.txt": "-r a.txt\n-r a.txt", "a.txt": "a"}) == ["a", "a"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("uv.lock", "uv export"),
        ("poetry.lock", "poetry export"),
        ("environment.yml", "pip:"),
        ("pyproject.toml", "uv pip compile"),
        ("Pipfile.lock", "pipenv requirements"),
        ("d/x-1-py3-none-any.whl", "leave out -r"),
    ],
)
def test_files_of_other_tools_say_what_makes_requirements_of_them(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask({}, r=(name,))
    assert hint in str(caught.value.hint)


def test_constraints_have_no_extras() -> None:
    with pytest.raises(UsageError, match=r"c\.txt, line 1"):
        ask({"r.txt": "-c c.txt\ntorch", "c.txt": "torch[x]<3"})


def test_what_a_line_says_beside_its_requirement_counts_where_its_marker_does() -> None:
    text = (
        f"torch==2.4.0 ; sys_platform == 'linux' --hash=sha256:{DIGEST}\n"
        f"torch==2.3.0 ; sys_platform == 'win32' --hash=sha256:{'b' * 64}\n"
    )
    asked = ask({"r.txt": text})
    for platform, digest in (("manylinux_2_28_x86_64", DIGEST), ("win_amd64", "b" * 64)):
        request = asked.request_for(machine(platform), backend=None, pre=False, no_deps=False)
        assert request.hashes == {"torch": {digest}}
        assert request.require_hashes


def test_hashes_of_a_requirement_and_a_constraint_must_both_hold() -> None:
    text = f"-c c.txt\na==1 --hash=sha256:{DIGEST} --hash=sha256:{'b' * 64}"
    asked = ask({"r.txt": text, "c.txt": f"a --hash=sha256:{DIGEST}"})
    assert asked.request_for(machine(), backend=None, pre=False, no_deps=False).hashes == {"a": {DIGEST}}


@given(st.text())
def test_no_text_escapes_as_another_error(text: str) -> None:
    with contextlib.suppress(PytorchOfflineError):
        ask({"r.txt": text})


@given(st.binary())
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    with contextlib.suppress(PytorchOfflineError):
        ask({"r.txt": body})


def test_a_path_is_relative_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d" / "wheels").mkdir(parents=True)
    (tmp_path / "d" / "r.txt").write_text("-f wheels\ntorch")
    monkeypatch.chdir(tmp_path)
    asked = ask({"d/r.txt": "-f wheels\ntorch"}, r=("d/r.txt",))
    assert asked.options.find_links == (tmp_path / "d" / "wheels",)
