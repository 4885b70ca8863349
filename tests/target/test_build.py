"""Targets from flags: what is not said is asked for, what contradicts is refused, nothing comes from this machine."""

from __future__ import annotations

import platform
import sysconfig
from typing import Any

import pytest
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.target import probe
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.describe import render_summary, unknown_facts
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device, Libc


def flags(**said: Any) -> TargetFlags:  # noqa: ANN401  (whatever a flag takes)
    return TargetFlags(**said)


def test_the_seed_machine() -> None:
    target = build_target(
        flags(python_version="3.10.12", preset="ubuntu22.04", gpus=("A100",), driver="470.82.01", cuda="12.2")
    )
    assert target.name == "ubuntu22_04-3_10_12-cp310-driver470_82_01-cuda12_2-A100"
    assert dict(target.marker_environment) == {
        "implementation_name": "cpython",
        "implementation_version": "3.10.12",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": "3.10.12",
        "python_version": "3.10",
        "sys_platform": "linux",
    }
    assert [str(tag) for tag in target.tags[:2]] == ["cp310-cp310-linux_x86_64", "cp310-cp310-manylinux_2_35_x86_64"]
    assert target.libc == Libc(name="glibc", version=(2, 35))
    assert target.accelerator == Accelerator(
        kind=AcceleratorKind.CUDA,
        driver=Version("470.82.01"),
        cuda=Version("12.2"),
        devices=(Device(name="A100", compute_capability=(8, 0)),),
    )
    assert target.learnt_from["accelerator.driver"] == "--driver"
    assert target.learnt_from["libc"] == "--preset ubuntu22.04"


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("win_amd64", ("nt", "win32", "Windows", "AMD64")),
        ("win_arm64", ("nt", "win32", "Windows", "ARM64")),
        ("win32", ("nt", "win32", "Windows", "x86")),
        ("macosx_14_0_arm64", ("posix", "darwin", "Darwin", "arm64")),
        ("macosx_11_0_x86_64", ("posix", "darwin", "Darwin", "x86_64")),
        ("manylinux_2_28_aarch64", ("posix", "linux", "Linux", "aarch64")),
        ("musllinux_1_2_x86_64", ("posix", "linux", "Linux", "x86_64")),
    ],
)
def test_markers_follow_the_platform(tag: str, expected: tuple[str, ...]) -> None:
    markers = build_target(flags(python_version="3.12", platform=tag)).marker_environment
    names = ("os_name", "sys_platform", "platform_system", "platform_machine")
    assert tuple(markers[name] for name in names) == expected
    assert markers["platform_release"] == markers["platform_version"] == ""


@pytest.mark.parametrize(
    ("tag", "glibc", "best"),
    [
        ("linux_x86_64", "2.35", "manylinux_2_35_x86_64"),
        ("linux_aarch64", "2.17", "manylinux_2_17_aarch64"),
        ("manylinux_2_28_x86_64", None, "manylinux_2_28_x86_64"),
        ("manylinux_2_28_x86_64", "2.28", "manylinux_2_28_x86_64"),
        ("manylinux2014_x86_64", None, "manylinux_2_17_x86_64"),
        ("manylinux1_x86_64", None, "manylinux_2_5_x86_64"),
        ("Linux-x86_64", "2.35", "manylinux_2_35_x86_64"),
    ],
)
def test_the_ladder_starts_at_the_glibc(tag: str, glibc: str | None, best: str) -> None:
    tags = build_target(flags(python_version="3.12", platform=tag, glibc=glibc)).tags
    assert tags[1].platform == best
    lowest = "manylinux1_x86_64" if "x86_64" in tag else "manylinux2014_aarch64"
    assert [item.platform for item in tags if item.abi == "cp312"][-1] == lowest


@pytest.mark.parametrize("minor", range(6, 16))
def test_every_python_that_torch_was_built_for(minor: int) -> None:
    target = build_target(flags(python_version=f"3.{minor}", platform="win_amd64"))
    assert target.tags[0].abi == f"cp3{minor}" + ("m" if minor < 8 else "")
    # The lowest micro: what holds for it holds for all, and pip would say so too.
    assert target.python_full_version == Version(f"3.{minor}.0")
    assert target.marker_environment["python_version"] == f"3.{minor}"


def test_free_threaded_builds_take_abi3t_and_never_abi3() -> None:
    for said in ({"free_threaded": True}, {"abi": "cp314t"}, {"free_threaded": True, "abi": "CP314T"}):
        tags = build_target(flags(python_version="3.14", platform="win_amd64", **said)).tags
        assert tags[0].abi == "cp314t"
        assert {tag.abi for tag in tags} == {"cp314t", "abi3t", "none"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "platform-not-given"),
        ({"driver": "535.104.05"}, "platform-not-given"),
        ({"python_version": "3.10"}, "platform-not-given"),
        ({"platform": "win_amd64"}, "python-not-given"),
        ({"preset": "centos7"}, "python-not-given"),
        ({"preset": "nvidia/cuda:12.2.2-runtime-ubuntu22.04"}, "python-not-given"),
        ({"python_version": "3.10", "platform": "linux_x86_64"}, "glibc-not-given"),
        ({"python_version": "3.10", "platform": "amiga"}, "unknown-platform"),
        ({"python_version": "3.10", "platform": "linux_z80", "glibc": "2.35"}, "unknown-platform"),
        ({"python_version": "3.10", "platform": "macosx_10_15_arm64"}, "unknown-platform"),
        ({"python_version": "3.10", "platform": "manylinux_3_1_x86_64"}, "unknown-platform"),
        ({"python_version": "3.10", "platform": "manylinux_2_999999999_x86_64"}, "unknown-platform"),
        ({"python_version": "3.10", "platform": "macosx_999999999_0_arm64"}, "unknown-platform"),
        ({"preset": "ubuntu22.04", "driver": "9" * 9999}, "bad-flag"),
        ({"python_version": "2.7", "platform": "win_amd64"}, "bad-flag"),
        ({"python_version": "3.5", "platform": "win_amd64"}, "bad-flag"),
        ({"python_version": "310", "platform": "win_amd64"}, "bad-flag"),
        ({"python_version": "3.10", "platform": "linux_x86_64", "glibc": "two"}, "bad-flag"),
        ({"python_version": "3.10", "platform": "linux_x86_64", "glibc": "1.2"}, "bad-flag"),
        ({"python_version": "3.10", "platform": "manylinux_2_28_x86_64", "glibc": "2.35"}, "contradiction"),
        ({"python_version": "3.10", "platform": "win_amd64", "glibc": "2.35"}, "contradiction"),
        ({"python_version": "3.10", "platform": "win_amd64", "preset": "ubuntu22.04"}, "contradiction"),
        ({"python_version": "3.12", "platform": "win_amd64", "free_threaded": True}, "contradiction"),
        ({"python_version": "3.13", "platform": "win_amd64", "free_threaded": True, "abi": "cp313"}, "contradiction"),
        ({"python_version": "3.13", "platform": "win_amd64", "abi": "cp312"}, "contradiction"),
        ({"python_version": "3.12", "platform": "win_amd64", "abi": "cp312t"}, "contradiction"),
        ({"python_version": "3.12", "platform": "win_amd64", "abi": "cp312m"}, "contradiction"),
        ({"python_version": "3.12", "platform": "win_amd64", "abi": "pp73"}, "bad-flag"),
        ({"preset": "ubuntu22.04", "driver": "latest"}, "bad-flag"),
        ({"preset": "ubuntu22.04", "cuda": "12.2rc1"}, "bad-flag"),
        ({"preset": "ubuntu22.04", "compute_capabilities": ("eight",)}, "bad-flag"),
        ({"preset": "ubuntu22.04", "accelerator": "tpu"}, "bad-flag"),
        ({"preset": "ubuntu22.04", "accelerator": "none", "gpus": ("A100",)}, "contradiction"),
        ({"preset": "ubuntu22.04", "gfx": ("gfx90a",), "cuda": "12.2"}, "contradiction"),
        ({"preset": "ubuntu22.04", "gpus": ("A100",), "compute_capabilities": ("9.0",)}, "contradiction"),
        ({"preset": "ubuntu22.04", "gpus": ("A100", "T4"), "compute_capabilities": ("8.0",)}, "contradiction"),
        ({"preset": "ubuntu22.04", "gpus": ("Voodoo 2",)}, "unknown-gpu"),
        ({"preset": "temple-os"}, "unknown-preset"),
    ],
)
def test_what_is_missing_or_contradictory_is_a_usage_error(said: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_target(flags(**said))
    assert caught.value.code == code


def test_a_linux_without_a_c_library_asks_for_it_by_name() -> None:
    with pytest.raises(UsageError) as caught:
        build_target(flags(python_version="3.10", platform="linux_aarch64"))
    for word in ("--glibc 2.35", "--preset ubuntu22.04", "manylinux_2_28_aarch64"):
        assert word in str(caught.value.hint)


def test_a_preset_is_overridden_by_flags() -> None:
    target = build_target(flags(preset="ubuntu22.04", platform="linux_aarch64", python_version="3.12.4", glibc="2.39"))
    assert (target.machine, target.marker_environment["python_full_version"]) == ("aarch64", "3.12.4")
    assert target.libc == Libc(name="glibc", version=(2, 39))
    assert target.learnt_from["libc"] == "--glibc 2.39"
    stated = build_target(flags(preset="ubuntu22.04", platform="manylinux_2_28_x86_64"))
    assert stated.libc == Libc(name="glibc", version=(2, 28))


def test_presets_of_other_kinds() -> None:
    jetson = build_target(flags(preset="jetpack6"))
    assert (jetson.machine, jetson.marker_environment["python_version"]) == ("aarch64", "3.10")
    assert jetson.accelerator is not None
    assert jetson.accelerator.is_older_jetson
    assert (jetson.accelerator.kind, jetson.accelerator.l4t) == (AcceleratorKind.CUDA, Version("36"))
    assert [device.compute_capability for device in jetson.accelerator.devices] == [(8, 7)]
    older = build_target(flags(preset="jetpack:4")).accelerator
    assert older == Accelerator(kind=AcceleratorKind.CUDA, l4t=Version("32"))
    assert older.is_older_jetson
    thor = build_target(flags(preset="jetpack:7")).accelerator
    assert thor == Accelerator(kind=AcceleratorKind.CUDA, l4t=Version("38"))
    assert not thor.is_older_jetson
    alpine = build_target(flags(preset="python:3.12-alpine"))
    assert alpine.libc == Libc(name="musl", version=(1, 2))
    assert alpine.tags[1].platform == "musllinux_1_2_x86_64"
    assert not any("manylinux" in tag.platform for tag in alpine.tags)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, None),
        ({"accelerator": "none"}, Accelerator(kind=AcceleratorKind.NONE)),
        ({"accelerator": "XPU"}, Accelerator(kind=AcceleratorKind.XPU)),
        ({"accelerator": "cuda"}, Accelerator(kind=AcceleratorKind.CUDA)),
        ({"cuda": "12.2"}, Accelerator(kind=AcceleratorKind.CUDA, cuda=Version("12.2"))),
        ({"driver": "580"}, Accelerator(kind=AcceleratorKind.CUDA, driver=Version("580"))),
        (
            {"compute_capabilities": ("8.0", "sm_90a", "120")},
            Accelerator(
                kind=AcceleratorKind.CUDA,
                devices=tuple(Device(compute_capability=pair) for pair in ((8, 0), (9, 0), (12, 0))),
            ),
        ),
        (
            {"gpus": ("Voodoo 2", "t4"), "compute_capabilities": ("1.0", "7.5")},
            Accelerator(
                kind=AcceleratorKind.CUDA,
                devices=(
                    Device(name="Voodoo 2", compute_capability=(1, 0)),
                    Device(name="T4", compute_capability=(7, 5)),
                ),
            ),
        ),
        (
            {"gfx": ("gfx90a:sramecc+:xnack-", "GFX1100")},
            Accelerator(kind=AcceleratorKind.ROCM, devices=(Device(gfx="gfx90a"), Device(gfx="gfx1100"))),
        ),
    ],
)
def test_accelerators(said: dict[str, Any], expected: Accelerator | None) -> None:
    assert build_target(flags(preset="ubuntu22.04", **said)).accelerator == expected


def test_a_mac_with_arm64_has_mps_and_another_is_not_known() -> None:
    arm = build_target(flags(python_version="3.12", platform="macosx_14_0_arm64"))
    assert arm.accelerator == Accelerator(kind=AcceleratorKind.MPS)
    assert build_target(flags(python_version="3.12", platform="macosx_14_0_x86_64")).accelerator is None
    without = build_target(flags(python_version="3.12", platform="macosx_14_0_arm64", accelerator="none"))
    assert without.accelerator == Accelerator(kind=AcceleratorKind.NONE)


SEED = build_target(flags(preset="ubuntu22.04", driver="470.82.01", cuda="12.2", gpus=("A100",)))


def test_flags_override_a_file_and_leave_the_rest() -> None:
    newer = build_target(flags(driver="580.95.05"), SEED)
    assert newer.accelerator is not None
    assert SEED.accelerator is not None
    assert newer.accelerator.driver == Version("580.95.05")
    assert (newer.accelerator.cuda, newer.accelerator.devices) == (SEED.accelerator.cuda, SEED.accelerator.devices)
    assert (newer.tags, newer.marker_environment) == (SEED.tags, SEED.marker_environment)
    assert newer.name == f"{SEED.name}-driver580_95_05"
    assert newer.learnt_from["accelerator.driver"] == "--driver"

    other_python = build_target(flags(python_version="3.12.1"), SEED)
    again = build_target(flags(preset="ubuntu22.04", python_version="3.12.1"))
    assert (other_python.tags, other_python.marker_environment) == (again.tags, again.marker_environment)
    assert other_python.accelerator == SEED.accelerator

    other_glibc = build_target(flags(glibc="2.28"), SEED)
    assert other_glibc.libc == Libc(name="glibc", version=(2, 28))
    assert other_glibc.tags == build_target(flags(preset="rhel8", python_version="3.10")).tags

    other_arch = build_target(flags(platform="linux_aarch64"), SEED)
    assert other_arch.tags == build_target(flags(preset="ubuntu22.04", platform="linux_aarch64")).tags

    bare = build_target(flags(accelerator="none"), SEED)
    assert bare.accelerator == Accelerator(kind=AcceleratorKind.NONE)
    assert [key for key in bare.learnt_from if key.startswith("accelerator")] == ["accelerator.kind"]


def test_a_file_of_another_implementation_keeps_its_interpreter() -> None:
    markers = dict(SEED.marker_environment) | {
        "implementation_name": "pypy",
        "platform_python_implementation": "PyPy",
    }
    pypy = type(SEED)(name="pypy", marker_environment=markers, tags=SEED.tags)
    assert build_target(flags(driver="580"), pypy).tags == SEED.tags
    with pytest.raises(UsageError, match="PyPy"):
        build_target(flags(python_version="3.12"), pypy)


@pytest.mark.parametrize("said", [{"driver": "580"}, {"cuda": "12.8"}, {"gpus": ("T4",)}, {"python_version": "3.12"},
                                  {"platform": "linux_aarch64"}, {"glibc": "2.39"}, {"accelerator": "none"},
                                  {"compute_capabilities": ("7.5",)}])  # fmt: skip
def test_descriptions_that_differ_have_names_that_differ(said: dict[str, Any]) -> None:
    assert build_target(flags(**said), SEED).name != SEED.name
    assert build_target(flags(preset="ubuntu22.04", **said)).name != build_target(flags(preset="ubuntu22.04")).name


def test_nothing_of_this_machine_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def leak(*_: object) -> None:
        raise AssertionError

    for module, names in (
        (platform, ("machine", "release", "version", "system", "python_version", "mac_ver", "libc_ver")),
        (sysconfig, ("get_platform", "get_config_var")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, leak)
    for name in ("read_glibc", "read_markers", "read_platforms", "read_tags", "run_command", "read_file"):
        monkeypatch.setattr(probe, name, leak)
    for text in ("macosx_14_0_arm64", "win_amd64", "manylinux_2_28_x86_64"):
        build_target(flags(python_version="3.12", platform=text, gpus=("A100",)))


def test_a_summary_names_what_is_not_known() -> None:
    text = render_summary(SEED)
    for part in (
        "CPython 3.10, taken as 3.10.0 (cp310)",
        "glibc 2.35",
        "470.82.01",
        "12.2",
        "A100, compute capability 8.0",
    ):
        assert part in text
    described = build_target(flags(preset="ubuntu22.04"))
    assert "whether it has a GPU; if not said, it gets builds for the CPU" in render_summary(described)
    assert unknown_facts(described) == (
        "marker_environment.platform_release",
        "marker_environment.platform_version",
        "accelerator",
    )
    asked = build_target(flags(preset="ubuntu22.04", accelerator="cuda"))
    assert unknown_facts(asked)[2:] == ("accelerator.driver", "accelerator.cuda", "accelerator.devices")
    assert unknown_facts(build_target(flags(preset="ubuntu22.04", accelerator="none")))[2:] == ()


@pytest.mark.parametrize(
    "given",
    [
        flags(preset="rhel8", python_version="3.11"),
        flags(preset="continuumio/miniconda3", python_version="3.11.4", driver="535.104.05"),
        flags(preset="ubuntu24.04", gpus=("A100", "A100", "Something Entirely New And Long Named 9000 Ultra"),
              compute_capabilities=("8.0", "8.0", "14.0")),
        flags(platform="win_arm64", python_version="3.12"),
        flags(preset="jetpack5"),
        flags(preset="ubuntu24.04", accelerator="rocm"),
        flags(preset="ubuntu24.04", accelerator="cuda"),
    ],
)  # fmt: skip
def test_a_summary_fits_eighty_columns(given: TargetFlags) -> None:
    text = render_summary(build_target(given))
    assert max(map(len, text.splitlines())) <= 80


def test_a_summary_says_what_the_facts_mean() -> None:
    conda = render_summary(build_target(flags(preset="continuumio/miniconda3", python_version="3.11.4")))
    assert "C library: glibc 2.28 or later" in conda
    several = render_summary(build_target(flags(preset="jetpack5", gpus=("A100", "A100"), compute_capabilities=())))
    assert "2 x A100, compute capability 8.0" in several
    assert "Jetson:" in several
    unnamed = build_target(
        flags(preset="ubuntu24.04"), accelerator=Accelerator(kind=AcceleratorKind.ROCM, devices=(Device(name="MI50"),))
    )
    assert "the gfx target of MI50" in render_summary(unnamed)


def test_which_intel_gpu_it_is_is_not_asked_for() -> None:
    intel = build_target(flags(preset="ubuntu22.04", accelerator="xpu"))
    assert "not known" not in render_summary(intel)
    assert "which GPUs it has" in render_summary(build_target(flags(preset="ubuntu22.04", driver="535.104.05")))


def test_a_python_that_a_preset_has_and_nobody_named_is_told_as_the_presets() -> None:
    with pytest.raises(UsageError) as caught:
        build_target(flags(preset="ubuntu16.04"))
    assert caught.value.message.startswith("--preset ubuntu16.04 has Python 3.5, which is too old")
    assert "--python-version" in str(caught.value.hint)
