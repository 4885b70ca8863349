from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.requirements import Requirement

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.architectures import cubins_that_run_on, find_cubins, find_gfx_targets
from pytorch_offline.selector.architectures import unserved_device
from pytorch_offline.selector.model import Request
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
    name = parse_wheel_name("torch-2.15.0+cu132-cp310-cp310-manylinux_2_28_aarch64.whl")
    assert "8.7" in str(unserved_device(name, parse_backend("cu132"), orin))


def test_unknown_builds_forbid_nothing() -> None:
    name = parse_wheel_name("torch-99.0+cu132-cp310-cp310-manylinux_2_28_x86_64.whl")
    assert find_cubins(name.version.__replace__(local=None), "linux_x86_64", "cu132") is None
    assert unserved_device(name, parse_backend("cu132"), with_devices((6, 1))) is None


def test_amd_targets() -> None:
    name = parse_wheel_name("torch-2.9.1+rocm6.4-cp310-cp310-manylinux_2_28_x86_64.whl")
    backend = parse_backend("rocm6.4")
    for gfx, served in (("gfx90a", True), ("gfx1201", True), ("gfx1151", False), (None, True)):
        target = machine(accelerator=Accelerator(kind=AcceleratorKind.ROCM, devices=(Device(gfx=gfx),)))
        assert (unserved_device(name, backend, target) is None) is served
    assert find_gfx_targets("rocm99.9") is None
