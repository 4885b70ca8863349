"""What people write by mistake, and what the error says that they may have meant."""

from __future__ import annotations

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import find_distribution
from pytorch_offline.knowledge.gpus import find_gpu
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.wheels.backend import parse_backend


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ({"platform": "linux"}, "linux_x86_64?"),
        ({"platform": "win64"}, "win_amd64?"),
        ({"platform": "Windows"}, "win_amd64?"),
        ({"platform": "x86_64"}, "linux_x86_64?"),
        ({"platform": "macos"}, "macosx_14_0_arm64?"),
        ({"glibc": "2,31"}, "2.31"),
        ({"glibc": "glibc 2.17"}, "2.17"),
        ({"python_version": "cp312"}, "3.12"),
        ({"python_version": "312"}, "3.12"),
        ({"cuda": "cuda 12.1"}, "--cuda 12.1; to force a build, say --backend"),
        ({"cuda": "cu121"}, "--backend"),
        ({"driver": "535,104"}, "535.104"),
        ({"preset": "windows"}, "--platform win_amd64"),
    ],
)
def test_a_flag_that_cannot_be_read_says_what_may_be_meant(flags: dict[str, str], hint: str) -> None:
    given = {"platform": "linux_x86_64", "glibc": "2.35", "python_version": "3.10"} | flags
    with pytest.raises(UsageError) as caught:
        build_target(TargetFlags(**given))  # type: ignore[arg-type]  # text flags only
    assert hint in str(caught.value.hint)


def test_python_2_is_too_old() -> None:
    with pytest.raises(UsageError, match=r"Python 2\.7 is too old"):
        build_target(TargetFlags(python_version="2.7", platform="win_amd64"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [("cu12.1", "cu121?"), ("12.1", "cu121?"), ("CU121", "cu121?"), ("cuda 12.1", "cu121?"), ("ROCm-6.4", "rocm6.4?"),
     ("cuda", "--driver"), ("gpu", "--driver")],
)  # fmt: skip
def test_a_misspelt_backend(text: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_backend(text)
    assert meant in str(caught.value.hint)


def test_spaces_in_a_product_may_be_left_out() -> None:
    assert find_gpu("RTX4090") == find_gpu("GeForce RTX 4090")
    assert find_gpu("gtx1080ti").compute_capability == (6, 1)


def test_near_products_come_first() -> None:
    with pytest.raises(UsageError) as caught:
        find_gpu("RTX 409")
    assert str(caught.value.facts["near names"]).startswith("GeForce RTX 4090, ")


@pytest.mark.parametrize(
    ("name", "same"),
    [("jammy", "ubuntu:22.04"), ("ubuntu-noble", "ubuntu:24.04"), ("debian:bookworm", "debian:12")],
)
def test_releases_by_name(name: str, same: str) -> None:
    assert find_distribution(name) == find_distribution(same)
