"""Taking files out of a mirror: what a kill, a full disk or a power cut leaves of it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror import verify
from pytorch_offline.mirror.layout import PAGE_NAMES, sidecar_of
from pytorch_offline.mirror.scrub import Reading, read_wheels
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import VerifyReport, verify_mirror
from tests.mirror.failing_disk import FailingDisk, refusal
from tests.mirror.power import PowerLost, SteppingDisk, VolatileDisk, lay_out
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, craft_wheel, now, tree

if TYPE_CHECKING:
    from pytorch_offline.mirror.disk import Disk

OLD = craft_wheel("whl/cu118/torch-0.9+cu118-py3-none-any.whl")
WHEELS = (TORCH_CPU, TORCH_CUDA, SYMPY, OLD)
GONE = (TORCH_CUDA, OLD)


def filled(root: Path, *wheels: Wheel) -> Mirror:
    mirror = Mirror(root)
    with mirror.lock():
        for wheel in wheels:
            wheel.admit(mirror)
        mirror.publish(now=now)
    return mirror


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("full") / "mirror", *WHEELS).root


@pytest.fixture(scope="module")
def pruned(full: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("pruned") / "mirror"
    shutil.copytree(full, root)
    remove(root)
    return tree(root)


def remove(root: Path, disk: Disk | None = None) -> None:
    Mirror(root, disk=disk).remove([wheel.path for wheel in GONE], now=now)


def promises(root: Path) -> None:
    """Whatever pages link to is there, whole; every file has its METADATA; nothing lies about."""
    report = verify_mirror(Mirror(root), now=now)
    assert report.findings == ()


def links(root: Path) -> None:
    """Pages link to nothing that is not there, whatever the manifest says for the moment."""
    seen = tree(root)
    names = {PurePosixPath(path).name for path in seen}
    for path, body in seen.items():
        if PurePosixPath(path).name in PAGE_NAMES:
            for wheel in WHEELS:
                if wheel.path.name.replace("+", "%2B").encode() in body:
                    assert wheel.path.name in names, path
                    assert sidecar_of(wheel.path).name in names, path


def test_removing_leaves_what_a_mirror_without_the_files_would_be(
    full: Path, pruned: dict[str, bytes], tmp_path: Path
) -> None:
    assert tree(full) != pruned
    assert pruned == tree(filled(tmp_path / "other", TORCH_CPU, SYMPY).root)
    assert not any("cu118" in path for path in pruned)


def test_what_is_removed_may_come_back(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    shutil.copytree(full, root)
    before = tree(root)
    mirror = Mirror(root)
    with mirror.lock():
        assert mirror.remove([TORCH_CUDA.path], now=now) > 0
        assert mirror.adopt(TORCH_CUDA.wanted(), now=now) is None
        TORCH_CUDA.admit(mirror)
        mirror.publish(now=now)
    assert tree(root) == before


def test_a_path_that_is_not_held_means_nothing(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    shutil.copytree(full, root)
    before = tree(root)
    assert Mirror(root).remove([PurePosixPath("manifest.json"), PurePosixPath("whl/cpu/x.whl")], now=now) == 0
    assert tree(root) == before


def test_one_name_of_bytes_may_go_and_the_other_stay(tmp_path: Path) -> None:
    other = Wheel(path=PurePosixPath("whl/cu121") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    mirror = filled(tmp_path / "mirror", SYMPY, other)
    mirror.remove([other.path], now=now)
    assert (mirror.root / SYMPY.path).read_bytes() == SYMPY.body
    promises(mirror.root)


def test_a_file_that_was_admitted_a_moment_ago_may_go(tmp_path: Path) -> None:
    mirror = filled(tmp_path / "mirror", SYMPY)
    with mirror.lock():
        TORCH_CPU.admit(mirror)
        mirror.remove([TORCH_CPU.path], now=now)
        assert set(mirror.read_files()) == {SYMPY.path}
    promises(mirror.root)


@pytest.mark.parametrize(("failure", "first"), [("crash", 1), ("full", 2), ("crash once", 2), ("no entry", 1)])
def test_a_removal_cut_off_at_any_step_leaves_no_dead_link_and_the_next_run_finishes(
    full: Path, pruned: dict[str, bytes], tmp_path: Path, failure: str, first: int
) -> None:
    class Crash(BaseException):
        pass

    failures = {"full": refusal(errno.ENOSPC), "no entry": refusal(errno.EIO)}
    counting = FailingDisk()
    shutil.copytree(full, tmp_path / "counting")
    remove(tmp_path / "counting", counting)
    untouched = tree(full)
    olds = 0
    for step in range(first, counting.steps + 1, 2):
        root = tmp_path / str(step)
        shutil.copytree(full, root)
        disk = FailingDisk(step, failures.get(failure, Crash), for_good=failure != "crash once")
        with pytest.raises(PytorchOfflineError if failure in failures else Crash):
            remove(root, disk)
        links(root)
        with Mirror(root).lock():
            pass  # the next run that may write finishes what was begun, whatever it is there for
        promises(root)
        found = tree(root)
        assert found in (untouched, pruned), step
        olds += found == untouched
        remove(root)
        assert tree(root) == pruned
        shutil.rmtree(root)
    assert 0 < olds < counting.steps


class Standstill(SteppingDisk):
    """Waits before one step until it is told to go on; ``there`` once it waits."""

    def __init__(self, step: int) -> None:
        super().__init__(self._wait)
        self.there, self.on = threading.Event(), threading.Event()
        self._at = step

    def _wait(self, number: int, _kind: str, _path: Path) -> None:
        if number == self._at:
            self.there.set()
            assert self.on.wait(10)


def verified_beside_a_removal(root: Path, step: int) -> VerifyReport:
    """Begin before it; let it stand still at a step until the verification looks again."""
    disk = Standstill(step)
    removing = threading.Thread(target=remove, args=(root, disk))

    def read(*args: Any, **options: Any) -> Reading:  # noqa: ANN401  (passed on)
        found = read_wheels(*args, **options)
        removing.start()
        while removing.is_alive() and not disk.there.wait(0.01):
            pass
        return found

    def go_on(_seconds: float) -> None:
        disk.on.set()
        removing.join(10)

    clock = SimpleNamespace(sleep=go_on)
    with mock.patch.object(verify, "read_wheels", read), mock.patch.object(verify, "time", clock):
        report = verify_mirror(Mirror(root), now=now)
    go_on(0)
    return report


def test_a_verification_beside_a_removal_finds_nothing_bad(
    full: Path, pruned: dict[str, bytes], tmp_path: Path
) -> None:
    counting = FailingDisk()
    shutil.copytree(full, tmp_path / "counting")
    remove(tmp_path / "counting", counting)
    for step in range(1, counting.steps + 2, 4):
        root = tmp_path / str(step)
        shutil.copytree(full, root)
        assert verified_beside_a_removal(root, step).findings == (), step
        assert tree(root) == pruned
        shutil.rmtree(root)


def test_the_same_run_may_try_again_after_a_failure(full: Path, pruned: dict[str, bytes], tmp_path: Path) -> None:
    counting = FailingDisk()
    shutil.copytree(full, tmp_path / "counting")
    remove(tmp_path / "counting", counting)
    for step in range(1, counting.steps + 1, 3):
        root = tmp_path / str(step)
        shutil.copytree(full, root)
        mirror = Mirror(root, disk=FailingDisk(step, refusal(errno.EIO), for_good=False))
        try:
            with mirror.lock():
                with pytest.raises(PytorchOfflineError):
                    mirror.remove([wheel.path for wheel in GONE], now=now)
                mirror.remove([wheel.path for wheel in GONE], now=now)
                mirror.publish(now=now)
        except PytorchOfflineError:
            remove(root)  # it was the lock that failed
        assert tree(root) == pruned, step
        promises(root)
        shutil.rmtree(root)


def test_a_power_cut_at_any_step_leaves_no_dead_link(full: Path, pruned: dict[str, bytes], tmp_path: Path) -> None:
    untouched = tree(full)
    cuts = 0
    with mock.patch.object(os, "fsync", return_value=None):
        while True:
            root = tmp_path / f"cut-{cuts}"
            shutil.copytree(full, root)
            disk = VolatileDisk(root, cuts + 1)
            _all_safe(disk, root)
            try:
                remove(root, disk)
            except PowerLost:
                pass
            finally:
                disk.close()
            if not disk.lost:
                break
            for name, files in {"early": disk.early, "late": disk.late}.items():
                found = tmp_path / f"{name}-{cuts}"
                found.mkdir()
                lay_out(files, found)
                links(found)
                with Mirror(found).lock():
                    pass
                assert tree(found) in (untouched, pruned), (cuts, name)
                promises(found)
                shutil.rmtree(found)
            shutil.rmtree(root)
            cuts += 2
    assert cuts > 10


def _all_safe(disk: VolatileDisk, root: Path) -> None:
    """What is there when the power is still on was synced long ago."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            disk.synced_directory(path)
        else:
            disk.synced(path)
