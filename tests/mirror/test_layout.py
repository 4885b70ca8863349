"""Where files go and which page lists what."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import (
    FlatPage,
    ProjectList,
    ProjectPage,
    channel_of,
    mirror_path,
    plan_pages,
    relative_href,
)
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, craft_wheel

X = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (f"/whl/cu121/{X}", f"whl/cu121/{X}"),
        (f"/whl/{X}", f"whl/{X}"),
        (f"/whl/nightly/cu126/{X}", f"whl/nightly/cu126/{X}"),
        (f"/whl/nightly/{X}", f"whl/nightly/{X}"),
        (f"/whl/test/rocm6.2.4/{X}", f"whl/test/rocm6.2.4/{X}"),
        (f"/whl/lts/1.8/cu111/{X}", f"whl/lts/1.8/cu111/{X}"),
        (f"/whl/cpu-cxx11-abi/{X}", f"whl/cpu-cxx11-abi/{X}"),
        (f"/whl/cu121_full/{X}", f"whl/cu121_full/{X}"),
        (f"/whl/cu128/vllm/{X}", f"whl/cu128/{X}"),  # listed on the page of cu128, so it lies there
        (f"/whl//cu121//{X}", f"whl/cu121/{X}"),
        (f"/pytorch-wheels/cu121/{X}", f"whl/cu121/{X}"),  # a public copy under another prefix
        (f"/whl/../../etc/{X}", f"whl/{X}"),
        (f"/whl/cu121/../../../{X}", f"whl/cu121/{X}"),
        (f"/whl/cu121\0/{X}", f"whl/{X}"),
        (f"/whl/some dir/{X}", f"whl/{X}"),
        (f"/whl/torch/{X}", f"whl/{X}"),  # would lie where the project's page is
        (f"/packages/05/2d/{X}", f"whl/{X}"),
        (X, f"whl/{X}"),
    ],
)
def test_upstream_files_keep_their_variant(upstream: str, expected: str) -> None:
    assert mirror_path(upstream, from_upstream=True) == PurePosixPath(expected)


def test_files_of_other_indexes_go_to_the_root_level() -> None:
    assert mirror_path(f"/whl/cu121/{X}", from_upstream=False) == PurePosixPath(f"whl/{X}")


@pytest.mark.parametrize("name", ["..", "", "torch", "index.html", "a b.whl", f"..\\{X}", f"{X}\0", "x" * 300 + ".whl"])
def test_what_is_no_wheels_name_has_no_place(name: str) -> None:
    with pytest.raises(UsageError, match=r"."):
        mirror_path(f"/whl/cu121/{name}", from_upstream=True)


@given(st.lists(st.text(max_size=12), max_size=6), st.booleans())
def test_no_address_leads_out_of_the_tree(directories: list[str], from_upstream: bool) -> None:  # noqa: FBT001
    path = mirror_path("/".join([*directories, X]), from_upstream=from_upstream)
    assert path.parts[0] == "whl"
    assert path.name == X
    assert not {"..", ".", ""} & set(path.parts)
    assert mirror_path(f"/{path}", from_upstream=True) == path  # a place is its own place


@pytest.mark.parametrize(
    ("directory", "path", "href"),
    [
        ("whl/cpu/torch", "whl/cpu/torch-1.0+cpu-py3-none-any.whl", "../torch-1.0%2Bcpu-py3-none-any.whl"),
        ("whl/cpu/sympy", "whl/sympy-1!2-py3-none-any.whl", "../../sympy-1%212-py3-none-any.whl"),
        ("whl/torch", "whl/cpu/torch-1.0+cpu-py3-none-any.whl", "../cpu/torch-1.0%2Bcpu-py3-none-any.whl"),
        ("whl/cpu", "whl/cpu/torch-1.0+cpu-py3-none-any.whl", "torch-1.0%2Bcpu-py3-none-any.whl"),
        ("whl/nightly/cu126/sympy", "whl/sympy-1-py3-none-any.whl", "../../../sympy-1-py3-none-any.whl"),
    ],
)
def test_hrefs_are_relative_and_escaped_once(directory: str, path: str, href: str) -> None:
    assert relative_href(PurePosixPath(directory), PurePosixPath(path)) == href
    assert unquote(urljoin(f"https://mirror.example/below/{directory}/", href)).endswith(f"/below/{path}")


def planned(*wheels: Wheel) -> dict[str, list[str]]:
    """The pages by directory (or path, if flat), with what each lists."""
    pages: dict[str, list[str]] = {}
    for page in plan_pages(wheel.row() for wheel in wheels):
        match page:
            case ProjectPage(directory=directory, files=files):
                pages[str(directory)] = [str(file.path) for file in files]
            case FlatPage(path=path, files=files):
                pages[str(path)] = [str(file.path) for file in files]
            case ProjectList(directory=directory, projects=projects):
                pages[str(directory)] = list(projects)
    return pages


def test_a_variants_pages_list_its_files_and_the_root_level_ones() -> None:
    cpu, cuda, sympy = (str(wheel.path) for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY))
    assert planned(TORCH_CPU, TORCH_CUDA, SYMPY) == {
        "whl": ["sympy", "torch"],
        "whl/torch": [cpu, cuda],
        "whl/sympy": [sympy],
        "whl/cpu": ["sympy", "torch"],
        "whl/cpu/torch": [cpu],
        "whl/cpu/sympy": [sympy],
        "whl/cpu/torch_stable.html": [cpu, sympy],
        "whl/cu121": ["sympy", "torch"],
        "whl/cu121/torch": [cuda],
        "whl/cu121/sympy": [sympy],
        "whl/cu121/torch_stable.html": [cuda, sympy],
    }


def test_an_empty_mirror_is_an_empty_index() -> None:
    assert planned() == {"whl": []}


def test_a_page_of_a_variant_shows_each_name_once_its_own_first() -> None:
    own = craft_wheel("whl/cpu/sympy-1.2-py3-none-any.whl", content="# upstream's own copy")
    pages = planned(own, SYMPY)
    assert pages["whl/cpu/sympy"] == pages["whl/cpu/torch_stable.html"] == ["whl/cpu/sympy-1.2-py3-none-any.whl"]
    assert pages["whl/sympy"] == ["whl/cpu/sympy-1.2-py3-none-any.whl", "whl/sympy-1.2-py3-none-any.whl"]


def test_nightly_stays_off_the_stable_pages_and_borrows_only_what_it_lacks() -> None:
    nightly = craft_wheel("whl/nightly/cpu/torch-2.0.dev20260101+cpu-py3-none-any.whl")
    stable_root_torch = craft_wheel("whl/torch-1.0-py3-none-any.whl")
    pages = planned(nightly, TORCH_CPU, SYMPY, stable_root_torch)
    assert pages["whl/torch"] == ["whl/torch-1.0-py3-none-any.whl", "whl/cpu/torch-1.0+cpu-py3-none-any.whl"]
    assert pages["whl/nightly"] == pages["whl/nightly/cpu"] == ["sympy", "torch"]
    assert pages["whl/nightly/cpu/torch"] == [str(nightly.path)]
    assert pages["whl/nightly/cpu/sympy"] == [str(SYMPY.path)]
    assert pages["whl/nightly/cpu/torch_nightly.html"] == [str(nightly.path), str(SYMPY.path)]


def test_versions_are_in_order_of_version_not_of_text() -> None:
    versions = [
        craft_wheel(f"whl/cpu/torch-{version}+cpu-py3-none-any.whl") for version in ("2.10.0", "2.9.1", "2.2.0")
    ]
    assert planned(*versions)["whl/cpu/torch"] == [str(wheel.path) for wheel in reversed(versions)]


@given(st.permutations([TORCH_CPU, TORCH_CUDA, SYMPY]))
def test_the_plan_does_not_depend_on_the_order_of_rows(wheels: list[Wheel]) -> None:
    assert plan_pages(wheel.row() for wheel in wheels) == plan_pages(
        wheel.row() for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY)
    )


def test_channels_are_told_from_variants() -> None:
    assert channel_of(PurePosixPath(f"whl/nightly/cu126/{X}")) == PurePosixPath("whl/nightly")
    assert channel_of(PurePosixPath(f"whl/lts/1.8/{X}")) == PurePosixPath("whl/lts/1.8")
    assert channel_of(PurePosixPath(f"whl/cu126/{X}")) == PurePosixPath("whl")
