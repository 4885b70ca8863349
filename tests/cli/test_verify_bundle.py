"""The command line of ``verify`` for a bundle."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from tests.bundle.crafted_manifests import TORCH
from tests.bundle.crafted_media import flip, write_plain, write_volumes
from tests.bundle.crafted_parity import write_plain_bundle
from tests.installer.crafted import pure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_OFFLINE_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["verify", *map(str, arguments)])
    said = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, said.out, said.err


def test_volumes_are_verified_from_where_they_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = write_volumes(tmp_path / "out")
    shutil.move(tmp_path / "out" / "volume-002", tmp_path / "disc")
    places = [*sorted((tmp_path / "out").iterdir()), tmp_path / "disc"]
    code, out, _ = run(capsys, *places)
    assert code == 0
    assert f"in {made.volumes} volumes: all as the manifest says" in out
    code, out, _ = run(capsys, tmp_path / "out")
    assert code == 4
    assert "bad: volume-002: missing" in out
    assert f"  bring volume 2 of {made.volumes}" in out


def test_a_bundle_where_a_mirror_could_be_is_known_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain(tmp_path / "bundle")
    assert run(capsys, "--mirror", tmp_path / "bundle", "-q") == (0, "", "")
    flip(tmp_path / "bundle" / TORCH)
    code, out, _ = run(capsys, "--mirror", tmp_path / "bundle", "--json")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["ok"]) == (4, False)
    assert [(bad["path"], bad["problem"]) for bad in document["bad"]] == [(TORCH, "damaged")]
    assert document["bad"][0]["bring"].startswith(f"bring {TORCH}")


def test_options_of_mirrors_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain(tmp_path / "bundle")
    code, _, err = run(capsys, tmp_path / "bundle", "--repair", "--offline")
    assert code == 2
    assert "--offline is for mirrors" in err


def test_a_bundle_is_repaired_with_what_it_carries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("zfec")
    bodies = {"install.py": b"#" * 999, TORCH: b"torch" * 9999, "whl/small.whl": b"small"}
    write_plain_bundle(tmp_path / "bundle", bodies, 5)
    flip(tmp_path / "bundle" / TORCH)
    (tmp_path / "bundle/whl/small.whl").unlink()
    assert run(capsys, tmp_path / "bundle")[0] == 4
    code, _, err = run(capsys, tmp_path / "bundle", "--repair")
    assert code == 0
    assert err.count("rebuilt: ") == 2
    assert (tmp_path / "bundle" / TORCH).read_bytes() == bodies[TORCH]

    (tmp_path / "bundle" / TORCH).unlink()
    code, _, err = run(capsys, tmp_path / "bundle", "--repair")
    assert code == 4
    assert f"bring again: {TORCH}" in err


def test_deep_compares_wheels_with_their_own_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = pure("filelock", "3.13").build()
    altered = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as old, zipfile.ZipFile(altered, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name).replace(b"__version__", b"__revision__"))
    for name, body, expected in (("sound", sound, 0), ("altered", altered.getvalue(), 4)):
        held = {"whl/filelock-3.13-py3-none-any.whl": body, "install.py": b"#"}
        write_plain(tmp_path / name, held, targets=())
        assert run(capsys, tmp_path / name)[0] == 0
        code, out, _ = run(capsys, tmp_path / name, "--deep")
        assert code == expected
        assert ("unsound: record-mismatch filelock/__init__.py" in out) == bool(expected)
