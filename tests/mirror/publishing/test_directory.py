"""What is particular to directories: file systems that cannot everything, disks that fail, others who change it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.hashing import read_sha256
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.publishing import directory
from pytorch_offline.mirror.publishing.directory import DirectoryDestination
from pytorch_offline.mirror.store import Mirror
from tests.mirror.publishing.memory import broken_links
from tests.mirror.publishing.test_publish import public, publish
from tests.mirror.wheels import SYMPY, TORCH_CUDA, craft_wheel

if TYPE_CHECKING:
    from pathlib import Path

TWIN = craft_wheel("whl/cu118/sympy-1.2-py3-none-any.whl")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_PIECE", 400)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    for wheel in (TORCH_CUDA, SYMPY, TWIN):
        wheel.admit(mirror)
    mirror.publish()
    return mirror.root


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


class WithoutLinks(Disk):
    def link(self, source: Path, target: Path) -> bool:
        del source, target
        return False


def test_links_are_kept_where_there_are_such(root: Path, there: Path) -> None:
    publish(root, DirectoryDestination(there))

    assert (there / SYMPY.path).samefile(there / TWIN.path)


def test_without_links_the_bytes_are_written_twice(root: Path, there: Path) -> None:
    report = publish(root, DirectoryDestination(there, disk=WithoutLinks()))

    assert public(there) == public(root)
    assert report.copied == ()
    assert not (there / SYMPY.path).samefile(there / TWIN.path)


def test_what_a_cut_off_run_left_is_believed_by_its_time_and_else_by_its_bytes(
    root: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, DirectoryDestination(there))
    (there / "manifest.json").unlink()
    os.utime(there / SYMPY.path, ns=(0, 0))
    read: list[Path] = []

    def noted(path: Path) -> tuple[str, int]:
        read.append(path)
        return read_sha256(path)

    monkeypatch.setattr(directory, "read_sha256", noted)

    assert publish(root, DirectoryDestination(there)).sent == ()
    assert {path.name for path in read} == {SYMPY.path.name}


class FailingDisk(Disk):
    """Carries out so many changes, and answers the next ones with an errno."""

    def __init__(self, changes: int, number: int) -> None:
        self.left = changes
        self._number = number

    def __getattribute__(self, name: str) -> object:
        method = super().__getattribute__(name)
        if name not in {"write", "sync", "sync_directory", "make_directory", "replace", "link", "remove"}:
            return method
        self.left -= 1
        if self.left < 0:
            number = self._number

            def fail(path: Path, *_: object) -> None:
                raise OSError(number, os.strerror(number), str(path))

            return fail
        return method


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EIO, "disk-failed"), (errno.EROFS, "mirror-not-writable")]
)
def test_a_disk_that_fails_at_any_change_leaves_what_is_right(
    root: Path, tmp_path: Path, number: int, code: str
) -> None:
    for changes in range(0, 400, 7):
        there = tmp_path / f"there-{changes}"
        error = failure(root, DirectoryDestination(there, disk=FailingDisk(changes, number)))
        if error is None:
            assert changes > 100
            return
        assert error.code == code
        assert str(there) in error.message
        if there.is_dir():
            assert broken_links(public(there)) == []
        publish(root, DirectoryDestination(there))
        assert public(there) == public(root)
        assert list((there / ".state").iterdir()) == [there / ".state/lock"]
    pytest.fail("it never came through")


def failure(root: Path, destination: DirectoryDestination) -> PytorchOfflineError | None:
    try:
        publish(root, destination, jobs=2)
    except PytorchOfflineError as error:
        return error
    return None


def test_a_destination_without_room_is_told_before_anything_is_sent(
    root: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "free_bytes", lambda _: 1000)

    with pytest.raises(UpstreamError) as caught:
        publish(root, DirectoryDestination(there))

    assert caught.value.code == "disk-full"
    assert public(there) == {}


def test_a_file_system_for_small_files_is_told_before_anything_is_sent(
    root: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "largest_file", lambda _: 100)

    with pytest.raises(UpstreamError) as caught:
        publish(root, DirectoryDestination(there))

    assert caught.value.code == "file-too-large"


def test_two_runs_do_not_change_one_directory_at_once(root: Path, there: Path) -> None:
    said: list[str] = []
    with DirectoryDestination(there).changing(), pytest.raises(UsageError) as caught:
        publish(root, DirectoryDestination(there, patience=0.0, say=said.append))

    assert caught.value.code == "mirror-busy"
    assert public(there) == {}


def test_a_file_system_that_keeps_no_locks_will_do(root: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("mirror-not-lockable", "no locks here")

    monkeypatch.setattr(MirrorLock, "acquire", refuse)
    said: list[str] = []

    publish(root, DirectoryDestination(there, say=said.append))

    assert public(there) == public(root)
    assert "keeps no locks" in said[0]


def test_a_directory_where_a_file_should_be_is_said(root: Path, there: Path) -> None:
    (there / SYMPY.path).mkdir(parents=True)

    with pytest.raises(PytorchOfflineError) as caught:
        publish(root, DirectoryDestination(there))

    assert caught.value.exit_code in {2, 3}
    assert broken_links(public(there)) == []
