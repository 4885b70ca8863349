from __future__ import annotations

import io
import random
import zipfile
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.installer.lock import Lock, read_locks
from pytorch_offline.installer.plan import read_manifest
from pytorch_offline.installer.preflight import check_files, installed_bytes, read_metadata_of
from tests.installer.crafted import Crafted, linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return write_mirror(tmp_path / "mirror", {"node": [torch(), pure("filelock", "3.0")]}, target=linux_target())


def lock_in(mirror: Path) -> Lock:
    (lock,) = read_locks(mirror)
    return lock


def bad_files(mirror: Path) -> dict[str, object]:
    with pytest.raises(IntegrityError) as caught:
        check_files(mirror, lock_in(mirror).wheels, read_manifest(mirror))
    assert caught.value.code == "bad-files"
    return caught.value.facts


def test_good_files_tell_what_they_hold(mirror: Path) -> None:
    contents = check_files(mirror, lock_in(mirror).wheels, read_manifest(mirror))
    assert {str(project) for project in contents} == {"torch", "filelock"}
    torch_contents = contents[lock_in(mirror).wheels[1].project]
    assert "torch/__init__.py" in torch_contents.record
    assert torch_contents.installed_bytes >= 4096
    assert {str(name) for name in read_metadata_of(mirror, lock_in(mirror), read_manifest(mirror))} == {
        "torch",
        "filelock",
    }


def test_every_bad_file_is_named(mirror: Path) -> None:
    first, second = (mirror / wheel.path for wheel in lock_in(mirror).wheels)
    first.unlink()
    body = bytearray(second.read_bytes())
    body[40] ^= 1
    second.write_bytes(body)
    facts = bad_files(mirror)
    assert facts["whl/filelock-3.0-py3-none-any.whl"] == "is missing"
    assert "has sha256" in str(facts["whl/cpu/torch-2.4.0+cpu-py3-none-any.whl"])


def test_a_truncated_file_is_named_with_its_size(mirror: Path) -> None:
    path = mirror / lock_in(mirror).wheels[0].path
    path.write_bytes(path.read_bytes()[:-1])
    (fact,) = bad_files(mirror).values()
    assert "bytes instead of" in str(fact)


def test_whatever_rots_is_a_bad_file_and_no_crash(mirror: Path) -> None:
    # zipfile has many names for damage: BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError …
    path = mirror / lock_in(mirror).wheels[1].path
    body = path.read_bytes()
    lock, manifest = lock_in(mirror), read_manifest(mirror)
    dice = random.Random(0)
    for _ in range(300):
        rotten = bytearray(body)
        rotten[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
        path.write_bytes(rotten)
        assert {str(name) for name in read_metadata_of(mirror, lock, manifest)} <= {"torch", "filelock"}
        assert set(bad_files(mirror)) == {str(lock.wheels[1].path)}


def test_what_another_wheel_asks_for_counts_for_nothing(mirror: Path) -> None:
    swapped = Crafted(filename=torch().filename, metadata=("Requires-Dist: never-locked",), directory="whl/cpu")
    (mirror / lock_in(mirror).wheels[1].path).write_bytes(swapped.build())
    found = read_metadata_of(mirror, lock_in(mirror), read_manifest(mirror))
    assert {str(name) for name in found} == {"filelock"}


def test_a_good_hash_of_what_is_no_wheel(tmp_path: Path) -> None:
    lacks_record = Crafted(filename="colour-1.0-py3-none-any.whl", body=_without_record(pure("colour", "1.0").build()))
    mirror = write_mirror(tmp_path / "mirror", {"node": [lacks_record]}, target=linux_target())
    (fact,) = bad_files(mirror).values()
    assert "is no wheel" in str(fact)


def _without_record(body: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as source, zipfile.ZipFile(target, "w") as archive:
        for member in source.infolist():
            if not member.filename.endswith("/RECORD"):
                archive.writestr(member, source.read(member))
    return target.getvalue()


def test_manifest_and_lock_must_agree(mirror: Path) -> None:
    manifest = read_manifest(mirror)
    wheel = lock_in(mirror).wheels[0]
    lock = mirror / "locks" / "pylock.node.toml"
    lock.write_text(lock.read_text(encoding="utf-8").replace(wheel.sha256, "0" * 64), encoding="utf-8")
    (fact,) = bad_files(mirror).values()
    assert "disagree" in str(fact)
    assert manifest[wheel.path].sha256 in str(fact)


def test_a_file_that_the_manifest_lacks_is_bad(mirror: Path) -> None:
    (mirror / "manifest.json").write_text('{"format": 1, "files": []}', encoding="utf-8")
    assert set(bad_files(mirror).values()) == {"is not in manifest.json"}


def test_without_a_manifest_it_is_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(tmp_path)
    assert caught.value.code == "not-a-mirror"


def test_disk_space_counts_blocks_and_byte_code() -> None:
    assert installed_bytes({"a.so": 1, "b.py": 4097, "empty": 0}) == 4096 + 2 * 2 * 4096
