from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.writing.locks import parse_lock, read_locks
from pytorch_offline.errors import IntegrityError, UsageError
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

LOCK = """\
lock-version = "1.0"
created-by = "test"

[[packages]]
name = "torch"
version = "2.4.0+cu121"
[[packages.wheels]]
path = "{path}"
size = 3
hashes = {{ sha256 = "{sha}" }}
"""
PATH = "../whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"


def lock_text(path: str = PATH, sha256: str = "a" * 64) -> str:
    return LOCK.format(path=path, sha=sha256)


def test_paths_are_below_the_mirror() -> None:
    lock = parse_lock(lock_text(), target="node")
    (wheel,) = lock.wheels
    assert str(wheel.path) == "whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    assert (wheel.sha256, wheel.size) == ("a" * 64, 3)
    assert str(lock.backend) == "cu121"


def test_the_backend_comes_from_the_local_version_where_the_directory_has_none() -> None:
    lock = parse_lock(lock_text("../whl/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"), target="node")
    assert str(lock.backend) == "cu121"


@pytest.mark.parametrize(
    "text",
    [
        "no toml [",
        "lock-version = '9.0'",
        "packages = " + "[" * 100_000,
        lock_text("../../etc/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"),
        lock_text("/whl/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"),
        lock_text("../whl/torch-2.5.0+cu121-cp310-cp310-linux_x86_64.whl"),
        lock_text("../whl/torch.whl"),
        lock_text(sha256="A" * 64),
        lock_text().replace("sha256", "md5"),
        lock_text() + lock_text().partition('created-by = "test"')[2],
    ],
)
def test_a_lock_that_cannot_be_trusted_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_lock(text, target="node")
    assert caught.value.code == "bad-lock"
    assert "node" in caught.value.message


def test_all_locks_of_a_mirror_are_read(tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path / "m", {"b": [pure("filelock", "3.0")], "a": [torch()]}, target=linux_target())
    assert [(lock.target, len(lock.wheels)) for lock in read_locks(mirror)] == [("a", 1), ("b", 1)]


def test_a_named_lock_does_not_suffer_from_its_neighbours(tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path / "m", {"a": [torch()]}, target=linux_target())
    (mirror / "locks" / "pylock.b.toml").write_bytes(b"\xff")
    assert [lock.target for lock in read_locks(mirror, named="a")] == ["a"]
    for named in (None, "b", "c"):
        with pytest.raises(IntegrityError) as caught:
            read_locks(mirror, named=named)
        assert "target b" in caught.value.message


def test_a_directory_without_locks_is_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_locks(tmp_path)
    assert caught.value.code == "not-a-mirror"
    (tmp_path / "locks").mkdir()
    with pytest.raises(UsageError):
        read_locks(tmp_path)
