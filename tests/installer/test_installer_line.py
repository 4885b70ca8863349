from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag
from packaging.version import Version

from pytorch_offline.installer.installer_line import Pip, choose_pip, clean_environment, render_requirements
from tests.installer.test_fitness import lock_of

OWN = Pip(version=Version("18.1"), whose="the destination's", arguments=("-I", "-m", "pip"))
OURS = Pip(
    version=Version("26.3"), whose="this tool's", runner=("python", "-m", "pip"), requires_python=SpecifierSet(">=3.10")
)


@given(st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="=\0"), min_size=1), st.text()))
def test_nothing_that_steers_pip_uv_or_python_survives(environment: dict[str, str]) -> None:
    hostile = {"PIP_INDEX_URL": "x", "pip_find_links": "x", "UV_INDEX": "x", "PYTHONPATH": "x", "PYTHONHOME": "x"}
    clean = clean_environment({**environment, **hostile}, temporary=Path("t"))
    steering = {name for name in clean if name.upper().startswith(("PIP_", "UV_", "PYTHON"))}
    assert steering == {"PIP_CONFIG_FILE", "PYTHONNOUSERSITE", "PYTHONIOENCODING"}
    assert clean["PIP_CONFIG_FILE"] == os.devnull
    assert clean["TMPDIR"] == "t"


def test_the_rest_of_the_environment_stays() -> None:
    surroundings = {"PATH": "/bin", "LD_LIBRARY_PATH": "/opt/cuda/lib64", "CUDA_VISIBLE_DEVICES": "1"}
    assert surroundings.items() <= clean_environment(surroundings).items()


@pytest.mark.parametrize(
    ("tags", "python", "chosen"),
    [
        ("cp36-cp36m-linux_x86_64", "3.6.15", OWN),
        ("cp36-cp36m-manylinux1_x86_64", "3.6.15", OWN),
        ("py3-none-any", "3.6.15", OWN),
        ("cp36-cp36m-manylinux_2_17_x86_64.manylinux1_x86_64", "3.6.15", OWN),
        ("cp36-cp36m-manylinux2014_x86_64", "3.6.15", None),
        ("cp310-cp310-manylinux_2_28_x86_64", "3.10.12", OURS),
    ],
)
def test_a_pip_that_cannot_read_a_wheel_s_tags_is_passed_over(tags: str, python: str, chosen: Pip | None) -> None:
    pip, refused = choose_pip([OWN, OURS], Version(python), [parse_tag(tags), parse_tag("py3-none-any")])
    assert pip == chosen
    assert bool(refused) is (chosen is not OWN)
    assert all("18.1" in reason or "26.3" in reason for reason in refused)


def test_a_pip_is_run_by_the_destination_or_for_it() -> None:
    assert OWN.command("/e/python") == ("/e/python", "-I", "-m", "pip")
    assert OURS.command("/e/python") == ("python", "-m", "pip", "--python", "/e/python")


def test_requirements_pin_version_and_hash() -> None:
    lock = lock_of("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", "typing_extensions-4.1-py3-none-any.whl")
    assert render_requirements(lock.wheels) == (
        f"torch==2.4.0+cpu --hash=sha256:{'a' * 64}\ntyping-extensions==4.1 --hash=sha256:{'a' * 64}\n"
    )
