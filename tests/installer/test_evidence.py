from __future__ import annotations

import json
import os
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytorch_offline.bundle.format.model import BundleFile, Manifest
from pytorch_offline.bundle.reading.lasting_files import write_whole
from pytorch_offline.errors import IntegrityError, UnsatisfiableError
from pytorch_offline.installer.diagnosis import Diagnosis
from pytorch_offline.installer.evidence import (
    Evidence,
    Stopwatch,
    evidence_document,
    proof_error,
    render_evidence_json,
    utc_moment,
)
from pytorch_offline.installer.evidence_page import render_evidence_html, render_evidence_text, visible
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.machine_facts import MachineFacts
from pytorch_offline.installer.model import Destination, Finding, Plan, Request
from pytorch_offline.installer.outcome import outcome_document, render_findings, render_outcome
from pytorch_offline.installer.proving import leave_evidence
from pytorch_offline.installer.torch_report import TorchReport, TrialStep
from tests.installer.surveys import context, lock, locked, survey

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x07\n& \udcff"
CAUSE = Diagnosis("no-uvm", f"seen {HOSTILE}", "It means this.", "Do that.", "意思。", "做法。")
DEVICE = TrialStep("cuda:0", True, 1.5, {"name": "NVIDIA A100", "capability": "8.0"})  # noqa: FBT003


def evidence(prefix: str = "/env", **changes: Any) -> Evidence:  # noqa: ANN401
    wheel = locked("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl")
    files = (BundleFile(wheel.path, 7, "0" * 64),)
    manifest = Manifest("a" * 64, "mine", 3, None, "2026-01-02T03:04:05Z", (), (), files)
    plan = Plan(
        request=Request(places=("/media/usb",)),
        manifest=manifest,
        lock=lock(wheels=(wheel,)),
        chosen="",
        tolerated=(),
        destination=Destination("/env/bin/python", None, "--venv"),
        survey=survey(),
        install=(wheel,),
        keep=(),
        program=None,
        needed_bytes=0,
        findings=(),
    )
    imported = TrialStep("import", True, 1.0, {"version": "2.4.0+cpu"})  # noqa: FBT003
    steps = (imported, TrialStep("cpu product", True), DEVICE)  # noqa: FBT003
    one = Evidence(
        at=1767323045.9,
        installing=True,
        plan=plan,
        interpreter="/env/bin/python",
        prefix=prefix,
        hashed=(HashedWheel("torch", "2.4.0+cpu", "/env/lib", {"torch/a.py": "sha256=x"}, (), {}, 5),),
        kept=(),
        conflicts_judged=True,
        facts=MachineFacts(variables={"LD_LIBRARY_PATH": HOSTILE}),
        torch=TorchReport(steps, 0),
        findings=(),
        diagnoses=(),
        timings=(("torch", 2.5),),
    )
    return one._replace(**changes)


FAILED = evidence(findings=(Finding("torch", "cuda", HOSTILE, hint="do"),), diagnoses=(CAUSE,))


def test_the_document_says_what_was_asked_done_and_found() -> None:
    document = json.loads(render_evidence_json(evidence()))
    assert (document["format"], document["kind"], document["proven"]) == (1, "installation", True)
    assert document["at"] == "2026-01-02T03:04:05Z"
    assert document["bundle"]["counter"] == 3
    assert document["wheels"][0]["files"] == {"torch/a.py": "sha256=x"}
    assert document["wheels"][0]["sha256"] == "0" * 64
    assert document["checked"] == {
        "versions": 1,
        "files": 1,
        "bytes": 5,
        "conflicts": True,
        "torch": ["import", "cpu product", "cuda:0"],
    }
    assert document["seconds"] == {"torch": 2.5}
    assert "compatible_tags" not in document["machine"]


def test_any_text_can_be_written_and_nothing_of_it_is_obeyed() -> None:
    body = render_evidence_json(FAILED)
    assert body.isascii()
    assert json.loads(body)["findings"][0]["detail"].startswith("<script>")
    text = render_evidence_text(FAILED)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.encode("utf-8")
    page = render_evidence_html(FAILED)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.encode("utf-8")
    assert visible("a\nb\u202ec\x00") == "a b c"


class Balanced(HTMLParser):
    """Notes elements that are opened and closed, and addresses that are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.loads += [name for name, _ in attrs if name in {"src", "href", "srcset", "action"} or name[:2] == "on"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_in_both_languages() -> None:
    page = Balanced()
    page.feed(render_evidence_html(FAILED))
    page.close()
    assert (page.open, page.loads) == ([], [])
    for text in (render_evidence_html(FAILED), render_evidence_text(FAILED)):
        assert all(part in text for part in ("no-uvm", "Do that.", "做法。", "NOT PROVEN", "未通过验证", "NVIDIA A100"))


def test_a_failure_is_told_by_its_kind_with_the_cause() -> None:
    error = proof_error(FAILED, "/env/e.json")
    assert isinstance(error, UnsatisfiableError)
    assert (error.hint, error.facts["evidence"]) == ("Do that.", "/env/e.json")
    assert str(error.facts["cause no-uvm"]).startswith("It means this.")
    assert json.loads(json.dumps(error.data))["diagnosis"][0]["code"] == "no-uvm"
    by_bytes = evidence(findings=(Finding("files", "torch", "a"), Finding("files", "torch", "b")))
    assert isinstance(proof_error(by_bytes), IntegrityError)
    assert list(proof_error(by_bytes).facts) == ["files torch", "files torch (2)"]


def test_the_evidence_is_left_whole_and_a_failure_hides_no_success(tmp_path: Path) -> None:
    left = leave_evidence(evidence(str(tmp_path)), context())
    assert left == str(tmp_path / "share" / "pytorch-offline" / "evidence.json")
    failed = leave_evidence(FAILED._replace(prefix=str(tmp_path)), context())
    assert failed is not None
    names = sorted(path.name for path in Path(failed).parent.iterdir())
    assert names == [f"evidence{failed}.{kind}" for failed in ("-failed", "") for kind in ("html", "json", "txt")]
    assert json.loads(Path(left).read_text())["proven"] is True


def test_where_the_environment_is_gone_only_a_place_that_was_named_is_written(tmp_path: Path) -> None:
    gone = evidence(str(tmp_path / "gone"))
    assert leave_evidence(gone, context(), standing=False) is None
    assert list(tmp_path.iterdir()) == []
    asked = gone.plan._replace(request=gone.plan.request._replace(evidence=str(tmp_path / "told.json")))
    assert leave_evidence(gone._replace(plan=asked), context(), standing=False) == str(tmp_path / "told.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told.html", "told.json", "told.txt"]


def test_what_cannot_be_written_is_told_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "share").write_text("a file in the way")
    told: list[str] = []
    assert leave_evidence(evidence(str(tmp_path)), context()._replace(warn=told.append)) is None
    assert "could not be left" in told[0]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "evidence.json"
    write_whole(str(place), b"old")

    def full(number: int) -> None:
        assert number
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(str(place), b"new")
    assert (place.read_text(), [path.name for path in tmp_path.iterdir()]) == ("old", ["evidence.json"])


def test_what_is_summed_up() -> None:
    document = outcome_document(evidence(), "/env/e.json")
    assert ([row["project"] for row in document["installed"]], document["kept"]) == (["torch"], [])
    assert "wheels" not in document
    text = render_outcome(evidence(), "/env/e.json")
    assert "torch 2.4.0+cpu imports and computes on the CPU, NVIDIA A100" in text
    again = evidence(installing=False)
    assert [row["project"] for row in outcome_document(again, None)["kept"]] == ["torch"]
    assert "wheels of target" in render_outcome(again, None)
    assert render_findings(FAILED._replace(findings=()))[0].startswith("It means this. Do that. (seen: ")
    assert evidence_document(again)["kind"] == "proof"


def test_only_what_computed_is_said_to_have_computed() -> None:
    wrong = TrialStep("cpu product", True, error="ArithmeticError: a matrix product came out wrong")  # noqa: FBT003
    assert evidence().computed_on == ("the CPU", "NVIDIA A100")
    assert evidence(torch=TorchReport((wrong, DEVICE._replace(error="no")), 0)).computed_on == ()
    assert evidence(torch=None).computed_on == ()


def test_steps_are_measured() -> None:
    watch = Stopwatch(10.0)
    watch.lap("a", 12.5)
    watch.lap("b", 12.0)  # a clock that was set back
    assert watch.steps == [("a", 2.5), ("b", 0.0)]
    assert utc_moment(0) == "1970-01-01T00:00:00Z"
    assert utc_moment(time.time()).endswith("Z")
