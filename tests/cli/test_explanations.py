"""``select`` asked why, why not, and what would work instead: in words on the terminal, as data with ``--json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MACHINE = ("--platform", "linux_x86_64", "--glibc", "2.35", "--python-version", "3.10", "--driver", "470.82.01")


@pytest.fixture(scope="module")
def indexes() -> Iterator[tuple[str, ...]]:
    with Simulator() as simulator:
        yield ("--upstream", simulator.url, "--default-index", simulator.default_index_url)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explanations")


@pytest.fixture
def said(indexes: tuple[str, ...], mirror: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said((*indexes, "--mirror", str(mirror)), capsys)


class Said:
    """Runs ``select`` and gives what it says."""

    def __init__(self, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        self._options = options
        self._capsys = capsys

    def text(self, *arguments: str, expect: int = 0) -> str:
        out, err = self._run(arguments, expect)
        return " ".join((out if expect == 0 else err).split())

    def document(self, *arguments: str, expect: int = 0) -> Any:  # noqa: ANN401  (JSON)
        out, _ = self._run((*arguments, "--json"), expect)
        return json.loads(out)

    def _run(self, arguments: tuple[str, ...], expect: int) -> tuple[str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["select", *arguments, *self._options])
        seen = self._capsys.readouterr()
        assert int(stop.value.code or 0) == expect, seen.err
        return seen.out, seen.err


def test_the_tree_ends_with_totals_and_reasons(said: Said) -> None:
    text = said.text("torch==2.4.0", *MACHINE)
    assert text.startswith("torch 2.4.0+cu118 (")
    assert "total: 21 wheels, " in text
    assert "why torch-2.4.0+cu118-cp310-cp310-linux_x86_64.whl: newest that satisfies ==2.4.0" in text
    assert "driver 470.82.01 runs cu118 by minor-version compatibility (floor 450.80.02)" in text
    assert "needs driver 525.60.13 or later; the target has driver 470.82.01" in text


def test_the_reasons_are_data_too(said: Said) -> None:
    document = said.document("torch==2.4.0", *MACHINE)
    assert document["reasons"][0] == "newest that satisfies ==2.4.0"
    assert any("needs driver 525.60.13 or later" in reason for reason in document["reasons"])
    assert document["why"] == document["why_not"] == []


def test_many_questions_at_once(said: Said) -> None:
    asked = (
        "--why",
        "filelock",
        "--why",
        "torch",
        "--why-not",
        "cu126",
        "--why-not",
        "torch 2.6.0",
        "--why-not",
        "numpy",
    )
    text = said.text("torch==2.4.0", *MACHINE, *asked)
    assert "torch==2.4.0 was asked for, torch 2.4.0+cu118 requires filelock" in text
    assert "cu126 was not chosen: cu126 needs driver 525.60.13 or later" in text
    assert "torch-2.6.0+cu118-cp310-cp310-linux_x86_64.whl: torch==2.4.0 was asked for [requirement]" in text
    assert "numpy is not in the closure" in text
    document = said.document("torch==2.4.0", *MACHINE, *asked)
    assert [one["project"] for one in document["why"]] == ["filelock", "torch"]
    assert [one["asked"] for one in document["why_not"]] == ["cu126", "torch 2.6.0", "numpy"]
    assert {one["reason"] for one in document["why_not"][1]["rejected"]} >= {"driver", "requirement", "wheel-tags"}


def test_what_works_instead_when_nothing_fits(said: Said) -> None:
    text = said.text("torch==2.9.1", *MACHINE, "--why-not", "cu126", expect=5)
    assert "cu126, cu128, cu129: has wheels of it that fit, but needs driver 525.60.13 or later" in text
    assert "--why-not cu126: - cu126 was not chosen" in text
    assert "- torch 2.7.1+cu118 runs here: ask for torch==2.7.1" in text
    assert "- driver 525.60.13 or later would admit torch 2.9.1+cu12" in text
    error = said.document("torch==2.9.1", *MACHINE, "--why-not", "cu126", expect=5)["error"]
    assert error["code"] == "no-wheel"
    assert error["why_not"][0]["asked"] == "cu126"
    assert {one["backend"] for one in error["rejected"]} == {"cu126", "cu128", "cu129", "cu130"}
    kinds = {one["kind"]: one for one in error["nearest"]}
    assert kinds["older"]["requirements"] == ["torch==2.7.1"]
    assert kinds["driver"]["result"]["torch"].startswith("2.9.1+cu12")
    # What is offered was tried; so does the command line, with the very words of the offer.
    for offer in error["nearest"]:
        flags = [*MACHINE, *offer["flags"]]
        document = said.document(*offer["requirements"], *flags)
        torch = next(file for file in document["files"] if file["project"] == "torch")
        assert torch["version"] == offer["result"]["torch"]


def test_offers_need_no_network(said: Said) -> None:
    online = said.document("torch==2.9.1", *MACHINE, expect=5)["error"]["nearest"]
    offline = said.document("torch==2.9.1", *MACHINE, "--offline", expect=5)["error"]["nearest"]
    assert [one["change"] for one in offline] == [one["change"] for one in online] != []


def test_a_question_that_means_nothing(said: Said) -> None:
    assert said.document("torch==2.4.0", *MACHINE, "--why-not", "torch>=2", expect=2)["error"]["code"] == "bad-question"
    assert said.document("torch==2.4.0", *MACHINE, "--why", "numpy", expect=2)["error"]["code"] == "not-in-closure"
