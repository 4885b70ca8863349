from __future__ import annotations

import pytest
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.cuda_driver import read_cuda_driver_table
from pytorch_offline.knowledge.table import read_table
from pytorch_offline.selector.rules.drivers import CannotRun, Runs, driver_warnings, judge_backends, verdict_for_forced
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import Backend, BackendKind, parse_backend
from tests.selector.machines import SEED, SEED_WITHOUT_COMPAT, machine, nvidia

NAMES = "cpu cu75 cu92 cu102 cu111 cu117 cu118 cu121 cu124 cu126 cu128 cu129 cu130 cu132 rocm6.4 xpu"
ALL = [parse_backend(text) for text in NAMES.split(" ")]


def spelt(target: object, *, native: bool | None = None) -> list[str]:
    verdicts = judge_backends(target, ALL)  # type: ignore[arg-type]
    return [str(one.backend) for one in verdicts if isinstance(one, Runs) and (native is None or one.native is native)]


def test_old_driver_with_compat_cuda_covers_its_user_mode_version_natively() -> None:
    assert spelt(SEED, native=True) == ["cu75", "cu92", "cu102", "cu111", "cu117", "cu118", "cu121"]
    assert spelt(SEED, native=False) == ["cu124", "cu126", "cu128", "cu129"]


def test_old_driver_alone_reaches_its_own_major_and_no_further() -> None:
    assert spelt(SEED_WITHOUT_COMPAT, native=True) == ["cu75", "cu92", "cu102", "cu111"]
    assert spelt(SEED_WITHOUT_COMPAT, native=False) == ["cu117", "cu118"]
    refused = {str(v.backend): v for v in judge_backends(SEED_WITHOUT_COMPAT, ALL) if isinstance(v, CannotRun)}
    assert "525.60.13" in refused["cu121"].detail
    assert "470.82.01" in refused["cu121"].detail


@pytest.mark.parametrize(
    ("driver", "newest"),
    [
        ("450.80.01", "cu102"),
        ("450.80.02", "cu118"),
        ("525.60.12", "cu118"),
        ("525.60.13", "cu129"),
        ("579.99", "cu129"),
        ("580", "cu132"),
    ],
)
def test_floors_of_minor_version_compatibility(driver: str, newest: str) -> None:
    assert spelt(machine(accelerator=nvidia(driver)))[-1] == newest


def test_windows_has_its_own_column() -> None:
    assert spelt(machine("win_amd64", accelerator=nvidia("528.33")))[-1] == "cu129"
    assert spelt(machine("win_amd64", accelerator=nvidia("528.32")))[-1] == "cu118"


def test_user_mode_version_alone_is_enough() -> None:
    assert spelt(machine(accelerator=nvidia(cuda="12.2")), native=True)[-1] == "cu121"


def test_no_known_accelerator_is_served_by_cpu_alone() -> None:
    assert spelt(machine()) == ["cpu"]
    assert spelt(machine(accelerator=Accelerator(kind=AcceleratorKind.NONE))) == ["cpu"]
    assert spelt(machine("macosx_14_0_arm64", accelerator=Accelerator(kind=AcceleratorKind.MPS))) == ["cpu"]


def test_rocm_and_xpu_get_their_own() -> None:
    assert spelt(machine(accelerator=Accelerator(kind=AcceleratorKind.ROCM))) == ["rocm6.4"]
    assert spelt(machine(accelerator=Accelerator(kind=AcceleratorKind.XPU))) == ["xpu"]


def test_a_device_without_driver_or_cuda_is_asked_for_by_name() -> None:
    with pytest.raises(UsageError) as caught:
        judge_backends(machine(accelerator=nvidia()), ALL)
    assert caught.value.code == "unknown-driver"
    assert "--driver" in str(caught.value.hint)


def test_forcing_needs_no_driver() -> None:
    assert isinstance(verdict_for_forced(machine(accelerator=nvidia()), parse_backend("cu121")), CannotRun)


def test_a_newer_driver_never_runs_less() -> None:
    drivers = sorted(read_cuda_driver_table("Linux").toolkit.values())
    previous: set[str] = set()
    for driver in drivers:
        now = set(spelt(machine(accelerator=nvidia(str(driver)))))
        assert previous <= now
        previous = now
    assert Version("13.2") in read_cuda_driver_table("Windows").toolkit


@pytest.mark.parametrize("preset", ["jetpack4", "jetpack5", "jetpack6"])
def test_an_older_jetson_is_refused_every_cuda_build_though_no_driver_is_known(preset: str) -> None:
    backends = [parse_backend(name) for name in ("cu118", "cu126", "cu130")]
    verdicts = judge_backends(build_target(TargetFlags(preset=preset)), backends)
    assert [verdict.reason for verdict in verdicts if isinstance(verdict, CannotRun)] == ["gpu-architecture"] * 3


def test_a_jetson_with_common_drivers_is_asked_for_its_driver() -> None:
    with pytest.raises(UsageError) as caught:
        judge_backends(build_target(TargetFlags(preset="jetpack7")), ALL)
    assert caught.value.code == "unknown-driver"


def rows_of_toolkits() -> list[tuple[str, Version, Version]]:
    """System, CUDA and the driver of its first release, read from the table without its reader."""
    found: dict[tuple[str, Version], list[Version]] = {}
    for row in read_table("cuda_driver"):
        if row["kind"] == "toolkit" and row["update"] != "RC":
            cuda = Version(row["cuda"])
            found.setdefault(("Linux", cuda), []).append(Version(row["linux_min_driver"]))
            if row["windows_min_driver"]:
                found.setdefault(("Windows", cuda), []).append(Version(row["windows_min_driver"]))
    return [(system, cuda, min(drivers)) for (system, cuda), drivers in found.items()]


def just_below(driver: Version) -> str:
    *front, last = driver.release
    return ".".join(map(str, [*front, last - 1] if last else [*front[:-1], front[-1] - 1, 999]))


FLOORS = {
    ("Linux", 11): "450.80.02",
    ("Linux", 12): "525.60.13",
    ("Linux", 13): "580",
    ("Windows", 11): "452.39",
    ("Windows", 12): "528.33",
    ("Windows", 13): "580",
}


@pytest.mark.parametrize(("system", "cuda", "least"), rows_of_toolkits())
def test_every_row_of_the_table_and_its_boundary(system: str, cuda: Version, least: Version) -> None:
    platform = "win_amd64" if system == "Windows" else "manylinux_2_35_x86_64"
    backend = Backend(BackendKind.CUDA, cuda)

    def judged(driver: str) -> Runs | CannotRun:
        return judge_backends(machine(platform, accelerator=nvidia(driver)), [backend])[0]

    at, below = judged(str(least)), judged(just_below(least))
    assert isinstance(at, Runs)
    assert at.native
    floor = FLOORS.get((system, cuda.major))
    if floor is not None and Version(just_below(least)) >= Version(floor):
        assert isinstance(below, Runs)
        assert not below.native
        assert "minor-version compatibility" in below.detail
    else:
        assert isinstance(below, CannotRun)
        assert below.reason == "driver"


@pytest.mark.parametrize(
    ("driver", "native"),
    [("580.88", "cu130"), ("581.42", "cu130"), ("591.86", "cu130"), ("595.97", "cu132")],
)
def test_windows_drivers_cover_the_cuda_of_their_branch(driver: str, native: str) -> None:
    """NVIDIA names no Windows driver for CUDA 13; R590 is 13.1 and R595 is 13.2 on every system."""
    target = machine("win_amd64", accelerator=nvidia(driver))
    assert spelt(target, native=True)[-1] == native
    assert spelt(target)[-1] == "cu132"


@pytest.mark.parametrize(
    ("gpu", "driver", "runs"),
    [
        ("RTX 5090", "566.99", False),
        ("RTX 5090", "570.26", True),
        ("B200", "550.54.14", False),
        ("GB10", "580.142", True),
        ("H100", "550.54.14", True),
    ],
)
def test_a_driver_from_before_the_chip_runs_nothing_there(gpu: str, driver: str, *, runs: bool) -> None:
    target = build_target(TargetFlags(preset="ubuntu24.04", driver=driver, gpus=(gpu,)))
    (verdict,) = judge_backends(target, [parse_backend("cu128")])
    assert isinstance(verdict, Runs) is runs
    if not runs:
        assert "driver 570 or later to know" in verdict.detail


def test_a_driver_from_after_the_chip_is_a_warning() -> None:
    for gpu, driver, last in (("Tesla K80", "535.104.05", "470"), ("V100", "590.48.01", "580")):
        target = build_target(TargetFlags(preset="ubuntu24.04", driver=driver, gpus=(gpu,)))
        (told,) = driver_warnings(target)
        assert f"{last} was the last branch" in told
    assert driver_warnings(build_target(TargetFlags(preset="ubuntu24.04", driver="580.95.05", gpus=("V100",)))) == ()
