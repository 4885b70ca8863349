"""A slice of the damage campaign (``python -m tests.bundle.damage`` runs all of it), and intact copies of all kinds."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from tests.bundle.bundling import small_mirror, wished
from tests.bundle.damage import Case, cases, judge
from tests.bundle.damage_bundles import KINDS, Kind, make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("zfec")


def slice_of_them() -> list[Case]:
    """Take every thirtieth case, and thus, as kinds differ in number, all sorts of damage to all sorts of files."""
    return list(cases())[::30]


def test_the_campaign_is_long() -> None:
    assert len(list(cases())) > 1000
    assert len(slice_of_them()) >= 40


@pytest.mark.parametrize("case", slice_of_them(), ids=str)
def test_damage_is_found_named_and_mended_where_it_can_be(case: Case) -> None:
    assert judge(case) is None


def _as_is(path: Path) -> str:
    return path.name


def _upper(path: Path) -> str:
    return path.name.upper()


def _iso(path: Path) -> str:
    return f"{path.name.upper()};1"


def _spaced(path: Path) -> str:
    return path.name.replace("+", " ")


def _escaped(path: Path) -> str:
    return path.name.replace("+", "%2B")


def _underscored(path: Path) -> str:
    return path.name.replace("+", "_")


MANGLED: tuple[Callable[[Path], str], ...] = (_upper, _iso, _spaced, _escaped, _underscored)
DROPPINGS = (".DS_Store", "Thumbs.db", "._install.py", "desktop.ini", "System Volume Information/IndexerVolumeGuid")


def copy_by(chance: random.Random, kind: Kind, original: Path, place: Path) -> list[str]:
    """Copy a bundle as media, gateways and people do; give the directories to name."""
    mangle = chance.choice((_as_is, *MANGLED))
    tops = sorted(original.iterdir()) if kind.volumes else [original]
    chance.shuffle(tops)
    apart = kind.volumes and chance.random() < 0.5
    named = []
    for number, top in enumerate(tops):
        to = place / (f"medium {number}" if apart else "all") / (chance.choice(("E", top.name)) if apart else top.name)
        shutil.copytree(top, to)
        named.append(str(to.parent if chance.random() < 0.5 else to) if apart else str(place / "all"))
        for path in sorted(to.rglob("*"), reverse=True):
            if path.is_file() or mangle is _upper:
                path.rename(path.with_name(mangle(path)))
        for dropping in chance.sample(DROPPINGS, 2):
            directory = chance.choice([to, *(path for path in to.rglob("*") if path.is_dir())])
            (directory / dropping).parent.mkdir(exist_ok=True)
            (directory / dropping).write_bytes(b"left behind")
        if chance.random() < 0.3:
            os.utime(next(path for path in to.rglob("*") if path.is_file()), (1, 1))
    if apart and chance.random() < 0.5:
        shutil.copytree(named[0], place / "once more")
        named.append(str(place / "once more"))
    return list(dict.fromkeys(named))


def test_a_hundred_intact_copies_raise_no_alarm(tmp_path: Path) -> None:
    for kind in KINDS:
        make_bundle(kind, tmp_path / str(kind))
    for number in range(104):
        chance = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        place = tmp_path / f"copy{number}"
        named = copy_by(chance, kind, tmp_path / str(kind), place)
        found = verify_source(open_source(named), jobs=1).findings
        assert found == (), (kind, named)
        shutil.rmtree(place)


def test_install_py_finds_damage_before_it_touches_anything_and_mends_it_by_itself(tmp_path: Path) -> None:
    from pytorch_offline.bundle.writing.protecting import ParityWish

    out = tmp_path / "out"
    wished(small_mirror(tmp_path / "mirror"), out, parity=ParityWish(percent=10))
    wheel = next(out.glob("whl/cpu/torch-*.whl"))
    body = bytearray(wheel.read_bytes())
    body[len(body) // 2] ^= 4
    wheel.write_bytes(body)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-B", str(out / "install.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    looked = run("--verify-only")
    assert looked.returncode == 4
    assert wheel.name in looked.stderr
    assert "--repair" in looked.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    mended = run("--repair-into", str(tmp_path / "into"))
    assert mended.returncode == 0, mended.stderr
    assert run("--from", str(out), "--from", str(tmp_path / "into"), "--verify-only").returncode == 0
    assert run("--repair").returncode == 0
    assert run("--verify-only").returncode == 0
