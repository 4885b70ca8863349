from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.architectures import (
    cubins_that_run_on,
    find_gfx_targets,
    find_kernels,
    parse_architectures,
)
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.rules.architectures import evidence_by_table, evidence_by_wheel, unserved_device
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device, Target
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex

NEWEST_DRIVER = nvidia("595.71.05")


def with_devices(*capabilities: tuple[int, int] | None, platform: str = "manylinux_2_35_x86_64") -> Target:
    devices = tuple(Device(compute_capability=capability) for capability in capabilities)
    return machine(platform, accelerator=replace(NEWEST_DRIVER, devices=devices))


def refusal(filename: str, target: Target) -> str | None:
    """What the tables alone say against a wheel."""
    name = parse_wheel_name(filename)
    backend = parse_backend(str(name.version.local))
    evidence = evidence_by_table(name, backend)
    return None if evidence is None else unserved_device(evidence, backend, target)


# research/selectors.md, section 6: the last usable official Linux x86_64 torch per generation.
LAST_USABLE = [
    ((3, 7), "2.7.1+cu118"),
    ((5, 2), "2.14.1+cu126"),
    ((6, 1), "2.14.1+cu126"),
    ((7, 0), "2.14.1+cu126"),
    ((7, 5), "2.15.0+cu132"),
    ((8, 0), "2.15.0+cu132"),
    ((8, 9), "2.15.0+cu132"),
    ((9, 0), "2.15.0+cu132"),
    ((12, 1), "2.15.0+cu132"),
]


@pytest.fixture(scope="module")
def index() -> MemoryIndex:
    index = MemoryIndex()
    built = {
        "2.7.1": ("cu118", "cu126", "cu128"),
        "2.10.0": ("cu126", "cu128", "cu130"),
        "2.14.1": ("cu126", "cu130", "cu132"),
        "2.15.0": ("cu130", "cu132"),
    }
    for version, backends in built.items():
        for backend in backends:
            index.add(f"{backend}/torch-{version}+{backend}-cp310-cp310-manylinux_2_28_x86_64.whl")
    return index


def torch_for(index: MemoryIndex, target: Target, requirement: str = "torch") -> str:
    backends = [parse_backend(text) for text in ("cu118", "cu126", "cu128", "cu130", "cu132")]
    request = Request(requirements=(Requirement(requirement),))
    (choice,) = select(request, target, index.offers_for(target), backends).choices
    return str(choice.candidate.version)


@pytest.mark.parametrize(("capability", "version"), LAST_USABLE)
def test_last_usable_torch_per_generation(index: MemoryIndex, capability: tuple[int, int], version: str) -> None:
    assert torch_for(index, with_devices(capability)) == version


def test_mixed_devices_are_all_served(index: MemoryIndex) -> None:
    assert torch_for(index, with_devices((7, 0), (9, 0))) == "2.14.1+cu126"
    assert torch_for(index, with_devices((7, 0), (12, 0))) == "2.10.0+cu128"
    with pytest.raises(UnsatisfiableError):
        torch_for(index, with_devices((3, 7), (12, 0)))


def test_unknown_devices_forbid_nothing(index: MemoryIndex) -> None:
    assert torch_for(index, with_devices(None)) == "2.15.0+cu132"
    assert torch_for(index, machine(accelerator=NEWEST_DRIVER)) == "2.15.0+cu132"


def test_refusal_names_the_device_and_what_would_fit(index: MemoryIndex) -> None:
    target = with_devices((6, 1))
    with pytest.raises(UnsatisfiableError) as caught:
        torch_for(index, target, "torch==2.15.0")
    assert any("compute capability 6.1" in str(fact) for fact in caught.value.facts.values())
    assert "2.14.1" in str(caught.value.hint)


def test_tegra_takes_only_its_own() -> None:
    assert cubins_that_run_on((8, 7)) == {(8, 7)}
    assert cubins_that_run_on((8, 9)) == {(8, 0), (8, 6), (8, 9)}
    assert cubins_that_run_on((13, 1)) == {(13, 0), (13, 1)}
    orin = with_devices((8, 7), platform="manylinux_2_35_aarch64")
    assert "8.7" in str(refusal("torch-2.15.0+cu132-cp310-cp310-manylinux_2_28_aarch64.whl", orin))
    # Nobody has described this build yet, and CUDA 13 can compile for 8.7; official builds never did.
    assert "no code but its own" in str(refusal("torch-99.0+cu132-cp310-cp310-manylinux_2_28_aarch64.whl", orin))
    thor = with_devices((11, 0), platform="manylinux_2_35_aarch64")
    assert refusal("torch-2.15.0+cu132-cp310-cp310-manylinux_2_28_aarch64.whl", thor) is None


def test_unknown_builds_are_bounded_by_their_toolkit() -> None:
    unknown = "torch-99.0+cu132-cp310-cp310-manylinux_2_28_x86_64.whl"
    assert find_kernels(Version("99.0"), "linux_x86_64", "cu132") is None
    assert "CUDA 13.2 can compile" in str(refusal(unknown, with_devices((6, 1))))
    for capability in ((7, 5), (8, 9), (12, 1), (13, 0), None):
        assert refusal(unknown, with_devices(capability)) is None


@pytest.mark.parametrize(
    ("version", "served"),
    [("0.3.0.post4+cu90", True), ("0.3.1+cu90", False), ("1.3.0.post2+cu92", False), ("1.0.1.post2+cu90", False)],
)
def test_post_releases_are_built_as_their_release_is(version: str, *, served: bool) -> None:
    name = f"torch-{version}-cp36-cp36m-linux_x86_64.whl"
    assert (refusal(name, with_devices((3, 0))) is None) is served


def test_a_wheels_own_list_is_read_as_torch_prints_it() -> None:
    found = parse_architectures(("sm_37", "sm_90a", "sm_100f", "sm_120", "compute_120", "gfx90a:xnack-", "strange"))
    assert found.cubins == {(3, 7), (10, 0), (12, 0)}
    assert found.specific == {(9, 0)}
    assert found.ptx == {(12, 0)}
    assert found.gfx == {"gfx90a"}


def test_code_for_one_part_alone_runs_there_alone() -> None:
    backend = parse_backend("cu128")
    specific = evidence_by_wheel(("sm_90a", "sm_120a"))
    assert unserved_device(specific, backend, with_devices((9, 0), (12, 0))) is None
    assert "compute capability 12.1" in str(unserved_device(specific, backend, with_devices((9, 0), (12, 1))))


def test_ptx_of_old_builds_is_told_but_not_counted_on() -> None:
    told = str(refusal("torch-0.4.0+cu80-cp36-cp36m-linux_x86_64.whl", with_devices((7, 0))))
    assert "compute_50" in told
    assert "not counted on" in told


def test_amd_targets() -> None:
    name = "torch-2.9.1+rocm6.4-cp310-cp310-manylinux_2_28_x86_64.whl"
    for gfx, served in (("gfx90a", True), ("gfx1201", True), ("gfx1151", False), (None, True)):
        target = machine(accelerator=Accelerator(kind=AcceleratorKind.ROCM, devices=(Device(gfx=gfx),)))
        assert (refusal(name, target) is None) is served
    assert find_gfx_targets("rocm99.9") is None
