"""What pip prints of an interpreter makes the same target as asking the interpreter itself."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.target.build import TargetFlags
from pytorch_offline.target.capture import this_machine
from pytorch_offline.target.model import MARKER_VARIABLES, Target
from pytorch_offline.target.pasted import parse_pasted, target_of_pasted
from pytorch_offline.target.pasted_files import read_described_target
from pytorch_offline.target.pip_reports import parse_interpreter_report
from tests.interpreters import find_interpreters, name_of

if TYPE_CHECKING:
    from pathlib import Path

MARKERS = {
    "implementation_name": "cpython",
    "implementation_version": "3.10.12",
    "os_name": "posix",
    "platform_machine": "aarch64",
    "platform_release": "5.15.0-91-generic",
    "platform_system": "Linux",
    "platform_version": "#101-Ubuntu SMP",
    "python_full_version": "3.10.12",
    "platform_python_implementation": "CPython",
    "python_version": "3.10",
    "sys_platform": "linux",
}
INSPECT = {"version": "1", "pip_version": "23.3", "installed": [{"metadata": {"name": "x"}}], "environment": MARKERS}
DEBUG = """WARNING: This command is only meant for debugging. Do not use this with automation.
pip version: pip 23.3.1 from /usr/lib/python3.12/site-packages/pip (python 3.12)
sys.version: 3.12.1 (tags/v3.12.1:2305ca5, Dec  7 2023, 22:03:25) [MSC v.1937 64 bit (AMD64)]
sys.executable: C:\\Python312\\python.exe
sys.platform: win32
sys.implementation:
  name: cpython
Compatible tags: 3
  cp312-cp312-win_amd64
  cp312-abi3-win_amd64
  py3-none-any
"""
CUT = (
    DEBUG.replace("Compatible tags: 3", "Compatible tags: 36")
    + "  ...\n  [First tags shown. Pass --verbose to show all.]\n"
)


def made(text: str, **flags: Any) -> Target:  # noqa: ANN401  (whatever a flag takes)
    return target_of_pasted(parse_pasted([("pip.txt", text)]), TargetFlags(**flags))


@pytest.mark.parametrize("python", find_interpreters(), ids=name_of)
def test_pip_debug_makes_the_target_that_the_probe_makes(python: Path) -> None:
    done = subprocess.run([str(python), "-m", "pip", "debug", "--verbose"], capture_output=True, check=False)
    listed = parse_interpreter_report(done.stdout.decode())
    if done.returncode or listed is None or listed.tags is None:
        pytest.skip(f"the pip of {python} has no debug command")
    here, told = this_machine(python), made(done.stdout.decode())
    if here.pip is not None and here.pip.major >= 20:
        assert set(told.tags) == set(here.tags)
        assert told.libc == here.libc
    unknown = {"platform_release", "platform_version"}
    assert told.pip == here.pip
    for name in set(MARKER_VARIABLES) - unknown:
        assert told.marker_environment[name] == here.marker_environment[name]


def test_pip_debug_of_windows() -> None:
    target = made(DEBUG)
    assert (target.system, target.machine, target.libc) == ("Windows", "AMD64", None)
    assert [str(tag) for tag in target.tags][:2] == ["cp312-cp312-win_amd64", "cp312-abi3-win_amd64"]
    assert target.learnt_from["compatible_tags"] == "the interpreter"
    assert str(target.pip) == "23.3.1"


def test_a_cut_list_of_tags_is_not_taken_for_the_whole() -> None:
    found = parse_pasted([("pip.txt", CUT)])
    assert found.tags is None
    assert "paste the whole output of pip debug --verbose" in "\n".join(found.notes)
    assert found.python_version == "3.12.1"  # what it does say is kept
    assert made(CUT).tags[0].platform == "win_amd64"


def test_pip_inspect_has_the_markers_and_the_c_library_is_asked_for() -> None:
    text = json.dumps(INSPECT)
    with pytest.raises(UsageError) as caught:
        made(text)
    assert list(caught.value.facts) == ["the C library"]
    target = made(text, glibc="2.35")
    assert dict(target.marker_environment) == MARKERS
    assert str(target.tags[0]) == "cp310-cp310-linux_aarch64"
    assert str(target.pip) == "23.3"
    both = target_of_pasted(parse_pasted([("a", text), ("b", "ldd (GNU libc) 2.34\n")]), TargetFlags())
    assert both.libc is not None
    assert both.libc.version == (2, 34)
    assert both.marker_environment["platform_release"] == "5.15.0-91-generic"


def test_an_installation_report_serves_as_pip_inspect_does() -> None:
    report = {"version": "1", "pip_version": "24.0", "install": [], "environment": MARKERS}
    assert dict(made(json.dumps(report, indent=1), glibc="2.28").marker_environment) == MARKERS


def test_the_markers_of_another_implementation_need_its_tags() -> None:
    markers = MARKERS | {"implementation_name": "pypy", "platform_python_implementation": "PyPy"}
    with pytest.raises(UsageError) as caught:
        made(json.dumps(INSPECT | {"environment": markers}), glibc="2.35")
    assert "pip debug --verbose" in str(caught.value.facts["the tags"])


def test_what_projects_write_in_their_metadata_is_not_taken_for_the_machines() -> None:
    quoted = INSPECT | {
        "installed": [{"description": "\nPython 3.7.1\nldd (GNU libc) 2.17\nDriver Version : 470.82.01\n"}]
    }
    found = parse_pasted([("pip.json", json.dumps(quoted, indent=1))])
    assert (found.python_version, found.glibc, found.accelerator) == ("3.10.12", None, None)


NOTHING = (
    "{}",
    "{",
    "[]",
    '{"environment": {}}',
    '{"environment": 3}',
    '{"compatible_tags": [1]}',
    "Compatible tags: 1",
)


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_report(text: str) -> None:
    report = parse_interpreter_report(text)
    assert report is None or (report.tags, report.markers) == (None, None)


@given(st.text().map(lambda text: DEBUG[: len(text) * 9] + text) | st.text().map(lambda text: "{" + text))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_interpreter_report(text)


def test_a_target_file_may_be_any_of_these(tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_text(DEBUG, encoding="utf-16")
    (tmp_path / "node.json").write_text(json.dumps(INSPECT), encoding="utf-8")
    assert read_described_target(tmp_path / "windows.txt", TargetFlags())[0].name == "windows"
    target, _ = read_described_target(tmp_path / "node.json", TargetFlags(glibc="2.35", driver="535.104.05"))
    assert (target.name, target.marker_environment["platform_release"]) == ("node", "5.15.0-91-generic")
    assert target.accelerator is not None
    with pytest.raises(UsageError) as caught:
        read_described_target(tmp_path / "node.json", TargetFlags())
    assert caught.value.code == "target-incomplete"
    for body in ("hello", "{", "[1]", "{}"):
        (tmp_path / "bad.json").write_text(body, encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            read_described_target(tmp_path / "bad.json", TargetFlags())
        assert caught.value.code == "bad-target-file"
        assert "bad.json" in caught.value.message
