"""A publication: its order, what holds back what, and being cut off at every change."""

from __future__ import annotations

import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.publishing.publish import Wishes, publish_mirror
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.workers import Stop
from tests.mirror.publishing.memory import MemoryDestination, broken_links
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel, tree

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.mirror.publishing.destination import Destination
    from pytorch_offline.mirror.publishing.model import PublishReport

NEWER = craft_wheel("whl/cu121/torch-2.0+cu121-py3-none-any.whl", requires=("sympy>=1.0",))


def publish(root: Path, destination: Destination, **wishes: object) -> PublishReport:
    return publish_mirror(
        Mirror(root),
        destination,
        wishes=Wishes(**({"jobs": 3} | wishes)),  # type: ignore[arg-type]
        stop=Stop(),
        progress=Silent(),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A mirror of three wheels and a lock of a user's own."""
    mirror = Mirror(tmp_path / "mirror")
    for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY):
        wheel.admit(mirror)
    mirror.write_locks({"notes.txt": b"of the user"})
    mirror.publish()
    return mirror.root


def public(root: Path) -> dict[PurePosixPath, bytes]:
    return {PurePosixPath(path): body for path, body in tree(root).items()}


def forget(root: Path, path: PurePosixPath) -> None:
    """Let a mirror be without a wheel that it had."""
    mirror = Mirror(root)
    rows = mirror.read_files()
    shutil.rmtree(root)
    for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY, NEWER):
        if wheel.path in rows and wheel.path != path:
            wheel.admit(mirror)
    mirror.publish()


def test_everything_public_arrives_and_nothing_else(root: Path) -> None:
    destination = MemoryDestination()

    report = publish(root, destination)

    assert destination.files == public(root)
    assert sorted(report.sent) == sorted(path for path in destination.files if ".whl" in path.name)
    assert report.bytes_sent == sum(len(destination.files[path]) for path in report.sent)
    assert not report.failures
    assert not report.held_back


def test_a_second_publication_has_nothing_to_do(root: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    destination.changed = lambda path: pytest.fail(f"{path} was written again")

    report = publish(root, destination)

    assert (report.sent, report.pages, report.present) == ((), (), 6)


class CutOffError(Exception):
    pass


class Countdown:
    """Lets so many changes happen, looks at what a reader finds then, and cuts the run off."""

    def __init__(self, destination: MemoryDestination, changes: int) -> None:
        self._destination = destination
        self._left = changes

    def __call__(self, path: PurePosixPath) -> None:
        self._left -= 1
        if self._left == 0:
            assert broken_links(self._destination.files) == [], f"after {path}"
            raise CutOffError


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_reader_finds_what_links_lead_to_after_every_change_of_any_run(root: Path, jobs: int) -> None:
    destination = MemoryDestination()
    for changes in range(1, 100):
        destination.files.clear()
        destination.changed = Countdown(destination, changes)
        try:
            publish(root, destination, jobs=jobs)
        except CutOffError:
            destination.changed = lambda _: None
            publish(root, destination, jobs=jobs)
            assert destination.files == public(root)
        else:
            assert changes == len(public(root)) + 1
            return
    pytest.fail("it never ended")


def test_an_update_with_removals_can_be_cut_off_anywhere(root: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    before = dict(destination.files)
    NEWER.admit(Mirror(root))
    Mirror(root).publish()
    forget(root, TORCH_CUDA.path)
    for changes in range(1, 100):
        destination.files = dict(before)
        seen: list[PurePosixPath] = []
        destination.changed = seen.append
        cut = Countdown(destination, changes)

        def changed(path: PurePosixPath, cut: Countdown = cut, seen: list[PurePosixPath] = seen) -> None:
            seen.append(path)
            if path not in {TORCH_CPU.path, TORCH_CUDA.path} and path in destination.files:
                cut(path)

        destination.changed = changed
        try:
            report = publish(root, destination, delete=True)
        except CutOffError:
            destination.changed = lambda _: None
            publish(root, destination, delete=True)
            assert destination.files == public(root)
        else:
            removed = [seen.index(path) for path in report.removed]
            assert removed == sorted(removed)
            assert min(removed) > seen.index(PurePosixPath("manifest.json"))
            assert TORCH_CUDA.path in report.removed
            return
    pytest.fail("it never ended")


def test_what_the_mirror_no_longer_has_stays_until_removal_is_asked_for(root: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    stranger = PurePosixPath("whl/cpu/README")
    destination.files[stranger] = b"the administrator's"
    forget(root, TORCH_CPU.path)

    kept = publish(root, destination)
    planned = publish(root, destination, delete=True, dry_run=True)

    assert TORCH_CPU.path in kept.surplus
    assert TORCH_CPU.path in destination.files
    assert planned.removed == kept.surplus
    done = publish(root, destination, delete=True)
    assert done.removed == kept.surplus
    assert destination.files.pop(stranger) == b"the administrator's"
    assert destination.files == public(root)


def test_a_dry_run_changes_nothing_and_says_all(root: Path) -> None:
    destination = MemoryDestination(changed=lambda path: pytest.fail(f"{path} was changed"))

    planned = publish(root, destination, dry_run=True)

    destination.changed = lambda _: None
    done = publish(root, destination)
    assert sorted(planned.sent) == sorted(done.sent)
    assert sorted(planned.pages) == sorted(done.pages)
    assert planned.planned


@pytest.mark.parametrize("damage", ["other bytes", "shorter", "gone", "no metadata", "other metadata"])
def test_a_damaged_file_holds_back_the_pages_that_name_it_and_nothing_else(root: Path, damage: str) -> None:
    destination = MemoryDestination()
    earlier = PurePosixPath("whl/cu118/torch-0.9+cu118-py3-none-any.whl")
    destination.files[earlier] = b"of an earlier publication"
    path = root / NEWER.path
    NEWER.admit(Mirror(root))
    Mirror(root).publish()
    sidecar = path.with_name(f"{path.name}.metadata")
    match damage:
        case "other bytes":
            path.write_bytes(bytes(len(NEWER.body)))
        case "shorter":
            path.write_bytes(NEWER.body[:-1])
        case "gone":
            path.unlink()
        case "no metadata":
            sidecar.unlink()
        case _:
            sidecar.write_bytes(bytes(sidecar.stat().st_size))

    report = publish(root, destination, delete=True)

    assert len(report.failures) == 1
    assert report.failures[0].error.exit_code == 4
    assert (report.removed, report.surplus) == ((), (earlier,))
    assert earlier in destination.files
    assert broken_links(destination.files) == []
    assert PurePosixPath("whl/cpu/torch/index.html") in destination.files
    assert PurePosixPath("whl/cu121/sympy/index.html") in destination.files
    for held in ("whl/cu121/torch/index.html", "whl/torch/index.v1+json", "whl/index.html", "manifest.json"):
        assert PurePosixPath(held) in report.held_back
        assert PurePosixPath(held) not in destination.files


def test_a_file_that_goes_while_others_are_sent_is_named(root: Path) -> None:
    def prune(path: PurePosixPath) -> None:
        if path.name.startswith("sympy"):
            (root / TORCH_CUDA.path).unlink(missing_ok=True)

    destination = MemoryDestination(changed=prune)

    report = publish(root, destination, jobs=1)

    assert [(one.path, one.error.code) for one in report.failures] == [(TORCH_CUDA.path, "not-in-mirror")]
    assert broken_links(destination.files) == []


def test_a_damaged_lock_is_not_published(root: Path) -> None:
    (root / "locks/pylock.node.toml").write_text('lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname="torch"\n')
    (root / "locks/pylock.broken.toml").write_text("lock-version = ")
    destination = MemoryDestination()

    report = publish(root, destination)

    assert [one.path.name for one in report.failures] == ["pylock.broken.toml", "pylock.node.toml"]
    assert {path.name for path in destination.files if path.parts[0] == "locks"} == {"notes.txt"}


def test_other_bytes_of_a_published_name_stay_until_replacing_is_asked_for(root: Path, tmp_path: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    other = Mirror(tmp_path / "other")
    craft_wheel(str(SYMPY.path), content="x = 1").admit(other)
    other.publish()

    refused = publish(other.root, destination)

    assert {one.error.code for one in refused.failures} == {"path-conflict"}
    assert destination.files[SYMPY.path] == SYMPY.body
    assert not publish(other.root, destination, replace=True).failures
    assert destination.files[SYMPY.path] == (other.root / SYMPY.path).read_bytes()


def test_what_no_manifest_speaks_of_is_compared_and_mended(root: Path) -> None:
    destination = MemoryDestination()
    destination.files[SYMPY.path] = bytes(len(SYMPY.body))
    destination.files[TORCH_CPU.path] = TORCH_CPU.body
    destination.files[TORCH_CUDA.path] = TORCH_CUDA.body[:-1]

    report = publish(root, destination)

    assert destination.files == public(root)
    assert TORCH_CPU.path not in report.sent
    assert {SYMPY.path, TORCH_CUDA.path} <= set(report.sent)


def test_rot_at_the_destination_is_found_where_it_is_looked_for(root: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    destination.files[SYMPY.path] = bytes(len(SYMPY.body))

    assert publish(root, destination).sent == ()
    assert publish(root, destination, reread=True).sent == (SYMPY.path,)
    assert destination.files == public(root)


def test_a_manifest_at_the_destination_that_is_none_vouches_for_nothing(root: Path) -> None:
    destination = MemoryDestination()
    publish(root, destination)
    destination.files[PurePosixPath("manifest.json")] = b"{"
    destination.files[SYMPY.path] = bytes(len(SYMPY.body))

    assert publish(root, destination).sent == (SYMPY.path,)
    assert destination.files == public(root)


def test_another_publisher_is_noticed_before_a_page_is_changed(root: Path) -> None:
    destination = MemoryDestination()
    manifest = PurePosixPath("manifest.json")

    def interfere(path: PurePosixPath) -> None:
        if path == SYMPY.path:
            destination.files[manifest] = b"of another run"

    destination.changed = interfere
    with pytest.raises(UsageError) as caught:
        publish(root, destination)

    assert caught.value.code == "destination-busy"
    assert not [path for path in destination.files if path.name == "index.html"]


def test_another_publisher_is_noticed_at_the_manifest(root: Path) -> None:
    class Late(MemoryDestination):
        def swap(self, file, body, *, over):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.files[file.path] = b"of another run"
            super().swap(file, body, over=over)

    with pytest.raises(UsageError) as caught:
        publish(root, Late())

    assert caught.value.code == "destination-busy"


def test_the_same_bytes_go_over_once(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    SYMPY.admit(mirror)
    twin = craft_wheel("whl/cu118/sympy-1.2-py3-none-any.whl")
    twin.admit(mirror)
    mirror.publish()
    destination = MemoryDestination()

    report = publish(mirror.root, destination)

    assert destination.files == public(mirror.root)
    assert report.bytes_sent == len(SYMPY.body) + len(SYMPY.metadata)
    assert len(report.copied) == 2


def test_locks_at_an_address_name_wheels_by_address(root: Path) -> None:
    text = f"""lock-version = "1.0"
created-by = "pytorch-offline"
[[packages]]
name = "torch"
version = "1.0+cpu"
[[packages.wheels]]
name = "{TORCH_CPU.path.name}"
path = "../{TORCH_CPU.path}"
size = {len(TORCH_CPU.body)}
[packages.wheels.hashes]
sha256 = "{TORCH_CPU.sha256}"
"""
    Mirror(root).write_locks({"pylock.node.toml": text.encode()})
    destination = MemoryDestination()
    lock = PurePosixPath("locks/pylock.node.toml")

    publish(root, destination)
    assert destination.files[lock] == text.encode()
    publish(root, destination, address="https://s3.lan/wheels")

    said = destination.files[lock].decode()
    assert 'url = "https://s3.lan/wheels/whl/cpu/torch-1.0%2Bcpu-py3-none-any.whl"' in said
    assert "path" not in said


def test_a_mirror_that_has_published_nothing_is_refused(tmp_path: Path) -> None:
    destination = MemoryDestination()
    destination.files[SYMPY.path] = SYMPY.body

    with pytest.raises(UsageError) as caught:
        publish(tmp_path, destination, delete=True)

    assert caught.value.code == "no-manifest"
    assert destination.files == {SYMPY.path: SYMPY.body}


def test_a_destination_that_fails_ends_the_run(root: Path) -> None:
    def fail(_: PurePosixPath) -> None:
        raise UpstreamError("store-failed", "it failed")

    with pytest.raises(UpstreamError):
        publish(root, MemoryDestination(changed=fail))
