from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.selector.requirements import parse_requirement, read_requirements_file


def read(files: dict[str, str], name: str = "r.txt") -> tuple[list[str], list[str]]:
    requirements, constraints = read_requirements_file(Path(name), read=lambda path: files[str(path)])
    return [str(one) for one in requirements], [str(one) for one in constraints]


def test_comments_continuations_and_blank_lines() -> None:
    text = "# top\n\ntorch==2.4.0  # the one\n  numpy>=1,\\\n <2 \nname[extra] ; python_version < '3.9'\n"
    assert read({"r.txt": text})[0] == ["torch==2.4.0", "numpy<2,>=1", 'name[extra]; python_version < "3.9"']


def test_nested_files_and_constraints() -> None:
    files = {
        "r.txt": "-r sub/more.txt\n--constraint=c.txt\n-rother.txt\na",
        "sub/more.txt": "-c deep.txt\nb",
        "sub/deep.txt": "d<1",
        "c.txt": "c<2",
        "other.txt": "o",
    }
    assert read(files) == (["b", "o", "a"], ["d<1", "c<2"])


@pytest.mark.parametrize("line", ["--index-url https://x/simple", "-e .", "--pre", "torch --hash=sha256:00"])
def test_an_option_that_cannot_be_honoured_names_its_line(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read({"r.txt": f"torch\n{line}\n"})
    assert caught.value.code == "unsupported-option"
    assert "r.txt, line 2" in caught.value.message


def test_a_circle_ends() -> None:
    with pytest.raises(UsageError, match="includes itself"):
        read({"r.txt": "-r r.txt"})


def test_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_requirements_file(tmp_path / "absent.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00t")
    with pytest.raises(UsageError, match="cannot be read"):
        read_requirements_file(tmp_path / "bad.txt")


@pytest.mark.parametrize("text", ["torch==", "???", "torch @ https://x/torch.whl", "torch 2.4", ""])
def test_bad_requirements_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="command line"):
        parse_requirement(text, "command line")


@given(st.text())
def test_no_text_escapes_as_another_error(text: str) -> None:
    with contextlib.suppress(PytorchOfflineError):
        read_requirements_file(Path("r.txt"), read=lambda _: text)
