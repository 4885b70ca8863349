"""The table "last usable official Linux x86_64 torch per generation" (research/selectors.md, section 6), row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.backends import known_backends
from pytorch_offline.knowledge.gpus import find_gpu
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Device
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.recorded import NEWEST_RECORDED, PlacedOffers, described_index, recorded_index

if TYPE_CHECKING:
    from pathlib import Path

    from tests.selector.memory import MemoryIndex

BACKENDS = [parse_backend(text) for text in known_backends("stable")]


@pytest.fixture(scope="module")
def recorded(shared: Path) -> MemoryIndex:
    return recorded_index(shared)


@pytest.fixture(scope="module")
def described(shared: Path) -> MemoryIndex:
    return described_index(shared)


def last_torch(index: MemoryIndex, gpus: str, driver: str, python: str, requirement: str = "torch") -> str | None:
    """The release and the backend that machines with these GPUs get; None if nothing serves them."""
    devices = tuple(
        Device(name=name, compute_capability=find_gpu(name).compute_capability) for name in gpus.split(", ")
    )
    target = machine("manylinux_2_35_x86_64", f"{python}.1", replace(nvidia(driver), devices=devices))
    request = Request(requirements=(Requirement(requirement),), no_deps=True)
    try:
        selection = select(request, target, PlacedOffers(index, target), BACKENDS)
    except UnsatisfiableError:
        return None
    (choice,) = selection.choices
    return f"{choice.candidate.version.base_version} {selection.backend}"


# GPUs, driver, Python, what is the last release and its build. Newest driver branches of the old chips, toolkit drivers
# and the floors of each major, with the boundary on both sides.
ROWS = [
    ("Tesla K10", "418.226.00", "3.6", "0.3.0 cu90"),
    ("GTX 680", "470.256.02", "3.6", "0.3.0 cu90"),
    ("GTX 680", "384.81", "3.6", "0.3.0 cu90"),
    ("GTX 680", "384.80", "3.6", "0.3.0 cu80"),
    ("GTX 680", "375.26", "3.5", "0.3.0 cu80"),
    ("GTX 680", "367.47", "3.5", "0.3.0 cu75"),
    ("GTX 680", "352.31", "3.6", "0.3.0 cu75"),
    ("GTX 680", "352.30", "3.6", None),
    ("Tesla K40", "470.256.02", "3.7", "1.3.0 cu101"),
    ("GTX 780", "470.256.02", "3.6", "1.3.0 cu101"),
    ("GTX 780", "418.39", "3.7", "1.3.0 cu101"),
    ("GTX 780", "418.38", "3.7", "1.3.0 cu100"),
    ("GTX 780", "410.47", "3.7", "1.3.0 cu92"),
    ("GTX 780", "396.26", "3.7", "1.3.0 cu92"),
    ("GTX 780", "396.25", "3.7", "1.1.0 cu90"),
    ("Tesla K80", "470.256.02", "3.11", "2.7.1 cu118"),
    ("Tesla K80", "450.80.02", "3.10", "2.7.1 cu118"),
    ("Tesla K80", "450.80.01", "3.10", "1.12.1 cu102"),
    ("Tesla K80", "440.33.01", "3.8", "1.12.1 cu102"),
    ("Tesla K80", "440.32", "3.8", "1.8.1 cu101"),
    ("GTX 750 Ti", "580.95.05", "3.12", "2.14.1 cu126"),
    ("GTX 980", "525.60.13", "3.12", "2.14.1 cu126"),
    ("Tesla P100", "550.54.14", "3.11", "2.14.1 cu126"),
    ("GTX 1080 Ti", "580.95.05", "3.13", "2.14.1 cu126"),
    ("GTX 1080 Ti", "525.60.12", "3.12", "2.7.1 cu118"),
    ("Tesla V100", "580.95.05", "3.12", "2.14.1 cu126"),
    ("Tesla V100", "525.60.13", "3.12", "2.14.1 cu126"),
    ("T4", "580.95.05", "3.13", "2.15.0 cu130"),
    ("T4", "595.71.05", "3.13", "2.15.0 cu132"),
    ("RTX 2080 Ti", "580.65.06", "3.11", "2.15.0 cu130"),
    ("T4", "579.99", "3.13", "2.14.1 cu126"),
    ("A100", "580.95.05", "3.12", "2.15.0 cu130"),
    ("RTX 3090", "595.45.04", "3.12", "2.15.0 cu132"),
    ("RTX 4090", "595.45.03", "3.12", "2.15.0 cu130"),
    ("H100", "610.43.02", "3.14", "2.15.0 cu132"),
    ("B200", "580.95.05", "3.12", "2.15.0 cu130"),
    ("RTX 5090", "595.71.05", "3.12", "2.15.0 cu132"),
    ("RTX 5090", "565.57.01", "3.12", None),  # 570 is the first branch that knows the chip
    # Mixed: every device has to be served.
    ("Tesla K10, Tesla K40", "418.226.00", "3.6", "0.3.0 cu90"),
    ("Tesla K40, Tesla V100", "470.256.02", "3.7", "1.3.0 cu101"),
    ("Tesla K80, A100", "470.256.02", "3.11", "2.7.1 cu118"),
    ("Tesla V100, H100", "580.95.05", "3.12", "2.14.1 cu126"),
    ("GTX 1080 Ti, RTX 3090", "580.95.05", "3.12", "2.14.1 cu126"),
    ("Tesla V100, RTX 5090", "570.124.06", "3.12", "2.10.0 cu128"),
    ("GTX 1080 Ti, RTX 5090", "580.95.05", "3.12", None),
    ("Tesla K80, RTX 5090", "580.95.05", "3.12", None),
]


@pytest.mark.parametrize(("gpus", "driver", "python", "last"), ROWS)
def test_last_usable_torch(described: MemoryIndex, gpus: str, driver: str, python: str, last: str | None) -> None:
    assert last_torch(described, gpus, driver, python) == last


@pytest.mark.parametrize(("gpus", "driver", "python", "last"), [row for row in ROWS if row[3]])
def test_recorded_wheels_alone_say_the_same(
    recorded: MemoryIndex, gpus: str, driver: str, python: str, last: str
) -> None:
    """As far as the recordings reach: what ended later ends with them."""
    found = last_torch(recorded, gpus, driver, python)
    if Version(last.split(" ", maxsplit=1)[0]) <= NEWEST_RECORDED:
        assert found == last
    else:
        assert str(found).split(" ")[0] == str(NEWEST_RECORDED)


@pytest.mark.parametrize(
    ("gpus", "driver", "requirement", "last"),
    [
        ("Tesla V100", "580.95.05", "torch<=2.10.0", "2.10.0 cu129"),
        ("Tesla V100", "570.124.06", "torch<=2.10.0", "2.10.0 cu128"),
        ("RTX 5090", "570.124.06", "torch", "2.13.0 cu129"),
        ("RTX 5090", "570.124.06", "torch<2.11", "2.10.0 cu128"),
        ("RTX 5090", "570.124.06", "torch==2.7.0", "2.7.0 cu128"),
        ("RTX 5090", "595.71.05", "torch<2.7", None),
        ("B200", "595.71.05", "torch==2.6.0", None),
        ("H100", "595.71.05", "torch==2.0.1", "2.0.1 cu118"),
        ("H100", "595.71.05", "torch<2", None),
        ("A100", "595.71.05", "torch<1.13", "1.12.1 cu116"),
        ("T4", "595.71.05", "torch==1.12.1", "1.12.1 cu116"),
    ],
)
def test_first_and_last_within_bounds(
    described: MemoryIndex, gpus: str, driver: str, requirement: str, last: str | None
) -> None:
    assert last_torch(described, gpus, driver, "3.10", requirement) == last
