from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytorch_offline.installer.destination import Distribution
from pytorch_offline.installer.preflight import WheelContents, parse_record
from pytorch_offline.installer.proof import (
    EXPECTED_PRODUCT,
    TorchReport,
    judge_conflicts,
    judge_files,
    judge_torch,
    judge_versions,
    parse_torch_report,
)
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import CPU, parse_backend
from tests.installer.test_fitness import lock_of

TORCH = lock_of("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl")
GPU = Accelerator(kind=AcceleratorKind.CUDA, driver=Version("535.104.05"))


@pytest.mark.parametrize(
    ("installed", "agrees"),
    [("2.4.0+cpu", True), ("2.4.0", False), ("2.4.0+cu121", False), ("2.4", False), ("garbage", False), (None, False)],
)
def test_versions_agree_to_the_local_label(installed: str | None, agrees: bool) -> None:  # noqa: FBT001
    there = {} if installed is None else {"torch": Distribution(version=installed, path="p")}
    findings = judge_versions(TORCH.wheels, there)  # type: ignore[arg-type]
    assert (not findings) is agrees
    assert all(finding.fails for finding in findings)


def files(on_disk: dict[str, str], wheel: dict[str, str], problems: tuple[tuple[str, str], ...] = ()) -> list[str]:
    distribution = Distribution(version="1", path="p", record=on_disk, problems=problems)
    contents = WheelContents(record=wheel, installed_bytes=0)
    return [finding.detail for finding in judge_files("a", distribution, contents, kept=False)]  # type: ignore[arg-type]


def test_installed_files_are_the_wheel_s() -> None:
    assert not files({"a.py": "sha256=x", "../bin/a": "sha256=y"}, {"a.py": "sha256=x"})
    (detail,) = files({"a.py": "sha256=z"}, {"a.py": "sha256=x"})
    assert "the wheel has sha256=x" in detail
    (detail,) = files({}, {"a.py": "sha256=x"})
    assert "not in the installed RECORD" in detail
    (detail,) = files({}, {"a.py": "sha256=x"}, (("a.py", "RECORD says …"),))
    assert detail == "a.py: RECORD says …"


def test_many_bad_files_are_counted() -> None:
    (detail,) = files({}, {f"{number}.py": "sha256=x" for number in range(8)})
    assert detail.endswith("(and 3 more)")


def test_what_was_there_before_is_only_told() -> None:
    distribution = Distribution(version="1", path="p", record={"a.py": "sha256=z"})
    contents = WheelContents(record={"a.py": "sha256=x"}, installed_bytes=0)
    (finding,) = judge_files("a", distribution, contents, kept=True)  # type: ignore[arg-type]
    assert not finding.fails


def test_record_lists_what_is_installed_under_its_own_name() -> None:
    text = (
        "a.py,sha256=x=,1\n"
        '"b,c.py",sha256=y,1\n'
        "a-1.data/scripts/run,sha256=z,1\n"
        "a-1.dist-info/INSTALLER,sha256=i,1\n"
        "a-1.dist-info/METADATA,sha256=m,1\n"
        "a-1.dist-info/RECORD,,\n"
    )
    assert parse_record(text) == {"a.py": "sha256=x", "b,c.py": "sha256=y", "a-1.dist-info/METADATA": "sha256=m"}


def test_conflicts_that_were_there_before_do_not_fail() -> None:
    old, new = judge_conflicts(["x needs y"], ["x needs y", "torch needs z"])
    assert (old.fails, new.fails) == (False, True)


@given(st.text())
def test_whatever_torch_prints_is_no_crash(text: str) -> None:
    assert parse_torch_report(text) is None


def test_a_report_is_read_below_other_output() -> None:
    report = parse_torch_report("some warning\n" + json.dumps({"version": "2.4.0", "product": EXPECTED_PRODUCT}))
    assert report == TorchReport(version="2.4.0", product=EXPECTED_PRODUCT)


def verdict(said: str, locked: str, *, product: object = EXPECTED_PRODUCT) -> bool:
    return not judge_torch(
        TorchReport(version=said, product=product), Version(locked), CPU, None, driver_tolerated=False
    )


def test_torch_says_the_locked_version() -> None:
    assert verdict("2.4.0+cpu", "2.4.0+cpu")
    assert verdict("2.4.0+cu121", "2.4.0")  # the default index's build for Linux
    assert verdict("1.0.1.post2", "1.0.1.post2")
    assert not verdict("2.4.0", "2.4.0+cpu")
    assert not verdict("2.4.1", "2.4.0")
    assert not verdict("unknown", "2.4.0")


def test_torch_multiplies() -> None:
    assert not verdict("2.4.0", "2.4.0", product=[[7.0, 10.0], [15.0, 23.0]])


@pytest.mark.parametrize(
    ("report", "accelerator", "fails"),
    [
        ({"cuda": "12.1", "cuda_available": True, "cuda_product": EXPECTED_PRODUCT, "devices": ("A100",)}, GPU, []),
        ({"cuda": "12.1", "cuda_error": "RuntimeError: driver too old"}, GPU, [True]),
        ({"cuda": "12.1", "cuda_error": "RuntimeError: Found no NVIDIA driver"}, None, [False]),
        ({"cuda": "12.1", "cuda_available": True, "cuda_error": "no kernel image", "devices": ("B200",)}, GPU, [True]),
        ({}, GPU, [True]),
    ],
)
def test_cuda_must_work_where_there_is_a_driver(
    report: dict[str, object], accelerator: Accelerator | None, fails: list[bool]
) -> None:
    said = TorchReport(version="2.4.0+cu121", product=EXPECTED_PRODUCT, **report)  # type: ignore[arg-type]
    findings = judge_torch(said, Version("2.4.0+cu121"), parse_backend("cu121"), accelerator, driver_tolerated=False)
    assert [finding.fails for finding in findings] == fails
