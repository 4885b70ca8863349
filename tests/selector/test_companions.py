"""Versions that belong together: METADATA first, the table of companions where METADATA names no torch."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.companions import find_torch_need, read_torch_releases
from pytorch_offline.selector.model import DirectWheel, Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import is_backend, parse_backend
from tests.selector.machines import machine, nvidia
from tests.selector.memory import MemoryIndex
from tests.selector.questions import why, why_not

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.knowledge.companions import TorchRelease
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

CPU_ONLY = machine("manylinux_2_35_x86_64", "3.10.12", Accelerator(kind=AcceleratorKind.NONE))
BACKENDS = (parse_backend("cpu"),)


@pytest.fixture
def index() -> MemoryIndex:
    """A page of upstream's cpu directory, with the METADATA that these projects really have."""
    index = MemoryIndex()
    for torch in ("2.7.1", "2.8.0", "2.9.1", "2.10.0", "2.12.1", "2.15.0"):
        index.add(f"cpu/torch-{torch}+cpu-cp310-cp310-manylinux_2_28_x86_64.whl")
    for codec in ("0.5", "0.7.0", "0.9.1", "0.10.0", "0.17.0"):
        index.add(f"cpu/torchcodec-{codec}+cpu-cp310-cp310-manylinux_2_28_x86_64.whl")
    for ao in ("0.12.0", "0.14.0", "0.15.0", "0.16.0", "0.18.0"):
        index.add(f"cpu/torchao-{ao}+cpu-cp310-abi3-manylinux_2_28_x86_64.whl")
    for audio, requires in {"2.7.1": ["torch==2.7.1"], "2.9.1": ["torch==2.9.1"], "2.11.0": []}.items():
        index.add(f"cpu/torchaudio-{audio}+cpu-cp310-cp310-manylinux_2_28_x86_64.whl", requires)
    index.add("accelerate-1.0.0-py3-none-any.whl", ["torch<2.9"], default_index=True)
    return index


def chosen(index: MemoryIndex, *requirements: str, target: Target = CPU_ONLY, **options: object) -> Selection:
    request = Request(requirements=tuple(map(Requirement, requirements)), **options)  # type: ignore[arg-type]
    return select(request, target, index.offers_for(target), BACKENDS)


def versions(selection: Selection) -> dict[str, str]:
    return {choice.candidate.project: choice.candidate.version.public for choice in selection.choices}


def test_without_dependencies_what_is_named_still_belongs_together(index: MemoryIndex) -> None:
    selection = chosen(index, "torch==2.9.1", "torchaudio", no_deps=True)
    assert versions(selection) == {"torch": "2.9.1", "torchaudio": "2.9.1"}


def test_the_newest_belong_together(index: MemoryIndex) -> None:
    selection = chosen(index, "torch", "torchcodec", "torchao", "torchaudio")
    assert versions(selection) == {
        "torch": "2.15.0",
        "torchcodec": "0.17.0",
        "torchao": "0.18.0",
        "torchaudio": "2.11.0",  # stable ABI: serves every torch from 2.11 on
    }
    assert not selection.warnings


@pytest.mark.parametrize(
    ("torch", "codec", "ao"),
    [
        ("2.7.1", "0.5", "0.12.0"),
        ("2.8.0", "0.7.0", "0.14.0"),
        ("2.9.1", "0.9.1", "0.15.0"),
        ("2.10.0", "0.10.0", "0.16.0"),
    ],
)
def test_an_old_torch_gets_the_companions_of_its_time(index: MemoryIndex, torch: str, codec: str, ao: str) -> None:
    selection = chosen(index, f"torch=={torch}", "torchcodec", "torchao")
    assert versions(selection) == {"torch": torch, "torchcodec": codec, "torchao": ao}


def test_a_companion_that_is_pinned_decides_which_torch(index: MemoryIndex) -> None:
    assert versions(chosen(index, "torch", "torchcodec==0.7.0")) == {"torch": "2.8.0", "torchcodec": "0.7.0"}


def test_the_table_brings_no_torch_into_a_closure(index: MemoryIndex) -> None:
    assert versions(chosen(index, "torchcodec", "torchao")) == {"torchcodec": "0.17.0", "torchao": "0.18.0"}


def test_the_table_binds_a_torch_that_another_project_brings(index: MemoryIndex) -> None:
    assert versions(chosen(index, "torchcodec", "accelerate")) == {
        "torch": "2.8.0",
        "torchcodec": "0.7.0",
        "accelerate": "1.0.0",
    }


def test_metadata_beats_the_table(index: MemoryIndex) -> None:
    index.add("cpu/torchao-0.15.0+cpu-1-cp310-abi3-manylinux_2_28_x86_64.whl", ["torch>=2.7"])  # the table says 2.9.1
    assert versions(chosen(index, "torch==2.7.1", "torchao>=0.15"))["torchao"] == "0.15.0"


def test_an_implied_requirement_is_told_as_coming_from_the_table(index: MemoryIndex) -> None:
    selection = chosen(index, "torch", "torchcodec==0.7.0")
    said = why(index, selection, "torch", BACKENDS)
    assert "torchcodec 0.7.0+cpu requires torch<2.9,>=2.8 (by the table of companions: compatibility table" in said
    said = why_not(index, selection, "2.9.1", BACKENDS)
    assert "was built for torch<2.9,>=2.8, by the table of companions" in said
    assert "[companion]" in said


def test_a_companion_that_lost_by_the_table_is_told(index: MemoryIndex) -> None:
    selection = chosen(index, "torch==2.8.0", "torchcodec")
    lost = next(one for one in selection.rejected if one.file is not None and "torchcodec-0.9.1" in str(one.file.name))
    assert lost.reason == "companion"
    assert lost.detail == (
        "torchcodec 0.9.1+cpu was built for torch<2.10,>=2.9, by the table of companions; torch 2.8.0+cpu was chosen"
    )


def test_what_contradicts_only_the_table_names_it_and_the_way_out(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, "torch<2.9", "torchcodec==0.9.1")
    said = " ".join(map(str, caught.value.facts.values()))
    assert "torchcodec 0.9.1+cpu requires torch<2.10,>=2.9 (by the table of companions" in said
    assert "you asked for torch<2.9" in said
    assert "pin both to exact versions" in (caught.value.hint or "")


def test_who_pins_both_knows_better(index: MemoryIndex) -> None:
    selection = chosen(index, "torch==2.15.0", "torchcodec==0.9.1")
    assert versions(selection) == {"torch": "2.15.0", "torchcodec": "0.9.1"}
    (warning,) = selection.warnings
    assert warning == (
        "torchcodec 0.9.1+cpu was built for torch<2.10,>=2.9, by the table of companions; both were pinned, so it is "
        "taken with torch 2.15.0+cpu as asked"
    )


def test_pins_may_be_constraints(index: MemoryIndex) -> None:
    selection = chosen(index, "torch", "torchcodec==0.9.1", constraints=(Requirement("torch==2.15.0"),))
    assert versions(selection)["torch"] == "2.15.0"


def test_wheels_asked_for_by_address_are_as_exact_as_pins(index: MemoryIndex) -> None:
    wheels = [
        DirectWheel(name=file.name, url=file.link.url, path=file.link.path, where="command line")
        for file, _ in index.files.values()
        if file.name.filename.startswith(("torch-2.15.0", "torchcodec-0.9.1"))
    ]
    selection = chosen(index, "torch<2.15", "torchcodec<0.10", wheels=tuple(wheels))
    assert versions(selection) == {"torch": "2.12.1", "torchcodec": "0.9.1"}


def test_metadata_that_contradicts_is_a_conflict_even_between_pins(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError, match="contradict"):
        chosen(index, "torch==2.15.0", "torchaudio==2.9.1")


def test_nothing_is_guessed_about_a_companion_newer_than_the_table(index: MemoryIndex) -> None:
    index.add("cpu/torchcodec-9.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl")
    selection = chosen(index, "torch==2.7.1", "torchcodec")
    assert versions(selection)["torchcodec"] == "9.0"
    (warning,) = selection.warnings
    assert warning == (
        "nothing says which torch torchcodec 9.0+cpu belongs to: its METADATA names no version, and the table of "
        "companions does not know it"
    )


def test_a_torch_newer_than_the_table_takes_the_stable_abi(index: MemoryIndex) -> None:
    index.add("cpu/torch-2.99.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl")
    assert versions(chosen(index, "torch", "torchaudio")) == {"torch": "2.99.0", "torchaudio": "2.11.0"}


def test_a_pure_python_companion_is_no_last_resort(index: MemoryIndex) -> None:
    """torchvision 0.2.0 fits every Python and asks for any torch: pip falls back to it where nothing else is left."""
    index.add("torchvision-0.2.0-py2.py3-none-any.whl", ["torch"])
    index.add("cpu/torchvision-0.30.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl", ["torch==2.16.0"])
    with pytest.raises(UnsatisfiableError):
        chosen(index, "torch==2.15.0", "torchvision")


# Which build a companion is of, and triton under its many names.


def with_backend(index: MemoryIndex, backend: str, *requirements: str, python: str = "3.10.12") -> Selection:
    target = machine("manylinux_2_35_x86_64", python, nvidia("610.43"))
    request = Request(requirements=tuple(map(Requirement, requirements)), backend=parse_backend(backend))
    return select(request, target, index.offers_for(target), (parse_backend(backend),))


def test_a_stable_abi_companion_without_a_python_of_its_own_is_of_torchs_backend() -> None:
    index = MemoryIndex()
    for backend in ("cpu", "cu130", "cu132"):
        index.add(f"{backend}/torch-2.15.0+{backend}-cp312-cp312-manylinux_2_28_x86_64.whl")
        index.add(f"{backend}/torchvision-0.29.2+{backend}-py3-none-manylinux_2_28_x86_64.whl", ["torch>=2.14.0"])
    selection = with_backend(index, "cu130", "torch", "torchvision", python="3.12.1")
    assert {choice.candidate.version.local for choice in selection.choices} == {"cu130"}


def test_a_companion_without_a_label_in_a_backends_directory_is_of_that_backend() -> None:
    index = MemoryIndex()
    for backend in ("cpu", "cu90", "cu100"):
        index.add(f"{backend}/torch-1.1.0-cp36-cp36m-linux_x86_64.whl")
        index.add(f"{backend}/torchvision-0.3.0-cp36-cp36m-manylinux1_x86_64.whl", ["torch>=1.1.0"])
    selection = with_backend(index, "cu100", "torch", "torchvision", python="3.6.15")
    assert {choice.candidate.file.link.path.split("/")[2] for choice in selection.choices} == {"cu100"}


def test_a_companion_at_root_level_serves_any_backend() -> None:
    index = MemoryIndex()
    index.add("cu92/torch-1.4.0+cu92-cp36-cp36m-linux_x86_64.whl")
    index.add("torchaudio-0.4.0-cp36-cp36m-linux_x86_64.whl", ["torch==1.4.0"])
    assert versions(with_backend(index, "cu92", "torch", "torchaudio", python="3.6.15"))["torchaudio"] == "0.4.0"


@pytest.mark.parametrize(
    ("torch", "backend", "triton"),
    [
        ("2.0.1", "cu118", "triton==2.0.0"),
        ("2.1.0", "rocm5.6", "pytorch-triton-rocm==2.1.0"),
        ("2.9.1", "rocm6.4", "pytorch-triton-rocm==3.5.1"),
        ("2.10.0", "rocm7.1", "triton-rocm==3.6.0"),
        ("2.6.0", "xpu", "pytorch-triton-xpu==3.2.0"),
        ("2.13.0", "xpu", "triton-xpu==3.7.2"),
        ("2.14.1", "cu126", "triton~=3.8.0"),
    ],
)
def test_torch_names_its_own_triton(torch: str, backend: str, triton: str) -> None:
    index = MemoryIndex()
    index.add(f"{backend}/torch-{torch}+{backend}-cp310-cp310-linux_x86_64.whl", [triton])
    needed = Requirement(triton)
    (version,) = (one.version for one in needed.specifier)
    for project in (
        "triton",
        "pytorch-triton",
        "pytorch-triton-rocm",
        "triton-rocm",
        "pytorch-triton-xpu",
        "triton-xpu",
    ):
        for number in {version, "9.9.9"}:
            index.add(f"{project.replace('-', '_')}-{number}-cp310-cp310-linux_x86_64.whl")
    assert versions(with_backend(index, backend, "torch")) == {"torch": torch, needed.name: version}
    asked = with_backend(index, backend, "torch", "triton")
    collides = any("install the same module" in warning for warning in asked.warnings)
    assert collides == (needed.name != "triton")


# The tables themselves.


@pytest.mark.parametrize("release", read_torch_releases(), ids=lambda release: str(release.torch))
def test_the_two_tables_agree(release: TorchRelease) -> None:
    for project, text in release.companions.items():
        if text.startswith("any "):
            continue
        need = find_torch_need(project, Version(text))
        if need is None:
            assert release.torch == Version("1.8.2"), f"{project} {text} is in one table only"  # never on an index
        else:
            assert need.torch.contains(release.torch), f"{project} {text} is for torch{need.torch}"


# Every row, by the real selector, over the wheels that were recorded.

ASKED = ("torchvision", "torchaudio", "torchtext", "torchcodec", "torchao", "xformers")
# Rows without a wheel in the recording: before backends had directories of their own, the LTS channel, later releases.
UNRECORDED = {"0.2.0", "1.8.2", "2.14.0", "2.14.1", "2.15.0"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded wheel for x86_64 Linux; ``pythons`` are ``3.10`` and the like, empty for pure Python."""

    path: str
    backend: str
    project: str
    version: Version
    pythons: frozenset[str]
    requires: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether anything is known of its METADATA: without it, torchaudio 0.7.1 would belong to any torch."""
        need = find_torch_need(NormalizedName(self.project), self.version)
        return self.project == "torch" or bool(self.requires) or need is not None

    def serves(self, python: str, backend: str) -> bool:
        return self.backend in {backend, ROOT} and (not self.pythons or python in self.pythons)


ROOT = "(root)"


@pytest.fixture(scope="session")
def recorded(shared: Path) -> list[Recorded]:
    requires: dict[tuple[str, str], set[str]] = {}
    with (shared / "upstream" / "requires.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["kind"] != "uv.lock" and re.match(r"torch\b", row["requires_dist"]):  # uv leaves versions out
                requires.setdefault((row["project"], row["version"]), set()).add(row["requires_dist"])
    found: dict[str, Recorded] = {}
    with (shared / "upstream" / "wheels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            name, directory = row["filename"], row["variant"]
            if row["project"] not in {"torch", *ASKED} or not re.search(r"linux\w*x86_64\.whl$|-none-any\.whl$", name):
                continue
            if directory != ROOT and not is_backend(directory):
                continue
            name_parts = name.removesuffix(".whl").split("-")
            pythons = frozenset(f"{tag[0]}.{tag[1:]}" for tag in re.findall(r"cp(\d+)", name_parts[-3]))
            if name_parts[-2] == "abi3":
                (first,) = pythons
                pythons = frozenset(f"3.{minor}" for minor in range(int(first[2:]), 15))
            path = name if directory == ROOT else f"{directory}/{name}"
            key = (row["project"], row["version"])
            found[path] = Recorded(
                path, directory, row["project"], Version(row["version"]), pythons, tuple(requires.get(key, ()))
            )
    return list(found.values())


def place_of(release: TorchRelease, recorded: list[Recorded]) -> tuple[str, str, set[str]]:
    """Find the Python and the backend that have most of a row's wheels, and which companions those are."""
    places = {
        (python, wheel.backend)
        for wheel in recorded
        if wheel.project == "torch" and wheel.version.public == str(release.torch) and wheel.backend != ROOT
        for python in wheel.pythons
        if not python.startswith("2")
    }

    def there(place: tuple[str, str]) -> set[str]:
        return {
            wheel.project
            for wheel in recorded
            if wheel.serves(*place)
            and wheel.version.public == release.companions.get(NormalizedName(wheel.project))
            and wheel.project in ASKED
        }

    best = max(sorted(places), key=lambda place: (len(there(place)), place[1].startswith("cu"), place))
    return *best, there(best)


@pytest.mark.parametrize("release", read_torch_releases(), ids=lambda release: str(release.torch))
def test_a_row_of_the_table_comes_out_of_the_recorded_wheels(release: TorchRelease, recorded: list[Recorded]) -> None:
    if str(release.torch) in UNRECORDED:
        assert not any(one.project == "torch" and one.version.public == str(release.torch) for one in recorded)
        pytest.skip("no wheel of this release was recorded")
    python, backend, companions = place_of(release, recorded)
    index = MemoryIndex()
    for wheel in recorded:
        if wheel.serves(python, backend) and wheel.is_known:
            index.add(wheel.path, wheel.requires)
    target = machine("manylinux_2_35_x86_64", f"{python}.0", nvidia("610.43"))
    request = Request(
        requirements=tuple(map(Requirement, [f"torch=={release.torch}", *sorted(companions)])),
        backend=parse_backend(backend),
    )
    selection = select(request, target, index.offers_for(target), (parse_backend(backend),))
    expected = {project: release.companions[NormalizedName(project)] for project in companions}
    assert versions(selection) == {"torch": str(release.torch), **expected}, f"Python {python}, {backend}"
    assert {choice.candidate.backend for choice in selection.choices} <= {parse_backend(backend), None}


@pytest.mark.parametrize("torch", ["0.4.0", "0.4.1", "1.0.0", "1.0.1"])
def test_before_torch_1_1_it_is_the_pure_python_torchvision_at_root_level(torch: str, recorded: list[Recorded]) -> None:
    """Upstream lists torchvision 0.2.0 of these alone; 0.2.1 and 0.2.2 were only ever on the default index."""
    index = MemoryIndex()
    for wheel in recorded:
        if wheel.serves("3.6", "cu90") and wheel.is_known and wheel.project in {"torch", "torchvision"}:
            index.add(wheel.path, wheel.requires)
    target = machine("manylinux_2_35_x86_64", "3.6.15", nvidia("610.43"))
    request = Request(requirements=(Requirement(f"torch=={torch}"), Requirement("torchvision")))
    selection = select(request, target, index.offers_for(target), tuple(map(parse_backend, ["cu80", "cu90"])))
    assert versions(selection) == {"torch": torch, "torchvision": "0.2.0"}
