"""What one who only looks is told to do about damaged media."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.bundle.writing.protecting import ParityWish
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.damaged_media import damaged_but_mendable
from pytorch_offline.installer.model import Request
from pytorch_offline.installer.steps import carry_out
from tests.bundle.bundling import tree, wished
from tests.bundle.crafted_media import INSTALLER, NUMPY, flip, write, write_plain, write_volumes
from tests.installer.ways import make_mirror, of_the_package, versions_in

if TYPE_CHECKING:
    from pathlib import Path


def hint(root: Path) -> str:
    source = open_source([str(root)])
    return str(damaged_but_mendable(source, verify_source(source)).hint)


def test_a_repair_is_named_where_it_mends(tmp_path: Path) -> None:
    write_volumes(tmp_path)
    flip(tmp_path / "volume-002" / INSTALLER)  # every other volume has it
    assert "--repair" in hint(tmp_path)


def test_a_repair_is_not_named_for_what_it_leaves(tmp_path: Path) -> None:
    write_plain(tmp_path)
    write(tmp_path / "whl" / "evil.whl", b"x")
    assert hint(tmp_path) == f"remove {tmp_path / 'whl' / 'evil.whl'}, or find out whose it is"


def test_without_parity_a_lost_wheel_must_be_brought(tmp_path: Path) -> None:
    write_plain(tmp_path)
    (tmp_path / NUMPY).unlink()
    assert hint(tmp_path).startswith(f"bring {NUMPY}")


def test_an_installation_mends_what_it_needs_and_leaves_the_media_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("zfec")
    out, venv = tmp_path / "out", tmp_path / "env"
    wished(make_mirror(tmp_path / "mirror"), out, parity=ParityWish(percent=5))
    next(out.glob("whl/cpu/torch-*.whl")).unlink()
    flip(next(out.glob("whl/filelock-*.whl")))
    (out / "install.py").write_bytes(b"")
    damaged = tree(out)
    outcome = carry_out(Request(places=(str(out),), venv=str(venv)), of_the_package())

    assert outcome.document["proven"] is True
    assert versions_in(venv).items() >= {"torch": "2.4.0+cpu", "filelock": "3.0"}.items()
    assert tree(out) == damaged
    assert not list(venv.rglob("mended*"))


def test_beyond_repair_no_environment_is_made(tmp_path: Path) -> None:
    pytest.importorskip("zfec")
    out, venv = tmp_path / "out", tmp_path / "env"
    wished(make_mirror(tmp_path / "mirror"), out, parity=ParityWish(percent=5))
    next(out.glob("whl/cpu/torch-*.whl")).unlink()
    for row in sorted((out / "parity").glob("row-*"))[:-2]:
        row.unlink()
    (out / "install.py").unlink()
    (out / "parity" / "install.py").unlink()
    with pytest.raises(IntegrityError) as refused:
        carry_out(Request(places=(str(out),), venv=str(venv)), of_the_package())

    assert refused.value.code == "bundle-damaged"
    assert refused.value.facts["bring again"] == "install.py"
    assert not venv.exists()


def test_damaged_parity_hinders_no_installation_and_whoever_looks_is_told(tmp_path: Path) -> None:
    pytest.importorskip("zfec")
    out, venv = tmp_path / "out", tmp_path / "env"
    wished(make_mirror(tmp_path / "mirror"), out, parity=ParityWish(percent=5))
    row = next((out / "parity").glob("row-*"))
    body = bytearray(row.read_bytes())
    body[len(body) // 2] ^= 1
    row.write_bytes(body)
    with pytest.raises(IntegrityError) as told:
        carry_out(Request(places=(str(out),), verify_only=True), of_the_package())

    assert [finding["path"] for finding in told.value.data["findings"]] == [f"parity/{row.name}"]  # type: ignore[attr-defined]
    assert carry_out(Request(places=(str(out),), venv=str(venv)), of_the_package()).document["proven"] is True
