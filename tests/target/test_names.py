"""Products and distributions by the names that people and tools give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import find_distribution, read_distributions
from pytorch_offline.knowledge.gpus import capability_of, find_gpu, read_gpus


@pytest.mark.parametrize("gpu", read_gpus(), ids=lambda gpu: gpu.name)
def test_every_product_is_found_by_its_name_in_any_case_and_with_the_makers(gpu: object) -> None:
    from pytorch_offline.knowledge.gpus import Gpu

    assert isinstance(gpu, Gpu)
    for name in (gpu.name, gpu.name.upper(), f"NVIDIA {gpu.name}", f"  {gpu.name.lower()} "):
        assert find_gpu(name).compute_capability == gpu.compute_capability
        assert capability_of(name) == gpu.compute_capability


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("RTX 4090", (8, 9)),
        ("Tesla T4", (7, 5)),
        ("K80", (3, 7)),
        ("GTX TITAN X", (5, 2)),
        ("TITAN X (Pascal)", (6, 1)),
        ("NVIDIA TITAN X (Pascal)", (6, 1)),
        ("GTX 1060 6GB", (6, 1)),
        ("H100 SXM5 80GB", (9, 0)),
        ("NVIDIA GeForce GTX 1650 Ti with Max-Q Design", (7, 5)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("Quadro RTX 6000", (7, 5)),
        ("Orin (nvgpu)", (8, 7)),
        ("T4G", (7, 5)),
        ("GeForce RTX 3080 Ti Laptop GPU", (8, 6)),
    ],
)
def test_whole_names_with_an_optional_brand_and_form(name: str, capability: tuple[int, int]) -> None:
    assert find_gpu(name).compute_capability == capability


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA A100-PCI...", (8, 0)),
        ("GeForce GTX 108...", (6, 1)),
        ("Tesla V100-SXM2...", (7, 0)),
        ("NVIDIA GeForce RTX 5070 ...", (12, 0)),
        ("NVIDIA GeForce ...", None),
        ("GeForce GTX 10...", (6, 1)),
        ("GeForce GTX 9...", None),
        ("...", None),
    ],
)
def test_a_cut_name_is_known_where_all_that_begin_so_agree(name: str, capability: tuple[int, int] | None) -> None:
    assert capability_of(name) == capability


@pytest.mark.parametrize(
    ("name", "near"),
    [("TITAN X", "TITAN X (Pascal)"), ("4090", "GeForce RTX 4090"), ("RTX409", "GeForce RTX 4090"), ("H1000", "H100")],
)
def test_an_unknown_product_is_an_error_with_near_names(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_gpu(name)
    assert caught.value.code == "unknown-gpu"
    assert near in str(caught.value.facts["near names"])
    assert "--compute-capability" in str(caught.value.hint)


@given(st.text())
def test_no_text_breaks_the_look_up_of_a_product(text: str) -> None:
    capability_of(text)
    capability_of(f"{text}...")
    try:
        find_gpu(text)
    except UsageError as error:
        assert error.code == "unknown-gpu"  # noqa: PT017  (either outcome is right)


@pytest.mark.parametrize("row", read_distributions(), ids=lambda row: row.name)
def test_every_distribution_is_found_by_its_name(row: object) -> None:
    from pytorch_offline.knowledge.glibc import Distribution

    assert isinstance(row, Distribution)
    name = row.name.split(" (")[0].replace("*", "3.12.4" if row.name.startswith("python:") else "12.2.2-runtime")
    for spelling in (name, name.upper(), f"docker.io/{name}", f"registry.example.com:5000/{name}"):
        found = find_distribution(spelling)
        assert (found.glibc, found.musl) == (row.glibc, row.musl)
    assert (row.glibc is None) is not (row.musl is None)
    if "/cuda:" not in name and "python:" not in name and "alpine" not in name:
        assert find_distribution(name.replace(":", "")) == row


@pytest.mark.parametrize(
    ("name", "row", "python"),
    [
        ("ubuntu22.04", "ubuntu:22.04", "3.10"),
        ("Ubuntu 22.04", "ubuntu:22.04", "3.10"),
        ("ubuntu2204", "ubuntu:22.04", "3.10"),
        ("debian:12-slim", "debian:12", "3.11"),
        ("rocky:9.3", "rockylinux:9", "3.9"),
        ("rhel:8.10", "rhel:8", "3.6"),
        ("centos:9", "centos:stream9", "3.9"),
        ("ol:8.9", "oraclelinux:8", "3.6"),
        ("amzn:2023", "amazonlinux:2023", "3.9"),
        ("centos7", "centos:7", None),
        ("archlinux:latest", "archlinux", None),
        ("ubi9:9.4", "ubi:9", "3.9"),
        ("jetpack6", "jetpack:6 (L4T R36)", "3.10"),
        ("jetpack:5.1.2", "jetpack:5 (L4T R35)", "3.8"),
        ("L4T R35", "jetpack:5 (L4T R35)", "3.8"),
        ("opensuse-leap:15.5", "opensuse/leap:15.5", "3.6"),
    ],
)
def test_lenient_spellings(name: str, row: str, python: str | None) -> None:
    assert (find_distribution(name).name, find_distribution(name).python) == (row, python)


@pytest.mark.parametrize(
    ("image", "glibc", "python"),
    [
        ("nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04", (2, 35), None),
        ("nvcr.io/nvidia/cuda:12.2.2-base-ubi8@sha256:" + "0" * 64, (2, 28), None),
        ("python:3.11.9-slim-bookworm", (2, 36), "3.11.9"),
        ("python:3.13-slim-trixie", (2, 41), "3.13"),
        ("python:3.12-alpine", None, "3.12"),
    ],
)
def test_images_say_their_c_library_and_some_their_python(
    image: str, glibc: tuple[int, int] | None, python: str | None
) -> None:
    found = find_distribution(image)
    assert (found.glibc, found.python) == (glibc, python)


@pytest.mark.parametrize(
    "name", ["ubuntu:22.10", "sles:15.2", "pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime", "", ":"]
)
def test_an_unknown_distribution_is_an_error_that_says_what_to_do(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_distribution(name)
    assert caught.value.code == "unknown-preset"
    assert "--glibc" in str(caught.value.hint)


@given(st.text())
def test_no_text_breaks_the_look_up_of_a_distribution(text: str) -> None:
    try:
        find_distribution(text)
    except UsageError as error:
        assert error.code == "unknown-preset"  # noqa: PT017  (either outcome is right)
