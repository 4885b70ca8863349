"""What many lost wheels have in common, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from pytorch_offline.crawler.model import IndexFile, Link
from pytorch_offline.selector.lost_wheels import describe_misfits, name_backends, name_many, name_versions
from pytorch_offline.selector.model import Rejection
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.selector.machines import machine

if TYPE_CHECKING:
    from collections.abc import Sequence


def lost(tags: str) -> Rejection:
    name = parse_wheel_name(f"torch-2.4.0-{tags}.whl")
    link = Link(filename=name.filename, url=f"https://upstream.invalid/{name.filename}", path=f"/{name.filename}")
    file = IndexFile(name=name, link=link, page_url="https://upstream.invalid/")
    return Rejection(project=name.project, file=file, backend=None, reason=Reason.WHEEL_TAGS, detail="")


@pytest.mark.parametrize(
    ("platform", "python", "tags", "expected"),
    [
        (
            "manylinux_2_35_x86_64",
            "3.14.0",
            ["cp39-cp39-linux_x86_64", "cp310-cp310-linux_x86_64", "cp312-cp312-win_amd64"],
            "built for Python 3.9, 3.10; the target has Python 3.14",
        ),
        (
            "manylinux_2_35_x86_64",
            "3.13.0",
            ["cp313-cp313t-linux_x86_64"],
            "built for cp313 with ABI cp313t; the target has cp313",
        ),
        (
            "manylinux_2_17_x86_64",
            "3.10.0",
            ["cp310-cp310-manylinux_2_28_x86_64", "cp310-cp310-manylinux_2_28_aarch64"],
            "built for glibc 2.28 or later; the target has glibc 2.17",
        ),
        (
            "manylinux_2_35_aarch64",
            "3.10.0",
            ["cp310-cp310-win_amd64", "cp310-none-macosx_11_0_arm64"],
            "built for Windows AMD64, macOS arm64; the target is Linux aarch64 with glibc",
        ),
        (
            "macosx_12_0_arm64",
            "3.12.0",
            ["cp312-cp312-macosx_14_0_arm64", "cp312-cp312-win_amd64"],
            "built for macOS 14.0 or later arm64; the target is macosx_12_0_arm64",
        ),
        (
            "macosx_13_0_x86_64",
            "3.11.0",
            ["cp311-none-macosx_11_0_arm64"],
            "built for macOS arm64; the target is macOS x86_64",
        ),
    ],
)  # fmt: skip
def test_misfits(platform: str, python: str, tags: Sequence[str], expected: str) -> None:
    assert describe_misfits(map(lost, tags), machine(platform, python)) == expected


def test_names_of_many() -> None:
    assert name_many(["a", "b", "c", "d"]) == "a, b, c, d"
    assert name_many(list("abcde")) == "a to e (5)"
    backends = map(parse_backend, ["cu118", "cpu", "rocm6.1", "cu75", "cu102", "cu92", "cu80", "cu118"])
    assert name_backends(backends) == "cu75 to cu118 (5), rocm6.1, cpu"
    assert name_versions(map(Version, ["2.4.0+cu118", "2.4.0+cu121", "2.10.0", "2.3.1"])) == "2.3.1, 2.4.0, 2.10.0"
