"""The whole way with real interpreters and their real pips, on crafted wheels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_offline.errors import IntegrityError, UnsatisfiableError
from tests.installer.crafted import Crafted, linux_target, pure, torch, unpack_into, write_mirror
from tests.installer.surveys import context
from tests.installer.ways import install, make_mirror, of_the_package, survey_of_environment, versions_in
from tests.interpreters import interpreter

INSTALLERS = ("pip", "uv")
no_uv = shutil.which("uv") is None and not (Path(sys.executable).parent / "uv").exists()


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment without a pip of its own: quick to make, served by the tool's pip from outside."""
    path = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", path], check=True)
    return path


def site_of(venv: Path) -> Path:
    return Path(survey_of_environment(venv).paths["purelib"])


def test_a_new_environment_is_made_filled_and_proven(tmp_path: Path) -> None:
    venv = tmp_path / "new env"
    document = install(make_mirror(tmp_path / "mirror"), venv=venv)
    assert document["proven"] is True
    assert document["torch"]["version"] == "2.4.0+cpu"
    assert versions_in(venv).items() >= {"torch": "2.4.0+cpu", "filelock": "3.0", "typing-extensions": "4.1"}.items()
    assert json.loads(Path(document["evidence"]).read_text(encoding="utf-8"))["proven"] is True


def test_a_second_time_changes_nothing_and_proves_again(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    install(mirror, venv=venv)
    document = install(mirror, venv=venv)
    assert document["installed"] == []
    assert len(document["kept"]) == 3
    assert document["proven"] is True


def test_what_was_damaged_since_is_installed_again(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    install(mirror, venv=venv)
    site = site_of(venv)
    (site / "torch" / "__init__.py").write_text("damaged", encoding="utf-8")
    (site / "filelock-3.0.dist-info" / "RECORD").unlink()
    document = install(mirror, venv=venv)
    assert [row["project"] for row in document["installed"]] == ["torch"]
    told = [finding for finding in document["findings"] if finding["subject"] == "filelock"]
    assert [finding["fails"] for finding in told] == [False]


@pytest.mark.parametrize("program", INSTALLERS)
def test_no_configuration_and_no_neighbour_can_divert(program: str, tmp_path: Path, venv: Path) -> None:
    """A global find-links with a higher version, a configured index, hostile variables, a tempting wheel beside."""
    if program == "uv" and no_uv:
        pytest.skip("uv is not installed")
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for wheel in (pure("filelock", "99.0"), pure("filelock", "3.0", "Summary: other bytes")):
        (hostile / wheel.filename).write_bytes(wheel.build())
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    settings = f"[global]\nfind-links = {hostile}\nindex-url = http://127.0.0.1:9/simple\nno-deps = false\n"
    (home / ".config" / "pip" / "pip.conf").write_text(settings, encoding="utf-8")
    (home / "uv.toml").write_text(f'find-links = ["{hostile}"]\n', encoding="utf-8")
    (hostile / "sitecustomize.py").write_text("raise SystemExit('hostile')", encoding="utf-8")
    variables = {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "PIP_CONFIG_FILE": str(home / ".config" / "pip" / "pip.conf"),
        "PIP_FIND_LINKS": str(hostile),
        "PIP_TARGET": str(hostile),
        "PIP_USER": "1",
        "UV_FIND_LINKS": str(hostile),
        "UV_CONFIG_FILE": str(home / "uv.toml"),
        "PYTHONPATH": str(hostile),
    }
    beside = [pure("filelock", "99.0"), Crafted(filename="filelock-3.0-1-py3-none-any.whl")]
    mirror = make_mirror(tmp_path / "mirror", beside=beside)
    surroundings = of_the_package()._replace(environment=variables)
    assert install(mirror, surroundings, venv=venv, program=program)["proven"] is True
    assert versions_in(venv)["filelock"] == "3.0"


def test_a_pip_in_the_mirror_is_run_from_its_wheel(tmp_path: Path) -> None:
    """3.7 without a pip of its own, and a tool whose pip is too new for it: the wheel that was carried along serves."""
    base = interpreter("3.7")
    venv = tmp_path / "env"
    subprocess.run([base, "-m", "venv", "--without-pip", venv], check=True)
    bundled = next((base.parent.parent / "lib").glob("python3.7/ensurepip/_bundled/pip-*.whl"))
    carried = Crafted(filename=bundled.name, body=bundled.read_bytes())
    wheels = [torch(), pure("filelock", "3.0")]
    mirror = write_mirror(tmp_path / "m", {"node": wheels}, target=linux_target("3.7.5"), beside=[carried])
    document = install(mirror, venv=venv)
    assert document["installer"].startswith("the bundle's pip")
    assert document["proven"] is True


def test_conflicts_that_were_there_before_are_only_told(tmp_path: Path, venv: Path) -> None:
    site = site_of(venv)
    unpack_into(site, pure("old", "1.0", "Requires-Dist: absent"), pure("picky", "1.0", "Requires-Dist: filelock<3"))
    document = install(make_mirror(tmp_path / "two", [pure("filelock", "2.0")]), venv=venv)
    assert document["proven"] is True
    with pytest.raises(UnsatisfiableError) as caught:
        install(make_mirror(tmp_path / "three", [pure("filelock", "3.0")]), venv=venv)
    assert caught.value.code == "would-conflict"
    assert "picky" in str(caught.value.facts)
    assert "absent" not in str(caught.value.facts)
    assert versions_in(venv)["filelock"] == "2.0"


def test_a_torch_that_does_not_import_leaves_what_was_there(tmp_path: Path, venv: Path) -> None:
    install(make_mirror(tmp_path / "first"), venv=venv)
    broken = Crafted(
        filename="torch-2.5.0+cpu-py3-none-any.whl",
        modules={"torch/__init__.py": "raise OSError('libcudart.so.12: cannot open shared object file')\n"},
        directory="whl/cpu",
    )
    with pytest.raises(UnsatisfiableError) as caught:
        install(make_mirror(tmp_path / "second", [broken]), venv=venv)
    assert caught.value.code == "proof-failed"
    assert "libcudart.so.12" in str(caught.value.facts)
    assert versions_in(venv)["torch"] == "2.4.0+cpu"
    assert json.loads(Path(str(caught.value.facts["evidence"])).read_text(encoding="utf-8"))["proven"] is False


def test_a_torch_of_another_version_fails_the_proof(tmp_path: Path, venv: Path) -> None:
    liar = Crafted(filename="torch-2.4.0+cpu-py3-none-any.whl", modules=torch("2.3.0+cpu").modules, directory="whl/cpu")
    with pytest.raises(IntegrityError) as caught:
        install(make_mirror(tmp_path / "mirror", [liar]), venv=venv)
    assert "2.3.0+cpu" in str(caught.value.facts)
    assert "torch" not in versions_in(venv)


@pytest.mark.parametrize("program", INSTALLERS)
def test_a_failing_installer_leaves_what_was_there(program: str, tmp_path: Path, venv: Path) -> None:
    """A wheel of an unknown major format is intact, and yet no installer takes it."""
    if program == "uv" and no_uv:
        pytest.skip("uv is not installed")
    install(make_mirror(tmp_path / "first", [pure("filelock", "2.0")]), venv=venv)
    refused = Crafted(filename="typing_extensions-4.1-py3-none-any.whl", wheel_version="9.0")
    mirror = make_mirror(tmp_path / "second", [refused, pure("filelock", "3.0")])
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, venv=venv, program=program)
    assert caught.value.code == "installer-failed"
    assert "ersion" in str(caught.value.facts["it says"])
    assert {name: version for name, version in versions_in(venv).items() if name != "pip"} == {"filelock": "2.0"}


def test_what_python_imports_on_the_way_is_not_ours_to_choose(tmp_path: Path, venv: Path) -> None:
    """The directory that it is started in, where a module is called as one of the standard library's."""
    (tmp_path / "json.py").write_text("raise SystemExit('hostile')", encoding="utf-8")
    text = tmp_path / "start" / "install.py"
    text.parent.mkdir()
    text.write_text(context().program_text(), encoding="utf-8")
    done = subprocess.run([sys.executable, text, "--help"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    mirror = make_mirror(tmp_path / "mirror")
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert install(mirror, venv=venv)["proven"] is True
    finally:
        os.chdir(before)
