"""``detect`` and the options that name a target, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from pytorch_offline.cli.main import main
from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.cli.target_options import target_options
from pytorch_offline.errors import UsageError
from pytorch_offline.target.capture import probe_source, this_machine
from pytorch_offline.target.codec import read_target, render_target, write_text_file
from tests.interpreters import find_interpreters

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.target.model import Target

SMI = "| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 12.2     |\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the user's reach the commands."""
    for name in [name for name in os.environ if name.startswith("PYTORCH_OFFLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["detect", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_this_machine_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert f"CPython {sys.version.split()[0]}" in out
    code, out, err = run(capsys, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["compatible_tags"] == [str(tag) for tag in this_machine().tags]
    assert document["unknown"] == []


def test_a_target_file_is_written_whole_and_named_after_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "-o", "node-7.json", "--python", str(find_interpreters()[-1]))
    assert code == 0
    assert "node-7" in out
    assert "wrote node-7.json" in err
    target = read_target(tmp_path / "node-7.json")
    assert (target.name, target.tags) == ("node-7", this_machine(find_interpreters()[-1]).tags)
    assert run(capsys, "-o", "missing/node.json")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["node-7.json"]


def test_the_standalone_file_is_the_packages_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "--standalone", "-o", "probe.py")[0] == 0
    assert (tmp_path / "probe.py").read_bytes() == probe_source()
    code, out, _ = run(capsys, "--standalone")
    assert (code, out.encode()) == (0, probe_source())
    assert run(capsys, "--standalone", "--python", sys.executable)[0] == 2


def test_pasted_texts_from_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "ldd.txt").write_text("ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35\n", encoding="utf-16")
    (tmp_path / "python.txt").write_text("Python 3.10.12\nx86_64\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytorch_offline", "detect", "--from-text", "-", "ldd.txt", "python.txt", "--json"]
    done = subprocess.run(command, input=SMI.encode(), cwd=tmp_path, capture_output=True, check=True)
    document = json.loads(done.stdout)
    assert document["accelerator"] == {"kind": "cuda", "driver": "470.82.01", "cuda": "12.2", "devices": []}
    assert document["libc"] == {"name": "glibc", "version": "2.35"}
    assert document["marker_environment"]["python_full_version"] == "3.10.12"
    assert document["learnt_from"]["accelerator.driver"] == "standard input"
    assert "accelerator.devices" in document["unknown"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from-text", "missing.txt"], "bad-text-file"),
        (["--from-text", "empty.txt"], "nothing-recognised"),
        (["--from-text", "smi.txt"], "target-incomplete"),
        (["--from-text", "smi.txt", "--python", "x"], "contradiction"),
        (["--python", "missing"], "python-not-usable"),
        (["--python", "empty.txt"], "python-not-usable"),
        (["--gpu", "A100"], "platform-not-given"),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: str
) -> None:
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "smi.txt").write_text(SMI, encoding="utf-8")
    status, out, err = run(capsys, *arguments, "-o", "x.json", "--json")
    assert status == 2
    assert json.loads(out)["error"]["code"] == code
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not (tmp_path / "x.json").exists()


def test_an_interpreter_that_is_none_is_refused(tmp_path: Path) -> None:
    pretender = tmp_path / "python"
    for body in ("#!/bin/sh\ncat > /dev/null\necho hello\n", "#!/bin/sh\ncat > /dev/null\necho oh no >&2\nexit 3\n"):
        pretender.write_text(body, encoding="utf-8")
        pretender.chmod(0o755)
        with pytest.raises(UsageError) as caught:
            this_machine(pretender)
        assert caught.value.code == "python-not-usable"
        assert caught.value.facts["python"] == str(pretender)


@click.command()
@common_options
@target_options
def show(session: Session, targets: tuple[Target, ...]) -> None:
    assert session.verbosity == 0
    for target in targets:
        click.echo(f"{target.name} {target.tags[0]}")


def shown(*arguments: str) -> list[str]:
    result = CliRunner().invoke(show, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_target_options_give_this_machine_flags_or_files(tmp_path: Path) -> None:
    here = this_machine()
    assert shown() == [f"{here.name} {here.tags[0]}"]
    assert shown("--preset", "ubuntu22.04") == ["ubuntu22_04-cp310 cp310-cp310-linux_x86_64"]
    for name in ("a", "b"):
        write_text_file(tmp_path / f"{name}.json", render_target(here))
    files = ["--target", "a.json", "--target", "b.json"]
    assert shown(*files) == [f"a {here.tags[0]}", f"b {here.tags[0]}"]
    assert shown(*files, "--python-version", "3.13", "--free-threaded", "--driver", "580.95.05") == [
        f"{name}-cp313t-driver580_95_05 cp313-cp313t-linux_x86_64" for name in ("a", "b")
    ]


def test_a_target_file_may_be_a_text_that_describes_a_machine(tmp_path: Path) -> None:
    text = "系统类型:         x64-based PC\r\nPython 3.12.4\r\n"
    for name, encoding in (("powershell.txt", "utf-16"), ("console.txt", "gbk")):
        (tmp_path / name).write_bytes(text.encode(encoding))
    named = ["powershell cp312-cp312-win_amd64", "console cp312-cp312-win_amd64"]
    assert shown("--target", "powershell.txt", "--target", "console.txt") == named
    (tmp_path / "smi.txt").write_text(SMI, encoding="utf-8")
    assert shown("--target", "smi.txt", "--preset", "rocky9") == ["smi cp39-cp39-linux_x86_64"]
    (tmp_path / "two.txt").write_text(SMI + SMI.replace("470", "535"), encoding="utf-8")
    told = CliRunner().invoke(show, ["--target", "two.txt", "--preset", "jammy"], catch_exceptions=False).stderr
    assert told == "note: two.txt shows several drivers: 470.82.01, 535.82.01; the first is taken\n"
    with pytest.raises(UsageError) as caught:
        shown("--target", "smi.txt")
    assert list(caught.value.facts) == ["the Python version", "the platform", "the C library"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "node.json", tmp_path / "b" / "node.json"]
    arguments: list[Any] = []
    for path in paths:
        path.parent.mkdir()
        write_text_file(path, render_target(this_machine()))
        arguments += ["--target", str(path)]
    with pytest.raises(UsageError) as caught:
        shown(*arguments)
    assert caught.value.code == "duplicate-target-name"


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "Examples:" in out
    assert "python3 probe.py -o gpu-node.json" in out
