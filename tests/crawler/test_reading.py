"""What a page lists is told apart by name, and read in full only where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from pytorch_offline.crawler.model import Link
from pytorch_offline.crawler.reading import ListedWheels
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = "https://h/torch/"
PROJECTS = st.sampled_from(["torch", "Torch_Vision", "numpy"])
VERSIONS = st.sampled_from(["1.0", "2.0+cu121", "2.0rc1", "2.1-1"])
TAILS = st.sampled_from(["py3-none-any", "cp311-cp311-linux_x86_64", "cp311-abi3-win_amd64.win32"])
NAMES = st.lists(st.builds("{}-{}-{}.whl".format, PROJECTS, VERSIONS, TAILS), unique=True)


def link(filename: str) -> Link:
    return Link(filename=filename, url=f"https://h/{filename}", path=f"/{filename}")


@given(names=NAMES, project=PROJECTS, least=VERSIONS)
def test_what_is_asked_for_is_what_all_of_it_would_give_and_nothing_else_is_read(
    names: list[str], project: str, least: str
) -> None:
    links = [link(name) for name in names]
    read: list[str] = []

    def reader(numbers: Sequence[int]) -> list[Link]:
        assert list(numbers) == sorted(numbers)
        read.extend(links[number].filename for number in numbers)
        return [links[number] for number in numbers]

    wheels = ListedWheels(enumerate(names), reader, PAGE)
    normal = NormalizedName(project.lower().replace("_", "-"))
    found = wheels.files(
        normal,
        tags=lambda tags: any(tag.platform != "any" for tag in tags),
        versions=lambda version: version >= Version(least),
    )
    expected = [
        name
        for name in names
        if (parsed := parse_wheel_name(name)).project == normal
        and parsed.version >= Version(least)
        and any(tag.platform != "any" for tag in parsed.tags)
    ]
    assert [file.link.filename for file in found] == read == expected
    assert all(file.name == parse_wheel_name(file.link.filename) and file.page_url == PAGE for file in found)
    read.clear()
    assert wheels.lists(normal) == any(parse_wheel_name(name).project == normal for name in names)
    assert not read


@pytest.mark.parametrize("name", ["torch.whl", "torch-1.0-cp311-cp311.whl", "torch-x-py3-none-any.whl", "a-1-py3-any"])
def test_a_name_that_no_wheel_has_is_told_as_rejected_and_hides_no_other(name: str) -> None:
    good = link("torch-1.0-py3-none-any.whl")
    wheels = ListedWheels.of_links([link(name), good], PAGE)
    assert [file.link for file in wheels.files()] == [good]
    assert [(one.href, one.reason) for one in wheels.unreadable()] == [(f"https://h/{name}", "invalid-wheel-name")]
