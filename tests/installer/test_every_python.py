"""A slice of ``every_python``, and places that are not as one wishes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.installer.every_python import Case, find_oldest, install, make_destination, write_bundle
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("3.6", "3.13")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for version in VERSIONS:
        interpreter(version)
    return write_bundle(tmp_path_factory.mktemp("every"), VERSIONS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(version="3.6", shape="bare", run_by="3.6"),
        Case(version="3.13", shape="conda", run_by="3.6"),
    ],
    ids=str,
)
def test_a_slice_of_every_python(case: Case, bundle: Path, tmp_path: Path) -> None:
    assert install(bundle, case, tmp_path / "env") == ""


@pytest.mark.slow
def test_a_path_of_any_letters_a_bundle_that_cannot_be_written_and_no_home(bundle: Path, tmp_path: Path) -> None:
    medium = tmp_path / "介质 1" / "bundle"
    shutil.copytree(bundle, medium)
    before = sorted((path.relative_to(medium), path.stat().st_mtime_ns) for path in medium.rglob("*"))
    case = Case(version="3.6", shape="own pip", run_by=find_oldest())  # whose own venv and pip know ASCII alone
    place = tmp_path / "环境 ü" / "env"
    options = make_destination(case, place)
    for path in [*medium.rglob("*"), medium]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    bare = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(tmp_path / "nowhere")}
    command = [str(interpreter("3.6")), str(medium / "install.py"), *options]
    try:
        done = subprocess.run(command, env=bare, cwd=os.sep, capture_output=True, check=False)
    finally:
        for path in [medium, *medium.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr.decode()
    assert f"3 wheels installed into {place}" in done.stdout.decode("utf-8")
    assert sorted((path.relative_to(medium), path.stat().st_mtime_ns) for path in medium.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["介质 1", "环境 ü"]
