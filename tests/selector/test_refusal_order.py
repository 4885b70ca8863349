"""What an error says first: the rule that decides, before wheels that were built for other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.explaining.render import explained
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex
from tests.selector.questions import asker

if TYPE_CHECKING:
    from pytorch_offline.target.model import Target

BACKENDS = tuple(map(parse_backend, ["cpu", "cu118", "cu126", "cu130"]))
KEPLER = Device(name="GTX 680", compute_capability=(3, 0))


def facts(index: MemoryIndex, text: str, target: Target) -> dict[str, str]:
    """What is told when nothing fits, in the order in which it is told."""
    request = Request(requirements=(Requirement(text),))
    with pytest.raises(UnsatisfiableError) as caught:
        select(request, target, index.offers_for(target), BACKENDS)
    lost = asker(index, request, target, BACKENDS, None).lost_by_backend(NormalizedName("torch"))
    told = explained(caught.value, (), target=target, lost_by_backend=lost).facts
    return {name: str(fact) for name, fact in told.items()}


def gpu(device: Device, driver: str) -> Accelerator:
    return Accelerator(kind=AcceleratorKind.CUDA, driver=Version(driver), devices=(device,))


def test_where_the_gpu_decides_wheels_for_other_pythons_are_no_reason() -> None:
    index = MemoryIndex()
    for backend in ("cpu", "cu118", "cu130"):
        for python in ("cp310-cp310", "cp311-cp311", "cp312-cp312"):
            index.add(f"{backend}/torch-2.4.0+{backend}-{python}-linux_x86_64.whl")
    index.add("cu118/torch-2.0.0+cu118-cp38-cp38-linux_x86_64.whl")
    told = facts(index, "torch", machine(accelerator=gpu(KEPLER, "470.82.01")))
    assert list(told) == ["asked", "1 fail gpu-architecture", "1 fail wheel-tags"]
    assert told["1 fail wheel-tags"].startswith("built for Python 3.8")
    # Nor is the driver, which cu130 needs a newer one of: the GPU fails for that build too.


def test_what_fails_by_driver_and_python_is_told_once() -> None:
    index = MemoryIndex()
    index.add("cu118/torch-2.4.0+cu118-cp310-cp310-linux_aarch64.whl")
    for python in ("cp311-cp311", "cp312-cp312"):
        index.add(f"cu126/torch-2.4.0+cu126-{python}-linux_x86_64.whl")
    told = facts(index, "torch==2.4.0", machine(accelerator=nvidia("470.82.01")))
    assert told == {
        "asked": "torch==2.4.0 was asked for",
        "3 fail wheel-tags": "built for Python 3.11, 3.12; the target has Python 3.10; "
        "2 of them need a newer driver too",
    }
