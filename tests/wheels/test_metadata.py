from __future__ import annotations

import contextlib
import csv
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.metadata import (
    FIX_UPS,
    MAX_LINE,
    MAX_METADATA,
    CoreMetadata,
    FixUp,
    parse_metadata,
    parse_requirement,
    parse_specifiers,
)

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"Metadata-Version: 2.1\nName: torch\nVersion: 2.4.0+cu121\n"


def metadata(*lines: str, description: str = "") -> bytes:
    return HEAD + "".join(f"{line}\n" for line in lines).encode() + b"\n" + description.encode()


def test_reads_what_torch_says_of_itself() -> None:
    core = parse_metadata(
        metadata(
            "Requires-Python: >=3.8.0",
            'Requires-Dist: nvidia-cublas-cu12 (==12.1.3.1) ; platform_system == "Linux"',
            "Requires-Dist: filelock",
            'Requires-Dist: opt-einsum >=3.3 ; extra == "opt-einsum"',
            "Provides-Extra: opt_einsum",
            "License-File: LICENSE",  # not a field of metadata 2.1
            description="Requires-Dist: not-a-requirement, only text",
        )
    )
    assert core.name == "torch"
    assert core.version == Version("2.4.0+cu121")
    assert core.requires_python == SpecifierSet(">=3.8.0")
    assert [requirement.name for requirement in core.requires_dist] == ["nvidia-cublas-cu12", "filelock", "opt-einsum"]
    assert core.requires_dist[0].specifier == SpecifierSet("==12.1.3.1")
    assert core.provides_extra == {"opt-einsum"}
    assert core.problems == ()


def test_extras_of_a_requirement_are_kept() -> None:
    line = 'Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.2; platform_system == "Linux"'
    (requirement,) = parse_metadata(metadata(line)).requires_dist
    assert requirement.extras == {"cublas", "cudart"}


def test_a_version_that_is_no_version_in_a_marker_is_read() -> None:
    line = 'Requires-Dist: pytorch-triton==3.2.0+git0d4682f0; platform_system == "Linux" and python_version != "3.13t"'
    core = parse_metadata(metadata(line))
    assert not core.problems
    (requirement,) = core.requires_dist
    assert "3.13t" in str(requirement.marker)


def test_a_folded_line_is_one_line() -> None:
    core = parse_metadata(metadata("Requires-Dist: filelock", '  ; python_version\n\t>= "3.8"'))
    assert [str(requirement) for requirement in core.requires_dist] == ['filelock; python_version >= "3.8"']


def test_an_unreadable_line_is_named_and_the_others_are_kept() -> None:
    core = parse_metadata(metadata("Requires-Dist: ???", "Requires-Dist: sympy"))
    assert [requirement.name for requirement in core.requires_dist] == ["sympy"]
    assert core.problems == ("Requires-Dist cannot be read: '???'",)


def test_bytes_that_are_no_text_spoil_their_own_line_only() -> None:
    core = parse_metadata(HEAD + b"Author: Andr\xe9\nRequires-Dist: \xff\xfe\nRequires-Dist: sympy\n\n")
    assert [requirement.name for requirement in core.requires_dist] == ["sympy"]
    assert len(core.problems) == 1


def test_windows_line_ends() -> None:
    core = parse_metadata(metadata("Requires-Dist: sympy", "Requires-Python: >=3.8").replace(b"\n", b"\r\n"))
    assert [str(requirement) for requirement in core.requires_dist] == ["sympy"]
    assert core.requires_python == SpecifierSet(">=3.8")


def test_requirements_lost_behind_a_broken_header_are_reported() -> None:
    core = parse_metadata(HEAD + b"License: one line\nand one that was not indented\nRequires-Dist: sympy\n\n")
    assert core.requires_dist == ()
    assert "break off" in core.problems[0]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["Requires-Python: three"], "Requires-Python cannot be read: 'three'"),
        (
            ["Requires-Python: >=3.8", "Requires-Python: >=3.9"],
            "Requires-Python is given 2 times: >=3.8, >=3.9",
        ),
        (["Provides-Extra: a b"], "Provides-Extra cannot be read: 'a b'"),
    ],
)
def test_other_unreadable_fields_are_named(lines: list[str], problem: str) -> None:
    core = parse_metadata(metadata(*lines))
    assert core.problems == (problem,)
    assert core.requires_python is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Name: torch\n\n",
        b"Version: 1\n\n",
        b"Name: torch\nName: vision\nVersion: 1\n\n",
        b"Name: torch\nVersion: one\n\n",
        b"Name: to/rch\nVersion: 1\n\n",
        b"Name: torch\nVersion: " + b"9" * 5000 + b"\n\n",
        b"<html><body>Access denied</body></html>",
        b" " * (MAX_METADATA + 1),
    ],
    ids=["empty", "no version", "no name", "two names", "no such version", "bad name", "endless", "a web page", "huge"],
)
def test_no_name_or_version_is_an_error(body: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_metadata(body)
    assert caught.value.code == "bad-metadata"


MENDED = {
    "missing-comma": ">=7.2.0,<8.0.0",
    "tilde-after-not-equal": "!=5.0.*",
    "star-after-ordering": ">=1.0",
    "star-without-dot": "!=3.0.*",
    "stray-comma": ">=3.6",
    "stray-quote": ">=2.7",
}


@pytest.mark.parametrize("fix_up", FIX_UPS, ids=lambda fix_up: fix_up.name)
def test_each_fix_up_mends_its_example(fix_up: FixUp) -> None:
    mended = SpecifierSet(MENDED[fix_up.name])
    assert parse_specifiers(fix_up.example) == mended
    requirement = parse_requirement(f"torch ({fix_up.example}) ; python_version >= '3.8'")
    assert requirement is not None
    assert requirement.specifier == mended
    assert str(requirement.marker) == 'python_version >= "3.8"'


def test_fix_ups_work_together() -> None:
    assert parse_specifiers("'>=2.7<3.0.*,!=3.0*, '") == SpecifierSet(">=2.7,<3.0,!=3.0.*")


@pytest.mark.parametrize("line", ["torch>=1.0.*", "torch (>= 1.0.*)", "torch >= 1.0.*,"])
def test_the_star_that_companions_wrote(line: str) -> None:
    requirement = parse_requirement(line)
    assert requirement is not None
    assert requirement.specifier == SpecifierSet(">=1.0")


@pytest.mark.parametrize(
    "line", ["torch" + "[" * 50, "x; " + "(" * 1900 + "a", "x" * (MAX_LINE + 1), "torch==" + "9" * 4500, ";", ""]
)
def test_hopeless_lines_are_none(line: str) -> None:
    assert parse_requirement(line) is None


names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)
specifiers = st.lists(st.builds("{}{}".format, st.sampled_from(["==", ">=", "<", "!=", ">"]), versions), max_size=3)


@given(name=names, parts=specifiers)
def test_what_packaging_reads_is_read_as_packaging_does(name: str, parts: list[str]) -> None:
    line = name + ",".join(parts) + ' ; sys_platform == "linux"'
    assert parse_requirement(line) == Requirement(line)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_ours(noise: bytes) -> None:
    for body in (noise, HEAD + noise, HEAD + b"Requires-Dist: " + noise, HEAD + b"Requires-Python: " + noise):
        with contextlib.suppress(IntegrityError):
            parse_metadata(body)


@given(st.text(max_size=80))
def test_arbitrary_requirements_are_read_or_named(text: str) -> None:
    requirement = parse_requirement(text)
    assert requirement is None or requirement.name


def test_every_recorded_requirement_is_read(shared: Path) -> None:
    with (shared / "upstream" / "requires.csv").open(encoding="utf-8", newline="") as file:
        lines = [
            row["requires_dist"] for row in csv.DictReader(file) if row["kind"] in {"METADATA", "pdm.lock", "pixi.lock"}
        ]
    assert len(lines) > 150
    core = parse_metadata(metadata(*(f"Requires-Dist: {line}" for line in lines)))
    assert core.problems == ()
    assert len(core.requires_dist) == len(lines)


LINES = st.sampled_from([
    "Metadata-Version: 2.1", "Name: a", "Version: 1", "Requires-Dist: b", "Requires-Python: >=3", "Provides-Extra: x",
    "Description: said in a header", "  folded", "", " ", "no header", "From: me", ": ", "From me",
])  # fmt: skip


@given(lines=st.lists(LINES, max_size=12), ends=st.sampled_from(["\n", "\r\n", "\r"]))
@example(lines=["Name: a", "Version: 1", "no header", "Requires-Dist: b", "", "Requires-Dist: c"], ends="\n")
@example(lines=["Name: a", "Version: 1", "", "no header", "Requires-Dist: b"], ends="\r\n")
def test_what_stands_behind_the_headers_changes_nothing(lines: list[str], ends: str) -> None:
    body = ends.join(lines).encode()

    def read(*, whole: bool) -> CoreMetadata | str:
        with pytest.MonkeyPatch.context() as patch:
            if whole:
                patch.setattr("pytorch_offline.wheels.metadata._headers", lambda text: text)
            try:
                return parse_metadata(body)
            except IntegrityError as error:
                return error.message

    assert read(whole=False) == read(whole=True)
