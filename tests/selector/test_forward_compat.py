"""When the user-mode CUDA that nvidia-smi shows counts: cuda-compat by class and branch, errors 803 and 804."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytorch_offline.knowledge.cuda_driver import driver_branch, read_cuda_driver_table
from pytorch_offline.knowledge.forward_compat import accepted_branches
from pytorch_offline.knowledge.gpus import classes_of
from pytorch_offline.selector.rules.drivers import CannotRun, Runs, driver_warnings, judge_backends
from pytorch_offline.selector.rules.forward_compat import UserMode, judge_user_mode
from pytorch_offline.target.model import Accelerator, Device
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia


def judged(driver: str | None, cuda: str | None, *gpus: str, system: str = "Linux") -> UserMode:
    accelerator = replace(nvidia(driver, cuda), devices=tuple(Device(name=name) for name in gpus))
    return judge_user_mode(accelerator, system)


# Driver, CUDA Version as nvidia-smi prints them where no cuda-compat is at work (research/selectors.md, section 7, and
# NVIDIA's table of drivers and toolkits).
OWN = [
    ("450.36.06", "11.0"),
    ("450.80.02", "11.0"),
    ("470.82.01", "11.4"),
    ("525.105.17", "12.0"),
    ("535.183.06", "12.2"),
    ("550.127.05", "12.4"),
    ("565.57.01", "12.7"),  # a CUDA without a toolkit
    ("570.195.03", "12.8"),
    ("580.142", "13.0"),
    ("590.48.01", "13.1"),
    ("610.43.02", "13.3"),
]
OWN_ON_WINDOWS = [
    ("416.34", "10.0"),
    ("452.39", "11.0"),
    ("526.98", "12.0"),  # older than the 527.41 of NVIDIA's table
    ("537.13", "12.2"),
    ("560.94", "12.6"),
    ("566.36", "12.7"),
    ("581.42", "13.0"),
    ("591.86", "13.1"),
]


@pytest.mark.parametrize(("driver", "cuda"), OWN)
@pytest.mark.parametrize("name", ["GeForce RTX 3090", "NVIDIA A100-SXM4-40GB", "Something Else"])
def test_the_drivers_own_version_counts_for_every_gpu(driver: str, cuda: str, name: str) -> None:
    assert judged(driver, cuda, name) == UserMode(cuda=Version(cuda))


@pytest.mark.parametrize(("driver", "cuda"), OWN_ON_WINDOWS)
def test_the_drivers_own_version_counts_on_windows(driver: str, cuda: str) -> None:
    assert judged(driver, cuda, "GeForce RTX 3090", system="Windows") == UserMode(cuda=Version(cuda))


def test_a_version_without_a_driver_counts() -> None:
    assert judged(None, "12.2", "Orin (nvgpu)").cuda == Version("12.2")
    assert judged("535.183.06", None) == UserMode()


@pytest.mark.parametrize(
    ("driver", "cuda", "gpu"),
    [
        ("470.82.01", "12.2", "NVIDIA A100-PCIE-40GB"),  # both seen, section 7
        ("470.82.01", "12.6", "NVIDIA A10"),
        ("535.183.06", "13.0", "NVIDIA H100 80GB HBM3"),
        ("535.183.06", "12.8", "RTX A6000"),
        ("535.183.06", "12.8", "Tesla V100-SXM2-32GB"),
        ("535.183.06", "12.4", "Quadro RTX 8000"),
    ],
)
def test_cuda_compat_counts_where_it_is_allowed(driver: str, cuda: str, gpu: str) -> None:
    verdict = judged(driver, cuda, gpu)
    assert verdict.cuda == Version(cuda)
    assert verdict.raised is not None
    assert "assumed" not in verdict.raised


@pytest.mark.parametrize("gpu", ["GeForce RTX 3090", "NVIDIA GeForce GTX 1080 Ti", "TITAN RTX", "GeForce RTX 9999"])
def test_geforce_never(gpu: str) -> None:
    for others in ((), ("NVIDIA A100-PCIE-40GB",)):
        verdict = judged("470.82.01", "12.2", *others, gpu)
        assert verdict.cuda is None
        assert "804" in str(verdict.refused)
        assert gpu in str(verdict.refused)


@pytest.mark.parametrize(
    ("driver", "cuda", "counts"),
    [
        ("545.23.08", "12.8", False),
        ("555.42.06", "12.8", False),
        ("550.127.05", "12.8", True),
        ("470.82.01", "12.8", True),
        ("470.82.01", "12.9", False),
        ("470.82.01", "13.0", False),
        ("515.65.01", "12.2", False),
        ("525.60.13", "12.2", True),
        ("460.32.03", "11.8", False),
        ("580.95.05", "13.2", True),
    ],
)
def test_cuda_compat_accepts_certain_branches(driver: str, cuda: str, *, counts: bool) -> None:
    verdict = judged(driver, cuda, "NVIDIA A100-PCIE-40GB")
    assert (verdict.cuda is not None) is counts
    if not counts:
        assert f"not {driver.split('.', maxsplit=1)[0]}" in str(verdict.refused)


def test_what_is_assumed_is_said() -> None:
    assert "assumed that the GPU is a data-centre" in str(judged("470.82.01", "12.2").raised)
    assert "assumed that the GPU is a data-centre" in str(judged("470.82.01", "12.2", "Something Else").raised)
    assert "accepts driver branch 565" in str(judged("565.57.01", "13.0", "NVIDIA A100-PCIE-40GB").raised)
    unnamed = replace(nvidia("470.82.01", "12.2"), devices=(Device(compute_capability=(8, 0)),))
    assert "assumed" not in str(judge_user_mode(unnamed, "Linux").raised)  # 8.0 is in data centres alone
    unnamed = replace(nvidia("470.82.01", "12.2"), devices=(Device(compute_capability=(8, 6)),))
    assert "assumed" in str(judge_user_mode(unnamed, "Linux").raised)


def test_a_compat_library_older_than_the_driver_is_error_803() -> None:
    verdict = judged("580.95.05", "12.2", "NVIDIA A100-PCIE-40GB")
    assert verdict.cuda is None
    assert "803" in str(verdict.refused)


def test_there_is_no_cuda_compat_on_windows_and_wsl() -> None:
    assert "same nvidia-smi" in judged("472.12", "12.2", "RTX A6000", system="Windows").advice
    assert "same nvidia-smi" in judged("581.42", "12.2", "RTX A6000", system="Windows").advice
    wsl = replace(nvidia("472.12", "12.2"), driver_system="Windows", devices=(Device(name="RTX A6000"),))
    (told,) = driver_warnings(machine(accelerator=wsl))
    assert "no cuda-compat for Windows" in told


def verdicts(accelerator: Accelerator) -> dict[str, Runs | CannotRun]:
    names = ["cu118", "cu121", "cu124", "cu126", "cu130"]
    return {
        str(one.backend): one for one in judge_backends(machine(accelerator=accelerator), map(parse_backend, names))
    }


def test_the_seed_machine_with_its_gpu() -> None:
    a100 = (Device(name="NVIDIA A100-PCIE-40GB", compute_capability=(8, 0)),)
    with_compat = verdicts(replace(nvidia("470.82.01", "12.2"), devices=a100))
    assert isinstance(with_compat["cu121"], Runs)
    assert with_compat["cu121"].native
    assert "cuda-compat" in with_compat["cu121"].detail
    without = verdicts(replace(nvidia("470.82.01", "11.4"), devices=a100))
    assert [name for name, one in without.items() if isinstance(one, Runs)] == ["cu118"]


def test_a_geforce_with_compat_gets_what_its_driver_runs_and_a_warning() -> None:
    accelerator = replace(nvidia("470.82.01", "12.2"), devices=(Device(name="GeForce RTX 3090"),))
    found = verdicts(accelerator)
    assert [name for name, one in found.items() if isinstance(one, Runs)] == ["cu118"]
    assert "804" in found["cu121"].detail
    (told,) = driver_warnings(machine(accelerator=accelerator))
    assert "804" in told
    assert "the driver alone decides" in told


def test_below_the_toolkit_driver_the_caveat_is_said() -> None:
    found = verdicts(nvidia("550.54.14", "12.4"))["cu126"]
    assert isinstance(found, Runs)
    assert "PTX" in found.detail
    assert "560.28.03" in found.detail


def test_classes_of_devices() -> None:
    assert classes_of("NVIDIA A100-SXM4-40GB", (8, 0)) == {"data-centre"}
    assert classes_of("Tesla Z1000", None) == {"data-centre"}
    assert classes_of("NVIDIA TITAN Whatever", None) == {"consumer"}
    assert classes_of(None, (8, 0)) == {"data-centre"}
    assert classes_of("Something Else", None) == frozenset()


def test_branches() -> None:
    assert [driver_branch(Version(text)) for text in ("535.104.05", "537.13", "472.12", "580")] == [535, 535, 470, 580]
    assert accepted_branches(Version("12.7")) is None
    for cuda in ("12.2", "12.8", "13.0", "13.2"):
        branches = accepted_branches(Version(cuda))
        assert branches is not None
        own = read_cuda_driver_table("Linux").toolkit[Version(cuda)]
        assert all(branch < own.major for branch in branches.all)


@given(
    driver=st.sampled_from(sorted(read_cuda_driver_table("Linux").toolkit.values())),
    cuda=st.sampled_from(sorted(read_cuda_driver_table("Linux").toolkit)),
    name=st.sampled_from([None, "GeForce RTX 3090", "NVIDIA A100-PCIE-40GB", "RTX A6000", "Jetson AGX Orin"]),
)
def test_a_reported_version_never_makes_the_driver_run_less(driver: Version, cuda: Version, name: str | None) -> None:
    devices = () if name is None else (Device(name=name),)
    alone = replace(nvidia(str(driver)), devices=devices)
    reported = replace(alone, cuda=cuda)

    def runs(accelerator: Accelerator) -> set[str]:
        return {backend for backend, one in verdicts(accelerator).items() if isinstance(one, Runs)}

    assert runs(alone) <= runs(reported)
