"""``import`` as a user runs it: what it prints, its exit codes, and the file that goes back."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

from pytorch_offline.cli.import_ import MOST_TOLD
from tests.bundle.importing.editions import Edition, wheels
from tests.e2e.tool import run_json, run_tool

if TYPE_CHECKING:
    from pathlib import Path

TORCH, SYMPY, NUMPY = wheels("cpu/torch-1.0+cpu", "sympy-1.2", "numpy-2.0")
FIRST = Edition(wheels=(TORCH, SYMPY))
SECOND = Edition(wheels=(TORCH, SYMPY, NUMPY), counter=2)


def test_a_bundle_and_its_delta_on_the_command_line(tmp_path: Path) -> None:
    FIRST.write(tmp_path / "1")
    delta = SECOND.after(FIRST).write(tmp_path / "2")
    dry = run_json("import", "1", "--mirror", "lan", "--dry-run", cwd=tmp_path)
    assert (dry["dry_run"], len(dry["brought"])) == (True, 2)
    assert not (tmp_path / "lan").exists()
    first = run_tool("import", "1", "--mirror", "lan", cwd=tmp_path)
    assert f"brought: {SYMPY.path}" in first.stdout
    assert "not signed" in first.stderr
    second = run_json("import", "2", "--mirror", "lan", "--export-manifest", "held.json.gz", cwd=tmp_path)
    assert [row["path"] for row in second["brought"]] == [str(NUMPY.path)]
    assert second["bundle"]["base"] == FIRST.manifest().id
    held = json.loads(gzip.decompress((tmp_path / "held.json.gz").read_bytes()))
    assert [row[0] for row in held["files"]] == sorted(str(wheel.path) for wheel in SECOND.wheels)
    assert held["bundles"] == [[delta.manifest.lineage, delta.manifest.id, 2, 2]]
    assert "example" not in json.dumps(held)
    third = run_tool("import", "2", "--mirror", "lan", cwd=tmp_path)
    assert "nothing to do" in third.stdout
    quiet = run_tool("import", "2", "--mirror", "lan", "-q", cwd=tmp_path)
    assert quiet.stdout == ""
    older = run_tool("import", "1", "--mirror", "lan", cwd=tmp_path, expect=4)
    assert "--allow-older" in older.stderr
    run_tool("import", "1", "--mirror", "lan", "--allow-older", cwd=tmp_path)
    run_tool("verify", "--mirror", "lan", "--deep", cwd=tmp_path)


def test_what_is_held_alone_is_written_without_a_bundle(tmp_path: Path) -> None:
    FIRST.write(tmp_path / "1")
    run_tool("import", "1", "--mirror", "lan", cwd=tmp_path)
    exported = run_json("import", "--mirror", "lan", "--export-manifest", "held.json", cwd=tmp_path)["exported"]
    assert exported["files"] == 2
    assert exported["bytes"] == (tmp_path / "held.json").stat().st_size
    assert "no bundle" in run_tool("import", "--mirror", "lan", cwd=tmp_path, expect=2).stderr
    run_tool("import", "--mirror", "empty", "--export-manifest", "held.json", cwd=tmp_path, expect=2)


def test_a_delta_for_another_base_says_what_to_do(tmp_path: Path) -> None:
    SECOND.after(FIRST).write(tmp_path / "2")
    error = run_json("import", "2", "--mirror", "lan", cwd=tmp_path, expect=2)["error"]
    assert error["code"] == "other-delta-base"
    assert error["facts"]["base of the delta"] == FIRST.manifest().id
    assert "bundle --since" in error["hint"]


def test_a_list_that_nobody_would_read_is_cut_short(tmp_path: Path) -> None:
    many = wheels(*(f"project{number}-1.0" for number in range(MOST_TOLD + 2)))
    Edition(wheels=many).write(tmp_path / "1")
    said = run_tool("import", "1", "--mirror", "lan", "--dry-run", cwd=tmp_path).stdout
    assert said.count("would bring: ") == MOST_TOLD
    assert "and 2 files more (--json names all)" in said
