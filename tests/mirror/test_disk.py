"""Directories are durable before anything is put below them, at the price of one fsync for all names in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.mirror.disk import make_directories
from tests.mirror.power import SteppingDisk

if TYPE_CHECKING:
    from pathlib import Path


def test_directories_are_made_level_by_level_and_synced_once(tmp_path: Path) -> None:
    steps: list[tuple[str, str]] = []
    disk = SteppingDisk(lambda _, kind, path: steps.append((kind, path.relative_to(tmp_path).as_posix())))
    (tmp_path / "old").mkdir()
    names = ("old", "whl/cpu/torch", "whl", "whl/cpu/sympy", "whl/cpu/torch", "locks")
    make_directories(disk, *(tmp_path / name for name in names))
    assert all((tmp_path / name).is_dir() for name in names)
    made = [path for kind, path in steps if kind == "make directory"]
    assert sorted(made) == ["locks", "whl", "whl/cpu", "whl/cpu/sympy", "whl/cpu/torch"]
    for path in made:
        parent = path.rpartition("/")[0] or "."
        at = steps.index(("make directory", path))
        assert ("sync directory", parent) in steps[at:]
        below = [steps.index(("make directory", other)) for other in made if other.startswith(f"{path}/")]
        assert all(("sync directory", parent) in steps[at:later] for later in below)
    assert steps.count(("sync directory", "whl/cpu")) == 1
