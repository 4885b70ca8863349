from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.format.holdings import HeldFile, Holdings
from pytorch_offline.bundle.format.manifest import MANIFEST_NAME, UNFINISHED_NAME, parse_manifest
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.bundle.writing import copying, remembering
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError, UsageError
from tests.bundle.bundling import PIP, small_mirror, tree, wished
from tests.installer.crafted import linux_target, pure, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

FILELOCK = "whl/filelock-3.13-py3-none-any.whl"
TORCH = "whl/cpu/torch-2.4.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl"


def refused(mirror: Path, out: Path, **wishes: object) -> PytorchOfflineError:
    with pytest.raises(PytorchOfflineError) as caught:
        wished(mirror, out, **wishes)
    return caught.value


def assert_whole(out: Path) -> None:
    assert not verify_source(open_source([str(out)])).findings


def test_a_bundle_holds_what_its_manifest_says_and_nothing_else(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    report = wished(mirror, out)
    manifest = parse_manifest((out / MANIFEST_NAME).read_bytes())
    assert manifest == report.manifest
    found = tree(out)
    assert found.pop(MANIFEST_NAME)
    assert found == {file.path: file.sha256 for file in manifest.files}
    assert {TORCH, FILELOCK, "install.py", "locks/node.json", f"tools/{PIP.filename}"} <= set(found)
    assert [target.target for target in manifest.targets] == ["node", "other"]
    assert (out / "install.py").stat().st_mode & 0o777 == 0o755
    assert (out / TORCH).stat().st_mode & 0o777 == 0o644
    assert manifest.drivers is not None
    assert_whole(out)


def test_only_the_targets_that_are_named_are_carried(tmp_path: Path) -> None:
    report = wished(small_mirror(tmp_path / "mirror"), tmp_path / "out", targets=("other",))
    assert not (tmp_path / "out" / TORCH).exists()
    assert not (tmp_path / "out/locks/node.json").exists()
    assert [target.target for target in report.manifest.targets] == ["other"]
    assert_whole(tmp_path / "out")


def test_the_same_mirror_gives_the_same_bytes_again(tmp_path: Path) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    first, again = tmp_path / "first", tmp_path / "again"
    wished(mirror, first)
    wished(mirror, again)
    assert tree(first) == tree(again)
    times = {path.stat().st_mtime for path in first.rglob("*") if path.is_file()}
    assert times == {datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()}


def test_equal_mirrors_give_equal_bytes_at_a_declared_date(tmp_path: Path) -> None:
    declared = datetime(2020, 1, 1, tzinfo=UTC)
    mirror = small_mirror(tmp_path / "mirror")
    wished(mirror, tmp_path / "first", declared=declared)
    shutil.copytree(mirror, tmp_path / "copy", ignore=shutil.ignore_patterns(".state"))
    wished(tmp_path / "copy", tmp_path / "second", declared=declared)
    assert tree(tmp_path / "first") == tree(tmp_path / "second")
    assert json.loads((tmp_path / "second" / MANIFEST_NAME).read_bytes())["created"] == "2020-01-01T00:00:00Z"


def test_when_the_mirror_was_last_verified_changes_nothing(tmp_path: Path) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    wished(mirror, tmp_path / "first")
    manifest = mirror / "manifest.json"
    manifest.write_text(manifest.read_text().replace("2026-11-21T00:00:00Z", "2026-12-24T00:00:00Z"))
    wished(mirror, tmp_path / "second")
    assert tree(tmp_path / "first") == tree(tmp_path / "second")


def test_new_content_gets_a_higher_number(tmp_path: Path) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    first = wished(mirror, tmp_path / "first").manifest
    second = wished(mirror, tmp_path / "second", targets=("other",)).manifest
    again = wished(mirror, tmp_path / "third").manifest
    assert (first.counter, second.counter, again.counter) == (1, 2, 1)
    assert first.lineage == second.lineage


def test_a_bundle_that_is_the_same_already_is_left_as_it_is(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    wished(mirror, out)
    before = {path: path.stat().st_ino for path in out.rglob("*")}
    report = wished(mirror, out)
    assert (report.written, report.bytes_written) == (0, 0)
    assert {path: path.stat().st_ino for path in out.rglob("*")} == before


def test_what_is_damaged_in_it_is_written_again(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    wished(mirror, out)
    whole = tree(out)
    flipped = bytearray((out / TORCH).read_bytes())
    flipped[100] ^= 1
    (out / TORCH).write_bytes(flipped)
    (out / FILELOCK).unlink()
    report = wished(mirror, out)
    assert report.written == 2
    assert tree(out) == whole


def test_another_bundle_is_not_written_over_unless_that_is_meant(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    wished(mirror, out)
    before = tree(out)
    error = refused(mirror, out, targets=("other",))
    assert isinstance(error, UsageError)
    assert error.code == "bundle-exists"
    assert tree(out) == before
    wished(mirror, out, targets=("other",), force=True)
    assert not (out / TORCH).exists()
    assert not (out / "whl/cpu").exists()
    assert_whole(out)


def test_a_whole_bundle_does_not_give_way_to_a_delta_of_the_same_content_unasked(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    manifest = wished(mirror, out).manifest
    held = [HeldFile(file.path, file.size, file.sha256) for file in manifest.files if file.path.startswith("whl/")]
    since = Holdings(bundles=(), files=tuple(held))
    error = refused(mirror, out, since=since)
    assert error.code == "bundle-exists"
    assert "complete" in str(error.facts["it has"])
    assert "on top of" in str(error.facts["asked for"])
    assert_whole(out)
    assert wished(mirror, out, since=since, force=True).manifest.id == manifest.id
    assert not (out / TORCH).exists()


def test_names_that_some_media_take_for_one_are_not_packed_together(tmp_path: Path) -> None:
    target = linux_target("3.10.12")
    mirror = write_mirror(tmp_path / "mirror", {"a": [pure("name", "1.0")], "b": [pure("Name", "1.0")]}, target=target)
    error = refused(mirror, tmp_path / "out")
    assert isinstance(error, UsageError)
    assert error.code == "cannot-be-packed"
    assert not (tmp_path / "out").exists()
    wished(mirror, tmp_path / "out", targets=("a",))


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    for force in (False, True):
        assert refused(mirror, out, force=force).code == "bad-destination"
    assert tree(out).keys() == {"letter.txt"}


@pytest.mark.parametrize("place", ["mirror", "mirror/out", ".", "missing/out", "mirror/manifest.json"])
def test_a_place_that_cannot_be_meant_is_refused(tmp_path: Path, place: str) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    assert refused(mirror, tmp_path / place).code == "bad-destination"


def test_what_others_laid_beside_a_bundle_stays(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    wished(mirror, out)
    (out / "README-first.txt").write_text("call me")
    (out / "whl/stray.whl").write_text("not ours")
    (out / TORCH).unlink()
    wished(mirror, out)
    assert (out / "README-first.txt").exists()
    assert not (out / "whl/stray.whl").exists()


def test_wheels_that_rotted_in_the_mirror_are_named_and_the_bundle_says_that_it_is_not_finished(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    good = (mirror / TORCH).read_bytes()
    (mirror / TORCH).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    filelock = (mirror / FILELOCK).read_bytes()
    (mirror / FILELOCK).write_bytes(filelock[:-1])
    error = refused(mirror, out)
    assert isinstance(error, IntegrityError)
    assert error.code == "bad-files"
    assert set(error.facts) == {TORCH, FILELOCK}
    assert "sha256" in str(error.facts[TORCH])
    assert "bytes instead of" in str(error.facts[FILELOCK])
    assert "verify --repair" in (error.hint or "")
    assert not (out / TORCH).exists()
    assert not (out / MANIFEST_NAME).exists()
    with pytest.raises(PytorchOfflineError) as caught:
        open_source([str(out)])
    assert caught.value.code == "bundle-unfinished"
    (mirror / TORCH).write_bytes(good)
    (mirror / FILELOCK).write_bytes(filelock)
    report = wished(mirror, out)
    assert report.written < len(report.manifest.files)
    assert_whole(out)


def test_a_wheel_that_is_gone_is_named(tmp_path: Path) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    (mirror / TORCH).unlink()
    assert refused(mirror, tmp_path / "out").facts == {TORCH: "is missing"}


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    monkeypatch.setattr(copying, "free_bytes", lambda _: 1000)
    error = refused(mirror, out)
    assert isinstance(error, UpstreamError)
    assert error.code == "disk-full"
    assert not out.exists()


def test_a_file_too_large_for_the_medium_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    monkeypatch.setattr(copying, "largest_file", lambda _: 1000)
    error = refused(mirror, out)
    assert error.code == "file-too-large"
    assert "--volume-size" in (error.hint or "")
    assert not out.exists()


def test_a_link_in_the_bundle_is_not_written_through(tmp_path: Path) -> None:
    mirror, out, precious = small_mirror(tmp_path / "mirror"), tmp_path / "out", tmp_path / "precious"
    precious.write_text("mine")
    wished(mirror, out)
    (out / FILELOCK).unlink()
    (out / FILELOCK).symlink_to(precious)
    wished(mirror, out)
    assert precious.read_text() == "mine"
    assert not (out / FILELOCK).is_symlink()
    assert_whole(out)


def test_a_second_name_of_a_file_elsewhere_keeps_its_bytes(tmp_path: Path) -> None:
    mirror, out, kept = small_mirror(tmp_path / "mirror"), tmp_path / "out", tmp_path / "kept"
    wished(mirror, out)
    (out / FILELOCK).write_bytes(b"old")
    kept.hardlink_to(out / FILELOCK)
    wished(mirror, out)
    assert kept.read_bytes() == b"old"
    assert_whole(out)


def test_a_mirror_that_takes_no_notes_still_gives_bundles_and_says_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = small_mirror(tmp_path / "mirror")

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(remembering, "make_directories", read_only)
    report = wished(mirror, tmp_path / "out")
    assert report.manifest.counter == 1
    assert "cannot remember" in report.warnings[0]
    assert not (mirror / ".state").exists()


def test_a_memory_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    mirror = small_mirror(tmp_path / "mirror")
    wished(mirror, tmp_path / "first")
    (mirror / ".state/bundles.json").write_text("{")
    assert refused(mirror, tmp_path / "second").code == "bad-bundle-memory"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    """Stops before some change to the disk, as a crash would, and runs again."""
    mirror = small_mirror(tmp_path / "mirror")
    wished(mirror, tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    script = tmp_path / "cut.py"
    script.write_text(CUT_OFF)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(mirror), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outs = sorted(tmp_path.glob("out*"))
    assert len(outs) > 6
    for out in outs:
        if (out / MANIFEST_NAME).exists() and not (out / UNFINISHED_NAME).exists():
            assert_whole(out)
        wished(mirror, out)
        assert tree(out) == expected


# Every change goes through one of these calls; the process ends at once there, with nothing cleaned up.
CUT_OFF = """
import os, sys
from pathlib import Path
from tests.bundle.bundling import wished

mirror, place = map(Path, sys.argv[1:])

def cut_off_at(left, out):
    def counted(call):
        def wrapper(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(77)
            return call(*arguments, **options)
        return wrapper

    for name in ("fsync", "replace", "unlink", "mkdir", "utime", "chmod", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    wished(mirror, out)
    os._exit(0)

for step in range(1, 1000, 7):
    child = os.fork()
    if child == 0:
        try:
            cut_off_at(step, place / f"out{step}")
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        break
    assert code == 77, code
"""


@pytest.mark.skipif(os.name == "nt", reason="locks of this kind are POSIX")
def test_two_runs_do_not_write_one_bundle_at_once(tmp_path: Path) -> None:
    mirror, out = small_mirror(tmp_path / "mirror"), tmp_path / "out"
    out.mkdir()
    hold = "import fcntl,sys,time;f=open(sys.argv[1],'ab');fcntl.flock(f,2);print('held',flush=True);time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(out / UNFINISHED_NAME)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refused(mirror, out).code == "destination-busy"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # the system lets go of the lock with the process
        try:
            wished(mirror, out)
            break
        except UsageError:
            time.sleep(0.05)
    assert_whole(out)
