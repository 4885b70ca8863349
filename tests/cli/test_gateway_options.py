"""What ``serve`` says of options of a gateway that do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pytorch_offline.cli.main import load_command
from pytorch_offline.cli.rates import parse_bytes
from pytorch_offline.cli.serve import command
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--max-size", "500G"], "contradiction"),
        (["--limit-rate", "20M"], "contradiction"),
        (["--default-index", "https://index.example/simple"], "contradiction"),
        (["--upstream", "https://u.example/whl", "--default-index", "x", "--no-default-index"], "contradiction"),
        (["--upstream", "ftp://me:secret@u.example/whl"], "bad-url"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, arguments: list[str], code: str) -> None:
    result = CliRunner().invoke(command, ["--mirror", str(tmp_path), "--port", "0", *arguments])
    assert isinstance(result.exception, UsageError)
    assert result.exception.code == code
    assert "secret" not in result.exception.message


def test_what_is_set_once_for_all_commands_keeps_no_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("DEFAULT_INDEX", "https://index.example/simple"), ("LIMIT_RATE", "20M")):
        monkeypatch.setenv(f"PYTORCH_OFFLINE_{name}", value)
    (tmp_path / "used").touch()
    arguments = ["--mirror", str(tmp_path), "--tls-cert", str(tmp_path / "used")]  # what ends it, later
    result = CliRunner().invoke(load_command("serve"), arguments)
    assert isinstance(result.exception, UsageError)
    assert "--tls-cert and --tls-key belong together" in result.exception.message


@pytest.mark.parametrize(
    ("text", "count"), [("500G", 500 * 1000**3), ("2Ti", 2 * 1024**4), ("1.5k", 1500), ("0", None), ("much", None)]
)
def test_sizes_are_read_as_curl_reads_rates(text: str, count: int | None) -> None:
    assert parse_bytes(text) == count


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    arguments = ["--mirror", str(tmp_path), "--upstream", "https://u.example/whl", "--max-size", "much"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "no number of bytes" in result.output
