from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_offline.installer.conflicts import judge_conflicts, may_conflict
from pytorch_offline.installer.destination import read_survey
from tests.installer.crafted import pure, unpack_into
from tests.installer.surveys import context, held, locked, survey
from tests.interpreters import interpreter

NEW = (locked("filelock-3.0-py3-none-any.whl"),)


def test_nobody_is_asked_where_nothing_that_stays_needs_what_comes() -> None:
    assert not may_conflict(survey(held=[held("other", requires=("numpy>=1",))]), NEW)
    assert not may_conflict(survey(held=[held("filelock", requires=("filelock",))]), NEW)
    assert may_conflict(
        survey(held=[held("other", requires=("File_Lock [x] ; python_version>'3'", "FileLock<3"))]), NEW
    )


@pytest.mark.parametrize("version", ["3.6", "3.13"])
@pytest.mark.parametrize("pip", ["own", "carried"])
def test_what_would_be_broken_is_named_and_what_was_broken_before_is_not(
    version: str,
    pip: str,
    tmp_path: Path,
) -> None:
    base = interpreter(version)
    subprocess.run([base, "-m", "venv", *([] if pip == "own" else ["--without-pip"]), tmp_path / "env"], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    site = Path(read_survey(python, context()).paths["purelib"])
    unpack_into(
        site,
        pure("filelock", "2.5"),
        pure("picky", "1.0", "Requires-Dist: filelock<3"),
        pure("content", "1.0", "Requires-Dist: filelock>=2", 'Requires-Dist: filelock<1; sys_platform == "win32"'),
        pure("broken", "1.0", "Requires-Dist: filelock>=4"),
        pure("optional", "1.0", 'Requires-Dist: filelock<1; extra == "old"'),
    )
    seen = read_survey(python, context())
    (finding,) = judge_conflicts(seen, NEW, context(), None if pip == "own" else seen.bundled_pip)
    assert finding.fails
    assert (finding.check, finding.subject) == ("conflicts", "picky")
    assert finding.detail == "1.0 requires filelock<3, and 3.0 would come"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the tests do not run in a virtual environment")
def test_without_any_pip_it_is_told_that_nobody_can_judge(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    unpack_into(
        Path(read_survey(python, context()).paths["purelib"]), pure("picky", "1.0", "Requires-Dist: filelock<3")
    )
    (finding,) = judge_conflicts(read_survey(python, context()), NEW, context(), None)
    assert not finding.fails
    assert "No module named 'pip'" in finding.detail
