from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytorch_offline.installer.byte_code import ByteCompiler
from pytorch_offline.installer.record_files import hash_as_in_record
from pytorch_offline.installer.staged_files import RecordedFile, StagedDistribution, StageHands

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_its_installer_was_just_writing_again_is_looked_at_once_more(tmp_path: Path) -> None:
    """pip unlinks ``nvidia/__init__.py`` of the one before it writes that of the next; that is no damage."""
    shared = tmp_path / "__init__.py"
    shared.write_text("value = 1\n", encoding="utf-8")
    expected = hash_as_in_record(str(shared))
    assert expected is not None
    shared.unlink()
    compiler = ByteCompiler(sys.executable, {}, ())
    hands = StageHands([compiler], 1)
    try:
        file = RecordedFile("nvidia/__init__.py", str(shared), expected, "/env/nvidia/__init__.py")
        hands.give(StagedDistribution("nvidia-cublas", str(tmp_path), (1, 1)), [file])
        for run in hands._given["nvidia-cublas"][2]:
            assert [one.sha256 for one in run.result()] == [None]
        shared.write_text("value = 1\n", encoding="utf-8")
        _, (handled,) = hands.results("nvidia-cublas")
    finally:
        hands.close()
        compiler.close()
    assert handled.sha256 == expected
    assert handled.byte_code is not None
