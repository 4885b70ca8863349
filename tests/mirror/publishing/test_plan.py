"""What belongs at a destination, by value."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from pytorch_offline.mirror.layout import plan_pages
from pytorch_offline.mirror.pages import render_page
from pytorch_offline.mirror.publishing.model import Found
from pytorch_offline.mirror.publishing.plan import looks_like_ours, paths_of, plan_files, public_file, surplus
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA


@pytest.mark.parametrize(
    "path",
    [
        "whl/sympy-1.2-py3-none-any.whl",
        "whl/cu121/torch-1.0+cu121-cp311-cp311-linux_x86_64.whl",
        "whl/nightly/cu126/torch-2.9.0.dev20260101+cu126-cp311-cp311-linux_x86_64.whl.metadata",
        "whl/index.html",
        "whl/cu121/torch/index.v1+json",
        "whl/nightly/cu126/torch_nightly.html",
        "locks/pylock.node.toml",
        "locks/requirements.node.txt",
        "locks/node.json",
    ],
)
def test_only_we_would_put_that_there(path: str) -> None:
    assert looks_like_ours(PurePosixPath(path))


@pytest.mark.parametrize(
    "path",
    [
        "manifest.json",
        "index.html",
        "README",
        "whl",
        "whl/README",
        "whl/cu121/notes.html",
        "whl/my files/index.html",
        "whl/.hidden/index.html",
        "whl/elsewhere/torch-1.0-py3-none-any.whl",
        "whl/torch.whl",
        "whl/notes.metadata",
        "other/torch-1.0-py3-none-any.whl",
        "locks/below/pylock.node.toml",
        "locks/.pylock.toml",
        "locks/pylock.node.toml.bak",
        "whlx/index.html",
    ],
)
def test_that_is_somebody_elses(path: str) -> None:
    assert not looks_like_ours(PurePosixPath(path))


def test_what_leads_to_others_goes_before_what_it_leads_to() -> None:
    order = [
        "whl/index.html",
        "whl/cu121/index.html",
        "whl/cu121/torch/index.html",
        "locks/pylock.node.toml",
        "whl/cu121/torch-1.0+cu121-py3-none-any.whl",
        "whl/cu121/torch-1.0+cu121-py3-none-any.whl.metadata",
    ]
    paths = [PurePosixPath(path) for path in order]

    assert surplus(reversed(paths), wanted=()) == tuple(paths)
    assert surplus(paths, wanted=set(paths[:3])) == tuple(paths[3:])


def test_the_paths_of_a_page_are_those_that_are_rendered() -> None:
    rows = [wheel.row() for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY)]
    for page in plan_pages(rows):
        assert paths_of(page) == set(render_page(page))


@pytest.mark.parametrize(
    ("found", "given", "expected"),
    [
        (None, "", "absent"),
        (None, "published", "absent"),
        (Found(size=1), "published", "absent"),
        (Found(size=len(SYMPY.body)), "published", "present"),
        (Found(size=len(SYMPY.body)), "published, reread", "unsure"),
        (Found(size=len(SYMPY.body)), "", "unsure"),
    ],
)
def test_only_a_manifest_vouches_for_what_is_there(found: Found | None, given: str, expected: str) -> None:
    file = public_file(SYMPY.path, SYMPY.body)

    plan = plan_files(
        [file],
        {} if found is None else {file.path: found},
        [SYMPY.row()] if "published" in given else [],
        reread="reread" in given,
        replace=False,
    )

    sorted_into = {"absent": plan.absent, "present": plan.present, "unsure": plan.unsure}
    assert sorted_into.pop(expected) == (file,)
    assert set(sorted_into.values()) == {()}


def test_other_bytes_are_a_conflict_unless_they_shall_be_replaced() -> None:
    file = public_file(SYMPY.path, bytes(len(SYMPY.body)))
    found = {file.path: Found(size=file.size)}

    kept = plan_files([file], found, [SYMPY.row()], reread=False, replace=False)
    replaced = plan_files([file], found, [SYMPY.row()], reread=False, replace=True)

    assert [one.error.code for one in kept.failures] == ["path-conflict"]
    assert replaced.unsure == (file,)
