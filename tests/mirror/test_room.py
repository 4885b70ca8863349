"""Room: bytes, inodes and the largest file, on each file system that a plan touches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UpstreamError
from pytorch_offline.mirror import room as module
from pytorch_offline.mirror.room import MARGIN, Room, file_system_of, free_bytes, free_inodes, largest_file, mount_of
from tests.mounts import mounted, small_disk

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def room(root: Path, *, free: int = 1 << 40, inodes: int | None = None, largest: int | None = None) -> Room:
    return Room(root, free=lambda _: free, inodes=lambda _: inodes, largest=lambda _: largest)


def test_the_message_says_what_is_needed_free_and_missing_and_where(tmp_path: Path) -> None:
    short = room(tmp_path / "not/there/yet", free=MARGIN)
    short.expect("a", 3 * MIB)
    short.expect("b", 2 * MIB)
    with pytest.raises(UpstreamError) as caught:
        short.check()
    error = caught.value
    assert (error.code, error.exit_code) == ("disk-full", 3)
    assert "5.2 MB are still to come" in error.message
    assert "5.2 MB are missing" in error.message
    assert str(mount_of(tmp_path)) in error.message
    assert error.facts["bytes missing"] == 5 * MIB
    assert error.hint is not None
    assert "fewer targets" in error.hint


def test_inodes_are_counted_where_a_file_system_counts_them(tmp_path: Path) -> None:
    for inodes, fits in ((None, True), (1000, True), (40, False), (0, False)):
        counted = room(tmp_path, inodes=inodes)
        counted.expect("a", 1)
        if fits:
            counted.check()
            continue
        with pytest.raises(UpstreamError, match="inodes") as caught:
            counted.check()
        assert caught.value.code == "disk-full"


def test_a_file_that_the_file_system_cannot_hold_is_told_before_it_comes(tmp_path: Path) -> None:
    fat = room(tmp_path, largest=(1 << 32) - 1)
    fat.expect("whl/small.whl", 10, size=(1 << 32) - 1)
    fat.check()
    fat.expect("whl/large.whl", 10, size=1 << 32)
    with pytest.raises(UpstreamError, match="larger than") as caught:
        fat.check()
    assert caught.value.code == "file-too-large"
    assert caught.value.facts["file"] == "whl/large.whl"
    late = room(tmp_path, largest=1000)
    with pytest.raises(UpstreamError, match="larger than"):
        late.learn("whl/unknown.whl", 1001)


def test_fat_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    here = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(module, "_MOUNTS", mounts)
    for kind, limit in (("vfat", (1 << 32) - 1), ("exfat", None), ("ext4", None)):
        mounts.write_text(
            f"21 1 0:5 / /proc rw - proc proc rw\n"
            f"36 35 {here} / /media/a\\040stick rw,noatime shared:1 - {kind} /dev/sdb1 rw,umask=0022\n"
        )
        assert largest_file(tmp_path / "not/there") == limit
    mounts.unlink()
    assert largest_file(tmp_path) is None


def test_the_limit_of_the_process_counts(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, before[1]))
        assert largest_file(tmp_path) == 1 << 30
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_nobody_expects_any_more_needs_no_room(tmp_path: Path) -> None:
    short = room(tmp_path, free=MARGIN + 10)
    short.expect("a", 10)
    short.expect("b", 10)
    short.ended("b")
    short.check()
    short.took("gone", 5)
    short.ended("a")
    assert short.facts()["bytes to come"] == 0


def test_each_file_system_is_asked_for_what_will_lie_on_it(tmp_path: Path) -> None:
    """``whl/cpu`` is a symbolic link to another disk: full sizes there; here what two jobs collect at once."""
    root = tmp_path / "mirror"
    with small_disk(tmp_path / "other", size=64 * MIB) as other:
        (root / "whl").mkdir(parents=True)
        (root / "whl/cpu").symlink_to(other)
        asked: dict[int, int] = {}

        def free(place: Path) -> int:
            return asked[place.stat().st_dev]

        here, there = root.stat().st_dev, other.stat().st_dev

        def check(*, here_free: int, there_free: int) -> None:
            asked.update({here: here_free, there: there_free})
            plan = Room(root, jobs=2, free=free)
            plan.expect("here", 10, size=30, place=root / "whl")
            for number, missing in enumerate((5, 20, 40)):
                plan.expect(number, missing, size=50, place=root / "whl/cpu")
            plan.check()

        check(here_free=MARGIN + 10 + 60, there_free=MARGIN + 150)
        for here_free, there_free, where in ((69, 150, mount_of(root)), (70, 149, other)):
            with pytest.raises(UpstreamError, match="are missing") as caught:
                check(here_free=MARGIN + here_free, there_free=MARGIN + there_free)
            assert caught.value.facts["file system"] == str(where)
            assert caught.value.facts["bytes missing"] == 1


def test_a_disk_says_what_it_has(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size=8 * MIB, inodes=100) as disk:
        assert mount_of(disk / "not/there") == disk.resolve()
        before = free_bytes(disk / "not/there")
        assert 7 * MIB < before <= 8 * MIB
        assert 90 <= (free_inodes(disk / "not/there") or 0) <= 100
        (disk / "file").write_bytes(b"x" * MIB)
        assert free_bytes(disk) == before - MIB
        assert file_system_of(disk / "not/there") == "tmpfs"


def test_what_is_reserved_for_root_is_not_free(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    if os.system(f"mkfs.ext4 -q -m 50 '{image}' 2>/dev/null"):  # noqa: S605  (a path of ours)
        pytest.skip("there is no mkfs.ext4 here")
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
        found = os.statvfs(disk)
        assert free_bytes(disk) == found.f_bavail * found.f_frsize < found.f_bfree * found.f_frsize / 1.5
