"""``install.py`` and deltas, as a far side runs it: what lies here travels back; a delta without its base says so."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.bundle.importing.held import holdings_of_mirror
from pytorch_offline.bundle.writing.since import read_since
from pytorch_offline.mirror.store import Mirror
from tests.bundle.test_round_trip import FIRST, SECOND, bundle, near, take
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Give a base and a delta."""
    mirror = near(tmp_path / "near", FIRST)
    bundle(mirror, tmp_path / "base")
    near(mirror, SECOND)
    bundle(mirror, tmp_path / "delta", tmp_path / "base")
    return tmp_path / "base", tmp_path / "delta"


def far_side(*arguments: str | Path, script: Path, expect: int = 0, python: str = "3.10") -> Any:  # noqa: ANN401  (JSON)
    """Run ``install.py`` of a bundle by an interpreter that has none of our libraries."""
    command = [str(interpreter(python)), "-B", str(script / "install.py"), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("python", ["3.6", "3.13"])
def test_what_a_bundle_holds_travels_back(both: tuple[Path, Path], tmp_path: Path, python: str) -> None:
    base, delta = both
    alone = far_side("--export-manifest", tmp_path / "held", script=base, python=python)
    assert alone["files"] == 2
    assert alone["bundles"][0]["counter"] == 1
    assert len(read_since(tmp_path / "held").files) == 2
    places = ("--from", base, "--from", delta)
    together = far_side(*places, "--export-manifest", tmp_path / "held.gz", script=delta, python=python)
    assert together["files"] == 3
    assert [one.counter for one in read_since(tmp_path / "held.gz").bundles] == [2]


def test_what_a_mirror_holds_travels_back_without_its_tool(both: tuple[Path, Path], tmp_path: Path) -> None:
    base, delta = both
    take(tmp_path / "far", base)
    take(tmp_path / "far", delta)
    far_side("--from", tmp_path / "far", "--export-manifest", tmp_path / "held", script=delta, python="3.6")
    assert read_since(tmp_path / "held") == holdings_of_mirror(Mirror(tmp_path / "far"))


def test_a_place_that_cannot_be_written_is_told(both: tuple[Path, Path], tmp_path: Path) -> None:
    error = far_side("--export-manifest", tmp_path / "no" / "held", script=both[0], expect=3)["error"]
    assert error["code"] == "disk-failed"


def test_a_delta_alone_names_its_base_and_what_lies_there(both: tuple[Path, Path], tmp_path: Path) -> None:
    base, delta = both
    error = far_side("--venv", tmp_path / "env", "--dry-run", script=delta, expect=2)["error"]
    assert error["code"] == "base-missing"
    assert error["facts"]["base"] == read_since(base).bundles[0].id
    assert "--from BASE --from DELTA" in error["hint"]
    assert any("torch" in path for path in error["facts"]["missing"])
    assert not any("numpy" in path for path in error["facts"]["missing"])
    places = ("--from", delta, "--from", base)
    plan = far_side(*places, "--venv", tmp_path / "env", "--dry-run", script=delta)
    assert sorted(row["project"] for row in plan["install"]) == ["filelock", "numpy", "torch"]


def test_an_environment_remembers_what_it_was_installed_from(both: tuple[Path, Path], tmp_path: Path) -> None:
    base, delta = both
    where = ("--venv", tmp_path / "env", "--no-compile")
    far_side("--from", base, "--from", delta, *where, script=delta)
    far_side("--from", base, "--from", delta, *where, "--dry-run", script=delta)
    error = far_side("--from", base, *where, script=base, expect=4)["error"]
    assert error["code"] == "older-bundle"
    assert error["facts"]["highest counter taken"] == 2
    far_side("--from", base, *where, "--allow-older", "--dry-run", script=base)
