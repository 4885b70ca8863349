"""A bundle is written with parity: the same again, restartable, and whole after what it promises to mend."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.repair import repair_bundle
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.bundle.writing.protecting import ParityWish
from tests.bundle.bundling import tree, wished
from tests.bundle.keys import make_key, needs_ssh_keygen
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("zfec")
LIMIT = 1_440_000
TORCH = "whl/cpu/torch-2.4.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = "".join(random.Random(1).choices("0123456789abcdef", k=5_000_000))
    built = torch(tags="cp310-cp310-manylinux_2_28_x86_64")
    large = replace(built, modules={**built.modules, "torch/weights.py": f"# {noise}\n"})
    wheels = [large, pure("filelock", "3.13"), pure("numpy", "2.1")]
    return write_mirror(tmp_path_factory.mktemp("mirror") / "mirror", {"node": wheels}, target=linux_target("3.10.12"))


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_the_same_again_and_nothing_to_write_the_second_time(mirror: Path, tmp_path: Path, limit: int | None) -> None:
    first = wished(mirror, tmp_path / "one", volume_size=limit, parity=ParityWish(percent=30))
    again = wished(mirror, tmp_path / "one", volume_size=limit, parity=ParityWish(percent=30))
    other = wished(mirror, tmp_path / "two", volume_size=limit, parity=ParityWish(percent=30))

    assert first.manifest == again.manifest == other.manifest
    assert (first.written > 30, again.written) == (True, 0)
    assert first.parity == again.parity
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert wished(mirror, tmp_path / "bare", volume_size=limit).manifest.id == first.manifest.id
    source = open_source([str(tmp_path / "one")])
    assert verify_source(source).findings == ()
    assert source.strays == ()


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_parity_comes_and_goes_with_what_is_asked_for(mirror: Path, tmp_path: Path, limit: int | None) -> None:
    bare = tmp_path / "bare"
    wished(mirror, bare, volume_size=limit)
    for percent in (5, 8, None, 5):
        out = tmp_path / "out"
        wish = None if percent is None else ParityWish(percent=percent)
        report = wished(mirror, out, volume_size=limit, parity=wish)
        assert verify_source(open_source([str(out)])).findings == ()
        assert (report.parity is None) == (percent is None)
        assert len([file for file in report.manifest.files if file.path.startswith("parity/")]) == (percent or 0)
        if percent is None:
            assert tree(out) == tree(bare)


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_what_is_missing_of_it_is_written_again(mirror: Path, tmp_path: Path, limit: int | None) -> None:
    out = tmp_path / "out"
    report = wished(mirror, out, volume_size=limit, parity=ParityWish(percent=5))
    whole = tree(out)
    row = report.manifest.file_at("parity/row-103")
    place = out / (f"volume-{row.pieces[0].volume:03}/{row.pieces[0].name}" if limit else row.path)
    for length in (0, 5):
        os.truncate(place, length)
        wished(mirror, out, volume_size=limit, parity=ParityWish(percent=5))
        assert tree(out) == whole


def test_volumes_with_parity_fit_and_each_may_be_lost(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = wished(mirror, out, volume_size=LIMIT, parity=ParityWish(percent=60))
    assert report.parity is not None
    assert report.parity.endswith("any one whole volume may be lost")
    whole = tree(out)
    volumes = sorted(out.iterdir())
    data = {piece.volume for file in report.manifest.files if "parity/" not in file.path for piece in file.pieces}
    parity = {piece.volume for file in report.manifest.files if "parity/" in file.path for piece in file.pieces}
    assert data | parity == set(range(1, len(volumes) + 1))
    assert not data & parity
    for volume in volumes:
        assert sum(path.stat().st_size for path in volume.rglob("*") if path.is_file()) < LIMIT
        shutil.rmtree(volume)
        repair_bundle(open_source([str(out)]))
        assert tree(out) == whole


def test_where_a_volume_may_not_be_lost_it_is_said_and_true(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = wished(mirror, out, volume_size=LIMIT, parity=ParityWish(percent=5))
    assert report.parity is not None
    assert "a whole volume may not be lost (--parity" in report.parity
    enough = int(report.parity.split("--parity ")[1].split("%")[0])
    report = wished(mirror, tmp_path / "more", volume_size=LIMIT, parity=ParityWish(percent=enough))
    assert (report.parity or "").endswith("any one whole volume may be lost")


@needs_ssh_keygen
@pytest.mark.parametrize("limit", [None, LIMIT])
def test_a_signed_bundle_keeps_copies_of_its_signature(mirror: Path, tmp_path: Path, limit: int | None) -> None:
    from pytorch_offline.bundle.writing.handing_over import Signing

    signing = Signing(key=make_key(tmp_path), rotate_from=None, told=lambda _: None)
    out = tmp_path / "out"
    wished(mirror, out, volume_size=limit, parity=ParityWish(percent=5), signing=signing)
    whole = tree(out)
    top = out / "volume-001" if limit else out
    (top / "manifest.json.sig").write_bytes(b"")
    (top / "install.py").unlink()
    (top / "manifest.json").unlink()
    repaired = repair_bundle(open_source([str(out)]))
    assert {part.name for part in repaired.mended} == {"manifest.json", "manifest.json.sig", "install.py"}
    assert tree(out) == whole
