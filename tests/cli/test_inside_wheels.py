"""What wheels say of themselves decides, however the tables have it; and what was learnt serves without a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from pytorch_offline.simulator.faults import IgnoreRange
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TAIL = "cp310-cp310-manylinux_2_28_x86_64.whl"
TABLE = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
LINUX = ["--python-version", "3.10", "--platform", "linux_x86_64", "--glibc", "2.35"]


@pytest.fixture
def spec() -> Spec:
    spec = Spec()
    spec.add_wheel("cu130", f"torch-2.11.0+cu130-{TAIL}", requires=())
    spec.add_wheel("cu126", f"torch-2.10.0+cu126-{TAIL}", requires=())
    spec.add_wheel("cpu", f"torch-2.11.0+cpu-{TAIL}", requires=())
    return spec


@pytest.fixture
def upstream(spec: Spec) -> Iterator[Simulator]:
    with Simulator(spec) as simulator:
        yield simulator


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[list[str]], Any]:
    def select(arguments: list[str]) -> Any:  # noqa: ANN401  (JSON)
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--json", "--mirror", str(tmp_path)])
        said = capsys.readouterr()
        assert not stop.value.code, said
        return json.loads(said.out)

    return select


def arguments(upstream: Simulator, gpu: str, *more: str) -> list[str]:
    machine = [*LINUX, "--driver", "580.65.06", "--gpu", gpu]
    return ["select", "torch", *machine, "--upstream", upstream.url, "--no-default-index", *more]


def ranged(upstream: Simulator) -> int:
    return sum("range" in {name.lower() for name in request.headers} for request in upstream.requests)


def test_the_wheels_own_list_beats_the_table(upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any]) -> None:
    (file,) = run(arguments(upstream, "V100"))["files"]
    assert file["version"] == "2.10.0+cu126"  # as the table has it: CUDA 13 compiles nothing for Volta
    spec.add_wheel("cu130", f"torch-2.11.0+cu130-{TAIL}", requires=(), architectures=("sm_70", *TABLE), padding=1)
    (file,) = run(arguments(upstream, "V100"))["files"]
    assert file["version"] == "2.10.0+cu126"  # the page is fresh for ten minutes, as its server says
    (file,) = run(arguments(upstream, "V100", "--refresh"))["files"]
    assert file["version"] == "2.11.0+cu130"


def test_a_list_that_lacks_what_the_table_has(upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any]) -> None:
    spec.add_wheel("cu130", f"torch-2.11.0+cu130-{TAIL}", requires=(), architectures=("sm_90", "sm_100"))
    document = run(arguments(upstream, "RTX 4090"))
    assert [file["version"] for file in document["files"]] == ["2.10.0+cu126"]
    (lost,) = [one for one in document["rejected"] if one["filename"] == f"torch-2.11.0+cu130-{TAIL}"]
    assert lost["reason"] == "gpu-architecture"


def test_a_weak_label_is_measured(upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any]) -> None:
    tail = "cp310-cp310-linux_x86_64.whl"
    spec.add_wheel("cpu", f"torch-2.11.0+cpu-{tail}", requires=(), glibc=(2, 31))
    spec.add_wheel("cpu", f"torch-2.5.1+cpu-{tail}", requires=(), glibc=(2, 17))
    old = ["select", "torch", "--python-version", "3.10", "--platform", "linux_x86_64", "--glibc", "2.17"]
    indexes = ["--accelerator", "none", "--upstream", upstream.url, "--no-default-index"]
    document = run([*old, *indexes])
    assert [file["version"] for file in document["files"]] == ["2.5.1+cpu"]
    (lost,) = [one for one in document["rejected"] if one["filename"] == f"torch-2.11.0+cpu-{tail}"]
    assert lost["reason"] == "glibc"
    assert "2.31" in lost["detail"]


def test_where_nothing_can_be_read_the_table_serves(upstream: Simulator, run: Callable[[list[str]], Any]) -> None:
    upstream.faults.add("*.whl", IgnoreRange())
    document = run(arguments(upstream, "V100"))
    assert [file["version"] for file in document["files"]] == ["2.10.0+cu126"]


def test_what_was_learnt_serves_without_the_network(
    upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any]
) -> None:
    spec.add_wheel("cu130", f"torch-2.11.0+cu130-{TAIL}", requires=(), architectures=("sm_70", *TABLE))
    first = run(arguments(upstream, "V100"))
    upstream.requests.clear()
    again = run(arguments(upstream, "V100", "--offline"))
    assert not upstream.requests
    assert [file["version"] for file in again["files"]] == ["2.11.0+cu130"]
    assert again["files"] == first["files"]
    assert first["files"][0]["size"] > 0  # its page does not say it


def test_sizes_and_lists_are_asked_for_once(upstream: Simulator, run: Callable[[list[str]], Any]) -> None:
    run(arguments(upstream, "A100"))
    assert ranged(upstream) > 0
    upstream.requests.clear()
    run(arguments(upstream, "A100"))
    assert ranged(upstream) == 0


@pytest.mark.parametrize(("glibc", "version"), [("2.31", "2.98.0+cpu"), ("2.30", "2.11.0+cpu"), ("2.28", "2.11.0+cpu")])
def test_a_build_that_no_table_knows_is_measured_for_newer_systems_too(
    upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any], glibc: str, version: str
) -> None:
    spec.add_wheel("cpu", "torch-2.98.0+cpu-cp310-cp310-linux_x86_64.whl", requires=(), glibc=(2, 31))
    target = ["--python-version", "3.10", "--platform", "linux_x86_64", "--glibc", glibc, "--accelerator", "none"]
    document = run(["select", "torch", *target, "--upstream", upstream.url, "--no-default-index"])
    assert [file["version"] for file in document["files"]] == [version]


def test_a_wheel_read_for_its_kernels_tells_its_glibc_as_well(
    upstream: Simulator, spec: Spec, run: Callable[[list[str]], Any]
) -> None:
    tail = "cp310-cp310-linux_x86_64.whl"
    spec.add_wheel("cu124", f"torch-2.6.0+cu124-{tail}", requires=(), glibc=(2, 34))
    spec.add_wheel("cu124", f"torch-2.5.1+cu124-{tail}", requires=(), glibc=(2, 17))
    target = ["--python-version", "3.10", "--platform", "linux_x86_64", "--glibc", "2.31", "--driver", "550.54.14"]
    arguments = ["select", "torch<2.7", *target, "--gpu", "A100", "--upstream", upstream.url, "--no-default-index"]
    document = run(arguments)
    assert [file["version"] for file in document["files"]] == ["2.5.1+cu124"]
    (lost,) = [one for one in document["rejected"] if one["filename"] == f"torch-2.6.0+cu124-{tail}"]
    assert lost["reason"] == "glibc"
    assert "2.34" in lost["detail"]
