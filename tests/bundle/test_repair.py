from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading import mending
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.repair import repair_bundle
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.crafted_parity import write_plain_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("zfec")

SMALL, BIG, PIP = "whl/small.whl", "whl/cpu/big+cpu.whl", "tools/pip.whl"
MANIFEST, INSTALLER = "manifest.json", "install.py"
ROWS = tuple(f"parity/row-{number}" for number in range(101, 113))


def _bodies() -> dict[str, bytes]:
    seeded = random.Random(1)
    return {
        INSTALLER: seeded.randbytes(20_000),
        "locks/pylock.a.toml": b"lock" * 100,
        "locks/empty": b"",
        BIG: seeded.randbytes(300_000),
        SMALL: seeded.randbytes(9_000),
        PIP: seeded.randbytes(50_000),
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_plain_bundle(tmp_path / "bundle", _bodies(), 12)
    return tmp_path / "bundle"


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def repair(bundle: Path, into: Path | None = None) -> dict[str, str]:
    source = open_source([str(bundle)])
    repaired = repair_bundle(source, None if into is None else str(into))
    assert not repaired.left
    return {part.name: part.how for part in repaired.mended}


def flip(path: Path, *places: int) -> None:
    body = bytearray(path.read_bytes())
    for at in places:
        body[at] ^= 1
    path.write_bytes(body)


def lose(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_suffix(".swap"))
    other.rename(one)
    one.with_suffix(".swap").rename(other)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGE: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "nothing": (lambda _: None, {}),
    "a bit": (lambda top: flip(top / BIG, 1000), {BIG: "rebuilt"}),
    "bits in many slices": (lambda top: flip(top / BIG, *range(0, 286_000, 26_000)), {BIG: "rebuilt"}),
    "shorter": (lambda top: os.truncate(top / SMALL, 100), {SMALL: "rebuilt"}),
    "no bytes": (lambda top: os.truncate(top / SMALL, 0), {SMALL: "rebuilt"}),
    "longer": (lambda top: lengthen(top / SMALL), {SMALL: "rebuilt"}),
    "small file lost": (lambda top: (top / SMALL).unlink(), {SMALL: "rebuilt"}),
    "empty file lost": (lambda top: (top / "locks/empty").unlink(), {"locks/empty": "rebuilt"}),
    "directory lost": (
        lambda top: shutil.rmtree(top / "locks"),
        {"locks/empty": "rebuilt", "locks/pylock.a.toml": "rebuilt"},
    ),
    "installer lost": (lambda top: (top / INSTALLER).unlink(), {INSTALLER: "copied"}),
    "both installers lost": (
        lambda top: lose(top / INSTALLER, top / "parity" / INSTALLER),
        {INSTALLER: "copied"},
    ),
    "manifest lost": (lambda top: (top / MANIFEST).unlink(), {MANIFEST: "copied"}),
    "manifest damaged": (lambda top: flip(top / MANIFEST, 200), {MANIFEST: "copied"}),
    "copy of the manifest lost": (lambda top: (top / "parity" / MANIFEST).unlink(), {MANIFEST: "copied"}),
    "swapped": (lambda top: swap(top / SMALL, top / PIP), {SMALL: "copied", PIP: "copied"}),
    "renamed": (lambda top: (top / SMALL).rename(top / "whl" / "other.whl"), {SMALL: "renamed"}),
    "a directory instead": (lambda top: replace_by_directory(top / SMALL), {SMALL: "rebuilt"}),
    "a link instead": (lambda top: replace_by_link(top / SMALL), {SMALL: "rebuilt"}),
    "parity lost": (lambda top: lose(*(top / row for row in ROWS)), dict.fromkeys(ROWS, "rebuilt")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_parity_or_a_copy_mends_is_as_it_was(bundle: Path, name: str) -> None:
    damage, expected = DAMAGE[name]
    whole = everything(bundle)
    damage(bundle)

    assert repair(bundle) == expected
    assert everything(bundle) == whole
    assert repair(bundle) == {}


@pytest.mark.parametrize("name", DAMAGE)
def test_media_that_stay_as_they_are_become_a_whole_bundle_with_one_directory_more(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    DAMAGE[name][0](bundle)
    damaged = everything(bundle)
    repair(bundle, into)

    assert everything(bundle) == damaged
    source = open_source([str(bundle), str(into)])
    verify_source(source)
    assert all(source.still_right(piece) for file in source.manifest.files for piece in source.pieces_of(file))


def test_beyond_repair_nothing_is_written_and_what_must_be_brought_is_named(bundle: Path) -> None:
    (bundle / BIG).unlink()
    (bundle / SMALL).unlink()
    before = everything(bundle)
    with pytest.raises(IntegrityError) as refused:
        repair(bundle)

    assert refused.value.code == "bundle-beyond-repair"
    assert refused.value.facts["bring again"] == BIG
    assert everything(bundle) == before


def test_of_many_parts_that_are_lost_any_that_suffice_may_be_brought(bundle: Path) -> None:
    for row in ROWS[:7]:
        (bundle / row).unlink()
    (bundle / PIP).unlink()  # 14 slices or 15, of which 5 are mended
    with pytest.raises(IntegrityError) as refused:
        repair(bundle)
    assert refused.value.data["bring"] == [PIP]

    shutil.copy(bundle / INSTALLER, bundle / PIP)
    for row in ROWS[7:]:
        (bundle / row).unlink()
    with pytest.raises(IntegrityError, match="too damaged"):
        repair(bundle)


def test_without_parity_everything_that_is_lost_must_be_brought(bundle: Path) -> None:
    source = open_source([str(bundle)])
    source.manifest = source.manifest._replace(parity=None)
    (bundle / SMALL).unlink()
    with pytest.raises(IntegrityError) as refused:
        repair_bundle(source)
    assert refused.value.facts == {"reason": "the bundle carries no parity", "bring again": SMALL}


def test_a_medium_that_gives_other_bytes_every_time_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(bundle / BIG, 5)
    monkeypatch.setattr(mending, "combine_rows", lambda slices, rows: [bytes(len(slices[0])) for _ in rows])
    with pytest.raises(IntegrityError) as refused:
        repair(bundle)
    assert refused.value.code == "repair-failed"
    assert not list(bundle.rglob("*.mending"))


def test_where_nothing_can_be_written_it_is_said_where_to(bundle: Path, tmp_path: Path) -> None:
    flip(bundle / BIG, 5)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError) as refused:
        repair(bundle, tmp_path / "file" / "below")
    assert refused.value.code == "cannot-repair-there"
