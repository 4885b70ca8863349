from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer import journal as module
from pytorch_offline.installer.journal import (
    Journal,
    carry_out_steps,
    make_journal,
    parse_journal,
    read_journal,
    render_journal,
    undo_steps,
    write_journal,
)
from pytorch_offline.installer.switch import Step
from tests.installer.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


class Killed(BaseException):
    """What stands in for kill -9: nothing of ours runs after it."""


def build(root: Path) -> tuple[Journal, Path]:
    """An environment with an old package, a neighbour and a stage; what turns it into the new one."""
    site, workshop = root / "site", root / ".work"
    for path, text in {
        "site/torch/__init__.py": "old",
        "site/torch/deep/er/a.so": "old",
        "site/six.py": "old",
        "site/numpy/__init__.py": "neighbour",
        ".work/stage/torch/__init__.py": "new",
        ".work/stage/six.py": "new",
        ".work/stage/fresh/a.py": "new",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (site / "torch" / "link").symlink_to("nowhere")
    (site / "torch" / "deep").chmod(0o750)
    (workshop / "trash").mkdir()
    for number, directory in enumerate([site / "torch" / "deep" / "er", site / "torch" / "deep", site / "torch", site]):
        os.utime(directory, ns=(0, 1_000_000_000 + number))
    steps = (
        Step("out", str(site / "torch"), str(workshop / "trash" / "0")),
        Step("out", str(site / "six.py"), str(workshop / "trash" / "1")),
        Step("in", str(site / "torch"), str(workshop / "stage" / "torch")),
        Step("in", str(site / "six.py"), str(workshop / "stage" / "six.py")),
        Step("make", str(site / "made")),
        Step("in", str(site / "made" / "fresh"), str(workshop / "stage" / "fresh")),
    )
    return make_journal(steps, {}), workshop


def rename_that(fails: Callable[[str], OSError | None], dies_at: int | None = None) -> Callable[[str, str], None]:
    calls = 0
    real = os.rename

    def rename(source: str, target: str) -> None:
        nonlocal calls
        calls += 1
        if calls == dies_at:
            raise Killed
        error = fails(source)
        if error is not None:
            raise error
        real(source, target)

    return rename


def lower_layer(path: str) -> OSError | None:
    """What overlayfs says of a directory that came with the image."""
    if Path(path).is_dir() and not Path(path).is_symlink() and "/.work/" not in path:
        return OSError(errno.EXDEV, "Invalid cross-device link", path)
    return None


@pytest.mark.parametrize("overlay", [False, True])
def test_a_switch_that_dies_anywhere_is_undone_to_the_byte(
    *, overlay: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = lower_layer if overlay else lambda _: None
    died = 0
    for moment in range(1, 40):
        root = tmp_path / str(moment)
        journal, workshop = build(root)
        before = snapshot(root / "site")
        write_journal(journal, str(workshop))
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", rename_that(fails, moment))
            try:
                carry_out_steps(journal, str(workshop))
            except Killed:
                died += 1
        for again in range(1, 4):  # and whoever undoes it may die, too
            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", rename_that(lambda _: None, again))
                try:
                    undo_steps(read_journal(str(workshop)) or pytest.fail("no journal"))
                except Killed:
                    continue
        undo_steps(read_journal(str(workshop)) or pytest.fail("no journal"))
        assert snapshot(root / "site") == before
    assert died == (8 if overlay else 5)  # so many renames there are


@pytest.mark.parametrize("overlay", [False, True])
def test_a_switch_that_is_carried_out_leaves_the_new_and_the_neighbours(
    *, overlay: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, workshop = build(tmp_path)
    write_journal(journal, str(workshop))
    if overlay:
        monkeypatch.setattr(os, "rename", rename_that(lower_layer))
    done = carry_out_steps(journal, str(workshop))
    assert (len(done.steps) > len(journal.steps)) is overlay
    site = tmp_path / "site"
    assert sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()) == [
        "made/fresh/a.py",
        "numpy/__init__.py",
        "six.py",
        "torch/__init__.py",
    ]
    assert (site / "torch" / "__init__.py").read_text() == "new"


def test_a_disk_that_fails_is_not_taken_for_a_lower_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, workshop = build(tmp_path)
    before = snapshot(tmp_path / "site")
    write_journal(journal, str(workshop))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_that(lambda _: OSError(errno.EIO, "I/O error")))
        with pytest.raises(OSError, match="I/O"):
            carry_out_steps(journal, str(workshop))
    undo_steps(journal)
    assert snapshot(tmp_path / "site") == before


NUMBERS = st.integers(0, 2**63)
LETTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.characters(
    min_codepoint=0xDC80,
    max_codepoint=0xDCFF,
    categories=["Cs"],  # a byte that is no UTF-8
)
NAMES = st.text(LETTERS, min_size=1, max_size=5).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, max_size=3).map(lambda names: "/base/" + "/".join(["x", *names]))
KINDS = st.sampled_from(["in", "out", "make", "drop"])
STEPS = st.builds(Step, KINDS, PATHS, st.just("") | PATHS, NUMBERS, st.tuples(NUMBERS, NUMBERS))


@given(st.lists(STEPS), st.dictionaries(PATHS, NUMBERS))
def test_a_journal_is_read_back_as_it_was_written(steps: list[Step], times: dict[str, int]) -> None:
    journal = Journal(tuple(steps), times)
    assert parse_journal(render_journal(journal, "/base/.work"), "/base/.work") == journal


def test_a_journal_can_be_read_where_the_environment_is_seen_elsewhere() -> None:
    journal = Journal((Step("in", "/host/env/site/torch", "/host/env/.work/stage/torch"),), {})
    seen = parse_journal(render_journal(journal, "/host/env/.work"), "/mnt/env/.work")
    assert seen.steps[0].place == "/mnt/env/site/torch"


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 2}', '{"format": 1, "steps": [["in"]], "times": {}}', "[" * 9999]
)
def test_a_damaged_journal_is_told_and_nothing_is_guessed(text: str, tmp_path: Path) -> None:
    (tmp_path / module.JOURNAL_NAME).write_text(text, encoding="ascii")
    with pytest.raises(IntegrityError) as caught:
        read_journal(str(tmp_path))
    assert caught.value.code == "bad-journal"
