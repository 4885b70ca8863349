from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.destination import (
    create_virtual_environment,
    find_interpreter,
    interpreter_of,
    is_empty_or_missing,
    parse_survey,
    read_survey,
)
from pytorch_offline.installer.installer_line import clean_environment
from pytorch_offline.target.capture import this_machine
from tests.installer.crafted import Crafted
from tests.interpreters import MINORS, interpreter

CLEAN = clean_environment(os.environ)


@pytest.mark.parametrize("version", MINORS)
def test_every_python_surveys_itself(version: str) -> None:
    python = interpreter(version)
    survey = read_survey(python, CLEAN, hashed=["pip"])
    pip = subprocess.run([python, "-I", "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert survey.distributions[canonicalize_name("pip")].version == pip.split()[1]
    assert survey.distributions[canonicalize_name("pip")].record
    assert survey.python.release[:2] == Version(version).release
    assert (survey.is_virtual, survey.writable) == (False, True)
    assert survey.bundled_pip is not None
    assert survey.bundled_pip.is_file()


def test_a_changed_and_a_missing_file_are_told(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    site = read_survey(python, CLEAN).purelib
    wheel = Crafted(filename="a_b-1.0-py3-none-any.whl", modules={"a.py": "", "b.py": "", "c.py": ""})
    zipfile.ZipFile(io.BytesIO(wheel.build())).extractall(site)
    (site / "a.py").write_text("changed", encoding="utf-8")
    (site / "b.py").unlink()
    distribution = read_survey(python, CLEAN, hashed=["a-b"]).distributions[canonicalize_name("a_b")]
    assert {path for path, _ in distribution.problems} == {"a.py", "b.py"}
    assert (distribution.record or {}).keys() >= {"a.py", "c.py"}
    (Path(distribution.path) / "RECORD").unlink()
    distribution = read_survey(python, CLEAN, hashed=["a-b"]).distributions[canonicalize_name("a_b")]
    assert [path for path, _ in distribution.problems] == ["RECORD"]


def test_an_environment_gets_the_pip_that_its_base_brings_along(tmp_path: Path) -> None:
    base = read_survey(Path(sys.executable), CLEAN)
    survey = read_survey(create_virtual_environment(base, tmp_path / "env", CLEAN), CLEAN)
    assert survey.is_virtual
    assert base.bundled_pip is not None
    assert f"pip-{survey.distributions[canonicalize_name('pip')].version}-" in base.bundled_pip.name


def test_ensurepip_unpacks_in_the_destinations_file_system(tmp_path: Path) -> None:
    # A small /tmp has no room for it.
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "$TMPDIR" > {tmp_path}/said\nexec {sys.executable} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    base = replace(read_survey(Path(sys.executable), CLEAN), executable=str(wrapper))
    python = create_virtual_environment(base, tmp_path / "env", CLEAN)
    assert "pip" in read_survey(python, CLEAN).distributions
    temporary = Path((tmp_path / "said").read_text(encoding="utf-8").strip())
    assert temporary.is_relative_to(tmp_path / "env")
    assert not temporary.exists()


def test_what_an_environment_prints_when_it_starts_is_no_part_of_its_survey(tmp_path: Path) -> None:
    venv = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    purelib = read_survey(python, CLEAN).purelib
    (purelib / "noisy.pth").write_text("import sys; print('good morning'); print('{}')\n", encoding="utf-8")
    assert read_survey(python, CLEAN).purelib == purelib
    assert this_machine(python).python_full_version == read_survey(python, CLEAN).python


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_survey(fake, CLEAN)
    assert caught.value.code == "bad-interpreter"
    fake.chmod(0o755)
    with pytest.raises(UsageError, match="describe itself"):
        read_survey(fake, CLEAN)
    fake.write_text("#!/bin/sh\necho broken >&2; exit 3\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_survey(fake, CLEAN)
    assert caught.value.facts == {"it says": "broken"}


@pytest.mark.parametrize("text", ["", "null", "[]", '{"executable": 1}'])
def test_a_survey_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_survey(text)


def test_interpreters_are_found_by_file_command_and_environment(tmp_path: Path) -> None:
    assert find_interpreter(Path(sys.executable)) == Path(sys.executable)
    assert find_interpreter(Path(sys.prefix)) == interpreter_of(Path(sys.prefix))
    assert find_interpreter(Path("python3")).is_file()
    for nowhere in (tmp_path / "python", Path("no-such-python"), tmp_path):
        with pytest.raises(UsageError) as caught:
            find_interpreter(nowhere)
        assert caught.value.code == "no-interpreter"


def test_a_base_that_cannot_create_environments_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named venv; exit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    base = read_survey(Path(sys.executable), CLEAN)
    broken_base = replace(base, executable=str(broken))
    with pytest.raises(UnsatisfiableError) as caught:
        create_virtual_environment(broken_base, tmp_path / "env", CLEAN)
    assert caught.value.facts == {"it says": "no module named venv"}


def test_only_an_empty_place_may_be_filled(tmp_path: Path) -> None:
    assert is_empty_or_missing(tmp_path)
    assert is_empty_or_missing(tmp_path / "new")
    (tmp_path / "file").touch()
    assert not is_empty_or_missing(tmp_path)
    assert not is_empty_or_missing(tmp_path / "file")
