from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.version import Version

from pytorch_offline.selector.model import Rejection, Source
from pytorch_offline.selector.rules.candidates import judge_file
from pytorch_offline.selector.rules.tag_fit import TagFit
from pytorch_offline.wheels.pip_tags import tags_taken_by
from tests.selector.machines import machine
from tests.selector.memory import MemoryIndex

LINUX = machine("manylinux_2_36_x86_64", "3.6.15")


@pytest.mark.parametrize(
    ("pip", "newest"),
    [
        ("18.1", "manylinux1_x86_64"),
        ("19.0", "manylinux2010_x86_64"),
        ("19.3.1", "manylinux2014_x86_64"),
        ("20.2.4", "manylinux2014_x86_64"),
        ("20.3", "manylinux_2_36_x86_64"),
    ],
)
def test_each_pip_takes_what_it_knows(pip: str, newest: str) -> None:
    platforms = [tag.platform for tag in tags_taken_by(Version(pip), LINUX.tags) if tag.abi == "cp36m"]
    assert platforms[:2] == ["linux_x86_64", newest]


def test_unknown_pip_restricts_nothing() -> None:
    assert tags_taken_by(None, LINUX.tags) == LINUX.tags


def test_a_wheel_that_only_a_newer_pip_takes_says_so() -> None:
    index = MemoryIndex()
    index.add("Pillow-8.4.0-cp36-cp36m-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", default_index=True)
    ((file, _),) = index.files.values()
    target = replace(LINUX, pip=Version("18.1"))
    verdict = judge_file(file, target, TagFit(target), source=Source.DEFAULT_INDEX, indexed_by_backend=True)
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "pip-too-old"
    assert "pip 19.3 does" in verdict.detail
