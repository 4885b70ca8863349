"""The far side's verdicts on drivers and devices against the selector's own, over a grid of machines and builds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from packaging.version import Version

from pytorch_offline.bundle.format.driver_facts import driver_facts_document, parse_driver_facts
from pytorch_offline.bundle.format.model import CudaNeed
from pytorch_offline.bundle.writing.driver_facts import make_driver_facts
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.accelerator_fit import (
    AcceleratorFit,
    chips_that_run_on,
    describe_unserved,
    dotted_numbers,
    judge_backend,
)
from pytorch_offline.knowledge.architectures import cubins_that_run_on, parse_compute_capability
from pytorch_offline.knowledge.cuda_driver import read_cuda_driver_table
from pytorch_offline.knowledge.gpus import read_gpus
from pytorch_offline.knowledge.table import read_table
from pytorch_offline.selector.model import EvidenceSource, KernelEvidence
from pytorch_offline.selector.rules.architectures import unserved_device
from pytorch_offline.selector.rules.drivers import CannotRun, verdict_for_forced
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device, Target
from pytorch_offline.wheels.backend import parse_backend

# The whole grid takes ten seconds and more; every machine of a stride that divides no side of it meets all of them.
STRIDE = 11
FACTS = make_driver_facts()
CUDAS = sorted(read_cuda_driver_table("Linux").toolkit)
DRIVERS = (
    *("367.48", "418.39", "440.33.01", "450.51.06", "450.80.02", "470.82.01", "510.47.03", "515.43.04", "525.60.11"),
    *("525.60.13", "525.147.05", "535.104.05", "545.23.08", "550.54.14", "560.35.05", "570.26", "575.57.08", "580"),
    *("580.65.06", "580.95.05", "590.48.01", "595.71.05", "610.43.02", "452.38", "528.33", "537.13", "999.1"),
)
USER_MODES = (None, "10.2", "11.0", "11.4", "11.8", "12.0", "12.2", "12.4", "12.6", "12.8", "13.0", "13.2", "14.0")
DEVICES = (
    (),
    (("NVIDIA A100-SXM4-80GB", "8.0"),),
    (("NVIDIA GeForce RTX 4090", "8.9"),),
    (("NVIDIA TITAN V", "7.0"), ("Tesla V100-SXM2-32GB", "7.0")),
    (("NVIDIA B200", "10.0"),),
    (("NVIDIA RTX A6000", "8.6"),),
    (("NVIDIA GeForce GTX 1080 Ti", "6.1"),),
    (("Jetson AGX Orin", "8.7"),),
    ((None, "12.0"),),
    ((None, "8.7"),),
)


def machine(driver: str | None, cuda: str | None, devices: tuple[tuple[str | None, str], ...]) -> dict[str, Any]:
    listed = [{"name": name, "compute_capability": capability} for name, capability in devices]
    return {"kind": "cuda", "driver": driver, "cuda": cuda, "devices": listed}


def target_with(accelerator: dict[str, Any], system: str = "Linux") -> Target:
    devices = tuple(
        Device(name=device["name"], compute_capability=parse_compute_capability(device["compute_capability"]))
        for device in accelerator["devices"]
    )
    driver, cuda = accelerator["driver"], accelerator["cuda"]
    return Target(
        name="far",
        marker_environment={"platform_system": "Linux", "platform_machine": "x86_64"},
        tags=(),
        accelerator=Accelerator(
            kind=AcceleratorKind.CUDA,
            driver=Version(driver) if driver else None,
            cuda=Version(cuda) if cuda else None,
            devices=devices,
            driver_system=system,
        ),
    )


def need_of(cuda: Version, capabilities: tuple[str, ...] = ()) -> CudaNeed:
    return CudaNeed(cuda=str(cuda), capabilities=capabilities)


def kind_of(fit: AcceleratorFit) -> tuple[bool, bool, bool]:
    return fit.runs, fit.native, fit.hinders


@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_verdicts_are_the_selectors(system: str) -> None:
    differ, seen = [], set()
    grid = itertools.product((None, *DRIVERS), USER_MODES, DEVICES)
    for driver, user_mode, devices in itertools.islice(grid, 0, None, STRIDE):
        accelerator = machine(driver, user_mode, devices)
        target = target_with(accelerator, system)
        for cuda in CUDAS[::2]:
            backend = parse_backend("cu" + str(cuda).replace(".", ""))
            assert backend is not None
            theirs = verdict_for_forced(target, backend)
            ours = judge_backend(str(backend), need_of(cuda), {**accelerator, "driver_system": system}, "Linux", FACTS)
            if any(capability == "8.7" for _, capability in devices) and ours.rule == "device":
                continue  # the selector says so of the wheel, below, and not of the driver
            refused = isinstance(theirs, CannotRun)
            expected = (not refused, not isinstance(theirs, CannotRun) and theirs.native, refused)
            seen.add(expected)
            if kind_of(ours) != expected:
                differ.append((driver, user_mode, devices, str(cuda), ours, theirs))
    assert not differ[:3]
    assert len(seen) == 3  # natively, by compatibility, not at all: the grid has them all


def test_every_product_is_of_the_selectors_class() -> None:
    """A GeForce or TITAN, by whatever name a tool gives it, is refused cuda-compat, and no other is."""
    differ = []
    for gpu in read_gpus():
        if gpu.product_class == "":
            continue
        for name in (gpu.name, f"NVIDIA {gpu.name}"):
            capability = "{}.{}".format(*gpu.compute_capability)
            accelerator = machine("535.104.05", "12.6", ((name, capability),))
            backend = parse_backend("cu126")
            assert backend is not None
            theirs = verdict_for_forced(target_with(accelerator), backend)
            ours = judge_backend("cu126", need_of(Version("12.6")), accelerator, "Linux", FACTS)
            same = isinstance(theirs, CannotRun) is not ours.runs and getattr(theirs, "native", False) is ours.native
            if not same and ours.rule != "device":
                differ.append((name, ours, theirs))
    assert not differ[:5]


def test_code_runs_where_the_table_says() -> None:
    known = {tuple(map(int, row["device_cc"].split("."))) for row in read_table("cc_runs")}
    chips = frozenset(known | {(13, 0), (13, 1), (8, 8)})
    for chip in chips:
        assert len(chip) == 2
        expected = cubins_that_run_on((chip[0], chip[1])) & known
        ours = chips_that_run_on((chip[0], chip[1]), frozenset((one[0], one[1]) for one in known))
        if chip in known:
            assert ours & known == expected, chip


LISTS = (
    ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"),
    ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"),
    ("sm_37", "sm_50", "sm_90a"),
    ("sm_80", "sm_100f"),
    ("sm_87",),
)


@pytest.mark.parametrize("listed", LISTS)
def test_devices_without_kernels_are_the_selectors(listed: tuple[str, ...]) -> None:
    backend = parse_backend("cu128")
    assert backend is not None
    evidence = KernelEvidence(architectures=listed, source=EvidenceSource.WHEEL, remark="")
    spelt = tuple(
        f"{one[3:].rstrip('af')[:-1]}.{one[3:].rstrip('af')[-1]}" + one[-1].strip("0123456789")
        for one in listed
        if one.startswith("sm_")
    )
    for row in read_table("cc_runs"):
        accelerator = machine("580.65.06", None, (("some GPU", row["device_cc"]),))
        theirs = unserved_device(evidence, backend, target_with(accelerator))
        ours = describe_unserved(need_of(Version("12.8"), spelt), accelerator)
        assert bool(theirs) is bool(ours), (row["device_cc"], theirs, ours)


def test_other_machines() -> None:
    need = need_of(Version("12.8"))
    nothing = judge_backend("cu128", need, {"kind": "none"}, "Linux", FACTS)
    assert (nothing.runs, nothing.hinders, nothing.rule) == (False, False, "accelerator")
    assert judge_backend("cu128", need, None, "Linux", FACTS).rule == "accelerator"
    assert judge_backend("cu128", need, {"kind": "rocm"}, "Linux", FACTS).detail.endswith("this machine has an AMD GPU")
    unused = judge_backend("cpu", None, machine("580.65.06", None, ()), "Linux", FACTS)
    assert unused.runs
    assert not unused.native
    assert unused.rank < judge_backend("cu128", need, machine("580.65.06", None, ()), "Linux", FACTS).rank
    assert judge_backend("rocm6.4", None, {"kind": "rocm", "devices": []}, "Linux", FACTS).native
    unknown = judge_backend("cu128", need, machine(None, None, ()), "Linux", FACTS)
    assert (unknown.rule, unknown.hinders) == ("driver", True)
    jetson: dict[str, Any] = {"kind": "cuda", "driver": None, "cuda": None, "devices": [], "l4t": "36.3"}
    assert judge_backend("cu128", need, jetson, "Linux", FACTS).rule == "device"


def test_without_the_tables_the_need_decides() -> None:
    need = CudaNeed(cuda="12.8", toolkit_driver="570.26", minor_floor="525.60.13")
    verdicts = [judge_backend("cu128", need, machine(driver, None, ()), "Linux", None) for driver in DRIVERS]
    expected = [judge_backend("cu128", need, machine(driver, None, ()), "Linux", FACTS) for driver in DRIVERS]
    assert [kind_of(one) for one in verdicts] == [kind_of(one) for one in expected]


def test_numbers() -> None:
    assert dotted_numbers("580") == dotted_numbers("580.0") == (580,)
    assert dotted_numbers("535.104.05") == (535, 104, 5)
    assert dotted_numbers(None) is dotted_numbers("N/A") is None


def test_the_tables_travel() -> None:
    assert parse_driver_facts(driver_facts_document(FACTS)) == FACTS
    document = driver_facts_document(FACTS)
    changed: tuple[Any, ...] = (
        {**document, "chips": [["9.0", "x", None]]},
        {**document, "compat": [["12.8"]]},
        {**document, "toolkits": {"Linux": [["12.8", "570 or so"]]}},
        {**document, "toolkits": {"Linux": [["12.8", "1" * 40]]}},
        {**document, "floors": None},
        {**document, "floors": {"Linux": []}},
        {**document, "chips": [["9.0", None, None]] * 2000},
        {**document, "exceptions": ["x" * 200]},
        {},
        [],
    )
    for bad in changed:
        with pytest.raises(IntegrityError, match="tables of drivers"):
            parse_driver_facts(bad)
