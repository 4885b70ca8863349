"""Many targets at once: what they share by themselves, and what ``--common`` makes them share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.selector.fleet.fleet import fleet_document, fleet_refusal, render_fleet, render_selections, tally
from pytorch_offline.selector.fleet.sharing import Member, runnable_builds, share
from pytorch_offline.selector.model import Request, Selection
from pytorch_offline.selector.rules.drivers import Runs, judge_backends
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device, Target
from pytorch_offline.wheels.backend import Backend, parse_backend
from tests.selector.machines import machine
from tests.selector.memory import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytorch_offline.selector.fleet.shared import Sharing

BACKENDS = tuple(map(parse_backend, ["cpu", "cu118", "cu126", "cu128", "cu132"]))
MEGABYTE = 10**6
# Of the real wheels' order, in megabytes; projects that are not here weigh one.
WEIGHTS = {"torch": 800, "nvidia-cublas": 400, "nvidia-cudnn": 700, "torchvision": 8, "numpy": 20}
BUILDS = {"2.7.1": "cu118 cu126 cu128", "2.10.0": "cu126 cu128", "2.14.1": "cu126 cu132", "2.15.0": "cu132"}


def gpu(capability: str, driver: str, cuda: str | None = None) -> Accelerator:
    major, minor = map(int, capability.split("."))
    return Accelerator(
        kind=AcceleratorKind.CUDA,
        driver=Version(driver),
        cuda=None if cuda is None else Version(cuda),
        devices=(Device(name=None, compute_capability=(major, minor)),),
    )


def node(
    name: str,
    accelerator: Accelerator | None = None,
    *,
    python: str = "3.10.12",
    platform: str = "manylinux_2_35_x86_64",
) -> Target:
    found = machine(platform, python, accelerator or Accelerator(kind=AcceleratorKind.NONE))
    return replace(found, name=name)


A100 = node("a100", gpu("8.0", "470.82.01", "12.2"))
GTX = node("gtx1080ti", gpu("6.1", "535.183.06"))
V100 = node("v100", gpu("7.0", "570.86.10"))
RTX = node("rtx5090", gpu("12.0", "580.65.06"))
T4_OLD = node("t4", gpu("7.5", "450.80.02"))
CPU = node("cpu")


@pytest.fixture(scope="module")
def index() -> MemoryIndex:
    """Torch and its CUDA libraries, as upstream has them: two Pythons, one CUDA wheel set per backend."""
    index = MemoryIndex()
    for release, backends in BUILDS.items():
        for backend in ("cpu", *backends.split()):
            cuda = backend.removeprefix("cu")
            libraries = [] if backend == "cpu" else [f"nvidia-cublas=={cuda}", f"nvidia-cudnn=={cuda}"]
            for python in ("cp310", "cp312"):
                index.add(
                    f"{backend}/torch-{release}+{backend}-{python}-{python}-manylinux_2_17_x86_64.whl",
                    [*libraries, "filelock", "numpy"],
                )
    for cuda in ("118", "126", "128", "132"):
        for library in ("nvidia_cublas", "nvidia_cudnn"):
            index.add(f"{library}-{cuda}-py3-none-manylinux_2_17_x86_64.whl", default_index=True)
    index.add("filelock-3.20.0-py3-none-any.whl", default_index=True)
    for python in ("cp310", "cp312"):
        index.add(f"numpy-2.2.0-{python}-{python}-manylinux_2_17_x86_64.whl", default_index=True)
    return index


def sizes_of(selections: Iterable[Selection]) -> Mapping[str, int]:
    choices = [choice for selection in selections for choice in selection.choices]
    return {choice.candidate.file.link.url: WEIGHTS.get(choice.candidate.project, 1) * MEGABYTE for choice in choices}


def member(index: MemoryIndex, target: Target, *requirements: str, backend: Backend | None = None) -> Member:
    offers = index.offers_for(target)
    request = Request(requirements=tuple(map(Requirement, requirements)), backend=backend)

    def attempt(request: Request, backend: Backend | None) -> Selection:
        return select(request, target, offers, BACKENDS if backend is None else [backend])

    return Member(
        selection=attempt(request, None),
        builds=runnable_builds(request, target, offers, BACKENDS),
        attempt=attempt,
    )


def shared(index: MemoryIndex, targets: Sequence[Target], *requirements: str) -> Sharing:
    return share([member(index, target, *(requirements or ("torch",))) for target in targets], sizes_of)


def torches(selections: Iterable[Selection]) -> dict[str, str]:
    return {
        selection.target.name: str(choice.candidate.version)
        for selection in selections
        for choice in selection.choices
        if choice.candidate.project == "torch"
    }


def test_what_they_get_alone(index: MemoryIndex) -> None:
    alone = [member(index, target, "torch").selection for target in (A100, GTX, V100, RTX, T4_OLD, CPU)]
    assert torches(alone) == {
        "a100": "2.14.1+cu126",
        "gtx1080ti": "2.14.1+cu126",
        "v100": "2.14.1+cu126",
        "rtx5090": "2.15.0+cu132",
        "t4": "2.7.1+cu118",
        "cpu": "2.15.0+cpu",
    }


def test_the_newest_build_that_serves_all_is_found_though_none_has_it_alone(index: MemoryIndex) -> None:
    sharing = shared(index, [V100, RTX])
    assert torches(sharing.selections) == {"v100": "2.10.0+cu128", "rtx5090": "2.10.0+cu128"}
    assert sharing.summary == (
        "one torch 2.10.0+cu128 instead of 2: 1.9 GB less (1.9 GB instead of 3.8 GB)",
        "torch 2.10.0+cu128 instead of 2.14.1+cu126 on v100",
        "torch 2.10.0+cu128 instead of 2.15.0+cu132 on rtx5090",
    )


def test_one_old_driver_brings_its_kin_down_only_as_far_as_they_share(index: MemoryIndex) -> None:
    sharing = shared(index, [A100, GTX, T4_OLD, RTX, CPU])
    assert torches(sharing.selections) == {
        "a100": "2.7.1+cu118",
        "gtx1080ti": "2.7.1+cu118",
        "t4": "2.7.1+cu118",
        "rtx5090": "2.15.0+cu132",  # cu118 has no kernels for it
        "cpu": "2.15.0+cpu",
    }
    assert sharing.bytes_alone - sharing.bytes_shared == (800 + 400 + 700) * MEGABYTE


def test_equal_targets_lose_nothing(index: MemoryIndex) -> None:
    sharing = shared(index, [CPU, node("cpu-2"), node("cpu-3")])
    assert set(torches(sharing.selections).values()) == {"2.15.0+cpu"}
    assert not sharing.given_up
    assert sharing.summary == ("nothing more can be shared: all have torch 2.15.0+cpu already",)


def test_a_smaller_torch_is_no_gain_if_nothing_is_shared(index: MemoryIndex) -> None:
    light = replace(index, files=dict(index.files))
    for python in ("cp310", "cp312"):
        light.add(f"cpu/torch-1.0.0+cpu-{python}-{python}-manylinux_2_17_x86_64.whl")
    sharing = shared(light, [CPU, node("cpu-312", python="3.12.1")])
    assert set(torches(sharing.selections).values()) == {"2.15.0+cpu"}


def test_two_pythons_share_the_cuda_libraries(index: MemoryIndex) -> None:
    newer = node("v100-312", gpu("7.0", "570.86.10"), python="3.12.1")
    sharing = shared(index, [newer, node("rtx-310", gpu("12.0", "580.65.06"))])
    assert set(torches(sharing.selections).values()) == {"2.10.0+cu128"}
    assert sharing.bytes_alone - sharing.bytes_shared == (400 + 700) * MEGABYTE


def test_platforms_that_have_nothing_in_common_are_told(index: MemoryIndex) -> None:
    both = replace(index, files=dict(index.files))
    both.add("cpu/torch-2.15.0+cpu-cp310-cp310-win_amd64.whl", ["filelock"])
    sharing = shared(both, [CPU, node("windows", platform="win_amd64")])
    assert sharing.summary == (
        "nothing more can be shared: Linux x86_64, Windows AMD64 have only pure Python wheels in common",
    )


def test_the_requirement_bounds_what_is_given_up(index: MemoryIndex) -> None:
    sharing = shared(index, [V100, RTX], "torch>=2.14")
    assert torches(sharing.selections) == {"v100": "2.14.1+cu126", "rtx5090": "2.15.0+cu132"}
    assert not sharing.given_up


def test_an_older_glibc_is_no_obstacle_but_its_own_tags_are(index: MemoryIndex) -> None:
    old = node("centos7", gpu("12.0", "580.65.06"), platform="manylinux_2_17_x86_64")
    assert set(torches(shared(index, [V100, old]).selections).values()) == {"2.10.0+cu128"}


def test_of_a_forced_backend_every_release_may_be_shared(index: MemoryIndex) -> None:
    def releases(backend: Backend | None) -> set[str]:
        return {str(build) for build in member(index, RTX, "torch<2.14", backend=backend).builds}

    assert releases(None) == {"2.7.1+cu128", "2.10.0+cu128"}
    assert releases(parse_backend("cu126")) == {"2.7.1+cu126", "2.10.0+cu126"}  # though it has no kernels for it


def test_what_is_not_their_own_best_says_so(index: MemoryIndex) -> None:
    v100, _ = shared(index, [V100, RTX]).selections
    torch = next(choice for choice in v100.choices if choice.candidate.project == "torch")
    assert torch.why.startswith("2.10.0+cu128 serves v100, rtx5090 alike (--common), instead of 2.14.1+cu126; driver")
    lost = next(one for one in v100.rejected if one.reason == "common" and one.project == "torch")
    assert lost.file is not None
    assert lost.file.name.version == Version("2.14.1+cu126")
    assert v100.request.constraints == ()


def test_other_projects_are_brought_to_one_version(index: MemoryIndex) -> None:
    models = replace(index, files=dict(index.files))
    models.add("weights-1.0-py3-none-any.whl", default_index=True)
    models.add("weights-2.0-py3-none-any.whl", page_requires_python=">=3.12", default_index=True)
    targets = [CPU, node("cpu-312", python="3.12.1")]
    members = [member(models, target, "weights") for target in targets]

    def heavy(selections: Iterable[Selection]) -> Mapping[str, int]:
        return dict.fromkeys(sizes_of(selections), 100 * MEGABYTE)

    sharing = share(members, heavy)
    assert sharing.summary == (
        "more wheels in common: 100.0 MB less (100.0 MB instead of 200.0 MB)",
        "weights 1.0 instead of 2.0 on cpu-312",
    )


def test_sizes_that_nobody_tells_are_counted_as_wheels(index: MemoryIndex) -> None:
    sharing = share([member(index, target, "torch") for target in (V100, RTX)], lambda _: {})
    assert sharing.estimated
    assert set(torches(sharing.selections).values()) == {"2.10.0+cu128"}
    assert "about" in sharing.summary[0]


def test_the_number_of_attempts_is_bounded(index: MemoryIndex) -> None:
    members = [member(index, target, "torch") for target in (V100, RTX)]
    sharing = share(members, sizes_of, attempts_per_target=0)
    assert not sharing.given_up
    assert sharing.summary[-1] == "not all was tried: the search ended where it had taken as many attempts as it may"


def test_equal_targets_are_resolved_once(index: MemoryIndex) -> None:
    asked: list[str] = []

    def counted(one: Member) -> Member:
        def attempt(request: Request, backend: Backend | None) -> Selection:
            asked.append(one.selection.target.name)
            return one.attempt(request, backend)

        return replace(one, attempt=attempt)

    rack = [node(f"rtx-{number}", RTX.accelerator) for number in range(20)]
    sharing = share([counted(member(index, target, "torch")) for target in (V100, *rack)], sizes_of)
    assert set(torches(sharing.selections).values()) == {"2.10.0+cu128"}
    assert [selection.target.name for selection in sharing.selections][1:] == [target.name for target in rack]
    assert set(asked) <= {"v100", "rtx-0"}


def test_what_cannot_be_read_is_not_planned_with_and_told(index: MemoryIndex) -> None:
    def unread(request: Request, backend: Backend | None) -> Selection:
        del request, backend
        raise UpstreamError("not-in-catalogue", "the METADATA of a wheel is not in the catalogue")

    members = [replace(member(index, target, "torch"), attempt=unread) for target in (V100, RTX)]
    sharing = share(members, sizes_of)
    assert sharing.selections == tuple(one.selection for one in members)
    assert sharing.summary[-1] == "not all was tried: the METADATA of a wheel is not in the catalogue"


CARDS = st.sampled_from(["5.2", "6.1", "7.0", "7.5", "8.0", "8.6", "9.0", "12.0"])
DRIVERS = st.sampled_from(["450.80.02", "470.82.01", "525.60.13", "550.54.14", "570.86.10", "580.65.06"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CARDS, DRIVERS, st.sampled_from(["3.10.12", "3.12.1"])), min_size=2, max_size=5))
def test_sharing_serves_whoever_was_served_and_never_costs_more(
    index: MemoryIndex, nodes: list[tuple[str, str, str]]
) -> None:
    members = []
    for number, (card, driver, python) in enumerate(nodes):
        try:
            members.append(member(index, node(f"node-{number}", gpu(card, driver), python=python), "torch"))
        except UnsatisfiableError:
            continue
    if not members:
        return
    sharing = share(members, sizes_of)
    assert sharing.bytes_shared <= sharing.bytes_alone
    assert [one.target for one in sharing.selections] == [one.selection.target for one in members]
    for own, got in zip(members, sharing.selections, strict=True):
        assert got.backend is not None
        (verdict,) = judge_backends(got.target, [got.backend])
        assert isinstance(verdict, Runs)
        alone, given = (Version(torches([one])[got.target.name]).public for one in (own.selection, got))
        assert Version(given) <= Version(alone)
        assert (given == alone and got.backend == own.selection.backend) or sharing.bytes_shared < sharing.bytes_alone


# What they share by themselves.


def test_totals_say_what_is_shared_by_whom(index: MemoryIndex) -> None:
    selections = [member(index, target, "torch").selection for target in (A100, GTX, CPU)]
    counted = tally(selections, sizes_of(selections))
    assert counted.each == {"a100": 1921 * MEGABYTE, "gtx1080ti": 1921 * MEGABYTE, "cpu": 821 * MEGABYTE}
    assert counted.union == (1921 + 800) * MEGABYTE
    assert counted.saved == (1921 + 21) * MEGABYTE
    assert [group.targets for group in counted.groups][:2] == [("a100", "gtx1080ti", "cpu"), ("a100", "gtx1080ti")]
    told = render_fleet(selections, sizes_of(selections))
    assert all(len(line) <= 80 for line in told.splitlines())
    text = " ".join(told.split())
    assert "shared by all: 2 wheels, 21.0 MB: numpy 2.2.0, filelock 3.20.0" in text
    assert "shared by a100, gtx1080ti: 3 wheels, 1.9 GB: torch 2.14.1+cu126, nvidia-cudnn 126, nvidia-c" in text
    assert text.endswith("together: 6 wheels, 2.7 GB (one by one 13 wheels; sharing saves 1.9 GB)")
    assert fleet_document(counted)["saved_by_sharing"] == counted.saved


def test_a_rack_of_equal_nodes_has_one_tree(index: MemoryIndex) -> None:
    targets = [CPU, node("cpu-2"), GTX]
    selections = [member(index, target, "torch").selection for target in targets]
    text = render_selections(selections, sizes_of(selections))
    assert text.count("torch 2.15.0+cpu  (") == 1
    assert text.startswith("targets cpu, cpu-2:\n")
    assert "\ntarget gtx1080ti:\n" in text
    assert "together: " not in render_selections(selections[:1], {})


def test_a_sentence_names_few_of_many_targets(index: MemoryIndex) -> None:
    rack = [node(f"rtx-{number}", RTX.accelerator) for number in range(8)]
    assert shared(index, [V100, *rack]).summary[-1].endswith(" on rtx-0, rtx-1, rtx-2, rtx-3, rtx-4 and 3 more")


def test_sizes_that_are_not_known_are_not_added_up(index: MemoryIndex) -> None:
    selections = [member(index, target, "torch").selection for target in (A100, CPU)]
    assert fleet_document(tally(selections, {}))["total_size"] is None
    assert "8 wheels, 0 B, 6 of unknown size" not in render_fleet(selections, {})
    assert "6 wheels, 0 B, 6 of unknown size" in render_fleet(selections, {})


def test_all_targets_that_fail_are_named() -> None:
    refusals = {
        "old": UnsatisfiableError(
            "no-backend", "no build runs on old", facts={"cu126": "needs a driver"}, hint="update"
        ),
        "odd": UsageError("unknown-driver", "the driver of odd is not known"),
    }
    error = fleet_refusal(refusals, 3)
    assert isinstance(error, UnsatisfiableError)
    assert error.message == "2 of 3 targets cannot be served: old, odd"
    assert error.facts == {
        "old": "no build runs on old",
        "old: cu126": "needs a driver",
        "odd": "the driver of odd is not known",
    }
    assert fleet_refusal({"old": refusals["old"]}, 1) is refusals["old"]
    assert fleet_refusal({"odd": refusals["odd"]}, 2).exit_code == 2
