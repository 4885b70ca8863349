from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pytorch_offline.installer.proof import judge_torch
from pytorch_offline.installer.torch_report import TorchReport, parse_records
from tests.installer.fake_torch import try_fake_torch, write_fake_torch
from tests.interpreters import interpreter

HERE = Path(sys.executable)
TWO = [("NVIDIA A100-SXM4-80GB", "8.0"), ("NVIDIA GeForce RTX 4090", "8.9")]


def failures(report: TorchReport, *, has_device: bool = True, backend: str = "cu121") -> list[tuple[str, str]]:
    findings = judge_torch(report, "2.4.0+cu121", backend, has_device=has_device, tolerated=False)
    return [(finding.subject, finding.detail) for finding in findings if finding.fails]


@pytest.mark.parametrize("python", ["3.6", "3.8", "3.13"])
def test_every_device_is_described_and_computes(python: str, tmp_path: Path) -> None:
    write_fake_torch(tmp_path, devices=TWO, architectures=["sm_80", "sm_90"])
    report = try_fake_torch(tmp_path, interpreter(python))
    assert (report.status, report.ended, report.version) == (0, "", "2.4.0+cu121")
    assert [step.facts["name"] for step in report.devices] == [name for name, _ in TWO]
    assert [step.facts["capability"] for step in report.devices] == ["8.0", "8.9"]
    assert report.devices[0].facts["computed"] == ["product", "linear", "convolution"]
    build = report.step("build")
    assert build is not None
    assert (build.facts["architectures"], build.facts["nccl"]) == (["sm_80", "sm_90"], "2.21.5")
    assert not failures(report)


def test_a_device_that_computes_wrongly_or_not_at_all_fails_alone(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, devices=TWO, wrong=["cuda:1"])
    assert [subject for subject, _ in failures(try_fake_torch(tmp_path, HERE))] == ["cuda:1"]
    no_image = "CUDA error: no kernel image is available for execution on the device"
    write_fake_torch(tmp_path, devices=TWO, at={"cuda:0": no_image})
    (failure,) = failures(try_fake_torch(tmp_path, HERE))
    assert failure == ("cuda:0", f"RuntimeError: {no_image}")


def test_why_no_device_is_there_is_asked(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, warnings=["CUDA initialization: too old"], init_error="The driver is too old")
    report = try_fake_torch(tmp_path, HERE)
    step = report.step("cuda")
    assert step is not None
    assert step.error == "RuntimeError: The driver is too old"
    assert step.warnings == ("UserWarning: CUDA initialization: too old",)
    assert failures(report) == [("cuda", "RuntimeError: The driver is too old")]
    assert not failures(report, has_device=False)  # an image for another machine


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        ("SIGSEGV", "was killed by SIGSEGV during 'cuda:0'"),
        ("SIGILL", "was killed by SIGILL during 'cuda:0'"),
        ("SIGKILL", "was killed by SIGKILL during 'cuda:0'"),
        ("exit", "ended with status 3 during 'cuda:0'"),
    ],
)
def test_how_and_where_a_process_died_is_known(told: str, ended: str, tmp_path: Path) -> None:
    write_fake_torch(tmp_path, devices=TWO[:1], at={"cuda:0": told})
    report = try_fake_torch(tmp_path, HERE)
    assert report.ended == ended
    assert report.version == "2.4.0+cu121"  # what was told before is not lost
    assert failures(report)[0] == ("process", f"the trial {ended}")
    if told.startswith("SIG"):
        assert "Fatal Python error: a crash" in report.tail


def test_a_hanging_driver_does_not_hang_the_installer(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, devices=TWO[:1], at={"cuda:0": "hang"})
    before = time.monotonic()
    report = try_fake_torch(tmp_path, HERE, seconds=3.0)
    assert time.monotonic() - before < 60
    assert report.timed_out
    assert "during 'cuda:0'" in report.ended


def test_what_cannot_be_imported_is_told(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, at={"import": "libgomp.so.1: cannot open shared object file: No such file or directory"})
    report = try_fake_torch(tmp_path, HERE, ["torchvision"])
    assert (report.status, report.version) == (1, None)
    assert [subject for subject, _ in failures(report)] == ["import"]


def test_a_companion_that_does_not_belong_to_torch_fails(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, "2.4.0+cpu")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    report = try_fake_torch(tmp_path, HERE, ["torchvision", "torchaudio"])
    told = dict(failures(report, backend="cpu"))
    assert told["torchvision"] == "RuntimeError: operator torchvision::nms does not exist"
    assert "No module named 'torchaudio'" in told["torchaudio"]


def test_another_build_than_the_lock_s_fails(tmp_path: Path) -> None:
    write_fake_torch(tmp_path, "2.4.0+cpu")
    told = dict(failures(try_fake_torch(tmp_path, HERE)))
    assert told == {
        "version": "torch.__version__ is 2.4.0+cpu, the lock says 2.4.0+cu121",
        "cuda": "the lock is for cuda, and this torch was not built for it",
    }


def test_an_interpreter_that_does_not_start_is_a_report_too(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library; exit 127\n")
    broken.chmod(0o755)
    report = try_fake_torch(tmp_path, broken)
    assert report.ended == "ended with status 127"
    assert report.tail == ("no such library",)


def test_records_of_any_shape_are_passed_over() -> None:
    lines = ["", "{", "[]", '{"end": "never begun"}', '{"begin": "a"}', '{"end": "a", "seconds": "x"}', '{"begin": 3}']
    assert [(step.name, step.finished) for step in parse_records(lines)] == [("a", False), ("3", False)]
