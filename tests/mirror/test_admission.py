"""The gate, and the published exceptions to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.admission import KNOWN_BAD, check_bytes, check_wheel, excuse_for
from pytorch_offline.wheels.archive_rules import ArchiveProblem
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.mirror.wheels import TORCH_CPU, craft_wheel

if TYPE_CHECKING:
    from pathlib import Path

METADATA = "torch-1.11.0.dist-info/METADATA"


def problem(code: str, member: str) -> ArchiveProblem:
    return ArchiveProblem(code=code, member=member, detail="")


@pytest.mark.parametrize(
    ("filename", "code", "member", "excused"),
    [
        ("torch-1.11.0-cp38-cp38-manylinux1_x86_64.whl", "record-mismatch", METADATA, True),
        ("torch-1.11.0-cp38-cp38-manylinux1_x86_64.whl", "record-mismatch", "torch/__init__.py", False),
        ("torch-1.11.0-cp38-cp38-manylinux1_x86_64.whl", "not-in-record", METADATA, False),
        ("torch-1.11.0+cu113-cp38-cp38-linux_x86_64.whl", "record-mismatch", METADATA, False),
        ("torch-1.11.0-cp38-none-macosx_10_9_x86_64.whl", "record-mismatch", METADATA, False),
        ("torch-1.11.1-cp38-cp38-manylinux1_x86_64.whl", "record-mismatch", METADATA, False),
        ("torchaudio-1.11.0-cp38-cp38-manylinux1_x86_64.whl", "record-mismatch", METADATA, False),
        ("torch-0.2.0.post3-cp27-cp27mu-linux_x86_64.whl", "record-mismatch", "torch/lib/libTHCS.so.1", True),
        ("torch-0.2.0.post3-cp27-cp27mu-linux_x86_64.whl", "record-mismatch", "torch/lib/libTHC.so.1", False),
        ("torchvision-0.11.2+cu113-cp39-cp39-win_amd64.whl", "not-in-record", "torchvision/extension.py", True),
        ("torchvision-0.11.2+cu111-cp39-cp39-win_amd64.whl", "not-in-record", "torchvision/extension.py", False),
    ],
)
def test_an_exception_covers_exactly_what_it_names(filename: str, code: str, member: str, excused: bool) -> None:  # noqa: FBT001
    assert (excuse_for(parse_wheel_name(filename), problem(code, member)) is not None) is excused


def test_every_exception_names_its_source_and_no_whole_project() -> None:
    for known in KNOWN_BAD:
        assert known.source.startswith("https://github.com/")
        assert known.versions
        assert known.members not in {"", "*"}


def test_a_known_bad_wheel_passes_with_its_flaw_and_no_other(tmp_path: Path) -> None:
    name = "torch-1.11.0-py3-none-manylinux1_x86_64.whl"
    known = craft_wheel(f"whl/{name}", wrong_record_for="METADATA")
    (tmp_path / name).write_bytes(known.body)
    admission = check_wheel(tmp_path / name, parse_wheel_name(name))
    assert admission.metadata == known.metadata
    assert [excuse.source for excuse in admission.excused] == ["https://github.com/pytorch/pytorch/issues/97153"]
    other = "torch-1.11.0+cu113-py3-none-linux_x86_64.whl"
    (tmp_path / other).write_bytes(craft_wheel(f"whl/{other}", wrong_record_for="METADATA").body)
    with pytest.raises(IntegrityError, match="not a sound wheel"):
        check_wheel(tmp_path / other, parse_wheel_name(other))


def test_a_wheel_under_another_name_does_not_pass(tmp_path: Path) -> None:
    name = "torch-2.0+cpu-py3-none-any.whl"
    (tmp_path / name).write_bytes(TORCH_CPU.body)
    with pytest.raises(IntegrityError, match="not a sound wheel"):
        check_wheel(tmp_path / name, parse_wheel_name(name))


def test_requires_python_is_read_from_the_wheel(tmp_path: Path) -> None:
    for said, read in ((">=3.8, <4", "<4,>=3.8"), (None, None)):
        wheel = craft_wheel("whl/sympy-1.2-py3-none-any.whl", requires_python=said)
        (tmp_path / wheel.path.name).write_bytes(wheel.body)
        assert check_wheel(tmp_path / wheel.path.name, parse_wheel_name(wheel.path.name)).requires_python == read


def test_the_error_names_the_file_and_both_hashes() -> None:
    with pytest.raises(IntegrityError) as caught:
        check_bytes(TORCH_CPU.wanted(), size=7, sha256="f" * 64)
    facts = caught.value.facts
    assert TORCH_CPU.path.name in caught.value.message
    assert (facts["published sha256"], facts["received sha256"]) == (TORCH_CPU.sha256, "f" * 64)
    check_bytes(TORCH_CPU.wanted(), size=len(TORCH_CPU.body), sha256=TORCH_CPU.sha256)
    check_bytes(TORCH_CPU.wanted(sha256=None, size=None), size=7, sha256="f" * 64)
