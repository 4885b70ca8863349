from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_offline.errors import IntegrityError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer import plan as planning
from pytorch_offline.installer.model import same_version, version_numbers
from tests.installer.crafted import Crafted, linux_target, pure, torch, unpack_into, write_mirror
from tests.installer.surveys import context
from tests.installer.ways import install, make_mirror, survey_of_environment
from tests.interpreters import interpreter


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    path = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", path], check=True)
    return path


def site_of(venv: Path) -> Path:
    return Path(survey_of_environment(venv).paths["purelib"])


def projects(rows: list[dict[str, str]]) -> list[str]:
    return [row["project"] for row in rows]


def test_a_plan_changes_nothing_and_says_everything(tmp_path: Path) -> None:
    document = install(make_mirror(tmp_path / "mirror"), venv=tmp_path / "env", dry_run=True)
    assert projects(document["install"]) == ["filelock", "torch", "typing-extensions"]
    assert document["destination"]["creates"] == str(tmp_path / "env")
    assert document["destination"]["chosen_by"] == "--venv"
    assert document["installer"].startswith("the new environment's pip")
    assert document["needed_bytes"] > 0
    assert not (tmp_path / "env").exists()


def test_only_what_is_asked_for_and_what_it_needs(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    document = install(mirror, venv=venv, projects=("torch",), dry_run=True)
    assert projects(document["install"]) == ["filelock", "torch"]
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, venv=venv, projects=("numpy",), dry_run=True)
    assert caught.value.code == "not-in-lock"
    assert list(caught.value.facts) == ["numpy"]


def test_what_is_there_byte_for_byte_is_kept(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    site = site_of(venv)
    unpack_into(site, torch(), pure("filelock", "3.0"), pure("typing-extensions", "4.1"))
    assert projects(install(mirror, venv=venv, dry_run=True)["install"]) == []
    (site / "torch" / "__init__.py").write_text("damaged", encoding="utf-8")
    (site / "typing_extensions" / "__init__.py").unlink()
    (site / "filelock-3.0.dist-info" / "RECORD").unlink()  # nobody can take it away, so it is left alone
    document = install(mirror, venv=venv, dry_run=True)
    assert projects(document["install"]) == ["torch", "typing-extensions"]
    assert projects(document["keep"]) == ["filelock"]


def test_other_files_under_the_same_version_are_replaced(tmp_path: Path, venv: Path) -> None:
    unpack_into(site_of(venv), pure("filelock", "3.0", "Summary: of somebody else"))
    document = install(make_mirror(tmp_path / "mirror", [pure("filelock", "3.0")]), venv=venv, dry_run=True)
    assert projects(document["install"]) == ["filelock"]


def test_a_version_that_pip_would_take_for_the_locked_one_is_replaced(tmp_path: Path, venv: Path) -> None:
    unpack_into(site_of(venv), torch("2.4.0+cpu"), pure("filelock", "3.0"))
    mirror = make_mirror(tmp_path / "mirror", [torch("2.4.0"), pure("filelock", "3.0")])
    assert projects(install(mirror, venv=venv, dry_run=True)["install"]) == ["torch"]


def test_a_pip_too_old_for_the_wheels_is_told_beforehand(tmp_path: Path) -> None:
    wheels = [Crafted(filename="a-1.0-cp36-cp36m-manylinux2014_x86_64.whl")]
    mirror = write_mirror(tmp_path / "mirror", {"node": wheels}, target=linux_target("3.6.15"))
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, python=interpreter("3.6"), venv=tmp_path / "env", dry_run=True)
    assert caught.value.code == "no-usable-pip"
    assert "`fetch` pip" in str(caught.value.hint)
    assert not (tmp_path / "env").exists()


def test_bad_files_change_nothing(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    path = mirror / "whl" / "filelock-3.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(IntegrityError) as caught:
        install(mirror, venv=tmp_path / "env", dry_run=True)
    assert caught.value.code == "bad-files"
    assert list(caught.value.facts) == ["whl/filelock-3.0-py3-none-any.whl"]
    assert not (tmp_path / "env").exists()


def test_a_full_disk_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "free_bytes_at", lambda _: 10)
    with pytest.raises(UpstreamError) as caught:
        install(make_mirror(tmp_path / "mirror"), venv=tmp_path / "env")
    assert caught.value.code == "disk-full"
    assert not (tmp_path / "env").exists()


def test_what_would_break_is_told_with_everything_else(tmp_path: Path, venv: Path) -> None:
    site = site_of(venv)
    unpack_into(site, pure("picky", "1.0", "Requires-Dist: filelock<3"), pure("torch", "1.0"))
    (site / "torch-1.0.dist-info" / "RECORD").unlink()
    unpack_into(site, pure("pip", "99.0"))  # holds nothing that could judge
    mirror = make_mirror(tmp_path / "mirror")
    with pytest.raises(UsageError) as caught:
        install(mirror, venv=venv, dry_run=True)
    assert caught.value.code == "not-replaceable"
    assert "no RECORD" in str(caught.value)


def test_a_lock_for_another_python_is_refused_with_both_versions(tmp_path: Path) -> None:
    wheels = [Crafted(filename="a-1.0-cp36-cp36m-linux_x86_64.whl")]
    mirror = write_mirror(tmp_path / "mirror", {"node": wheels}, target=linux_target("3.6.15"))
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, venv=tmp_path / "env", dry_run=True)
    assert caught.value.code == "no-lock-fits"
    assert "is for CPython 3.6, here is CPython 3." in str(caught.value.facts["target node"])


def test_nothing_active_is_a_question(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        install(make_mirror(tmp_path / "mirror"), context({}, own_prefix=sys.prefix), dry_run=True)
    assert caught.value.code == "no-destination"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.0", "1.0.0", True),
        ("2021.01", "2021.1", True),
        ("1.0RC1", "1.0rc1", True),
        ("v1.0", "1", True),
        ("2.4.0+cpu", "2.4.0", False),
        ("2.4.0+cpu", "2.4.0+CPU", True),
        ("1.10", "1.1", False),
        ("1.0.post1", "1.0", False),
    ],
)
def test_spellings_of_one_version(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert same_version(one, other) is same


def test_numbers_of_a_version() -> None:
    assert version_numbers("3.13.0rc1") == (3, 13, 0)
    assert version_numbers("unknown") == ()
