from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.installer import destination as finding
from pytorch_offline.installer.destination import (
    ANSWER_MARK,
    find_destination,
    find_interpreter,
    interpreter_of,
    is_free_for_environment,
    parse_answer,
    read_survey,
    same_place,
)
from pytorch_offline.installer.model import Destination, Request
from pytorch_offline.installer.survey import find_external_manager
from tests.installer.crafted import pure, unpack_into
from tests.installer.surveys import context
from tests.interpreters import MINORS, interpreter

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "CONDA_PREFIX"}}


SURVEY_ANOTHER = """
import os, sys, time
from pytorch_offline.installer.model import Context
from pytorch_offline.installer.destination import read_survey
text = open(sys.argv[2], encoding="utf-8").read()
survey = read_survey(sys.argv[1], Context(dict(os.environ), lambda: text, time.time, None, None))
assert os.path.isdir(survey.paths["purelib"]), survey
"""
SURVEY_AS_CONDA = """
import json, sys
from pytorch_offline.installer.survey import describe_environment
sys.prefix = sys.argv[1]
print(json.dumps(describe_environment([])))
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    path = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", path], check=True)
    return path


def conda_like(directory: Path, *, base: bool = False) -> Path:
    """An environment as conda lays it out: records and an interpreter, no pyvenv.cfg."""
    (directory / "conda-meta").mkdir(parents=True)
    (directory / "bin").mkdir()
    (directory / "bin" / "python").symlink_to(sys.executable)
    if base:
        (directory / "condabin").mkdir()
    return directory


@pytest.mark.parametrize("version", MINORS)
def test_every_python_surveys_itself(version: str) -> None:
    python = interpreter(version)
    survey = read_survey(str(python), context())
    pip = subprocess.run([python, "-I", "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert survey.pip == survey.distributions["pip"].version == pip.split()[1]
    assert survey.distributions["pip"].record
    assert Version(survey.python).release[:2] == Version(version).release
    assert (survey.virtual, survey.writable, survey.conda) == (False, True, False)
    assert survey.bundled_pip is not None
    assert Path(survey.bundled_pip).is_file()
    assert survey.machine["marker_environment"]["python_full_version"] == survey.python


def test_paths_of_any_letters_survive_a_locale_that_has_none(tmp_path: Path) -> None:
    """3.6 in a C locale takes file names for bytes that are no ASCII; what it is told by a newer one it understands."""
    strange = tmp_path / "环境 ü" / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", strange], check=True)
    text = tmp_path / "install.py"
    text.write_text(context().program_text(), encoding="utf-8")
    command = [str(interpreter("3.6")), "-c", SURVEY_ANOTHER, str(strange / "bin" / "python"), str(text)]
    plain = {"LC_ALL": "C", "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(finding.__file__).parents[2])}
    done = subprocess.run(command, env=plain, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_what_an_environment_prints_when_it_starts_is_no_part_of_its_survey(venv: Path) -> None:
    python = str(venv / "bin" / "python")
    purelib = Path(read_survey(python, context()).paths["purelib"])
    (purelib / "noisy.pth").write_text("import sys, atexit; print('hello'); atexit.register(print, 'bye')\n")
    assert Path(read_survey(python, context()).paths["purelib"]) == purelib


def test_what_a_normal_run_would_find_first_is_told(venv: Path, tmp_path: Path) -> None:
    base, path = tmp_path / "user", tmp_path / "path"
    user = base / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"
    user.mkdir(parents=True)
    unpack_into(user, pure("filelock", "1.0"))
    (path / "torch").mkdir(parents=True)
    (path / "sitecustomize.py").touch()
    variables = {**ENVIRONMENT, "PYTHONUSERBASE": str(base), "PYTHONPATH": str(path)}
    found = {(one.project, one.version, one.cause) for one in read_survey(sys.executable, context(variables)).shadows}
    in_path = {("torch", "", "PYTHONPATH"), ("", "sitecustomize", "PYTHONPATH")}
    assert found == in_path  # the tests run in a virtual environment, which has no user site
    found = {
        (one.project, one.version, one.cause)
        for one in read_survey(str(interpreter("3.11")), context(variables)).shadows
    }
    assert found == in_path | {("filelock", "1.0", "user site")}
    assert not read_survey(str(venv / "bin" / "python"), context({**ENVIRONMENT, "PYTHONUSERBASE": str(base)})).shadows


def test_a_conda_environment_says_what_conda_owns(tmp_path: Path) -> None:
    env = conda_like(tmp_path / "env")
    (env / "conda-meta" / "typing_extensions-4.1.1-pyh06a4308_0.json").write_text("{}")
    (env / "conda-meta" / "history").touch()
    # A link to a virtual environment's interpreter does not move its prefix, as a real conda's does: one is told of it.
    said = subprocess.run([sys.executable, "-c", SURVEY_AS_CONDA, env], capture_output=True, check=True).stdout
    document = json.loads(said)
    assert document["conda_packages"] == {"typing-extensions": "4.1.1"}
    assert (document["conda"], document["conda_base"]) == (True, False)


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_survey(str(fake), context())
    assert caught.value.code == "bad-interpreter"
    fake.chmod(0o755)
    with pytest.raises(UsageError, match="describe itself"):
        read_survey(str(fake), context())
    fake.write_text("#!/bin/sh\necho broken >&2; exit 3\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_survey(str(fake), context())
    assert caught.value.facts == {"it says": "broken"}
    fake.write_text(f"#!/bin/sh\necho '{ANSWER_MARK}[1]'\n", encoding="utf-8")
    with pytest.raises(UsageError, match="describe itself"):
        read_survey(str(fake), context())


@pytest.mark.parametrize("text", ["", "null", f"{ANSWER_MARK}{{", f"x {ANSWER_MARK}1"])
def test_an_answer_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_answer(text, "python")


def test_interpreters_are_found_by_file_command_and_environment(tmp_path: Path) -> None:
    assert find_interpreter(sys.executable) == sys.executable
    assert find_interpreter(sys.prefix) == interpreter_of(sys.prefix)
    assert Path(find_interpreter("python3")).is_file()
    for nowhere in (str(tmp_path / "python"), "no-such-python", str(tmp_path)):
        with pytest.raises(UsageError) as caught:
            find_interpreter(nowhere)
        assert caught.value.code == "no-interpreter"


def test_only_an_empty_place_may_be_filled(tmp_path: Path) -> None:
    assert is_free_for_environment(str(tmp_path))
    assert is_free_for_environment(str(tmp_path / "new"))
    (tmp_path / ".pytorch-offline").mkdir()  # of a run that was killed before it could leave its mark
    (tmp_path / ".pytorch-offline/lock").touch()
    assert is_free_for_environment(str(tmp_path))
    (tmp_path / "file").touch()
    assert not is_free_for_environment(str(tmp_path))
    assert not is_free_for_environment(str(tmp_path / "file"))


def test_an_environment_is_named_by_its_directory(venv: Path, tmp_path: Path) -> None:
    conda = conda_like(tmp_path / "conda")
    for directory in (venv, conda):
        found = find_destination(Request(places=(), prefix=str(directory)), context())
        assert found == Destination(str(directory / "bin" / "python"), None, "--prefix")
    for request, code in (
        (Request(places=(), prefix=str(tmp_path / "nowhere")), "not-an-environment"),
        (Request(places=(), prefix=str(venv), python=sys.executable), "no-destination"),
        (Request(places=(), venv=str(tmp_path)), "not-an-environment"),
        (Request(places=(), python=str(tmp_path / "nowhere")), "no-interpreter"),
    ):
        with pytest.raises(UsageError) as caught:
            find_destination(request, context())
        assert caught.value.code == code


def test_an_existing_environment_of_another_python_is_not_taken_for_it(venv: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_destination(Request(places=(), venv=str(venv), python=str(interpreter("3.9"))), context())
    assert caught.value.code == "other-base"
    assert find_destination(Request(places=(), venv=str(venv), python=sys.executable), context()).creates is None


def test_with_nothing_named_the_active_environment_is_taken(venv: Path, tmp_path: Path) -> None:
    own = sys.prefix  # as the package's own: not a destination by accident
    active = {**ENVIRONMENT, "VIRTUAL_ENV": str(venv)}
    found = find_destination(Request(places=()), context(active, own_prefix=own))
    assert (found.interpreter, found.chosen) == (str(venv / "bin" / "python"), "VIRTUAL_ENV")
    base, other = conda_like(tmp_path / "conda", base=True), conda_like(tmp_path / "other")
    in_base = {**active, "CONDA_PREFIX": str(base)}
    assert find_destination(Request(places=()), context(in_base, own_prefix=own)).chosen == "VIRTUAL_ENV"
    for variables, words in (
        (ENVIRONMENT, "say where to install"),
        ({**ENVIRONMENT, "CONDA_PREFIX": str(base)}, "say where to install"),
        ({**ENVIRONMENT, "VIRTUAL_ENV": own}, "say where to install"),
        ({**active, "CONDA_PREFIX": str(other)}, "several environments are active"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            find_destination(Request(places=()), context(variables, own_prefix=own))
        assert caught.value.code == "no-destination"


def test_the_interpreter_that_runs_it_is_taken_if_it_is_an_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    assert find_destination(Request(places=()), context(ENVIRONMENT)).chosen == "the Python that runs this"
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    with pytest.raises(UsageError, match="the system's Python is not touched"):
        find_destination(Request(places=()), context(ENVIRONMENT))


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the tests do not run in a virtual environment")
def test_the_tool_s_own_environment_is_not_a_destination_by_accident() -> None:
    own = context(own_prefix=sys.prefix)
    with pytest.raises(UsageError) as caught:
        find_destination(Request(places=(), venv=sys.prefix), own)
    assert caught.value.code == "own-environment"
    assert find_destination(Request(places=(), python=sys.executable), own).creates is None


def test_the_marker_of_the_operating_system_lies_in_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEP 668; a virtual environment made from such a Python is free all the same."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert find_external_manager() is None
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert find_external_manager() == str(tmp_path / "EXTERNALLY-MANAGED")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert find_external_manager() is None


def test_one_place_is_one_whether_a_locale_took_its_letters_for_bytes_or_not(tmp_path: Path) -> None:
    place = tmp_path / "\u73af\u5883"
    place.mkdir()
    in_bytes = str(place).encode().decode("ascii", "surrogateescape")  # as Python 3.7 spells sys.prefix in a C locale
    assert in_bytes != str(place)
    assert same_place(in_bytes, str(place))
    assert not same_place(in_bytes, str(tmp_path))
