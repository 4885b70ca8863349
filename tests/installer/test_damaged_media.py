"""What one who only looks is told to do about damaged media."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.installer.damaged_media import damaged_but_mendable
from tests.bundle.crafted_media import INSTALLER, NUMPY, flip, write, write_plain, write_volumes

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
