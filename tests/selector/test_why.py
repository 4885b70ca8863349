"""Why and why not: an answer for anything that an index lists, and no rule named that did not fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.selector.explaining.render import (
    document_of_why,
    document_of_why_not,
    explained,
    render_tree,
    render_why,
    render_why_not,
)
from pytorch_offline.selector.explaining.why import explain_choice
from pytorch_offline.selector.explaining.why_not import WhyNots, parse_question
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex
from tests.selector.questions import asker, why, why_not

if TYPE_CHECKING:
    from pytorch_offline.selector.explaining.loss_reasons import LossReasons
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

BACKENDS = tuple(map(parse_backend, ["cpu", "cu118", "cu121", "cu124", "cu126", "rocm6.1"]))
TARGET = machine(accelerator=nvidia("470.82.01"))
TORCH = "torch-2.4.0+cu118-cp310-cp310-linux_x86_64.whl"


@pytest.fixture
def index() -> MemoryIndex:
    index = MemoryIndex()
    for version, backends in {
        "2.3.1": "cpu cu118 cu121",
        "2.4.0": "cpu cu118 cu121 cu124 rocm6.1",
        "2.6.0": "cpu cu118 cu124 cu126",
        "2.7.0": "cu126",
    }.items():
        for backend in backends.split():
            for tags in ("cp310-cp310-linux_x86_64", "cp310-cp310-win_amd64", "cp39-cp39-linux_x86_64"):
                requires = ["filelock", "triton==3.0.0; platform_system == 'Linux'", "optree; extra == 'optree'"]
                index.add(f"{backend}/torch-{version}+{backend}-{tags}.whl", requires, extras=["optree"])
    for vision, torch in {"0.18.1": "2.3.1", "0.19.0": "2.4.0", "0.21.0": "2.6.0"}.items():
        index.add(f"cu118/torchvision-{vision}+cu118-cp310-cp310-linux_x86_64.whl", [f"torch=={torch}"])
    index.add("triton-3.0.0-cp310-cp310-manylinux_2_17_x86_64.whl", ["filelock<4"])
    index.add("filelock-3.16.0-py3-none-any.whl", default_index=True)
    index.add("filelock-3.15.0-py3-none-any.whl", default_index=True)
    index.add("filelock-3.17.0-py3-none-any.whl", yanked="loses locks", default_index=True)
    index.add("filelock-3.18.0rc1-py3-none-any.whl", default_index=True)
    index.add("filelock-3.18.0-py3-none-any.whl", page_requires_python=">=3.11", default_index=True)
    index.add("filelock-4.0.0-py3-none-any.whl", default_index=True)
    index.add("setuptools-70.0-py3-none-any.whl", default_index=True)
    return index


def request(*requirements: str, **options: object) -> Request:
    return Request(requirements=tuple(map(Requirement, requirements)), **options)  # type: ignore[arg-type]


def chosen(index: MemoryIndex, asked: Request, target: Target = TARGET) -> Selection:
    return select(asked, target, index.offers_for(target), BACKENDS)


DRIVER = "driver 525.60.13 or later; the target has driver 470.82.01"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("cu126", f"cu126 was not chosen: cu126 needs {DRIVER}"),
        ("CU126", f"cu126 was not chosen: cu126 needs {DRIVER}"),
        ("cu118", f"cu118 was chosen: {TORCH}"),
        ("cu999", "no upstream has a backend cu999; there are cu118, cu121, cu124, cu126, rocm6.1, cpu"),
        ("rocm6.1", "rocm6.1 is for AMD GPUs; the target has an NVIDIA GPU"),
        ("cpu", "cpu would leave the target's GPU unused; --backend cpu chooses it all the same"),
        (TORCH, f"{TORCH} was chosen: {TORCH}"),
        ("2.4.0+cu118", f"2.4.0+cu118 was chosen: {TORCH}"),
        ("2.4.0+cu121", f"torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl: needs {DRIVER} [driver]"),
        ("torch==2.4.0+cu124", f"needs {DRIVER} [driver]"),
        ("torch 2.4.0", f"{TORCH} was chosen; of the other wheels of torch 2.4.0 none was: cu121, cu124: needs"),
        ("2.6.0", f"cu124, cu126: needs {DRIVER}; torch==2.4.0 was asked for [driver]"),
        ("2.6.0", "torch-2.6.0+cu118-cp310-cp310-linux_x86_64.whl: torch==2.4.0 was asked for [requirement]"),
        ("torch 2.3.1", "torch-2.3.1+cu118-cp310-cp310-linux_x86_64.whl: torch==2.4.0 was asked for [requirement]"),
        ("2.4.0+cu126", "no index lists torch 2.4.0+cu126; 2.4.0 is there for cpu, cu118, cu121, cu124, rocm6.1"),
        ("2.5.0", "no index lists torch 2.5.0; next to it are 2.4.0 and 2.6.0"),
        ("torch==99", "no index lists torch 99; next to it is 2.7.0"),
        ("torch-2.4.0+cu118-cp39-cp39-linux_x86_64.whl", "built for Python 3.9; the target has Python 3.10"),
        ("torch-2.4.0+cu118-cp310-cp310-win_amd64.whl", "built for Windows AMD64; the target is Linux x86_64"),
        ("torch-2.4.0+cu118-cp312-cp312-linux_x86_64.whl", "torch 2.4.0+cu118 has other wheels"),
        ("torchvision", "torchvision is not in the closure: nothing in the closure requires it"),
        ("torchvision 0.19.0", "was not chosen (the closure has no torchvision)"),
        ("optree", 'torch 2.4.0+cu118 requires optree; extra == "optree", which does not hold here'),
        ("nosuchthing", "no index has a project called nosuchthing"),
        ("nosuchthing==1.0", "no index has a project called nosuchthing"),
        ("setuptools==70.0", "was not chosen (the closure has no setuptools)"),
        ("filelock==3.15.0", "3.16.0 is newer, and fits as well [older]"),
        ("filelock==3.17.0", "yanked by its publisher: loses locks [yanked]"),
        ("filelock==3.18.0rc1", "a pre-release, which was not asked for (--pre) [pre-release]"),
        ("filelock==3.18.0", "needs Python >=3.11; the target has 3.10.12 [requires-python]"),
        ("filelock 4.0.0", "triton 3.0.0 requires filelock<4 [requirement]"),
        ("3.15.0", "filelock-3.15.0-py3-none-any.whl: 3.16.0 is newer"),
        ("torch cu124", f"cu124 was not chosen: cu124 needs {DRIVER}"),
    ],
)  # fmt: skip
def test_why_not(index: MemoryIndex, what: str, expected: str) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    assert expected in why_not(index, selection, what, BACKENDS)


def test_what_would_do_is_put_to_the_resolver(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch", "torchvision"))
    assert {str(choice.candidate.version) for choice in selection.choices} >= {"2.6.0+cu118", "0.21.0+cu118"}
    said = why_not(index, selection, "torchvision==0.19.0", BACKENDS)
    assert "0.21.0+cu118 is newer, and fits as well [older]" in said
    pinned = chosen(index, request("torch==2.4.0", "torchvision"))
    assert "torch 2.4.0+cu118 was chosen [companion]" in why_not(index, pinned, "torchvision==0.21.0", BACKENDS)
    index.add("app-1.0-py3-none-any.whl", ["filelock"], default_index=True)
    index.add("app-2.0-py3-none-any.whl", ["filelock>=5"], default_index=True)
    app = chosen(index, request("app"))
    assert "no wheel of filelock >=5 fits" in why_not(index, app, "app 2.0", BACKENDS)


def test_a_build_that_would_run_lost_by_preference(index: MemoryIndex) -> None:
    target = machine(accelerator=nvidia("550.54.14"))
    selection = chosen(index, request("torch==2.4.0"), target)
    assert str(selection.backend) == "cu124"
    said = why_not(index, selection, "cu121", BACKENDS)
    assert "cu124 is preferred: driver 550.54.14 covers cu124" in said
    forced = chosen(index, request("torch==2.4.0", backend=parse_backend("cu118")), target)
    assert "--backend cu118 was asked for" in why_not(index, forced, "cu121", BACKENDS)
    assert "--backend cu118 was asked for" in why_not(index, forced, "2.4.0+cu121", BACKENDS)


def test_questions_that_mean_nothing() -> None:
    for text in ("", "torch>=2", "two words here", "torch-2.4.whl"):
        with pytest.raises(UsageError):
            parse_question(text)
    assert parse_question("torch@2.4.0").version == Version("2.4.0")
    assert parse_question("Torch_Vision").project == "torch-vision"


def test_why_tells_the_chain_the_version_and_the_file(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    said = why(index, selection, "filelock", BACKENDS)
    assert "torch==2.4.0 was asked for, torch 2.4.0+cu118 requires filelock" in said
    assert 'triton==3.0.0; platform_system == "Linux", triton 3.0.0 requires filelock<4' in said
    assert "this version: newest that satisfies <4" in said
    assert "newer, lost: 4.0.0: triton 3.0.0 requires filelock<4" in said
    assert "newer, lost: 3.18.0: needs Python >=3.11; the target has 3.10.12" in said
    assert "newer, lost: 3.17.0: yanked by its publisher: loses locks" in said
    assert "this file: the only wheel of this version that its index lists" in said
    torch = why(index, selection, "torch", BACKENDS)
    assert "newer, lost: 2.6.0, 2.7.0: torch==2.4.0 was asked for" in torch
    assert f"other wheels of it, lost for cu121, cu124: needs {DRIVER}" in torch
    with pytest.raises(UsageError, match="not in the closure"):
        why(index, selection, "torchvision", BACKENDS)


def questions(index: MemoryIndex, selection: Selection) -> LossReasons:
    return asker(index, selection.request, selection.target, BACKENDS, selection)


def test_answers_as_data(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    document = document_of_why(explain_choice(selection, "triton", questions(index, selection)))
    assert document["chains"] == [
        [
            {"parent": None, "requirement": "torch==2.4.0"},
            {"parent": "torch 2.4.0+cu118", "requirement": 'triton==3.0.0; platform_system == "Linux"'},
        ]
    ]
    answer = document_of_why_not(WhyNots(questions(index, selection)).answer("2.4.0+cu124"))
    reasons = {one["filename"]: one["reason"] for one in answer["rejected"]}
    assert reasons == {
        "torch-2.4.0+cu124-cp310-cp310-linux_x86_64.whl": "driver",
        "torch-2.4.0+cu124-cp310-cp310-win_amd64.whl": "wheel-tags",
        "torch-2.4.0+cu124-cp39-cp39-linux_x86_64.whl": "wheel-tags",
    }


def test_answers_where_nothing_could_be_chosen(index: MemoryIndex) -> None:
    asked = request("torch==2.7.0")
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, asked)
    asking = asker(index, asked, TARGET, BACKENDS, None)
    answers = [WhyNots(asking).answer(text) for text in ("cu126", "2.6.0+cu118", "torch==2.7.0", "filelock==3.15.0")]
    said = [" ".join(render_why_not(answer).split()) for answer in answers]
    assert f"cu126 needs {DRIVER}" in said[0]
    assert "torch-2.6.0+cu118-cp310-cp310-linux_x86_64.whl: torch==2.7.0 was asked for [requirement]" in said[1]
    assert f"torch-2.7.0+cu126-cp310-cp310-linux_x86_64.whl: needs {DRIVER} [driver]" in said[2]
    assert "no wheel of torch ==2.7.0 fits" in said[3]
    lost = asking.lost_by_backend(answers[0].rejected[0].project)
    told = explained(caught.value, (), lost_by_backend=lost, answers=answers)
    assert told.facts["cu126"] == f"has wheels of it that fit, but needs {DRIVER}"
    assert told.sections["--why-not cu126"][0].startswith("cu126 was not chosen")
    assert {"nearest", "rejected", "why_not"} <= set(told.data)


def test_no_line_is_wider_than_a_terminal_but_for_names(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    asked = questions(index, selection)
    texts = [
        render_tree(selection),
        render_why(explain_choice(selection, "filelock", asked)),
        *(render_why_not(WhyNots(asked).answer(what)) for what in ("2.6.0", "cu126", "2.4.0", "optree")),
    ]
    wide = [line for text in texts for line in text.splitlines() if len(line) > 80 and ".whl" not in line]
    assert not wide


def test_the_tree_says_what_newer_ones_lost_by(index: MemoryIndex) -> None:
    text = " ".join(render_tree(chosen(index, request("torch"))).split())
    assert "why torch-2.6.0+cu118-cp310-cp310-linux_x86_64.whl: newest that fits the target" in text
    assert f"lost: cu121, cu124, cu126: needs {DRIVER}" in text


def test_roots_that_no_backend_has_together(index: MemoryIndex) -> None:
    target = machine(accelerator=nvidia("550.54.14"))
    asked = asker(index, request("torch==2.7.0", "torchvision==0.19.0"), target, BACKENDS, None)
    one_sided = UnsatisfiableError("conflict", "…", facts={"1": "you asked for torchvision==0.19.0"})
    assert list(explained(one_sided, (), apart=asked.apart()).facts) == [
        "torch==2.7.0",
        "torchvision==0.19.0",
        "together",
    ]
    assert asked.apart() == {
        "torch==2.7.0": "has fitting wheels for cu126",
        "torchvision==0.19.0": "has fitting wheels for cu118",
        "together": "no backend has all of them",
    }
    assert asker(index, request("torch==2.4.0", "torchvision==0.19.0"), target, BACKENDS, None).apart() == {}
    assert asker(index, request("torch==2.7.0"), target, BACKENDS, None).apart() == {}


def test_there_is_an_answer_for_every_wheel(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    chosen_files = {choice.candidate.file.name.filename for choice in selection.choices}
    asked = WhyNots(questions(index, selection))
    for file, _ in index.files.values():
        answer = asked.answer(file.name.filename)
        if file.name.filename in chosen_files:
            assert "was chosen" in answer.answer
        else:
            (rejection,) = answer.rejected
            assert rejection.file == file
            assert rejection.reason
            assert rejection.detail


def test_a_trial_tells_what_stands_in_the_way_and_not_that_it_was_one(index: MemoryIndex) -> None:
    index.add("plugin-1.0-py3-none-any.whl", ["torch"], default_index=True)
    index.add("plugin-2.0-py3-none-any.whl", ["torch==2.6.0"], default_index=True)
    said = why(index, chosen(index, request("torch==2.4.0", "plugin")), "plugin", BACKENDS)
    assert "newer, lost: 2.0: you asked for torch==2.4.0; plugin 2.0 requires torch==2.6.0" in said, said


def test_a_hint_can_be_copied(index: MemoryIndex) -> None:
    selection = chosen(index, request("torch==2.4.0"))
    with pytest.raises(UsageError) as caught:
        explain_choice(selection, "torch 2.9", questions(index, selection))
    assert caught.value.hint == "--why-not 'torch 2.9' says why"
