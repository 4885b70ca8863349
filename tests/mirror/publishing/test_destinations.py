"""What every destination promises, asked of each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.publishing import object_store
from pytorch_offline.mirror.publishing.directory import DirectoryDestination
from pytorch_offline.mirror.publishing.plan import MANIFEST, public_file
from pytorch_offline.mirror.store import Mirror
from tests.mirror.publishing.memory import MemoryDestination, broken_links
from tests.mirror.publishing.test_publish import CutOffError, public, publish
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.mirror.publishing.destination import Destination
    from pytorch_offline.mirror.publishing.model import PublicFile

PIECE = 300
PATH = PurePosixPath("whl/cu121/torch-1.0+cu121-py3-none-any.whl")


@dataclass(frozen=True)
class Case:
    """A destination, opened as each run does, and what readers find there."""

    open: Callable[[], Destination]
    read: Callable[[], dict[PurePosixPath, bytes]]


@pytest.fixture(params=["memory", "directory", "bucket"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    if request.param == "memory":
        files: dict[PurePosixPath, bytes] = {}
        return Case(lambda: MemoryDestination(files, piece=PIECE), lambda: dict(files))
    if request.param == "directory":
        monkeypatch.setattr("pytorch_offline.mirror.publishing.directory._PIECE", PIECE)
        root = tmp_path / "there"
        return Case(lambda: DirectoryDestination(root), lambda: public(root))
    bucket = request.getfixturevalue("bucket")
    monkeypatch.setattr(object_store, "_PART", PIECE)
    monkeypatch.setattr(object_store, "_MIB", 1)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)

    def read() -> dict[PurePosixPath, bytes]:
        found = {key.removeprefix("pre/fix/"): body for key, body in bucket.bodies().items()}
        for key in [key for key in found if key.endswith("/")]:
            assert found.pop(key) == found[f"{key}index.html"]
        return {PurePosixPath(key): body for key, body in found.items()}

    return Case(lambda: bucket.destination(Silent()), read)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY, craft_wheel("whl/cu118/sympy-1.2-py3-none-any.whl")):
        wheel.admit(mirror)
    mirror.publish()
    return mirror.root


def file_at(path: PurePosixPath, body: bytes) -> PublicFile:
    return public_file(path, body)


def test_what_is_put_is_listed_read_and_removed(case: Case) -> None:
    destination = case.open()
    page = PurePosixPath("whl/cu121/index.html")
    with destination.changing():
        destination.put(file_at(PATH, b"wheel"), b"wheel")
        destination.put(file_at(page, b"page"), b"page")
        found = destination.list_files()
        assert {path: one.size for path, one in found.items()} == {PATH: 5, page: 4}
        assert destination.holds(file_at(PATH, b"wheel"), found[PATH])
        assert destination.holds(file_at(PATH, b"wheel"), found[PATH], reread=True)
        assert not destination.holds(file_at(PATH, b"other"), found[PATH])
        assert not destination.holds(file_at(PATH, b"other"), found[PATH], reread=True)
        assert destination.holds(file_at(page, b"page"), found[page], body=b"page")
        assert not destination.holds(file_at(page, b"egap"), found[page], body=b"egap")
        document = destination.read(page)
        assert document is not None
        assert document.body == b"page"
        for path in (PATH, page, page):
            destination.remove(path)
        assert destination.list_files() == {}
        assert destination.read(page) is None
    assert case.read() == {}


def test_a_large_file_comes_in_pieces_in_any_order_and_is_seen_when_it_is_whole(case: Case) -> None:
    destination = case.open()
    body = bytes(range(256)) * 5
    pieces = [(number, body[number * PIECE : (number + 1) * PIECE]) for number in range(5)]
    with destination.changing():
        assert destination.piece_size(len(body)) == PIECE
        receiving = destination.receive(file_at(PATH, body))
        threads = [
            threading.Thread(target=receiving.put, args=(number, number * PIECE, piece))
            for number, piece in pieces[::-1]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert PATH not in destination.list_files()
        receiving.finish()
        assert destination.holds(file_at(PATH, body), destination.list_files()[PATH], reread=True)
    assert case.read() == {PATH: body}


def test_nothing_is_left_of_a_file_that_is_given_up(case: Case, tmp_path: Path) -> None:
    destination = case.open()
    with destination.changing():
        receiving = destination.receive(file_at(PATH, b"x" * 500))
        receiving.put(0, 0, b"x" * PIECE)
        receiving.abandon()
    assert case.read() == {}
    assert list((tmp_path / "there").rglob(".state/publishing/*")) == []


def test_bytes_that_are_there_get_a_second_name(case: Case) -> None:
    destination = case.open()
    twin = PurePosixPath("whl/cpu/torch-1.0+cpu-py3-none-any.whl")
    with destination.changing():
        destination.put(file_at(PATH, b"wheel"), b"wheel")
        assert destination.copy(PATH, file_at(twin, b"wheel"))
        assert destination.copy(PATH, file_at(twin, b"wheel"))
        assert destination.holds(file_at(twin, b"wheel"), destination.list_files()[twin])
    assert case.read() == {PATH: b"wheel", twin: b"wheel"}


def test_a_swap_notices_that_somebody_was_quicker(case: Case) -> None:
    destination = case.open()
    with destination.changing():
        destination.swap(file_at(MANIFEST, b"1"), b"1", over=None)
        with pytest.raises(UsageError) as caught:
            destination.swap(file_at(MANIFEST, b"2"), b"2", over=None)
        assert caught.value.code == "destination-busy"
        first = destination.read(MANIFEST)
        destination.swap(file_at(MANIFEST, b"3"), b"3", over=first)
        with pytest.raises(UsageError):
            destination.swap(file_at(MANIFEST, b"4"), b"4", over=first)
    assert case.read() == {MANIFEST: b"3"}


def test_a_mirror_arrives_as_it_is(case: Case, root: Path) -> None:
    report = publish(root, case.open())

    there = case.read()
    locks = {path for path in there if path.parts[0] == "locks"}
    assert {path: body for path, body in there.items() if path not in locks} == public(root)
    assert broken_links(there) == []
    assert len(report.copied) == 2
    again = publish(root, case.open())
    assert (again.sent, again.pages, again.present, again.surplus) == ((), (), 8, ())
    assert publish(root, case.open(), reread=True).sent == ()


def test_a_run_that_was_cut_off_is_continued(case: Case, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for calls in (3, 8, 12):
        destination = case.open()
        left = [calls]

        def counted(method: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    raise CutOffError
                return method(*arguments, **options)

            return call

        for name in ("put", "copy", "swap", "remove"):
            monkeypatch.setattr(destination, name, counted(getattr(destination, name)))
        with pytest.raises(CutOffError):
            publish(root, destination, jobs=2)
        assert broken_links(case.read()) == []
    publish(root, case.open())
    assert case.read() == public(root)


def test_what_goes_from_the_mirror_goes_when_asked(case: Case, root: Path, tmp_path: Path) -> None:
    publish(root, case.open())
    smaller = Mirror(tmp_path / "smaller")
    SYMPY.admit(smaller)
    smaller.publish()

    kept = publish(smaller.root, case.open())
    assert TORCH_CPU.path in kept.surplus
    removed = publish(smaller.root, case.open(), delete=True)

    assert removed.removed == kept.surplus
    assert case.read() == public(smaller.root)
    assert tree(smaller.root)
