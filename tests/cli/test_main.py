"""What holds for every command: one document on stdout, one sentence per error, settings, odd streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import COMMANDS, load_command, main
from pytorch_offline.cli.settings import defaults_of, option_names
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LINUX = ("--platform", "linux_x86_64", "--glibc", "2.35", "--python-version", "3.10")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def error_on(stdout: str) -> dict[str, object]:
    document = json.loads(stdout)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"family", "code", "message", "facts", "hint"}
    error: dict[str, object] = document["error"]
    return error


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PYTORCH_OFFLINE_")]:
        monkeypatch.delenv(name)
    empty = tmp_path / "empty.toml"
    empty.touch()
    monkeypatch.setenv("PYTORCH_OFFLINE_CONFIG", str(empty))


def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTORCH_OFFLINE_CONFIG", str(path))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("detect", "--json", "--no-such-option"), "bad-usage"),
        (("no-such-command", "--json"), "bad-usage"),
        (("fetch", "torch", "--jobs", "99", "--json"), "bad-usage"),
        (("detect", "--json", "--glibc", "2.35"), "platform-not-given"),
    ],
)
def test_an_error_is_one_document_on_stdout(
    arguments: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert error_on(capsys.readouterr().out)["code"] == code


@pytest.mark.parametrize(
    "raised", [RuntimeError("a\nb"), PermissionError(13, "Permission denied", "/x"), KeyError("k")]
)
def test_what_is_not_foreseen_is_a_sentence_and_exit_code_1(
    raised: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise raised

    monkeypatch.setattr("pytorch_offline.cli.detect.render_summary", broken)
    assert run("detect", *LINUX, "--json") == 1
    told = capsys.readouterr()
    assert error_on(told.out)["family"] == "error"
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.err
    assert run("detect", *LINUX, "-vv") == 1
    assert "Traceback" in capsys.readouterr().err


def test_of_a_fact_with_several_values_each_has_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise UsageError("bad-flag", "no", facts={"upload": ["one", "two"], "size": 3})

    monkeypatch.setattr("pytorch_offline.cli.detect.render_summary", broken)
    assert run("detect", *LINUX) == 2
    assert capsys.readouterr().err == "error: no\n  upload: one\n  upload: two\n  size: 3\n"


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytorch_offline.cli.detect.render_summary", interrupted)
    assert run("detect", *LINUX, "--json") == 130
    told = capsys.readouterr()
    assert error_on(told.out)["code"] == "interrupted"
    assert "run the same command again" in told.err


def test_json_may_be_asked_for_by_a_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_OFFLINE_JSON", "1")
    assert run("detect", "--glibc", "2.35") == 2
    assert error_on(capsys.readouterr().out)["code"] == "platform-not-given"


def test_every_option_has_variables_and_variables_may_hold_several_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in COMMANDS:
        for option, parameter in option_names(load_command(name)).items():
            assert parameter.envvar == [f"PYTORCH_OFFLINE_{name}_{option}".upper(), f"PYTORCH_OFFLINE_{option}".upper()]
    monkeypatch.setenv("PYTORCH_OFFLINE_GPU", "GTX 1080 Ti,A100")
    monkeypatch.setenv("PYTORCH_OFFLINE_DRIVER", "470.82.01")
    monkeypatch.setenv("PYTORCH_OFFLINE_DETECT_DRIVER", "535.104.05")
    assert run("detect", *LINUX, "--json") == 0
    accelerator = json.loads(capsys.readouterr().out)["accelerator"]
    assert accelerator["driver"] == "535.104.05"
    assert [device["name"] for device in accelerator["devices"]] == ["GeForce GTX 1080 Ti", "A100"]


def test_the_settings_file_spells_options_by_their_long_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = 'driver = "470.82.01"\ndefault_index = "http://x/"\n'
    own = '[detect]\ngpu = "A100"\npython-version = "3.11"\njson = true\n'
    text = shared + own
    settings(monkeypatch, tmp_path, text)
    assert run("detect", "--platform", "linux_x86_64", "--glibc", "2.35") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accelerator"]["driver"] == "470.82.01"
    assert document["accelerator"]["devices"][0]["name"] == "A100"
    assert document["marker_environment"]["python_version"] == "3.11"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("uptream = 1", "uptream"),
        ("[fecth]\njobs = 1", "fecth"),
        ("[detect]\njobs = 1", "jobs"),
        ("jobs =", "TOML"),
        ("\udcff", "read"),
    ],
)
def test_a_settings_file_that_cannot_be_honoured_is_an_error(
    text: str, word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("PYTORCH_OFFLINE_CONFIG", str(path))
    assert run("detect", *LINUX, "--json") == 2
    error = error_on(capsys.readouterr().out)
    assert error["code"] == "bad-settings-file"
    assert word in str(error["message"]) or word == "TOML"


def test_settings_read_the_home_directory_and_lists() -> None:
    loaders = dict.fromkeys(COMMANDS, lambda: load_command("fetch"))
    found = defaults_of("fetch", load_command("fetch"), {"mirror": "~/m", "fetch": {"upstream": "http://u/"}}, loaders)
    assert "~" not in str(found["mirror"])
    assert found["upstreams"] == ["http://u/"]
    with pytest.raises(UsageError):
        defaults_of("fetch", load_command("fetch"), {"fetch": {"nothing": 1}}, loaders)


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pytorch_offline", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp936", "latin-1", "utf-8"])
def test_no_encoding_of_the_output_is_a_crash(encoding: str) -> None:
    done = process("detect", "--preset", "é模├", "--json", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "é模├" in json.loads(done.stdout.decode("utf-8" if encoding == "ascii" else encoding))["error"]["message"]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["serve", "--nonsense"], 2), (["verify", "--mirror", "nowhere"], 2)])
def test_a_terminal_that_went_away_does_not_change_the_exit_code(arguments: list[str], code: int) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    os.close(ours)  # from here on, whoever writes to the terminal is told of an input/output error
    command = [sys.executable, "-m", "pytorch_offline", *arguments]
    try:
        done = subprocess.run(
            command, stderr=theirs, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False, timeout=60
        )
    finally:
        os.close(theirs)
    assert done.returncode == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
def test_an_output_that_takes_nothing_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  (a device)
        command = [sys.executable, "-m", "pytorch_offline", "detect", *LINUX]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    (sentence,) = done.stderr.decode().splitlines()
    assert sentence.startswith("error: ")
    assert sentence.endswith("No space left on device")


def test_a_shell_can_complete_commands_and_options() -> None:
    one = process(_PYTORCH_OFFLINE_COMPLETE="bash_complete", COMP_WORDS="pytorch-offline sel", COMP_CWORD="1")
    assert one.stdout.split() == [b"plain,select"]
    two = process(_PYTORCH_OFFLINE_COMPLETE="bash_complete", COMP_WORDS="pytorch-offline verify --de", COMP_CWORD="2")
    assert two.stdout.split() == [b"plain,--deep"]


def test_help_loads_no_command() -> None:
    code = """
import sys
from pytorch_offline.cli.main import main
try:
    main(["--help"])
finally:
    print(sorted({"requests", "packaging", "bs4"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout.splitlines()[-1] == b"[]"
