"""The power is cut, or a step of the disk fails, at every point of two imports; nothing bad shows, and both finish.

``python -m tests.bundle.importing.test_power`` cuts at every step; the suite at some.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from pytorch_offline.bundle.importing.run import import_bundle
from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from tests.bundle.importing.editions import Edition, wheels
from tests.mirror.power import FailingDisk, VolatileDisk, left_by_cut, leftovers
from tests.mirror.wheels import now, tree
from tests.mounts import resize, small_disk

if TYPE_CHECKING:
    from pytorch_offline.bundle.reading.sources import Source
    from pytorch_offline.mirror.disk import Disk

TORCH, SYMPY, NUMPY, TRITON = wheels("cpu/torch-1.0+cpu", "sympy-1.2", "numpy-2.0", "cpu/triton-3.0")
FIRST = Edition(wheels=(TORCH, SYMPY))
SECOND = Edition(wheels=(TORCH, SYMPY, NUMPY, TRITON)).after(FIRST)


def take(root: Path, *sources: Source, disk: Disk | None = None) -> None:
    for source in sources:
        import_bundle(Mirror(root, disk=disk), source, now=now)


def go_on(root: Path, first: Source, second: Source) -> None:
    """Import as a user does who does not know how far it came: the delta, or what it says is missing."""
    try:
        take(root, second)
    except UsageError:  # what it is laid upon was lost
        take(root, first, second)


def problems(root: Path) -> list[str]:
    """Say what is wrong with what is found: a wheel that is not right, a page that leads to one that is not there."""
    found = []
    for wheel in SECOND.wheels:
        place = root / wheel.path
        if place.exists() and place.read_bytes() != wheel.body:
            found.append(f"{wheel.path} is bad, and shows")
    for page in root.glob("whl/**/index.html"):
        text = page.read_text()
        found += [
            f"{page.parent.name} leads to {wheel.path}, which is not there"
            for wheel in SECOND.wheels
            if wheel.path.name.replace("+", "%2B") in text and not (root / wheel.path).exists()
        ]
    return found


def cut(scratch: Path, fatal: int) -> tuple[bool, list[str]]:
    """Cut the power at one step, and go on afterwards; say whether it was reached, and what went wrong."""
    first, second = FIRST.write(scratch / "1"), SECOND.write(scratch / "2")
    take(scratch / "whole", first, second)
    expected = tree(scratch / "whole")
    disk = VolatileDisk(scratch / "far", fatal)
    wrong = []
    for name, found in left_by_cut(disk, lambda: take(scratch / "far", first, second, disk=disk), scratch).items():
        wrong += [f"step {fatal}, names {name}: {problem}" for problem in problems(found)]
        go_on(found, first, second)
        if tree(found) != expected:
            wrong.append(f"step {fatal}, names {name}: the next run made another mirror")
        if left := leftovers(found) - {"taken-bundles.json"}:
            wrong.append(f"step {fatal}, names {name}: left behind: {sorted(left)}")
    return disk.lost, wrong


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.usefixtures("_fast")
def test_after_a_power_cut_nothing_bad_shows_and_the_next_run_finishes(tmp_path: Path) -> None:
    cuts = 0
    for fatal in range(3, 1000, 17):
        reached, wrong = cut(tmp_path / str(fatal), fatal)
        assert wrong == []
        if not reached:
            break
        cuts += 1
    assert cuts > 5


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("kind", ["sync", "sync directory", "write", "append", "replace"])
def test_a_failed_step_is_told_and_the_next_run_finishes(tmp_path: Path, kind: str, code: int) -> None:
    first, second = FIRST.write(tmp_path / "1"), SECOND.write(tmp_path / "2")
    take(tmp_path / "whole", first, second)
    for number in (1, 3):
        far = tmp_path / f"far{number}"
        disk = FailingDisk(kind, lambda count, _, number=number: count >= number, code)  # type: ignore[misc]
        with pytest.raises(PytorchOfflineError) as caught:
            take(far, first, second, disk=disk)
        assert caught.value.code == ("disk-full" if code == errno.ENOSPC else "disk-failed")
        disk.forget()
        go_on(far, first, second)
        assert tree(far) == tree(tmp_path / "whole")


def test_a_disk_that_is_full_in_the_middle_is_told_and_room_is_all_that_the_next_run_needs(tmp_path: Path) -> None:
    from tests.mirror.loopback import sized_wheel

    large = sized_wheel("whl/cpu/torchvision-0.9+cpu-py3-none-any.whl", 1_500_000)
    source = Edition(wheels=(TORCH, SYMPY, large)).write(tmp_path / "1")
    with small_disk(tmp_path / "disk", size=1_000_000) as disk:
        with pytest.raises(PytorchOfflineError) as caught:
            import_bundle(Mirror(disk / "far"), source, now=now, free=lambda _: 1 << 40)
        assert caught.value.code == "disk-full"
        assert not (disk / "far/whl").exists()
        resize(disk, size=30_000_000)
        take(disk / "far", source)
        assert not verify_mirror(Mirror(disk / "far"), deep=True, now=now).findings
        assert leftovers(disk / "far") <= {"taken-bundles.json"}


def main() -> int:
    """Cut the power at every step; 1 if anything went wrong."""
    cuts, reached, wrong = 0, True, list[str]()
    with mock.patch.object(os, "fsync", return_value=None):
        while reached:
            with tempfile.TemporaryDirectory(prefix="power-") as scratch:
                reached, found = cut(Path(scratch), cuts + 1)
            cuts += reached
            wrong += found
    sys.stdout.write(f"{cuts} cuts, two ways each; wrong: {wrong}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
