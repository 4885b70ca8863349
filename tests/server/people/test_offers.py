from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from pytorch_offline.server.people.installs import Shelves, best_start, install_of, is_unknown_companion, torch_need
from pytorch_offline.server.people.offers import Question, offers_of
from pytorch_offline.wheels.metadata import parse_metadata
from tests.server.people.rows import HELD, companion, row, torch

OFFERS = offers_of(HELD)
SHELVES = Shelves(HELD)
COMBINATIONS = {tuple(offer.answer(question) for question in Question) for offer in OFFERS}


def chosen(**wanted: str) -> tuple[str, ...]:
    offer = OFFERS.choose({Question(name): answer for name, answer in wanted.items()})
    return tuple(offer.answer(question) for question in Question)


def requirements(**wanted: str) -> tuple[str, ...]:
    return install_of(OFFERS.choose({Question(name): answer for name, answer in wanted.items()}), SHELVES).requirements


def test_only_what_is_held_is_offered_newest_first() -> None:
    assert OFFERS.answers == {
        Question.TORCH: ("2.9.0", "2.4.0"),
        Question.SYSTEM: ("linux_x86_64", "win_amd64", "macosx_arm64"),
        Question.PYTHON: ("3.14", "3.13", "3.12", "3.10"),
        Question.BACKEND: ("cu130", "cu121", "cpu"),
    }


@given(
    wanted=st.fixed_dictionaries(
        {}, optional={question: st.sampled_from([*OFFERS.answers[question], "?"]) for question in Question}
    ),
    insisted=st.lists(st.sampled_from(list(Question)), unique=True),
)
def test_whatever_is_asked_a_held_combination_is_chosen_that_keeps_what_it_can(
    wanted: dict[Question, str], insisted: list[Question]
) -> None:
    offer = OFFERS.choose(wanted, insisted)
    assert tuple(offer.answer(question) for question in Question) in COMBINATIONS
    if insisted and wanted.get(insisted[0]) in OFFERS.answers[insisted[0]]:
        assert offer.answer(insisted[0]) == wanted[insisted[0]]
    if tuple(wanted.get(question) for question in Question) in COMBINATIONS:
        assert all(offer.answer(question) == answer for question, answer in wanted.items())


def test_each_answer_leads_to_an_offer_that_has_it() -> None:
    for offer, question in product(OFFERS, Question):
        for answer in OFFERS.answers[question]:
            assert OFFERS.instead(offer, question, answer).answer(question) == answer
        assert OFFERS.instead(offer, question, offer.answer(question)) is offer


def test_the_machines_facts_are_kept_before_wishes() -> None:
    assert chosen(system="win_amd64", torch="2.9.0", backend="cu121") == ("2.9.0", "win_amd64", "3.12", "cpu")
    assert chosen(python="3.10", torch="2.9.0") == ("2.4.0", "linux_x86_64", "3.10", "cu121")


def test_the_newest_torch_comes_first_with_the_python_that_has_all_companions() -> None:
    start = best_start(OFFERS, SHELVES)
    assert start is not None
    assert (start.torch, start.python, start.backend) == ("2.9.0", "3.13", "cu130")
    assert best_start(offers_of(()), SHELVES) is None


def test_companions_are_those_that_belong_and_are_held() -> None:
    assert requirements(python="3.13") == ("torch==2.9.0+cu130", "torchvision==0.24.0+cu130", "torchaudio==2.9.0+cu130")
    assert requirements(torch="2.4.0", system="linux_x86_64") == ("torch==2.4.0+cu121",)  # none for Python 3.12
    assert requirements(torch="2.4.0", python="3.10") == ("torch==2.4.0+cu121", "torchvision==0.19.0+cu121")
    windows = install_of(OFFERS.choose({Question.SYSTEM: "win_amd64"}), SHELVES)
    assert (windows.requirements, windows.missing) == (("torch==2.9.0+cpu",), ("torchvision", "torchaudio"))
    assert requirements(system="macosx_arm64") == ("torch==2.9.0",)


def test_nightly_builds_are_behind_stable_ones_and_keep_to_their_day() -> None:
    day, before = "20260314", "20260313"
    files = [
        row(f"whl/nightly/cu130/torch-2.12.0.dev{day}+cu130-cp312-cp312-manylinux_2_28_x86_64.whl"),
        row(f"whl/nightly/cu130/torchvision-0.26.0.dev{before}+cu130-cp312-cp312-manylinux_2_28_x86_64.whl"),
        torch("2.9.0", "cp312", "cu130"),
    ]
    offers = offers_of(files)
    assert offers.answers[Question.TORCH] == ("2.9.0", f"nightly/2.12.0.dev{day}")
    nightly = offers.choose({Question.TORCH: f"nightly/2.12.0.dev{day}"})
    assert install_of(nightly, Shelves(files)).requirements == (f"torch==2.12.0.dev{day}+cu130",)
    files.append(row(f"whl/nightly/cu130/torchvision-0.26.0.dev{day}+cu130-cp312-cp312-manylinux_2_28_x86_64.whl"))
    install = install_of(nightly, Shelves(files))
    assert install.requirements[1:] == (f"torchvision==0.26.0.dev{day}+cu130",)
    assert str(install.index) == "whl/nightly/cu130"


def test_beside_a_build_with_a_label_the_one_without_is_named_exactly() -> None:
    plain = row("whl/torch-2.9.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    labelled = torch("2.9.0", "cp312", "cu130")
    (offer,) = [one for one in offers_of([plain, labelled]) if one.file is plain]
    # The channel's own page lists the labelled one too, and == would take that.
    install = install_of(offer, Shelves([plain, labelled]))
    assert (install.requirements, str(install.index)) == (("torch===2.9.0",), "whl")
    assert install_of(offer, Shelves([plain])).requirements == ("torch==2.9.0",)


def test_special_directories_are_answers_of_their_own() -> None:
    files = [torch("2.5.1", "cp311", "cu121"), row("whl/cu121_full/torch-2.5.1-cp311-cp311-linux_x86_64.whl")]
    offers = offers_of(files)
    assert offers.answers[Question.BACKEND] == ("cu121", "cu121_full")
    full = offers.choose({Question.BACKEND: "cu121_full"})
    assert str(install_of(full, Shelves(files)).index) == "whl/cu121_full"


def test_yanked_wheels_are_not_offered() -> None:
    assert not offers_of([row("whl/torch-2.9.0-cp312-cp312-win_amd64.whl", yanked="broken")])


@pytest.mark.parametrize(
    ("torch_python", "companion_python", "fits"),
    [("cp312", "cp39", True), ("cp39", "cp310", False), ("cp313t", "cp39", False)],
)
def test_a_companion_of_the_stable_abi_fits_newer_pythons(
    torch_python: str, companion_python: str, *, fits: bool
) -> None:
    abi = torch_python
    interpreter = torch_python.removesuffix("t")
    held = row(f"whl/cu130/torch-2.9.0+cu130-{interpreter}-{abi}-manylinux_2_28_x86_64.whl")
    stable = row(f"whl/cu130/torchaudio-2.9.0+cu130-{companion_python}-abi3-manylinux_2_28_x86_64.whl")
    (offer,) = offers_of([held])
    assert (len(install_of(offer, Shelves([held, stable])).requirements) == 2) is fits


def test_companions_of_other_backends_stay_away() -> None:
    held = torch("2.9.0", "cp312", "cu130")
    other = companion("torchvision", "0.24.0", "cp312", "cu126")
    (offer,) = offers_of([held, other])
    assert install_of(offer, Shelves([held, other])).missing == ("torchvision", "torchaudio")


def test_a_companion_that_the_tables_do_not_know_belongs_where_its_metadata_says() -> None:
    held = torch("9.9.0", "cp312", "cu130")
    new = companion("torchvision", "9.7.0", "cp312", "cu130")
    assert is_unknown_companion(new)
    assert not is_unknown_companion(companion("torchvision", "0.19.0", "cp312", "cu121"))
    assert not is_unknown_companion(held)
    (offer,) = offers_of([held])
    assert install_of(offer, Shelves([held, new])).missing == ("torchvision", "torchaudio")
    lines = (
        b"Metadata-Version: 2.1\nName: torchvision\nVersion: 9.7.0+cu130\nRequires-Dist: numpy\nRequires-Dist: torch"
    )
    need = torch_need(parse_metadata(lines + b"==9.9.0\n"))
    assert need is not None
    assert install_of(offer, Shelves([held, new], {new.path: need})).requirements[1] == "torchvision==9.7.0+cu130"
    assert install_of(offer, Shelves([held, new], {new.path: SpecifierSet("==9.8.0")})).missing[0] == "torchvision"
    assert torch_need(parse_metadata(lines + b"\n")) is None


def test_a_build_for_the_cpu_in_the_directory_of_a_cuda_is_one_for_the_cpu() -> None:
    stray = row("whl/cu111/torch-1.10.2+cpu-cp39-cp39-win_amd64.whl")
    files = [stray, row("whl/cu111/torch-1.10.2+cu111-cp39-cp39-win_amd64.whl")]
    offers = offers_of(files)
    assert offers.answers[Question.BACKEND] == ("cu111", "cpu")
    pins = {offer.backend: install_of(offer, Shelves(files)).requirements[0] for offer in offers}
    assert pins == {"cu111": "torch==1.10.2+cu111", "cpu": "torch==1.10.2+cpu"}
    vision = [
        row("whl/cu111/torchvision-0.11.3+cpu-cp39-cp39-win_amd64.whl"),
        row("whl/cu111/torchvision-0.11.3+cu111-cp39-cp39-win_amd64.whl"),
    ]
    cuda = offers.choose({Question.BACKEND: "cu111"})
    assert install_of(cuda, Shelves([*files, vision[0]])).missing[0] == "torchvision"
    assert install_of(cuda, Shelves([*files, *vision])).requirements[1] == "torchvision==0.11.3+cu111"


def test_special_builds_come_after_all_others_and_the_plain_one_before_them() -> None:
    files = [
        row("whl/cpu-cxx11-abi/torch-2.5.1+cpu.cxx11.abi-cp311-cp311-linux_x86_64.whl"),
        row("whl/torch-9.9.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        torch("2.5.1", "cp311", "cpu"),
    ]
    assert offers_of(files).answers[Question.BACKEND] == ("cpu", "default", "cpu-cxx11-abi")
