"""A file gets its real name with as little copying as can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading.materialise import materialise, needs_joining
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.errors import IntegrityError
from tests.bundle.crafted_manifests import TORCH
from tests.bundle.crafted_media import NUMPY, bodies, write_plain, write_volumes


def test_what_lies_under_its_name_is_used_where_it_lies(tmp_path: Path) -> None:
    made = write_plain(tmp_path / "bundle")
    source = open_source([str(tmp_path / "bundle")])
    assert materialise(source, made.file_at(TORCH), str(tmp_path)) == str(tmp_path / "bundle" / TORCH)
    assert needs_joining(source, made.files) == 0


def test_a_mangled_name_is_given_back_without_a_copy(tmp_path: Path) -> None:
    made = write_plain(tmp_path / "bundle")
    mangled = tmp_path / "bundle" / TORCH.replace("+", "%2B")
    (tmp_path / "bundle" / TORCH).rename(mangled)
    (tmp_path / "names").mkdir()
    for _ in range(2):
        path = Path(materialise(open_source([str(tmp_path / "bundle")]), made.file_at(TORCH), str(tmp_path / "names")))
        assert path == tmp_path / "names" / Path(TORCH).name
        assert path.samefile(mangled)


def test_without_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: object, target: object) -> None:
        raise OSError(source, target)

    made = write_volumes(tmp_path / "out")
    monkeypatch.setattr(os, "symlink", refused)
    monkeypatch.setattr(os, "link", refused)
    path = Path(materialise(open_source([str(tmp_path / "out")]), made.file_at(NUMPY), str(tmp_path)))
    assert not path.is_symlink()
    assert path.read_bytes() == bodies()[NUMPY]


def test_pieces_are_joined_and_checked(tmp_path: Path) -> None:
    made = write_volumes(tmp_path / "out")
    source = open_source([str(tmp_path / "out")])
    assert needs_joining(source, made.files) == len(bodies()[TORCH])
    joined = Path(materialise(source, made.file_at(TORCH), str(tmp_path)))
    assert joined.read_bytes() == bodies()[TORCH]
    assert joined.name == Path(TORCH).name
    piece = made.file_at(TORCH).pieces[1]
    path = tmp_path / "out" / f"volume-{piece.volume:03d}" / piece.name
    path.write_bytes(bytes(piece.size))
    with pytest.raises(IntegrityError) as failure:
        materialise(source, made.file_at(TORCH), str(tmp_path))
    assert failure.value.code == "part-changed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
