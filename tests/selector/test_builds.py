"""What is inside the wheels beats the tables, and few wheels are read to learn it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.explaining.render import document_of
from pytorch_offline.selector.model import EvidenceSource, Request, Selection
from pytorch_offline.selector.rules.builds import READINGS_BEFORE_TRUST, BuildJudge
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Device, Target
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.inspection import Inspection
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex, MemoryOffers

BACKENDS = [parse_backend(text) for text in ("cpu", "cu118", "cu126", "cu128", "cu130", "cu132")]
Lists = dict[str, dict[str, tuple[str, ...]]]
MAXWELL_TO_HOPPER = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
TURING_ON = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
BUILT: Lists = {
    "2.15.0": {"cu130": TURING_ON, "cu132": TURING_ON},
    "2.14.1": {"cu126": MAXWELL_TO_HOPPER, "cu130": TURING_ON, "cu132": TURING_ON},
    "2.13.0": {"cu126": MAXWELL_TO_HOPPER, "cu130": TURING_ON, "cu132": TURING_ON},
    "2.12.0": {"cu126": MAXWELL_TO_HOPPER, "cu130": TURING_ON, "cu132": TURING_ON},
    "2.11.0": {"cu126": MAXWELL_TO_HOPPER, "cu128": TURING_ON, "cu130": TURING_ON},
    "2.10.0": {"cu126": MAXWELL_TO_HOPPER, "cu128": ("sm_70", *TURING_ON), "cu130": TURING_ON},
}


def wheel(version: str, backend: str) -> str:
    return f"torch-{version}+{backend}-cp310-cp310-manylinux_2_28_x86_64.whl"


def offers_of(target: Target, lists: Lists = BUILT, *, readable: bool = True) -> MemoryOffers:
    index = MemoryIndex()
    for version, backends in lists.items():
        for backend, architectures in backends.items():
            inspection = Inspection(architectures=architectures, glibc=(2, 27)) if readable else None
            index.add(f"{backend}/{wheel(version, backend)}", inspection=inspection)
    index.add("filelock-3.16.0-py3-none-any.whl", default_index=True)
    return index.offers_for(target)


def gpu(*capabilities: tuple[int, int], driver: str = "595.71.05", **fields: object) -> Target:
    devices = tuple(Device(compute_capability=capability) for capability in capabilities)
    return replace(machine(accelerator=replace(nvidia(driver), devices=devices)), **fields)  # type: ignore[arg-type]


def choose(offers: MemoryOffers, target: Target, *requirements: str, backend: str | None = None) -> Selection:
    request = Request(
        requirements=tuple(map(Requirement, requirements or ("torch",))),
        backend=None if backend is None else parse_backend(backend),
    )
    return select(request, target, offers, BACKENDS)


def torch_of(selection: Selection) -> str:
    return next(str(one.candidate.version) for one in selection.choices if one.candidate.project == "torch")


def test_a_gtx_1080_ti_costs_a_handful_of_readings() -> None:
    target = gpu((6, 1), driver="580.95.05")
    offers = offers_of(target)
    selection = choose(offers, target)
    assert torch_of(selection) == "2.14.1+cu126"
    # Every better build once, and the one that was chosen; cu132 of 2.14.1 would come behind it, not being native.
    assert offers.inspected == [
        wheel("2.15.0", "cu130"),
        wheel("2.15.0", "cu132"),
        wheel("2.14.1", "cu130"),
        wheel("2.14.1", "cu126"),
    ]
    (choice,) = selection.choices
    assert choice.kernels is not None
    assert choice.kernels.source is EvidenceSource.WHEEL
    assert "sm_60 for compute capability 6.1, by its own list, read from the wheel" in choice.why
    (file,) = document_of(selection, {choice.candidate.file.link.url: "place"})["files"]
    assert file["kernels"]["source"] == "wheel"
    assert file["kernels"]["architectures"] == list(MAXWELL_TO_HOPPER)
    reasons = {one.file.name.filename: one for one in selection.rejected if one.file is not None}
    assert reasons[wheel("2.15.0", "cu132")].reason == "gpu-architecture"
    assert "it has sm_75, sm_80" in reasons[wheel("2.15.0", "cu132")].detail
    assert "read from the wheel" in reasons[wheel("2.15.0", "cu132")].detail
    # This one's turn never came; it cannot run there either, by the table.
    assert reasons[wheel("2.14.1", "cu132")].reason == "gpu-architecture"
    assert "the table (gpu_arch.csv" in reasons[wheel("2.14.1", "cu132")].detail


def test_a_usual_gpu_costs_one_reading() -> None:
    target = gpu((8, 0), (8, 9))
    offers = offers_of(target)
    assert torch_of(choose(offers, target)) == "2.15.0+cu132"
    assert offers.inspected == [wheel("2.15.0", "cu132")]


@pytest.mark.parametrize("target", [machine(accelerator=nvidia("595.71.05")), machine()])
def test_nothing_is_read_where_no_device_is_known(target: Target) -> None:
    offers = offers_of(target)
    index = offers._index
    index.add("cpu/torch-2.15.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl")
    choose(offers, target)
    assert offers.inspected == []


def test_nothing_is_read_for_a_closure_without_torch() -> None:
    target = gpu((6, 1))
    offers = offers_of(target)
    choose(offers, target, "filelock")
    assert offers.inspected == []


def test_after_lists_that_agree_the_table_is_trusted_with_refusals() -> None:
    target = gpu((3, 7))
    lists: Lists = {
        **BUILT,
        "2.7.1": {"cu118": ("sm_37", "sm_50", "sm_60"), "cu126": MAXWELL_TO_HOPPER, "cu128": TURING_ON},
    }
    offers = offers_of(target, lists)
    selection = choose(offers, target)
    assert torch_of(selection) == "2.7.1+cu118"
    assert len(offers.inspected) == 5
    details = [one.detail for one in selection.rejected if one.reason == "gpu-architecture"]
    assert sum("4 wheels that were read agreed" in detail for detail in details) == len(details) - 4


def test_a_list_beats_the_table_in_both_directions() -> None:
    target = gpu((7, 0))
    # The table says that 2.11.0+cu128 has no code for Volta, and that 2.14.1+cu126 has; with these it is otherwise.
    lists: Lists = {
        "2.14.1": {"cu126": TURING_ON},
        "2.11.0": {"cu128": ("sm_70", *TURING_ON)},
    }
    offers = offers_of(target, lists)
    assert torch_of(choose(offers, target)) == "2.11.0+cu128"


def test_what_cannot_be_read_is_judged_by_the_table_and_says_so() -> None:
    target = gpu((6, 1), driver="580.95.05")
    selection = choose(offers_of(target, readable=False), target)
    (choice,) = selection.choices
    assert torch_of(selection) == "2.14.1+cu126"
    assert choice.kernels is not None
    assert choice.kernels.source is EvidenceSource.TABLE
    assert "the table (gpu_arch.csv, certainty high; the wheel could not be read: it is in memory only)" in choice.why


def test_a_refusal_knows_without_reading_what_would_fit() -> None:
    target = gpu((6, 1))
    offers = offers_of(target)
    with pytest.raises(UnsatisfiableError) as caught:
        choose(offers, target, "torch==2.15.0")
    assert len(offers.inspected) <= 2
    assert "compute capability 6.1" in str(caught.value.facts)


def test_a_forced_backend_is_a_warning_by_the_wheels_own_list() -> None:
    target = gpu((6, 1))
    selection = choose(offers_of(target), target, backend="cu130")
    assert torch_of(selection) == "2.15.0+cu130"
    assert any("was forced, but has no kernels for compute capability 6.1" in text for text in selection.warnings)
    (choice,) = selection.choices
    assert "sm_" not in choice.why


def test_a_device_of_unknown_kind_is_said() -> None:
    target = machine(accelerator=replace(nvidia("595.71.05"), devices=(Device(name="NVIDIA Future 9000"),)))
    warnings = choose(offers_of(target), target).warnings
    assert any("NVIDIA Future 9000" in text and "--compute-capability" in text for text in warnings)


OLD_SYSTEMS = [
    ("manylinux_2_17_x86_64", (2, 17), True),  # CentOS 7 has exactly what it needs
    ("manylinux_2_17_x86_64", (2, 27), False),
    ("manylinux_2_26_x86_64", (2, 27), False),
    ("manylinux_2_27_x86_64", (2, 27), True),
    ("manylinux_2_35_x86_64", (2, 28), True),
    ("musllinux_1_2_x86_64", (2, 17), False),
]


@pytest.mark.parametrize("tag", ["linux_x86_64", "manylinux1_x86_64"])
@pytest.mark.parametrize(("platform", "need", "runs"), OLD_SYSTEMS)
def test_a_tag_that_promises_nothing_is_measured(tag: str, platform: str, need: tuple[int, int], *, runs: bool) -> None:
    target = machine(platform)
    index = MemoryIndex()
    index.add(f"cpu/torch-2.4.0+cpu-cp310-cp310-{tag}.whl", inspection=Inspection(glibc=need))
    offers = index.offers_for(target)
    if runs:
        assert torch_of(choose(offers, target)) == "2.4.0+cpu"
    else:
        with pytest.raises(UnsatisfiableError) as caught:
            choose(offers, target)
        if not (platform.startswith("musl") and tag.startswith("manylinux")):  # there the tag itself does not fit
            assert any("glibc" in fact for fact in caught.value.facts)
    # Where the C library is new enough for all that was ever built so, or no glibc at all, nothing needs to be read.
    assert bool(offers.inspected) is (
        platform in {"manylinux_2_17_x86_64", "manylinux_2_26_x86_64", "manylinux_2_27_x86_64"}
    )


def test_an_older_build_serves_an_old_system() -> None:
    target = machine("manylinux_2_17_x86_64")
    index = MemoryIndex()
    index.add("cpu/torch-2.6.0+cpu-cp310-cp310-linux_x86_64.whl", inspection=Inspection(glibc=(2, 28)))
    index.add("cpu/torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", inspection=Inspection(glibc=(2, 17)))
    selection = choose(index.offers_for(target), target)
    assert torch_of(selection) == "2.4.0+cpu"
    assert selection.choices[0].why.endswith("needs glibc 2.17 (measured in the wheel), which its tag does not say")
    (lost,) = [one for one in selection.rejected if one.reason == "glibc"]
    assert lost.detail == "needs glibc 2.28 (measured in the wheel), whatever its tag says; the target has glibc 2.17"


@pytest.mark.parametrize(
    ("path", "platform", "need"),
    [
        ("cpu/torch-2.6.0+cpu-cp310-cp310-linux_x86_64.whl", "manylinux_2_12_x86_64", "2.17"),
        ("xpu/torch-2.6.0+xpu-cp310-cp310-linux_x86_64.whl", "manylinux_2_17_x86_64", "2.28"),
        ("cpu/torch-9.9.0+cpu-cp310-cp310-linux_x86_64.whl", "manylinux_2_12_x86_64", None),
    ],
)
def test_where_a_wheel_cannot_be_read_the_table_serves(path: str, platform: str, need: str | None) -> None:
    target = machine(platform)
    index = MemoryIndex()
    index.add(path)
    offer = index.offers_for(target)
    (candidate,) = offer.offer(canonicalize_name("torch"), [parse_backend("cpu"), parse_backend("xpu")]).candidates
    lost = BuildJudge(target, offer, forced=False).judge(candidate)
    if need is None:
        assert lost is None
    else:
        assert lost is not None
        assert lost.detail.startswith(f"needs glibc {need} (by the table glibc_need.csv, certainty ")


def test_a_need_that_nobody_knows_is_said() -> None:
    index = MemoryIndex()
    index.add("cpu/torch-9.9.0+cpu-cp310-cp310-linux_x86_64.whl")
    target = machine("manylinux_2_17_x86_64")
    told = choose(index.offers_for(target), target).warnings
    assert any("which glibc torch-9.9.0+cpu-cp310-cp310-linux_x86_64.whl needs is not known" in text for text in told)
    target = machine("manylinux_2_28_x86_64")
    assert not any("glibc" in text for text in choose(index.offers_for(target), target).warnings)


# No toolkit compiles for chips that it does not know yet, or not any more.
ALWAYS = {"sm_75", "sm_80", "sm_90", "sm_90a"}
COMPILABLE = {
    "cu118": ALWAYS | {"sm_60", "sm_70"},
    "cu124": ALWAYS | {"sm_60", "sm_70"},
    "cu128": ALWAYS | {"sm_60", "sm_70", "sm_120"},
    "cu130": ALWAYS | {"sm_120"},
    "cu132": ALWAYS | {"sm_120"},
}
RUNS_ON = {
    (6, 1): {"sm_60"},
    (7, 0): {"sm_70"},
    (7, 5): {"sm_70", "sm_75"},
    (8, 9): {"sm_80"},
    (9, 0): {"sm_90", "sm_90a"},
    (12, 0): {"sm_120"},
}
NATIVE = {"550.54.14": {"cu118", "cu124"}, "580.95.05": {"cu118", "cu124", "cu128", "cu130"}}
POSSIBLE = {"550.54.14": {"cu118", "cu124", "cu128"}, "580.95.05": {"cu118", "cu124", "cu128", "cu130", "cu132"}}


@given(data=st.data())
def test_the_search_finds_what_trying_everything_finds(data: st.DataObject) -> None:
    """Releases that no table knows, with any lists: the newest that serves all, then native, then the highest."""
    driver = data.draw(st.sampled_from(sorted(NATIVE)))
    known = [one for one in sorted(RUNS_ON) if driver != "550.54.14" or one != (12, 0)]  # Blackwell came with R570
    capabilities = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=2))
    lists: Lists = {
        version: data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    backend: st.lists(st.sampled_from(sorted(can_have)), unique=True).map(tuple)
                    for backend, can_have in COMPILABLE.items()
                },
            )
        )
        for version in ("90.0", "90.1", "91.0")
    }
    expected = max(
        (
            (version, backend in NATIVE[driver], backend)
            for version, backends in lists.items()
            for backend, has in backends.items()
            if backend in POSSIBLE[driver] and all(RUNS_ON[one] & set(has) for one in capabilities)
        ),
        default=None,
    )
    target = gpu(*capabilities, driver=driver)
    offers = offers_of(target, lists)
    backends = [parse_backend(text) for text in ("cpu", "cu118", "cu124", "cu128", "cu130", "cu132")]
    request = Request(requirements=(Requirement("torch"),))
    if expected is None:
        with pytest.raises(UnsatisfiableError):
            select(request, target, offers, backends)
    else:
        assert torch_of(select(request, target, offers, backends)) == f"{expected[0]}+{expected[2]}"
    assert len(offers.inspected) == len(set(offers.inspected))


def test_what_the_table_of_needs_refuses_is_read_a_few_times_only() -> None:
    target = machine("manylinux_2_12_x86_64")
    index = MemoryIndex()
    for minor in range(12):
        for patch in range(2):
            path = f"cpu/torch-1.{minor}.{patch}+cpu-cp310-cp310-linux_x86_64.whl"
            index.add(path, inspection=Inspection(glibc=(2, 17)))
    offers = index.offers_for(target)
    with pytest.raises(UnsatisfiableError):
        choose(offers, target)
    assert len(offers.inspected) == READINGS_BEFORE_TRUST
    # A wheel that needs less than the table has is still found, and the table is doubted again.
    index.add("cpu/torch-1.13.0+cpu-cp310-cp310-linux_x86_64.whl", inspection=Inspection(glibc=(2, 12)))
    assert torch_of(choose(index.offers_for(target), target)) == "1.13.0+cpu"
