"""The command line of ``prune``: what it says, asks and does."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli import prune
from pytorch_offline.cli.main import main
from pytorch_offline.mirror.store import Mirror
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel, now, tree

if TYPE_CHECKING:
    from pathlib import Path

OLD = craft_wheel("whl/cpu/torch-0.9+cpu-py3-none-any.whl")


def run(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["prune", *arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code or 0) == expect, err
    return out, err


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("PYTORCH_OFFLINE_MIRROR", str(tmp_path / "mirror"))
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY, OLD):
            wheel.admit(mirror)
        mirror.publish(now=now)
        lock = f"torch==1.0+cu121 --hash=sha256:{TORCH_CUDA.sha256}\n"
        mirror.write_locks({"requirements.node.txt": lock.encode()})
    return mirror


def test_a_dry_run_says_what_would_go_and_why(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(mirror.root)
    out, err = run(capsys, "--keep", "1", "--dry-run")
    left = sum(len(one.body) for one in (TORCH_CPU, TORCH_CUDA, SYMPY)) / 1000
    assert out.splitlines() == [
        f"goes: {OLD.path} ({len(OLD.body)} B): older than the newest 1 of torch",
        f"would remove 1 wheel, which frees {len(OLD.body)} B",
        f"would stay: 3 wheels, {left:.1f} kB (1 locked, 2 newest)",
    ]
    assert err == ""
    assert tree(mirror.root) == before


def test_what_no_lock_names_goes(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "--keep", "locks", "-v")
    assert f"stays: {TORCH_CUDA.path}: locks/requirements.node.txt names it" in out
    assert set(mirror.read_files()) == {TORCH_CUDA.path}
    assert not (mirror.root / SYMPY.path).exists()
    assert "removed nothing" in run(capsys, "--keep", "locks")[0]


def test_programs_get_all_of_it(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, Any] = json.loads(run(capsys, "--max-size", "1k", "--json")[0])
    assert [one["why"] for one in document["removed"]] == ["no-room"] * 3
    assert [(one["path"], one["why"]) for one in document["kept"]] == [(str(TORCH_CUDA.path), "locked")]
    assert document["bytes_after"] == len(TORCH_CUDA.body)
    assert document["bytes_freed"] == document["bytes_before"] - document["bytes_after"]
    assert set(mirror.read_files()) == {TORCH_CUDA.path}


def test_without_rules_no_wheel_goes_and_leftovers_do(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    left = mirror.rejected / "x.whl"
    left.parent.mkdir()
    left.write_bytes(b"123")
    os.utime(left, (1, 1))
    out, _ = run(capsys)
    assert "left behind: .state/rejected/x.whl (3 B): since 1970-01-01" in out
    assert "removed 1 leftover, which frees 3 B" in out
    assert not left.exists()
    assert len(mirror.read_files()) == 4


def test_somebody_who_is_there_is_asked(
    mirror: Mirror, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def confirm(text: str, *, err: bool) -> bool:
        asked.append((text, err))
        return len(asked) > 1

    monkeypatch.setattr(prune, "_attended", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    before = tree(mirror.root)
    out, err = run(capsys, "--keep", "1", expect=130)
    assert out == ""
    assert f"goes: {OLD.path}" in err
    assert "nothing was removed" in err
    assert tree(mirror.root) == before
    run(capsys, "--keep", "1")
    assert len(mirror.read_files()) == 3
    assert asked == [(f"remove 1 wheel, which frees {len(OLD.body)} B?", True)] * 2
    run(capsys, "--keep", "locks", "--yes")
    assert len(asked) == 2


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--keep", "0"),
        ("--keep", "-1"),
        ("--keep", "lock"),
        ("--keep", "²"),
        ("--keep", "1", "--keep", "2"),
        ("--max-size", "many"),
        ("--older-than", "-1"),
    ],
)
def test_what_cannot_be_meant(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    run(capsys, *arguments, expect=2)


def test_there_has_to_be_a_mirror_and_a_lock(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no manifest.json" in run(capsys, "--mirror", str(tmp_path / "nowhere"), expect=2)[1]
    (mirror.root / "locks" / "requirements.node.txt").unlink()
    before = tree(mirror.root)
    assert "no lock that names anything" in run(capsys, "--keep", "locks", expect=2)[1]
    (mirror.root / "locks" / "pylock.node.toml").write_bytes(b"[")
    before["locks/pylock.node.toml"] = b"["
    assert "locks/pylock.node.toml" in run(capsys, "--keep", "1", expect=4)[1]
    assert tree(mirror.root) == before
