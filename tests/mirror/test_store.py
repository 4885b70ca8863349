"""The store: what is admitted, what is published, and what a crash or a full disk leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup

from pytorch_offline.errors import IntegrityError, UpstreamError, UsageError
from pytorch_offline.mirror.layout import PAGE_NAMES, sidecar_of
from pytorch_offline.mirror.manifest import parse_manifest
from pytorch_offline.mirror.model import HashOrigin
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import find_unlisted, verify_pages
from tests.mirror.failing_disk import FailingDisk, refusal
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, craft_wheel, now, tree

if TYPE_CHECKING:
    from pytorch_offline.mirror.disk import Disk

WHEELS = (TORCH_CPU, TORCH_CUDA, SYMPY)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "there-is-no-temporary-directory"))
    return Mirror(tmp_path / "mirror")


def filled(mirror: Mirror, *wheels: Wheel) -> Mirror:
    with mirror.lock():
        for wheel in wheels:
            wheel.admit(mirror)
        mirror.publish()
    return mirror


# Admission


def test_an_admitted_wheel_lies_in_its_place_with_its_metadata_beside_it(mirror: Mirror) -> None:
    row = TORCH_CPU.admit(mirror, requires_python=">=2", yanked="", upload_time="2026-01-01T00:00:00Z")
    assert row == TORCH_CPU.row(requires_python=">=3.6", yanked="", upload_time="2026-01-01T00:00:00Z")
    assert mirror.read_files() == {TORCH_CPU.path: row}
    assert tree(mirror.root) == {
        str(TORCH_CPU.path): TORCH_CPU.body,
        str(sidecar_of(TORCH_CPU.path)): TORCH_CPU.metadata,
    }
    assert not any(mirror.partial.iterdir())


def test_without_a_published_hash_ours_is_recorded_as_computed(mirror: Mirror) -> None:
    row = SYMPY.admit(mirror, sha256=None, size=None)
    assert (row.sha256, row.hash_origin) == (SYMPY.sha256, HashOrigin.COMPUTED)


def test_credentials_do_not_reach_the_manifest(mirror: Mirror) -> None:
    mirror.partial.mkdir(parents=True)
    part = mirror.partial / "part"
    part.write_bytes(SYMPY.body)
    row = mirror.admit(
        part,
        SYMPY.wanted(),
        size=len(SYMPY.body),
        sha256=SYMPY.sha256,
        origin_url="https://user:secret@index.example:8080/sympy.whl",
        now=now,
    )
    assert row.origin == "https://index.example:8080/sympy.whl"


@pytest.mark.parametrize(("changes", "code"), [({"sha256": "0" * 64}, "hash-mismatch"), ({"size": 3}, "size-mismatch")])
def test_bytes_that_were_not_published_are_kept_aside(mirror: Mirror, changes: dict[str, object], code: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        TORCH_CPU.admit(mirror, **changes)
    assert caught.value.code == code
    assert TORCH_CPU.sha256 in map(str, caught.value.facts.values())
    assert tree(mirror.root) == {}
    assert (mirror.rejected / TORCH_CPU.path.name).read_bytes() == TORCH_CPU.body
    reason = json.loads((mirror.rejected / f"{TORCH_CPU.path.name}.json").read_bytes())
    assert reason["code"] == code
    assert reason["origin"] == f"https://upstream.example/{TORCH_CPU.path}"
    assert mirror.read_files() == {}


def test_a_wheel_that_is_not_sound_is_kept_aside(mirror: Mirror) -> None:
    lying = craft_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", wrong_record_for="__init__.py")
    with pytest.raises(IntegrityError, match="not a sound wheel") as caught:
        lying.admit(mirror)
    assert "record-mismatch torch/__init__.py" in caught.value.facts
    cut = Wheel(path=SYMPY.path, body=SYMPY.body[:-30], metadata=SYMPY.metadata)
    with pytest.raises(IntegrityError, match="not a sound wheel"):
        cut.admit(mirror)
    assert tree(mirror.root) == {}
    assert {path.name for path in mirror.rejected.glob("*.whl")} == {lying.path.name, cut.path.name}


def test_one_path_keeps_its_bytes_when_upstream_changes_them(mirror: Mirror) -> None:
    filled(mirror, TORCH_CPU)
    before = tree(mirror.root)
    changed = craft_wheel(str(TORCH_CPU.path), content="# built again")
    for attempt in ("admit", "adopt"):
        with pytest.raises(IntegrityError) as caught:
            changed.admit(mirror) if attempt == "admit" else mirror.adopt(changed.wanted(), now=now)
        assert caught.value.code == "path-conflict"
        facts = caught.value.facts
        assert (facts["held sha256"], facts["offered sha256"]) == (TORCH_CPU.sha256, changed.sha256)
        assert facts["held since"] == facts["offered at"] == "2026-08-22T12:00:00Z"
    assert tree(mirror.root) == before


def test_a_stranger_in_the_place_of_a_wheel_is_kept_aside(mirror: Mirror) -> None:
    place = mirror.root / SYMPY.path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"who put this here?")
    SYMPY.admit(mirror)
    assert place.read_bytes() == SYMPY.body
    assert (mirror.rejected / place.name).read_bytes() == b"who put this here?"


def test_the_same_bytes_under_two_paths_are_stored_once(mirror: Mirror) -> None:
    other = Wheel(path=PurePosixPath("whl/cu121") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    filled(mirror, SYMPY, other)
    assert (mirror.root / SYMPY.path).samefile(mirror.root / other.path)
    assert set(mirror.read_files()) == {SYMPY.path, other.path}


def test_many_threads_may_admit_at_once(mirror: Mirror) -> None:
    wheels = [craft_wheel(f"whl/cpu/torch-{number}.0+cpu-py3-none-any.whl") for number in range(1, 13)]
    with mirror.lock():
        threads = [threading.Thread(target=wheel.admit, args=(mirror,)) for wheel in wheels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        mirror.publish()
    assert set(mirror.read_files()) == {wheel.path for wheel in wheels}
    assert len(parse_manifest((mirror.root / "manifest.json").read_bytes())) == len(wheels)


# Adoption


def test_what_is_listed_and_sound_is_not_downloaded_again(mirror: Mirror) -> None:
    filled(mirror, TORCH_CPU)
    before = tree(mirror.root)
    assert mirror.adopt(TORCH_CPU.wanted(), now=now) == mirror.read_files()[TORCH_CPU.path]
    assert mirror.publish() == 0
    assert tree(mirror.root) == before
    assert mirror.adopt(SYMPY.wanted(), now=now) is None


def test_a_rotten_file_of_the_right_size_is_not_taken_for_the_wanted_one(mirror: Mirror) -> None:
    filled(mirror, TORCH_CPU)
    place = mirror.root / TORCH_CPU.path
    place.write_bytes(b"\0" * len(TORCH_CPU.body))
    assert mirror.adopt(TORCH_CPU.wanted(), now=now) is None
    assert not place.exists()
    TORCH_CPU.admit(mirror)
    assert place.read_bytes() == TORCH_CPU.body


def test_a_lost_sidecar_is_written_again(mirror: Mirror) -> None:
    filled(mirror, TORCH_CPU)
    sidecar = mirror.root / sidecar_of(TORCH_CPU.path)
    for harm in (sidecar.unlink, lambda: sidecar.write_bytes(b"Name: other\n")):
        harm()
        assert mirror.adopt(TORCH_CPU.wanted(), now=now) is not None
        assert sidecar.read_bytes() == TORCH_CPU.metadata


def test_files_whose_manifest_was_lost_are_proved_and_listed_again(mirror: Mirror) -> None:
    filled(mirror, *WHEELS)
    before = tree(mirror.root)
    (mirror.root / "manifest.json").unlink()
    assert [mirror.adopt(wheel.wanted(), now=now) for wheel in WHEELS] == list(mirror.read_files().values())
    mirror.publish()
    assert tree(mirror.root) == before


def test_a_file_without_listing_and_without_published_hash_is_not_believed(mirror: Mirror) -> None:
    filled(mirror, SYMPY)
    (mirror.root / "manifest.json").unlink()
    assert mirror.adopt(SYMPY.wanted(sha256=None), now=now) is None


def test_the_same_bytes_elsewhere_get_a_second_name(mirror: Mirror) -> None:
    filled(mirror, SYMPY)
    path = PurePosixPath("whl/cu121") / SYMPY.path.name
    row = mirror.adopt(SYMPY.wanted(path=path), now=now)
    assert row is not None
    assert (row.path, row.sha256) == (path, SYMPY.sha256)
    assert (mirror.root / path).samefile(mirror.root / SYMPY.path)


def test_a_yank_after_the_download_reaches_the_pages(mirror: Mirror) -> None:
    filled(mirror, SYMPY)
    mirror.adopt(SYMPY.wanted(yanked="broken"), now=now)
    mirror.publish()
    assert b'data-yanked="broken"' in (mirror.root / "whl/sympy/index.html").read_bytes()
    assert mirror.read_files()[SYMPY.path].yanked == "broken"


# Publication


def test_publication_shows_every_file_and_removes_what_no_file_needs(mirror: Mirror) -> None:
    filled(mirror, *WHEELS)
    assert "whl/cpu/torch/index.html" in tree(mirror.root)
    stale = mirror.root / "whl/cpu/gone/index.html"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    assert mirror.publish() == 1
    assert not stale.parent.exists()
    assert mirror.publish() == 0
    assert sorted(path.name for path in mirror.state.iterdir()) == ["blocks", "lock", "partial"]


def test_an_empty_mirror_publishes_an_empty_index(mirror: Mirror) -> None:
    mirror.publish()
    assert sorted(tree(mirror.root)) == ["manifest.json", "whl/index.html", "whl/index.v1+json"]


def test_locks_are_written_whole_under_names_that_stay_in_their_directory(mirror: Mirror) -> None:
    mirror.write_locks({"pylock.gpu-node.toml": b"a", "requirements.gpu-node.txt": b"b"})
    assert tree(mirror.root) == {"locks/pylock.gpu-node.toml": b"a", "locks/requirements.gpu-node.txt": b"b"}
    for name in ("../x.toml", "a/b.toml", ".hidden.toml", "x.exe", "", "a\0.toml"):
        with pytest.raises(UsageError, match="cannot be the name"):
            mirror.write_locks({name: b""})


# The lock


def test_reading_changes_nothing(mirror: Mirror) -> None:
    assert not mirror.exists
    assert mirror.read_files() == {}
    assert not mirror.root.exists()


def test_a_damaged_manifest_stops_a_run_before_it_changes_anything(mirror: Mirror) -> None:
    filled(mirror, SYMPY)
    (mirror.root / "manifest.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="format"):
        TORCH_CPU.admit(mirror)
    with pytest.raises(IntegrityError, match="format"), mirror.lock():
        pass
    assert str(TORCH_CPU.path) not in tree(mirror.root)


# Failing disks and crashes


class Crash(BaseException):
    """The process is gone: nothing after the chosen step happens, and no handler may tidy up."""


LATER = craft_wheel("whl/cpu/numpy-1.0-py3-none-any.whl")
TWIN = Wheel(path=PurePosixPath("whl/cu121") / LATER.path.name, body=LATER.body, metadata=LATER.metadata)


def second_run(root: Path, disk: Disk) -> None:
    """What fetch does to a mirror that holds two wheels: three more, one page gone, a lock."""
    mirror = Mirror(root, disk=disk)
    with mirror.lock():
        for wheel in (TORCH_CPU, SYMPY, TORCH_CUDA, LATER, TWIN):
            if mirror.adopt(wheel.wanted(), now=now) is None:
                wheel.admit(mirror)
        mirror.write_locks({"pylock.here.toml": b"lock"})
        mirror.publish()


def first_run(root: Path) -> None:
    filled(Mirror(root, disk=FailingDisk()), TORCH_CPU, SYMPY)
    stale = root / "whl/cpu/gone/index.html"
    stale.parent.mkdir()
    stale.write_bytes(b'<a href="../../sympy/">sympy</a>')


def check_what_clients_see(root: Path) -> None:
    """Every visible wheel is whole, every link leads somewhere, the manifest can be read."""
    seen = tree(root)
    bodies = {str(wheel.path): wheel.body for wheel in (TORCH_CPU, SYMPY, TORCH_CUDA, LATER, TWIN)}
    for path, body in seen.items():
        if path.endswith(".whl"):
            assert body == bodies[path]
            assert f"{path}.metadata" in seen
        elif PurePosixPath(path).name in PAGE_NAMES and path.endswith(".html"):
            for anchor in BeautifulSoup(body, "html.parser").find_all("a"):
                target = unquote(urlsplit(urljoin(f"https://mirror.example/{path}", str(anchor["href"]))).path)[1:]
                assert (f"{target}index.html" if target.endswith("/") else target) in seen
    mirror = Mirror(root)
    listed = mirror.read_files()
    assert verify_pages(root, mirror.read_published(), mirror.read_files) == []
    assert find_unlisted(root, mirror.read_announced) == []
    assert {str(path) for path in listed} == {path for path in seen if path.endswith(".whl")}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror after the first run, to be copied."""
    root = tmp_path_factory.mktemp("begun")
    first_run(root)
    return root


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, begun: Path) -> tuple[int, dict[str, bytes]]:
    """How many steps the second run takes, and the tree that it ends with."""
    root = tmp_path_factory.mktemp("whole") / "mirror"
    shutil.copytree(begun, root)
    disk = FailingDisk()
    second_run(root, disk)
    check_what_clients_see(root)
    return disk.steps, tree(root)


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        *(("crash", slice(first, None, 4)) for first in range(4)),
        ("full", slice(0, None, 6)),
        ("full", slice(3, None, 6)),
    ],
)
def test_a_run_cut_off_at_any_step_shows_nothing_bad_and_the_next_one_finishes(
    tmp_path: Path, begun: Path, steps: tuple[int, dict[str, bytes]], kind: str, every: slice
) -> None:
    count, whole = steps
    assert count > 100
    for step in range(1, count + 1)[every]:
        root = tmp_path / str(step)
        shutil.copytree(begun, root)
        if kind == "crash":
            with pytest.raises(Crash):
                second_run(root, FailingDisk(step, Crash))
        else:
            disk = FailingDisk(step, refusal(errno.ENOSPC))
            with pytest.raises(UpstreamError, match="is full") as caught:
                second_run(root, disk)
            assert caught.value.code == "disk-full"
        check_what_clients_see(root)
        second_run(root, FailingDisk())
        assert tree(root) == whole, step
        left = {path.relative_to(root / ".state").as_posix() for path in (root / ".state").rglob("*")}
        noted = {f"blocks/{file.sha256}.json" for file in Mirror(root).read_files().values()}
        assert left <= {"lock", "partial", "temporary", "blocks", *noted}


@pytest.mark.parametrize(
    ("number", "family", "code"),
    [
        (errno.EDQUOT, UpstreamError, "disk-full"),
        (errno.EIO, UpstreamError, "disk-failed"),
        (errno.EROFS, UsageError, "mirror-not-writable"),
        (errno.EACCES, UsageError, "mirror-not-writable"),
    ],
)
def test_the_operating_systems_words_become_ours(
    tmp_path: Path, number: int, family: type[UpstreamError], code: str
) -> None:
    disk = FailingDisk(1, refusal(number))
    with pytest.raises(family) as caught:
        Mirror(tmp_path / "mirror", disk=disk).publish()
    assert caught.value.code == code
    assert not (tmp_path / "mirror").exists()


def test_a_file_where_the_mirror_should_be_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mirror").write_bytes(b"mine")
    with pytest.raises(UsageError, match="cannot be written"):
        Mirror(tmp_path / "mirror").publish()
    assert (tmp_path / "mirror").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"{}",
        b'{"renames": [["a", "../../b"]], "removals": []}',
        b'{"renames": [], "removals": ["/etc/passwd"]}',
        b'{"renames": [["a"]], "removals": []}',
    ],
)
def test_a_journal_that_cannot_be_ours_is_not_carried_out(mirror: Mirror, journal: bytes) -> None:
    filled(mirror, SYMPY)
    before = tree(mirror.root)
    (mirror.state / "journal.json").write_bytes(journal)
    with pytest.raises(IntegrityError, match="journal"):
        mirror.publish()
    assert tree(mirror.root) == before


def test_a_file_system_without_directory_fsync_or_hard_links_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112  (a descriptor, not a path of ours)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real_fsync(descriptor)

    def link(source: object, target: object, **_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    mirror = filled(Mirror(tmp_path), LATER, TWIN)
    assert not (tmp_path / LATER.path).samefile(tmp_path / TWIN.path)
    assert mirror.adopt(LATER.wanted(path=PurePosixPath("whl") / LATER.path.name), now=now) is None
    assert set(mirror.read_files()) == {LATER.path, TWIN.path}


def test_what_is_admitted_while_pages_are_published_is_not_forgotten(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    wheels = [craft_wheel(f"whl/cpu/many{number}-1.0-py3-none-any.whl") for number in range(24)]
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            mirror.publish()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda wheel: wheel.admit(mirror), wheels))
    finally:
        done.set()
        publisher.join()
    mirror.publish()
    assert set(Mirror(mirror.root).read_published()) == {wheel.path for wheel in wheels}
