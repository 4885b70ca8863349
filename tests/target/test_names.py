"""Products and distributions by the names that people and tools give them."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import Distribution, find_distribution, read_distributions
from pytorch_offline.knowledge.gpus import capability_of, find_gpu, read_gpus
from pytorch_offline.target.build import TargetFlags, build_target


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
        ("A6000", (8, 6)),
        ("RTX 6000 Ada", (8, 9)),
        ("RTX PRO 6000", (12, 0)),
        ("RTX 4080S", (8, 9)),
        ("RTX 4070 TiS", (8, 9)),
        ("GeForce RTX 2050", (8, 6)),
        ("NVIDIA RTX A2000 Laptop GPU", (8, 6)),
        ("NVIDIA RTX 2000 Ada Generation Laptop GPU", (8, 9)),
        ("NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU", (12, 0)),
        ("GeForce RTX 2070 SUPER with Max-Q Design", (7, 5)),
        ("Tesla V100-DGXS-32GB", (7, 0)),
        ("NVIDIA A800 40GB Active", (8, 0)),
        ("A800-SXM4-80GB", (8, 0)),
        ("NVIDIA H20-3e", (9, 0)),
        ("NVIDIA L20", (8, 9)),
        ("NVIDIA GB10", (12, 1)),
        ("NVIDIA B300 SXM6 AC", (10, 3)),
        ("NVIDIA Thor", (11, 0)),
        ("NVIDIA Tegra X1", (5, 3)),
        ("A100-SXM4-40GB MIG 3g.20gb", (8, 0)),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", (9, 0)),
        ("GRID A100-40C", (8, 0)),
        ("GRID A100D-80C", (8, 0)),
        ("GRID A100X-2-10C", (8, 0)),
        ("GRID V100D-32Q", (7, 0)),
        ("GRID RTX6000-24Q", (7, 5)),
        ("NVIDIA RTX6000-Ada-48Q", (8, 9)),
        ("NVIDIA H100XM-80C", (9, 0)),
        ("GRID K520", (3, 0)),
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


@pytest.mark.parametrize(
    ("name", "say"),
    [("RX 7900 XTX", "--gfx"), ("AMD Instinct MI300X", "--gfx"), ("Arc A770", "xpu"), ("Apple M2 Pro", "macosx")],
)
def test_a_product_of_another_maker_is_said_otherwise(name: str, say: str) -> None:
    with pytest.raises(UsageError, match="not one of NVIDIA's") as caught:
        find_gpu(name)
    assert say in str(caught.value.hint)


@given(st.text())
def test_no_text_breaks_the_look_up_of_a_product(text: str) -> None:
    capability_of(text)
    capability_of(f"{text}...")
    try:
        find_gpu(text)
    except UsageError as error:
        assert error.code == "unknown-gpu"  # noqa: PT017  (either outcome is right)


def example(pattern: str) -> str:
    """Make a name that a row's pattern is for."""
    text = re.sub(r"\[(.)[^]]*\]", r"\1", pattern.split(" (", maxsplit=1)[0]).replace("?", "3")
    return text.replace("*", "3.12.4" if text.startswith("python:") else "12.2.2-runtime")


@pytest.mark.parametrize("row", read_distributions(), ids=lambda row: row.name)
def test_every_distribution_is_found_by_its_name(row: Distribution) -> None:
    name = example(row.name)
    for spelling in (
        name,
        name.upper(),
        f"docker.io/{name}",
        f"registry.example.com:5000/proxy/{name}@sha256:{'0' * 64}",
    ):
        found = find_distribution(spelling)
        assert (found.glibc, found.musl, found.at_least) == (row.glibc, row.musl, row.at_least)
    assert (row.glibc is None) is not (row.musl is None)
    if "*" not in row.name and "/" not in row.name:
        for spelling in (name.replace(":", ""), name.replace(":", " "), name.replace(":", "-").title()):
            assert find_distribution(spelling).name == row.name


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
        ("jammy", "ubuntu:22.04", "3.10"),
        ("ubuntu:jammy-20240530", "ubuntu:22.04", "3.10"),
        ("Ubuntu 22.04.3 LTS", "ubuntu:22.04", "3.10"),
        ("Debian GNU/Linux 12 (bookworm)", "debian:12", "3.11"),
        ("debian:bookworm-slim", "debian:12", "3.11"),
        ("Rocky Linux 9.3 (Blue Onyx)", "rockylinux:9", "3.9"),
        ("quay.io/rockylinux/rockylinux:9.3-minimal", "rockylinux:9", "3.9"),
        ("AlmaLinux 8.9 (Midnight Oncilla)", "almalinux:8", "3.6"),
        ("almalinux/9-base:9.3", "almalinux:9", "3.9"),
        ("Red Hat Enterprise Linux 8.9 (Ootpa)", "rhel:8", "3.6"),
        ("Red Hat Enterprise Linux Server release 7.9 (Maipo)", "rhel:7", None),
        ("rhel8", "rhel:8", "3.6"),
        ("el8", "rhel:8", "3.6"),
        ("registry.access.redhat.com/ubi9/ubi-minimal:9.4", "ubi:9", "3.9"),
        ("redhat/ubi8", "ubi:8", "3.6"),
        ("CentOS Linux release 7.9.2009 (Core)", "centos:7", None),
        ("centos:centos7.9.2009", "centos:7", None),
        ("CentOS Stream release 9", "centos:stream9", "3.9"),
        ("quay.io/centos/centos:stream9", "centos:stream9", "3.9"),
        ("Oracle Linux Server 8.8", "oraclelinux:8", "3.6"),
        ("Amazon Linux 2", "amazonlinux:2", None),
        ("Amazon Linux release 2 (Karoo)", "amazonlinux:2", None),
        ("amazonlinux:2018.03", "amazonlinux:1", None),
        ("public.ecr.aws/amazonlinux/amazonlinux:2023.4.20240416.0", "amazonlinux:2023", "3.9"),
        ("Fedora Linux 39 (Workstation Edition)", "fedora:39", "3.12"),
        ("Fedora release 33 (Thirty Three)", "fedora:33", "3.9"),
        ("SUSE Linux Enterprise Server 15 SP5", "sles:15.5", "3.6"),
        ("registry.suse.com/suse/sle15:15.5", "sles:15.5", "3.6"),
        ("sles12sp5", "sles:12", "3.4"),
        ("openSUSE Tumbleweed", "opensuse/tumbleweed", "3.13"),
        ("Linux Mint 21.2", "linuxmint:21", "3.10"),
        ("Pop!_OS 22.04 LTS", "pop:22.04", "3.10"),
        ("Raspbian GNU/Linux 11 (bullseye)", "raspbian:11", "3.9"),
        ("Kylin Linux Advanced Server V10 (Tercel)", "kylin:v10", "3.7"),
        ("银河麒麟V10", "kylin:v10", "3.7"),
        ("openEuler 22.03 (LTS-SP3)", "openeuler:22.03", "3.9"),
        ("openEuler-20.03-LTS-SP1", "openeuler:20.03", "3.7"),
        ("openeuler/openeuler:24.03-lts", "openeuler:24.03", "3.11"),
        ("UnionTech OS Server 20", "uos:20", None),
        ("Anolis OS 8.8", "anolis:8", "3.6"),
        ("openanolis/anolisos:8.9", "anolis:8", "3.6"),
        ("Alibaba Cloud Linux 3 (Soaring Falcon)", "alinux:3", "3.6"),
        ("TencentOS Server 3.1", "tencentos:3", "3.6"),
        ("Alpine Linux v3.19", "alpine:*", None),
        ("alpine", "alpine:*", None),
        ("L4T R36.4.3", "jetpack:6 (L4T R36)", "3.10"),
        ("nvcr.io/nvidia/l4t-pytorch:r35.2.1-pth2.0-py3", "jetpack:5 (L4T R35)", "3.8"),
        ("dustynv/pytorch:2.1-r36.2.0", "jetpack:6 (L4T R36)", "3.10"),
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
        ("python:3.11-bookworm", (2, 36), "3.11"),
        ("python:3.12-alpine3.19", None, "3.12"),
        ("nvcr.io/nvidia/pytorch:20.12-py3", (2, 31), "3.8"),
        ("nvcr.io/nvidia/pytorch:23.10-py3", (2, 35), "3.10"),
        ("nvcr.io/nvidia/pytorch:24.11-py3-igpu", (2, 39), "3.12"),
        ("pytorch/pytorch:1.13.1-cuda11.6-cudnn8-devel", (2, 27), "3.10"),
        ("pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime", (2, 35), "3.11"),
        ("tensorflow/tensorflow:2.15.0-gpu", (2, 35), "3.11"),
        ("harbor.corp:5000/proxy/nvidia/cuda:12.2.2-base-ubi8", (2, 28), None),
        ("public.ecr.aws/lambda/python:3.11", (2, 26), "3.11"),
        ("ubi8/python-39:1-100", (2, 28), "3.9"),
        ("rocm/pytorch:rocm6.2_ubuntu22.04_py3.10_pytorch_release_2.3.0", (2, 35), "3.10"),
        ("rocm/dev-ubuntu-22.04:6.2", (2, 35), None),
        ("mcr.microsoft.com/aifx/acpt/stable-ubuntu2004-cu117-py310-torch201", (2, 31), "3.10"),
        ("mcr.microsoft.com/devcontainers/base:ubuntu-22.04", (2, 35), None),
        ("ghcr.io/astral-sh/uv:python3.12-bookworm-slim", (2, 36), "3.12"),
        ("node:20-bookworm", (2, 36), None),
    ],
)
def test_images_say_their_c_library_and_some_their_python(
    image: str, glibc: tuple[int, int] | None, python: str | None
) -> None:
    found = find_distribution(image)
    assert (found.glibc, found.python) == (glibc, python)


@pytest.mark.parametrize(
    ("image", "glibc"), [("continuumio/miniconda3:24.1.2-0", (2, 28)), ("condaforge/mambaforge", (2, 31))]
)
def test_of_a_conda_image_the_oldest_c_library_is_taken_and_its_python_is_asked_for(
    image: str, glibc: tuple[int, int]
) -> None:
    found = find_distribution(image)
    assert (found.glibc, found.python, found.at_least) == (glibc, None, True)
    with pytest.raises(UsageError) as caught:
        build_target(TargetFlags(preset=image))
    assert caught.value.code == "python-not-given"
    made = build_target(TargetFlags(preset=image, python_version="3.12"))
    assert made.learnt_from["libc"] == f"--preset {image}, which has this one or a later one"


@pytest.mark.parametrize(
    ("image", "arch"),
    [
        ("quay.io/pypa/manylinux_2_28_aarch64:latest", "aarch64"),
        ("quay.io/pypa/manylinux2014_x86_64", "x86_64"),
        ("arm64v8/ubuntu:22.04", "aarch64"),
        ("ubuntu:22.04", "x86_64"),
        ("jetpack6", "aarch64"),
    ],
)
def test_some_names_fix_the_architecture(image: str, arch: str) -> None:
    flags = TargetFlags(preset=image, python_version="3.11")
    assert build_target(flags).machine == arch
    if image != "ubuntu:22.04":
        other = {"aarch64": "linux_x86_64", "x86_64": "linux_aarch64"}[arch]
        with pytest.raises(UsageError, match=f"is for {arch}"):
            build_target(dataclasses.replace(flags, platform=other))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("python:3.11-slim", "python:3.11-slim-bookworm, python:3.11-slim-trixie"),
        ("ubuntu:latest", "ubuntu:26.04"),
        ("debian", "debian:13"),
        ("jetpack", "jetpack:6"),
        ("Jetson Orin", "jetpack:6"),
        ("ubuntu:23.99", "ubuntu:23.10"),
        ("rockylinus:9", "rockylinux:9"),
    ],
)
def test_a_name_without_a_release_is_asked_for_it(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_distribution(name)
    assert near in str(caught.value.facts["near names"])


@pytest.mark.parametrize(
    "name", ["ubuntu:22.99", "sled:16.7", "vllm/vllm-openai:v0.6.0", "", ":", "Kali GNU/Linux Rolling"]
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
