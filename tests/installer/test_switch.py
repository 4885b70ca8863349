from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.installer.switch import Step, View, plan_switch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SITE = "/env/site"
STAGE = "/env/.work/stage"
TRASH = "/env/.work/trash"
KEPT = frozenset({"/", "/env", SITE, "/env/bin"})


def directories_of(files: Collection[str]) -> set[str]:
    return {str(parent) for path in files for parent in PurePosixPath(path).parents}


def view_of(files: Mapping[str, str], *, links: Mapping[str, str | None] | None = None, folds: bool = False) -> View:
    links = links or {}
    fold = str.casefold if folds else str
    there = {fold(path): "file" for path in files}
    there |= {fold(path): "directory" for path in {*directories_of(files), SITE, "/env/bin"}}
    there |= {fold(path): "link" for path in links}

    def names(directory: str) -> list[str]:
        inside = {*files, *directories_of(files), *links} - {"/"}
        return [PurePosixPath(path).name for path in inside if fold(str(PurePosixPath(path).parent)) == fold(directory)]

    return View(
        kind=lambda path: there.get(fold(path)),
        names=names,
        follow=links.get,
        same=lambda one, other: files[one] == files[other],
        fold=fold,
    )


def plan(files: Mapping[str, str], leaving: Collection[str], **more: object) -> tuple[Step, ...]:
    view = view_of(files, **more)  # type: ignore[arg-type]
    return plan_switch([(STAGE, SITE)], frozenset(leaving), KEPT, view, lambda _: TRASH)


def do(files: dict[str, str], steps: Collection[Step]) -> dict[str, str]:
    """Carry steps out on a file system that is a dictionary, as strictly as rename(2)."""
    for step in steps:
        if step.kind == "make":
            continue
        source, target = (step.place, step.aside) if step.kind == "out" else (step.aside, step.place)
        moved = {path for path in files if path == source or path.startswith(source + "/")}
        assert moved, f"{step}: nothing there"
        assert not any(path == target or path.startswith(target + "/") for path in files), f"{step}: in the way"
        files = {target + path[len(source) :] if path in moved else path: content for path, content in files.items()}
    return files


def environment(files: Mapping[str, str]) -> dict[str, str]:
    return {path: content for path, content in files.items() if not path.startswith("/env/.work/")}


def test_whole_directories_go_and_come_in_one_rename() -> None:
    files = {
        f"{SITE}/torch/__init__.py": "1",
        f"{SITE}/torch/lib/a.so": "1",
        f"{SITE}/torch/__pycache__/__init__.cpython-311.pyc": "",
        f"{SITE}/numpy/__init__.py": "n",
        f"{STAGE}/torch/__init__.py": "2",
        f"{STAGE}/torch/new/b.py": "2",
    }
    steps = plan(files, [f"{SITE}/torch/__init__.py", f"{SITE}/torch/lib/a.so"])
    assert [(step.kind, step.place) for step in steps] == [("out", f"{SITE}/torch"), ("in", f"{SITE}/torch")]


def test_what_nobody_vouches_for_stays_and_the_rest_goes_around_it() -> None:
    files = {
        f"{SITE}/torch/__init__.py": "1",
        f"{SITE}/torch/lib/a.so": "1",
        f"{SITE}/torch/my_notes.txt": "mine",
        f"{STAGE}/torch/__init__.py": "2",
        f"{STAGE}/torch/lib/a.so": "2",
    }
    steps = plan(files, [f"{SITE}/torch/__init__.py", f"{SITE}/torch/lib/a.so"])
    assert [step.place for step in steps if step.kind == "out"] == [f"{SITE}/torch/__init__.py", f"{SITE}/torch/lib"]
    after = environment(do(files, steps))
    assert after[f"{SITE}/torch/my_notes.txt"] == "mine"
    assert after[f"{SITE}/torch/lib/a.so"] == "2"


def test_a_family_in_one_namespace_is_merged_and_a_neighbour_s_equal_file_is_left_alone() -> None:
    files = {
        f"{SITE}/nvidia/__init__.py": "",
        f"{SITE}/nvidia/cudnn/x.so": "neighbour",
        f"{STAGE}/nvidia/__init__.py": "",
        f"{STAGE}/nvidia/cublas/y.so": "new",
    }
    steps = plan(files, [])
    assert [(step.kind, step.place) for step in steps] == [("in", f"{SITE}/nvidia/cublas")]


def test_several_stages_are_merged_into_one() -> None:
    files = {f"{STAGE}/0/nvidia/cublas/y.so": "1", f"{STAGE}/1/nvidia/cudnn/x.so": "2"}
    view = view_of(files)
    steps = plan_switch([(f"{STAGE}/0", SITE), (f"{STAGE}/1", SITE)], frozenset(), KEPT, view, lambda _: TRASH)
    assert [(step.kind, step.place) for step in steps] == [
        ("make", f"{SITE}/nvidia"),
        ("in", f"{SITE}/nvidia/cublas"),
        ("in", f"{SITE}/nvidia/cudnn"),
    ]


def test_directories_on_the_way_that_are_missing_are_made() -> None:
    files = {f"{STAGE}/a.h": "1"}
    steps = plan_switch([(STAGE, "/env/include/site")], frozenset(), KEPT, view_of(files), lambda _: TRASH)
    assert [(step.kind, step.place) for step in steps] == [
        ("make", "/env/include"),
        ("make", "/env/include/site"),
        ("in", "/env/include/site/a.h"),
    ]


@pytest.mark.parametrize(
    ("files", "links"),
    [
        ({f"{SITE}/torch/mine.txt": "", f"{STAGE}/torch": "a file"}, {}),
        ({f"{SITE}/torch": "a file", f"{STAGE}/torch/a.py": ""}, {}),
        ({f"{STAGE}/torch/a.py": ""}, {f"{SITE}/torch": None}),
    ],
)
def test_what_would_write_through_or_over_others_things_is_refused(
    files: dict[str, str], links: dict[str, str | None]
) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        plan(files, [], links=links)
    assert caught.value.code == "in-the-way"
    assert caught.value.facts == {"place": f"{SITE}/torch"}


def test_a_link_within_the_environment_is_followed() -> None:
    files = {"/env/other/old.py": "", f"{STAGE}/torch/a.py": ""}
    steps = plan(files, [], links={f"{SITE}/torch": "/env/other"})
    assert [(step.kind, step.place) for step in steps] == [("in", "/env/other/a.py")]


def test_where_case_does_not_count_the_old_spelling_makes_room() -> None:
    files = {f"{SITE}/PIL/a.py": "1", f"{STAGE}/pil/a.py": "2"}
    steps = plan(files, [f"{SITE}/PIL/a.py"], folds=True)
    assert [(step.kind, step.place) for step in steps] == [("out", f"{SITE}/PIL"), ("in", f"{SITE}/pil")]


NAMES = st.sampled_from(["a", "b", "a.py", "b.py", "__pycache__", "a.cpython-311.pyc"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> set[str]:
    """Paths of which none is a directory of another."""
    paths: set[str] = set()
    for path in draw(st.lists(PATHS, max_size=12)):
        parents = {str(parent) for parent in PurePosixPath(path).parents}
        if not parents & paths and not any(other.startswith(path + "/") for other in paths):
            paths.add(path)
    return paths


@given(trees(), trees(), st.data())
def test_every_switch_ends_where_it_should_and_leaves_the_rest(
    old: set[str], new: set[str], data: st.DataObject
) -> None:
    leaving = data.draw(st.sets(st.sampled_from(sorted(old)))) if old else set()
    files = {f"{SITE}/{path}": "old " + path for path in old} | {f"{STAGE}/{path}": "new " + path for path in new}
    try:
        steps = plan(files, [f"{SITE}/{path}" for path in leaving])
    except UnsatisfiableError:
        stays = [(one, other) for one in new for other in old - leaving]
        assert any(one in map(str, PurePosixPath(other).parents) for pair in stays for one, other in (pair, pair[::-1]))
        return
    gone = set(leaving)
    for path in old:  # byte code of a module that leaves goes with it
        directory, _, name = path.rpartition("/")
        source = directory.removesuffix("__pycache__") + name.split(".", 1)[0] + ".py"
        if (directory == "__pycache__" or directory.endswith("/__pycache__")) and source in leaving:
            gone.add(path)
    expected = {f"{SITE}/{path}": "old " + path for path in old - gone}
    expected |= {f"{SITE}/{path}": "new " + path for path in new}
    assert environment(do(files, steps)) == expected
