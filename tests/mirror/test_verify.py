"""Verification: each bad file is named, and nothing else; what a repair fetches is in ``test_repair.py``."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.findings import Problem
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.model import HashOrigin
from pytorch_offline.mirror.progress import Silent, Stage
from pytorch_offline.mirror.repair import repair_mirror
from pytorch_offline.mirror.scrub import Pace
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import VerifyReport, verify_mirror
from pytorch_offline.net import Http
from pytorch_offline.selector.lock import LockedWheel, render_pylock, render_requirements
from pytorch_offline.target.codec import render_target
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.installer.crafted import linux_target
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, craft_wheel, now, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHEELS = (TORCH_CPU, TORCH_CUDA, SYMPY)


def later() -> datetime:
    return datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror of three wheels that came from ``upstream``, a directory beside it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power will fail here, and the disk may be a slow one
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for wheel in WHEELS:
            source = tmp_path / "upstream" / wheel.path
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(wheel.body)
            wheel.admit(mirror)
        rows = mirror.read_files()
        mirror.rewrite(replace(row, origin=(tmp_path / "upstream" / path).as_uri()) for path, row in rows.items())
        mirror.publish()
    return mirror


def verify(mirror: Mirror, *, deep: bool = False) -> VerifyReport:
    return verify_mirror(mirror, deep=deep, pace=Pace(jobs=2), now=later)


def problems(report: VerifyReport) -> list[tuple[str, Problem]]:
    return [(str(finding.path), finding.problem) for finding in report.findings]


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_mirror_is_sound_and_says_when_that_was_seen(mirror: Mirror, deep: bool) -> None:  # noqa: FBT001
    report = verify(mirror, deep=deep)
    assert report == VerifyReport(files=3, size=sum(len(wheel.body) for wheel in WHEELS), findings=(), recorded=True)
    assert {row.verified_at for row in mirror.read_files().values()} == {"2027-01-02T03:04:05Z"}
    assert mirror.publish() == 0


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (flip, Problem.HASH),
        (cut, Problem.SIZE),
        (Path.unlink, Problem.MISSING),
        (make_directory, Problem.NOT_A_FILE),
        (lambda path: path.with_name(f"{path.name}.metadata").unlink(), Problem.METADATA_MISSING),
        (lambda path: flip(path.with_name(f"{path.name}.metadata")), Problem.METADATA_DIFFERS),
    ],
)
def test_each_bad_file_is_named_and_repaired(mirror: Mirror, harm: Callable[[Path], None], problem: Problem) -> None:
    before = tree(mirror.root)
    harm(mirror.root / TORCH_CUDA.path)
    report = verify(mirror)
    assert problems(report) == [(str(TORCH_CUDA.path), problem)]
    verified = {path: row.verified_at for path, row in mirror.read_files().items()}
    assert verified[SYMPY.path] == "2027-01-02T03:04:05Z"
    assert verified[TORCH_CUDA.path] == "2026-08-22T12:00:00Z"
    with Http() as http:
        repaired = repair_mirror(mirror, report.findings, http, now=now)
    assert verify_mirror(mirror, now=now).findings == ()
    assert tree(mirror.root) == before
    if problem in {Problem.HASH, Problem.SIZE}:
        assert repaired.set_aside == (TORCH_CUDA.path,)
        assert (mirror.rejected / TORCH_CUDA.path.name).exists()


def test_the_findings_say_both_sides(mirror: Mirror) -> None:
    flip(mirror.root / TORCH_CPU.path)
    cut(mirror.root / SYMPY.path)
    torch, sympy = verify(mirror).findings
    assert torch.expected == TORCH_CPU.sha256
    assert torch.found not in {None, TORCH_CPU.sha256}
    assert (sympy.expected, sympy.found) == (str(len(SYMPY.body)), str(len(SYMPY.body) - 1))


def test_files_that_nobody_listed_are_found_and_moved_aside(mirror: Mirror) -> None:
    before = tree(mirror.root)
    for stranger in ("whl/cpu/evil-1.0-py3-none-any.whl", "whl/readme.txt", "whl/cpu/torch/torch.whl.metadata"):
        (mirror.root / stranger).write_bytes(b"")
    report = verify(mirror)
    assert problems(report) == [
        ("whl/cpu/evil-1.0-py3-none-any.whl", Problem.UNLISTED),
        ("whl/cpu/torch/torch.whl.metadata", Problem.UNLISTED),
        ("whl/readme.txt", Problem.UNLISTED),
    ]
    with Http() as http:
        repair_mirror(mirror, report.findings, http, now=now)
    assert verify(mirror).findings == ()
    assert set(tree(mirror.root)) == set(before)


PAGES = ("whl/cpu/torch/index.html", "whl/torch/index.v1+json", "whl/cpu/torch_stable.html", "whl/index.html")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda _: None, "it is not there"),
        (lambda body: body[: len(body) // 3], "it "),
        (lambda body: body.replace(b"../", b"https://elsewhere.example/"), "leads out of the mirror"),
        (lambda body: body.replace(b"../", b"/whl/"), "leads out of the mirror"),
        (lambda body: body.replace(b"../", b"../../../../../"), "climbs"),
        (lambda body: body.replace(TORCH_CPU.sha256.encode(), b"0" * 64), "the manifest says"),
        (lambda body: body.replace(b"=3.6", b"=3.9"), "Requires-Python"),
        (lambda body: body.replace(TORCH_CPU.row().metadata_sha256.encode(), b"0" * 64), "METADATA hash"),
        (lambda body: body.replace(TORCH_CPU.row().metadata_sha256.encode(), b"0" * 64, 1), "METADATA hash"),
        (lambda body: body.replace(b"torch-1.0", b"torch-1.1"), "which the mirror does not have"),
        (lambda body: body.replace(b">torch-1.0+cpu", b">torch-2.0+cpu"), "it shows"),
        (lambda body: body.replace(b"<body>", b'<base href="https://elsewhere.example/"><body>'), "<base>"),
    ],
)
def test_a_page_that_does_not_say_the_truth_is_named_and_written_anew(
    mirror: Mirror, harm: Callable[[bytes], bytes | None], says: str
) -> None:
    before = tree(mirror.root)
    touched = {page: harmed for page in PAGES if (harmed := harm(before[page])) != before[page]}
    assert touched
    for page, harmed in touched.items():
        if harmed is None:
            (mirror.root / page).unlink()
        else:
            (mirror.root / page).write_bytes(harmed)
        report = verify(mirror)
        details = [finding.detail for finding in report.findings if str(finding.path) == page]
        assert len(details) == 1
        assert says in details[0]
        with Http() as http:
            repair_mirror(mirror, report.findings, http, now=now)
        assert verify_mirror(mirror, now=now).findings == ()
        assert tree(mirror.root) == before


def test_a_page_that_nobody_needs_is_named_only_if_it_is_untrue(mirror: Mirror) -> None:
    page = mirror.root / "whl/cpu/old/index.html"
    page.parent.mkdir()
    page.write_bytes(b'<a href="../sympy/">sympy</a>')
    assert verify(mirror).findings == ()
    page.write_bytes(b'<a href="https://elsewhere.example/torch.whl">torch</a>')
    assert problems(verify(mirror)) == [("whl/cpu/old/index.html", Problem.PAGE)]


def test_a_fetch_that_was_cut_off_before_its_pages_leaves_nothing_bad(mirror: Mirror) -> None:
    craft_wheel("whl/numpy-1.0-py3-none-any.whl").admit(mirror)
    for _ in range(2):  # the first notes when files were verified, and must not publish by that
        report = verify(mirror)
        assert (report.files, report.findings, report.recorded) == (4, (), True)
    assert {row.verified_at for row in mirror.read_files().values()} == {"2027-01-02T03:04:05Z"}
    assert len(mirror.read_published()) == 3


def test_a_first_fetch_under_way_owes_no_pages_yet(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "first")
    TORCH_CPU.admit(mirror)
    report = verify(mirror)
    assert (report.files, report.findings) == (1, ())


def lock_files() -> dict[str, bytes]:
    wheels = [
        LockedWheel(name=parse_wheel_name(row.path.name), sha256=row.sha256, size=row.size, path=f"../{row.path}")
        for row in (TORCH_CPU.row(), SYMPY.row())
    ]
    target = linux_target()
    return {
        "pylock.node.toml": render_pylock(wheels, target).encode(),
        "requirements.node.txt": render_requirements(wheels, target).encode(),
        "node.json": render_target(target).encode(),
    }


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pylock.node.toml", b"[[packages]]", b"[[packages]"),
        ("pylock.node.toml", b'sha256 = "', b'sha256 = "0'),
        ("pylock.node.toml", SYMPY.row().sha256.encode(), b"0" * 64),
        ("pylock.node.toml", b"../whl/", b"../why/"),
        ("pylock.node.toml", b'name = "sympy"', b'name = "simpy"'),
        ("requirements.node.txt", b"sympy==", b"simpy=="),
        ("requirements.node.txt", SYMPY.row().sha256.encode(), b"0" * 64),
        ("requirements.node.txt", b"sympy", b"\xff"),
        ("node.json", b"{", b"["),
    ],
)
def test_a_damaged_lock_is_named(mirror: Mirror, name: str, old: bytes, new: bytes) -> None:
    mirror.write_locks(lock_files())
    assert verify(mirror).findings == ()
    path = mirror.root / "locks" / name
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert problems(verify(mirror)) == [(f"locks/{name}", Problem.LOCK)]


def test_deep_looks_into_wheels_whose_hash_agrees(mirror: Mirror) -> None:
    lying = craft_wheel(str(SYMPY.path), wrong_record_for="__init__.py")
    (mirror.root / lying.path).write_bytes(lying.body)
    mirror.rewrite([lying.row()])
    mirror.publish()
    assert verify(mirror).findings == ()
    [finding] = verify(mirror, deep=True).findings
    assert (finding.path, finding.problem) == (SYMPY.path, Problem.UNSOUND)
    assert "record-mismatch" in finding.detail
    with Http() as http:
        repair_mirror(mirror, [finding], http, now=now)
    assert problems(verify(mirror, deep=True)) == [(str(SYMPY.path), Problem.UNSOUND)]
    assert (mirror.root / lying.path).read_bytes() == lying.body


def test_repair_keeps_what_the_manifest_said_of_the_hash(mirror: Mirror) -> None:
    mirror.rewrite([replace(mirror.read_files()[SYMPY.path], hash_origin=HashOrigin.COMPUTED)])
    (mirror.root / SYMPY.path).unlink()
    with Http() as http:
        repair_mirror(mirror, verify(mirror).findings, http, now=now)
    assert mirror.read_files()[SYMPY.path].hash_origin is HashOrigin.COMPUTED


def test_repair_does_not_take_other_bytes_from_the_origin(mirror: Mirror, tmp_path: Path) -> None:
    flip(mirror.root / SYMPY.path)
    flip(tmp_path / "upstream" / SYMPY.path)
    with Http() as http:
        repaired = repair_mirror(mirror, verify(mirror).findings, http, now=now)
    ((path, error),) = repaired.failures
    assert path == SYMPY.path
    assert isinstance(error, IntegrityError)
    assert SYMPY.sha256 in map(str, error.facts.values())
    assert problems(verify(mirror)) == [(str(SYMPY.path), Problem.MISSING)]


def test_a_bundle_stays_as_it_is(mirror: Mirror, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    for path, body in tree(mirror.root).items():
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).write_bytes(body)
    before = tree(bundle)
    report = verify(Mirror(bundle))
    assert (report.findings, report.recorded) == ((), False)
    assert tree(bundle) == before
    assert not (bundle / ".state").exists()


def test_a_mirror_that_is_being_changed_is_verified_without_waiting(mirror: Mirror) -> None:
    other = Mirror(mirror.root)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with other.lock():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        report = verify(mirror)
    finally:
        done.set()
        thread.join()
    assert (report.findings, report.recorded) == ((), False)


def test_admitted_files_count_before_they_are_published(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    SYMPY.admit(mirror)
    assert verify(mirror).files == 1


def test_what_a_cut_off_admission_left_is_no_stranger_and_goes_with_the_next_run(mirror: Mirror) -> None:
    class Cut(Disk):
        def replace(self, source: Path, target: Path) -> None:
            if target.suffix == ".whl":
                raise KeyboardInterrupt
            super().replace(source, target)

    numpy = craft_wheel("whl/numpy-1.0-py3-none-any.whl")
    with pytest.raises(KeyboardInterrupt):
        numpy.admit(Mirror(mirror.root, disk=Cut()))
    sidecar = mirror.root / sidecar_of(numpy.path)
    assert sidecar.exists()
    report = verify_mirror(Mirror(mirror.root), now=later)
    assert (report.files, report.findings) == (3, ())
    assert not sidecar.exists()


def test_bytes_that_two_names_share_are_read_once(mirror: Mirror) -> None:
    twin = Wheel(path=PurePosixPath("whl/cpu") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    twin.admit(mirror)

    class Counting(Silent):
        def __init__(self) -> None:
            self.read = 0
            self.planned = 0

        def plan(
            self,
            sizes: Mapping[str, int | None],
            *,
            stage: Stage = Stage.FETCH,
            already: int = 0,
            already_size: int = 0,
        ) -> None:
            assert (stage, already, already_size) == (Stage.VERIFY, 0, 0)
            assert len(sizes) == 3
            self.planned = sum(size or 0 for size in sizes.values())

        def advance(self, file: str, position: int, size: int | None) -> None:
            assert position == size, file
            self.read += position

    counting = Counting()
    assert verify_mirror(mirror, pace=Pace(jobs=1), progress=counting, now=later).findings == ()
    assert counting.read == counting.planned == sum(len(wheel.body) for wheel in WHEELS)
    flip(mirror.root / SYMPY.path)
    assert {path for path, _ in problems(verify(mirror))} == {str(SYMPY.path), str(twin.path)}


WEEK_LATER = later() + timedelta(days=7)


def again(mirror: Mirror, days: float) -> VerifyReport:
    """Verify what was not verified for some days."""
    return verify_mirror(mirror, older_than=timedelta(days=days), now=lambda: WEEK_LATER)


def test_only_what_was_verified_long_ago_is_read_again(mirror: Mirror) -> None:
    assert verify(mirror).recent == 0
    rows = mirror.read_files()
    mirror.rewrite([replace(rows[SYMPY.path], verified_at="2026-01-01T00:00:00Z")])
    report = again(mirror, 30)
    assert (report.files, report.recent, report.findings, report.recorded) == (3, 2, (), True)
    assert report.bytes_read == len(SYMPY.body)
    after = {path: row.verified_at for path, row in mirror.read_files().items()}
    assert after == {
        SYMPY.path: "2027-01-09T03:04:05Z",
        TORCH_CPU.path: "2027-01-02T03:04:05Z",
        TORCH_CUDA.path: "2027-01-02T03:04:05Z",
    }
    assert again(mirror, 7).recent == 1  # two are exactly a week old
    assert again(mirror, 0).recent == 0


def test_a_bad_file_stays_due_until_it_is_good(mirror: Mirror) -> None:
    verify(mirror)
    flip(mirror.root / SYMPY.path)
    assert again(mirror, 30).findings == ()  # nobody looked
    for _ in range(2):
        assert problems(again(mirror, 5)) == [(str(SYMPY.path), Problem.HASH)]
    assert mirror.read_files()[SYMPY.path].verified_at == "2027-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (cut, Problem.SIZE),
        (Path.unlink, Problem.MISSING),
        (make_directory, Problem.NOT_A_FILE),
        (lambda path: path.with_name(f"{path.name}.metadata").unlink(), Problem.METADATA_MISSING),
    ],
)
def test_what_is_not_read_again_is_still_looked_at(
    mirror: Mirror, harm: Callable[[Path], None], problem: Problem
) -> None:
    verify(mirror)
    harm(mirror.root / TORCH_CUDA.path)
    assert problems(again(mirror, 30)) == [(str(TORCH_CUDA.path), problem)]


def test_bytes_that_are_due_under_one_name_are_verified_for_all(mirror: Mirror) -> None:
    twin = Wheel(path=PurePosixPath("whl/cpu") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    twin.admit(mirror)
    verify(mirror)
    mirror.rewrite([replace(mirror.read_files()[twin.path], verified_at="2026-01-01T00:00:00Z")])
    report = again(mirror, 30)
    assert (report.recent, report.bytes_read) == (2, len(SYMPY.body))
    assert mirror.read_files()[SYMPY.path].verified_at == "2027-01-09T03:04:05Z"


def test_large_files_are_read_first_and_the_others_as_they_lie(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    class Order(Silent):
        def __init__(self) -> None:
            self.begun: list[str] = []

        def begin(self, file: str, size: int | None, position: int) -> None:
            del size, position
            self.begun.append(file)

    by_inode = sorted((str(wheel.path) for wheel in WHEELS), key=lambda path: (mirror.root / path).stat().st_ino)
    order = Order()
    verify_mirror(mirror, pace=Pace(jobs=1), progress=order, now=later)
    assert order.begun == by_inode
    monkeypatch.setattr("pytorch_offline.mirror.scrub._LARGE", 1)
    order = Order()
    verify_mirror(mirror, pace=Pace(jobs=1), progress=order, now=later)
    sizes = {str(wheel.path): len(wheel.body) for wheel in WHEELS}
    assert [sizes[path] for path in order.begun] == sorted(sizes.values(), reverse=True)


def test_nothing_to_verify_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        verify(Mirror(tmp_path / "nowhere"))
    assert caught.value.code == "no-manifest"
    assert list(tmp_path.iterdir()) == []


def test_the_last_manifest_entry_counts_as_much_as_the_first(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(render_manifest(wheel.row() for wheel in WHEELS))
    report = verify(Mirror(tmp_path))
    assert [found for found in problems(report) if found[1] is not Problem.PAGE] == [
        (str(wheel.path), problem) for wheel in WHEELS for problem in (Problem.METADATA_MISSING, Problem.MISSING)
    ]
    assert str(sidecar_of(SYMPY.path)) not in tree(tmp_path)
