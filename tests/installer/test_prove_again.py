"""A proof of what is there, long after the installation: nothing is changed by it but the evidence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, UnsatisfiableError, UsageError
from tests.installer.snapshot import snapshot
from tests.installer.ways import install, make_mirror

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A mirror, and an environment that was installed from it."""
    place = tmp_path_factory.mktemp("proven")
    mirror, venv = make_mirror(place / "mirror"), place / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", venv], check=True)
    install(mirror, venv=venv)
    return mirror, venv


@pytest.fixture
def proven(installed: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The same, and what a test does to it is undone."""
    _, venv = installed
    shutil.copytree(venv, tmp_path / "saved", symlinks=True)
    yield installed
    shutil.rmtree(venv)
    shutil.copytree(tmp_path / "saved", venv, symlinks=True)


def site_of(venv: Path) -> Path:
    (site,) = (venv / "lib").glob("python*/site-packages")
    return site


def test_what_is_whole_is_proven_and_left_alone(proven: tuple[Path, Path], tmp_path: Path) -> None:
    mirror, venv = proven
    site = site_of(venv)
    before = snapshot(site)
    told = tmp_path / "reports" / "node.json"
    document = install(mirror, venv=venv, prove_only=True, evidence=str(told))
    assert (document["kind"], document["proven"], document["installed"]) == ("proof", True, [])
    assert len(document["kept"]) == 3
    assert document["checked"]["files"] > 0
    assert snapshot(site) == before
    evidence = json.loads(told.read_text(encoding="utf-8"))
    assert evidence["wheels"][0]["files"]
    assert told.with_suffix(".html").is_file()
    assert document["evidence"] == str(told)


def test_a_file_that_changed_is_named(proven: tuple[Path, Path]) -> None:
    mirror, venv = proven
    (site_of(venv) / "filelock" / "__init__.py").write_text("__version__ = '3.0' # changed\n")
    with pytest.raises(IntegrityError) as caught:
        install(mirror, venv=venv, prove_only=True)
    assert caught.value.code == "proof-failed"
    assert "filelock/__init__.py: RECORD says" in str(caught.value.facts["files filelock"])
    left = json.loads(Path(str(caught.value.facts["evidence"])).read_text(encoding="utf-8"))
    assert left["proven"] is False
    good = venv / "share" / "pytorch-offline" / "evidence.json"
    assert json.loads(good.read_text(encoding="utf-8"))["proven"] is True  # of the installation


def test_a_record_that_was_rewritten_with_the_file_does_not_help(proven: tuple[Path, Path]) -> None:
    """Whoever changes a file and its RECORD is found out by the RECORD of the wheel in the bundle."""
    mirror, venv = proven
    site = site_of(venv)
    record = site / "filelock-3.0.dist-info" / "RECORD"
    lines = [line for line in record.read_text().splitlines() if "filelock/__init__.py," not in line]
    (site / "filelock" / "__init__.py").write_text("evil = True\n")
    record.write_text("\n".join([*lines, "filelock/__init__.py,,", ""]))
    with pytest.raises(IntegrityError) as caught:
        install(mirror, venv=venv, prove_only=True)
    assert "is in the wheel and not in the installed RECORD" in str(caught.value.facts["files filelock"])


def test_what_is_missing_or_does_not_work_is_told(proven: tuple[Path, Path]) -> None:
    mirror, venv = proven
    site = site_of(venv)
    (site / "typing_extensions-4.1.dist-info" / "METADATA").unlink()
    with pytest.raises(IntegrityError, match="the proof failed") as caught:
        install(mirror, venv=venv, prove_only=True)
    assert caught.value.facts["versions typing-extensions"] == "is not installed, the lock says 4.1"


def test_another_file_in_front_of_torch_is_found_out(proven: tuple[Path, Path]) -> None:
    mirror, venv = proven
    (site_of(venv) / "late.pth").write_text("import sys; sys.modules['torch'] = None\n")
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, venv=venv, prove_only=True)
    assert "torch import" in caught.value.facts


def test_without_an_environment_there_is_nothing_to_prove(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        install(make_mirror(tmp_path / "mirror"), venv=tmp_path / "none", prove_only=True)
    assert caught.value.code == "nothing-to-prove"
    assert not (tmp_path / "none").exists()
