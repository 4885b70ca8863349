"""Volumes go onto real file systems of exactly their size, and are verified where they lie, read-only."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from tests.bundle.bundling import wished
from tests.bundle.media_images import exfat, fat32, joliet, rock_ridge, squashfs
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest

pytestmark = pytest.mark.slow
# FAT32 is for 33 MB and more; what is not needed of an image is not written.
LIMIT = 36_000_000


@dataclass(frozen=True)
class Volumes:
    out: Path
    manifest: Manifest

    @property
    def directories(self) -> list[Path]:
        return sorted(self.out.iterdir())


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    root = tmp_path_factory.mktemp("volumes")
    noise = random.Random(1).randbytes(34_000_000).hex()[:72_000_000]  # a little more than half of it stays, deflated
    built = torch(tags="cp310-cp310-manylinux_2_28_x86_64")
    large = replace(built, modules={**built.modules, "torch/weights.py": f"# {noise}\n"})
    wheels = [large, *(pure(name, "1.0") for name in ("filelock", "numpy", "sympy", "mpmath"))]
    mirror = write_mirror(root / "mirror", {"node": wheels}, target=linux_target("3.10.12"))
    report = wished(mirror, root / "out", volume_size=LIMIT)
    assert report.manifest.volumes > 1
    return Volumes(root / "out", report.manifest)


MEDIA = [fat32, exfat, joliet, rock_ridge, squashfs]


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.__name__)
def test_volumes_fit_their_medium_and_are_whole_there(
    volumes: Volumes, tmp_path: Path, medium: Callable[[Path, Path, int], AbstractContextManager[Path]]
) -> None:
    with ExitStack() as stack:
        places = [stack.enter_context(medium(volume, tmp_path, LIMIT)) for volume in volumes.directories]
        source = open_source([str(place) for place in reversed(places)])
        assert source.manifest == volumes.manifest
        assert verify_source(source).findings == ()


def test_volumes_on_different_media_are_read_together(volumes: Volumes, tmp_path: Path) -> None:
    with ExitStack() as stack:
        places = [
            stack.enter_context(medium(volume, tmp_path, LIMIT))
            for volume, medium in zip(volumes.directories, [fat32, joliet, squashfs], strict=False)
        ]
        places += volumes.directories[3:]
        assert verify_source(open_source([str(place) for place in places])).findings == ()
        missing = verify_source(open_source([str(place) for place in places[:-1]])).findings
        assert [finding.bring for finding in missing] == [
            f"bring volume {volumes.manifest.volumes} of {volumes.manifest.volumes}"
        ]
