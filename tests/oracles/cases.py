"""The generated cases: what is asked, of which backend's page, for which machine."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from packaging.requirements import Requirement

from pytorch_offline.wheels.filename import parse_wheel_name
from tests.interpreters import MINORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from packaging.version import Version

_Case = TypeVar("_Case")

# What people ask for: alone, together, bounded, pinned, pinned to a pair, and what only the family's kin need.
REQUIREMENTS = (
    "torch",
    "torch torchvision",
    "torch torchvision torchaudio",
    "torch==1.13.1 torchvision",
    "torch==2.0.1",
    "torch==2.2.2 torchvision torchaudio",
    "torch==2.4.*",
    "torch==2.4.0 torchvision==0.19.0",
    "torch<2.1",
    "torch>=2.1,<2.4 torchvision",
    "torch~=2.5.0 torchaudio",
    "torch>=2.6 torchvision",
    "torch!=2.7.0,<2.8",
    "torchvision<0.19",
    "torchvision>=0.20 numpy<2",
    "torch==2.4.0 torchvision==0.20.0",
    "torchaudio",
    "triton",
    "numpy sympy",
    "pillow numpy<2",
)
BACKENDS = (
    "cpu",
    "cu92",
    "cu101",
    "cu102",
    "cu111",
    "cu113",
    "cu117",
    "cu118",
    "cu121",
    "cu124",
    "cu126",
    "cu128",
    "cu129",
    "cu130",
    "rocm5.6",
    "rocm6.1",
    "rocm6.3",
    "rocm6.4",
    "xpu",
)
# How many are drawn: so many that each platform, each interpreter and each backend has several dozen, and that they
# take about three minutes on two cores.
FOREIGN_CASES = 800
INTERPRETER_CASES = 200
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A machine under the name that uv gives it, and under ours."""

    uv: str
    ours: str


# uv's list (``--python-platform``) without those that torch was never built for. ``linux`` and ``macos`` are aliases.
PLATFORMS = (
    Platform(uv="x86_64-unknown-linux-gnu", ours="manylinux_2_28_x86_64"),
    Platform(uv="aarch64-unknown-linux-gnu", ours="manylinux_2_28_aarch64"),
    Platform(uv="x86_64-manylinux2014", ours="manylinux_2_17_x86_64"),
    Platform(uv="x86_64-manylinux_2_31", ours="manylinux_2_31_x86_64"),
    Platform(uv="x86_64-manylinux_2_40", ours="manylinux_2_40_x86_64"),
    Platform(uv="aarch64-manylinux_2_31", ours="manylinux_2_31_aarch64"),
    Platform(uv="x86_64-pc-windows-msvc", ours="win_amd64"),
    Platform(uv="aarch64-pc-windows-msvc", ours="win_arm64"),
    Platform(uv="aarch64-apple-darwin", ours="macosx_14_0_arm64"),
    Platform(uv="x86_64-apple-darwin", ours="macosx_14_0_x86_64"),
    Platform(uv="x86_64-unknown-linux-musl", ours="musllinux_1_2_x86_64"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCase:
    """One question to uv."""

    platform: Platform
    python: str
    backend: str
    asked: str

    def __str__(self) -> str:
        return f"{self.platform.ours}-py{self.python}-{self.backend}-{self.asked.replace(' ', '_')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterCase:
    """One question to an interpreter's own pip."""

    minor: str
    backend: str
    asked: str

    def __str__(self) -> str:
        return f"py{self.minor}-{self.backend}-{self.asked.replace(' ', '_')}"


def foreign_cases(files: Iterable[tuple[str, str]], count: int) -> list[ForeignCase]:
    """Draw ``count`` cases from all that can be made, always the same ones; of eight, seven where torch exists.

    ``files`` are the directories and names of all wheels.
    """
    made = [
        ForeignCase(platform=platform, python=python, backend=backend, asked=asked)
        for platform, python, backend, asked in itertools.product(PLATFORMS, PYTHONS, BACKENDS, REQUIREMENTS)
    ]
    built = _torch_versions(files)
    return _mostly_likely(
        made, count, lambda case: _may_have_an_answer(case.asked, built(case.backend, case.python, case.platform.ours))
    )


def interpreter_cases(files: Iterable[tuple[str, str]], platform: str, count: int) -> list[InterpreterCase]:
    """Draw ``count`` questions to the pips of the interpreters of a machine, as ``foreign_cases`` does."""
    made = [
        InterpreterCase(minor=minor, backend=backend, asked=asked)
        for minor, backend, asked in itertools.product(MINORS, BACKENDS, REQUIREMENTS)
    ]
    built = _torch_versions(files)
    return _mostly_likely(
        made, count, lambda case: _may_have_an_answer(case.asked, built(case.backend, case.minor, platform))
    )


def _mostly_likely(made: list[_Case], count: int, is_likely: Callable[[_Case], bool]) -> list[_Case]:
    likely = [case for case in made if is_likely(case)]
    doubtful = [case for case in made if not is_likely(case)]
    return sorted([*drawn(likely, count * 7 // 8), *drawn(doubtful, count - count * 7 // 8)], key=str)


def _torch_versions(files: Iterable[tuple[str, str]]) -> Callable[[str, str, str], set[Version]]:
    """Say which versions of torch exist for a backend, a Python and the architecture of a platform."""
    built: dict[tuple[str, str, str], set[Version]] = defaultdict(set)
    for directory, filename in files:
        if filename.startswith("torch-"):
            name = parse_wheel_name(filename)
            for tag in name.tags:
                built[directory, tag.interpreter, _architecture(tag.platform)].add(name.version)

    def find(backend: str, python: str, platform: str) -> set[Version]:
        return built.get((backend, "cp" + python.replace(".", ""), _architecture(platform)), set())

    return find


def _may_have_an_answer(asked: str, versions: Iterable[Version]) -> bool:
    """Whether one of the versions of torch is admitted by what is asked."""
    requirements = [Requirement(text) for text in asked.split()]
    bounds = [one.specifier for one in requirements if one.name == "torch"]
    return any(all(version in bound for bound in bounds) for version in versions)


def drawn(made: list[_Case], count: int) -> list[_Case]:
    """The first ``count`` in an order that a hash makes: spread evenly, and the same on every machine."""
    return sorted(made, key=lambda one: hashlib.sha256(str(one).encode()).digest())[:count]


def _architecture(platform: str) -> str:
    """What a platform tag runs on, whatever its version: ``linux x86_64``, ``win_amd64``, ``macosx arm64``."""
    system, _, rest = platform.partition("_")
    architecture = "_".join(rest.split("_")[-2:]) if rest.endswith("x86_64") else rest.rpartition("_")[2]
    if system.startswith("win"):
        return platform
    return f"{'linux' if 'linux' in system else system} {architecture}"
