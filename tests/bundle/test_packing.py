"""A mirror is written in volumes: restartable, the same bytes again, each volume within its medium."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.labels import LABEL_NAME
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.bundle.writing.gathering import BundleWishes, gather
from pytorch_offline.bundle.writing.write import BundleReport, write_bundle
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.progress import Silent
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1_440_000


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = "".join(random.Random(1).choices("0123456789abcdef", k=5_000_000))
    built = torch(tags="cp310-cp310-manylinux_2_28_x86_64")
    large = replace(built, modules={**built.modules, "torch/weights.py": f"# {noise}\n"})
    wheels = [large, pure("filelock", "3.13"), pure("numpy", "2.1")]
    return write_mirror(tmp_path_factory.mktemp("mirror") / "mirror", {"node": wheels}, target=linux_target("3.10.12"))


def bundle(mirror: Path, out: Path, limit: int | None = LIMIT, *, force: bool = False) -> BundleReport:
    wishes = BundleWishes(mirror=mirror, out=out, volume_size=limit, force=force)
    contents, _ = gather(wishes, lambda *_: None)
    return write_bundle(wishes, contents, now=lambda: datetime(2026, 1, 2, tzinfo=UTC), progress=Silent())


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_volumes_hold_all_of_the_mirror_and_fit(mirror: Path, tmp_path: Path) -> None:
    report = bundle(mirror, tmp_path / "out")
    assert report.manifest.volumes > 2
    assert len(report.manifest.file_at("whl/cpu/torch-2.4.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl").pieces) > 1
    source = open_source([str(tmp_path / "out")])
    assert source.manifest == report.manifest
    assert verify_source(source).findings == ()
    for file in report.manifest.files:
        if file.path.startswith("whl/"):
            assert b"".join(source.read_file(file.path)) == (mirror / file.path).read_bytes()
    for volume in (tmp_path / "out").iterdir():
        assert sum(path.stat().st_size for path in volume.rglob("*") if path.is_file()) < LIMIT
        beside = {file.path for file in report.manifest.files if "/" not in file.path}
        assert {path.name for path in volume.iterdir()} == {"data", "manifest.json", LABEL_NAME, *beside}


def test_the_same_bundle_is_written_again_and_packing_is_no_content(mirror: Path, tmp_path: Path) -> None:
    first = bundle(mirror, tmp_path / "one")
    assert bundle(mirror, tmp_path / "two").written == first.written
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert bundle(mirror, tmp_path / "one").written == 0
    plain = bundle(mirror, tmp_path / "plain", None)
    assert (plain.manifest.id, plain.manifest.counter) == (first.manifest.id, first.manifest.counter)


class Killed(BaseException):
    """The process ends here."""


def test_a_run_that_was_cut_off_is_gone_on_with_wherever_that_was(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(mirror, tmp_path / "whole")
    real, left = Disk.replace, [0]

    def counted(self: Disk, old: Path, new: Path) -> None:
        if tmp_path in new.parents:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        real(self, old, new)

    out, cuts, report = tmp_path / "out", 0, None
    with monkeypatch.context() as patched:
        patched.setattr(Disk, "replace", counted)
        while report is None:
            left[0] = cuts
            with suppress(Killed):
                report = bundle(mirror, out)
                break
            cuts += 2
            with pytest.raises(PytorchOfflineError) as failure:
                open_source([str(out)])
            assert failure.value.code == "bundle-unfinished"
            if cuts % 3 == 2:
                shutil.rmtree(out)
    assert cuts > 5
    assert report is not None
    assert report.written < len(tree(out))
    assert tree(out) == tree(tmp_path / "whole")


def test_what_was_damaged_since_is_written_again_and_the_rest_is_kept(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle(mirror, out)
    before = tree(out)
    (part,) = (path for path in out.rglob("*.2of*"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    (out / "volume-001" / "data" / "left.over").touch()
    assert bundle(mirror, out).written == 1
    assert tree(out) == before
    (out / "volume-002" / LABEL_NAME).unlink()
    (out / "volume-003" / "manifest.json").unlink()
    assert bundle(mirror, out).written == 0
    assert tree(out) == before


def test_another_size_leaves_nothing_of_the_first(mirror: Path, tmp_path: Path) -> None:
    bundle(mirror, tmp_path / "out")
    bundle(mirror, tmp_path / "out", 2 * LIMIT)
    bundle(mirror, tmp_path / "other", 2 * LIMIT)
    assert tree(tmp_path / "out") == tree(tmp_path / "other")
    bundle(mirror, tmp_path / "out", None)
    bundle(mirror, tmp_path / "plain", None)
    assert tree(tmp_path / "out") == tree(tmp_path / "plain")


def test_a_damaged_wheel_of_the_mirror_is_named(mirror: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mirror, tmp_path / "mirror")
    (wheel,) = copy.glob("whl/cpu/torch*.whl")
    with wheel.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"?" if file.read(1) != b"?" else b"!")
    with pytest.raises(IntegrityError) as failure:
        bundle(copy, tmp_path / "out")
    assert failure.value.code == "bad-files"
    assert str(wheel.relative_to(copy)) in failure.value.facts


def test_a_volume_smaller_than_what_each_carries_is_refused(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as failure:
        bundle(mirror, tmp_path / "out", 200_000)
    assert failure.value.code == "volume-too-small"
    assert not (tmp_path / "out").exists()
