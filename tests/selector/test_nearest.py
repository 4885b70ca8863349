"""When nothing fits, the changes that are offered: which, in what order, and that each of them resolves."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError, UpstreamError
from pytorch_offline.selector.explaining.nearest import MOST_OFFERED, MOST_TRIES, nearest_changes
from pytorch_offline.selector.explaining.proposals import Kind
from pytorch_offline.selector.explaining.render import explained
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Device
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.selector.explaining.nearest import Change
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

BACKENDS = tuple(map(parse_backend, ["cpu", "cu101", "cu118", "cu126", "cu130"]))
GTX = Device(name="GeForce GTX 1080 Ti", compute_capability=(6, 1))
BLACKWELL = Device(name="GeForce RTX 5090", compute_capability=(12, 0))
OLD_DRIVER = machine(accelerator=nvidia("470.82.01"))
NEW_DRIVER = machine(accelerator=nvidia("580.65.06"))
RELEASES = {
    "1.8.1": ("cpu cu101", ("cp38-cp38", "cp39-cp39"), "linux_x86_64", "0.9.1"),
    "2.4.0": ("cpu cu118", ("cp39-cp39", "cp310-cp310"), "linux_x86_64", "0.19.0"),
    "2.7.1": ("cpu cu118 cu126", ("cp310-cp310", "cp312-cp312"), "manylinux_2_28_x86_64", "0.22.1"),
    "2.9.0": ("cpu cu126 cu130", ("cp310-cp310", "cp312-cp312"), "manylinux_2_28_x86_64", "0.24.0"),
}


def example() -> MemoryIndex:
    index = MemoryIndex()
    for version, (backends, tags, platform, vision) in RELEASES.items():
        for backend in backends.split():
            for tag in tags:
                index.add(f"{backend}/torch-{version}+{backend}-{tag}-{platform}.whl", ["filelock"])
                index.add(f"{backend}/torchvision-{vision}+{backend}-{tag}-{platform}.whl", [f"torch=={version}"])
    index.add("tool-1.0-py3-none-any.whl", requires_python=">=3.13", default_index=True)
    index.add("tool-2.0rc1-py3-none-any.whl", default_index=True)
    index.add("filelock-3.16.0-py3-none-any.whl", default_index=True)
    index.add("filelock-4.0-py3-none-any.whl", requires_python=">=3.12", default_index=True)
    index.add("filelock-5.0-py3-none-any.whl", yanked="loses locks", default_index=True)
    return index


INDEX = example()


def attempt(asked: Request, target: Target) -> Selection:
    return select(asked, target, INDEX.offers_for(target), BACKENDS)


def refused(asked: Request, target: Target) -> UnsatisfiableError:
    with pytest.raises(UnsatisfiableError) as caught:
        attempt(asked, target)
    return caught.value


def request(*requirements: str, **options: object) -> Request:
    return Request(requirements=tuple(map(Requirement, requirements)), **options)  # type: ignore[arg-type]


def changes(asked: Request, target: Target) -> tuple[Change, ...]:
    return nearest_changes(asked, target, refused(asked, target), attempt=attempt, seconds=lambda: 0.0)


def sentences(target: Target, *requirements: str, **options: object) -> list[str]:
    return [one.sentence for one in changes(request(*requirements, **options), target)]


@pytest.mark.parametrize(
    ("target", "requirements", "expected"),
    [
        (
            OLD_DRIVER,
            ["torch==2.9.0"],
            [
                "torch 2.7.1+cu118 runs here: ask for torch==2.7.1",
                "driver 525.60.13 or later would admit torch 2.9.0+cu126",
                "torch 2.9.0+cpu runs here with --backend cpu, and leaves the GPU unused",
            ],
        ),
        (
            OLD_DRIVER,
            ["torch==2.9.0", "torchvision==0.24.0"],
            [
                "torch 2.7.1+cu118 runs here: ask for torch==2.7.1 torchvision",
                "driver 525.60.13 or later would admit torch 2.9.0+cu126",
                "torch 2.9.0+cpu runs here with --backend cpu, and leaves the GPU unused",
            ],
        ),
        (
            machine(accelerator=nvidia("410.0")),
            ["torch"],
            [
                "driver 450.80.02 or later would admit torch 2.7.1+cu118",
                "driver 525.60.13 or later would admit torch 2.9.0+cu126",
                "torch 2.9.0+cpu runs here with --backend cpu, and leaves the GPU unused",
            ],
        ),
        (
            NEW_DRIVER,
            ["torch==1.8.1+cu101"],
            [
                "torch 2.4.0+cu118 runs here: ask for torch==2.4.0",
                "Python 3.9 would admit torch 1.8.1+cu101",
            ],
        ),
        (
            NEW_DRIVER,
            ["torch==2.4.0+cu999"],
            [
                "torch 2.4.0+cu118 runs here: torch==2.4.0, the build left open",
                "torch 2.4.0+cpu runs here with --backend cpu, and leaves the GPU unused",
            ],
        ),
        (
            NEW_DRIVER,
            ["torch==2.7.1", "torchvision==0.24.0"],
            [
                "torchvision without ==0.24.0: torch 2.7.1+cu126, torchvision 0.22.1+cu126",
                "torch without ==2.7.1: torch 2.9.0+cu130",
            ],
        ),
        (
            replace(NEW_DRIVER, accelerator=replace(nvidia("580.65.06"), devices=(GTX, BLACKWELL))),
            ["torch==2.9.0"],
            [
                "without the GeForce GTX 1080 Ti (hide it with CUDA_VISIBLE_DEVICES): torch 2.9.0+cu130",
                "torch 2.9.0+cpu runs here with --backend cpu, and leaves the GPU unused",
            ],
        ),
        (NEW_DRIVER, ["filelock", "tool"], ["--pre admits tool 2.0rc1", "without tool: filelock 3.16.0"]),
        (NEW_DRIVER, ["torchvison"], ["torchvision instead of torchvison: torchvision 0.24.0+cu130"]),
        (
            machine("musllinux_1_2_x86_64"),
            ["torch==2.9.0"],
            ["glibc 2.28 or later instead of musl (debian:10, ubuntu:20.04) would admit torch 2.9.0+cpu"],
        ),
        (
            machine("manylinux_2_17_x86_64"),
            ["torch==2.9.0"],
            [
                "torch 2.4.0+cpu runs here: ask for torch==2.4.0",
                "glibc 2.28 or later (debian:10, ubuntu:20.04) would admit torch 2.9.0+cpu",
            ],
        ),
        (
            NEW_DRIVER,
            ["filelock>=4"],
            [
                "filelock 5.0, though yanked by its publisher: loses locks: ask for filelock==5.0",
                "filelock 3.16.0 runs here: ask for filelock==3.16.0",
                "Python 3.12 would admit filelock 4.0",
            ],
        ),
    ],
)
def test_what_is_offered(target: Target, requirements: Sequence[str], expected: Sequence[str]) -> None:
    offered = sentences(target, *requirements)
    assert [one for one in offered if one in expected] == list(expected), offered


def test_two_changes_where_no_single_one_helps() -> None:
    target = replace(machine(python="3.13.1"), accelerator=nvidia("580.65.06"))
    offered = sentences(target, "torch==0.4.1", "torchvision==0.2.0")
    assert "Python 3.12 and any version of torch torchvision would admit torch 2.9.0+cu130" in offered


def test_a_forced_build_is_left_open_first() -> None:
    (first, *_) = changes(request("torch==2.9.0", backend=parse_backend("cu118")), NEW_DRIVER)
    assert first.proposal.kind is Kind.BACKEND
    assert str(first.result.version) == "2.9.0+cu130"


def test_each_offer_is_told_as_data() -> None:
    asked = request("torch==2.9.0")
    told = explained(refused(asked, OLD_DRIVER), changes(asked, OLD_DRIVER))
    nearest = told.data["nearest"]
    assert isinstance(nearest, list)
    assert nearest[0]["requirements"] == ["torch==2.7.1"]
    assert nearest[0]["result"]["backend"] == "cu118"
    assert nearest[1]["flags"] == ["--driver", "525.60.13"]
    assert all(one["verified"] for one in nearest)


def test_tries_end_with_the_time_and_at_a_number() -> None:
    asked = request("torch==2.9.0")
    error = refused(asked, OLD_DRIVER)
    clock = count(0, 8)
    tried: list[Request] = []

    def fails(request: Request, target: Target) -> Selection:
        tried.append(request)
        raise UpstreamError("unreachable", f"{target.name} is far from everything")

    assert nearest_changes(asked, OLD_DRIVER, error, attempt=fails, seconds=lambda: next(clock)) == ()
    assert len(tried) <= 2
    tried.clear()
    assert nearest_changes(asked, OLD_DRIVER, error, attempt=fails, seconds=lambda: 0.0) == ()
    assert 0 < len(tried) <= MOST_TRIES


def described(platform: str, python: str, driver: str, devices: list[Device]) -> Target:
    return replace(machine(platform, python), accelerator=replace(nvidia(driver), devices=tuple(devices)))


@given(
    target=st.builds(
        described,
        st.sampled_from(["manylinux_2_17_x86_64", "manylinux_2_35_x86_64", "win_amd64", "manylinux_2_35_aarch64"]),
        st.sampled_from(["3.6.15", "3.8.10", "3.9.2", "3.10.12", "3.12.1", "3.14.0"]),
        st.sampled_from(["390.46", "440.33.01", "470.82.01", "525.60.13", "580.65.06"]),
        st.lists(st.sampled_from([GTX, BLACKWELL]), max_size=2),
    ),
    torch=st.sampled_from(["", "==1.8.1", "==2.4.0", "==2.9.0", ">=2.8", "==2.7.1+cu118", "<1.5", "==9"]),
    vision=st.sampled_from([None, "", "==0.19.0", "==0.24.0"]),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_each_offered_change_resolves(target: Target, torch: str, vision: str | None) -> None:
    asked = request(f"torch{torch}", *([] if vision is None else [f"torchvision{vision}"]))
    try:
        attempt(asked, target)
    except UnsatisfiableError as error:
        offered = nearest_changes(asked, target, error, attempt=attempt, seconds=lambda: 0.0)
        assert len(offered) <= MOST_OFFERED
        for change in offered:
            document = change.document()
            again = request(*document["requirements"], backend=change.proposal.request.backend)
            again = replace(again, pre="--pre" in document["flags"])
            selection = attempt(again, change.proposal.target)
            chosen = {choice.candidate.project: str(choice.candidate.version) for choice in selection.choices}
            assert chosen[document["result"]["project"]] == document["result"]["version"]
            if "--driver" in document["flags"]:
                before, after = target.accelerator, change.proposal.target.accelerator
                assert before is not None
                assert before.driver is not None
                assert after is not None
                assert after.driver == Version(document["flags"][1]) > before.driver
